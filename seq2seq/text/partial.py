"""Answers to lines, kept under a temporary name until they are complete, and resumed after an interruption.

Beside ``FILE`` stand ``.FILE.partial``, the answers, and ``.FILE.partial.jsonl``, the journal: a first line
that says what the answers depend on, then marks, one JSON object a line, that say how far they have come.
A mark is written after the bytes it speaks of, and carries their checksum: after a kill, or a power cut
that lost some of them, the last mark that holds true says where to go on.
"""

import hashlib
import json
import os
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import CheckedFile, atomic_file, open_regular, sync_folder, writing
from seq2seq.system.lock import LockedFile, open_locked
from seq2seq.system.processes import deferred_signals
from seq2seq.text.compression import compressing, is_compressed

_FORMAT = 1
_MARK_EVERY = 1.0
"""Seconds between marks: a stream of single lines would otherwise get a journal longer than its answers."""
_CHUNK = 1 << 20
_LONGEST_NAME = 200
"""Bytes of a file name that leave room for what is put around it; most file systems take 255."""


@dataclass(frozen=True)
class Mark:
    """How far the answers have come."""

    lines: int = 0
    """Lines of the input that are answered in full."""
    n_bytes: int = 0
    """Length of these answers."""
    src: str = ""
    """Checksum of these lines of the input, as the caller makes it."""
    answers: str = ""
    """SHA-256 of these answers."""


def partial_path(path: Path) -> Path:
    """Where the answers stand that will be ``path``: beside it, or beside what it links to."""
    place = Path(os.path.realpath(path))
    name = os.fsencode(place.name)
    return place.with_name(f".{place.name if len(name) <= _LONGEST_NAME else hashlib.sha256(name).hexdigest()}.partial")


