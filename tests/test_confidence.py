"""Confidence: what it is computed from, its fit, ``translate --confidence`` and ``--json``, doubtful lines, the run."""

import json
import math
import random
import shutil
from dataclasses import replace

import pytest
import sacrebleu
from reversal import reversal_lines, reversal_recipe, write_reversal

from seq2seq.decoding import Hypothesis
from seq2seq.evaluation import fit_translations, sentence_chrf
from seq2seq.runs import ConfidenceRecord, commit, lock, read_manifest
from seq2seq.tokenizer import EOS
from seq2seq.training import Request, train
from seq2seq.translation import Features, Searched, Translator, features, fit_confidence
from seq2seq.translation.confidence import expected_chrf

LINES = reversal_lines(120, seed=9)


def with_fit(run, fitted):
    manifest = read_manifest(run)
    commit(run, replace(manifest, confidence=fitted), {}, manifest.files)
    return run


@pytest.fixture(scope="module")
def run(reverser, tmp_path_factory):
    """A copy with a fit that distinguishes lines: the reverser is right nearly always."""
    copy = shutil.copytree(reverser, tmp_path_factory.mktemp("confidence") / "run")
    fitted = ConfidenceRecord(intercept=90.0, log_probability=40.0, length_ratio=0.0, repetition=-50.0, pairs=50)
    return with_fit(copy, fitted)


@pytest.fixture
def older(run, tmp_path):
    """A run of a version without confidence."""
    return with_fit(shutil.copytree(run, tmp_path / "older"), None)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "c", LINES)


def searched(src: list[int], output: list[int], log_probability: float) -> tuple[Searched, Hypothesis]:
    best = Hypothesis.from_output([*output, EOS], log_probability, 1.0)
    return Searched([best], True, src), best


# Features and fit -----------------------------------------------------------------------------------


def test_features_of_a_line_weigh_its_segments_by_length():
    (one, first), (two, second) = searched([1, 2], [5, 6, 5, 6], -2.0), searched([3, 4, 5], [7], -4.0)
    found = features([one, two], [first, second])
    assert found == Features(log_probability=-6.0 / 7, length_ratio=5 / 5, repetition=1 / 3)


def test_nothing_has_no_features():
    segment, best = searched([1], [], -1.0)
    assert features([segment], [best]) is None
    assert features([], []) is None


def drawn(n: int) -> list[Features]:
    draw = random.Random(1)
    return [Features(draw.uniform(-3, 0), draw.uniform(0.5, 2), draw.choice([0, 0.1, 0.5])) for _ in range(n)]


def test_a_linear_function_is_found_again():
    found = drawn(400)
    fitted = fit_confidence(
        found, [80 + 15 * f.log_probability - 5 * f.length_ratio - 20 * f.repetition for f in found], "x"
    )
    assert (fitted.pairs, fitted.corpus) == (400, "x")
    assert fitted.log_probability == pytest.approx(15, rel=0.01)
    assert fitted.length_ratio == pytest.approx(-5, rel=0.01)
    assert fitted.repetition == pytest.approx(-20, rel=0.01)
    assert expected_chrf(fitted, Features(-1, 1, 0)) == pytest.approx(60, abs=0.2)


def test_a_feature_that_never_varies_is_no_problem():
    found = [Features(-i / 100, 1.0, 0.0) for i in range(100)]
    fitted = fit_confidence(found, [90 - i / 2 for i in range(100)], "x")
    assert expected_chrf(fitted, Features(-0.5, 1.0, 0.0)) == pytest.approx(65, abs=0.5)


def test_few_pairs_and_numbers_that_are_none_are_not_fitted():
    assert fit_confidence(drawn(49), [50.0] * 49, "x") is None
    assert fit_confidence(drawn(50), [50.0] * 50, "x") is not None
    assert fit_confidence([Features(-math.inf, 1, 0), *drawn(50)], [50.0] * 51, "x") is None


