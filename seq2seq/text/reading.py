"""Reading of lines: all lines of a file (``read_lines``), or the lines that are ready (``LineReader``)."""

import os
import re
import select
import stat
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seq2seq.errors import UserError
from seq2seq.text.encodings import EncodingErrors, InvalidLines
from seq2seq.text.source import ByteSource, open_input
from seq2seq.text.tuning import MAX_WAIT, QUIET

_BOM = b"\xef\xbb\xbf"


@dataclass
class TextCounts:
    """Counts of a reader of text. Several readers may add to one object."""

    invalid_utf8: int = 0
    """Lines in which bytes that are not UTF-8 were replaced by U+FFFD."""


class _LineSplitter:
    """Splits chunks of bytes into lines. Only this class decides what a line is."""

    def __init__(self, name: str, encoding_errors: EncodingErrors, counts: TextCounts | None) -> None:
        self._name = name
        self._encoding_errors = encoding_errors
        self._invalid = InvalidLines()
        self._counts = TextCounts() if counts is None else counts
        self._parts: list[bytes] = []  # of a line whose end is not read yet; joined only once, for speed
        self._n_lines = 0
        self._at_start = True
        self.failure: UserError | None = None
        """The error to raise after the lines returned so far: too many lines, or one (strict), are not UTF-8."""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that end in this chunk."""
        block, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._parts.append(rest)
            return []
        block = b"".join([*self._parts, block])
        self._parts = [rest] if rest else []
        lines = self._lines(block)
        self._check(at_end=False)
        return lines

    def finish(self) -> list[str]:
        """The last line, if it has no newline."""
        block = b"".join(self._parts)
        self._parts = []
        # A file of only a byte-order mark has no lines.
        lines = self._lines(block) if block and not (self._at_start and block == _BOM) else []
        self._check(at_end=True)
        return lines

    def _check(self, *, at_end: bool) -> None:
        if self._encoding_errors == "refuse":
            self.failure = self._invalid.refusal(self._name, self._n_lines, at_end=at_end)

    def _lines(self, block: bytes) -> list[str]:
        """Decode whole lines, without the newline of the last one."""
        if self._at_start:
            block = block.removeprefix(_BOM)
            self._at_start = False
        try:
            lines = block.decode().split("\n")  # all at once: several times as fast as line by line
        except UnicodeDecodeError:
            lines = self._decode_each(block)
        self._n_lines += len(lines)
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        return lines

    def _decode_each(self, block: bytes) -> list[str]:
        """Decode line by line, and replace bytes that are not UTF-8."""
        lines = []
        for number, raw in enumerate(block.split(b"\n"), start=self._n_lines + 1):
            try:
                line = raw.decode()
                self._invalid.add_valid(raw)
            except UnicodeDecodeError as error:
                if self._encoding_errors == "strict":
                    self.failure = UserError(
                        f"{self._name}, line {number}: not UTF-8 (byte {error.start + 1} of the line)",
                        mend="convert the file to UTF-8, or leave out `data.encoding_errors=strict`",
                    )
                    break
                line = raw.decode(errors="replace")
                self._invalid.add(number, raw)
                self._counts.invalid_utf8 += 1
            lines.append(line)
        return lines


def read_lines(
    path: Path, *, encoding_errors: EncodingErrors = "replace", counts: TextCounts | None = None
) -> Iterator[str]:
    """Read a file's lines, plain or compressed with gzip, bzip2 or xz, in constant memory.

    Compression is recognized by the first bytes, not by the name. A byte-order mark at the start is not part of the
    text.

    Args:
        path: a file, a pipe or a device; ``-`` is stdin.
        encoding_errors: what to do with lines that are not UTF-8.
        counts: is updated while reading.

    Raises:
        UserError: damaged, cut short, certainly not UTF-8 text, or too many lines that are not UTF-8 (65), missing or
            unreadable (66). It is raised when reading reaches that place in the file.
    """
    name = "stdin" if str(path) == "-" else str(path)
    splitter = _LineSplitter(name, encoding_errors, counts)
    with open_input(str(path)) as stream:
        source = ByteSource(stream, name)
        while chunk := source.read():
            yield from splitter.feed(chunk)
            if splitter.failure:
                raise splitter.failure
    yield from splitter.finish()
    if splitter.failure:
        raise splitter.failure


class LineReader:
    """Reads the lines that are ready: many at once from a file, each line without delay from a terminal or a pipe.

    The lines are those of ``read_lines``. Compressed input is treated as a file.

    Args:
        stream: from ``open_input``. Without a descriptor it is treated as memory, which never waits. If ``select``
            does not support its descriptor, each window is the result of one read.
        name: named in errors.
        strict: refuse a line that is not UTF-8, after the lines before it were returned.
        counts: is updated while reading.
    """

    def __init__(self, stream: BinaryIO, name: str, *, strict: bool = False, counts: TextCounts | None = None) -> None:
        self._source = ByteSource(stream, name)
        self.counts = TextCounts() if counts is None else counts
        self._splitter = _LineSplitter(name, "strict" if strict else "replace", self.counts)
        self._lines: deque[tuple[str, int]] = deque()  # lines read but not returned yet, with their bytes
        self._n_bytes = 0
        self._n_bytes_returned = 0
        self._at_end = False
        self._failure: UserError | None = None
        self.size: int | None = None
        """Bytes from the start position to the end; None if it is not a regular file."""
        self._descriptor: int | None = None
        with suppress(OSError, ValueError, AttributeError):
            descriptor = stream.fileno()
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                self.size = max(0, status.st_size - stream.tell())
            else:
                self._descriptor = descriptor

    @property
    def n_bytes_taken(self) -> int:
        """Bytes of the (compressed) stream that the returned lines took, estimated."""
        n_bytes = self._n_bytes_returned + self._n_bytes
        return self._source.n_bytes * self._n_bytes_returned // n_bytes if n_bytes else 0

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """Wait for a line, then take further lines that are ready, up to the limits.

        Args:
            max_lines: 1 or more.
            max_bytes: newlines included. A longer line is returned whole, as the only one of its window.

        Returns:
            One line or more; none at the end.

        Raises:
            UserError: as ``read_lines``, once the lines before the error were returned.
        """
        time_left = MAX_WAIT
        while not self._at_end and len(self._lines) < max_lines and self._n_bytes < max_bytes:
            if self._lines:
                began = time.monotonic()
                if not self._ready(min(QUIET, time_left)):
                    break
                # The total is limited. Otherwise a program that writes a line every few milliseconds would get its
                # first translation only when the window is full.
                time_left = max(0.0, time_left - (time.monotonic() - began))
            self._read_more()
        if self._failure and not self._lines:
            raise self._failure
        window: list[str] = []
        room = max_bytes
        while self._lines and len(window) < max_lines and (not window or self._lines[0][1] <= room):
            line, size = self._lines.popleft()
            window.append(line)
            room -= size
            self._n_bytes -= size
            self._n_bytes_returned += size
        return window

    def _ready(self, seconds: float) -> bool:
        """Whether a read would return data, or the end, within this time."""
        if self._descriptor is None or self._source.compressed:
            return True
        try:
            return bool(select.select([self._descriptor], [], [], seconds)[0])
        except (OSError, ValueError):
            return False

    def _read_more(self) -> None:
        try:
            chunk = self._source.read()
        except UserError as error:
            self._failure = error
            self._at_end = True
            return
        lines = self._splitter.feed(chunk) if chunk else self._splitter.finish()
        self._failure = self._splitter.failure
        # After the end of a terminal's input, a further read would wait for a second Ctrl-D.
        self._at_end = not chunk or self._failure is not None
        for line in lines:
            size = len(line.encode()) + 1
            self._lines.append((line, size))
            self._n_bytes += size


_UNSAFE = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """Text as one line of valid UTF-8.

    Characters that some programs treat as the end of a line become spaces (``\\n \\r \\v \\f``, U+001C to U+001E,
    U+0085, U+2028, U+2029). Surrogates become U+FFFD.
    """
    return _UNSAFE.sub(lambda match: "\ufffd" if match[0] >= "\ud800" else " ", text)


def is_blank(line: str) -> bool:
    """Whether a line is empty or only whitespace."""
    return not line or line.isspace()
