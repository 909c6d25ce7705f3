"""BPE-dropout: words are divided while random merges are left out (Provilkov et al. 2020, arXiv:1910.13267)."""

from collections.abc import Mapping, Sequence
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from seq2seq.tokenizer.keys import Ints, Keys, random_numbers

_NEVER = np.iinfo(np.int64).max
"""Rank of two pieces that are not merged."""


class BpeSampler:
    """Samples divisions of words under a BPE model. It merges many words at once.

    As in SentencePiece, a merge of two neighbours is either dropped for good, or made in its order.

    Shapes: W words, L characters.
    """

    def __init__(self, ids: Mapping[str, int], scores: Sequence[float], alpha: float) -> None:
        self._ids = ids
        self._dropped = round(alpha * (1 << 32))
        """A merge is dropped if its random number of 32 bits is lower."""
        self._merged = np.array(sorted(ids.values(), key=lambda piece: -scores[piece]), np.int32)
        """The piece that the merge of each rank makes."""
        pairs = {
            (ids[piece[:n]], ids[piece[n:]]): rank
            for rank, piece in enumerate(sorted(ids, key=lambda piece: -scores[ids[piece]]))
            for n in range(1, len(piece))
            if piece[:n] in ids and piece[n:] in ids
        }
        self._n = len(scores)
        left, right = np.array([*pairs], np.int64).reshape(-1, 2).T
        order = np.argsort(left * self._n + right)
        # One additional entry, so that a search always finds an entry.
        self._pairs = np.append((left * self._n + right)[order], np.iinfo(np.int64).max)
        self._ranks = np.append(np.array([*pairs.values()], np.int64)[order], _NEVER)
        self.clear()

    def clear(self) -> None:
        """Remove all words."""
        self.size = 0
        self._symbols = np.empty(0, np.int32)
        """Pieces before any merge, of all words one after the other. [L]"""
        self._first_ranks = np.empty(0, np.int64)
        """Rank of the merge of each piece with the next one. [L]"""
        self._ends = np.empty(0, np.int64)
        """Index among these pieces where each word stops. [W]"""
        self._new: list[list[int]] = []

    def add(self, pieces: Sequence[int], text: str) -> None:
        """Add a word by its text. A piece with an empty text is never divided."""
        characters = [self._ids.get(character, -1) for character in text]
        # In a user's model a character may have no piece of its own. Then the word keeps the pieces that SentencePiece
        # found, which cannot be merged further.
        self._new.append(list(pieces) if not text or -1 in characters else characters)

    def flush(self) -> None:
        """Prepare the added words. Call it before ``draw``."""
        if not self._new:
            return
        symbols = np.fromiter(chain.from_iterable(self._new), np.int32)
        ends = np.cumsum([len(word) for word in self._new])
        ranks = np.full(len(symbols), _NEVER)
        ranks[:-1] = self._rank(symbols[:-1], symbols[1:])
        ranks[ends - 1] = _NEVER
        self._symbols = np.concatenate([self._symbols, symbols])
        self._first_ranks = np.concatenate([self._first_ranks, ranks])
        self._ends = np.concatenate([self._ends, ends + self.size])
        self._new = []
        self.size = len(self._symbols)

    def _rank(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> Ints:
        """Ranks of the merges of neighbouring pieces; -1 on the right means no piece."""
        pair = np.where(right < 0, -1, left.astype(np.int64) * self._n + right)
        found = np.searchsorted(self._pairs, pair)
        return np.where(self._pairs[found] == pair, self._ranks[found], _NEVER)

    def _dropout(self, ranks: Ints, keys: Keys, n: NDArray[np.integer] | int) -> Ints:
        """The ranks after dropout. The n-th random number of each key decides whether a merge is dropped."""
        dropped = (random_numbers(keys, n) >> np.uint64(32)).astype(np.int64) < self._dropped
        return np.where(dropped, _NEVER, ranks)

    def draw(self, words: Ints, keys: Keys) -> tuple[NDArray[np.int32], Ints]:
        """Draw a random division of each word.

        Args:
            words: numbers of words, in the order in which they were added. [W]
            keys: keys of the random numbers. [W]

        Returns:
            The pieces of all words, and the number of pieces of each word. [W]
        """
        ends = self._ends[words]
        n_symbols = ends - np.append(0, self._ends)[words]
        n_pieces = np.zeros(len(words), np.int64)
        found = []
        # Words of similar length are put into one table.
        widths = 1 << np.ceil(np.log2(n_symbols)).astype(np.int64)
        for width in np.unique(widths).tolist():
            which = np.flatnonzero(widths == width)
            column = np.arange(width)
            is_there = column < n_symbols[which, None]  # [W, L]
            places = np.where(is_there, (ends - n_symbols)[which, None] + column, 0)
            symbols = np.where(is_there, self._symbols[places], -1)
            ranks = self._dropout(self._first_ranks[places], keys[which, None], column)
            self._merge(symbols, np.where(is_there, ranks, _NEVER), keys[which], n_symbols[which])
            n_pieces[which] = (symbols >= 0).sum(axis=1)
            found.append((which, symbols))
        ends = np.cumsum(n_pieces)
        drawn = np.empty(n_pieces.sum(), np.int32)
        for which, symbols in found:
            row, column = np.nonzero(symbols >= 0)
            drawn[(ends - n_pieces)[which[row]] + column] = symbols[row, column]
        return drawn, n_pieces

    def _merge(self, symbols: NDArray[np.int32], ranks: Ints, keys: Keys, drawn: Ints) -> None:
        """Merge neighbours in each row, the lowest rank first, until none has a rank.

        Args:
            symbols: pieces, then -1; the result is written here. [W, L]
            ranks: rank of the merge of each piece with the next one. [W, L]
            keys: keys of the random numbers. [W]
            drawn: number of random numbers used so far. [W]
        """
        rows, now = np.arange(len(symbols)), symbols
        for step in count():
            at = ranks.argmin(axis=1)
            rank = ranks[np.arange(len(at)), at]
            more = rank < _NEVER
            done = rows[~more]
            symbols[done, : now.shape[1]] = now[~more]
            symbols[done, now.shape[1] :] = -1
            if not more.any():
                return
            rows, now, ranks, at, rank = rows[more], now[more], ranks[more], at[more], rank[more]
            nth = np.arange(len(rows))
            now[nth, at] = self._merged[rank]
            column = np.arange(now.shape[1] - 1)
            column = column + (
                column > at[:, None]
            )  # all columns except the one that was merged into its left neighbour
            now, ranks = np.take_along_axis(now, column, 1), np.take_along_axis(ranks, column, 1)
            number = drawn[rows] + 2 * step
            after = np.where(at + 1 < now.shape[1], now[nth, np.minimum(at + 1, now.shape[1] - 1)], -1)
            ranks[nth, at] = self._dropout(self._rank(now[nth, at], after), keys[rows], number)
            has_before = np.flatnonzero(at)
            before, here = now[has_before, at[has_before] - 1], now[has_before, at[has_before]]
            fresh = self._dropout(self._rank(before, here), keys[rows[has_before]], number[has_before] + 1)
            ranks[has_before, at[has_before] - 1] = fresh