@pytest.mark.parametrize(("value", "expected"), [(250.0, 100.0), (-4.0, 0.0), (37.25, 37.25)])
def test_confidence_is_between_0_and_100(value, expected):
    fitted = ConfidenceRecord(intercept=value, log_probability=0.0, length_ratio=0.0, repetition=0.0, pairs=60)
    assert expected_chrf(fitted, Features(-1, 1, 0)) == expected
    assert expected_chrf(fitted, None) == 0.0
    assert expected_chrf(replace(fitted, log_probability=1.0), Features(math.nan, 1, 0)) == 0.0


def test_blank_references_and_translations_are_left_out():
    judged = [(f, "a b", "a c") for f in drawn(50)]
    assert fit_translations(judged, "x").pairs == 50
    assert fit_translations([*judged, (None, "", "a"), (judged[0][0], "a", " ")], "x").pairs == 50
    assert fit_translations([*judged[:49], (None, "", "a"), (judged[0][0], "a", " ")], "x") is None


def test_chrf_of_sentences_is_sacrebleus():
    exact, blank, part = sentence_chrf(["the cat", "", "dog"], ["the cat", "a", "the dog"])
    assert (exact, blank) == (pytest.approx(100), 0)
    assert part == sacrebleu.sentence_chrf("dog", ["the dog"]).score


# Training -------------------------------------------------------------------------------------------


def test_a_run_is_fitted_when_it_ends(reverser):
    fitted = read_manifest(reverser).confidence
    assert (fitted.pairs, fitted.corpus) == (50, "validation")


def test_the_fit_is_of_the_translations_that_translate_makes(reverser):
    """Those of beam search, with the length penalty that was chosen."""
    translator = Translator.load(reverser, device="cpu")
    pairs = [line.split("\t") for line in _valid(reverser)]
    found = [best for (best,) in translator.n_best([src for src, _ in pairs])]
    fitted = fit_translations(
        [(t.features, t.text, ref) for t, (_, ref) in zip(found, pairs, strict=True)], "validation"
    )
    stored = read_manifest(reverser).confidence
    assert fitted.intercept == pytest.approx(stored.intercept, abs=0.05)
    assert fitted.log_probability == pytest.approx(stored.log_probability, abs=0.5)


def _valid(reverser):
    valid = reverser.parent / "valid"
    sides = [valid.with_name(f"valid.{lang}").read_text().splitlines() for lang in ("ab", "ba")]
    return [f"{a}\t{b}" for a, b in zip(*sides, strict=True)]


@pytest.mark.parametrize("alpha", [None, 0.7])
def test_few_validation_pairs_are_said(tmp_path, alpha):
    recipe = reversal_recipe(tmp_path)
    recipe["data"]["valid"] = [write_reversal(tmp_path / "few", reversal_lines(20, seed=5))]
    recipe["data"]["train"] = [write_reversal(tmp_path / "some", reversal_lines(200, seed=6))]
    short = {"training": {"max_updates": 4, "valid_every": 4}, "decoding": {"length_penalty": alpha}}
    events = list(train(Request(tmp_path / "run", [recipe, short], device="cpu")))
    assert any("confidence is not fitted: 20 validation pairs, fewer than 50" in str(event) for event in events)
    assert read_manifest(tmp_path / "run").confidence is None


def test_a_given_length_penalty_is_fitted_too(tmp_path):
    recipe = reversal_recipe(tmp_path)
    recipe["data"]["train"] = [write_reversal(tmp_path / "some", reversal_lines(200, seed=6))]
    short = {"training": {"max_updates": 30, "valid_every": 30}, "decoding": {"length_penalty": 0.7}}
    events = list(train(Request(tmp_path / "run", [recipe, short], device="cpu")))
    assert not any("not fitted" in str(event) for event in events)
    manifest = read_manifest(tmp_path / "run")
    assert manifest.length_penalty is None
    assert manifest.confidence is None or manifest.confidence.pairs <= 50


