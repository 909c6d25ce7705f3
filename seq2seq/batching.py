"""From a corpus of ids to batches: length buckets, a budget of target tokens, padding.

The order is a function of (seed, epoch) alone, so that a run can be taken up in the middle of an
epoch by its number and the number of updates done.

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
from seq2seq.tokenizer import BOS, EOS, PAD

# Pairs are sorted by length within shuffled pools of this many: enough for tight buckets, and the
# memory of sorting does not grow with the corpus.
POOL = 1 << 17
_NOISE = 0.05
"""Share of a target's length that is added or taken away at random before the sort: otherwise a pair would have much
the same others beside it in each epoch. More of it costs more padding, and noise of the source's length as well."""

Lengths = NDArray[np.uint16 | np.int32]
Rows = NDArray[np.uint32]
Ids = Sequence[int] | NDArray[np.integer]


def derived_seed(*place: int) -> int:
    """A seed of 63 bits for what is drawn at one place of a run.

    Args:
        place: the run's seed, then what tells this place from all others, as update and part of the update.
    """
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Batch:
    """Sentence pairs side by side, padded on the right."""

    src: Tensor
    """Source pieces and EOS. [B, S]"""
    tgt_in: Tensor
    """BOS and target pieces: what the decoder reads. [B, T]"""
    tgt_out: Tensor
    """Target pieces and EOS: what it should answer. [B, T]"""
    n_tgt_tokens: int
    """Real target positions, EOS included."""

    @property
    def n_padding(self) -> int:
        """Positions of both sides that hold no token."""
        return int(self.src.eq(PAD).sum()) + int(self.tgt_out.eq(PAD).sum())

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        src, tgt_in, tgt_out = (to_device(side, device) for side in (self.src, self.tgt_in, self.tgt_out))
        return Batch(src, tgt_in, tgt_out, self.n_tgt_tokens)


def pad(rows: Sequence[Ids], *, first: int | None = None, last: int | None = None) -> Tensor:
    """Lay rows of ids into one tensor, padded on the right.

    Args:
        rows: piece ids of each sentence.
        first: id put in front of each row.
        last: id put at the end of each row.

    Returns:
        [B, longest row and the extra ids]
    """
    front = 0 if first is None else 1
    width = front + max(map(len, rows), default=0) + (0 if last is None else 1)
    table = np.full((len(rows), width), PAD, dtype=np.int64)
    if first is not None:
        table[:, 0] = first
    for i, row in enumerate(rows):
        end = front + len(row)
        table[i, front:end] = row
        if last is not None:
            table[i, end] = last
    return torch.from_numpy(table)


def collate(src: Sequence[Ids], tgt: Sequence[Ids]) -> Batch:
    """Make a batch of pairs of ids; BOS and EOS are added here."""
    return Batch(
        src=pad(src, last=EOS),
        tgt_in=pad(tgt, first=BOS),
        tgt_out=pad(tgt, last=EOS),
        n_tgt_tokens=sum(map(len, tgt)) + len(tgt),
    )


def epoch_updates(
    src_lengths: Lengths, tgt_lengths: Lengths, *, batch_tokens: int, seed: int, epoch: int
) -> Iterator[Rows]:
    """The updates of an epoch, each as rows of the corpus: every row once, similar lengths together.

    Args:
        src_lengths: pieces of each source, without EOS. [pairs]
        tgt_lengths: pieces of each target, without EOS. [pairs]
        batch_tokens: target tokens of an update, EOS included; a single longer target is an update
            of its own.
        seed: of the run.
        epoch: counted from 0.
    """
    for pool in epoch_pools(src_lengths, tgt_lengths, batch_tokens=batch_tokens, seed=seed, epoch=epoch):
        for i in pool.order:
            yield pool.rows[pool.cuts[i] : pool.cuts[i + 1]]


