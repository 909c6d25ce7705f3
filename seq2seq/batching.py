"""Batching: length buckets, a budget of target tokens, padding.

The order depends only on (seed, epoch). So a run can resume within an epoch: it needs only the number of the epoch and
the number of updates done.

Shapes: B sentences, S source length, T target length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.device import to_device
from seq2seq.ragged import RaggedIds
from seq2seq.tokenizer import BOS, EOS, PAD

POOL = 1 << 17
"""Pairs in a pool: a part of the shuffled corpus that is sorted by length. It is large enough for little padding, and
the memory for sorting does not grow with the corpus."""
_NOISE = 0.05
"""Max fraction of a target's length that is added or subtracted at random before sorting. Without this noise a pair
would be with nearly the same pairs in each epoch. More noise, or noise of source lengths, causes more padding."""

Lengths = NDArray[np.uint16 | np.int32 | np.int64]
Rows = NDArray[np.uint32]
TokenIds = Sequence[int] | NDArray[np.integer]
"""Of one sentence."""


def derived_seed(*place: int) -> int:
    """A seed of 63 bits for the random numbers of one part of a run.

    Args:
        place: the run's seed, then numbers that identify the part of the run, such as the update and the micro-batch.
    """
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Batch:
    """A batch of sentence pairs, padded on the right."""

    src: Tensor
    """Source pieces and EOS. [B, S]"""
    tgt_in: Tensor
    """BOS and target pieces: what the decoder reads. [B, T]"""
    tgt_out: Tensor
    """Target pieces and EOS: what the decoder should predict. [B, T]"""
    n_tgt_tokens: int
    """Real target positions, EOS included."""

    @property
    def n_padding(self) -> int:
        """Padded positions of both sides."""
        return int(self.src.eq(PAD).sum()) + int(self.tgt_out.eq(PAD).sum())

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        src, tgt_in, tgt_out = (to_device(side, device) for side in (self.src, self.tgt_in, self.tgt_out))
        return Batch(src, tgt_in, tgt_out, self.n_tgt_tokens)


def pad(rows: Sequence[TokenIds], *, first: int | None = None, last: int | None = None) -> Tensor:
    """Pad rows of ids on the right to one tensor.

    Args:
        rows: piece ids of each sentence.
        first: id to put in front of each row, such as BOS.
        last: id to put at the end of each row, such as EOS.

    Returns:
        [B, length of the longest row with the extra ids]
    """
    return torch.from_numpy(RaggedIds.of(rows).padded(PAD, first=first, last=last))


def collate(src: Sequence[TokenIds], tgt: Sequence[TokenIds]) -> Batch:
    """Make a batch from the ids of sentence pairs, and add BOS and EOS."""
    src, tgt = RaggedIds.of(src), RaggedIds.of(tgt)
    return Batch(
        src=pad(src, last=EOS),
        tgt_in=pad(tgt, first=BOS),
        tgt_out=pad(tgt, last=EOS),
        n_tgt_tokens=len(tgt.values) + len(tgt),
    )


def epoch_updates(
    src_lengths: Lengths, tgt_lengths: Lengths, *, batch_tokens: int, seed: int, epoch: int
) -> Iterator[Rows]:
    """The updates of an epoch, each as rows of the corpus. Every row occurs once; rows of an update are similarly long.

    Args:
        src_lengths: pieces of each source, without EOS. [pairs]
        tgt_lengths: pieces of each target, without EOS. [pairs]
        batch_tokens: max target tokens of an update, EOS included; a longer target is an update of its own.
        seed: of the run.
        epoch: counted from 0.
    """
    for pool in epoch_pools(src_lengths, tgt_lengths, batch_tokens=batch_tokens, seed=seed, epoch=epoch):
        for i in pool.order:
            yield pool.rows[pool.cuts[i] : pool.cuts[i + 1]]


@dataclass(frozen=True)
class Pool:
    """A part of the rows of an epoch, divided into updates."""

    is_last: bool
    """Whether it is the last pool of its epoch."""
    rows: Rows
    """The rows of one update after the other. Within an update they are sorted by their longer side, so that its
    micro-batches have the least padding."""
    cuts: list[int]
    """Index where each update starts, and where the last one stops."""
    order: NDArray[np.int64]
    """Order of the updates in training."""


def epoch_pools(
    src_lengths: Lengths, tgt_lengths: Lengths, *, batch_tokens: int, seed: int, epoch: int
) -> Iterator[Pool]:
    """The pools of an epoch. Arguments as for ``epoch_updates``."""
    random = np.random.default_rng((seed, epoch))
    order = np.arange(len(tgt_lengths), dtype=np.uint32)
    random.shuffle(order)
    for start in range(0, len(order), POOL):
        rows = order[start : start + POOL]
        noise = random.uniform(-_NOISE, _NOISE, len(rows))
        tgt = np.rint(tgt_lengths[rows] * (1 + noise))
        rows = rows[np.lexsort((src_lengths[rows], tgt))]  # stable: rows of equal length stay shuffled
        cuts = _cut_updates(_tgt_tokens(tgt_lengths, rows), batch_tokens, int(random.integers(len(rows) + 1)))
        updates = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
        src, tgt = src_lengths[rows], tgt_lengths[rows]
        rows = rows[np.lexsort((src, np.maximum(src, tgt), updates))]
        yield Pool(start + POOL >= len(order), rows, cuts, random.permutation(len(cuts) - 1))


def _tgt_tokens(tgt_lengths: Lengths, rows: Rows) -> NDArray[np.int64]:
    return tgt_lengths[rows].astype(np.int64) + 1


def _cut_updates(tokens: NDArray[np.int64], max_tokens: int, remainder: int) -> list[int]:
    """Cut rows into updates of up to ``max_tokens``: where each update starts, and where the last one stops.

    The rows that do not fill an update are around index ``remainder``, which is random. Otherwise they would be the
    longest pairs in each epoch.
    """
    below = _cut_full_updates(tokens[:remainder], max_tokens)
    above = [len(tokens) - cut for cut in reversed(_cut_full_updates(tokens[remainder:][::-1], max_tokens))]
    if len(below) > 1 and len(above) > 1 and tokens[below[-2] : above[1]].sum() <= max_tokens:
        return below[:-1] + above[1:]
    return below + above[1:]


def _cut_full_updates(tokens: NDArray[np.int64], max_tokens: int) -> list[int]:
    """Where each update starts, and where the last one stops. All updates except the last one are full."""
    ends = np.cumsum(tokens)
    cuts = [0]
    while cuts[-1] < len(ends):
        done = ends[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(max(int(np.searchsorted(ends, done + max_tokens, side="right")), cuts[-1] + 1))
    return cuts


def micro_batches(rows: Rows, src_lengths: Lengths, tgt_lengths: Lengths, *, max_tokens: int) -> Iterator[Rows]:
    """Divide rows into micro-batches of up to ``max_tokens`` padded tokens on each side, or of one longer row.

    There are as few micro-batches as possible. Their sizes are similar, as a small one takes nearly as long as a large
    one.
    """
    lengths = np.maximum(src_lengths[rows], tgt_lengths[rows]).astype(np.int64) + 1
    cuts = min_cuts = _cut_padded(lengths, max_tokens)
    if len(cuts) < 3:  # up to one micro-batch
        yield from [rows] if len(rows) else []
        return
    even = -(-int(lengths.sum()) // (len(min_cuts) - 1))
    while even < max_tokens and len(cuts := _cut_padded(lengths, even)) > len(min_cuts):
        even += even // 16 + 1
    for start, stop in pairwise(cuts if len(cuts) == len(min_cuts) else min_cuts):
        yield rows[start:stop]


def split_by_padding(rows: Rows, lengths: NDArray[np.int64], *, min_saved: float) -> Iterator[Rows]:
    """Divide rows further, as long as each cut saves enough padding.

    Args:
        rows: sorted by length, ascending. [R]
        lengths: length of the padded side of each row of the corpus, EOS included.
        min_saved: padded tokens that a cut must save.
    """
    of_rows = lengths[rows]
    savings = np.arange(1, len(rows)) * (of_rows[-1] - of_rows[:-1])
    if not len(savings) or savings.max() < min_saved:
        yield rows
        return
    cut = int(savings.argmax()) + 1
    yield from split_by_padding(rows[:cut], lengths, min_saved=min_saved)
    yield from split_by_padding(rows[cut:], lengths, min_saved=min_saved)


def _cut_padded(lengths: NDArray[np.int64], max_tokens: int) -> list[int]:
    """Where each part of up to ``max_tokens`` padded tokens starts, and where the last one stops."""
    cuts = [0]
    while cuts[-1] < len(lengths):
        left = lengths[cuts[-1] : cuts[-1] + max(1, max_tokens)]  # each row has at least one token
        padded = np.maximum.accumulate(left) * np.arange(1, len(left) + 1)
        cuts.append(cuts[-1] + max(1, int(np.searchsorted(padded, max_tokens, side="right"))))
    return cuts
