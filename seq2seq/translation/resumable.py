"""An output file that has a temporary name until it is complete, and that is resumed after an interruption.

Two files are beside ``FILE``: ``.FILE.partial`` holds the translations, and ``.FILE.partial.jsonl`` is a journal. The
journal's first line records the settings that the translations depend on. Each further line is a position: how far the
translations have come, and their checksum. A position is written after the bytes that it describes. After a kill, or a
power cut that lost some bytes, translating resumes at the last position whose checksum matches.
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
from typing import Any, Self

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import CheckedFile, atomic_file, open_regular, sync_folder, writing
from seq2seq.system.lock import LockedFile, open_locked
from seq2seq.system.processes import deferred_signals
from seq2seq.text.compression import compressing, is_compressed
from seq2seq.translation.tuning import SECONDS_PER_POSITION

_FORMAT = 1
_CHUNK = 1 << 20
_MAX_NAME = 200
"""Bytes of a file name that leave room for the prefix and suffix; most file systems take 255."""


@dataclass(frozen=True)
class Position:
    """How far the translations have come. The names are those of the journal."""

    lines: int = 0
    """Lines of the input that are translated."""
    n_bytes: int = 0
    """Length of their translations."""
    src: str = ""
    """Checksum of these lines of the input, made by the caller."""
    answers: str = ""
    """SHA-256 of their translations."""


def partial_path(path: Path) -> Path:
    """The temporary name of ``path``: beside it, or beside the file that it links to."""
    place = Path(os.path.realpath(path))
    name = os.fsencode(place.name)
    return place.with_name(f".{place.name if len(name) <= _MAX_NAME else hashlib.sha256(name).hexdigest()}.partial")


class ResumableFile:
    """A file with a temporary name, written by one process at a time.

    The leftover of an interrupted process is changed by the first ``write`` or ``complete``, and not before: if it must
    not be resumed, nothing is lost.

    Args:
        path: the final name.
        settings: what the translations depend on: numbers, strings and None by name.
        resume: continue the leftover of an interrupted process. If false, it is overwritten.

    Raises:
        UserError: another process writes it (75), its leftover was made with other settings (78), it cannot be
            written (74).
    """

    def __init__(self, path: Path, settings: dict[str, object], *, resume: bool) -> None:
        self.name = str(path)
        self._is_compressed = is_compressed(self.name)
        self.partial = partial_path(path)
        self.position = Position()
        """How far the translations have come; at first those of an interrupted process."""
        self.has_leftover = False
        """Whether an interrupted process left something, usable or not."""
        self._place = Path(os.path.realpath(path))
        self._journal_path = _journal_path(self.partial)
        self.settings: dict[str, object] = json.loads(json.dumps(settings))
        self._sha = hashlib.sha256()
        self._journal: CheckedFile | None = None  # opened by the first write
        self._journal_size = 0  # bytes of it that are kept
        self._recorded = Position()  # the last one in the journal
        self._recorded_at = -SECONDS_PER_POSITION
        self._file = self._open_locked()
        try:
            with writing(self.name):
                self.has_leftover = os.fstat(self._file.fileno()).st_size > 0
                if resume and self.has_leftover:
                    self._find_position()
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

    def _find_position(self) -> None:
        """Read the journal up to the last position whose checksum matches."""
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
            position = _position(_parsed(line))
            if position is None or position.lines < self.position.lines or not self._matches(position):
                break
            size += len(line)
            self.position, self._recorded, self._journal_size = position, position, size

    def _refuse_other(self, before: dict[str, Any]) -> None:
        now = self.settings
        names = [name for name in {**now, **before} if now.get(name) != before.get(name)]
        if names:
            changes = ", ".join(f"{name}: {before.get(name)} -> {now.get(name)}" for name in names)
            raise UserError(
                f"{self.partial} was made with other settings ({changes})",
                mend="give the command that was interrupted, or leave `resume` out to start over",
                code=ExitCode.REFUSED,
            )

    def _matches(self, position: Position) -> bool:
        """Whether the translations up to a position have its checksum. Called for one position after the other."""
        missing = position.n_bytes - self.position.n_bytes
        sha = self._sha.copy()
        while missing > 0 and (chunk := self._file.read(min(missing, _CHUNK))):
            sha.update(chunk)
            missing -= len(chunk)
        if missing or sha.hexdigest() != position.answers:
            return False
        self._sha = sha
        return True

    # Writing ----------------------------------------------------------------------------------------

    def write(self, translations: bytes, *, lines: int, src: str) -> None:
        """Append whole translations.

        Args:
            translations: of the next lines of the input.
            lines: of the input that are translated with these.
            src: checksum of them all.

        Raises:
            UserError: disk full (74).
        """
        self._begin()
        _write_all(self._file, translations)
        self._sha.update(translations)
        self.position = Position(lines, self.position.n_bytes + len(translations), src, self._sha.hexdigest())
        if time.monotonic() - self._recorded_at >= SECONDS_PER_POSITION:
            self._write_position()

    def _begin(self) -> None:
        """Cut the leftover of an interrupted process back to the position."""
        if self._journal is not None:
            return
        with writing(self.name):
            journal = CheckedFile(open_regular(self._journal_path, shown=self.name), "r+b", shown=self.name)
            try:
                # The journal first: translations without their position do no harm.
                journal.truncate(self._journal_size)
                self._file.truncate(self.position.n_bytes)
                self._file.seek(self.position.n_bytes)
                with suppress(FileNotFoundError):
                    # A file that replaces a private one is private from its first byte.
                    self.partial.chmod(stat.S_IMODE(self._place.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
            except BaseException:
                journal.close()
                raise
        self._journal = journal
        if not self._journal_size:
            self._write_journal({"format": _FORMAT, "made_with": self.settings})

    def _write_position(self) -> None:
        position = self.position
        self._write_journal(asdict(position))
        self._recorded, self._recorded_at = position, time.monotonic()

    def _write_journal(self, record: dict[str, object]) -> None:
        assert self._journal is not None
        line = json.dumps(record).encode("ascii") + b"\n"
        self._journal.seek(self._journal_size)  # overwrites a line that is incomplete because the disk was full
        _write_all(self._journal, line)
        self._journal_size += len(line)

    # Ending -----------------------------------------------------------------------------------------

    def complete(self) -> None:
        """Flush the file to disk and give it its final name; it takes over the mode of a file that it replaces.

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
            if os.name == "nt":  # Windows cannot rename an open file
                self._file.close()
            with deferred_signals():  # nobody would delete a journal without its file
                self.partial.replace(self._place)
                self.close()
                self._journal_path.unlink(missing_ok=True)
            sync_folder(self._place.parent)

    def _compress(self) -> None:
        with atomic_file(self._place) as out, compressing(self.name, out) as compressed:
            self._file.seek(0)
            shutil.copyfileobj(self._file, compressed, _CHUNK)
        # Deleted only now: until here the translations could be compressed again.
        with deferred_signals():
            self.partial.unlink()
            self.close()
            self._journal_path.unlink(missing_ok=True)

    def append(self, other: "ResumableFile") -> None:
        """Append all translations of another file. They are lost if this file is not completed after it."""
        self._begin()
        other._file.seek(0)
        left = other.position.n_bytes
        while left:
            chunk = other._file.read(min(left, _CHUNK))
            _write_all(self._file, chunk)
            left -= len(chunk)

    def close_complete(self) -> None:
        """Close the file with all its translations under its temporary name. Another file will take them over.

        Raises:
            UserError: disk full (74).
        """
        self._begin()
        if self.position != self._recorded:
            self._write_position()
        with writing(self.name):
            os.fsync(self._file.fileno())
        self.close()

    @staticmethod
    def delete_leftover(path: Path) -> None:
        """Delete what was left of an output that another file has taken over."""
        partial = partial_path(path)
        for place in (partial, _journal_path(partial)):
            with suppress(OSError):
                place.unlink()

    def suspend(self) -> bool:
        """Close the incomplete file. Whole translations are kept, to be resumed; if there are none, nothing is left.

        The leftover of an interrupted process is kept as it was if nothing has been written since.

        Returns:
            Whether there is something to resume at ``position``.
        """
        kept = False
        try:
            # After the last step of ``complete`` the temporary name may be another process's.
            if not self._file.closed and self._file.is_in_place():
                if self.position.lines:
                    kept = True
                    if self._journal is not None:
                        self._file.truncate(self.position.n_bytes)
                        if self.position != self._recorded:
                            self._write_position()
                elif self._journal is not None or not self.has_leftover:
                    self.partial.unlink()
                    self._journal_path.unlink(missing_ok=True)
        except (OSError, UserError):
            pass  # the journal records how much of the file is valid
        finally:
            self.close()
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and leave it as it is."""
        for file in (self._journal, self._file):
            with suppress(OSError):
                if file is not None:
                    file.close()


def last_position(path: Path) -> Position | None:
    """The last position in the journal of an incomplete output; None if there is none. It is not checked.

    Args:
        path: the final name.
    """
    try:
        lines = _journal_path(partial_path(path)).read_bytes().splitlines(keepends=True)
    except OSError:
        return None
    return _position(_parsed(lines[-1])) if lines else None


def _journal_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.jsonl")


def _write_all(file: CheckedFile, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of the journal; empty if it is incomplete."""
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        if line.endswith(b"\n") and isinstance(record, dict):
            return record
    return {}


def _position(record: dict[str, Any]) -> Position | None:
    kinds = {"lines": int, "n_bytes": int, "src": str, "answers": str}
    if record.keys() != kinds.keys() or any(type(record[name]) is not kind for name, kind in kinds.items()):
        return None
    return Position(**record)
