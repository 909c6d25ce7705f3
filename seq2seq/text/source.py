"""Where bytes come from: files and descriptors, plain or compressed, distinguished by content."""

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
from seq2seq.text.first_bytes import N_FIRST, refuse_foreign, shell_word

_CHUNK = 1 << 18
"""Bytes asked of one read, and most bytes made by one step of decompression."""
_PORTION = 1 << 14
"""Most compressed bytes taken by one step of decompression: a finer measure than a whole read of how far it is."""


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
"""The command that decompresses the same format."""
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


class ByteSource:
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
        self.n_bytes = 0
        """Bytes of the stream that were handed out, before any decompression."""
        self._held = b""  # compressed bytes that wait to be decompressed

    def read(self) -> bytes:
        """Some bytes; none at the end.

        Raises:
            UserError: damaged, cut short, or plainly not UTF-8 text (65), unreadable (66).
        """
        return next(self._portions, b"")

    def _all(self) -> Iterator[bytes]:
        try:
            head = b""
            while _undecided(head) and (more := self._read_stream()):
                head += more
            decompressor = _sniff(head)
            if decompressor is None:
                yield from self._checked(self._plain(head), "")
            else:
                self.compressed = True
                self._held = head
                yield from self._checked(self._decompressed(decompressor), _UNPACKED_BY[decompressor])
        except EOFError:
            self._damaged("ends before its compressed data does")
        except (zlib.error, lzma.LZMAError) as error:
            self._damaged(f"holds damaged compressed data ({error})")
        except OSError as error:
            if error.errno is None:  # bz2's way to say it
                self._damaged(f"holds damaged compressed data ({error})")
            raise cannot_read(self._name, error) from None

    def _checked(self, portions: Iterator[bytes], packed_with: str) -> Iterator[bytes]:
        """The portions of text, after a check of their first line; no answer is due before its end."""
        head = b""
        for portion in portions:
            head += portion
            if b"\n" in portion or len(head) >= N_FIRST:
                break
        if packed_with and _sniff(head):
            raise UserError(
                f"{self._name} is compressed twice",
                mend=f"decompress it once: {packed_with} < {shell_word(self._name)} > FILE",
            )
        refuse_foreign(head, self._name, packed_with=packed_with)
        if head:
            yield head
        yield from portions

    def _plain(self, head: bytes) -> Iterator[bytes]:
        while head:
            self.n_bytes += len(head)
            yield head
            head = self._read_stream()

    def _read_stream(self) -> bytes:
        while (chunk := self._read_once(_CHUNK)) is None:
            # Somebody set the descriptor not to block (a shell's job, ssh): wait here instead.
            select.select([self._stream], [], [])
        return chunk

    def _portion(self) -> bytes:
        """Some compressed bytes."""
        self._held = self._held or self._read_stream()
        portion, self._held = self._held[:_PORTION], self._held[_PORTION:]
        self.n_bytes += len(portion)
        return portion

    def _decompressed(self, decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
        """Members one after the other, padded with zeros or not.

        By hand, because the readers of bz2 and lzma take a damaged second member for the end of the
        file, and the lines in it would be gone without a word.
        """
        data = self._portion()
        while data:
            member = decompressor()
            while not member.eof:
                portion = member.decompress(data, _CHUNK)
                data = getattr(member, "unconsumed_tail", b"")  # zlib hands its rest back, the others keep it
                if portion:
                    yield portion
                elif not data and not member.eof:
                    data = self._portion()
                    if not data:
                        raise EOFError
            data = member.unused_data.lstrip(b"\0")
            while not data and (more := self._portion()):
                data = more.lstrip(b"\0")

    def _damaged(self, what: str) -> NoReturn:
        raise UserError(f"{self._name} {what}", mend="download or compress it again") from None


def open_file(path: str) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None


def open_input(word: str) -> BinaryIO:
    """Open the input that a command line's word names, without any buffer in between.

    Args:
        word: a path, or ``-`` for stdin, which closing leaves open.

    Raises:
        UserError: missing, a folder, not permitted (exit code 66).
    """
    if word != "-":
        return open_file(word)
    try:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        return io.FileIO(sys.stdin.fileno(), "rb", closefd=False)
    except io.UnsupportedOperation:  # a stand-in without a descriptor
        return sys.stdin.buffer
    except OSError as error:
        raise cannot_read("stdin", error) from None
