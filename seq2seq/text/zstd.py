"""Decompression of Zstandard. ``pyarrow`` does it: Python itself can only from 3.14 on."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = b"\x28\xb5\x2f\xfd"
"""The first bytes of a frame."""


def decompress(read: Callable[[], bytes], chunk: int) -> Iterator[bytes]:
    """The decompressed bytes of all frames.

    Args:
        read: returns some compressed bytes; none at the end.
        chunk: max bytes of a step.

    Raises:
        EOFError: cut short.
        OSError: damaged; without ``errno``.
    """
    import pyarrow as pa  # takes a tenth of a second; most input is not compressed like this

    with pa.CompressedInputStream(pa.PythonFile(_Raw(read), mode="r"), "zstd") as stream:
        try:
            while data := stream.read(chunk):
                yield data
        except OSError as error:
            if error.errno is None and "Truncated" in str(error):
                raise EOFError from None
            raise


class _Raw(io.RawIOBase):
    """Compressed bytes as a file."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._held = self._held or self._read()
        view = memoryview(buffer)
        step, self._held = self._held[: len(view)], self._held[len(view) :]
        view[: len(step)] = step
        return len(step)
