"""Token ids of several sentences, in one array: what is done for all sentences needs no loop in Python.

Shapes: R sentences, N ids of all of them.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Int64s = NDArray[np.int64]


class RaggedIds(Sequence[Integers]):
    """A sequence of sentences of different lengths.

    Args:
        values: ids of the first sentence, then of the second one, and so on. [N]
        lengths: of each sentence. [R]
    """

    def __init__(self, values: Integers, lengths: Int64s) -> None:
        self.values, self.lengths = values, lengths
        self._ends = np.cumsum(lengths)

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | Integers]) -> "RaggedIds":
        """The same sentences in one array; ``rows`` itself if it is one already."""
        if isinstance(rows, RaggedIds):
            return rows
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        if any(isinstance(row, np.ndarray) for row in rows):
            filled = [row for row in rows if len(row)]  # an empty list would become an array of floats
            return cls(np.concatenate(filled or [np.empty(0, np.int64)]), lengths)
        return cls(np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum())), lengths)

    @classmethod
    def gather(cls, values: Integers, starts: Int64s, lengths: Int64s) -> Self:
        """Copy some sentences out of a larger array.

        Args:
            values: holds them in any order. [≥ N]
            starts: index of the first id of each sentence. [R]
            lengths: of each sentence. [R]
        """
        new_starts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) + np.repeat(starts - new_starts, lengths)  # [N]
        return cls(values[places], lengths)

    def __len__(self) -> int:
        """Sentences."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[Integers]:
        values, start = self.values, 0
        for stop in self._ends.tolist():
            yield values[start:stop]
            start = stop

    @overload
    def __getitem__(self, index: int) -> Integers: ...

    @overload
    def __getitem__(self, index: slice) -> "RaggedIds": ...

    def __getitem__(self, index: int | slice) -> "Integers | RaggedIds":
        if not isinstance(index, slice):
            stop = self._ends[index]
            return self.values[stop - self.lengths[index] : stop]
        start, stop, step = index.indices(len(self))
        if step != 1:
            return self.take(np.arange(start, stop, step))
        if stop <= start:
            return RaggedIds(self.values[:0], self.lengths[:0])
        first = int(self._ends[start] - self.lengths[start])
        return RaggedIds(self.values[first : int(self._ends[stop - 1])], self.lengths[start:stop])

    def take(self, rows: Integers) -> "RaggedIds":
        """Some of the sentences, in the requested order."""
        lengths = self.lengths[rows]
        return RaggedIds.gather(self.values, self._ends[rows] - lengths, lengths)

    def padded(self, padding: int, *, first: int | None = None, last: int | None = None) -> Int64s:
        """A table with one sentence in each row, padded on the right.

        Args:
            padding: the id that fills each row.
            first: id to put in front of each sentence; None: none.
            last: id to put behind each sentence; None: none.

        Returns:
            [R, length of the longest sentence with the extra ids]
        """
        front = 0 if first is None else 1
        longest = int(self.lengths.max(initial=0))
        width = front + longest + (0 if last is None else 1)
        table = np.full((len(self), width), padding, np.int64)
        if first is not None:
            table[:, 0] = first
        table[:, front : front + longest][np.arange(longest) < self.lengths[:, None]] = self.values
        if last is not None:
            table[np.arange(len(self)), front + self.lengths] = last
        return table
