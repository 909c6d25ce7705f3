"""Detection of misaligned parallel text from the lengths of its lines.

A long line has a long translation: the logarithms of their lengths correlate (Gale and Church 1993, "A Program for
Aligning Sentences in Bilingual Corpora"). If a line is missing on one side, the lengths after it correlate with those
of neighbours' translations. Correlations are computed in windows. The evidence is summed over neighbouring windows as
in Page's CUSUM test (1954): a window without evidence lowers the sum. So a single unusual window, or noise that is
spread over the corpus, raises no alarm.

Legend: N pairs, G windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seq2seq.corpus.readers import READERS, find_reader
from seq2seq.corpus.tuning import (
    MAX_BETWEEN,
    MAX_LAG,
    MIN_CORRELATION,
    MIN_MEDIAN_BYTES,
    MIN_SHIFT_EVIDENCE,
    MIN_SPREAD,
    MIN_UNRELATED_EVIDENCE,
    SHIFT_DRIFT,
    WINDOW,
)
from seq2seq.errors import counted

Floats = npt.NDArray[np.floating[Any]]
ByteLengths = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

_LAGS: Final = [lag for lag in range(-MAX_LAG, MAX_LAG + 1) if lag]
_SE: Final = (WINDOW - 3) ** -0.5
"""Standard error of a window's correlation as Fisher's z, the inverse hyperbolic tangent."""
_CHUNK: Final = 1000 * WINDOW
"""Pairs checked together, so that memory does not grow with the corpus."""


@dataclass(frozen=True)
class Misalignment:
    """The first part of a corpus that is not aligned."""

    start: int
    """Its first pair, counted from 0; exact to one or two windows."""
    lag: int | None
    """The translation of a source is this many pairs later; None: the sides are unrelated."""


def describe_misalignment(corpus: str, langs: tuple[str, str], line: int, lag: int | None) -> str:
    """The message about a misaligned corpus: its files, the line, and what is wrong.

    Args:
        corpus: a CORPUS word.
        langs: source and target language.
        line: the first misaligned line, counted from 1.
        lag: as in ``Misalignment``.
    """
    reader = find_reader(corpus, langs)
    is_prefix = reader is READERS["prefix"]
    line_or_row = "row" if reader in (READERS["csv"], READERS["hf"]) else "line"
    sides = " and ".join(f"{corpus}.{lang}" for lang in langs) if is_prefix else f"the sides of {corpus}"
    if lag is None:
        how = "the lengths of lines and of their translations are unrelated"
    else:
        how = f"translations come {counted(abs(lag), line_or_row)} too {'late' if lag > 0 else 'early'}"
    return f"{sides} do not match from about {line_or_row} {line:,} on: {how}"


def find_misalignment(
    src_lengths: Sequence[int] | ByteLengths, tgt_lengths: Sequence[int] | ByteLengths
) -> Misalignment | None:
    """Find the first part whose lengths fit neighbours' translations better than their own, or fit no translation.

    Windows of nearly equal lengths (templates, word lists, a corpus sorted by length) are not used. Lengths that repeat
    (such as a list of sentences that are each repeated with the same nouns) raise no alarm.

    Args:
        src_lengths: of each source, in bytes. [N]
        tgt_lengths: of each translation. [N]
    """
    src, tgt = np.asarray(src_lengths), np.asarray(tgt_lengths)
    if len(src) < WINDOW:
        return None
    starts = range(0, len(src) // WINDOW * WINDOW, _CHUNK)
    parts = [_correlations(src[i : i + _CHUNK], tgt[i : i + _CHUNK]) for i in starts]
    own, others, varied, medians = (np.concatenate(part) for part in zip(*parts, strict=True))

    windows = np.flatnonzero(varied)
    shifts = []
    for lag, other in zip(_LAGS, others[windows].T, strict=True):
        # In text sorted by the sum of both lengths, the lengths correlate negatively: that proves nothing.
        better = (other - np.maximum(own[windows], 0)) / (_SE * 2**0.5)
        found = _first_rise(np.clip(better, -4, 4) - SHIFT_DRIFT, MIN_SHIFT_EVIDENCE)
        if found is not None:
            shifts.append(Misalignment(int(windows[found[0]]) * WINDOW, lag))
    shift = min(shifts, key=lambda m: m.start, default=None)

    windows = np.flatnonzero(varied & (medians.min(axis=1) >= np.log1p(MIN_MEDIAN_BYTES)))
    unrelated = None
    found = _first_rise(np.clip((MIN_CORRELATION - own[windows]) / _SE, -2, 2), MIN_UNRELATED_EVIDENCE)
    if found is not None and found[1] - found[0] > 0.1 * len(windows):
        # If text is in buckets by the length of both sides, lengths within a bucket correlate negatively. But then
        # the windows differ from each other.
        fractions = [medians[:, i].var() / np.log1p(side, dtype=np.float32).var() for i, side in enumerate((src, tgt))]
        if max(fractions) < MAX_BETWEEN:
            unrelated = Misalignment(int(windows[found[0]]) * WINDOW, None)

    is_first = shift is None or (unrelated and unrelated.start + 10 * WINDOW < shift.start)
    first = unrelated if is_first else shift
    return None if first is None or _repeats(src[first.start :]) else first


def _correlations(src_lengths: ByteLengths, tgt_lengths: ByteLengths) -> tuple[Floats, Floats, Flags, Floats]:
    """Correlations of lengths in each window, as Fisher's z.

    Returns:
        Correlations of sources with their own translations [G] and with those of neighbours [G, lags], whether lengths
        vary enough [G], and the median log-lengths of both sides [G, 2].
    """
    (src, src_spread, src_median), (tgt, tgt_spread, tgt_median) = map(_residuals, (src_lengths, tgt_lengths))
    padded = np.pad(tgt.ravel(), MAX_LAG)
    centred = src - src.mean(axis=1, keepdims=True)
    src_norm = np.sqrt((centred**2).sum(axis=1))

    def at(lag: int) -> Floats:
        shifted = padded[MAX_LAG + lag :][: tgt.size].reshape(tgt.shape)
        tgt_norm = np.sqrt(WINDOW) * shifted.std(axis=1)
        r = np.einsum("gw,gw->g", centred, shifted) / np.maximum(src_norm * tgt_norm, 1e-9)
        z: Floats = np.arctanh(np.clip(r, -0.95, 0.95))
        return z

    varied: Flags = np.minimum(src_spread, tgt_spread) >= MIN_SPREAD
    others = np.stack([at(lag) for lag in _LAGS], axis=1)
    return at(0), others, varied, np.stack([src_median, tgt_median], axis=1)


def _residuals(lengths: ByteLengths) -> tuple[Floats, Floats, Floats]:
    """Log-lengths minus the median of their window, with outliers clipped [G, window]; the spread and median [G]."""
    logs = np.log1p(lengths[: len(lengths) // WINDOW * WINDOW], dtype=np.float32).reshape(-1, WINDOW)
    median = np.median(logs, axis=1, keepdims=True)
    residuals = logs - median
    spread = 1.4826 * np.median(np.abs(residuals), axis=1, keepdims=True)  # normal: the standard deviation
    return np.clip(residuals, -2.5 * spread, 2.5 * spread), spread[:, 0], median[:, 0]


def _first_rise(evidence: Floats, proof: float) -> tuple[int, int] | None:
    """Indices where the sum of evidence starts to rise by ``proof``, and where it is highest; None if it never does."""
    total = np.concatenate([[0.0], np.cumsum(evidence, dtype=np.float64)])
    lowest = np.minimum.accumulate(total)
    proved = np.flatnonzero(total - lowest >= proof)
    if not proved.size:
        return None
    start = int(np.argmin(total[: proved[0] + 1]))
    fallen = np.flatnonzero(total[proved[0] :] <= total[start])
    stop = int(proved[0] + fallen[0]) if fallen.size else len(total)
    return start, start + int(np.argmax(total[start:stop])) - 1


def _repeats(lengths: ByteLengths) -> bool:
    """Whether lengths recur at some distance, so that windows are not independent evidence."""
    flat = _residuals(lengths[:4000])[0].ravel()
    distances = np.arange(MAX_LAG, len(flat) // 2)
    products = np.fft.irfft(np.abs(np.fft.rfft(flat, 2 * len(flat))) ** 2)[distances]  # summed over all pairs
    return bool((products > 0.7 * (len(flat) - distances) * flat.var()).any())