@dataclass(frozen=True)
class Pool:
    """Some rows of an epoch, divided into updates."""

    is_last: bool
    """Of its epoch."""
    rows: Rows
    """Those of an update side by side, by the length of their longer side: cutting an update there leaves the least
    padding."""
    cuts: list[int]
    """Where updates begin and end."""
    order: NDArray[np.int64]
    """In which the updates are made."""


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
        rows = rows[np.lexsort((src_lengths[rows], tgt))]  # the sort is stable, so that equal lengths stay shuffled
        cuts = _cuts_into_updates(_tgt_tokens(tgt_lengths, rows), batch_tokens, int(random.integers(len(rows) + 1)))
        updates = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
        src, tgt = src_lengths[rows], tgt_lengths[rows]
        rows = rows[np.lexsort((src, np.maximum(src, tgt), updates))]
        yield Pool(start + POOL >= len(order), rows, cuts, random.permutation(len(cuts) - 1))


def _tgt_tokens(tgt_lengths: Lengths, rows: Rows) -> NDArray[np.int64]:
    return tgt_lengths[rows].astype(np.int64) + 1


def _cuts_into_updates(tokens: NDArray[np.int64], most: int, remainder: int) -> list[int]:
    """Where updates of up to ``most`` tokens begin and end.

    Those that are not full lie at ``remainder``. If the last one were, it would be the longest pairs in each epoch.
    """
    below = _full_updates(tokens[:remainder], most)
    above = [len(tokens) - cut for cut in reversed(_full_updates(tokens[remainder:][::-1], most))]
    if len(below) > 1 and len(above) > 1 and tokens[below[-2] : above[1]].sum() <= most:
        return below[:-1] + above[1:]
    return below + above[1:]


def _full_updates(tokens: NDArray[np.int64], most: int) -> list[int]:
    """Where updates begin and end that are full, all but the last one."""
    ends = np.cumsum(tokens)
    cuts = [0]
    while cuts[-1] < len(ends):
        done = ends[cuts[-1] - 1] if cuts[-1] else 0
        cuts.append(max(int(np.searchsorted(ends, done + most, side="right")), cuts[-1] + 1))
    return cuts


def micro_batches(rows: Rows, src_lengths: Lengths, tgt_lengths: Lengths, *, most: int) -> Iterator[Rows]:
    """Divide some rows into parts whose padded side holds at most ``most`` tokens, one row at least.

    The parts are as few as that allows, and of much the same size: a small one costs nearly as much.
    """
    lengths = np.maximum(src_lengths[rows], tgt_lengths[rows]).astype(np.int64) + 1
    cuts = fewest = _cuts(lengths, most)
    even = -(-int(lengths.sum()) // max(1, len(fewest) - 1))
    while even < most and len(cuts := _cuts(lengths, even)) > len(fewest):
        even += even // 16 + 1
    for start, end in pairwise(cuts if len(cuts) == len(fewest) else fewest):
        yield rows[start:end]


def less_padded(rows: Rows, lengths: NDArray[np.int64], *, saved: float) -> Iterator[Rows]:
    """Divide rows further if each cut saves so many padded tokens.

    Args:
        rows: by their length, ascending. [R]
        lengths: of the padded side, EOS included, by row.
        saved: minimum of padded tokens that a cut saves.
    """
    longest = lengths[rows]
    savings = np.arange(1, len(rows)) * (longest[-1] - longest[:-1])
    if not len(savings) or savings.max() < saved:
        yield rows
        return
    cut = int(savings.argmax()) + 1
    yield from less_padded(rows[:cut], lengths, saved=saved)
    yield from less_padded(rows[cut:], lengths, saved=saved)


def _cuts(lengths: NDArray[np.int64], most: int) -> list[int]:
    """Where parts begin and end whose rows times the longest are ``most`` at most."""
    cuts, longest = [0], 0
    for i, length in enumerate(lengths.tolist()):
        if i > cuts[-1] and max(longest, length) * (i + 1 - cuts[-1]) > most:
            cuts.append(i)
            longest = 0
        longest = max(longest, length)
    return [*cuts, len(lengths)] if len(lengths) else [0]
