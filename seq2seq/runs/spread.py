"""Mean and standard deviation of the scores of several runs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SCORES = {"bleu": "BLEU", "chrf": "chrF", "valid_loss": "loss", "bleu_beam": "BLEU of beam search"}
"""Validation scores of a run, by the names of the manifest and of ``metrics.jsonl``; their names in a message."""


class Spread(NamedTuple):
    """Mean and standard deviation of a score over several runs."""

    mean: float
    sd: float | None
    """Standard deviation of a sample (divided by n - 1); None: there is only one value."""
    n: int
    """Runs."""

    def __str__(self) -> str:
        """For a message: ``41.87 ± 0.31``."""
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of one or more values.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("there is no value")
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def spreads(scores: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Mean and standard deviation of each of ``SCORES`` that all runs have.

    Args:
        scores: of each run, by the names of ``SCORES``; None: unknown.
    """
    found = {}
    for name in SCORES:
        values = [value for of_run in scores if (value := of_run.get(name)) is not None]
        if values and len(values) == len(scores):
            found[name] = spread(values)
    return found


def in_words(found: Mapping[str, Spread]) -> str:
    """Mean ± standard deviation of each score, for a message: ``BLEU 41.87 ± 0.31  chrF …``."""
    return "  ".join(f"{SCORES[name]} {of_score}" for name, of_score in found.items())
