"""Overlap of training and validation pairs: which pairs are held out, leaks, and copies.

Texts are compared by 64-bit hashes, 16 bytes a pair while copies are counted and 8 afterwards.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2seq.corpus import Pair, TextStore, text_hash
from seq2seq.training.tuning import COMPARED_HASHES, MAX_HELD_OUT_BLOCK

Hashes = npt.NDArray[np.int64]

# Pairs are held out with this seed, not the run's own: two runs on one corpus are validated on the same pairs.
_SEED = 20_170_612


@dataclass(frozen=True)
class Overlap:
    """How the training corpora overlap with themselves and with the validation pairs."""

    held_out: list[int]
    """Rows of the training text that are kept for validation; none if there are validation corpora."""
    dropped_leaks: int
    """Other training pairs whose source is also in the validation pairs, if they are dropped."""
    kept_leaks: int
    """The same, if they are kept."""
    copies: int
    """Training pairs that equal an earlier one."""


def find_overlap(text: TextStore, valid: list[Pair] | None, *, drop: bool) -> Overlap:
    """Count copies and leaks; if there are no validation pairs, choose pairs to hold out.

    Args:
        text: training pairs, two or more if ``valid`` is None.
        valid: the validation pairs; None: hold some out.
        drop: whether leaks are dropped, unless fewer than half of the pairs would remain.
    """
    sources, copies = _hashes(text)
    rows = [] if valid is not None else held_out_rows(text, sources)
    validated = {text_hash(pair.src) for pair in (text.take(rows) if valid is None else valid)}
    leaks = int(_occurrences(sources, np.array([*validated], np.int64)).sum()) - len(rows)
    dropped = leaks if drop and leaks <= (len(text) - len(rows)) / 2 else 0
    return Overlap(rows, dropped, leaks - dropped, copies)


def n_held_out(n_pairs: int) -> int:
    """How many pairs are held out: a tenth, but up to 1,000; of fewer than 1,000 pairs a fifth, but up to 100."""
    return max(1, min(1000, max(n_pairs // 10, min(100, n_pairs // 5))))


def held_out_rows(text: TextStore, sources: Hashes) -> list[int]:
    """Rows to hold out, the same ones each time: those whose sources occur once, or least often.

    They come in blocks of neighbours, because neighbours are similar: a document of which half is held out leaks.

    Args:
        text: the training pairs.
        sources: the hashes of their sources, sorted.
    """
    n_needed = n_held_out(len(text))
    level, of_level = _rarest(sources, n_needed)
    n_left = of_level
    size = min(MAX_HELD_OUT_BLOCK, max(1, n_needed // 10))
    blocks = np.random.default_rng(_SEED).permutation(-(-len(text) // size))
    rows: list[int] = []
    chosen: set[int] = set()  # of the sources that occur ``level`` times: all their rows, so that no leak remains
    for block in blocks:
        start = int(block) * size
        hashes = [text_hash(pair.src) for pair in text.slice(start, start + size)]
        for row, (source, n) in enumerate(zip(hashes, _occurrences(sources, np.array(hashes)), strict=True), start):
            if n == level and len(chosen) * level < of_level:
                chosen.add(source)
            if n < level:
                rows.append(row)
            elif source in chosen and n_left:
                rows.append(row)
                n_left -= 1
        if len(rows) == n_needed:
            break
    return sorted(rows)


def _rarest(sources: Hashes, n_needed: int) -> tuple[int, int]:
    """The max occurrences of a held-out source, and how many rows are held out of the sources that occur so often."""
    is_first = np.append(True, sources[1:] != sources[:-1])
    if np.count_nonzero(is_first & np.append(is_first[1:], True)) >= n_needed:
        return 1, n_needed
    n_rows = np.diff(np.append(np.flatnonzero(is_first), len(sources)))  # of each source
    n_rows.sort()
    upto = np.cumsum(n_rows)
    level = int(n_rows[np.searchsorted(upto, n_needed)])
    return level, n_needed - int(n_rows[n_rows < level].sum())


def _hashes(text: TextStore) -> tuple[Hashes, int]:
    """The hashes of all sources, sorted, and how many pairs are copies of others."""
    sources, pairs = text.hashes(0), text.hashes(1)
    pairs *= 6_364_136_223_846_793_005  # odd, so that different hashes stay different when the product overflows
    pairs += sources
    pairs.sort()
    sources.sort()
    starts = range(0, len(pairs) - 1, COMPARED_HASHES)
    return sources, sum(int((pairs[i + 1 :][:COMPARED_HASHES] == pairs[i:-1][:COMPARED_HASHES]).sum()) for i in starts)


def _occurrences(in_order: Hashes, hashes: "npt.NDArray[Any]") -> "npt.NDArray[np.int64]":
    return np.searchsorted(in_order, hashes, side="right") - np.searchsorted(in_order, hashes, side="left")