# translate ------------------------------------------------------------------------------------------


def test_confidence_comes_before_each_translation(cli, run):
    texts = ["a b c", "a", "a b c d e f g h a b"]
    plain = cli("translate", run, *texts).out.splitlines()
    rows = [line.split("\t") for line in cli("translate", run, "--confidence", *texts).out.splitlines()]
    assert [text for _, text in rows] == plain
    expected = [t.confidence for (t,) in Translator.load(run, device="cpu").n_best(texts)]
    assert [value for value, _ in rows] == [f"{value:.1f}" for value in expected]


def test_a_blank_line_has_none(cli, run, tmp_path):
    (tmp_path / "in").write_text("a b\n\n \n")
    assert cli("translate", run, "-i", tmp_path / "in", "--confidence").out.splitlines()[1:] == ["0.0\t", "0.0\t"]


def test_n_best_have_a_fourth_field(cli, run):
    rows = [
        line.split(" ||| ") for line in cli("translate", run, "--n-best", 3, "--confidence", "a b c").out.splitlines()
    ]
    assert [len(row) for row in rows] == [4] * 3
    plain = cli("translate", run, "--n-best", 3, "a b c").out.splitlines()
    assert [" ||| ".join(row[:3]) for row in rows] == plain
    assert all(0 <= float(row[3]) <= 100 for row in rows)


def test_json_has_an_object_for_each_line(cli, run, older, tmp_path):
    (tmp_path / "in").write_text("a b c\n\n" + "a b c d e f g h " * 20 + "\n")
    rows = [json.loads(line) for line in cli("translate", run, "-i", tmp_path / "in", "--json").out.splitlines()]
    assert [row.keys() for row in rows] == [{"text", "score", "confidence", "segments"}] * 3
    assert rows[0]["text"] == "c b a"
    assert 0 < rows[0]["confidence"] <= 100
    assert rows[1] == {"text": "", "score": 0.0, "confidence": 0.0, "segments": 0}
    assert rows[2]["segments"] > 1
    (row,) = map(json.loads, cli("translate", older, "--json", "a b c").out.splitlines())
    assert row["confidence"] is None


def test_greedy_search_has_it_too(cli, run):
    value, text = cli("translate", run, "-b", 1, "--confidence", "a b c").out.rstrip("\n").split("\t")
    assert float(value) > 0
    assert text == "c b a"


