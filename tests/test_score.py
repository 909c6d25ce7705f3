"""``seq2seq score``: its lines, its JSON, what is said on stderr, and exit codes."""

import json
import math

import pytest
from reversal import reversal_lines, write_reversal

from seq2seq.translation import Translator

LINES = reversal_lines(20, seed=3)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    return write_reversal(tmp_path_factory.mktemp("score") / "c", LINES)


@pytest.fixture(scope="module")
def likelihoods(reverser):
    return Translator.load(reverser, device="cpu").score([(line, line[::-1]) for line in LINES])


def test_one_line_for_each_pair(cli, reverser, corpus, likelihoods):
    outcome = cli("score", reverser, corpus, "--device", "cpu")
    assert outcome.code == 0
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [(float(value), int(n)) for value, n in rows] == [
        (pytest.approx(one.log_probability, abs=1e-5), len(one.tokens)) for one in likelihoods
    ]
    n_tokens = sum(len(one.tokens) for one in likelihoods)
    perplexity = math.exp(-sum(one.log_probability for one in likelihoods) / n_tokens)
    assert f"{corpus}: perplexity {perplexity:.3f} (20 pairs, {n_tokens} tokens)" in outcome.err


def test_each_piece_has_its_own(cli, reverser, corpus):
    for line in cli("score", reverser, corpus, "--tokens").out.splitlines():
        total, n, *pieces = line.split("\t")
        names, values = zip(*(piece.split(" ") for piece in pieces), strict=True)
        assert len(pieces) == int(n)
        assert names[-1] == "</s>"
        assert sum(map(float, values)) == pytest.approx(float(total), abs=1e-4)


def test_json_has_an_object_for_each_line(cli, reverser, corpus, likelihoods):
    rows = [json.loads(line) for line in cli("score", reverser, corpus, "--json").out.splitlines()]
    assert [row["tokens"] for row in rows] == [len(one.tokens) for one in likelihoods]
    assert rows[0].keys() == {"log_probability", "tokens"}
    rows = [json.loads(line) for line in cli("score", reverser, corpus, "--json", "--tokens").out.splitlines()]
    for row in rows:
        assert sum(value for _, value in row["pieces"]) == pytest.approx(row["log_probability"], abs=1e-4)
    assert "".join(piece for piece, _ in rows[0]["pieces"][:-1]).replace("▁", " ").strip() == LINES[0][::-1]


def test_pairs_that_are_not_scored_keep_their_lines(cli, reverser, tmp_path):
    (tmp_path / "c.ab").write_text("a b\n\nc\n" + "a b " * 500 + "\n")
    (tmp_path / "c.ba").write_text("b a\nx\n \nb\n")
    outcome = cli("score", reverser, tmp_path / "c", "--tokens")
    assert [line.split("\t")[:2] for line in outcome.out.splitlines()[1:]] == [["nan", "0"]] * 3
    assert "2 pairs not scored: a side is blank" in outcome.err
    assert "1 pair not scored: too many tokens for this model" in outcome.err
    rows = [json.loads(line) for line in cli("score", reverser, tmp_path / "c", "--json").out.splitlines()]
    assert rows[1:] == [{"log_probability": None, "tokens": 0}] * 3
    (tmp_path / "c.ab").write_text("\n")
    (tmp_path / "c.ba").write_text("\n")
    assert "perplexity unknown (0 pairs, 0 tokens)" in cli("score", reverser, tmp_path / "c").err


def test_a_file_holds_the_same(cli, reverser, corpus, tmp_path):
    out = cli("score", reverser, corpus).out
    assert cli("score", reverser, corpus, "-o", tmp_path / "scores").out == ""
    assert (tmp_path / "scores").read_text() == out


def test_many_pairs_are_scored_in_blocks(cli, reverser, corpus, monkeypatch):
    out = cli("score", reverser, corpus).out
    monkeypatch.setattr("seq2seq.evaluation.likelihoods._BLOCK", 7)
    found = cli("score", reverser, corpus)
    for one, other in zip(found.out.split(), out.split(), strict=True):
        assert float(one) == pytest.approx(float(other), abs=1e-4)
    assert "(20 pairs" in found.err


def test_what_is_refused(cli, reverser, corpus, tmp_path):
    assert cli("score", tmp_path / "none", corpus).code == 66
    assert cli("score", reverser, tmp_path / "none").code == 66
    assert cli("score", reverser, corpus, "-o", f"{corpus}.ab").code == 2
    assert cli("score", reverser).code == 2
    (tmp_path / "bad.ab").write_bytes(b"a \xff\n")
    (tmp_path / "bad.ba").write_bytes(b"a\n")
    assert cli("score", reverser, tmp_path / "bad", "--strict").code == 65
    replaced = cli("score", reverser, tmp_path / "bad", "--encoding-errors", "replace")
    assert replaced.code == 0
    assert "1 line held bytes that are not UTF-8" in replaced.err
