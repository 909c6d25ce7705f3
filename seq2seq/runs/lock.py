"""The lock on a run folder. Only one process may write to the folder at a time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.files import writing
from seq2seq.system.files import make_folder
from seq2seq.system.lock import LockedFile, open_locked


class RunLock:
    """The lock on ``RUN/.lock``. The file holds the id of this process. It is kept if the folder holds a run.

    Args:
        folder: the run folder; created if it is missing.

    Raises:
        UserError: another process holds it (75), or the file cannot be written (74).
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        with writing(self.path):
            self._file = self._open()
            try:
                self._file.truncate(0)
                since = datetime.now(UTC).isoformat(timespec="seconds")
                os.write(self._file.fileno(), json.dumps({"pid": os.getpid(), "since": since}).encode("ascii"))
            except BaseException:
                self._file.close()
                raise

    def _open(self) -> LockedFile:
        folder = self.path.parent
        while True:
            make_folder(folder)
            with suppress(FileNotFoundError):  # another process has moved the folder aside
                file = open_locked(self.path, shown=str(folder))
                break
        if file is None:
            raise UserError(
                f"{folder} is in use by {self._holder()}",
                mend="wait for it to end, or give `run` another folder",
                code=ExitCode.TRY_LATER,
            )
        return file

    def _holder(self) -> str:
        # The other process may not have written the file yet.
        try:
            with open(self.path, "rb") as file:
                holder = json.loads(file.read(1000))
            since = datetime.fromisoformat(holder["since"]).isoformat(sep=" ", timespec="seconds")
            return f"process {int(holder['pid'])} since {since}"
        except (OSError, ValueError, TypeError, KeyError):
            return "another process"

    def release(self) -> None:
        """Release the lock. A second call, or a call in a forked child, does nothing."""
        if not self._file.closed:
            with suppress(OSError):
                if os.listdir(self.path.parent) == [self.path.name]:  # no run in the folder
                    self.path.unlink()
            self._file.close()


@contextmanager
def lock(folder: Path) -> Iterator[RunLock]:
    """Hold the lock on a run folder during the body. Raises the errors of ``RunLock``."""
    held = RunLock(folder)
    try:
        yield held
    finally:
        held.release()
