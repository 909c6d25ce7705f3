"""Misaligned parallel text, found by the lengths of its lines alone.

A long line has a long translation: the logarithms of their lengths correlate (Gale and Church 1993, "A Program for
Aligning Sentences in Bilingual Corpora"). If a line is missing on one side, lengths correlate from there on with those
of a neighbour's translation. Correlations are taken in windows, and evidence is summed over neighbouring windows as in
Page's CUSUM test (1954): a window that says nothing, or the contrary, takes some away. So one odd window, or noise
that is spread over the corpus, raises no alarm.

Legend: N pairs, G windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seq2seq.corpus.readers import READERS, find_reader
from seq2seq.errors import counted

Floats = npt.NDArray[np.floating[Any]]
Lengths = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

_WINDOW: Final = 50
_MAX_LAG: Final = 10
_LAGS: Final = [lag for lag in range(-_MAX_LAG, _MAX_LAG + 1) if lag]
_MIN_SPREAD: Final = 0.15
"""Standard deviation of log-lengths, estimated from medians, below which a window gives no verdict."""
_MIN_SENTENCE: Final = 24
"""Bytes of the median line: single words and their translations may have lengths that are nearly unrelated."""
_SE: Final = (_WINDOW - 3) ** -0.5
"""Standard error of a window's correlation as Fisher's z, the inverse hyperbolic tangent."""
_SHIFTED: Final = 7.0
"""Sum of evidence that proves a shift, in standard errors: three clear windows in a row have it."""
_UNRELATED: Final = 15.0
"""Sum of evidence that proves unrelated sides: about 750 pairs have it."""
_MAX_SHARE: Final = 0.2
"""Share of the variance of log-lengths that lies between windows: 0.02 to 0.06 in text that is not sorted by length."""
_CHUNK: Final = 1000 * _WINDOW
"""Pairs looked at together, so that memory does not grow with the corpus."""


@dataclass(frozen=True)
class Misalignment:
    """The first stretch of a corpus that is not aligned."""

    start: int
    """Its first pair, counted from 0, to within a window or two."""
    lag: int | None
    """The translation of a source comes this many pairs later; None: it is not near."""


def describe_misalignment(corpus: str, langs: tuple[str, str], line: int, lag: int | None) -> str:
    """What is wrong with a corpus and where, for a message.

    Args:
        corpus: a CORPUS word.
        langs: source and target language.
        line: the first of the stretch, counted from 1.
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
    src_lengths: Sequence[int] | Lengths, tgt_lengths: Sequence[int] | Lengths
) -> Misalignment | None:
    """The first stretch whose lengths fit the translations of neighbours, or no translation, better than their own.

    No verdict comes from windows of nearly equal lengths (templates, word lists, a corpus sorted by length), nor from
    lengths that repeat (a list of nouns in one sentence after the other).

    Args:
        src_lengths: of each source, in bytes. [N]
        tgt_lengths: of each translation. [N]
    """
    src, tgt = np.asarray(src_lengths), np.asarray(tgt_lengths)
    if len(src) < _WINDOW:
        return None
    starts = range(0, len(src) // _WINDOW * _WINDOW, _CHUNK)
    parts = [_correlations(src[i : i + _CHUNK], tgt[i : i + _CHUNK]) for i in starts]
    own, others, varied, medians = (np.concatenate(part) for part in zip(*parts, strict=True))

    windows = np.flatnonzero(varied)
    shifts = []
    for lag, other in zip(_LAGS, others[windows].T, strict=True):
        # In text sorted by the sum of both lengths, own ones are opposed: that proves nothing.
        better = (other - np.maximum(own[windows], 0)) / (_SE * 2**0.5)
        found = _first_rise(np.clip(better, -4, 4) - 1.5, _SHIFTED)
        if found is not None:
            shifts.append(Misalignment(int(windows[found[0]]) * _WINDOW, lag))
    shift = min(shifts, key=lambda m: m.start, default=None)

    windows = np.flatnonzero(varied & (medians.min(axis=1) >= np.log1p(_MIN_SENTENCE)))
    apart = None
    found = _first_rise(np.clip((0.15 - own[windows]) / _SE, -2, 2), _UNRELATED)
    if found is not None and found[1] - found[0] > 0.1 * len(windows):
        # Text in buckets by the length of both sides has opposed lengths in each; but its windows differ.
        shares = [medians[:, i].var() / np.log1p(side, dtype=np.float32).var() for i, side in enumerate((src, tgt))]
        if max(shares) < _MAX_SHARE:
            apart = Misalignment(int(windows[found[0]]) * _WINDOW, None)

    first = apart if shift is None or (apart and apart.start + 10 * _WINDOW < shift.start) else shift
    return None if first is None or _repeats(src[first.start :]) else first


def _correlations(src_lengths: Lengths, tgt_lengths: Lengths) -> tuple[Floats, Floats, Flags, Floats]:
    """How lengths correlate in each window, as Fisher's z.

    Returns:
        With those of their own translations [G], with those of neighbours [G, lags], whether they vary enough for a
        verdict [G], and the median log-lengths of both sides [G, 2].
    """
    (src, src_spread, src_median), (tgt, tgt_spread, tgt_median) = map(_residuals, (src_lengths, tgt_lengths))
    padded = np.pad(tgt.ravel(), _MAX_LAG)
    centred = src - src.mean(axis=1, keepdims=True)
    src_norm = np.sqrt((centred**2).sum(axis=1))

    def at(lag: int) -> Floats:
        shifted = padded[_MAX_LAG + lag :][: tgt.size].reshape(tgt.shape)
        tgt_norm = np.sqrt(_WINDOW) * shifted.std(axis=1)
        r = np.einsum("gw,gw->g", centred, shifted) / np.maximum(src_norm * tgt_norm, 1e-9)
        z: Floats = np.arctanh(np.clip(r, -0.95, 0.95))
        return z

    varied: Flags = np.minimum(src_spread, tgt_spread) >= _MIN_SPREAD
    others = np.stack([at(lag) for lag in _LAGS], axis=1)
    return at(0), others, varied, np.stack([src_median, tgt_median], axis=1)


def _residuals(lengths: Lengths) -> tuple[Floats, Floats, Floats]:
    """Log-lengths less the median of their window, its outliers clipped [G, window]; with the spread and median. [G]"""
    logs = np.log1p(lengths[: len(lengths) // _WINDOW * _WINDOW], dtype=np.float32).reshape(-1, _WINDOW)
    median = np.median(logs, axis=1, keepdims=True)
    residuals = logs - median
    spread = 1.4826 * np.median(np.abs(residuals), axis=1, keepdims=True)  # of a normal distribution, its deviation
    return np.clip(residuals, -2.5 * spread, 2.5 * spread), spread[:, 0], median[:, 0]


def _first_rise(evidence: Floats, proof: float) -> tuple[int, int] | None:
    """Where the sum of evidence first rises by ``proof`` from its lowest, and where that rise is highest."""
    total = np.concatenate([[0.0], np.cumsum(evidence, dtype=np.float64)])
    lowest = np.minimum.accumulate(total)
    proved = np.flatnonzero(total - lowest >= proof)
    if not proved.size:
        return None
    start = int(np.argmin(total[: proved[0] + 1]))
    fallen = np.flatnonzero(total[proved[0] :] <= total[start])
    stop = int(proved[0] + fallen[0]) if fallen.size else len(total)
    return start, start + int(np.argmax(total[start:stop])) - 1


def _repeats(lengths: Lengths) -> bool:
    """Whether lengths recur at some distance, so that windows are not independent evidence."""
    flat = _residuals(lengths[:4000])[0].ravel()
    distances = np.arange(_MAX_LAG, len(flat) // 2)
    products = np.fft.irfft(np.abs(np.fft.rfft(flat, 2 * len(flat))) ** 2)[distances]  # summed over all pairs
    return bool((products > 0.7 * (len(flat) - distances) * flat.var()).any())
