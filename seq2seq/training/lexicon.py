"""Learns the shortlist of target pieces: which pieces translate which.

A sentence needs few of the pieces that a model knows. For each source piece the table has the target
pieces that most likely translate it, by IBM model 1 over the training pairs. Decoding scores only these
and the most frequent pieces.

Source: Brown et al. 1993, "The Mathematics of Statistical Machine Translation", model 1; shortlists:
Jean et al. 2015, arXiv:1412.2007.

A link is one target position together with one source position of the same pair, or with the empty word
in front of every source. Shapes: V vocabulary, C candidates, F frequent pieces, L links,
P different pairs of a source and a target piece, J target positions.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.corpus import IdsStore
from seq2seq.ragged import Int64s
from seq2seq.tokenizer import BOS, EOS, N_CONTROL, Tokenizer
from seq2seq.training.tuning import (
    LEXICON_LINKS,
    LEXICON_ROWS,
    MAX_LEXICON_PAIRS,
    MAX_LINKED_LENGTH,
    MAX_LINKS,
    MIN_PROBABILITY,
)

Float64s = NDArray[np.float64]

_EMPTY_WORD: Final = BOS  # which no text is encoded to
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def byte_pieces(tokenizer: Tokenizer) -> list[int]:
    """Ids of the pieces that are bytes: they spell rare characters, which are mostly copied."""
    pieces = tokenizer.pieces(range(len(tokenizer)))
    return [i for i, piece in enumerate(pieces) if _BYTE.fullmatch(piece)]


def build_lexicon(
    ids: IdsStore,
    vocab_size: int,
    copied: Collection[int] = (),
    *,
    candidates: int = 64,
    frequent: int = 128,
    iterations: int = 4,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Learn which target pieces translate each source piece; the same pairs give the same table.

    Args:
        ids: the pairs to learn from. A large corpus is sampled: memory does not grow with it.
        vocab_size: pieces of the joint vocabulary.
        copied: pieces that are the first of their own candidates, whether they occur or not.
        candidates: max target pieces for each source piece.
        frequent: number of frequent target pieces.
        iterations: of expectation maximisation; at least 1.
        check: called between blocks of work; each takes well under a second, except one sort of all links.
            If it raises an exception, the work ends.

    Returns:
        ``candidates``, int32: for each source piece its target pieces, the likeliest first; those in
        ``frequent`` come after all others, because decoding has them anyway. A piece that occurs on both sides
        is the first or second of its own candidates. [V, C]
        ``frequent``, int32: target pieces, the most frequent first. [F]
        Control symbols are in neither. If there are too few pieces, rows end in EOS. The row of a piece that
        occurs in no source has only EOS, unless it is in ``copied``.
    """
    rows = _sample(ids)
    links, n_tgt, seen, counts = _links(ids, rows, vocab_size, check)
    keys, p = _expectation_maximisation(links, n_tgt, vocab_size, iterations, check)
    everywhere = _most_frequent(counts, frequent)
    is_frequent = np.zeros(vocab_size, np.bool_)
    is_frequent[everywhere] = True
    own = np.where(seen & (counts > 0) & ~is_frequent, 2, 0)
    own[list(copied)] = 1
    table = _best(keys, p, own, is_frequent, candidates, check)
    return {"candidates": torch.from_numpy(table), "frequent": torch.from_numpy(everywhere)}


