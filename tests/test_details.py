"""What differs between systems: buckets of length, lines, faults; as `eval --against` prints it."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
from reversal import reversal_lines, write_reversal
from test_cli import assert_refused

from seq2seq.errors import ExitCode
from seq2seq.evaluation import MAX_LINES, Details, ScoringOptions, score, score_file
from seq2seq.evaluation.details import _buckets

SOURCES = [f"{'der Hund ' * (i % 20 + 1)}{i}" for i in range(120)]
REFERENCES = [f"{'the dog ' * (i % 20 + 1)}ran {i}" for i in range(120)]
OTHER = ["" if i == 7 else f"{line} x" if i % 3 == 0 else line for i, line in enumerate(REFERENCES)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path / "c.de", SOURCES)
    write(tmp_path / "c.en", REFERENCES)
    write(tmp_path / "other", OTHER)
    write(tmp_path / "hyp", [line.replace("dog", "cat") if i == 3 else line for i, line in enumerate(REFERENCES)])
    return tmp_path


def details_of(folder: Path, *, corpus: str = "c", langs: str | None = "de-en") -> Details:
    options = ScoringOptions(against=[folder / "other"])
    return score_file(folder / "hyp", str(folder / corpus), ["bleu", "chrf"], langs=langs, options=options).details


@pytest.mark.parametrize("lengths", [[5] * 100, list(range(100)), [1, 2], [3] * 90 + [7] * 10, list(range(1014))])
def test_buckets_hold_each_sentence_once_and_each_length_together(lengths):
    buckets = _buckets(lengths)
    assert sorted(place for bucket in buckets for place in bucket) == list(range(len(lengths)))
    ranges = [{lengths[i] for i in bucket} for bucket in buckets]
    assert all(max(short) < min(long) for short, long in pairwise(ranges))
    assert len(buckets) <= 5
    if len(set(lengths)) == len(lengths) >= 100:
        assert len(buckets) == 5
        assert max(map(len, buckets)) - min(map(len, buckets)) <= 1


def test_scores_of_buckets(folder):
    details = details_of(folder)
    assert details.by == "source"
    assert sum(bucket.sentences for bucket in details.buckets) == 120
    longest = details.buckets[-1]
    places = [i for i, text in enumerate(SOURCES) if longest.min_length <= len(text) <= longest.max_length]
    assert len(places) == longest.sentences
    expected = score("chrf", [OTHER[i] for i in places], [REFERENCES[i] for i in places]).value
    assert longest.scores["chrf"][1] == expected


def test_lines_that_changed_most_and_the_worst(folder):
    details = details_of(folder)
    changed = details.changed(1)
    assert [line.number for line in changed][:1] == [8], "the empty one"
    assert len(changed) == MAX_LINES < sum(a != b for a, b in zip(OTHER, REFERENCES, strict=True))
    by_size = [abs(line.chrf[0] - line.chrf[1]) for line in changed]
    assert by_size == sorted(by_size, reverse=True)
    assert min(by_size) > 0
    worst = details.worst()
    assert (worst[0].number, worst[0].source, worst[0].references) == (4, SOURCES[3], [REFERENCES[3]])
    assert len(worst) == MAX_LINES


def test_faults_are_counted(folder):
    (ours, other) = details_of(folder).faults
    assert (ours["empty"], other["empty"]) == (0, 1)
    without_sources = details_of(folder, corpus="c.en", langs=None)
    assert without_sources.by == "reference"
    assert without_sources.faults[0] == {"empty": 0, "looping": 0, "copied": None, "lost_numbers": None}


def test_numbers_of_lines_count_pairs_that_are_not_scored(folder):
    write(folder / "c.en", ["", *REFERENCES[1:]])
    details = details_of(folder)
    assert len(details.lines) == 119
    assert details.worst()[0].number == 4


class TestCommand:
    def test_tables(self, cli, folder):
        plain = cli("eval", "--hyp", folder / "hyp", "-l", "de-en", folder / "c")
        outcome = cli("eval", "--hyp", folder / "hyp", "-l", "de-en", folder / "c", "--against", folder / "other")
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith(plain.out + "\n"), "what scripts read is as before"
        tests, signatures, lengths, faults = outcome.out.removeprefix(plain.out + "\n").split("\n\n")
        rows = [line.split() for line in tests.splitlines()]
        assert rows[0] == ["metric", "score", "low", "high", "diff", "p_bs", "p_ar", "system"]
        assert [(row[0], row[-1]) for row in rows[1:]] == [
            (name, str(folder / system)) for name in ("BLEU", "chrF2", "TER") for system in ("hyp", "other")
        ]
        assert all(len(row) == 8 for row in rows)
        assert all(0 < float(p) <= 1 for row in rows[2::2] for p in row[5:7])
        assert all(float(row[2]) <= float(row[1]) <= float(row[3]) for row in rows[1:])
        assert len(signatures.splitlines()) == 6
        assert "BLEU randomisation  nrefs:1|ar:10000|seed:12345|" in signatures
        assert lengths.split()[:6] == ["source_length", "sentences", "BLEU", "chrF2", "TER", "system"]
        assert faults.split()[:5] == ["empty", "looping", "copied", "lost_numbers", "system"]
        columns = [line.index(str(folder)) for line in tests.splitlines()[1:]]
        assert set(columns) == {tests.splitlines()[0].index("system")}
        assert columns[0] <= 60
        assert "line 8: chrF 100.0, not 0.0" in outcome.err
        assert f"41 lines differ from {folder / 'other'}: 40 better, 1 worse" in outcome.err
        assert "low, high: 95% confidence interval" in outcome.err

    def test_json(self, cli, folder):
        words = ("eval", "--hyp", folder / "hyp", "-l", "de-en", folder / "c", "--json")
        plain = json.loads(cli(*words).out)["corpora"][0]
        found = json.loads(cli(*words, "--against", folder / "other").out)["corpora"][0]
        assert plain.pop("details") is None
        details = found.pop("details")
        assert found == plain
        assert details["systems"] == [str(folder / "hyp"), str(folder / "other")]
        assert list(details["tests"]) == ["bleu", "chrf", "ter"]
        first, other = details["tests"]["chrf"]["systems"]
        assert (first["difference"], first["p"]) == (None, None)
        assert other["difference"] == first["score"] - other["score"] > 0
        assert set(other["p"]) == {"bootstrap", "randomisation"}
        assert "ar:10000" in details["tests"]["chrf"]["signatures"]["randomisation"]
        assert details["changed"][0]["system"] == str(folder / "other")
        assert len(details["changed"][0]["lines"]) == len(details["worst"]) == 20
        assert details["by_length"][0]["scores"].keys() == {"bleu", "chrf", "ter"}

    def test_the_same_run_and_a_compressed_file(self, cli, reverser, tmp_path):
        corpus = write_reversal(tmp_path / "c", reversal_lines(30, seed=5))
        (tmp_path / "hyp.gz").write_bytes(gzip.compress(b"a\n" * 30))
        words = ("eval", reverser, corpus, "--device", "cpu", "-m", "chrf", "--json")
        outcome = cli(*words, "--against", reverser, "--against", tmp_path / "hyp.gz")
        assert outcome.code == 0, outcome.err
        _, same, other = json.loads(outcome.out)["corpora"][0]["details"]["tests"]["chrf"]["systems"]
        assert (same["system"], same["difference"]) == (str(reverser), 0)
        assert same["p"] == {"bootstrap": None, "randomisation": None}
        assert other["p"]["bootstrap"] < 0.01
        assert f"chrF2: no difference from {reverser}" in outcome.err
        assert f"chrF2: better than {tmp_path / 'hyp.gz'} (p 0.0010, 0.0001)" in outcome.err

    def test_a_file_against_a_run(self, cli, reverser, tmp_path):
        corpus = write_reversal(tmp_path / "c", reversal_lines(30, seed=5))
        write(tmp_path / "hyp", ["a"] * 30)
        words = ("eval", "--hyp", tmp_path / "hyp", "-m", "chrf", "--against", reverser, "--device", "cpu", "--json")
        found = json.loads(cli(*words, "-l", "ab-ba", corpus).out)["corpora"][0]
        assert found["details"]["tests"]["chrf"]["systems"][1]["score"] > 99
        assert found["seconds"] is None
        outcome = cli(*words, f"{corpus}.ba")
        assert_refused(outcome, ExitCode.USAGE, f"--against {reverser} is a run", "has no sources", "-l de-en")

    def test_several_corpora(self, cli, reverser, tmp_path):
        corpora = [write_reversal(tmp_path / name, reversal_lines(10, seed=i)) for i, name in enumerate("cd")]
        outcome = cli("eval", reverser, *corpora, "--device", "cpu", "-m", "chrf", "--against", reverser)
        assert outcome.code == 0, outcome.err
        assert [line for line in outcome.out.splitlines() if line.startswith("corpus")] == [
            f"corpus  {corpus}" for corpus in corpora
        ]

    def test_what_is_refused(self, cli, reverser, tmp_path):
        corpus = write_reversal(tmp_path / "c", reversal_lines(4, seed=5))
        short = write(tmp_path / "short", ["a"])
        words = ("eval", reverser, corpus, "--device", "cpu")
        refused = [
            ([*words, "--against", short], ExitCode.BAD_DATA, "short has 1 line but"),
            ([*words, "--against", tmp_path / "none"], ExitCode.NO_INPUT, "none cannot be read"),
            ([*words, "--against", tmp_path], ExitCode.NO_INPUT, str(tmp_path)),
            ([*words, corpus, "--against", short], ExitCode.USAGE, "translations of one corpus"),
            ([*words, "--against", short, "-o", short], ExitCode.USAGE, "is a file that is being read"),
            (["eval", "--hyp", "-", f"{corpus}.ba", "--against", "-"], ExitCode.USAGE, "stdin cannot hold both"),
        ]
        for line, code, says in refused:
            assert_refused(cli(*line), code, says)
        assert short.read_text() == "a\n"
