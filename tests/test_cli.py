"""The command line as its users drive it: stdout, stderr, exit code."""

import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from reversal import reversal_lines, write_reversal

from seq2seq.cli import main
from seq2seq.errors import ExitCode


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(monkeypatch, capfd) -> Cli:
    """Runs a command line in this process."""

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["seq2seq", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return Outcome(int(left.value.code or 0), out, err)

    return run


def assert_refused(outcome: Outcome, code: int, *says: str) -> None:
    """One line on stderr that says what and how to mend it, nothing on stdout, and the code."""
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "; " in last
    assert "Traceback" not in outcome.err
    for text in says:
        assert text in last


@pytest.fixture
def corpus(tmp_path) -> str:
    return write_reversal(tmp_path / "corpus", reversal_lines(60, seed=5))


@pytest.fixture
def train(cli, tmp_path) -> Cli:
    """``train`` into ``tmp_path / "run"``, a model that takes no time."""
    small = ["model.d_model=16", "model.d_ff=16", "model.n_heads=2", "data.vocab_size=300", "training.max_updates=2"]
    small += ["model.encoder_layers=1", "model.decoder_layers=1"]
    sets = [word for assignment in small for word in ("--set", assignment)]

    def run(*words: object, langs: str = "ab-ba") -> Outcome:
        return cli("train", "-l", langs, "-o", tmp_path / "run", "--device", "cpu", *sets, *words)

    return run


def break_corpus(prefix: Path, kind: str) -> str:
    """Files that hold no usable parallel text; the CORPUS word for them."""
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
        ("kind", "words", "code", "says"),
        [
            ("missing", [], ExitCode.NO_INPUT, ["bad.ab"]),
            ("misaligned", [], ExitCode.BAD_DATA, ["bad.ab", "3 lines", "bad.ba", "2"]),
            ("truncated gzip", [], ExitCode.BAD_DATA, ["bad.ab.gz", "ends before"]),
            ("not UTF-8", ["--strict"], ExitCode.BAD_DATA, ["bad.ab, line 2", "UTF-8"]),
            ("empty", [], ExitCode.BAD_DATA, ["no pair"]),
            ("blank", [], ExitCode.BAD_DATA, ["3 pairs, all blank"]),
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
            (["--preset", "huge"], ExitCode.USAGE, ["huge", "tiny, small, base"]),
            (["--config", "no/such.toml"], ExitCode.NO_INPUT, ["no/such.toml"]),
            (["--device", "cray"], ExitCode.USAGE, ["cray", "cpu"]),
            (["--set", "data.tokenizer=no.model"], ExitCode.NO_INPUT, ["no.model"]),
        ],
    )
    def test_bad_configurations_are_refused(self, train, corpus, words, code, says):
        assert_refused(train("--train", corpus, *words), code, *says)

    def test_a_file_that_is_no_toml(self, train, corpus, tmp_path):
        (tmp_path / "recipe.toml").write_text("[model\n")
        assert_refused(train("--train", corpus, "--config", tmp_path / "recipe.toml"), ExitCode.REFUSED, "recipe.toml")

    @pytest.mark.parametrize("langs", ["ab", "ab-", "a/b-c", "ab-ab", ""])
    def test_languages_that_are_none(self, train, corpus, langs):
        assert_refused(train("--train", corpus, langs=langs), ExitCode.USAGE, "-l")

    def test_languages_that_do_not_match_the_files(self, train, corpus):
        assert_refused(train("--train", corpus, langs="ab-xx"), ExitCode.NO_INPUT, "corpus.xx")

    def test_languages_or_corpora_that_nobody_gave(self, cli, tmp_path, corpus):
        assert_refused(cli("train", "--train", corpus, "-o", tmp_path / "run"), ExitCode.USAGE, "-l de-en")
        assert_refused(cli("train", "-l", "ab-ba", "-o", tmp_path / "run"), ExitCode.USAGE, "--train")

    def test_no_run_folder_named(self, cli):
        assert_refused(cli("train"), ExitCode.USAGE, "Missing option", "--output")

    def test_a_folder_that_holds_something_else(self, train, corpus, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.tex").touch()
        assert_refused(train("--train", corpus), ExitCode.REFUSED, "thesis.tex")

    def test_a_path_that_cannot_become_a_folder(self, train, corpus, tmp_path):
        (tmp_path / "run").touch()
        assert train("--train", corpus).code in (ExitCode.CANNOT_WRITE, ExitCode.REFUSED)

    def test_progress_goes_to_stderr_alone(self, train, corpus):
        outcome = train("--train", corpus)
        assert (outcome.code, outcome.out) == (0, ""), outcome.err
        assert f"{corpus}: 60 pairs" in outcome.err
        assert "3 pairs are held out" in outcome.err
        assert re.search(r"validation at update 2: loss \d+\.\d+  BLEU ", outcome.err)
        assert "\x1b[" not in outcome.err  # no colours into a file

    def test_again_says_that_it_is_finished(self, train, corpus):
        train("--train", corpus)
        outcome = train("--train", corpus)
        assert (outcome.code, outcome.out) == (0, "")
        assert outcome.err.startswith("finished already, after 2 updates")

    def test_a_run_cannot_change_its_shape(self, train, corpus):
        train("--train", corpus)
        outcome = train("--train", corpus, "--set", "model.d_ff=32")
        assert_refused(outcome, ExitCode.REFUSED, "model.d_ff: 16 -> 32", "--overwrite")

    def test_the_preset_cannot_change(self, train, corpus):
        train("--train", corpus)
        assert_refused(train("--train", corpus, "--preset", "base"), ExitCode.REFUSED, "preset: auto -> base")

    def test_again_with_the_same_passes_is_finished_too(self, train, corpus, tmp_path):
        train("--train", corpus, "--max-epochs", "1")
        before = (tmp_path / "run/manifest.json").read_bytes()
        assert train("--train", corpus, "--max-epochs", "1").err.startswith("finished already")
        assert (tmp_path / "run/manifest.json").read_bytes() == before

    def test_a_slip_of_the_pen_overwrites_nothing(self, train, corpus, tmp_path):
        train("--train", corpus)
        assert_refused(train("--train", f"{corpus}x", "--overwrite"), ExitCode.NO_INPUT, "corpusx.ab")
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]

    def test_a_run_goes_on_from_its_own_configuration(self, train, cli, corpus, tmp_path):
        train("--train", corpus)
        run = tmp_path / "run"
        words = ("--config", run / "config.toml", "-o", run, "--max-updates", "3", "--device", "cpu")
        assert cli("train", *words).code == 0

    def test_a_corpus_that_was_mended_is_read_again(self, train, tmp_path):
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

    def test_overwrite_keeps_the_old_run(self, train, corpus, tmp_path):
        train("--train", corpus)
        assert train("--train", corpus, "--set", "model.d_ff=32", "--overwrite").code == 0
        folders = [path for path in tmp_path.iterdir() if (path / "manifest.json").exists()]
        assert len(folders) == 2

    def test_a_run_repeats_from_its_own_configuration(self, train, cli, corpus, tmp_path):
        train("--train", corpus)
        assert cli("train", "--config", tmp_path / "run/config.toml", "--device", "cpu", "-o", tmp_path / "b").code == 0
        first, second = (next((tmp_path / run).glob("model-*")).read_bytes() for run in ("run", "b"))
        assert first == second

    def test_a_full_disk(self, train, corpus, small_files):
        with small_files(4096):
            outcome = train("--train", corpus)
        assert_refused(outcome, ExitCode.CANNOT_WRITE)

    def test_drops_are_counted_aloud_and_kept(self, train, tmp_path):
        lines = [*reversal_lines(60, seed=5), "", "a " * 300]
        write_reversal(tmp_path / "c", lines)
        outcome = train("--train", tmp_path / "c")
        assert "62 pairs, 1 dropped for a blank side" in outcome.err
        assert "1 pairs dropped: a side is longer than 256 tokens" in outcome.err
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
    def test_lines_come_out_in_order(self, cli, reverser, tmp_path):
        lines = reversal_lines(300, seed=9)
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
        outcome = cli("translate", reverser, "-i", tmp_path / "in")
        assert (outcome.code, outcome.err) == (0, "")
        right = sum(ours == line[::-1] for ours, line in zip(outcome.out.splitlines(), lines, strict=True))
        assert right >= 298

    def test_whatever_the_bytes_one_line_in_one_line_out(self, cli, reverser, tmp_path):
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
        assert "line 12 has" in outcome.err  # too long: translated in parts
        assert "1 lines held bytes that are not UTF-8" in outcome.err

    def test_strict_refuses_what_is_not_utf8(self, cli, reverser, tmp_path):
        (tmp_path / "in").write_bytes(b"a b\n\xff\n")
        outcome = cli("translate", reverser, "-i", tmp_path / "in", "-o", tmp_path / "out", "--strict")
        assert_refused(outcome, ExitCode.BAD_DATA, "line 2")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
    def test_nothing_in_nothing_out(self, cli, reverser, tmp_path, content):
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
            (["-i", "IN", "--n-best", "5", "-b", "2"], ExitCode.USAGE, ["n_best 5", "-b 5"]),
            (["-i", "IN", "--length-penalty", "-1"], ExitCode.USAGE, ["length_penalty"]),
            (["-i", "IN", "-b", "0"], ExitCode.USAGE, ["beam_size"]),
        ],
    )
    def test_bad_requests(self, cli, reverser, tmp_path, monkeypatch, words, code, says):
        (tmp_path / "IN").write_text("a b\n")
        monkeypatch.chdir(tmp_path)
        assert_refused(cli("translate", reverser, *words), code, *says)

    def test_a_full_disk_leaves_nothing_half_done(self, cli, reverser, tmp_path, small_files):
        (tmp_path / "in").write_text("a b c d e f\n" * 2000)
        with small_files(4096):
            outcome = cli("translate", reverser, "-b", "1", "-i", tmp_path / "in", "-o", tmp_path / "out")
        assert_refused(outcome, ExitCode.CANNOT_WRITE, "out")
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in"]


