"""What a line is, and the two ways to read lines: a whole file, or what is ready."""

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

_QUIET = 0.01
"""Seconds without a byte after which a producer counts as waiting for its answer."""
_LONGEST_WAIT = 0.1
"""Seconds spent waiting for more lines of one window, all together, once it holds one."""
_BOM = b"\xef\xbb\xbf"


@dataclass
class TextCounts:
    """What was met while reading text; several readers may add to one."""

    invalid_utf8: int = 0
    """Lines in which bytes that are not UTF-8 became U+FFFD."""


class _Cutter:
    """Cuts bytes that come in portions into lines: the one place that knows what a line is."""

    def __init__(self, name: str, encoding_errors: EncodingErrors, counts: TextCounts | None) -> None:
        self._name = name
        self._encoding_errors = encoding_errors
        self._invalid = InvalidLines()
        self._counts = TextCounts() if counts is None else counts
        self._parts: list[bytes] = []  # a line whose end has not come; joined once, so a long one is not slow
        self._n_lines = 0
        self._at_start = True
        self.failure: UserError | None = None
        """Why reading must stop after the lines returned so far: too many are not UTF-8, or (strict) one is not."""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this portion ends."""
        block, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._parts.append(rest)
            return []
        block = b"".join([*self._parts, block])
        self._parts = [rest] if rest else []
        lines = self._lines(block)
        self._judge(at_end=False)
        return lines

    def finish(self) -> list[str]:
        """The last line, where the stream ended without a newline."""
        block = b"".join(self._parts)
        self._parts = []
        # A byte-order mark alone is an empty file, as far as lines go.
        lines = self._lines(block) if block and not (self._at_start and block == _BOM) else []
        self._judge(at_end=True)
        return lines

    def _judge(self, *, at_end: bool) -> None:
        if self._encoding_errors == "refuse":
            self.failure = self._invalid.refusal(self._name, self._n_lines, at_end=at_end)

    def _lines(self, block: bytes) -> list[str]:
        """Decode whole lines, the newline of the last one left out."""
        if self._at_start:
            block = block.removeprefix(_BOM)
            self._at_start = False
        try:
            lines = block.decode().split("\n")  # at once: several times faster than line by line
        except UnicodeDecodeError:
            lines = self._repaired(block)
        self._n_lines += len(lines)
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        return lines

    def _repaired(self, block: bytes) -> list[str]:
        lines = []
        for number, raw in enumerate(block.split(b"\n"), start=self._n_lines + 1):
            try:
                line = raw.decode()
                self._invalid.meet(raw)
            except UnicodeDecodeError as error:
                if self._encoding_errors == "strict":
                    self.failure = UserError(
                        f"{self._name}, line {number}: not UTF-8 (byte {error.start + 1} of the line)",
                        mend="convert the file to UTF-8, or leave out --strict and encoding_errors = strict",
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

    Compression is recognised by the first bytes, whatever the name. A byte-order mark at the start is not text.

    Args:
        path: a file, or anything that reads like one; ``-`` is stdin.
        encoding_errors: what to do with lines that are not UTF-8.
        counts: added to on the way.

    Raises:
        UserError: damaged, cut short, plainly not UTF-8 text, or too many lines that are not UTF-8 (65), missing or
            unreadable (66); raised at the point of the file where it is found.
    """
    name = "stdin" if str(path) == "-" else str(path)
    cutter = _Cutter(name, encoding_errors, counts)
    with open_input(str(path)) as stream:
        source = ByteSource(stream, name)
        while chunk := source.read():
            yield from cutter.feed(chunk)
            if cutter.failure:
                raise cutter.failure
    yield from cutter.finish()
    if cutter.failure:
        raise cutter.failure


class LineReader:
    """Reads what is ready: large windows from a file, each line at once from a terminal or a waiting pipe.

    Lines are those of ``read_lines``. Compressed input is taken for a file.

    Args:
        stream: as ``open_input`` gives it. Without a descriptor it is taken for memory, which never waits;
            with one that ``select`` cannot ask, each window is what one read gave.
        name: named in errors.
        strict: refuse a line that is not UTF-8, after those before it.
        counts: added to on the way.
    """

    def __init__(self, stream: BinaryIO, name: str, *, strict: bool = False, counts: TextCounts | None = None) -> None:
        self._source = ByteSource(stream, name)
        self.counts = TextCounts() if counts is None else counts
        self._cutter = _Cutter(name, "strict" if strict else "replace", self.counts)
        self._lines: deque[tuple[str, int]] = deque()  # read, but not handed out: line, size in bytes
        self._n_bytes = 0
        self._n_bytes_given = 0
        self._at_end = False
        self._failure: UserError | None = None
        self.size: int | None = None
        """Bytes of the stream, from where it stood on; None for what is no ordinary file."""
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
        """About how many bytes of the stream the lines handed out took up, compressed as they are."""
        n_bytes = self._n_bytes_given + self._n_bytes
        return self._source.n_bytes * self._n_bytes_given // n_bytes if n_bytes else 0

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """Wait for a line, then take all further ones that are there, up to the limits.

        Args:
            max_lines: most lines, at least 1.
            max_bytes: most bytes, newlines included; a longer line comes alone, but whole.

        Returns:
            At least one line; none at the end.

        Raises:
            UserError: as ``read_lines``, once the lines before have been handed out.
        """
        patience = _LONGEST_WAIT
        while not self._at_end and len(self._lines) < max_lines and self._n_bytes < max_bytes:
            if self._lines:
                began = time.monotonic()
                if not self._ready(min(_QUIET, patience)):
                    break
                # A producer that gives a line every few milliseconds would otherwise get its first
                # answer when the window is full.
                patience = max(0.0, patience - (time.monotonic() - began))
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
            self._n_bytes_given += size
        return window

    def _ready(self, seconds: float) -> bool:
        """Whether a read would give something, or the end, within this time."""
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
        lines = self._cutter.feed(chunk) if chunk else self._cutter.finish()
        self._failure = self._cutter.failure
        # Once a terminal has said that it is done, asking again would wait for a second Ctrl-D.
        self._at_end = not chunk or self._failure is not None
        for line in lines:
            size = len(line.encode()) + 1
            self._lines.append((line, size))
            self._n_bytes += size


_UNSAFE = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029\ud800-\udfff]")


def one_line(text: str) -> str:
    """Make text safe to write as one line of UTF-8.

    Each character that any program takes for the end of a line becomes a space (``\\n \\r \\v \\f``, U+001C
    to U+001E, U+0085, U+2028, U+2029), each surrogate U+FFFD.
    """
    return _UNSAFE.sub(lambda match: "\ufffd" if match[0] >= "\ud800" else " ", text)


def is_blank(line: str) -> bool:
    """Whether ``str.strip()`` leaves nothing of the line."""
    return not line or line.isspace()
