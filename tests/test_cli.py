"""The command line as users see it: stdout, stderr, exit codes."""

import gzip
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reversal import reversal_lines, write_reversal
from support.cli import Cli, Outcome
from support.clock import Clock

from seq2seq.cli.console import console, on_terminal
from seq2seq.cli.layers import training_layers
from seq2seq.config import merge
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.evaluation import ROUGH_GUIDE
from seq2seq.runs import read_manifest
from seq2seq.translation import is_finished


def assert_refused(outcome: Outcome, code: int, *says: str) -> None:
    """Check for one line on stderr with the error and advice, nothing on stdout, and the exit code."""
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "; " in last
    assert "Traceback" not in outcome.err
    for text in says:
        assert text in last


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    """A corpus that tests only read."""
    return write_reversal(tmp_path_factory.mktemp("corpora") / "corpus", reversal_lines(60, seed=5))


@pytest.fixture
def train(cli, tmp_path) -> Cli:
    """``train`` a tiny model into ``tmp_path / "run"``."""
    small = ["model.d_model=16", "model.d_ff=16", "model.n_heads=2", "data.vocab_size=300", "training.max_updates=2"]
    small += ["model.encoder_layers=1", "model.decoder_layers=1"]
    ends = ("training.max_updates", "training.time_budget")

    def run(*words: object, langs: str = "ab-ba") -> Outcome:
        given = {str(word).partition("=")[0] for word in words}
        left_out = given | set(ends) if given & set(ends) else given
        sets = [f"--set={assignment}" for assignment in small if assignment.partition("=")[0] not in left_out]
        device = [] if "--device" in given else ["--device=cpu"]
        return cli("train", "-l", langs, "-o", tmp_path / "run", *device, *sets, *words)

    return run


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory) -> Path:
    """The folder of the run that ``trained`` copies."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def trained(train, corpus, tmp_path, kept_run) -> Path:
    """``tmp_path / "run"`` after ``train --train CORPUS``. It is trained once, then copied."""
    run = tmp_path / "run"
    if kept_run.exists():
        return shutil.copytree(kept_run, run)
    assert train("--train", corpus).code == 0
    shutil.copytree(run, kept_run)
    return run


def break_corpus(prefix: Path, kind: str) -> str:
    """Write files without usable parallel text. Returns their CORPUS word."""
    src, tgt = prefix.with_name("bad.ab"), prefix.with_name("bad.ba")
    src.write_text("a b\nb c\nc d\n")
    tgt.write_text("b a\nc b\nd c\n")
    match kind:
        case "missing":
            src.unlink()
        case "misaligned":
            tgt.write_text("b a\nc b\n")
        case "truncated gzip":
            packed = gzip.compress("".join(f"{line}\n" for line in reversal_lines(3000, seed=1)).encode())
            src.with_name("bad.ab.gz").write_bytes(packed[: len(packed) // 2])
            src.unlink()
        case "not UTF-8":
            src.write_bytes(b"a b\nb \xff\nc d\n")
        case "empty":
            src.write_text("")
            tgt.write_text("")
        case "blank":
            tgt.write_text("\n \n\t\n")
    return str(prefix.with_name("bad"))


class TestTrain:
    @pytest.mark.parametrize(
        ("time", "seconds"),
        [
            ("45m", 2700),
            ("1h30m", 5400),
            ("1h 30m 5s", 5405),
            ("90s", 90),
            ("7.5s", 7.5),
            ("0.5h", 1800),
            ("2H", 7200),
            (" 5 m ", 300),
        ],
    )
    def test_durations_in_common_spellings(self, time, seconds):
        nothing = dict.fromkeys(("langs", "train", "valid", "preset", "seed", "strict", "max_updates", "max_epochs"))
        layers = training_layers(None, time_budget=time, sets=[], **nothing)
        assert merge(layers)["training"] == {"time_budget": seconds}

    @pytest.mark.parametrize("time", ["5", "7.5", " 90 "])
    def test_a_time_without_a_unit_is_refused(self, train, corpus, time):
        says = f"--time-budget {time.strip()} has no unit; write {time.strip()}m, "
        assert_refused(train("--train", corpus, "--time-budget", time), ExitCode.USAGE, says)
        nothing = dict.fromkeys(("langs", "train", "valid", "preset", "seed", "strict", "max_updates", "max_epochs"))
        layers = training_layers(None, time_budget=None, sets=[f"training.time_budget={time}"], **nothing)
        assert merge(layers)["training"] == {"time_budget": float(time)}, "of the file and --set: seconds"

    def test_a_time_and_a_number_of_updates_are_refused(self, cli, corpus, tmp_path):
        words = ("-l", "ab-ba", "--train", corpus, "-o", tmp_path / "run", "--time-budget", "5m", "--max-epochs", "3")
        assert_refused(cli("train", *words), ExitCode.USAGE, "a time budget sets", "give either")

    def test_a_run_ends_with_its_time(self, train, corpus, tmp_path, monkeypatch):
        """The time of the last layer counts: --set overrides flags."""
        clock = Clock(0.1)
        monkeypatch.setattr("seq2seq.training.trainer.time", clock)
        monkeypatch.setattr("seq2seq.training.parallel.ranks.time", clock)
        outcome = train("--train", corpus, "--set", "training.time_budget=10")
        assert outcome.code == 0, outcome.err
        assert re.search(r"^training: .*, as many updates as there is time for", outcome.err, re.MULTILINE), outcome.err
        (shown,) = re.findall(r"finished after .*: ([\d,]+) updates done", outcome.err)
        assert int(shown.replace(",", "")) > 2, "not the fixture's"
        assert "there is time for about " in outcome.err
        assert read_manifest(tmp_path / "run").finished

    @pytest.mark.parametrize(
        ("kind", "words", "code", "says"),
        [
            ("missing", [], ExitCode.NO_INPUT, ["bad.ab"]),
            ("misaligned", [], ExitCode.BAD_DATA, ["bad.ab", "3 lines", "bad.ba", "2"]),
            ("truncated gzip", [], ExitCode.BAD_DATA, ["bad.ab.gz", "ends before"]),
            ("not UTF-8", ["--strict"], ExitCode.BAD_DATA, ["bad.ab, line 2", "leave out --strict"]),
            ("empty", [], ExitCode.BAD_DATA, ["no pair"]),
            ("blank", [], ExitCode.BAD_DATA, ["3 pairs, all with a blank side"]),
        ],
    )
    def test_bad_corpora_are_refused_before_training(self, train, tmp_path, kind, words, code, says):
        assert_refused(train("--train", break_corpus(tmp_path / "x", kind), *words), code, *says)
        assert not (tmp_path / "run" / "manifest.json").exists()

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["--set", "model.d_modl=8"], ExitCode.REFUSED, ["model.d_modl", "did you mean model.d_model?"]),
            (["--set", "model.n_heads=3"], ExitCode.REFUSED, ["d_model 16", "n_heads 3", "divisors"]),
            (["--set", "model.dropout=2"], ExitCode.REFUSED, ["model.dropout = 2"]),
            (["--set", "nonsense"], ExitCode.USAGE, ["nonsense", "table.key=value"]),
            (
                ["--set", "model.positions=learned", "--set", "model.max_positions=9"],
                ExitCode.REFUSED,
                ["max_positions"],
            ),
            (["--seed", "-1"], ExitCode.USAGE, ["training.seed = -1"]),
            (["--time-budget", "soon"], ExitCode.USAGE, ["--time-budget soon", "45m"]),
            *(
                (["--time-budget", time], ExitCode.USAGE, [f"--time-budget {time} is not a duration", "45m"])
                for time in ("1h30", "0m", "0", "-5m", "1.2.3m", "5min", "1 5m", "1h1h", "30m1h", "1e3s", "inf", "٥m")
            ),
            (["--time-budget", "9999999999h"], ExitCode.USAGE, ["training.time_budget = ", "1000000000"]),
            (["--set", "training.max_updates=5", "--set", "training.max_updates=6"], ExitCode.USAGE, ["two values"]),
            (["--set", "preset=tiny", "--set", "preset=base"], ExitCode.USAGE, ["preset is given with two values"]),
            (
                ["--set", "training.max_updates=5", "--set", "training.time_budget=9"],
                ExitCode.USAGE,
                ["a time budget sets"],
            ),
            (["--max-updates", str(2**31)], ExitCode.USAGE, ["training.max_updates = 2147483648"]),
            (["--preset", "huge"], ExitCode.USAGE, ["huge", "tiny, small, medium"]),
            (["--config", "no/such.toml"], ExitCode.NO_INPUT, ["no/such.toml"]),
            (["--device", "cray"], ExitCode.USAGE, ["cray", "cpu"]),
            (["--set", "data.tokenizer=no.model"], ExitCode.NO_INPUT, ["no.model"]),
        ],
    )
    def test_bad_configurations_are_refused(self, train, corpus, words, code, says):
        assert_refused(train("--train", corpus, *words), code, *says)

    def test_a_file_that_is_not_toml(self, train, corpus, tmp_path):
        (tmp_path / "recipe.toml").write_text("[model\n")
        assert_refused(train("--train", corpus, "--config", tmp_path / "recipe.toml"), ExitCode.REFUSED, "recipe.toml")

    @pytest.mark.parametrize("langs", ["ab", "ab-", "a/b-c", "ab-ab", ""])
    def test_invalid_languages(self, train, corpus, langs):
        assert_refused(train("--train", corpus, langs=langs), ExitCode.USAGE, "as in -l de-en")

    def test_languages_that_do_not_match_the_files(self, train, corpus):
        assert_refused(train("--train", corpus, langs="ab-xx"), ExitCode.NO_INPUT, "corpus.xx")

    def test_missing_languages_or_corpora(self, cli, tmp_path, corpus):
        assert_refused(cli("train", "--train", corpus, "-o", tmp_path / "run"), ExitCode.USAGE, "-l de-en")
        assert_refused(cli("train", "-l", "ab-ba", "-o", tmp_path / "run"), ExitCode.USAGE, "--train")

    def test_no_run_folder_named(self, cli):
        assert_refused(cli("train"), ExitCode.USAGE, "no output folder is given; name a new one with -o RUN")

    def test_a_folder_with_other_files(self, train, corpus, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").touch()
        assert_refused(train("--train", corpus), ExitCode.REFUSED, "thesis.tex")

    def test_a_path_that_cannot_become_a_folder(self, train, corpus, tmp_path):
        (tmp_path / "run").touch()
        assert_refused(train("--train", corpus), ExitCode.CANNOT_WRITE, "run")
        assert (tmp_path / "run").read_bytes() == b""

    def test_progress_goes_only_to_stderr(self, train, corpus, tmp_path):
        outcome = train("--train", corpus)
        assert (outcome.code, outcome.out) == (0, ""), outcome.err
        assert f"{corpus}: 60 pairs" in outcome.err
        assert "12 pairs held out" in outcome.err
        assert outcome.err.splitlines()[-2:] == [read_manifest(tmp_path / "run").verdict, ROUGH_GUIDE]
        assert re.search(r"validation at update 2: loss \d+\.\d+  BLEU ", outcome.err)
        assert "\x1b[" not in outcome.err  # no colours into a file

    def test_a_preset_that_the_file_overrides_is_refused(self, cli, trained, tmp_path):
        """A run with preset base must have its size."""
        words = ("--config", trained / "config.toml", "-o", tmp_path / "other", "--device", "cpu")
        for given in (("--preset", "base"), ("--set", "preset=base")):
            says = ("not have the size of preset base", "model.d_model = 16", "leave the preset out")
            assert_refused(cli("train", *words, *given), ExitCode.USAGE, *says)
        outcome = cli("train", *words, "--preset", "auto")  # as the file has it
        assert outcome.code == 0
        assert "48 pairs on 1 CPU core: recipe auto-500-one-mask (" in outcome.err
        assert "model: 1 encoder and 1 decoder layer of width 16\n" in outcome.err

    @pytest.mark.parametrize(
        ("recipe", "given", "says"),
        [
            ("preset = 'tiny'", ["--preset", "base"], None),
            ("preset = 'tiny'\nmodel.n_heads = 2", ["--preset", "tiny"], None),
            ("model.n_heads = 2", ["--preset", "auto"], None),
            ("preset = 'base'\nmodel.n_heads = 2", ["--preset", "auto"], "model.n_heads = 2"),
            ("model.n_heads = 2\nmodel.d_ff = 9", ["--preset", "tiny"], "model.d_ff = 9, model.n_heads = 2"),
            ("model.n_heads = 2", ["--set", "preset=base"], "model.n_heads = 2"),
            ("model.n_heads = 2", ["--preset", "tiny", "--set", "model.n_heads=8"], None),
            ("model.d_model = 128", ["--preset", "tiny"], None),
            ("model.positions = 'rotary'\nmodel.dropout = 0.3", ["--preset", "tiny"], None),
            ("model.dropout = 0.5", ["--preset", "tiny"], "FILE overrides preset tiny with model.dropout = 0.5\n"),
            ("data.vocab_size = 500", ["--preset", "base"], "preset base with data.vocab_size = 500\n"),
        ],
        ids=str,
    )
    def test_what_a_file_overrides_of_a_preset_is_reported(self, cli, tmp_path, recipe, given, says):
        (tmp_path / "r.toml").write_text(recipe)
        words = ("-l", "de-en", "--train", "none", "-o", tmp_path / "run", "--config", tmp_path / "r.toml")
        outcome = cli("train", *words, *given)
        if says is None:
            assert outcome.err.startswith("error: none.de and none.en not found")
        else:
            assert says.replace("FILE", str(tmp_path / "r.toml")) in outcome.err
            assert outcome.code == (ExitCode.NO_INPUT if says.endswith("\n") else ExitCode.USAGE)

    def test_the_same_command_reports_a_finished_run(self, train, corpus, trained):
        outcome = train("--train", corpus)
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.startswith("finished already, after 2 updates")
        verdict = read_manifest(trained).verdict
        assert verdict == "not usable yet: 12 of 12 validation translations did not end"
        assert outcome.err.splitlines()[-2:] == [verdict, ROUGH_GUIDE]
        assert f"\n\n{verdict}. {ROUGH_GUIDE}\n\n" in (trained / "README.md").read_text()

    def test_a_run_cannot_change_its_shape(self, train, corpus, trained):
        outcome = train("--train", corpus, "--set", "model.d_ff=32")
        assert_refused(outcome, ExitCode.REFUSED, "model.d_ff: 16 -> 32", "--overwrite")

    def test_the_preset_cannot_change(self, train, corpus, trained):
        assert_refused(train("--train", corpus, "--preset", "base"), ExitCode.REFUSED, "preset: auto -> base")

    def test_the_same_number_of_epochs_is_finished_too(self, train, corpus, tmp_path):
        train("--train", corpus, "--max-epochs", "1")
        before = (tmp_path / "run/manifest.json").read_bytes()
        assert train("--train", corpus, "--max-epochs", "1").err.startswith("finished already")
        assert (tmp_path / "run/manifest.json").read_bytes() == before

    def test_a_misspelt_corpus_overwrites_nothing(self, train, corpus, tmp_path, trained):
        assert_refused(train("--train", f"{corpus}x", "--overwrite"), ExitCode.NO_INPUT, "corpusx.ab")
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]

    def test_a_run_resumes_from_its_own_configuration(self, cli, trained):
        words = ("--config", trained / "config.toml", "-o", trained, "--max-updates", "3", "--device", "cpu")
        assert cli("train", *words).code == 0

    def test_a_corrected_corpus_is_read_again(self, train, tmp_path):
        write_reversal(tmp_path / "c", reversal_lines(30, seed=1))
        assert train("--train", tmp_path / "c", "--set", "data.max_length=2").code == ExitCode.BAD_DATA  # all too long
        write_reversal(tmp_path / "c", reversal_lines(70, seed=2))
        assert "c: 70 pairs" in train("--train", tmp_path / "c").err

    def test_twenty_pairs_are_enough_to_finish(self, train, tmp_path):
        write_reversal(tmp_path / "c", reversal_lines(20, seed=1))
        write_reversal(tmp_path / "v", ["a " * 40, "b " * 50])
        for words in ((), ("--valid", tmp_path / "v", "--overwrite")):
            outcome = train("--train", tmp_path / "c", *words)
            assert outcome.code == 0, outcome.err
            assert json.loads((tmp_path / "run/manifest.json").read_text())["finished"]

    def test_overwrite_keeps_the_old_run(self, train, corpus, tmp_path, trained):
        assert train("--train", corpus, "--set", "model.d_ff=32", "--overwrite").code == 0
        folders = [path for path in tmp_path.iterdir() if (path / "manifest.json").exists()]
        assert len(folders) == 2

    def test_a_run_repeats_from_its_own_configuration(self, cli, tmp_path, trained):
        assert cli("train", "--config", trained / "config.toml", "--device", "cpu", "-o", tmp_path / "b").code == 0
        first, second = (next((tmp_path / run).glob("model-*")).read_bytes() for run in ("run", "b"))
        assert first == second

    def test_a_full_disk(self, train, corpus, small_files):
        with small_files(4096):
            outcome = train("--train", corpus)
        assert_refused(outcome, ExitCode.CANNOT_WRITE)

    def test_dropped_pairs_are_reported_and_recorded(self, train, tmp_path):
        lines = [*reversal_lines(60, seed=5), "", "a " * 300]
        write_reversal(tmp_path / "c", lines)
        outcome = train("--train", tmp_path / "c")
        assert "62 pairs, 1 dropped: a side is blank" in outcome.err
        assert "1 pair dropped: a side is longer than 256 tokens" in outcome.err
        corpora = json.loads((tmp_path / "run/manifest.json").read_text())["corpora"]
        assert corpora[0]["dropped_empty"] == 1
        assert corpora[-1]["dropped_too_long"] == 1


HOSTILE = [
    b"a b c",
    b"",
    b" \t ",
    b"a\rb",
    b"a\x0bb\x0cc",
    "a\u2028b\u2029c\x85d".encode(),
    b"a \0 b",
    b"\xff\xfe a b",
    "\ufeffa b".encode(),
    "😀 </s> <s> <pad> <unk>".encode(),
    b"a b\r",
    b"a " * 30_000,
    b"x" * 20_000,
    "\u00a0\u3000".encode(),
    b"b a",
]


class TestTranslate:
    def test_lines_are_translated_in_order(self, cli, reverser, tmp_path):
        lines = reversal_lines(300, seed=9)
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
        outcome = cli("translate", reverser, "-i", tmp_path / "in")
        assert (outcome.code, outcome.err) == (0, "")
        right = sum(ours == line[::-1] for ours, line in zip(outcome.out.splitlines(), lines, strict=True))
        assert right >= 298

    def test_any_bytes_give_one_line_for_each_line(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_bytes(b"\n".join(HOSTILE) + b"\n")
        outcome = cli("translate", reverser, "-i", tmp_path / "in", "-o", tmp_path / "out", "-b", "1")
        assert (outcome.code, outcome.out) == (0, ""), outcome.err
        lines = (tmp_path / "out").read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert len(lines) == len(HOSTILE)
        for line in lines:
            assert len(line.decode().splitlines()) <= 1
        assert (lines[0], lines[10], lines[14]) == (b"c b a", b"b a", b"a b")
        assert [i for i, line in enumerate(lines) if not line.strip()][:2] == [1, 2]
        assert lines[13].strip() == b""
        assert "line 6 has 12 tokens" in outcome.err  # too long: translated in segments
        assert "5 lines translated in segments" in outcome.err
        assert "1 line held bytes that are not UTF-8" in outcome.err

    @pytest.mark.parametrize("n", [1, 60])
    def test_lines_in_segments_are_reported_at_the_first_and_at_the_end(self, cli, reverser, tmp_path, n):
        (tmp_path / "in").write_text("a b\n" + "a! b! c\n" * n)
        outcome = cli("translate", reverser, "-i", tmp_path / "in", "-b", 1)
        assert len(outcome.out.splitlines()) == n + 1
        first = (
            "warning: line 2 has 3 sentences, more than the 1 this model translates at once: translated in 3 segments"
        )
        total = f"{n} lines translated in segments: 0 with too many tokens for this model, {n} with too many sentences"
        assert outcome.err.splitlines() == [first, f"warning: {total}"][: min(n, 2)]

    def test_strict_refuses_what_is_not_utf8(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_bytes(b"a b\n\xff\n")
        outcome = cli("translate", reverser, "-i", tmp_path / "in", "-o", tmp_path / "out", "--strict")
        assert_refused(outcome, ExitCode.BAD_DATA, "line 2")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
    def test_empty_input_gives_empty_output(self, cli, reverser, tmp_path, content):
        (tmp_path / "in").write_bytes(content)
        assert cli("translate", reverser, "-i", tmp_path / "in") == Outcome(0, "", "")

    def test_a_last_line_without_its_end(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_bytes(b"a b\nc d e")
        assert cli("translate", reverser, "-i", tmp_path / "in").out == "b a\ne d c\n"

    def test_compressed_input(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_bytes(gzip.compress(b"a b\nc d e\n"))
        assert cli("translate", reverser, "-i", tmp_path / "in").out == "b a\ne d c\n"

    def test_n_best_prints_exactly_n_lines(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_text("a b c\n\nd e f\n")
        outcome = cli("translate", reverser, "-i", tmp_path / "in", "--n-best", "3", "-b", "5")
        rows = [line.split(" ||| ") for line in outcome.out.splitlines()]
        assert [row[0] for row in rows] == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
        assert (rows[0][1], rows[6][1]) == ("c b a", "f e d")
        scores = [float(row[2]) for row in rows]
        assert scores[:3] == sorted(scores[:3], reverse=True)
        assert len({row[1] for row in rows[:3]}) == 3
        assert [row[1] for row in rows[3:6]] == [""] * 3

    def test_scores_precede_translations(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_text("a b c\n")
        score, text = cli("translate", reverser, "-i", tmp_path / "in", "--scores").out.rstrip("\n").split("\t")
        assert text == "c b a"
        assert -1 < float(score) < 0

    def test_workers_give_the_same_lines(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in reversal_lines(100, seed=9)))
        alone = cli("translate", reverser, "-i", tmp_path / "in")
        assert cli("translate", reverser, "-i", tmp_path / "in", "--workers", "2") == alone

    def test_max_length_cuts(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_text("a b c d\n")
        assert cli("translate", reverser, "-i", tmp_path / "in", "--max-length", "2").out == "d c\n"

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["-i", "no/such.file"], ExitCode.NO_INPUT, ["no/such.file"]),
            (["-i", "."], ExitCode.NO_INPUT, ["."]),
            (["-i", "IN", "-o", "no/such/out"], ExitCode.CANNOT_WRITE, ["no/such/out"]),
            (["-i", "IN", "-o", ""], ExitCode.CANNOT_WRITE, ["'' is not the name of a file; name a file with -o"]),
            (["-i", "IN", "-o", "."], ExitCode.CANNOT_WRITE, ["'.' is not the name of a file"]),
            (["-i", "IN", "--n-best", "5", "-b", "2"], ExitCode.USAGE, ["n_best 5", "raise -b to 5"]),
            (["-i", "IN", "--length-penalty", "-1"], ExitCode.USAGE, ["length_penalty"]),
            (["-i", "IN", "--length-penalty", "1e9"], ExitCode.USAGE, ["length_penalty", "10"]),
            (["-i", "IN", "--max-length", "0"], ExitCode.USAGE, ["max_length"]),
            (["-i", "IN", "--max-length", str(2**80)], ExitCode.USAGE, ["max_length"]),
            (["-i", "IN", "-b", "0"], ExitCode.USAGE, ["beam_size"]),
        ],
    )
    def test_bad_requests(self, cli, reverser, tmp_path, monkeypatch, words, code, says):
        (tmp_path / "IN").write_text("a b\n")
        monkeypatch.chdir(tmp_path)
        assert_refused(cli("translate", reverser, *words), code, *says)

    def test_a_full_disk_leaves_no_partial_output(self, cli, reverser, tmp_path, small_files):
        (tmp_path / "in").write_text("a b c d e f\n" * 2000)
        with small_files(4096):
            outcome = cli("translate", reverser, "-b", "1", "-i", tmp_path / "in", "-o", tmp_path / "out")
        assert_refused(outcome, ExitCode.CANNOT_WRITE, "out")
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in"]


class TestResume:
    """``translate -o FILE`` that was interrupted, and its resumption."""

    N = 50
    WINDOW = 7

    @pytest.fixture(autouse=True)
    def small_windows(self, monkeypatch):
        monkeypatch.setattr("seq2seq.translation.windows.MAX_LINES", self.WINDOW)
        monkeypatch.setattr("seq2seq.translation.output.MAX_LINES", self.WINDOW)
        monkeypatch.setattr("seq2seq.translation.resumable.SECONDS_PER_POSITION", 0.0)

    @pytest.fixture
    def source(self, tmp_path) -> Path:
        lines = [line.encode() for line in reversal_lines(self.N, seed=9)]
        lines[3:3] = [b"", b" \t", b"a\r", b"\xff b", b"b\rc", "\u2028 d".encode(), b"a " * 300]
        (tmp_path / "in").write_bytes(b"\n".join(lines))  # the last line has no end
        return tmp_path / "in"

    @pytest.fixture
    def stops_after(self, monkeypatch) -> Callable[[int], None]:
        """Makes the model fail whenever it has translated this many windows."""
        from seq2seq.translation import Translator

        whole = Translator._search

        def stop(n: int, error: BaseException | None = None) -> None:
            left = [n]

            def search(self, units, scored):
                left[0] -= 1
                if left[0] < 0:
                    raise error or Interrupted(2, saved=False)
                return whole(self, units, scored)

            monkeypatch.setattr(Translator, "_search", search)

        return stop

    @pytest.fixture
    def translate(self, cli, reverser, source, tmp_path) -> Cli:
        def run(*words: object) -> Outcome:
            beams = () if "-b" in words else ("-b", "3")
            return cli("translate", reverser, "-i", source, "-o", tmp_path / "out", *beams, *words)

        return run

    @staticmethod
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    @staticmethod
    def rounded(answers: bytes) -> bytes:
        """Translations with rounded scores: a batch may change their last digit."""
        return re.sub(rb"-\d+\.\d{4}", lambda score: b"%.2f" % (float(score[0]) + 0.0017), answers)

    @pytest.mark.parametrize("form", [(), ("--scores",), ("--n-best", "3"), ("--n-best", "1")], ids=str)
    def test_the_result_is_that_of_an_uninterrupted_run(self, translate, stops_after, tmp_path, form):
        assert translate(*form).code == 0
        before = self.files(tmp_path)
        assert before.keys() == {"in", "out"}
        (tmp_path / "out").unlink()
        lines_each = int(form[1]) if form[1:] else 1
        if form[1:]:
            indices = [int(line.split(b" ||| ")[0]) for line in before["out"].splitlines()]
            assert indices == sorted([*range(self.N + 7)] * lines_each)
        for windows in (2, 4, 6):
            stops_after(2)
            outcome = translate(*form, "--resume")
            assert outcome.code == 130
            n = windows * self.WINDOW
            assert outcome.err.splitlines()[-1] == (
                f"Stopped by Ctrl-C after {n} lines, saved in {tmp_path}/.out.partial; "
                "the same command with --resume continues there."
            )
            partial = (tmp_path / ".out.partial").read_bytes()
            assert partial.count(b"\n") == n * lines_each
            assert self.rounded(before["out"]).startswith(self.rounded(partial))
            assert not (tmp_path / "out").exists()
        stops_after(1000)
        outcome = translate(*form, "--resume")
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.splitlines()[0] == "resuming after line 42"
        after = self.files(tmp_path)
        assert self.rounded(after.pop("out")) == self.rounded(before.pop("out"))
        assert after == before

    def test_warnings_name_the_right_lines(self, translate, stops_after, source):
        source.write_bytes(b"a b\n" * 20 + b"a " * 300 + b"\n\xff\n")
        stops_after(1)
        translate()
        stops_after(1000)
        err = translate("--resume").err
        assert "line 21 has" in err
        assert "1 line held bytes that are not UTF-8" in err

    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            (UserError("memory ran out", mend="free some", code=ExitCode.TRY_LATER), 75, "error: memory ran out; "),
            (RuntimeError("a kernel failed"), 1, "bug: RuntimeError: a kernel failed; "),
        ],
        ids=["memory", "bug"],
    )
    def test_any_reason_for_the_interruption(self, translate, stops_after, tmp_path, error, code, says):
        stops_after(3, error)
        outcome = translate()
        note, last = outcome.err.splitlines()[-2:]
        assert outcome.code == code
        assert f"holds the translations of {3 * self.WINDOW} lines" in note
        assert last.startswith(says)
        stops_after(1000)
        assert "resuming after line 21" in translate("--resume").err
        assert self.files(tmp_path).keys() == {"in", "out"}

    def test_an_interruption_while_something_is_drawn(self, translate, source, tmp_path, monkeypatch):
        def interrupted(_: object) -> None:
            raise Interrupted(2, saved=False)

        source.write_text("a b c\n" * 30)
        with monkeypatch.context() as patch:
            patch.setattr("seq2seq.cli.progress.draw_attention", interrupted)
            outcome = translate("--attention")
        assert outcome.code == 130
        assert outcome.err == (
            f"Stopped by Ctrl-C after {self.WINDOW} lines, saved in {tmp_path}/.out.partial; "
            "the same command with --resume continues there.\n"
        )
        assert translate("--resume").code == 0
        assert (tmp_path / "out").read_text() == "c b a\n" * 30

    def test_resuming_after_an_error_in_the_input(self, translate, source, tmp_path):
        good = b"a b c\n" * 30
        source.write_bytes(good + b"\xff\n" + good)
        outcome = translate("--strict")
        assert_refused(outcome, ExitCode.BAD_DATA, "line 31")
        assert "holds the translations of 30 lines" in outcome.err
        source.write_bytes(good + b"a b\n" + good)
        assert translate("--strict", "--resume").code == 0
        assert (tmp_path / "out").read_text() == "c b a\n" * 30 + "b a\n" + "c b a\n" * 30

    def test_settings_that_do_not_change_translations_may_change(self, translate, stops_after, source):
        source.write_text("a b c\n" * 30)
        stops_after(2)
        translate("--strict", "--batch-tokens", "500")
        stops_after(1000)
        outcome = translate("--resume", "--batch-tokens", "900", "--attention", "--workers", "1")
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.startswith("resuming after line 14\n")

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["-b", "4"], "decoding.beam_size: 3 -> 4"),
            (["--n-best", "2"], "answer: text -> n-best, decoding.n_best: 1 -> 2"),
            (["--scores"], "answer: text -> scores"),
            (["--length-penalty", "0.25"], "decoding.length_penalty: "),
            (["--max-length", "9"], "decoding.max_length: None -> 9"),
            (["--stopping", "exact"], "decoding.stopping: enough -> exact"),
        ],
    )
    def test_other_settings_are_refused(self, translate, stops_after, tmp_path, words, says):
        stops_after(2)
        translate()
        before = self.files(tmp_path)
        assert_refused(translate("--resume", *words), ExitCode.REFUSED, says, "leave --resume out")
        assert self.files(tmp_path) == before
        stops_after(1000)
        assert translate("--resume").code == 0  # nothing was lost

    def test_another_arithmetic_is_refused(self, translate, stops_after, monkeypatch):
        stops_after(2)
        translate("--precision", "auto")
        monkeypatch.setattr("seq2seq.device.pick_precision", lambda wanted, device: "bf16")
        monkeypatch.setattr("seq2seq.device.has_bf16", lambda: True)
        outcome = translate("--precision", "auto", "--resume")
        assert_refused(outcome, ExitCode.REFUSED, "decoding.precision: float32 -> bfloat16", "leave --resume out")

    def test_another_model_is_refused(self, translate, trained, cli, source, stops_after, tmp_path):
        stops_after(2)
        translate()
        words = ("-i", source, "-o", tmp_path / "out", "-b", "3")
        outcome = cli("translate", trained, *words, "--resume")
        assert_refused(outcome, ExitCode.REFUSED, "model: ", "leave --resume out")
        assert translate("--resume").code == 130  # resumed until it is stopped again

    @pytest.mark.parametrize("change", ["another line", "shorter", "empty", "lines shifted"])
    def test_another_input_is_refused(self, translate, stops_after, source, tmp_path, change):
        stops_after(2)
        translate()
        data = source.read_bytes()
        lines = data.split(b"\n")
        match change:
            case "another line":
                lines[13] += b" a"
            case "shorter":
                del lines[13:]
            case "empty":
                lines = []
            case "lines shifted":
                lines.insert(0, b"")
        source.write_bytes(b"\n".join(lines))
        before = self.files(tmp_path)
        stops_after(1000)
        outcome = translate("--resume")
        assert_refused(outcome, ExitCode.BAD_DATA, "14 lines of another input", "leave --resume out")
        assert "continues there" not in outcome.err
        assert self.files(tmp_path) == before
        source.write_bytes(data)
        assert translate("--resume").code == 0

    def test_an_input_that_grew_after_the_translated_part(self, translate, stops_after, source, tmp_path):
        stops_after(2)
        translate()
        lines = source.read_bytes().split(b"\n")[:14]
        source.write_bytes(b"\n".join([*lines, b"a b c"]))
        stops_after(1000)
        assert translate("--resume").code == 0
        assert (tmp_path / "out").read_bytes().endswith(b"\nc b a\n")

    def test_compressed_input(self, translate, stops_after, source, tmp_path):
        translate()
        whole = (tmp_path / "out").read_bytes()
        (tmp_path / "out").unlink()
        source.write_bytes(gzip.compress(source.read_bytes()))
        stops_after(3)
        translate()
        stops_after(1000)
        assert translate("--resume").code == 0
        assert (tmp_path / "out").read_bytes() == whole

    def test_without_resume_it_starts_over(self, translate, stops_after, tmp_path):
        translate()
        whole = self.files(tmp_path)
        stops_after(2)
        translate()
        assert (tmp_path / "out").read_bytes() == whole["out"]  # an older one stays until the new one is complete
        stops_after(1000)
        outcome = translate()
        assert f"{tmp_path}/.out.partial, left by an interrupted translation, is overwritten; --resume " in outcome.err
        assert (outcome.code, self.files(tmp_path)) == (0, whole)

    def test_stopping_before_the_first_translation_leaves_nothing(self, translate, stops_after, tmp_path):
        stops_after(0)
        outcome = translate()
        assert (outcome.code, outcome.err) == (130, "")
        assert self.files(tmp_path).keys() == {"in"}

    def test_nothing_to_resume(self, translate, tmp_path):
        outcome = translate("--resume")
        assert outcome.code == 0
        assert outcome.err.startswith("note: there is nothing to resume; starting at the first line\n")
        assert self.files(tmp_path).keys() == {"in", "out"}

    def test_partial_outputs_that_cannot_be_trusted(self, translate, stops_after, tmp_path):
        translate()
        whole = self.files(tmp_path)
        (tmp_path / "out").unlink()
        stops_after(2)
        translate()
        (tmp_path / ".out.partial.jsonl").unlink()
        stops_after(1000)
        outcome = translate("--resume")
        assert f"{tmp_path}/.out.partial holds nothing to resume" in outcome.err
        assert self.files(tmp_path) == whole

    @pytest.mark.parametrize("form", [(), ("--n-best", "3")], ids=str)
    def test_a_finished_file_is_not_translated_again(self, translate, stops_after, tmp_path, form):
        translate(*form)
        before = self.files(tmp_path)
        stops_after(0)
        outcome = translate(*form, "--resume")
        assert outcome == Outcome(
            0, "", f"{tmp_path}/out is finished already; leave --resume out to translate it again\n"
        )
        assert self.files(tmp_path) == before

    @pytest.mark.parametrize("change", ["newer", "longer", "n-best"])
    def test_a_perhaps_unfinished_file_is_translated_again(self, translate, source, tmp_path, change):
        (tmp_path / "out").write_bytes(b"x\n" * (self.N + 7))
        os.utime(source, (1, 1))
        words = []
        match change:
            case "newer":
                os.utime(source)
                os.utime(tmp_path / "out", (1, 1))
            case "longer":
                source.write_bytes(source.read_bytes() + b"\na")
                os.utime(source, (1, 1))
            case "n-best":
                words = ["--n-best", "2"]
        outcome = translate("--resume", *words)
        assert outcome.code == 0
        assert "nothing to resume" in outcome.err
        assert not (tmp_path / "out").read_bytes().startswith(b"x\n")

    def test_a_named_pipe_is_not_opened_for_a_check(self, tmp_path, monkeypatch):
        """Closing it again would end the process that writes to it."""
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "out").write_text("c b a\n")
        monkeypatch.setattr("seq2seq.translation.output.open_input", None)
        assert not is_finished(str(tmp_path / "pipe"), str(tmp_path / "out"), 1)

    @pytest.mark.parametrize("words", [[], ["-o", "-"], ["-o", "PIPE"], ["-o", "."]])
    def test_only_a_regular_file_can_be_resumed(self, cli, source, tmp_path, words):
        os.mkfifo(tmp_path / "pipe")
        words = [word.replace("PIPE", str(tmp_path / "pipe")) for word in words]
        outcome = cli("translate", "no run", "-i", source, "--resume", *words)  # reported before any model is loaded
        assert_refused(outcome, ExitCode.USAGE, "--resume needs a file", "-o")

    def test_a_pipe_is_written_directly(self, cli, reverser, source, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        assert cli("translate", reverser, "-i", source, "-o", tmp_path / "pipe").code == 0
        with open(reader, "rb") as stream:
            assert stream.read().count(b"\n") == self.N + 7
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "pipe"]

    def test_a_full_disk(self, translate, source, tmp_path, small_files):
        source.write_text("a b c d e f\n" * 500)
        with small_files(4096):
            outcome = translate("-b", "1")
        assert_refused(outcome, ExitCode.CANNOT_WRITE, "out", "raise the limit on file sizes")
        n = (tmp_path / ".out.partial").read_bytes().count(b"\n")
        assert f"holds the translations of {n} lines" in outcome.err
        assert n > self.WINDOW
        assert translate("-b", "1", "--resume").code == 0
        assert (tmp_path / "out").read_text() == "f e d c b a\n" * 500


HASHED = ["manifest.json", "config.toml", "tokenizer.model", "model"]


class TestRunFolder:
    """Every command refuses a run folder that must not be used."""

    @pytest.fixture
    def run(self, reverser, tmp_path) -> Path:
        shutil.copytree(reverser, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
        return tmp_path / "run"

    @pytest.fixture(params=["translate", "eval"])
    def use(self, request, cli, run, corpus) -> Callable[[], Outcome]:
        if request.param == "translate":
            return lambda: cli("translate", run, "-i", f"{corpus}.ab")
        return lambda: cli("eval", run, corpus)

    def test_whole(self, use):
        assert use().code == 0

    def test_missing(self, use, run):
        shutil.rmtree(run)
        assert_refused(use(), ExitCode.NO_INPUT, str(run))

    def test_a_partial_file(self, use, run):
        (run / "manifest.json").unlink()
        assert_refused(use(), ExitCode.NO_INPUT, str(run))

    def test_a_file_is_missing(self, use, run):
        (run / "tokenizer.model").unlink()
        assert_refused(use(), ExitCode.REFUSED, "tokenizer.model")

    @pytest.mark.parametrize("name", HASHED)
    def test_one_flipped_bit(self, use, run, name):
        path = next(run.glob(f"{name}*"))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert_refused(use(), ExitCode.REFUSED, path.name)

    def test_another_format(self, use, run):
        from seq2seq.runs.manifest import dump_manifest

        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["checksum"]
        (run / "manifest.json").write_bytes(dump_manifest({**manifest, "format": 99}))
        assert_refused(use(), ExitCode.REFUSED, "format 99")


class TestEval:
    def test_a_line_for_each_metric(self, cli, reverser, corpus):
        outcome = cli("eval", reverser, corpus)
        assert outcome.code == 0, outcome.err
        lines = outcome.out.splitlines()
        assert [line.split()[0] for line in lines] == ["BLEU", "chrF2", "TER"]
        assert re.fullmatch(r"BLEU \d+\.\d  nrefs:1\|case:mixed\|.*tok:13a.*\|version:\S+", lines[0])
        assert float(lines[0].split()[1]) > 99
        assert re.search(r"60 sentences in \d+\.\d s, [\d,.]+ sentences/s", outcome.err)

    def test_json(self, cli, reverser, corpus, tmp_path):
        other = write_reversal(tmp_path / "other", reversal_lines(10, seed=6))
        outcome = cli("eval", reverser, corpus, other, "-m", "bleu,chrf", "--json")
        first, second = json.loads(outcome.out)["corpora"]
        assert (first["corpus"], first["sentences"], second["sentences"]) == (corpus, 60, 10)
        assert first["seconds"] > 0
        assert first["invalid_utf8"] == 0
        assert list(first["metrics"]) == ["bleu", "chrf"]
        assert first["metrics"]["bleu"]["score"] > 99
        assert first["metrics"]["bleu"]["signature"].startswith("nrefs:1|")
        assert (first["dropped_empty"], first["invalid_utf8"], first["warnings"]) == (0, 0, [])
        in_words = [f"{result['corpus']}: {result['verdict']}" for result in (first, second)]
        assert re.search(r": BLEU \d+\.\d: very close to the references \(60 sentences: too few", in_words[0])
        assert outcome.err.splitlines()[-3:] == [*in_words, ROUGH_GUIDE]

    @pytest.mark.parametrize(
        ("metrics", "begins"), [("bleu,chrf,ter", "BLEU "), ("chrf", "chrF "), ("ter", ""), ("chrf++", "")]
    )
    def test_a_verdict_in_plain_words(self, cli, corpus, metrics, begins):
        words = ("eval", "--hyp", f"{corpus}.ab", f"{corpus}.ba", "-m", metrics)
        outcome, found = cli(*words), json.loads(cli(*words, "--json").out)["corpora"][0]["verdict"]
        assert (found.startswith(begins), bool(found)) == (True, bool(begins))
        assert outcome.err.splitlines()[1:] == ([found, ROUGH_GUIDE] if begins else [])
        assert "rough guide" not in outcome.out

    def test_translations_that_copy_their_sources_are_reported(self, cli, trained, corpus, tmp_path):
        """By a model that has learned nothing else. A file of translations has no sources."""
        (tmp_path / "hyp").write_text("the same\n" * 60)
        outcome = cli("eval", "--hyp", tmp_path / "hyp", f"{corpus}.ba", "--json")
        assert json.loads(outcome.out)["corpora"][0]["warnings"][0].startswith("60 of 60 translations are the same")
        assert "60 of 60 translations are the same, 'the same': has training failed?" in outcome.err

    def test_a_file_that_copies_its_sources_is_reported(self, cli, corpus, tmp_path):
        """If the corpus has sources."""
        hypotheses = tmp_path / "hyp"
        hypotheses.write_bytes(Path(f"{corpus}.ab").read_bytes())
        outcome = cli("eval", "--hyp", hypotheses, "-l", "ab-ba", corpus, "--json")
        assert any("copies of the source" in text for text in json.loads(outcome.out)["corpora"][0]["warnings"])
        outcome = cli("eval", "--hyp", hypotheses, f"{corpus}.ba", "--json")
        assert not any("copies" in text for text in json.loads(outcome.out)["corpora"][0]["warnings"])

    def test_omitted_pairs_and_weak_scores_are_reported(self, cli, tmp_path):
        (tmp_path / "hyp").write_bytes("เปิดไฟล์\nx\n\n".encode())
        (tmp_path / "ref.th").write_bytes("เปิดไฟล์\n \nปิด".encode() + b"\xff\n")
        files = ("--hyp", tmp_path / "hyp", tmp_path / "ref.th")
        outcome = cli("eval", *files, "--json", "--encoding-errors", "replace")
        (result,) = json.loads(outcome.out)["corpora"]
        assert (result["sentences"], result["dropped_empty"], result["invalid_utf8"]) == (2, 1, 1)
        assert "TER says little" in outcome.err
        assert [text for text in result["warnings"] if text in outcome.err] == result["warnings"] != []
        assert "1 pair not scored: a side is blank" in outcome.err

    def test_hypotheses_come_from_stdin(self, cli, tmp_path, corpus, monkeypatch):
        with Path(f"{corpus}.ba").open() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            assert cli("eval", "--hyp", "-", f"{corpus}.ba", "-m", "chrF2").out.startswith("chrF2 100.0")
        (tmp_path / "short").write_text("a\n")
        with (tmp_path / "short").open() as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", file)
            outcome = cli("eval", "--hyp", "-", f"{corpus}.ba")
        assert_refused(outcome, ExitCode.BAD_DATA, "stdin has 1 line but", "60")

    @pytest.mark.parametrize("text", ["", "\n", " \n\u3000\n"])
    def test_references_without_text(self, cli, tmp_path, text):
        (tmp_path / "ref.en").write_text(text)
        for hypotheses in (text, "x\n" * 3):
            (tmp_path / "hyp").write_text(hypotheses)
            outcome = cli("eval", "--hyp", tmp_path / "hyp", tmp_path / "ref.en")
            assert_refused(outcome, ExitCode.BAD_DATA, "ref.en holds")

    def test_lines_in_segments_are_counted_once(self, cli, reverser, tmp_path):
        lines = ["a b", "a! b c? d", *["a b c d e f g h i j k"] * 5, "a b"]
        corpus = write_reversal(tmp_path / "long", lines)
        outcome = cli("eval", reverser, corpus, "-m", "chrf", "--json")
        assert json.loads(outcome.out)["corpora"][0]["segmented"] == {"too_long": 5, "several_sentences": 1}
        assert [line for line in outcome.err.splitlines() if "in segments:" in line] == [
            f"warning: {corpus}: 6 lines translated in segments: 5 with too many tokens for this model, "
            "1 with too many sentences"
        ]
        outcome = cli("eval", "--hyp", f"{corpus}.ab", f"{corpus}.ba", "-m", "chrf", "--json")
        assert json.loads(outcome.out)["corpora"][0]["segmented"] is None

    def test_hypotheses_are_stored_and_can_be_scored_later(self, cli, reverser, corpus, tmp_path):
        kept = tmp_path / "hypotheses"
        scores = cli("eval", reverser, corpus, "-o", kept).out
        assert len(kept.read_text().splitlines()) == 60
        assert cli("eval", "--hyp", kept, corpus, "-l", "ab-ba").out == scores
        assert cli("eval", "--hyp", kept, f"{corpus}.ba").out == scores

    def test_line_separators_in_text_do_not_shift_lines(self, cli, tmp_path):
        (tmp_path / "hyp").write_bytes("one\rtwo\nthree\u2028four\n".encode())
        (tmp_path / "ref").write_bytes("one\rtwo\nthree\u2028four\n".encode())
        outcome = cli("eval", "--hyp", tmp_path / "hyp", tmp_path / "ref", "-m", "chrf")
        assert outcome.out.startswith("chrF2 100.0")
        assert "2 sentences" in outcome.err

    def test_unequal_counts(self, cli, corpus, tmp_path):
        (tmp_path / "hyp").write_text("a\nb\n")
        outcome = cli("eval", "--hyp", tmp_path / "hyp", f"{corpus}.ba")
        assert_refused(outcome, ExitCode.BAD_DATA, "2 lines", "60")

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["RUN"], ExitCode.USAGE, ["at least one corpus"]),
            (["RUN", "CORPUS", "-m", "meteor"], ExitCode.USAGE, ["meteor", "bleu, chrf, chrf++, ter"]),
            (["RUN", "CORPUS", "no/such"], ExitCode.NO_INPUT, ["no/such"]),
            (["RUN", "CORPUS", "-l", "ab-xx"], ExitCode.NO_INPUT, ["corpus.xx"]),
            (["RUN", "CORPUS", "CORPUS", "-o", "kept"], ExitCode.USAGE, ["one corpus"]),
            (["RUN", "CORPUS", "-o", "-"], ExitCode.USAGE, ["-o - must name a file", "scores go to stdout"]),
            (["RUN", "CORPUS", "-b", "0"], ExitCode.USAGE, ["beam_size"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "-o", "kept"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "--fit-confidence"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "--shortlist", "20"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "--precision", "fp32"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "--workers", "1"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "--device", "cpu"], ExitCode.USAGE, ["--hyp does not translate"]),
            (["RUN", "CORPUS", "-o", "no/such/kept"], ExitCode.CANNOT_WRITE, ["no/such/kept"]),
            (["--hyp", "no.hyp", "CORPUS.ba"], ExitCode.NO_INPUT, ["no.hyp"]),
            (["--hyp", "no.hyp", "CORPUS"], ExitCode.USAGE, ["-l de-en"]),
            (["--hyp", "CORPUS.ba", "no.ref"], ExitCode.NO_INPUT, ["no.ref cannot be read: No such file"]),
            (["--hyp", "CORPUS.ba", "CORPUS.xx"], ExitCode.NO_INPUT, ["corpus.xx cannot be read: No such file"]),
            (["--hyp", "CORPUS.ba", "no.ref", "-l", "ab-ba"], ExitCode.NO_INPUT, ["no.ref.ab and no.ref.ba not found"]),
            (["--hyp", "CORPUS.ba", "no/ref.tsv"], ExitCode.NO_INPUT, ["no/ref.tsv cannot be read"]),
            (["--hyp", "CORPUS.ba", "FOLDER/"], ExitCode.NO_INPUT, ["cannot be read: Is a directory"]),
            (["--hyp", "-", "-"], ExitCode.USAGE, ["stdin cannot hold both"]),
        ],
    )
    def test_bad_requests(self, cli, reverser, corpus, words, code, says):
        named = {"RUN": str(reverser), "CORPUS": corpus, "FOLDER": str(Path(corpus).parent)}
        words = [re.sub("RUN|CORPUS|FOLDER", lambda found: named[found[0]], word) for word in words]
        assert_refused(cli("eval", *words), code, *says)


class TestEverywhere:
    def test_version(self, cli):
        outcome = cli("--version")
        assert (outcome.code, outcome.err) == (0, "")
        assert re.fullmatch(r"seq2seq \d+\.\d+\.\d+\n", outcome.out)

    def test_exit_codes_are_those_of_the_documentation(self):
        """Scripts use their numbers."""
        page = (Path(__file__).parent.parent / "docs" / "exit-codes.md").read_text(encoding="utf-8")
        documented = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
        of_signals = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
        assert documented == {int(code) for code in ExitCode} | of_signals

    @pytest.mark.parametrize("command", [[], ["train"], ["translate"], ["eval"]])
    def test_help(self, cli, command):
        outcome = cli(*command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert "Usage" in outcome.out

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["trian"], "No such command 'trian'"),
            (["translate"], "no run folder is given"),
            (["train", "--bleu"], "No such option: --bleu"),
            (["translate", "x", "--workers", "0"], "--workers"),
            (["train", "-o"], "requires an argument"),
        ],
    )
    def test_invalid_command_lines(self, cli, words, says):
        assert_refused(cli(*words), ExitCode.USAGE, says, "--help")

    @pytest.mark.parametrize(
        ("words", "option"),
        [
            (["train", "-o", "a", "-o", "b"], "-o / --output"),
            (["train", "-o", "a", "--output=b"], "-o / --output"),
            (["train", "-o", "a", "-l", "de-en", "-l", "en-de"], "-l / --langs"),
            (["train", "-o", "a", "--seed", "1", "--seed", "1"], "--seed"),
            (["train", "-o", "a", "--preset", "tiny", "--preset", "base"], "--preset"),
            (["train", "-o", "a", "--config", "a", "--config", "b"], "--config"),
            (["translate", "RUN", "-b1", "-b", "2"], "-b / --beam-size"),
            (["translate", "RUN", "-i", "a", "--scores", "-i", "b"], "-i / --input"),
            (["eval", "--hyp", "a", "--hyp", "b", "CORPUS"], "--hyp"),
            (["eval", "RUN", "CORPUS", "-m", "bleu", "-m", "ter"], "-m / --metrics"),
            (["export", "RUN", "-o", "a", "--quantization", "int8", "-o", "b"], "-o / --output"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_an_option_that_has_one_value_is_given_once(self, cli, words, option, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert_refused(cli(*words), ExitCode.USAGE, f"{option} is given 2 times", "give it once")

    def test_lists_and_switches_are_given_as_often_as_one_likes(self, cli, tmp_path):
        words = ["--train", "a", "--train", "b", "--valid", "c", "--valid", "d", "--overwrite", "--overwrite"]
        words += ["--set", "model.d_ff=32", "--set", "model.d_model=32", "--set", "model.d_ff=32"]
        outcome = cli("train", "-l", "de-en", "-o", tmp_path / "run", *words)
        assert_refused(outcome, ExitCode.NO_INPUT, "a.de and a.en not found")  # the command line is valid

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("CUDA error: out of memory"), RuntimeError("std::bad_alloc")]
    )
    def test_out_of_memory_in_any_command(self, cli, reverser, monkeypatch, error):
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("seq2seq.cli.inputs.open_input", fail)
        assert_refused(cli("translate", reverser), ExitCode.TRY_LATER, "memory ran out")

    def test_a_log_is_not_a_terminal_even_with_forced_colors(self, monkeypatch):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        assert console.is_terminal
        assert not on_terminal()

    @pytest.mark.parametrize("command", ["train", "translate", "eval"])
    @pytest.mark.parametrize(
        ("n", "device", "code", "says"),
        [
            (1, "cuda:3", ExitCode.REFUSED, "--device cuda:3 does not exist: this machine has 1 GPU (cuda:0); "),
            (0, "cuda:0", ExitCode.REFUSED, "--device cuda:0 is not available here; choose among auto, cpu"),
            (1, "cuda:x", ExitCode.USAGE, "--device cuda:x is unknown; "),
        ],
    )
    def test_a_missing_gpu(self, cli, reverser, corpus, tmp_path, monkeypatch, command, n, device, code, says):
        monkeypatch.setattr("torch.cuda.is_available", lambda: n > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: n)
        train = ["-l", "ab-ba", "--train", corpus, "-o", tmp_path / "run"]
        words = {"train": train, "translate": [reverser], "eval": [reverser, corpus]}[command]
        assert_refused(cli(command, *words, "--device", device), code, says)
        assert not (tmp_path / "run").exists()

    def test_no_command_shows_the_help(self, cli):
        outcome = cli()
        assert outcome.code == ExitCode.USAGE
        assert "translate" in outcome.out + outcome.err

    def test_control_sequences_are_not_printed(self, cli, tmp_path):
        outcome = cli("translate", tmp_path / "a\x1b[2J[bold]:smile:")
        assert "\x1b" not in outcome.err
        assert "[bold]:smile:" in outcome.err

    def test_debug_shows_the_traceback(self, cli, tmp_path):
        words = ("translate", tmp_path / "none")
        plain, debugged = cli(*words), cli("--debug", *words)
        assert (debugged.code, debugged.out) == (plain.code, "")
        assert debugged.err.startswith("Traceback (most recent call last):\n")
        assert debugged.err.endswith(plain.err)
        assert debugged.err.count("Traceback") == 1

    @pytest.mark.parametrize("debug", [False, True])
    def test_a_bug_is_reported_in_one_line(self, cli, reverser, monkeypatch, debug):
        def fail(*_: object) -> None:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr("seq2seq.cli.inputs.open_input", fail)
        outcome = cli(*["--debug"] * debug, "translate", reverser)
        assert (outcome.code, outcome.out) == (ExitCode.BUG, "")
        *traceback, line = outcome.err.splitlines()
        assert line.startswith("bug: ZeroDivisionError: division by zero; this is a bug of seq2seq")
        assert bool(traceback) == debug
