"""Bytes -> lines -> bytes: UTF-8, ``"\\n"`` alone, compression by content, hostile input.

A line ends at ``"\\n"`` and nowhere else; one ``"\\r"`` before it goes too. NUL, lone ``"\\r"``, ``"\\v"``,
``"\\f"``, U+0085, U+2028 and U+2029 are text inside a line. That is why everything here starts from bytes:
Python's text files and its own way of splitting lines would each cut at some of these.
"""

import bz2
import errno
import io
import lzma
import os
import re
import secrets
import select
import stat
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Protocol

from seq2seq.errors import ExitCode, UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK = 1 << 18
"""Bytes asked of one read, and most bytes made by one step of decompression."""
_QUIET = 0.01
"""Seconds without a byte after which a producer counts as waiting for its answer."""
_LONGEST_WAIT = 0.1
"""Seconds spent waiting for more lines of one window, all together, once it holds one."""
_BOM = b"\xef\xbb\xbf"


# ---------------------------------------------------------------------------------------------- bytes


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def _gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _xz() -> _Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


_MAGICS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""Bytes 4-10 of a bzip2 file: with data and without. Its magic alone could begin a line of text."""
_N_MAGIC = 10
"""First bytes that tell every kind of compression."""


def _sniff(head: bytes) -> Callable[[], _Decompressor] | None:
    """What decompresses a stream that begins like this; None where it is plain."""
    for magic, decompressor in _MAGICS.items():
        if head.startswith(magic) and (magic != b"BZh" or head[4:_N_MAGIC] in _BZIP2_BLOCKS):
            return decompressor
    return None


def _undecided(head: bytes) -> bool:
    """Whether more first bytes could still turn out as a magic number.

    Never so once there is a newline: somebody at a terminal waits for the answer to it.
    """
    return (
        len(head) < _N_MAGIC
        and b"\n" not in head
        and any(head[: len(magic)] == magic[: len(head)] for magic in _MAGICS)
    )


class _Bytes:
    """The decompressed bytes of a stream, as they come: each ``read`` is at most one read that waits."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        # A buffered stream's read() would wait for a full buffer. read1() gives what is there, and all
        # of it, as _CHUNK is larger than any buffer: nothing stays behind where select cannot see it.
        self._read_once: Callable[[int], bytes | None] = getattr(stream, "read1", stream.read)
        self._portions = self._all()
        self.compressed = False
        """Known after the first ``read``."""

    def read(self) -> bytes:
        """Some bytes; none at the end.

        Raises:
            UserError: damaged or cut short (65), unreadable (66).
        """
        return next(self._portions, b"")

    def _all(self) -> Iterator[bytes]:
        try:
            head = b""
            while _undecided(head) and (more := self._read_stream()):
                head += more
            decompressor = _sniff(head)
            if decompressor is None:
                while head:
                    yield head
                    head = self._read_stream()
            else:
                self.compressed = True
                yield from self._decompressed(head, decompressor)
        except EOFError:
            self._damaged("ends before its compressed data does")
        except (zlib.error, lzma.LZMAError) as error:
            self._damaged(f"holds damaged compressed data ({error})")
        except OSError as error:
            if error.errno is None:  # bz2's way to say it
                self._damaged(f"holds damaged compressed data ({error})")
            raise cannot_read(self._name, error) from None

    def _read_stream(self) -> bytes:
        while (chunk := self._read_once(_CHUNK)) is None:
            # Somebody set the descriptor not to block (a shell's job, ssh): wait here instead.
            select.select([self._stream], [], [])
        return chunk

    def _decompressed(self, data: bytes, decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
        """Members one after the other, padded with zeros or not.

        By hand, because the readers of bz2 and lzma take a damaged second member for the end of the
        file, and the lines in it would be gone without a word.
        """
        while data:
            member = decompressor()
            while not member.eof:
                portion = member.decompress(data, _CHUNK)
                data = getattr(member, "unconsumed_tail", b"")  # zlib hands its rest back, the others keep it
                if portion:
                    yield portion
                elif not data and not member.eof:
                    data = self._read_stream()
                    if not data:
                        raise EOFError
            data = member.unused_data.lstrip(b"\0")
            while not data and (more := self._read_stream()):
                data = more.lstrip(b"\0")

    def _damaged(self, what: str) -> NoReturn:
        raise UserError(f"{self._name} {what}", mend="download or compress it again") from None


def cannot_read(name: str, error: OSError) -> UserError:
    """The error for input that the system will not give (exit code 66)."""
    return UserError(
        f"{name} cannot be read: {error.strerror or error}",
        mend="name an existing file that you may read",
        code=ExitCode.NO_INPUT,
    )


def _open_file(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise cannot_read(path, error) from None


def open_input(word: str) -> BinaryIO:
    """Open the input that a command line's word names, without any buffer in between.

    Args:
        word: a path, or ``-`` for stdin, which closing leaves open.

    Raises:
        UserError: missing, a folder, not permitted (exit code 66).
    """
    if word != "-":
        return _open_file(word)
    try:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        return io.FileIO(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:  # a stand-in without a descriptor
        return sys.stdin.buffer
    except OSError as error:
        raise cannot_read("stdin", error) from None


# ---------------------------------------------------------------------------------------------- lines


@dataclass
class TextCounts:
    """What was met while reading text; several readers may add to one."""

    lines: int = 0
    invalid_utf8: int = 0
    """Lines in which bytes that are not UTF-8 became U+FFFD."""


class _Cutter:
    """Cuts bytes that come in portions into lines: the one place that knows what a line is."""

    def __init__(self, name: str, *, strict: bool, counts: TextCounts | None) -> None:
        self._name = name
        self._strict = strict
        self._counts = TextCounts() if counts is None else counts
        self._parts: list[bytes] = []  # a line whose end has not come; joined once, so a long one is not slow
        self._n_lines = 0
        self._at_start = True
        self.failure: UserError | None = None
        """Why reading must stop after the lines handed out so far (``strict``)."""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this portion ends."""
        block, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._parts.append(rest)
            return []
        block = b"".join([*self._parts, block])
        self._parts = [rest] if rest else []
        return self._lines(block)

    def finish(self) -> list[str]:
        """The last line, where the stream ended without a newline."""
        block = b"".join(self._parts)
        self._parts = []
        # A byte-order mark alone is an empty file, as far as lines go.
        return self._lines(block) if block and not (self._at_start and block == _BOM) else []

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
        self._counts.lines += len(lines)
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        return lines

    def _repaired(self, block: bytes) -> list[str]:
        lines = []
        for number, raw in enumerate(block.split(b"\n"), start=self._n_lines + 1):
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                if self._strict:
                    self.failure = UserError(
                        f"{self._name}, line {number}: not UTF-8 (byte {error.start + 1} of the line)",
                        mend="convert the file to UTF-8, or read it without strict",
                    )
                    break
                line = raw.decode(errors="replace")
                self._counts.invalid_utf8 += 1
            lines.append(line)
        return lines


def read_lines(path: Path, *, strict: bool = False, counts: TextCounts | None = None) -> Iterator[str]:
    """Read a file's lines, plain or compressed with gzip, bzip2 or xz, in constant memory.

    Compression is told by the first bytes, whatever the name. A byte-order mark at the start is no text.

    Args:
        path: a file, or anything that reads like one.
        strict: refuse a line that is not UTF-8, after those before it.
        counts: added to on the way.

    Raises:
        UserError: damaged or cut short, or not UTF-8 where ``strict`` (65), missing or unreadable (66);
            at the point of the file where it is found.
    """
    cutter = _Cutter(str(path), strict=strict, counts=counts)
    with _open_file(str(path)) as stream:
        source = _Bytes(stream, str(path))
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
        self._source = _Bytes(stream, name)
        self._cutter = _Cutter(name, strict=strict, counts=counts)
        self._lines: deque[tuple[str, int]] = deque()  # read, but not handed out: line, size in bytes
        self._n_bytes = 0
        self._at_end = False
        self._failure: UserError | None = None
        self._descriptor: int | None = None
        with suppress(OSError, ValueError, AttributeError):
            descriptor = stream.fileno()
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._descriptor = descriptor

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


# --------------------------------------------------------------------------------------------- output

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def cannot_write(name: str, error: OSError) -> UserError:
    """The error for output that the system will not take (exit code 74)."""
    if error.errno in _FULL:
        mend = "free some space or name another folder"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        mend = "make its folder first"
    else:
        mend = "name a file that you may write"
    return UserError(f"{name} cannot be written: {error.strerror or error}", mend=mend, code=ExitCode.CANNOT_WRITE)


class _CheckedFile(io.FileIO):
    """A file whose failed writes are UserErrors, told where they happen.

    Args:
        file: path or descriptor.
        mode: as for ``open``.
        shown: named in errors.
        closefd: whether closing closes the descriptor.
    """

    def __init__(self, file: str | int, mode: str, *, shown: str, closefd: bool = True) -> None:
        self._shown = shown
        try:
            super().__init__(file, mode, closefd=closefd)
        except OSError as error:
            raise cannot_write(shown, error) from None

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._shown, error) from None


@contextmanager
def _writer(file: str | int, mode: str, *, shown: str) -> Iterator[BinaryIO]:
    """A buffered writer, empty of data after a failure.

    Left for the interpreter to flush at exit, what could not be written would fail there once more and
    turn the exit code into 120.
    """
    writer = io.BufferedWriter(_CheckedFile(file, mode, shown=shown, closefd=isinstance(file, str)))
    try:
        yield writer
        writer.flush()
    except BaseException:
        with suppress(OSError, UserError):
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
    if os.name == "nt":  # has no way to
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def open_output(word: str) -> Iterator[BinaryIO]:
    """Open the output that a command line's word names.

    Args:
        word: a path, written as ``atomic_file`` does; what is no ordinary file (``/dev/null``, a named pipe) is
            written straight. ``-`` is stdout, left open.

    Raises:
        UserError: disk full, folder missing, not permitted (exit code 74).
        BrokenPipeError: whoever read our output went away.
    """
    with _output(word) as writer:
        yield writer


def _output(word: str) -> AbstractContextManager[BinaryIO]:
    if word != "-":
        path = Path(word)
        straight = path.exists() and not path.is_file()
        return _writer(word, "wb", shown=word) if straight else atomic_file(path)
    if sys.stdout is None:
        raise cannot_write("stdout", OSError(errno.EBADF, "it is closed"))
    sys.stdout.flush()
    try:
        return _writer(sys.stdout.fileno(), "wb", shown="stdout")
    except io.UnsupportedOperation:  # a stand-in without a descriptor
        return _flushed(sys.stdout.buffer)


@contextmanager
def _flushed(writer: BinaryIO) -> Iterator[BinaryIO]:
    yield writer
    writer.flush()
