"""Memory-mapped stores of pairs: Arrow files on disk. Only this file imports ``pyarrow``.

Training reads rows in random order from corpora that may be larger than memory. The files are plain Arrow files, which
many programs can open. Reading a random batch with ``datasets`` takes twenty times as long as slicing numpy arrays
(tests/benchmarks/test_store_speed.py). So a store finds the offsets and values of each batch in the file once; then it
copies slices of a numpy view of the whole file. The system may drop mapped pages when it needs memory.

Legend: R requested rows, N rows of the store, G batches of the file.
"""

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from seq2seq.corpus.pairs import Pair
from seq2seq.corpus.tuning import BATCH_ROWS, BATCH_VALUES
from seq2seq.errors import UserError
from seq2seq.ragged import Int64s, RaggedIds
from seq2seq.system.files import atomic_file, cannot_read

CompactInts = npt.NDArray[np.uint16 | np.int32]
"""Token ids or lengths, in the smaller type if it holds them."""

Row = TypeVar("Row")

_UINT16_IDS: Final = 1 << 16
"""Max size of a vocabulary whose ids fit into 16 bits."""


def write_text_store(path: Path, pairs: Iterable[Pair]) -> int:
    """Write pairs of text in constant memory. The file appears only when it is complete and on disk.

    Args:
        path: replaced if it exists.
        pairs: text without surrogates.

    Returns:
        Pairs written.

    Raises:
        UserError: disk full or not permitted (exit code 74); and what ``pairs`` raises.
    """
    import pyarrow as pa

    def batches() -> Iterator[list[Any]]:
        sizes = ((pair, len(pair[0]) + len(pair[1])) for pair in pairs)
        for rows in _batched(sizes):
            yield [pa.array([row[side] for row in rows], pa.large_string()) for side in (0, 1)]

    return _write(path, pa.large_string(), batches())


def write_ids_store(path: Path, rows: Iterable[tuple[Sequence[int], Sequence[int]]], vocab_size: int) -> int:
    """Write pairs of token ids in constant memory. The file appears only when it is complete and on disk.

    Args:
        path: replaced if it exists.
        rows: ids of source and target.
        vocab_size: ids are below it; up to 65,536 they take 2 bytes each, else 4.

    Returns:
        Pairs written.

    Raises:
        UserError: disk full or not permitted (exit code 74); and what ``rows`` raises.
        OverflowError: an id does not fit.
    """
    import pyarrow as pa

    typecode, value_type = ("H", pa.uint16()) if vocab_size <= _UINT16_IDS else ("i", pa.int32())

    def column(side: list[Sequence[int]]) -> Any:
        values = array(typecode)
        offsets = np.zeros(len(side) + 1, dtype=np.int64)
        for i, ids in enumerate(side, start=1):
            values.extend(ids)
            offsets[i] = len(values)
        flat = pa.Array.from_buffers(value_type, len(values), [None, pa.py_buffer(values)])
        return pa.LargeListArray.from_arrays(offsets, flat)

    def batches() -> Iterator[list[Any]]:
        sizes = ((row, len(row[0]) + len(row[1])) for row in rows)
        for batch in _batched(sizes):
            yield [column([row[side] for row in batch]) for side in (0, 1)]

    return _write(path, pa.large_list(value_type), batches())


def _batched(rows: Iterable[tuple[Row, int]]) -> Iterator[list[Row]]:
    """Divide rows into batches that reach one of the two limits. Each row comes with its size."""
    batch: list[Row] = []
    n_values = 0
    for row, size in rows:
        batch.append(row)
        n_values += size
        if len(batch) == BATCH_ROWS or n_values >= BATCH_VALUES:
            yield batch
            batch, n_values = [], 0
    if batch:
        yield batch


def _write(path: Path, column_type: Any, batches: Iterable[list[Any]]) -> int:
    import pyarrow as pa

    schema = pa.schema([pa.field("src", column_type), pa.field("tgt", column_type)])
    n_rows = 0
    with atomic_file(path) as file, pa.ipc.new_file(file, schema) as writer:
        for columns in batches:
            writer.write_batch(pa.record_batch(columns, schema=schema))
            n_rows += len(columns[0])
    return n_rows