@pytest.mark.parametrize(
    "options",
    [
        ["--confidence", "--scores"], ["--confidence", "--alignments"], ["--json", "--n-best", "2"],
        ["--json", "--scores"], ["--json", "--alignments"], ["--min-confidence", "5"], ["--doubtful", "OUT"],
        ["--min-confidence", "101", "--doubtful", "OUT"], ["--min-confidence", "5", "--doubtful", "-"],
        ["--min-confidence", "5", "--doubtful", "OUT", "--resume", "-o", "OTHER"],
        ["--min-confidence", "5", "--doubtful", "OUT", "-o", "OUT"],
        ["--min-confidence", "5", "--doubtful", "IN"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(cli, run, tmp_path, options):
    (tmp_path / "IN").write_text("a\n")
    words = [tmp_path / word if word.isupper() else word for word in options]
    outcome = cli("translate", run, "-i", tmp_path / "IN", *words)
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith("error: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["IN"]


@pytest.mark.parametrize("options", [["--confidence"], ["--min-confidence", "5", "--doubtful", "out"]], ids=str)
def test_an_older_run_says_how_to_fit_it(cli, older, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = cli("translate", older, *options, "a b")
    assert outcome.code == 78
    assert f"seq2seq eval {older} CORPUS --fit-confidence" in outcome.err


# Doubtful lines -------------------------------------------------------------------------------------


def test_doubtful_lines_go_to_a_file(cli, run, tmp_path):
    lines = ["a b c", "", "h\tg x y z", "a b c d e f g h a b c d"]
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
    plain = cli("translate", run, "-i", tmp_path / "in")
    rows = [line.split("\t") for line in cli("translate", run, "-i", tmp_path / "in", "--confidence").out.splitlines()]
    bound = min(float(value) for value, text in rows if text) + 0.1
    outcome = cli("translate", run, "-i", tmp_path / "in", "--doubtful", tmp_path / "d", "--min-confidence", bound)
    assert outcome.out == plain.out, "the output stays whole"
    found = [line.split("\t") for line in (tmp_path / "d").read_text().splitlines()]
    expected = [
        [str(i), value, lines[i - 1].replace("\t", " "), text]
        for i, (value, text) in enumerate(rows, start=1)
        if float(value) < bound - 0.05 and lines[i - 1]
    ]
    assert found == expected
    assert found


def test_lines_are_numbered_over_windows(cli, run, tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.translation.translator.MAX_BYTES", 10)
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES[:30]))
    words = ["-i", tmp_path / "in", "-o", tmp_path / "out", "--doubtful", tmp_path / "d", "--min-confidence", 100]
    assert cli("translate", run, *words).code == 0
    found = [line.split("\t") for line in (tmp_path / "d").read_text().splitlines()]
    expected = [
        (str(i), line)
        for i, (line, (t,)) in enumerate(
            zip(LINES[:30], Translator.load(run, device="cpu").n_best(LINES[:30]), strict=True), 1
        )
        if t.confidence < 100
    ]
    assert [(number, src) for number, _, src, _ in found] == expected


def test_a_file_with_confidence_is_resumed(run, tmp_path):
    from seq2seq.translation import translate_file
    from seq2seq.translation.events import WindowTranslated

    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES[:40]))
    translator = Translator.load(run, device="cpu")
    list(translate_file(translator, str(tmp_path / "in"), str(tmp_path / "whole"), form="confidence"))
    import seq2seq.translation.translator as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_BYTES", 60)
        for event in (
            events := translate_file(translator, str(tmp_path / "in"), str(tmp_path / "out"), form="confidence")
        ):
            if isinstance(event, WindowTranslated):
                break
        events.close()
    assert not (tmp_path / "out").exists()
    list(translate_file(translator, str(tmp_path / "in"), str(tmp_path / "out"), form="confidence", resume=True))
    assert (tmp_path / "out").read_text() == (tmp_path / "whole").read_text()


# eval --fit-confidence ------------------------------------------------------------------------------


def test_eval_fits_a_run(cli, older, corpus):
    before = read_manifest(older)
    outcome = cli("eval", older, corpus, "--fit-confidence", "-m", "chrf")
    assert outcome.code == 0
    assert f"confidence was fitted on 120 pairs, and stored in {older}" in outcome.err
    after = read_manifest(older)
    assert (after.confidence.pairs, after.confidence.corpus) == (120, corpus)
    assert replace(after, confidence=None) == before
    assert cli("translate", older, "--confidence", "a b").code == 0


def test_eval_without_it_changes_nothing(cli, older, corpus):
    before = (older / "manifest.json").read_bytes()
    assert cli("eval", older, corpus, "-m", "chrf").code == 0
    assert (older / "manifest.json").read_bytes() == before


def test_what_eval_refuses(cli, older, corpus, tmp_path):
    few = write_reversal(tmp_path / "few", LINES[:10])
    before = (older / "manifest.json").read_bytes()
    outcome = cli("eval", older, few, "--fit-confidence", "-m", "chrf")
    assert (outcome.code, "at least 50 pairs" in outcome.err) == (65, True)
    with lock(older):
        assert cli("eval", older, corpus, "--fit-confidence", "-m", "chrf").code == 75
    (tmp_path / "hyp").write_text("a\n" * 120)
    assert cli("eval", "--hyp", tmp_path / "hyp", older, corpus, "--fit-confidence").code == 2
    assert (older / "manifest.json").read_bytes() == before
