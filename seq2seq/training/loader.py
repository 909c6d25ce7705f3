"""The pairs of each update: their stored ids, or ids that are sampled again in each epoch (subword sampling)."""

import math
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seq2seq.batching import Lengths, Rows, TokenIds, epoch_pools, micro_batches, split_by_padding
from seq2seq.config import RunConfig
from seq2seq.ragged import RaggedIds
from seq2seq.tokenizer import Sampler, Tokenizer, row_keys
from seq2seq.training.ahead import read_ahead
from seq2seq.training.parallel import Ranks
from seq2seq.training.tuning import MIN_PAIRS_DRAWN


class TokenizedPairs:
    """Some pairs as piece ids, without BOS and EOS: those of an update, of a shard or of a micro-batch.

    Args:
        src: ids of each source.
        tgt: ids of each target.
    """

    def __init__(self, src: Sequence[TokenIds], tgt: Sequence[TokenIds]) -> None:
        self.src, self.tgt = RaggedIds.of(src), RaggedIds.of(tgt)

    def __len__(self) -> int:
        """Pairs."""
        return len(self.tgt)

    @property
    def n_tgt_tokens(self) -> int:
        """Target tokens, EOS included."""
        return len(self.tgt.values) + len(self.tgt)

    def micro_batches(self, *, max_tokens: int, min_saved: float = math.inf) -> "Iterator[TokenizedPairs]":
        """Divide the pairs for forward passes of limited size.

        Args:
            max_tokens: of the padded side of a micro-batch; one pair may have more.
            min_saved: padded tokens of a side that one more micro-batch must save.
        """
        src, tgt = self.src.lengths, self.tgt.lengths
        start = 0
        for rows in micro_batches(np.arange(len(self), dtype=np.uint32), src, tgt, max_tokens=max_tokens):
            for part in split_by_padding(rows, np.maximum(src, tgt) + 1, min_saved=min_saved):
                stop = start + len(part)  # parts follow each other
                yield TokenizedPairs(self.src[start:stop], self.tgt[start:stop])
                start = stop

    def shards(self, n: int) -> "list[TokenizedPairs]":
        """Divide the pairs among ``n`` replicas: every n-th pair, so that shards have similar lengths.

        There are fewer shards if there are fewer pairs.
        """
        return [TokenizedPairs(self.src[i::n], self.tgt[i::n]) for i in range(min(n, len(self)))]


@dataclass(frozen=True)
class _Update:
    """One update, before its pairs are read."""

    epoch: int
    rows: Rows
    """Of the corpus."""
    then: tuple[int, int]
    """The epoch and the number of updates done in it, after this one."""


class PairIds(Protocol):
    """Token ids of pairs, by row: an ``IdsStore``, or the pairs of a pool in memory."""

    @property
    def src_lengths(self) -> Lengths:
        """Tokens of each source, without EOS."""
        ...

    @property
    def tgt_lengths(self) -> Lengths:
        """Tokens of each target, without EOS."""
        ...

    def take(self, rows: Rows) -> tuple[RaggedIds, RaggedIds]:
        """Sources and targets of some rows, in the requested order."""
        ...