class _MappedFile:
    """A memory-mapped Arrow file of two columns of slices, found by their positions in the whole file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        try:
            with open(path, "rb") as file:
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise cannot_read(str(path), error) from None
        except ValueError:  # an empty file cannot be mapped
            raise _damaged(path) from None
        try:
            whole = pa.py_buffer(self.map)
            reader = pa.ipc.open_file(pa.BufferReader(whole))
            self.value_type = str(getattr(reader.schema.field("src").type, "value_type", "text"))
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            columns = [[batch.column(side).buffers() for batch in batches] for side in ("src", "tgt")]
        except (pa.ArrowInvalid, KeyError, OSError):
            raise _damaged(path) from None

        def addresses(buffers: Iterable[Any]) -> Int64s:
            """Positions of buffers, in bytes from the start of the file."""
            return np.array([b.address - whole.address if b is not None and b.size else 0 for b in buffers], np.int64)

        # Buffers of a column: validity, offsets (int64 each), for ids their validity, values.
        self._offsets_at = [addresses(buffers[1] for buffers in column) // 8 for column in columns]  # [G]
        self.values_at = [addresses(buffers[-1] for buffers in column) for column in columns]  # bytes [G]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)], dtype=np.int64)  # [G+1]
        self._int64s: Int64s = np.frombuffer(self.map, np.int64, len(self.map) // 8)
        self.n_rows = int(self._starts[-1])

    def spans(self, side: int, rows: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Start and stop of the slices of some rows.

        Args:
            side: 0 for the source, 1 for the target.
            rows: in any order; rows may repeat. [R]

        Returns:
            The batch of each row, and the start and stop of its values in that batch. [R] each

        Raises:
            IndexError: a row is not in the store.
        """
        if rows.size and (rows.min() < 0 or rows.max() >= self.n_rows):
            raise IndexError(f"a row is not in the store, which has {self.n_rows:,} rows")
        batch = np.searchsorted(self._starts, rows, side="right") - 1
        at = self._offsets_at[side][batch] + rows - self._starts[batch]
        return batch, self._int64s[at], self._int64s[at + 1]

    def lengths(self, side: int) -> CompactInts:
        """Number of values of each row, stored in 2 bytes each if none is above 65,535, else in 4. [N]"""
        max_length = max((int(part.max()) for part in self._lengths(side)), default=0)
        dtype = np.dtype(np.uint16 if max_length <= np.iinfo(np.uint16).max else np.int32)
        lengths: CompactInts = np.empty(self.n_rows, dtype)
        start = 0
        for part in self._lengths(side):
            lengths[start : start + len(part)] = part
            start += len(part)
        return lengths

    def _lengths(self, side: int) -> Iterator[Int64s]:
        for at, n_rows in zip(self._offsets_at[side], np.diff(self._starts), strict=True):
            yield np.diff(self._int64s[at : at + n_rows + 1])


def _damaged(path: Path) -> UserError:
    return UserError(
        f"{path} is not a store of pairs, or is cut short", mend="delete it, then run the same command again"
    )


def text_hash(text: str) -> int:
    """A 64-bit hash of a text without the spaces around it. It differs between processes."""
    return hash(text.encode().strip())


class TextStore:
    """A memory-mapped store of pairs of text.

    Args:
        path: from ``write_text_store``.

    Raises:
        UserError: missing (66), not a store, or cut short (65).
    """

    def __init__(self, path: Path) -> None:
        self._file = _MappedFile(path)
        self._bytes = memoryview(self._file.map)

    def __len__(self) -> int:
        return self._file.n_rows

    def __getitem__(self, row: int) -> Pair:
        return self.take([row + len(self) if row < 0 else row])[0]

    def slice(self, start: int, stop: int | None) -> list[Pair]:
        """Pairs from row ``start`` up to ``stop``, as in the slice of a list."""
        return self.take(np.arange(*slice(start, stop).indices(len(self))))

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> list[Pair]:
        """The pairs of some rows, in the requested order.

        Raises:
            IndexError: a row is not in the store.
        """
        index = np.asarray(rows, dtype=np.int64)
        src, tgt = (self._texts(side, index) for side in (0, 1))
        return list(map(Pair, src, tgt))

    def lengths(self, side: int) -> CompactInts:
        """UTF-8 bytes of each text of a side (0: source, 1: target). [N]"""
        return self._file.lengths(side)

    def hashes(self, side: int) -> Int64s:
        """``text_hash`` of each text of a side. [N]"""
        found = np.empty(len(self), np.int64)
        for start in range(0, len(self), BATCH_ROWS):
            rows = np.arange(start, min(start + BATCH_ROWS, len(self)))
            data = self._file.map
            found[rows] = [hash(data[a:b].strip()) for a, b in self._spans(side, rows)]
        return found

    def _texts(self, side: int, rows: Int64s) -> list[str]:
        data = self._bytes
        return [str(data[a:b], "utf-8") for a, b in self._spans(side, rows)]

    def _spans(self, side: int, rows: Int64s) -> Iterator[tuple[int, int]]:
        """Start and stop of each text, in bytes of the file."""
        batch, start, stop = self._file.spans(side, rows)
        at = self._file.values_at[side][batch]
        return zip((at + start).tolist(), (at + stop).tolist(), strict=True)


class IdsStore:
    """A memory-mapped store of pairs of token ids.

    Args:
        path: from ``write_ids_store``.

    Raises:
        UserError: missing (66), not a store, or cut short (65).
    """

    def __init__(self, path: Path) -> None:
        self._file = _MappedFile(path)
        ids_type = np.dtype(np.uint16 if self._file.value_type == "uint16" else np.int32)
        self._ids: CompactInts = np.frombuffer(self._file.map, ids_type, len(self._file.map) // ids_type.itemsize)
        self._values_at = [places // ids_type.itemsize for places in self._file.values_at]  # ids [G]

    def __len__(self) -> int:
        return self._file.n_rows

    @cached_property
    def src_lengths(self) -> CompactInts:
        """Number of tokens of each source, stored in 2 bytes each if none is above 65,535, else in 4. [N]"""
        return self._file.lengths(0)

    @cached_property
    def tgt_lengths(self) -> CompactInts:
        """Number of tokens of each target, as ``src_lengths``. [N]"""
        return self._file.lengths(1)

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> tuple[RaggedIds, RaggedIds]:
        """The ids of some rows, in the requested order.

        Args:
            rows: in any order; rows may repeat. [R]

        Returns:
            Sources and targets, R each.

        Raises:
            IndexError: a row is not in the store.
        """
        index = np.asarray(rows, dtype=np.int64)
        return self._side(0, index), self._side(1, index)

    def _side(self, side: int, rows: Int64s) -> RaggedIds:
        batch, start, stop = self._file.spans(side, rows)
        return RaggedIds.gather(self._ids, self._values_at[side][batch] + start, stop - start)