class PartialFile:
    """A file that is written under a temporary name by one process at a time.

    What an interrupted process left is changed by the first ``write`` (or by ``complete``), not earlier:
    if it turns out then that it must not be resumed, nothing is lost.

    Args:
        path: where it will appear.
        made_with: what the answers depend on; numbers, texts and None by name.
        resume: continue what an interrupted process left. If false, it is overwritten.

    Raises:
        UserError: another process writes it (75), it is not to be gone on with as ``made_with`` is
            another (78), it cannot be written (74).
    """

    def __init__(self, path: Path, made_with: dict[str, object], *, resume: bool) -> None:
        self.name = str(path)
        self._is_compressed = is_compressed(self.name)
        self.partial = partial_path(path)
        self.mark = Mark()
        """What is answered so far, by an interrupted process at first."""
        self.found = False
        """Whether an interrupted process left something, good or not."""
        self._place = Path(os.path.realpath(path))
        self._journal_path = self.partial.with_name(f"{self.partial.name}.jsonl")
        self._made_with = json.loads(json.dumps(made_with))
        self._sha = hashlib.sha256()
        self._journal: CheckedFile | None = None  # open once writing has begun
        self._journal_size = 0  # bytes of it to go on after
        self._marked = Mark()  # the last one in the journal
        self._marked_at = -_MARK_EVERY
        self._file = self._open_locked()
        try:
            with writing(self.name):
                self.found = os.fstat(self._file.fileno()).st_size > 0
                if resume and self.found:
                    self._find_mark()
        except BaseException:
            self._file.close()
            raise

    # Opening ----------------------------------------------------------------------------------------

    def _open_locked(self) -> LockedFile:
        with writing(self.name):
            file = open_locked(self.partial, shown=self.name, lock_required=False)
        if file is None:
            raise UserError(
                f"{self.name} is being written by another process",
                mend="wait for it to end, or name another file",
                code=ExitCode.TRY_LATER,
            )
        return file

    def _find_mark(self) -> None:
        """Read the journal up to the last mark that holds true of the answers."""
        try:
            lines = self._journal_path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return
        header = _parsed(lines[0]) if lines else {}
        if header.get("format") != _FORMAT or not isinstance(header.get("made_with"), dict):
            return
        self._refuse_other(header["made_with"])
        size = len(lines[0])
        for line in lines[1:]:
            mark = _mark(_parsed(line))
            if mark is None or mark.lines < self.mark.lines or not self._holds(mark):
                break
            size += len(line)
            self.mark, self._marked, self._journal_size = mark, mark, size

    def _refuse_other(self, before: dict[str, Any]) -> None:
        now = self._made_with
        names = [name for name in (*now, *(before.keys() - now.keys())) if now.get(name) != before.get(name)]
        if names:
            changes = ", ".join(f"{name}: {before.get(name)} -> {now.get(name)}" for name in names)
            raise UserError(
                f"{self.partial} was made with other settings ({changes})",
                mend="give the command that was interrupted, or leave --resume out to start over",
                code=ExitCode.REFUSED,
            )

    def _holds(self, mark: Mark) -> bool:
        """Whether the answers up to a mark are those it was made for; called with one mark after the other."""
        missing = mark.n_bytes - self.mark.n_bytes
        sha = self._sha.copy()
        while missing > 0 and (chunk := self._file.read(min(missing, _CHUNK))):
            sha.update(chunk)
            missing -= len(chunk)
        if missing or sha.hexdigest() != mark.answers:
            return False
        self._sha = sha
        return True

    # Writing ----------------------------------------------------------------------------------------

    def write(self, answers: bytes, *, lines: int, src: str) -> None:
        """Append whole answers.

        Args:
            answers: to the lines of the input after those answered so far.
            lines: of the input that are answered with these.
            src: checksum of them all.

        Raises:
            UserError: disk full (74).
        """
        self._begin()
        _write_all(self._file, answers)
        self._sha.update(answers)
        self.mark = Mark(lines, self.mark.n_bytes + len(answers), src, self._sha.hexdigest())
        if time.monotonic() - self._marked_at >= _MARK_EVERY:
            self._write_mark()

    def _begin(self) -> None:
        """Cut back to the mark what an interrupted process left."""
        if self._journal is not None:
            return
        with writing(self.name):
            journal = CheckedFile(open_regular(self._journal_path, shown=self.name), "r+b", shown=self.name)
            try:
                # The journal first: answers without their mark do no harm.
                journal.truncate(self._journal_size)
                self._file.truncate(self.mark.n_bytes)
                self._file.seek(self.mark.n_bytes)
                with suppress(FileNotFoundError):
                    # What takes the place of a private file is private from its first byte on.
                    self.partial.chmod(stat.S_IMODE(self._place.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
            except BaseException:
                journal.close()
                raise
        self._journal = journal
        if not self._journal_size:
            self._write_journal({"format": _FORMAT, "made_with": self._made_with})

    def _write_mark(self) -> None:
        mark = self.mark
        self._write_journal(asdict(mark))
        self._marked, self._marked_at = mark, time.monotonic()

    def _write_journal(self, record: dict[str, object]) -> None:
        assert self._journal is not None
        line = json.dumps(record).encode("ascii") + b"\n"
        self._journal.seek(self._journal_size)  # over what a full disk took of the one before
        _write_all(self._journal, line)
        self._journal_size += len(line)

    # Ending -----------------------------------------------------------------------------------------

    def complete(self) -> None:
        """Flush to disk and give it its name; the mode of a file replaced is kept.

        If the name ends in .gz, .bz2 or .xz, the file is compressed.

        Raises:
            UserError: disk full, not permitted (74).
        """
        self._begin()
        with writing(self.name):
            if self._is_compressed:
                self._compress()
                return
            os.fsync(self._file.fileno())
            with suppress(FileNotFoundError):
                self.partial.chmod(stat.S_IMODE(self._place.stat().st_mode))
            if os.name == "nt":  # which renames no open file
                self._file.close()
            with deferred_signals():  # a journal without its answers would be nobody's
                self.partial.replace(self._place)
                self._close()
                self._journal_path.unlink(missing_ok=True)
            sync_folder(self._place.parent)

    def _compress(self) -> None:
        with atomic_file(self._place) as out, compressing(self.name, out) as compressed:
            self._file.seek(0)
            shutil.copyfileobj(self._file, compressed, _CHUNK)
        # Deleted only now: until here the answers could be compressed again.
        with deferred_signals():
            self.partial.unlink()
            self._close()
            self._journal_path.unlink(missing_ok=True)

    def leave(self) -> bool:
        """End early: keep the whole answers for a later process to go on with; without any, leave nothing.

        What an interrupted process left is kept as it was where nothing has been written since.

        Returns:
            Whether there is something to go on with at ``mark``.
        """
        kept = False
        try:
            # Not so after the last step of ``complete``: what has the name by now is not ours.
            if not self._file.closed and self._file.is_in_place():
                if self.mark.lines:
                    kept = True
                    if self._journal is not None:
                        self._file.truncate(self.mark.n_bytes)
                        if self.mark != self._marked:
                            self._write_mark()
                elif self._journal is not None or not self.found:
                    self.partial.unlink()
                    self._journal_path.unlink(missing_ok=True)
        except (OSError, UserError):
            pass  # the journal says how far it can be trusted
        finally:
            self._close()
        return kept

    def _close(self) -> None:
        for file in (self._journal, self._file):
            with suppress(OSError):
                if file is not None:
                    file.close()


def _write_all(file: CheckedFile, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of the journal; empty where it is torn."""
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        if line.endswith(b"\n") and isinstance(record, dict):
            return record
    return {}


def _mark(record: dict[str, Any]) -> Mark | None:
    kinds = {"lines": int, "n_bytes": int, "src": str, "answers": str}
    if record.keys() != kinds.keys() or any(type(record[name]) is not kind for name, kind in kinds.items()):
        return None
    return Mark(**record)