HASHED = ["manifest.json", "config.toml", "tokenizer.model", "model"]


class TestRunFolder:
    """What must not be used is refused, by every command that reads a run folder."""

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

    def test_half_written(self, use, run):
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
        from seq2seq.checkpoint.sealed import seal

        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["checksum"]
        (run / "manifest.json").write_bytes(seal({**manifest, "format": 99}))
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
        assert list(first["metrics"]) == ["bleu", "chrf"]
        assert first["metrics"]["bleu"]["score"] > 99
        assert first["metrics"]["bleu"]["signature"].startswith("nrefs:1|")

    def test_hypotheses_are_kept_and_can_be_scored_alone(self, cli, reverser, corpus, tmp_path):
        kept = tmp_path / "hypotheses"
        scores = cli("eval", reverser, corpus, "-o", kept).out
        assert len(kept.read_text().splitlines()) == 60
        assert cli("eval", "--hyp", kept, corpus, "-l", "ab-ba").out == scores
        assert cli("eval", "--hyp", kept, f"{corpus}.ba").out == scores

    def test_stray_line_separators_do_not_shift_lines(self, cli, tmp_path):
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
            (["RUN", "CORPUS", "-m", "meteor"], ExitCode.USAGE, ["meteor", "bleu, chrf, ter"]),
            (["RUN", "CORPUS", "no/such"], ExitCode.NO_INPUT, ["no/such"]),
            (["RUN", "CORPUS", "-l", "ab-xx"], ExitCode.NO_INPUT, ["corpus.xx"]),
            (["RUN", "CORPUS", "CORPUS", "-o", "kept"], ExitCode.USAGE, ["one corpus"]),
            (["RUN", "CORPUS", "-o", "-"], ExitCode.USAGE, ["stdout is for the scores"]),
            (["RUN", "CORPUS", "-b", "0"], ExitCode.USAGE, ["beam_size"]),
            (["--hyp", "no.hyp", "CORPUS.ba", "-o", "kept"], ExitCode.USAGE, ["--hyp translates nothing"]),
            (["RUN", "CORPUS", "-o", "no/such/kept"], ExitCode.CANNOT_WRITE, ["no/such/kept"]),
            (["--hyp", "no.hyp", "CORPUS.ba"], ExitCode.NO_INPUT, ["no.hyp"]),
            (["--hyp", "no.hyp", "CORPUS"], ExitCode.USAGE, ["-l de-en"]),
        ],
    )
    def test_bad_requests(self, cli, reverser, corpus, words, code, says):
        words = [word.replace("RUN", str(reverser)).replace("CORPUS", corpus) for word in words]
        assert_refused(cli("eval", *words), code, *says)


