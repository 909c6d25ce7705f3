"""Input bytes: files and descriptors, decompressed. Compression is recognized by the content, not by the name."""

import bz2
import errno
import io
import lzma
import select
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NoReturn, Protocol

from seq2seq.errors import UserError
from seq2seq.system.files import cannot_read
from seq2seq.text import zstd
from seq2seq.text.first_bytes import refuse_non_text, shell_word
from seq2seq.text.tuning import N_FIRST

_CHUNK = 1 << 18
"""Max bytes of one read, and of the output of one step of decompression."""
_STEP = 1 << 14
"""Max compressed bytes of one step of decompression. It is smaller than a read, so that progress is exact."""


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
_UNPACKED_BY = {_gzip: "gunzip", bz2.BZ2Decompressor: "bunzip2", _xz: "unxz"}
"""The command that decompresses each format."""
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
"""Bytes 4-10 of a bzip2 file, with and without data. Its magic number alone could begin a line of text."""
_N_MAGIC = 10
"""Number of first bytes that are enough to recognize every kind of compression."""


def _sniff(head: bytes) -> Callable[[], _Decompressor] | None:
    """The decompressor for a stream that begins with these bytes; None if it is not compressed."""
    for magic, decompressor in _MAGICS.items():
        if head.startswith(magic) and (magic != b"BZh" or head[4:_N_MAGIC] in _BZIP2_BLOCKS):
            return decompressor
    return None


def _may_be_magic(head: bytes) -> bool:
    """Whether these first bytes could be the beginning of a magic number.

    After a newline the answer is no: a user at a terminal waits for the translation of this line.
    """
    return (
        len(head) < _N_MAGIC
        and b"\n" not in head
        and any(head[: len(magic)] == magic[: len(head)] for magic in (*_MAGICS, zstd.MAGIC))
    )


class ByteSource:
    """The decompressed bytes of a stream. Each ``read`` waits for the stream at most once."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        # On a buffered stream, read() waits for a full buffer, but read1() returns what is available. _CHUNK is larger
        # than any buffer, so nothing stays in a buffer, which select does not see.
        self._read_once: Callable[[int], bytes | None] = getattr(stream, "read1", stream.read)
        self._chunks = self._all()
        self.compressed = False
        """Whether the stream is compressed; known after the first ``read``."""
        self.n_bytes = 0
        """Bytes read from the stream, before decompression."""
        self._held = b""  # compressed bytes that were read, but not decompressed yet

    def read(self) -> bytes:
        """Some bytes; none at the end.

        Raises:
            UserError: damaged, cut short, or certainly not UTF-8 text (65), unreadable (66).
        """
        return next(self._chunks, b"")

    def _all(self) -> Iterator[bytes]:
        try:
            head = b""
            while _may_be_magic(head) and (more := self._read_stream()):
                head += more
            decompressor = _sniff(head)
            self.compressed = decompressor is not None or head.startswith(zstd.MAGIC)
            if not self.compressed:
                yield from self._checked(self._plain(head), "")
                return
            self._held = head
            if decompressor is None:
                yield from self._checked(zstd.decompress(self._compressed, _CHUNK), "unzstd")
            else:
                yield from self._checked(self._decompressed(decompressor), _UNPACKED_BY[decompressor])
        except EOFError:
            self._damaged("ends before its compressed data does")
        except (zlib.error, lzma.LZMAError) as error:
            self._damaged(f"holds damaged compressed data ({error})")
        except OSError as error:
            if error.errno is None:  # from bz2 or pyarrow, for damaged data
                self._damaged(f"holds damaged compressed data ({error})")
            raise cannot_read(self._name, error) from None

    def _checked(self, chunks: Iterator[bytes], unpack: str) -> Iterator[bytes]:
        """The chunks of text, after a check of the first line. No user waits for a translation before it ends."""
        head = b""
        for chunk in chunks:
            head += chunk
            if b"\n" in chunk or len(head) >= N_FIRST:
                break
        if unpack and (_sniff(head) or head.startswith(zstd.MAGIC)):
            raise UserError(
                f"{self._name} is compressed twice",
                mend=f"decompress it once: {unpack} < {shell_word(self._name)} > FILE",
            )
        refuse_non_text(head, self._name, unpack=unpack)
        if head:
            yield head
        yield from chunks

    def _plain(self, head: bytes) -> Iterator[bytes]:
        while head:
            self.n_bytes += len(head)
            yield head
            head = self._read_stream()

    def _read_stream(self) -> bytes:
        while (chunk := self._read_once(_CHUNK)) is None:
            # The descriptor is in non-blocking mode (a shell's job, ssh): wait here instead.
            select.select([self._stream], [], [])
        return chunk

    def _compressed(self) -> bytes:
        """Some compressed bytes; none at the end."""
        self._held = self._held or self._read_stream()
        step, self._held = self._held[:_STEP], self._held[_STEP:]
        self.n_bytes += len(step)
        return step

    def _decompressed(self, decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
        """Decompress all members of a file, with or without zeros between them.

        Python's own readers of bz2 and lzma treat a damaged second member as the end of the file. So its lines would be
        lost without an error.
        """
        data = self._compressed()
        while data:
            member = decompressor()
            while not member.eof:
                chunk = member.decompress(data, _CHUNK)
                data = getattr(member, "unconsumed_tail", b"")  # zlib returns the rest, the others keep it
                if chunk:
                    yield chunk
                elif not data and not member.eof:
                    data = self._compressed()
                    if not data:
                        raise EOFError
            data = member.unused_data.lstrip(b"\0")
            while not data and (more := self._compressed()):
                data = more.lstrip(b"\0")

    def _damaged(self, what: str) -> NoReturn:
        raise UserError(f"{self._name} {what}", mend="download or compress it again") from None


def open_file(path: str) -> BinaryIO:
    """Open a file without a buffer. Raises the errors of ``open_input``."""
    try:
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None


def open_input(word: str) -> BinaryIO:
    """Open an input without a buffer.

    Args:
        word: a path, or ``-`` for stdin, which stays open.

    Raises:
        UserError: missing, a folder, or not permitted (66).
    """
    if word != "-":
        return open_file(word)
    try:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        return io.FileIO(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:  # a replacement without a descriptor, as in tests
        return sys.stdin.buffer
    except OSError as error:
        raise cannot_read("stdin", error) from None
