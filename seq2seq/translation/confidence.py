"""Confidence: the chrF that a translation is expected to have, from what its search knows.

A linear function of three features is fitted on validation pairs when training ends, and kept in the manifest. It costs
no second pass through the model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from seq2seq.decoding import Hypothesis
from seq2seq.runs import ConfidenceRecord
from seq2seq.translation.segments import Searched

MIN_PAIRS = 50
"""With fewer pairs the function would follow chance."""
_RIDGE = 1e-3
"""Penalty on the squared weights of standardized features, as a share of the number of pairs. It decides if a feature
never varies."""
_MAX = 100.0


class Features(NamedTuple):
    """What a translation is judged by."""

    log_probability: float
    """Mean over its tokens, in nats."""
    length_ratio: float
    """Tokens of the translation for each token of the source."""
    repetition: float
    """Share of its pairs of neighbouring pieces that occurred before in the same segment."""


def features(segments: Sequence[Searched], chosen: Sequence[Hypothesis]) -> Features | None:
    """The features of a line: those of its segments, each with a weight by its length.

    Args:
        segments: of the line.
        chosen: a hypothesis of each.

    Returns:
        None if nothing is translated.
    """
    n_src = sum(len(segment.src_ids) for segment in segments)
    n_tgt = sum(len(h.tokens) for h in chosen)
    if not n_src or not n_tgt:
        return None
    n_pairs = sum(max(0, len(h.tokens) - 1) for h in chosen)
    n_distinct = sum(len(set(zip(h.tokens, h.tokens[1:], strict=False))) for h in chosen)
    return Features(
        log_probability=sum(h.log_probability for h in chosen) / sum(h.length for h in chosen),
        length_ratio=n_tgt / n_src,
        repetition=(n_pairs - n_distinct) / n_pairs if n_pairs else 0.0,
    )


def expected_chrf(fitted: ConfidenceRecord, found: Features | None) -> float:
    """The expected chrF of a translation, 0 to 100; 0 if nothing is translated."""
    if found is None:
        return 0.0
    value = (
        fitted.intercept
        + fitted.log_probability * found.log_probability
        + fitted.length_ratio * found.length_ratio
        + fitted.repetition * found.repetition
    )
    # A comparison with NaN is false: with damaged weights nothing is trusted.
    return min(value, _MAX) if value > 0 else 0.0


def fit_confidence(found: Sequence[Features], chrf: Sequence[float], corpus: str) -> ConfidenceRecord | None:
    """Fit the expected chrF by least squares.

    Args:
        found: of each translation.
        chrf: of the same translations, 0 to 100.
        corpus: what they were made of, for the record.

    Returns:
        None if there are too few pairs, or if a number is not finite.
    """
    if len(found) < MIN_PAIRS:
        return None
    rows = torch.tensor(found, dtype=torch.float64)  # [pairs, 3]
    targets = torch.tensor(chrf, dtype=torch.float64)  # [pairs]
    mean, scale = rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-9)
    x, y = (rows - mean) / scale, targets - targets.mean()
    ridge = _RIDGE * len(rows) * torch.eye(rows.size(1), dtype=torch.float64)
    weights = torch.linalg.solve(x.t() @ x + ridge, x.t() @ y) / scale  # [3]
    intercept = targets.mean() - weights @ mean
    if not bool(torch.isfinite(weights).all() & torch.isfinite(intercept)):
        return None
    of_features = dict(zip(Features._fields, weights.tolist(), strict=True))
    return ConfidenceRecord(
        intercept=float(intercept),
        log_probability=of_features["log_probability"],
        length_ratio=of_features["length_ratio"],
        repetition=of_features["repetition"],
        pairs=len(found),
        corpus=corpus,
    )