class TestEverywhere:
    def test_version(self, cli):
        outcome = cli("--version")
        assert (outcome.code, outcome.err) == (0, "")
        assert re.fullmatch(r"seq2seq \d+\.\d+\.\d+\n", outcome.out)

    @pytest.mark.parametrize("command", [[], ["train"], ["translate"], ["eval"]])
    def test_help(self, cli, command):
        outcome = cli(*command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert "Usage" in outcome.out

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["trian"], "No such command 'trian'"),
            (["translate"], "Missing argument 'RUN'"),
            (["train", "--bleu"], "No such option: --bleu"),
            (["translate", "x", "--workers", "0"], "--workers"),
            (["train", "-o"], "requires an argument"),
        ],
    )
    def test_command_lines_that_are_none(self, cli, words, says):
        assert_refused(cli(*words), ExitCode.USAGE, says, "--help")

    def test_no_command_shows_the_help(self, cli):
        outcome = cli()
        assert outcome.code == ExitCode.USAGE
        assert "translate" in outcome.out + outcome.err

    def test_what_steers_a_terminal_is_not_printed(self, cli, tmp_path):
        outcome = cli("translate", tmp_path / "a\x1b[2J[bold]:smile:")
        assert "\x1b" not in outcome.err
        assert "[bold]:smile:" in outcome.err

    def test_debug_shows_the_traceback(self, cli, monkeypatch, tmp_path):
        from seq2seq.errors import UserError

        monkeypatch.setattr(sys, "argv", ["seq2seq", "--debug", "translate", str(tmp_path / "none")])
        with pytest.raises(UserError, match="none"):
            main()

    def test_a_fault_of_ours_is_one_line_too(self, cli, reverser, monkeypatch):
        def fail(*_: object) -> None:
            raise ZeroDivisionError("division by zero")

        monkeypatch.setattr("seq2seq.cli.stream.open_input", fail)
        outcome = cli("translate", reverser)
        assert (outcome.code, outcome.out) == (ExitCode.BUG, "")
        assert outcome.err.startswith("bug: ZeroDivisionError: division by zero; this is a fault of seq2seq")
        assert outcome.err.count("\n") == 1
