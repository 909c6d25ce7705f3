"""One writer at a time: a lock that the kernel lets go when its holder dies, however it dies."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.files import writing
from seq2seq.system.files import make_folder
from seq2seq.system.lock import try_lock

_held: set[int] = set()


def _close_in_child() -> None:
    """A forked worker shares our lock, and would keep it after we are killed."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class RunLock:
    """The lock on ``RUN/.lock``, with our process id in it while we hold it; the file is kept if there is a run.

    Args:
        folder: the run; made where it is missing.

    Raises:
        UserError: another process holds it (75), or the file cannot be written (74).
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None
        with writing(self.path):
            make_folder(folder)
            self._descriptor = self._acquire()

    def _acquire(self) -> int:
        while True:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(self.path, flags, 0o666)
            _held.add(descriptor)
            try:
                self._lock(descriptor)
                if self._is_current(descriptor):
                    os.ftruncate(descriptor, 0)
                    since = datetime.now(UTC).isoformat(timespec="seconds")
                    os.write(descriptor, json.dumps({"pid": os.getpid(), "since": since}).encode("ascii"))
                    return descriptor
            except BaseException:
                self._close(descriptor)
                raise
            # The folder was moved aside between opening and locking.
            self._close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if not try_lock(descriptor):
            raise UserError(
                f"{self.path.parent} is in use by {self._holder(descriptor)}",
                mend="wait for it to end, or give -o another folder",
                code=ExitCode.TRY_LATER,
            )

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            make_folder(self.path.parent)
            return False

    @staticmethod
    def _holder(descriptor: int) -> str:
        # The holder may be about to write this.
        try:
            holder = json.loads(os.read(descriptor, 1000))
            since = datetime.fromisoformat(holder["since"]).isoformat(sep=" ", timespec="seconds")
            return f"process {int(holder['pid'])} since {since}"
        except (OSError, ValueError, TypeError, KeyError):
            return "another process"

    @staticmethod
    def _close(descriptor: int) -> None:
        _held.discard(descriptor)
        os.close(descriptor)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        # In a forked child the descriptor is closed already, and its number may be another file's.
        if self._descriptor is not None and self._descriptor in _held:
            with suppress(OSError):
                if os.listdir(self.path.parent) == [self.path.name]:  # no run was started
                    self.path.unlink()
            self._close(self._descriptor)
        self._descriptor = None


@contextmanager
def lock(folder: Path) -> Iterator[RunLock]:
    """Hold a run's lock for the body. Errors are those of ``RunLock``."""
    held = RunLock(folder)
    try:
        yield held
    finally:
        held.release()