class Loader:
    """Reads updates, epoch after epoch.

    What an update holds is a function of the run's seed, the epoch and the number of the update in it. Its pairs are
    chosen by their stored ids; sampled subwords do not change them. A thread always samples a little ahead of training.

    Args:
        ids: the corpus.
        tokenizer: the one that made the ids.
        config: how many tokens an update holds, and whether subwords are sampled (``data.subword_sampling``).
        ranks: each rank reads every n-th pair of an update, and may read none of a small one. By default there is one.
        n_ahead: updates that a thread reads ahead of training; 0: training reads them itself.

    Raises:
        UserError: subwords are to be sampled, but the tokenizer is deterministic (78).
    """

    def __init__(
        self, ids: PairIds, tokenizer: Tokenizer, config: RunConfig, ranks: Ranks | None = None, n_ahead: int = 0
    ) -> None:
        self._ids, self._n_ahead = ids, n_ahead
        self._ranks = ranks or Ranks()
        self._training, self._data = config.training, config.data
        alpha = self._data.subword_sampling
        self._sampler = Sampler(tokenizer, alpha) if alpha else None
        self.seconds_waited = 0.0
        """Time that training waited for pairs that were not read or not sampled yet."""

    def updates(
        self, epoch: int, done: int = 0, n_epochs: int | None = None
    ) -> Generator[tuple[TokenizedPairs, int, int], None, None]:
        """The updates from an epoch on.

        Args:
            epoch: counted from 0.
            done: updates of it that are skipped; those of later epochs too, if it has fewer.
            n_epochs: epochs to read; None: without end.

        Yields:
            The pairs of an update; the epoch and the number of updates done in it, after this one.
        """
        epochs = count(epoch) if n_epochs is None else range(epoch, epoch + n_epochs)
        places, sampler = self._places(epochs, done), self._sampler
        if sampler is None:
            read, n_ahead = ([self._stored(update)] for update in places), self._n_ahead
        else:
            read, n_ahead = (self._sampled(block, sampler) for block in _blocks(places)), max(1, self._n_ahead)
        with closing(read_ahead(read, n_ahead)) as blocks:
            began = time.monotonic()
            for block in blocks:
                self.seconds_waited += time.monotonic() - began
                yield from block
                began = time.monotonic()

    def _places(self, epochs: Iterable[int], done: int) -> Iterator[_Update]:
        """The requested updates."""
        for later in epochs:
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
                        rows = pool.rows[pool.cuts[i] : pool.cuts[i + 1]][self._ranks.part]
                        yield _Update(later, rows, (later + 1, 0) if ends_epoch else (later, nth))
                before += len(pool.order)
            done = max(0, done - before)

    def _stored(self, update: _Update) -> tuple[TokenizedPairs, int, int]:
        """An update, with the stored ids of its pairs."""
        return TokenizedPairs(*self._ids.take(update.rows)), *update.then

    def _sampled(self, block: Sequence[_Update], sampler: Sampler) -> list[tuple[TokenizedPairs, int, int]]:
        """Some updates, with sampled subwords."""
        stored = self._ids.take(np.concatenate([update.rows for update in block]))
        src, tgt = (self._sample_side(rows, block, side, sampler) for side, rows in enumerate(stored))
        updates, start = [], 0
        for update in block:
            pairs = zip(src[start : start + len(update.rows)], tgt[start : start + len(update.rows)], strict=True)
            # Sorted again: the pairs of an update have similar stored lengths, but other lengths now.
            by_length = sorted(pairs, key=lambda pair: max(map(len, pair)))
            updates.append((TokenizedPairs([src for src, _ in by_length], [tgt for _, tgt in by_length]), *update.then))
            start += len(update.rows)
        return updates

    def _sample_side(
        self, stored: Sequence[NDArray[np.integer]], block: Sequence[_Update], side: int, sampler: Sampler
    ) -> list[TokenIds]:
        """Sources (side 0) or targets (1) of some updates, in pieces that depend only on seed, epoch and row."""
        keys = [row_keys(self._training.seed, update.epoch, update.rows, side) for update in block]
        sampled = sampler.draw(stored, np.concatenate(keys))
        # A text that is too long now keeps its stored pieces: the model may have no positions for more.
        return [new if len(new) < self._data.max_length else old for old, new in zip(stored, sampled, strict=True)]


def _blocks(updates: Iterator[_Update]) -> Iterator[list[_Update]]:
    """Neighbouring updates with enough pairs for one call of the sampler."""
    block: list[_Update] = []
    for update in updates:
        block.append(update)
        if sum(len(one.rows) for one in block) >= MIN_PAIRS_DRAWN:
            yield block
            block = []
    if block:
        yield block
