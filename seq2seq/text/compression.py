"""Compression of output files whose names end in .gz, .bz2 or .xz."""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from seq2seq.errors import ExitCode, UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def _gzip() -> _Compressor:
    return zlib.compressobj(wbits=16 + zlib.MAX_WBITS)  # no time in the header, so equal text gives equal bytes


_COMPRESSORS: dict[str, Callable[[], _Compressor]] = {
    ".gz": _gzip,
    ".bz2": bz2.BZ2Compressor,
    ".xz": lzma.LZMACompressor,
}
"""Compressors by the suffix of a file name."""
COMPRESSED_SUFFIXES = tuple(_COMPRESSORS)
_UNSUPPORTED_SUFFIXES = (".zst", ".lz4", ".br", ".zip", ".7z")


def is_compressed(name: str) -> bool:
    """Whether a file with this name is written compressed.

    Raises:
        UserError: the suffix names a compression that is not supported (2).
    """
    if name.lower().endswith(_UNSUPPORTED_SUFFIXES):
        raise UserError(
            f"{name} cannot be written: this compression is not supported",
            mend=f"end the name in {', '.join(COMPRESSED_SUFFIXES)}, or compress the file afterwards",
            code=ExitCode.USAGE,
        )
    return name.lower().endswith(COMPRESSED_SUFFIXES)


@contextmanager
def compressing(name: str, out: BinaryIO) -> Iterator[BinaryIO]:
    """A writer to ``out`` that compresses if the file name has such a suffix. ``out`` stays open.

    After an exception the compressed data is incomplete.
    """
    if not is_compressed(name):
        yield out
        return
    compressor = _COMPRESSORS[name[name.rindex(".") :].lower()]()
    yield cast(BinaryIO, _Writer(compressor, out))
    out.write(compressor.flush())


class _Writer(io.RawIOBase):
    def __init__(self, compressor: _Compressor, out: BinaryIO) -> None:
        self._compressor = compressor
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        data = bytes(data)
        self._out.write(self._compressor.compress(data))
        return len(data)
