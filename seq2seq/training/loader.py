"""What each update learns from: pairs as the store has their ids, or other divisions of their text."""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from seq2seq.batching import Ids, Rows, epoch_pools, micro_batches, split_by_padding
from seq2seq.config import RunConfig
from seq2seq.corpus import IdsStore
from seq2seq.tokenizer import Sampler, Tokenizer, row_keys

_DRAWN_AT_ONCE = 1024
"""Minimum number of pairs whose divisions are drawn together: each call has its cost."""


@dataclass(frozen=True)
class Portion:
    """The pairs of one update, as piece ids without BOS and EOS."""

    src: Sequence[Ids]
    tgt: Sequence[Ids]

    def __len__(self) -> int:
        """Pairs."""
        return len(self.tgt)

    @property
    def n_tgt_tokens(self) -> int:
        """Target tokens, EOS included."""
        return sum(map(len, self.tgt)) + len(self.tgt)

    def parts(self, *, most: int, saved: float = math.inf) -> "Iterator[Portion]":
        """The same in parts whose padded side holds at most ``most`` tokens, one pair at least.

        Args:
            most: padded tokens of a side.
            saved: padded tokens of a side that must be saved to make another part.
        """
        src, tgt = (np.fromiter(map(len, side), np.int32, len(self)) for side in (self.src, self.tgt))
        for rows in micro_batches(np.arange(len(self), dtype=np.uint32), src, tgt, max_tokens=most):
            for part in split_by_padding(rows, np.maximum(src, tgt).astype(np.int64) + 1, min_saved=saved):
                yield Portion([self.src[i] for i in part], [self.tgt[i] for i in part])

    def shares(self, n: int) -> "list[Portion]":
        """Every n-th pair each, so that they have similar lengths; fewer shares if there are fewer pairs."""
        return [Portion(self.src[i::n], self.tgt[i::n]) for i in range(min(n, len(self)))]


@dataclass(frozen=True)
class _Update:
    """One update, before its pairs are read."""

    epoch: int
    rows: Rows
    """Of the corpus."""
    then: tuple[int, int]
    """The epoch and the updates done in it once this one is made."""


class Loader:
    """Reads updates, epoch after epoch.

    What an update holds is a function of the run's seed, its epoch and its number in it. Which pairs these are follows
    from their likeliest pieces, whatever divisions are drawn; drawing is done a little ahead of learning.

    Args:
        ids: the corpus.
        tokenizer: that made the ids.
        config: how many tokens an update holds, and whether divisions are drawn (``data.subword_sampling``).

    Raises:
        UserError: divisions are to be drawn, but the tokenizer is deterministic (78).
    """

    def __init__(self, ids: IdsStore, tokenizer: Tokenizer, config: RunConfig) -> None:
        self._ids = ids
        self._training, self._data = config.training, config.data
        alpha = self._data.subword_sampling
        self._sampler = Sampler(tokenizer, alpha) if alpha else None
        self.seconds_waited = 0.0
        """Time spent waiting for divisions that were not drawn yet when their update was due."""

    def updates(self, epoch: int, done: int = 0) -> Generator[tuple[Portion, int, int], None, None]:
        """The updates from an epoch on, without end.

        Args:
            epoch: counted from 0.
            done: updates of it that are skipped; those of later epochs too, if it has fewer.

        Yields:
            What an update is made from, and the epoch and the updates done in it by then.
        """
        places = self._places(epoch, done)
        if self._sampler is None:
            for update in places:
                yield Portion(*self._ids.take(update.rows)), *update.then
            return
        with ThreadPoolExecutor(1, "reader") as reader:
            blocks = _blocks(places)
            ahead = reader.submit(self._drawn, next(blocks), self._sampler)
            for block in blocks:
                began = time.monotonic()
                drawn = ahead.result()
                self.seconds_waited += time.monotonic() - began
                ahead = reader.submit(self._drawn, block, self._sampler)
                yield from drawn

    def _places(self, epoch: int, done: int) -> Iterator[_Update]:
        """The requested updates."""
        for later in count(epoch):
            before = 0
            for pool in epoch_pools(
                self._ids.src_lengths,
                self._ids.tgt_lengths,
                batch_tokens=self._training.batch_tokens,
                seed=self._training.seed,
                epoch=later,
            ):
                for nth, i in enumerate(pool.order.tolist(), before + 1):
                    ends_epoch = pool.is_last and nth == before + len(pool.order)
                    if nth > done:
                        rows = pool.rows[pool.cuts[i] : pool.cuts[i + 1]]
                        yield _Update(later, rows, (later + 1, 0) if ends_epoch else (later, nth))
                before += len(pool.order)
            done = max(0, done - before)

    def _drawn(self, block: Sequence[_Update], sampler: Sampler) -> list[tuple[Portion, int, int]]:
        """Some updates, with divisions drawn for their text."""
        stored = self._ids.take(np.concatenate([update.rows for update in block]))
        src, tgt = (self._divided(rows, block, side, sampler) for side, rows in enumerate(stored))
        portions, start = [], 0
        for update in block:
            pairs = zip(src[start : start + len(update.rows)], tgt[start : start + len(update.rows)], strict=True)
            # By length again: an update holds pairs of similar stored length, and the lengths differ now.
            by_length = sorted(pairs, key=lambda pair: max(map(len, pair)))
            portions.append((Portion(*zip(*by_length, strict=True)), *update.then))
            start += len(update.rows)
        return portions

    def _divided(
        self, stored: Sequence[NDArray[np.integer]], block: Sequence[_Update], side: int, sampler: Sampler
    ) -> list[Ids]:
        """Sources (side 0) or targets (1) of some updates in pieces that depend on seed, epoch and row only."""
        keys = [row_keys(self._training.seed, update.epoch, update.rows, side) for update in block]
        drawn = sampler.draw(stored, np.concatenate(keys))
        # A text in too many pieces stays as it was: a model may have no room for more.
        return [new if len(new) < self._data.max_length else old for old, new in zip(stored, drawn, strict=True)]


def _blocks(updates: Iterator[_Update]) -> Iterator[list[_Update]]:
    """Neighbouring updates, with so many pairs together that drawing costs little for each."""
    block: list[_Update] = []
    for update in updates:
        block.append(update)
        if sum(len(one.rows) for one in block) >= _DRAWN_AT_ONCE:
            yield block
            block = []