def _sample(ids: IdsStore) -> Int64s:
    """Rows to learn from, in order and spread evenly."""
    src = ids.src_lengths.astype(np.int64)
    tgt = ids.tgt_lengths.astype(np.int64)
    longer = np.maximum(src, tgt)
    # In a corpus of paragraphs, the shorter half is used.
    limit = max(MAX_LINKED_LENGTH, int(np.median(longer))) if len(longer) else MAX_LINKED_LENGTH
    usable = np.flatnonzero(longer <= limit)
    n_links = int(((src + 1) * tgt)[usable].sum())
    n = min(len(usable), MAX_LEXICON_PAIRS, len(usable) * MAX_LINKS // max(1, n_links))
    chosen: Int64s = usable[np.arange(n) * len(usable) // max(1, n)]
    return chosen


def _links(
    ids: IdsStore, rows: Int64s, vocab_size: int, check: Callable[[], None]
) -> tuple[Int64s, int, NDArray[np.bool_], Int64s]:
    """Every link of some pairs, sorted by source piece, target piece, target position.

    Returns:
        Each link as one number, ``(source piece * V + target piece) << bits | position``, where ``bits``
        holds the number of positions: a plain sort then keeps the three together. [L]
        The number of target positions.
        Whether each piece occurs in a source. [V]
        How often each occurs in a target. [V]
    """
    n_links = int(((ids.src_lengths[rows].astype(np.int64) + 1) * ids.tgt_lengths[rows]).sum())
    n_tgt = int(ids.tgt_lengths[rows].sum(dtype=np.int64))
    links = np.empty(n_links, np.int64)
    seen = np.zeros(vocab_size, np.bool_)
    counts = np.zeros(vocab_size, np.int64)
    n_done = n_tgt_done = 0
    for start in range(0, len(rows), LEXICON_ROWS):
        check()
        sources, targets = ids.take(rows[start : start + LEXICON_ROWS])
        empty = np.array([_EMPTY_WORD])
        src = np.concatenate([part for source in sources for part in (empty, source)]).astype(np.int64)
        tgt = np.concatenate(targets).astype(np.int64)
        seen[src] = True
        counts += np.bincount(tgt, minlength=vocab_size)
        src_lengths = np.array([len(source) + 1 for source in sources])
        tgt_lengths = np.array([len(target) for target in targets])
        # Each source position is linked with all target positions of its own pair, which are neighbours.
        met = np.repeat(tgt_lengths, src_lengths)
        first = np.repeat(np.cumsum(tgt_lengths) - tgt_lengths, src_lengths)
        position = np.arange(met.sum()) + np.repeat(first - (np.cumsum(met) - met), met)
        part = links[n_done : n_done + len(position)]
        np.multiply(np.repeat(src, met), vocab_size, out=part)
        part += tgt[position]
        part <<= n_tgt.bit_length()
        part |= position + n_tgt_done
        n_done += len(position)
        n_tgt_done += len(tgt)
    check()
    links.sort()
    check()
    return links, n_tgt, seen, counts


def _expectation_maximisation(
    links: Int64s, n_tgt: int, vocab_size: int, iterations: int, check: Callable[[], None]
) -> tuple[Int64s, Float64s]:
    """Fit IBM model 1.

    Args:
        links: from ``_links``. [L]
        n_tgt: target positions, J.
        vocab_size: V.
        iterations: at least 1.
        check: called between blocks.

    Returns:
        ``source piece * V + target piece`` of the pairs of pieces that occur, ascending, and the
        probability of the target piece given the source piece. [P] each
    """
    bits = n_tgt.bit_length()
    starts = _starts(links, bits, check)  # [P+1]
    keys = links[starts[:-1]] >> bits  # [P]
    sources = np.searchsorted(keys, np.arange(vocab_size + 1) * vocab_size)  # [V+1]
    met = np.diff(sources)
    met, sources = met[met > 0], sources[:-1][met > 0]
    p = np.ones(len(keys))
    expected = np.empty(len(keys))
    for _ in range(iterations):
        # The normaliser of each target position: the sum over the source positions it is linked with.
        total = np.zeros(n_tgt)  # [J]
        for a, b in _blocks(starts):
            check()
            position = links[starts[a] : starts[b]] & ((1 << bits) - 1)
            total += np.bincount(position, np.repeat(p[a:b], np.diff(starts[a : b + 1])), minlength=n_tgt)
        for a, b in _blocks(starts):
            check()
            position = links[starts[a] : starts[b]] & ((1 << bits) - 1)
            expected[a:b] = p[a:b] * np.add.reduceat(1 / total[position], starts[a:b] - starts[a])
        if len(keys):
            p = expected / np.repeat(np.add.reduceat(expected, sources), met)
    return keys, p


def _starts(links: Int64s, bits: int, check: Callable[[], None]) -> Int64s:
    """Where each pair of pieces starts in the sorted links, and where the last one stops. [P+1]"""
    found = [np.zeros(min(1, len(links)), np.int64)]
    for start in range(1, len(links), LEXICON_LINKS):
        check()
        keys = links[start - 1 : start + LEXICON_LINKS] >> bits
        found.append(np.flatnonzero(keys[1:] != keys[:-1]) + start)
    return np.concatenate([*found, [len(links)]])


def _blocks(starts: Int64s) -> Iterator[tuple[int, int]]:
    """Neighbouring pairs of pieces with about ``LEXICON_LINKS`` links together, as start and stop."""
    n = len(starts) - 1
    bounds = np.searchsorted(starts[:-1], np.arange(0, max(1, starts[-1]), LEXICON_LINKS)).tolist()
    for a, b in zip(bounds, [*bounds[1:], n], strict=True):
        if a < b:
            yield a, b


def _best(
    keys: Int64s, p: Float64s, own: Int64s, is_frequent: NDArray[np.bool_], width: int, check: Callable[[], None]
) -> NDArray[np.int32]:
    """The table of candidates.

    Args:
        keys, p: from ``_expectation_maximisation``. [P] each
        own: the max rank of each piece among its own candidates, from 1; 0: it has none. [V]
        is_frequent: which pieces come after all others. [V]
        width: C.
        check: called now and then.

    Returns:
        Target pieces, the likeliest first; ties by the lower id. [V, C]
    """
    vocab_size = len(own)
    table = np.full((vocab_size, width), EOS, np.int32)
    bounds = np.searchsorted(keys, np.arange(vocab_size + 1) * vocab_size).tolist()
    for src in range(N_CONTROL, vocab_size):
        if src % LEXICON_ROWS == 0:
            check()
        a, b = bounds[src], bounds[src + 1]
        tgt = keys[a:b] - src * vocab_size
        likely = np.flatnonzero((p[a:b] >= MIN_PROBABILITY) & (tgt >= N_CONTROL))
        order = likely[np.lexsort((-p[a:b][likely], is_frequent[tgt[likely]]))[:width]]
        row: list[Any] = tgt[order].tolist()
        # Names and numbers are copied, but rare ones occur in too few pairs to show it.
        place = int(own[src])
        if place and src not in row[:place]:
            row = [piece for piece in row if piece != src]
            row = [*row[: place - 1], src, *row[place - 1 :]][:width]
        table[src, : len(row)] = row
    return table


def _most_frequent(counts: Int64s, n: int) -> NDArray[np.int32]:
    """The pieces that occur most often, ties by the lower id; EOS if there are too few. [F]"""
    order = np.argsort(-counts[N_CONTROL:], kind="stable")[:n] + N_CONTROL
    order = order[counts[order] > 0]
    found = np.full(n, EOS, np.int32)
    found[: len(order)] = order
    return found
