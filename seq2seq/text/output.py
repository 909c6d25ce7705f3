"""Output: stdout, a pipe, or a file that appears only when it is complete."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from seq2seq.errors import UserError
from seq2seq.system.files import CheckedFile, atomic_file, cannot_write, checked_writer
from seq2seq.text.compression import compressing

_PIPE_BUF = getattr(select, "PIPE_BUF", 512)
"""Max bytes that a pipe accepts all at once or not at all."""


class LineWriter:
    """Writes whole lines: after an interruption or with a stalled reader, no part of a line is left.

    Each write ends at the end of a line, and is small enough for a pipe to accept it at once. A longer line is finished
    after an interruption, as long as the reader accepts it.
    """

    def __init__(self, raw: "CheckedFile | BinaryIO") -> None:
        self._raw = raw

    def write(self, lines: bytes) -> None:
        """Write lines, each with its newline. They are not buffered."""
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
        start = sum(filter(None, counts))  # None: a descriptor in non-blocking mode was full
        while 0 < start < len(lines) and raw.accepts():
            start += raw.write(lines[start : start + _PIPE_BUF])
        raise


@contextmanager
def open_line_output(word: str) -> Iterator[LineWriter]:
    """Open an output to which lines are written directly: stdout (which stays open), a pipe or a device.

    Args:
        word: a path, or ``-`` for stdout.

    Raises:
        UserError: not permitted, closed, or its disk is full (exit code 74).
        BrokenPipeError: the reader has closed the pipe.
    """
    if word != "-":
        with CheckedFile(word, "wb", shown=word) as raw:
            yield LineWriter(raw)
        return
    _check_stdout()
    try:
        descriptor = sys.stdout.fileno()
    except io.UnsupportedOperation:  # a replacement without a descriptor, as in tests
        with _flushed(sys.stdout.buffer) as buffer:
            yield LineWriter(buffer)
        return
    with CheckedFile(descriptor, "wb", shown="stdout", closefd=False) as raw:
        yield LineWriter(raw)


@contextmanager
def open_output(word: str) -> Iterator[BinaryIO]:
    """Open an output.

    Args:
        word: a path, or ``-`` for stdout, which stays open. A file is written as by ``atomic_file``; a pipe or a device
            (``/dev/null``) is written directly. The output is compressed if its name ends in .gz, .bz2 or .xz.

    Raises:
        UserError: the disk is full, the folder is missing, or it is not permitted (exit code 74).
        BrokenPipeError: the reader has closed the pipe.
    """
    with _output(word) as writer, compressing(word, writer) as compressed:
        yield compressed


def _output(word: str) -> AbstractContextManager[BinaryIO]:
    if word != "-":
        is_direct = os.path.exists(word) and not os.path.isfile(word)
        return checked_writer(word, "wb", shown=word) if is_direct else atomic_file(Path(word))
    _check_stdout()
    try:
        return checked_writer(sys.stdout.fileno(), "wb", shown="stdout")
    except io.UnsupportedOperation:  # a replacement without a descriptor, as in tests
        return _flushed(sys.stdout.buffer)


def _check_stdout() -> None:
    if sys.stdout is None:
        raise cannot_write("stdout", OSError(errno.EBADF, "it is closed"))
    sys.stdout.flush()


@contextmanager
def _flushed(writer: BinaryIO) -> Iterator[BinaryIO]:
    yield writer
    writer.flush()
