"""Where bytes go: stdout, or a file that appears only when it is whole."""

import errno
import io
import os
import secrets
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from seq2seq.errors import ExitCode, UserError
from seq2seq.text.compression import compressing

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes in one piece or not at all."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot_write(name: str, error: OSError) -> UserError:
    """The error for output that the system will not take (exit code 74)."""
    if error.errno in DISK_FULL:
        mend = "free some space or name another folder"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        mend = "make its folder first"
    else:
        mend = "name a file that you may write"
    return UserError(f"{name} cannot be written: {error.strerror or error}", mend=mend, code=ExitCode.CANNOT_WRITE)


class CheckedFile(io.FileIO):
    """A file whose failed writes are UserErrors, told where they happen.

    Args:
        file: path or descriptor.
        mode: as for ``open``.
        shown: named in errors.
        closefd: whether closing closes the descriptor.
    """

    def __init__(self, file: str | int, mode: str, *, shown: str, closefd: bool = True) -> None:
        self._shown = shown
        self.abandoned = False
        """Swallow what is written: nobody takes it any more."""
        try:
            super().__init__(file, mode, closefd=closefd)
        except OSError as error:
            raise cannot_write(shown, error) from None

    def write(self, data: "ReadableBuffer", /) -> int:
        if self.abandoned:
            return memoryview(data).nbytes
        counts: list[int] = []
        self.write_counted(data, counts)
        return counts[0]

    def write_counted(self, data: "ReadableBuffer", counts: list[int]) -> None:
        """``write``, with the count appended to a list, where it is right even if a signal interrupts this."""
        kept: list[int | None] = counts  # type: ignore[assignment]
        try:
            while True:
                # One step of C: no signal's handler can run between the system's answer and our keeping it.
                kept.extend(map(super().write, (data,)))
                if kept[-1] is not None:
                    return
                # Somebody set the descriptor not to block. Wait here instead.
                kept.pop()
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._shown, error) from None

    def accepts(self) -> bool:
        """Whether a write would go through within a second: a reader may have stalled."""
        return bool(select.select([], [self], [], 1.0)[1])


@contextmanager
def _writer(file: str | int, mode: str, *, shown: str) -> Iterator[BinaryIO]:
    """A buffered writer, empty of data after a failure.

    Left for the interpreter to flush at exit, what could not be written would fail there once more and
    turn the exit code into 120.
    """
    checked = CheckedFile(file, mode, shown=shown, closefd=isinstance(file, str))
    writer = io.BufferedWriter(checked)
    try:
        yield writer
        writer.flush()
    except BaseException:
        with suppress(OSError, UserError):
            checked.abandoned = not checked.accepts()
            writer.close()
        raise
    try:
        writer.close()
    except OSError as error:  # a network's disk may tell only now
        raise cannot_write(shown, error) from None


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is whole and on disk.

    It is written beside its place and renamed; after an exception nothing is left, and what stood
    there before still does. Mode bits of a file replaced are kept; a link is followed.

    Raises:
        UserError: disk full, folder missing, not permitted (exit code 74).
    """
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".seq2seq-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with _writer(str(temporary), "xb", shown=str(path)) as writer:
            yield writer
            writer.flush()
            try:
                os.fsync(writer.fileno())
                with suppress(FileNotFoundError):
                    temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            except OSError as error:
                raise cannot_write(str(path), error) from None
        try:
            temporary.replace(place)
            sync_folder(place.parent)
        except OSError as error:
            raise cannot_write(str(path), error) from None
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it outlives a power cut."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems flush folders by themselves and refuse to be asked.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


class LineWriter:
    """Writes whole lines: an interruption, or a reader that has stalled, leaves no part of one behind.

    Each write that reaches the system ends where a line does, and is one that a pipe takes whole. A line
    too long for that is finished after an interruption, as long as its reader takes it.
    """

    def __init__(self, raw: "CheckedFile | BinaryIO") -> None:
        self._raw = raw

    def write(self, lines: bytes) -> None:
        """Write lines, the newline of the last one included; they have left when this returns."""
        if not isinstance(self._raw, CheckedFile):
            self._raw.write(lines)
            return
        view = memoryview(lines)
        start = 0
        while start < len(lines):
            end = lines.rfind(b"\n", start, start + _PIPE_BUF) + 1 or lines.find(b"\n", start) + 1 or len(lines)
            _write_whole(self._raw, view[start:end])
            start = end


def _write_whole(raw: CheckedFile, lines: memoryview) -> None:
    counts: list[int] = []
    start = 0
    try:
        while start < len(lines):
            raw.write_counted(lines[start : start + _PIPE_BUF], counts)
            start += counts[-1]
    except (OSError, UserError):
        raise
    except BaseException:  # a signal
        start = sum(filter(None, counts))  # None: a descriptor set not to block was full
        while 0 < start < len(lines) and raw.accepts():
            start += raw.write(lines[start : start + _PIPE_BUF])
        raise


@contextmanager
def open_line_output(word: str) -> Iterator[LineWriter]:
    """Open what lines can be written to straight: stdout, left open, or what is no ordinary file.

    Args:
        word: a path, or ``-`` for stdout.

    Raises:
        UserError: not permitted, closed, the disk behind it full (exit code 74).
        BrokenPipeError: whoever read our output went away.
    """
    if word != "-":
        with CheckedFile(word, "wb", shown=word) as raw:
            yield LineWriter(raw)
        return
    _check_stdout()
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:  # a stand-in without a descriptor
        with _flushed(sys.stdout.buffer) as stand_in:
            yield LineWriter(stand_in)
        return
    with CheckedFile(descriptor, "wb", shown="stdout", closefd=False) as raw:
        yield LineWriter(raw)


@contextmanager
def open_output(word: str) -> Iterator[BinaryIO]:
    """Open the output that a command line's word names.

    Args:
        word: a path, written as ``atomic_file`` does, and compressed if its name ends in .gz, .bz2 or .xz; what is no
            ordinary file (``/dev/null``, a named pipe) is written directly. ``-`` is stdout, left open.

    Raises:
        UserError: disk full, folder missing, not permitted (exit code 74).
        BrokenPipeError: whoever read our output went away.
    """
    with _output(word) as writer, compressing(word, writer) as compressed:
        yield compressed


def _output(word: str) -> AbstractContextManager[BinaryIO]:
    if word != "-":
        straight = os.path.exists(word) and not os.path.isfile(word)
        return _writer(word, "wb", shown=word) if straight else atomic_file(Path(word))
    _check_stdout()
    try:
        return _writer(sys.stdout.fileno(), "wb", shown="stdout")
    except io.UnsupportedOperation:  # a stand-in without a descriptor
        return _flushed(sys.stdout.buffer)


def _check_stdout() -> None:
    if sys.stdout is None:
        raise cannot_write("stdout", OSError(errno.EBADF, "it is closed"))
    sys.stdout.flush()


@contextmanager
def _flushed(writer: BinaryIO) -> Iterator[BinaryIO]:
    yield writer
    writer.flush()
