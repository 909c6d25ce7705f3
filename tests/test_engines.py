"""CTranslate2 as an engine: the same lines, order, forms and limits as with our own; the cache of converted models."""

import copy
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from reversal import reversal_lines
from test_export import random_run

from seq2seq.config import DecodingConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2 import cache
from seq2seq.tokenizer import EOS
from seq2seq.translation import SegmentCounts, Translator, translate_file
from seq2seq.translation.engines.ctranslate2 import CTranslate2Engine
from seq2seq.translation.events import WindowTranslated

LINES = [*reversal_lines(60, seed=11), "", " \t", "é", "☃", "<s>"]


@pytest.fixture(scope="module")
def run(reverser, tmp_path_factory) -> Path:
    """The reverser, with a converted model."""
    folder = tmp_path_factory.mktemp("engine") / "run"
    shutil.copytree(reverser, folder)
    opened(folder)
    return folder


def opened(run: Path, engine: str = "ctranslate2", **decoding: object) -> Translator:
    return Translator.load(run, device="cpu", engine=engine, workers=2, decoding=decoding)


class TestTranslations:
    @pytest.mark.parametrize("beams", [1, 4])
    @pytest.mark.parametrize("alpha", [0.0, 1.0])
    def test_texts_and_scores_are_ours(self, run, monkeypatch, beams, alpha):
        """With CTranslate2's exact rule for the end of a search; ours waits for hypotheses that are ten times
        likelier."""
        monkeypatch.setattr("seq2seq.decoding.beam._MUCH_LIKELIER", math.inf)
        settings = {"beam_size": beams, "length_penalty": alpha, "n_best": min(2, beams)}
        ours, theirs = (opened(run, engine, **settings).n_best(LINES) for engine in ("own", "ctranslate2"))
        same = [a[0].text == b[0].text for a, b in zip(ours, theirs, strict=True)]
        # Beams may end differently on text that the model has never seen: the last five lines.
        assert all(same) if beams == 1 else sum(same[:60]) >= 59
        for a, b in zip(ours, theirs, strict=True):
            assert len(a) == len(b)
            assert a[0].text != b[0].text or a[0].score == pytest.approx(b[0].score, abs=5e-3)

    def test_int8_translates_well(self, run):
        translator = opened(run, precision="int8")
        texts = translator.translate(LINES[:60])
        assert sum(text == line[::-1] for text, line in zip(texts, LINES[:60], strict=True)) >= 55
        assert translator.engine.precision == "int8"

    @pytest.mark.parametrize("beams", [1, 4])
    @pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
    def test_neighbours_change_nothing(self, run, beams, batch_tokens):
        alone = opened(run, beam_size=beams)
        together = opened(run, beam_size=beams, batch_tokens=batch_tokens)
        assert together.translate(LINES[::-1]) == [alone.translate([line])[0] for line in LINES[::-1]]

    def test_long_lines_are_translated_in_segments(self, run):
        counts = SegmentCounts()
        line = " ".join("abcdefghabcdefgh")
        ours, theirs = (opened(run, engine).n_best([line], counts=counts) for engine in ("own", "ctranslate2"))
        assert (theirs[0][0].text, theirs[0][0].n_segments) == (ours[0][0].text, ours[0][0].n_segments)
        assert (counts.n, ours[0][0].n_segments > 1) == (2, True)

    def test_what_reads_the_model_works_too(self, run):
        ours, theirs = (opened(run, engine) for engine in ("own", "ctranslate2"))
        assert theirs.align(["a b c"])[0].alignment == ours.align(["a b c"])[0].alignment
        assert theirs.attention("a b", "b a").tgt_pieces == ours.attention("a b", "b a").tgt_pieces
        assert len(theirs.attention_maps("a b")) == 1
        (ours_of_pair,), (theirs_of_pair,) = (one.score([("a b", "b a")]) for one in (ours, theirs))
        assert theirs_of_pair.log_probability == pytest.approx(ours_of_pair.log_probability)

    @pytest.mark.parametrize("beams", [1, 4])
    def test_each_source_has_its_own_limit(self, run, beams):
        """Also in a batch of sources with other limits."""
        limits = [1 + i % 5 for i in range(60)]
        ours, theirs = (
            opened(run, engine, beam_size=beams, batch_tokens=5000).hypotheses(LINES[:60], limits=limits)
            for engine in ("own", "ctranslate2")
        )
        best = [[line[0].hypotheses[0] for line in of_engine] for of_engine in (ours, theirs)]
        assert all(one.length <= limit for one, limit in zip(best[1], limits, strict=True))
        assert sum(a.tokens == b.tokens for a, b in zip(*best, strict=True)) >= 60 - 3 * (beams > 1)
        assert sum(one.is_cut_off for one in best[1]) > 30

    def test_a_copy_has_the_same_engine(self, run):
        other = copy.copy(opened(run, precision="int8"))
        assert (other.engine.name, other.engine.precision) == ("ctranslate2", "int8")
        assert other.translate(["a b c"]) == ["c b a"]

    @pytest.mark.slow
    @pytest.mark.skipif(sys.platform != "linux", reason="PyTorch is forked on Linux alone")
    def test_a_forked_process_translates(self, run):
        program = f"""
import multiprocessing
from seq2seq import Translator
translator = Translator.load({str(run)!r}, engine="ctranslate2", workers=2)
def work(lines):
    return translator.translate(lines)
print(work(["a b", "c d"]))
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(work, [["a b c", "d e"]]).get(60))
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
        assert done.stdout.splitlines() == ["['b a', 'd c']", "['c b a', 'e d']"], done.stderr


class FakeModel:
    """Stands in for ``ctranslate2.Translator``: it has these hypotheses for every source, the best first."""

    def __init__(self, hypotheses: list[str]) -> None:
        self.hypotheses = hypotheses
        self.calls: list[tuple[int, int]] = []

    def translate_batch(self, sources, *, num_hypotheses, max_decoding_length, **_):
        self.calls.append((num_hypotheses, max_decoding_length))
        outputs = [[*text, "</s>"][:max_decoding_length] for text in self.hypotheses[:num_hypotheses]]
        found = SimpleNamespace(hypotheses=outputs, scores=[-1.0 - i for i in range(len(outputs))])
        return [SimpleNamespace(result=lambda: found) for _ in sources]


def searched(hypotheses: list[str], source: str = "ab", limit: int = 100, **decoding: object):
    pieces = ["<unk>", "<s>", "</s>", "<pad>", *"abcdefgh"]
    assert pieces[EOS] == "</s>"
    config = DecodingConfig(**({"beam_size": 3, "length_penalty": 1.0} | decoding))
    engine = CTranslate2Engine(
        Path(), pieces, config, torch.device("cpu"), compute_type="float32", batch_tokens=100, n_workers=1
    )
    model = FakeModel(hypotheses)
    engine._translator = lambda n: model
    ((_, found),) = engine.search([[pieces.index(letter) for letter in source]], [limit], scored=True)
    return ["".join(pieces[token] for token in one.tokens) for one in found], found, model.calls


class TestRepetitionGuard:
    def test_a_loop_gives_way_to_the_next_best(self):
        texts, found, calls = searched(["ababab", "cdcdcd", "ba"])
        assert (texts, found[0].avoided_loop) == (["ba"], True)
        assert calls == [(3, 100)]

    def test_it_is_off_if_the_run_says_so(self):
        texts, _, calls = searched(["ababab", "ba"], repetition_guard=False)
        assert (texts, calls) == (["ababab"], [(1, 100)])

    def test_a_source_with_a_loop_is_translated_as_it_is(self):
        assert searched(["ababab", "ba"], source="hahaha")[0] == ["ababab"]

    def test_other_hypotheses_follow(self):
        assert searched(["ababab", "ba", "ab"], n_best=2)[0] == ["ba", "ababab"]

    def test_a_hypothesis_beyond_its_limit_is_searched_again(self):
        engine_limits = searched(["abcdefgh"], limit=5, repetition_guard=False)
        assert engine_limits[0] == ["abcde"]
        assert engine_limits[1][0].is_cut_off
        assert engine_limits[1][0].log_probability == -5.0, "the score is for each token"


class TestCache:
    @pytest.fixture
    def run(self, run, tmp_path, monkeypatch) -> Path:
        """A run without a converted model."""
        shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("ctranslate2"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "run"

    @pytest.fixture
    def conversions(self, monkeypatch) -> list[object]:
        """A list with an item for each conversion."""
        made, real = [], cache.convert

        def convert(*args):
            made.append(args)
            return real(*args)

        monkeypatch.setattr(cache, "convert", convert)
        return made

    def test_a_run_is_converted_once(self, run, conversions):
        for precision in ("fp32", "int8", "fp32"):
            assert opened(run, precision=precision).translate(["a b c"]) == ["c b a"]
        assert len(conversions) == 1
        (folder,) = (run / "ctranslate2").iterdir()
        manifest = json.loads((run / "manifest.json").read_text())
        (weights,) = (sha for name, sha in manifest["files"].items() if name.startswith("model-"))
        assert folder.name.startswith(weights[:16])
        assert not list(run.parent.glob("cache"))

    def test_a_longer_max_length_has_a_conversion_of_its_own(self, run, conversions):
        opened(run)
        assert opened(run, max_length=3000).translate(["a b c"]) == ["c b a"]
        assert len(conversions) == 2

    @pytest.mark.parametrize("name", ["model.bin", "config.json", "hashes.json"])
    @pytest.mark.parametrize("damage", ["changed", "missing"])
    def test_a_damaged_one_is_made_again(self, run, conversions, name, damage):
        opened(run)
        (path,) = run.glob(f"ctranslate2/*/{name}")
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        assert opened(run).translate(["a b c"]) == ["c b a"]
        assert len(conversions) == 2

    def test_beside_a_run_that_cannot_be_written_it_is_in_the_users_cache(self, run, conversions, tmp_path):
        (run / "ctranslate2").touch()  # as a folder in which nothing can be made
        for _ in range(2):
            assert opened(run).translate(["a b c"]) == ["c b a"]
        assert len(conversions) == 1
        assert list((tmp_path / "cache" / "seq2seq" / "ctranslate2").glob("*/model.bin"))

    def test_without_any_place_it_is_refused(self, run, tmp_path):
        (run / "ctranslate2").touch()
        (tmp_path / "cache").touch()
        with pytest.raises(UserError, match="make one of them writable, or let XDG_CACHE_HOME name") as caught:
            opened(run)
        assert caught.value.code == ExitCode.CANNOT_WRITE


class TestCommand:
    def test_it_prints_what_the_library_finds(self, cli, run, tmp_path):
        (tmp_path / "in").write_bytes(b"a b c\n\n\xff d\n" + b"a " * 30)
        done = cli(
            "translate", run, "-i", tmp_path / "in", "--engine", "ctranslate2", "--precision", "int8", "--scores"
        )
        lines = done.out.split("\n")
        assert (done.code, len(lines)) == (0, 5)
        assert lines[0].endswith("\tc b a")
        assert math.isfinite(float(lines[0].split("\t")[0]))

    def test_engines_are_not_mixed_in_a_file(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("seq2seq.translation.windows.MIN_LINES", 8)
        monkeypatch.setattr("seq2seq.translation.windows.MAX_LINES", 8)
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES[:40]))
        names = str(tmp_path / "in"), str(tmp_path / "out")
        events = translate_file(opened(run), *names)
        next(event for event in events if isinstance(event, WindowTranslated))
        events.close()
        with pytest.raises(UserError, match="engine: ctranslate2 -> None") as caught:
            list(translate_file(opened(run, "own"), *names, resume=True))
        assert caught.value.code == ExitCode.REFUSED
        assert next(translate_file(opened(run), *names, resume=True)).n_lines == 8
        list(translate_file(opened(run), *names, resume=True))
        assert (tmp_path / "out").read_text().splitlines() == opened(run).translate(LINES[:40])

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--shortlist", 4], "CTranslate2 cannot search with --shortlist 4; give --shortlist 0, or --engine own"),
            (["--stopping", "exact"], "cannot search with --stopping exact; give --stopping enough"),
            (["--products", "mkl"], "cannot search with --products mkl; give --products auto"),
            (["--engine", "ctranslate"], "unknown engine ctranslate; did you mean ctranslate2"),
            (
                ["--engine", "own", "--precision", "int8"],
                "--precision int8 needs CTranslate2; give --engine ctranslate2",
            ),
        ],
    )
    def test_what_an_engine_cannot_do_is_refused(self, cli, run, words, says):
        engine = [] if "--engine" in words else ["--engine", "ctranslate2"]
        refused = cli("translate", run, "a b", "--device", "cpu", *engine, *words)
        assert (refused.code, refused.out) == (ExitCode.USAGE, "")
        assert says in refused.err

    def test_a_precision_that_the_processor_lacks_is_refused(self, cli, run, monkeypatch):
        monkeypatch.setattr("ctranslate2.get_supported_compute_types", lambda device, index: {"float32", "int8"})
        refused = cli("translate", run, "a b", "--engine", "ctranslate2", "--precision", "bf16", "--device", "cpu")
        assert refused.code == ExitCode.REFUSED
        assert "does not support --precision bf16 on this cpu; choose among fp32, int8" in refused.err

    def test_without_ctranslate2_the_command_to_install_it_is_given(self, cli, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
        refused = cli("translate", run, "a b", "--engine", "ctranslate2")
        assert refused.code == ExitCode.REFUSED
        assert "--engine ctranslate2 needs CTranslate2" in refused.err
        assert "pip install 'ctranslate2>=4.7'" in refused.err

    @pytest.mark.parametrize("architecture", ["rnn", "cnn"])
    def test_an_architecture_that_it_does_not_support_is_refused(self, cli, run, tmp_path, architecture):
        other = random_run(tmp_path / "run", (run / "tokenizer.model").read_bytes(), architecture=architecture)
        refused = cli("translate", other, "a b", "--engine", "ctranslate2", "--device", "cpu")
        assert refused.code == ExitCode.REFUSED
        assert f"CTranslate2 does not support model.architecture {architecture}" in refused.err
