"""Tests of differences: sacreBLEU's own p-values and signatures, equal systems, seeds."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import ScoringOptions, build_metric, score_file
from seq2seq.evaluation.significance import Comparison, compare_systems

WORDS = list("abcdefghijklmnopqrstuvwxyz")


def sentences(n: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(n)]


def noisy(lines: list[str], rate: float, seed: int) -> list[str]:
    """Each word is replaced with this probability."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) if draw.random() < rate else w for w in line.split()) for line in lines]


REFERENCES = sentences(60, 0)
GOOD, ALMOST, POOR = noisy(REFERENCES, 0.2, 1), noisy(REFERENCES, 0.22, 2), noisy(REFERENCES, 0.5, 3)


def compared(*systems: list[str], metric: str = "bleu") -> Comparison:
    return compare_systems(systems, [REFERENCES], {metric: build_metric(metric)})[metric]


def test_a_clear_difference_is_significant_and_a_small_one_is_not():
    first, almost, poor = compared(GOOD, ALMOST, POOR).systems
    assert (first.difference, first.p_values) == (None, None)
    assert poor.is_significant
    assert poor.difference == first.score - poor.score > 0
    assert all(p < 0.01 for p in poor.p_values.values())
    assert not almost.is_significant
    assert all(p > 0.05 for p in almost.p_values.values())
    assert first.mean - first.interval < first.score < first.mean + first.interval


def test_the_direction_does_not_change_p_values():
    _, there = compared(GOOD, ALMOST, metric="chrf").systems
    _, back = compared(ALMOST, GOOD, metric="chrf").systems
    assert there.p_values == back.p_values
    assert there.difference == -back.difference


@pytest.mark.parametrize("metric", ["bleu", "chrf", "chrf++", "ter"])
def test_the_same_translations_are_not_called_different(metric):
    """sacreBLEU's p would be the smallest one."""
    _, same = compared(GOOD, GOOD, metric=metric).systems
    assert same.difference == 0
    assert same.p_values == {"bootstrap": None, "randomisation": None}
    assert not same.is_significant


def test_signatures_name_samples_and_seed(monkeypatch):
    found = compared(GOOD, POOR).signatures
    assert found["bootstrap"].startswith("nrefs:1|bs:1000|seed:12345|case:mixed|")
    assert found["randomisation"].startswith("nrefs:1|ar:10000|seed:12345|case:mixed|")
    before = compared(GOOD, ALMOST).systems[1].p_values
    assert before == compared(GOOD, ALMOST).systems[1].p_values
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    assert "seed:7|" in compared(GOOD, ALMOST).signatures["bootstrap"]
    assert compared(GOOD, ALMOST).systems[1].p_values != before


@pytest.mark.parametrize("seed", ["0", "-1", "x", "", "1.5"])
def test_what_is_no_seed(monkeypatch, tmp_path, seed):
    monkeypatch.setenv("SACREBLEU_SEED", seed)
    (tmp_path / "hyp").write_text("a\n")
    options = ScoringOptions(against=[tmp_path / "hyp"])
    with pytest.raises(UserError, match=r"SACREBLEU_SEED=.* is no seed") as caught:
        score_file(tmp_path / "hyp", str(tmp_path / "hyp"), ["chrf"], options=options)
    assert caught.value.code == ExitCode.USAGE


def command(folder: Path, *words: str) -> list[list[float]]:
    """The numbers in each cell of the table that the ``sacrebleu`` command prints, row by row.

    Its JSON fails for a bootstrap (sacreBLEU 2.6).
    """
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words, "--format", "text", "--width", "6"],
        capture_output=True, text=True, cwd=folder, check=True, env=os.environ | {"NO_COLOR": "1"},
    )  # fmt: skip
    cells: list[list[float]] = []
    for line in done.stdout.partition("╘")[0].splitlines():
        name, *texts = [text.strip() for text in line.split("│")[1:-1]] or [""]
        found = [[float(number) for number in re.findall(r"\d+\.\d+", text)] for text in texts]
        if name:
            cells += found
        else:  # the second line of each cell
            for cell, more in zip(cells[len(cells) - len(found) :], found, strict=True):
                cell += more
    return [cell for cell in cells if cell]


@pytest.mark.slow
@pytest.mark.parametrize("n_references", [1, 2])
def test_all_figures_are_those_of_the_sacrebleu_command(tmp_path, n_references):
    texts = {"ref": REFERENCES, "ref2": noisy(REFERENCES, 0.3, 4), "good": GOOD, "almost": ALMOST, "poor": POOR}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    references = ["ref", "ref2"][:n_references]
    options = ScoringOptions(
        against=[tmp_path / "almost", tmp_path / "poor"], references=[tmp_path / name for name in references[1:]]
    )
    metrics = ["bleu", "chrf", "ter"]
    ours = score_file(tmp_path / "good", str(tmp_path / "ref"), metrics, options=options).details.comparisons
    for test, option in (("bootstrap", "--paired-bs"), ("randomisation", "--paired-ar")):
        theirs = command(tmp_path, *references, "-i", "good", "almost", "poor", "-m", *metrics, option)
        expected = []
        for i in range(3):
            for name in metrics:
                one = ours[name].systems[i]
                of_bootstrap = [one.mean, one.interval] if test == "bootstrap" else []
                expected.append([one.score, *of_bootstrap, *([one.p_values[test]] if i else [])])
        assert [len(row) for row in theirs] == [len(row) for row in expected]
        for row, found in zip(expected, theirs, strict=True):
            assert row == pytest.approx(found, abs=6e-5), test
