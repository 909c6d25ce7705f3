"""Significance of the difference of two systems, by sacreBLEU's own tests.

Paired bootstrap resampling (Koehn 2004, W04-3250) and approximate randomisation (Riezler and Maxwell 2005, W05-0908).
Both draw with a fixed seed, 12345, or with that of the environment variable SACREBLEU_SEED; the signature shows it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest, Result

from seq2seq.errors import ExitCode, UserError

TESTS = {"bootstrap": "bs", "randomisation": "ar"}
"""Tests, with sacreBLEU's names. The first gives confidence intervals, too."""
ALPHA = 0.05
"""A difference with a smaller p-value is called significant."""
_SEED = "SACREBLEU_SEED"


@dataclass(frozen=True)
class SystemScore:
    """The score of a system by one metric, and its difference from the first system."""

    score: float
    mean: float
    """Over the resamples of the bootstrap."""
    interval: float
    """Half of the width of the 95% confidence interval around the mean."""
    difference: float | None = None
    """The score of the first system minus this one; None for the first system."""
    p_values: Mapping[str, float | None] | None = None
    """By row of ``TESTS``; None for the first system. A test of two systems that never differ has none."""

    @property
    def is_significant(self) -> bool:
        """Whether all tests say that the difference is not chance."""
        return bool(self.p_values) and all(p is not None and p < ALPHA for p in (self.p_values or {}).values())


@dataclass(frozen=True)
class Comparison:
    """Scores of several systems by one metric, with tests of their differences."""

    printed: str
    """sacreBLEU's name of the metric."""
    signatures: Mapping[str, str]
    """By row of ``TESTS``: sacreBLEU's description, with the seed and the number of samples."""
    systems: Sequence[SystemScore]
    """The first is the one that the others are compared with."""


def check_seed() -> None:
    """Check the environment variable that sets sacreBLEU's seed.

    Raises:
        UserError: it is neither a positive number nor ``none`` (2).
    """
    seed = os.environ.get(_SEED, "1").lower()
    # 0 would be in the signature, but sacreBLEU draws without a seed then.
    if seed != "none" and not (seed.isascii() and seed.isdigit() and int(seed) > 0):
        raise UserError(
            f"{_SEED}={seed} in the environment is no seed",
            mend="give a positive number, none for a new seed each time, or nothing for 12345",
            code=ExitCode.USAGE,
        )


def compare_systems(
    hypotheses: Sequence[Sequence[str]],
    references: Sequence[Sequence[str | None]],
    metrics: Mapping[str, Metric],
) -> dict[str, Comparison]:
    """Compare systems with the first one.

    Memory grows with the number of sentences: sacreBLEU takes about 100 kB for each.

    Args:
        hypotheses: of two systems or more, one for each sentence.
        references: one list or more, each as long as the hypotheses.
        metrics: from ``build_metric``, by name.

    Returns:
        By name of the metric.
    """
    named = [(str(i), list(lines)) for i, lines in enumerate(hypotheses)]
    found = {}
    for name, metric in metrics.items():
        signatures, results = {}, {}
        for test, kind in TESTS.items():
            of_metric, scores = PairedTest(named, {name: metric}, references, test_type=kind)()  # type: ignore[arg-type]
            ((printed, signature),) = of_metric.items()
            signatures[test] = str(signature)
            results[test] = [result for result in scores[printed] if isinstance(result, Result)]
        found[name] = Comparison(printed, signatures, _system_scores(results))
    return found


def _system_scores(results: Mapping[str, Sequence[Result]]) -> list[SystemScore]:
    systems = []
    for i, result in enumerate(results["bootstrap"]):
        score, mean, interval = (float(value or 0) for value in (result.score, result.mean, result.ci))
        if i == 0:
            first = score
            systems.append(SystemScore(score, mean, interval))
            continue
        p_values = {test: _p_value(found[i].p_value, first - score) for test, found in results.items()}
        systems.append(SystemScore(score, mean, interval, first - score, p_values))
    return systems


def _p_value(p: float | None, difference: float) -> float | None:
    """sacreBLEU's p-value, or None if the systems do not differ in any sample.

    Then sacreBLEU counts no sample with a greater difference, and gives the smallest p, as if zero were significant.
    """
    return None if p is None or (difference == 0 and p < ALPHA) else float(p)
