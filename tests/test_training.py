"""Training as a whole: the files that it writes, and that interruptions do not change the result."""

import gc
import itertools
import json
import math
import os
import platform
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import pytest
import torch
from reversal import reversal_lines
from support.clock import Clock

from seq2seq.config import Layer, parse_toml
from seq2seq.corpus import IdsStore
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.evaluation import Score
from seq2seq.model import products
from seq2seq.model.products import can_multiply
from seq2seq.runs import commit, load_checkpoint, lock, model_name, read_manifest, read_tensors
from seq2seq.runs import folder as run_folder
from seq2seq.training import Request, run_writer, session, step, train, tuning
from seq2seq.training.arithmetic import Arithmetic
from seq2seq.training.encode import usual_sentences
from seq2seq.training.parallel import choose, forked
from seq2seq.training.progress import Finished, LengthSet, Notice, Report, Saved, Started, Validation
from seq2seq.training.run_writer import RunWriter
from seq2seq.training.state import BudgetState, TrainingState
from seq2seq.training.step import TrainStep
from seq2seq.training.validation import LengthPenalty, Scores, ValidationSet
from seq2seq.translation import Translator

WORDS = ["rot", "blau", "grün", "gelb", "weiß", "schwarz", "hell", "dunkel", "groß", "klein"]
MEANINGS = dict(
    zip(WORDS, ["red", "blue", "green", "yellow", "white", "black", "light", "dark", "big", "small"], strict=True)
)

TINY: Layer = {
    "preset": "tiny",
    "data": {"langs": "de-en", "vocab_size": 320},
    "model": {"d_model": 32, "d_ff": 64, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    "training": {
        "batch_tokens": 200,
        "learning_rate": 3e-3,
        "warmup_updates": 10,
        "max_updates": 24,
        "valid_every": 8,
        "save_every": 6,
        "report_every": 4,
    },
}


def write_corpus(prefix: Path, n: int, seed: int, max_words: int = 5) -> str:
    """Words for colors and their translations, in reverse order."""
    draw = random.Random(seed)
    lines = [draw.choices(WORDS, k=draw.randint(1, max_words)) for _ in range(n)]
    prefix.with_name(prefix.name + ".de").write_text("".join(" ".join(line) + "\n" for line in lines))
    prefix.with_name(prefix.name + ".en").write_text(
        "".join(" ".join(MEANINGS[w] for w in reversed(line)) + "\n" for line in lines)
    )
    return str(prefix)


def written_corpora(folder: Path) -> Layer:
    """A training and a validation corpus, as a layer."""
    train_prefix = write_corpus(folder / "train", 300, 1)
    return {"data": {"train": [train_prefix], "valid": [write_corpus(folder / "valid", 20, 2)]}}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    """Corpora that tests only read."""
    return written_corpora(tmp_path_factory.mktemp("corpora"))


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run. Read it only, or copy it."""

    folder: Path
    events: list[object]

    def copied_to(self, folder: Path) -> Path:
        return shutil.copytree(self.folder, folder)


@pytest.fixture(scope="module")
def whole(corpora: Layer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Whole]:
    """``whole(*layers)``: the run on the corpora with these layers, trained once for all tests."""
    runs: dict[str, Whole] = {}

    def run(*layers: Layer) -> Whole:
        key = json.dumps(layers)
        if key not in runs:
            folder = tmp_path_factory.mktemp("whole") / "run"
            runs[key] = Whole(folder, list(train(request(folder, corpora, *layers))))
        return runs[key]

    return run


def request(run: Path, *layers: Layer, overwrite: bool = False) -> Request:
    return Request(run, [TINY, *layers], device="cpu", overwrite=overwrite)


def weights_of(run: Path) -> bytes:
    """The bytes of the last checkpoint's tensors: weights, averages, moments."""
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    (path,) = checkpoint.path.glob("tensors*.safetensors")
    return path.read_bytes()


def state_of(run: Path) -> TrainingState:
    """The JSON of the last checkpoint."""
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    return TrainingState.from_json(checkpoint.state, checkpoint.path)


def standing(run: Path) -> TrainingState:
    """The last checkpoint's state without times."""
    return replace(state_of(run), seconds=0.0, last_report=None, budget=BudgetState())


class StopAt:
    """A flag that stops training at its ``n``-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> int | None:
        self.left -= 1
        return 15 if self.left < 0 else None


def test_a_run_writes_all_files(whole):
    run, events = whole().folder, whole().events
    assert [type(e) for e in events if isinstance(e, Started | Finished)] == [Started, Finished]
    assert [e.update for e in events if isinstance(e, Validation)] == [8, 16, 24]
    best = {e.update for e in events if isinstance(e, Validation) and e.is_best}
    assert [e.update for e in events if isinstance(e, Saved)] == sorted({6, 12, 18, 24} | best)
    names = {path.name for path in run.iterdir()}
    manifest = read_manifest(run)
    assert {"manifest.json", "config.toml", "tokenizer.model", "README.md", "metrics.jsonl", "checkpoints"} <= names
    assert "prepared" not in names
    assert manifest.finished
    assert [c["pairs"] for c in manifest.corpora if "pairs" in c] == [300, 20]
    assert str(manifest.recipe) in (run / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["update-00000024"]
    translator = Translator.load(run, device="cpu")
    assert len(translator.translate(["rot blau", "", "gelb"])) == 3


@pytest.mark.parametrize(("epochs", "kept"), [(3, False), (60, True)])
def test_auto_uses_r_drop_for_many_epochs(tmp_path, corpora, monkeypatch, epochs, kept):
    """The reported settings are used, and the number of updates fits the size of batches."""
    training = {"max_updates": None, "max_epochs": epochs, "valid_every": 99, "save_every": 99}
    layers = [{name: TINY[name] for name in ("data", "model")}, corpora, {"training": training}]
    events = train(Request(tmp_path / "run", [{**layer, "preset": "auto"} for layer in layers], device="cpu"))
    messages = []
    for event in events:
        if isinstance(event, Notice):
            messages.append(event.text)
        if isinstance(event, Started):
            break
    config = event.config
    assert (config.n_forward_passes, config.training.batch_tokens) == ((2, 512) if kept else (1, 1024))
    line = next(line for line in messages if "dropout" in line)
    assert ("R-Drop 5, " in line, "no R-Drop: " in line) == (kept, not kept)
    assert any(line.endswith(")") and f"auto-500{'' if kept else '-one-mask'} (" in line for line in messages)
    an_epoch = config.training.max_updates / epochs
    assert an_epoch * config.training.batch_tokens == pytest.approx(1800, rel=0.4)


@pytest.mark.parametrize("rate", [1e8, 1e11, 1e14])
def test_the_recipe_does_not_depend_on_the_measured_speed(tmp_path, corpora, monkeypatch, rate):
    """Two machines of one kind with one time budget train the same."""
    monkeypatch.setattr("seq2seq.training.starting.measured_rate", lambda *_: rate)
    layers = [{"data": TINY["data"]}, corpora, {"training": {"time_budget": 600.0}}]
    events = train(Request(tmp_path / "run", layers, device="cpu"))
    config = next(event for event in events if isinstance(event, Started)).config
    assert (config.n_forward_passes, config.model.d_model, config.training.batch_tokens) == (2, 128, 512)


def test_metrics_have_the_documented_names(whole):
    run = whole().folder
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]]
    always = {"update", "epoch", "loss", "lr", "tgt_tokens_per_second", "seconds"}
    assert all(always <= record.keys() for record in records)
    validations = [record for record in records if "bleu" in record]
    assert [v["update"] for v in validations] == [8, 16, 24]
    assert all({"valid_loss", "bleu", "chrf"} <= v.keys() for v in validations)


def scripted(monkeypatch, *validations: tuple[float, float, float, float | None]) -> None:
    """Makes validations find these: BLEU as shown, BLEU without smoothing, chrF, loss."""
    left = iter(validations)

    def run(self, *_):
        bleu, proven, chrf, loss = next(left)
        return Scores(
            loss, Score("BLEU", bleu, "", proven), Score("chrF2", chrf, "", chrf), [p.tgt for p in self.pairs]
        )

    monkeypatch.setattr(ValidationSet, "run", run)


@pytest.mark.parametrize("given", [{}, {"best_metric": "bleu"}])
def test_chrf_chooses_the_weights_if_bleu_says_nothing(tmp_path, corpora, monkeypatch, given):
    """The BLEU of the first validation has no correct 4-gram. An interruption changes nothing."""
    scripted(monkeypatch, (1.7, 0.0, 12.0, 4.0), (0.0, 0.0, 97.0, 0.1), (0.0, 0.0, 98.0, None))
    run, layer = tmp_path / "run", {"training": {"patience": 2, **given}}
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, layer), StopAt(10)))
    assert read_manifest(run).update == 8
    list(train(request(run, corpora, layer)))
    manifest = read_manifest(run)
    assert (manifest.update, manifest.final_update) == (24, 24)
    assert {name: manifest.scores[name] for name in ("bleu", "chrf", "valid_loss")} == {
        "bleu": 0.0, "chrf": 98.0, "valid_loss": None,
    }  # fmt: skip
    assert manifest.signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["valid_loss"] for line in lines if "bleu" in line] == [4.0, 0.1, None]


@pytest.mark.parametrize(("cut_off", "update"), [((7, 0, 0), 16), ((7, 6, 5), 8), ((0, 0, 5), 8)])
def test_weights_with_cut_off_translations_are_chosen_last(tmp_path, corpora, monkeypatch, cut_off, update):
    """Three validations, each with a lower BLEU than the one before."""
    left = iter(zip((9.0, 8.0, 7.0), cut_off, strict=True))

    def run_of(self, *_):
        bleu, n = next(left)
        return Scores(1.0, Score("BLEU", bleu, "", bleu), Score("chrF2", bleu, "", bleu), [""] * len(self.pairs), n)

    monkeypatch.setattr(ValidationSet, "run", run_of)
    run = tmp_path / "run"
    list(train(request(run, corpora)))
    manifest = read_manifest(run)
    assert (manifest.update, manifest.cut_off) == (update, cut_off[update // 8 - 1])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert tuple(line.get("cut_off", 0) for line in lines if "bleu" in line) == cut_off


def test_the_chosen_metric_is_kept_by_the_run(tmp_path, corpora, monkeypatch):
    """Word lists, in which BLEU finds no 4-gram, are validated by chrF; also after an interruption."""
    lists = {
        "data": {"train": [write_corpus(tmp_path / "t", 60, 1, 1)], "valid": [write_corpus(tmp_path / "v", 9, 2, 1)]}
    }
    run = tmp_path / "run"
    events: list[object] = []
    with pytest.raises(Interrupted):
        events.extend(train(request(run, lists), StopAt(10)))
    messages = [event.text for event in events if isinstance(event, Notice)]
    assert sum("the best chrF on the validation pairs: 0 of 9 validation references" in text for text in messages) == 1
    assert state_of(run).config.training.best_metric == "chrf"
    scripted(monkeypatch, (0.0, 0.0, 0.0, 4.0), (0.0, 0.0, 100.0, 5.0))
    events = list(train(request(run, lists)))
    assert not [event for event in events if isinstance(event, Notice) and "the best chrF" in event.text]
    assert [event.best_update for event in events if isinstance(event, Finished)] == [24]
    config = parse_toml((run / "config.toml").read_bytes(), run / "config.toml")
    assert config["training"]["best_metric"] == "chrf"
    assert list(train(request(run, lists)))[-1].already
    with pytest.raises(UserError, match="best_metric: chrf -> bleu"):
        list(train(request(run, lists, {"training": {"best_metric": "bleu"}})))


def test_a_finished_run_is_reported_and_not_changed(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    events = list(train(request(run, corpora)))
    assert [type(e) for e in events] == [Finished]
    assert events[0].already
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


N_CALLS = [1, 9, 10, 11, 13, 14, 25]


@pytest.mark.parametrize(
    ("averaging", "n_calls"),
    [
        *(("ema", n_calls) for n_calls in N_CALLS),
        *(
            pytest.param(averaging, n_calls, marks=[] if n_calls in (10, 14) else pytest.mark.slow)
            for averaging in ("last", "none")
            for n_calls in N_CALLS
        ),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, corpora, whole, averaging, n_calls):
    """The flag is called at each update and between validation batches, so some ``n`` reaches every phase."""
    average: Layer = {"training": {"averaging": averaging}}
    uninterrupted = whole(average).folder
    run = tmp_path / "parts"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, average), StopAt(n_calls)))
    list(train(request(run, corpora, average)))
    assert weights_of(run) == weights_of(uninterrupted)
    assert standing(run) == standing(uninterrupted)
    assert read_manifest(run).files == read_manifest(uninterrupted).files


on_linux_without_gpu = pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(), reason="elsewhere there is one replica"
)


@on_linux_without_gpu
def test_an_interrupted_run_of_several_replicas_ends_with_the_same_weights(tmp_path, corpora, monkeypatch):
    started, process = [], forked._Process

    def fork(*args):
        started.append(process(*args))
        return started[-1]

    monkeypatch.setattr(choose, "n_replicas", lambda *_: 2)
    monkeypatch.setattr(forked, "_Process", fork)
    list(train(request(tmp_path / "whole", corpora)))
    run = tmp_path / "parts"
    for n_calls in (5, 12):
        with pytest.raises(Interrupted):
            list(train(request(run, corpora), StopAt(n_calls)))
    list(train(request(run, corpora)))
    assert weights_of(run) == weights_of(tmp_path / "whole")
    assert len(started) == 4  # and each is gone
    for one in started:
        with pytest.raises(ProcessLookupError):
            os.kill(one.pid, 0)


@pytest.mark.parametrize(
    "by",
    [
        pytest.param(
            {"products": "onednn", "precision": "fp32"},
            marks=pytest.mark.skipif(not can_multiply("fp32"), reason="no oneDNN"),
        ),
        pytest.param({"precision": "bf16"}, marks=pytest.mark.skipif(not can_multiply("bf16"), reason="no bf16")),
    ],
    ids=["oneDNN", "bf16"],
)
@pytest.mark.parametrize("n", [1, 2])
def test_an_interrupted_run_resumes_in_its_own_arithmetic(tmp_path, corpora, whole, monkeypatch, by, n):
    """Even if another one would be chosen now."""
    monkeypatch.setattr(choose, "n_replicas", lambda *_: n)
    chosen: Layer = {"training": by}
    list(train(request(tmp_path / "whole", corpora, chosen)))
    run = tmp_path / "parts"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, chosen), StopAt(12)))
    monkeypatch.setattr(step, "choose_arithmetic", lambda *_: Arithmetic(precision="fp32"))
    events = list(train(request(run, corpora, chosen)))
    plain: Layer = {"training": {"precision": "fp32", "products": "mkl"}}
    assert weights_of(run) == weights_of(tmp_path / "whole") != weights_of(whole(plain).folder)
    assert state_of(run).arithmetic == state_of(tmp_path / "whole").arithmetic
    (started,) = (event for event in events if isinstance(event, Started))
    assert started.arithmetic.endswith("by oneDNN")
    assert not [event for event in events if isinstance(event, Notice) and event.warning]


def test_a_checkpoint_that_names_no_arithmetic_continues_with_pytorchs_own(tmp_path, corpora, monkeypatch):
    """That of an earlier version."""
    run = tmp_path / "run"
    monkeypatch.setattr(step, "choose_arithmetic", lambda *_: Arithmetic(precision="fp32"))
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(12)))
    from_json, chosen = TrainingState.from_json, Arithmetic(precision="bf16", products="onednn")
    with monkeypatch.context() as patched:
        patched.setattr(step, "choose_arithmetic", lambda *_: chosen)
        patched.setattr(TrainingState, "from_json", lambda *a: replace(from_json(*a), arithmetic=None))
        (started,) = (event for event in train(request(run, corpora)) if isinstance(event, Started))
    assert started.arithmetic == "fp32"
    assert state_of(run).arithmetic == Arithmetic(precision="fp32")
    assert read_manifest(run).arithmetic == "fp32"


@pytest.mark.skipif(not can_multiply("bf16"), reason="no bf16")
def test_a_run_with_unavailable_arithmetic_resumes_in_another_with_a_notice(tmp_path, corpora, monkeypatch):
    run = tmp_path / "moved"
    began_in = Arithmetic(precision="bf16", products="onednn")
    monkeypatch.setattr(step, "choose_arithmetic", lambda *_: began_in)
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(12)))
    assert state_of(run).arithmetic == began_in
    monkeypatch.undo()
    monkeypatch.setattr(products, "HAS_ONEDNN", False)
    events = list(train(request(run, corpora)))
    (warning,) = (event.text for event in events if isinstance(event, Notice) and event.warning)
    assert "trained in bf16 by oneDNN, which is not available here; it continues in fp32" in warning
    assert state_of(run).arithmetic == Arithmetic(precision="fp32")
    assert (read_manifest(run).update, read_manifest(run).arithmetic) == (24, "fp32")


def test_an_interrupted_run_reads_the_same_pieces(tmp_path, corpora, whole):
    drawn: Layer = {"data": {"subword_sampling": 0.3}}
    run = tmp_path / "parts"
    for n_calls in (5, 12):
        with pytest.raises(Interrupted):
            list(train(request(run, corpora, drawn), StopAt(n_calls)))
    list(train(request(run, corpora, drawn)))
    assert weights_of(run) == weights_of(whole(drawn).folder)
    assert weights_of(run) != weights_of(whole().folder)


def count_readers() -> int:
    return sum(thread.name.startswith("reader") for thread in threading.enumerate())


@pytest.mark.parametrize("n_replicas", [1, pytest.param(2, marks=[on_linux_without_gpu, pytest.mark.slow])])
def test_reading_ahead_changes_nothing(tmp_path, corpora, whole, monkeypatch, n_replicas):
    """As on a GPU: neither the result nor what is resumed, and each end of a part ends the thread."""
    monkeypatch.setattr(choose, "n_replicas", lambda *_: n_replicas)
    expected = whole().folder
    if n_replicas > 1:
        list(train(request(expected := tmp_path / "whole", corpora)))
    monkeypatch.setitem(tuning.UPDATES_AHEAD, "cpu", 2)
    n_readers = []
    update = TrainStep.update

    def counting(*args):
        n_readers.append(count_readers())
        return update(*args)

    monkeypatch.setattr(TrainStep, "update", counting)
    run = tmp_path / "parts"
    for n_calls in (5, 12):
        with pytest.raises(Interrupted):
            list(train(request(run, corpora), StopAt(n_calls)))
        assert count_readers() == 0
    for event in train(request(run, corpora)):  # its caller leaves in the middle
        if isinstance(event, Report):
            break
    gc.collect()
    assert count_readers() == 0
    list(train(request(run, corpora)))
    assert count_readers() == 0
    assert set(n_readers) == {1}
    assert weights_of(run) == weights_of(expected)
    assert standing(run) == standing(expected)


def test_an_error_of_reading_ahead_comes_at_its_update(tmp_path, corpora, monkeypatch):
    monkeypatch.setitem(tuning.UPDATES_AHEAD, "cpu", 2)
    take, left = IdsStore.take, itertools.count(7, -1)

    def broken(*args):
        if not next(left):
            raise OSError("gone")
        return take(*args)

    monkeypatch.setattr(IdsStore, "take", broken)
    every: Layer = {"training": {"report_every": 1, "valid_every": 30}}
    updates = []
    with pytest.raises(OSError, match="gone"):
        updates.extend(
            event.update for event in train(request(tmp_path / "run", corpora, every)) if isinstance(event, Report)
        )
    assert updates == [1, 2, 3, 4, 5, 6, 7]
    assert count_readers() == 0


def test_a_run_that_is_often_interrupted_still_finishes(tmp_path, corpora, whole):
    run = tmp_path / "parts"
    for _ in range(40):
        try:
            list(train(request(run, corpora), StopAt(3)))
            break
        except Interrupted:
            continue
    list(train(request(run, corpora)))
    assert weights_of(run) == weights_of(whole().folder)


def test_another_seed_ends_with_other_weights(whole):
    """So the tests above can fail."""
    assert weights_of(whole().folder) != weights_of(whole({"training": {"seed": 2}}).folder)


def test_other_limits_resume_the_run(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    events = list(train(request(run, corpora, {"training": {"max_updates": 30}})))
    assert [e.update for e in events if isinstance(e, Started)] == [24]
    assert read_manifest(run).finished
    assert load_checkpoint(run).update == 30


def test_alarms_may_be_changed_later(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    changed: Layer = {"data": {"alarms": "warn"}}
    assert list(train(request(run, corpora, changed)))[-1].already
    with pytest.raises(UserError, match=r"data.leaks: drop -> keep"):
        list(train(request(run, corpora, {"data": {"leaks": "keep"}})))


def test_any_other_change_is_refused_with_the_difference(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    with pytest.raises(UserError, match=r"model.dropout: 0.3 -> 0.1") as caught:
        list(train(request(run, corpora, {"model": {"dropout": 0.1}})))
    assert caught.value.code == ExitCode.REFUSED


def test_moved_corpora_are_known_by_their_content(tmp_path):
    run, corpora = tmp_path / "run", written_corpora(tmp_path)
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(9)))
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("train.de", "train.en", "valid.de", "valid.en"):
        (tmp_path / name).rename(moved / name)
    layer: Layer = {"data": {"train": [str(moved / "train")], "valid": [str(moved / "valid")]}}
    assert any(isinstance(e, Finished) for e in train(request(run, layer)))


def test_other_corpora_are_refused(tmp_path, corpora):
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(9)))
    other: Layer = {"data": {"train": [write_corpus(tmp_path / "other", 200, 3)]}}
    says = r"run was trained on other corpora: `data.train`: \S*/train \(300 pairs\) -> \S*/other \(200 pairs\); give"
    with pytest.raises(UserError, match=says) as caught:
        list(train(request(run, corpora, other)))
    assert caught.value.code == ExitCode.REFUSED
    with pytest.raises(UserError, match="not found") as caught:
        list(train(request(run, corpora, {"data": {"valid": [str(tmp_path / "none")]}})))
    assert caught.value.code == ExitCode.NO_INPUT


OWN = {"train": ["train"], "valid": ["valid"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpora and a run on two of them, named by relative paths."""
    folder = tmp_path_factory.mktemp("finished")
    for name, n, seed in (("train", 60, 1), ("valid", 20, 2), ("other", 60, 3), ("more", 61, 1)):
        write_corpus(folder / name, n, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        list(train(request(Path("run"), {"data": OWN, "training": {"max_updates": 1}})))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it is the current folder."""
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "copy"))


def rename(old: str, new: str) -> None:
    for suffix in (".de", ".en"):
        Path(f"{old}{suffix}").rename(f"{new}{suffix}")


def as_table(name: str) -> None:
    sides = (Path(f"{name}{suffix}").read_text().splitlines() for suffix in (".de", ".en"))
    Path(f"{name}.tsv").write_text("".join(f"{src}\t{tgt}\n" for src, tgt in zip(*sides, strict=True)))


@pytest.mark.parametrize("keep", [1, 0], ids=["checkpoint", "no checkpoint"])
@pytest.mark.parametrize(
    ("change", "data", "difference"),
    [
        (lambda: None, {}, None),
        (lambda: None, {"train": ["train"]}, None),  # what is left open is the run's
        (lambda: os.utime("train.de"), OWN, None),
        (lambda: rename("train", "moved"), OWN | {"train": ["moved"]}, None),
        (lambda: rename("valid", "moved"), OWN | {"valid": ["moved"]}, None),
        (lambda: as_table("train"), OWN | {"train": ["train.tsv"]}, None),
        (lambda: rename("train", "moved"), OWN, None),
        (lambda: Path("valid.en").unlink(), OWN, None),
        (lambda: rename("other", "train"), {}, None),
        (
            lambda: rename("other", "train"),
            OWN,
            "`data.train`: train (60 pairs) -> as many pairs, but other ones",
        ),
        (lambda: rename("more", "train"), OWN, "`data.train`: train (60 pairs) -> train (61 pairs)"),
        (lambda: rename("other", "valid"), OWN, "`data.valid`: valid (20 pairs) -> valid (60 pairs)"),
        (lambda: None, OWN | {"train": ["other"]}, "`data.train`: train (60 pairs) -> other (60 pairs)"),
        (lambda: None, OWN | {"valid": ["other"]}, "`data.valid`: valid (20 pairs) -> other (60 pairs)"),
        (lambda: None, OWN | {"train": ["none"]}, "`data.train`: train (60 pairs) -> none.de and none.en not found"),
        (lambda: None, OWN | {"valid": ["none"]}, "`data.valid`: valid (20 pairs) -> none.de and none.en not found"),
        (lambda: None, OWN | {"valid": []}, "`data.valid`: valid (20 pairs) -> pairs held out of `data.train`"),
        (lambda: None, {"train": ["train", "other"]}, "-> train (60 pairs), other (60 pairs)"),
        (lambda: None, {"train": ["valid"], "valid": ["train"]}, "; `data.valid`: valid (20 pairs) -> train ("),
        (lambda: Path("train.de").write_text("rot\n"), OWN, "-> train.de has 1 line but train.en has 60"),
    ],
)
def test_a_finished_run_was_trained_on_these_corpora_and_no_others(copied, keep, change, data, difference):
    change()
    run, layer = Path("run"), {"data": data, "training": {"max_updates": 1, "keep_checkpoints": keep}}
    if not keep:
        shutil.rmtree("run/checkpoints")
    if difference is None:
        event = list(train(request(run, layer)))[-1]
        assert (event.already, event.trained_on) == (True, "trained on train, validated on valid")
        return
    before = sorted(path.name for path in run.rglob("*"))
    with pytest.raises(UserError) as caught:
        list(train(request(run, layer)))
    assert difference in caught.value.what
    assert caught.value.code == ExitCode.REFUSED
    assert "another folder with `run`, or `overwrite`" in caught.value.mend
    assert sorted(path.name for path in run.rglob("*")) == before


def test_unchanged_corpora_of_a_finished_run_are_not_read_again(copied, monkeypatch):
    monkeypatch.setattr("seq2seq.training.ingest.read_pairs", None)
    assert list(train(request(Path("run"), {"data": OWN, "training": {"max_updates": 1}})))[-1].already


def test_a_run_with_held_out_pairs_is_not_one_with_a_validation_corpus(copied):
    layer: Layer = {"data": {"train": ["train"]}, "training": {"max_updates": 1}}
    list(train(request(Path("held"), layer)))
    assert list(train(request(Path("held"), layer)))[-1].trained_on.endswith("validated on pairs held out of it")
    refused = r"`data.valid`: pairs held out of `data.train` -> valid \(20 pairs\)"
    with pytest.raises(UserError, match=refused) as caught:
        list(train(request(Path("held"), layer, {"data": {"valid": ["valid"]}})))
    assert caught.value.code == ExitCode.REFUSED


def test_overwrite_moves_the_old_run_aside(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    old = (run / "manifest.json").read_bytes()
    list(train(request(run, corpora, {"model": {"dropout": 0.1}}, overwrite=True)))
    assert (tmp_path / "run.old-1" / "manifest.json").read_bytes() == old
    assert (run / "manifest.json").read_bytes() != old


def test_a_folder_with_other_files_is_refused(tmp_path, corpora):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(UserError, match="other files") as caught:
        list(train(request(tmp_path / "thesis", corpora)))
    assert caught.value.code == ExitCode.REFUSED
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_two_runs_do_not_share_a_folder(tmp_path, corpora):
    run = tmp_path / "run"
    run.mkdir()
    with lock(run), pytest.raises(UserError) as caught:
        list(train(request(run, corpora)))
    assert caught.value.code == ExitCode.TRY_LATER


def test_without_validation_pairs_the_same_ones_are_held_out(tmp_path):
    prefix = write_corpus(tmp_path / "train", 300, 1)
    layer: Layer = {"data": {"train": [prefix]}}
    samples = []
    for seed in (1, 2):
        run = tmp_path / f"run{seed}"
        events = list(train(request(run, layer, {"training": {"seed": seed, "samples": 15}})))
        assert any("60 pairs held out" in e.text for e in events if isinstance(e, Notice))
        samples.append([(s.src, s.reference) for e in events if isinstance(e, Validation) for s in e.samples])
        totals = read_manifest(run).corpora[-1]
        # One-word lines repeat often, so they are trained on; lines that occur once are held out.
        assert (totals["held_out"], totals["dropped_leaks"], totals["kept"]) == (60, 0, 240)
        assert totals["copies"] > 50
    assert samples[0] == samples[1]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({}, 1),
        ({1: 28934, 2: 64, 3: 1, 4: 1}, 1),  # Multi30k, German
        ({1: 4680, 2: 1808, 3: 317, 4: 41, 5: 2, 6: 5}, 3),  # a New Testament, Swahili
        ({1: 6202, 2: 590, 3: 55, 4: 5, 5: 1}, 2),  # the same, Spanish
        ({1: 99, 2: 1}, 2),
        ({1: 199, 2: 1}, 1),
        ({1: 100, 7: 1}, 1),
        ({1: 99, 7: 1}, 7),
        ({3: 5}, 3),
    ],
)
def test_max_src_sentences_is_what_many_sources_have(counts, expected):
    assert usual_sentences(Counter(counts)) == expected


def test_a_run_remembers_how_many_sentences_its_sources_had(tmp_path, corpora, whole):
    """In its training pairs."""
    prefix = write_corpus(tmp_path / "train", 300, 1)
    with open(f"{prefix}.de", "a") as de, open(f"{prefix}.en", "a") as en:
        de.write("rot! blau\n" * 9 + "rot! blau! gelb! " * 200 + "\n")
        en.write("red! blue\n" * 9 + "red\n")
    data = {"train": [prefix], "tokenizer": str(whole().folder / "tokenizer.model")}
    list(train(request(tmp_path / "run", corpora, {"data": data, "training": {"max_updates": 2}})))
    assert read_manifest(tmp_path / "run").max_src_sentences == 2
    assert Translator.load(tmp_path / "run", device="cpu").max_src_sentences == 2


@pytest.fixture
def data_set(tmp_path, monkeypatch):
    """The word of a data set with a validation split, in a local folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, n in (("train", 100), ("validation", 10)):
        prefix = write_corpus(tmp_path / split, n, n)
        sides = (Path(f"{prefix}.{lang}").read_text().splitlines() for lang in ("de", "en"))
        rows = [json.dumps({"de": de, "en": en}) + "\n" for de, en in zip(*sides, strict=True)]
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / f"{split}.jsonl").write_text("".join(rows))
    return f"hf:{tmp_path}/set"


def test_the_validation_split_of_a_data_set_is_used(tmp_path, data_set):
    run = tmp_path / "run"
    layer: Layer = {"data": {"train": [data_set]}, "training": {"max_updates": 1}}
    notices = [event.text for event in train(request(run, layer)) if isinstance(event, Notice)]
    assert (
        f"{data_set}:validation is used for validation: a split of the same data set "
        "(`data.valid` names another corpus)" in notices
    )
    assert not [notice for notice in notices if "held out" in notice]
    valid, corpora = [f"{data_set}:validation"], read_manifest(run).corpora
    assert [(c["corpus"], c["role"], c["pairs"]) for c in corpora[:2]] == [
        (data_set, "train", 100),
        (*valid, "valid", 10),
    ]
    assert parse_toml((run / "config.toml").read_bytes(), run)["data"]["valid"] == valid
    assert [type(event) for event in train(request(run, layer))] == [Finished], "the same command"
    more: Layer = {"training": {"max_updates": 2}}
    assert not [e for e in train(request(run, layer, more)) if isinstance(e, Notice) and "held out" in e.text]


def test_a_data_set_that_has_moved_is_trained_on_and_validates_as_before(tmp_path, data_set):
    run = tmp_path / "run"
    limits: Layer = {"training": {"max_updates": 4, "valid_every": 1}}
    with pytest.raises(Interrupted):
        list(train(request(run, {"data": {"train": [data_set]}}, limits), StopAt(3)))
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = f"hf:{tmp_path}/moved"
    assert list(train(request(run, {"data": {"train": [moved]}}, limits)))[-1].update == 4
    assert [c["corpus"] for c in read_manifest(run).corpora[:2]] == [moved, f"{moved}:validation"]


def test_a_run_is_not_made_in_a_data_set(tmp_path, data_set):
    """Otherwise files of the run would be read as data."""
    for run in (tmp_path / "set" / "run", tmp_path / "set" / "a" / "b", tmp_path / "set"):
        with pytest.raises(UserError, match=r"is inside the data set|folder with other files"):
            list(train(request(run, {"data": {"train": [data_set]}, "training": {"max_updates": 1}})))
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["train.jsonl", "validation.jsonl"]


def test_settings_of_validation_override_a_validation_split(tmp_path, data_set):
    layer: Layer = {"data": {"train": [data_set], "valid": []}, "training": {"max_updates": 1}}
    assert "held out for validation" in "".join(
        event.text for event in train(request(tmp_path / "run", layer)) if isinstance(event, Notice)
    )
    assert parse_toml((tmp_path / "run" / "config.toml").read_bytes(), tmp_path)["data"]["valid"] == []


def test_notices_about_a_table_are_reported_and_stored_in_the_manifest(tmp_path):
    prefix = write_corpus(tmp_path / "c", 50, 1)
    sides = (Path(f"{prefix}.{lang}").read_text().splitlines() for lang in ("de", "en"))
    rows = "".join(f"{i};{en};{de}\n" for i, (de, en) in enumerate(zip(*sides, strict=True)))
    (tmp_path / "a.csv").write_text(f"nr;English;Twi (Akan)\n{rows}\n")
    word = f"{tmp_path}/a.csv[Twi (Akan),English]"
    layer: Layer = {"data": {"train": [word]}, "training": {"max_updates": 1}}
    notices = [event.text for event in train(request(tmp_path / "run", layer)) if isinstance(event, Notice)]
    notes = ["columns are separated by ;", "row 1 is a header: nr, English, Twi (Akan); left out"]
    assert notices[:3] == [f"{word}: 51 pairs, 1 dropped: a side is blank", *(f"{word}: {note}" for note in notes)]
    assert read_manifest(tmp_path / "run").corpora[0]["notes"] == notes


def test_dropped_pairs_are_reported_and_stored_in_the_manifest(tmp_path):
    prefix = write_corpus(tmp_path / "train", 200, 1)
    with open(f"{prefix}.de", "a") as de, open(f"{prefix}.en", "a") as en:
        de.write("rot\n   \n\u200b\n" + "blau " * 300 + "\n")
        en.write("\nred\nred\nblue\n")
    valid = write_corpus(tmp_path / "valid", 20, 2)
    run = tmp_path / "run"
    messages = [
        e.text for e in train(request(run, {"data": {"train": [prefix], "valid": [valid]}})) if isinstance(e, Notice)
    ]
    assert any("204 pairs, 2 dropped: a side is blank" in text for text in messages)
    assert any("1 pair dropped: a side is longer than 256 tokens" in text for text in messages)
    corpora = read_manifest(run).corpora
    assert corpora[0]["dropped_empty"] == 2
    assert corpora[-1]["dropped_too_long"] == 1


def test_patience_ends_a_run_that_does_not_improve(tmp_path, corpora):
    frozen: Layer = {"training": {"learning_rate": 1e-12, "patience": 2, "valid_every": 2, "max_updates": 1000}}
    events = list(train(request(tmp_path / "run", corpora, frozen)))
    assert events[-1].update == 6
    assert "no better bleu in 2 validations" in events[-1].reason
    assert list(train(request(tmp_path / "run", corpora, frozen)))[-1].already


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as on CUDA"])
def test_divergence_stops_before_it_changes_the_weights(tmp_path, corpora, monkeypatch, late):
    real = TrainStep.__init__

    def init(learner: TrainStep, *args: object) -> None:
        real(learner, *args)
        learner.checks_late = late

    monkeypatch.setattr(TrainStep, "__init__", init)
    run = tmp_path / "run"
    every = {"save_every": 1} if not late else {"report_every": 1, "save_every": 10}
    with pytest.raises(UserError, match="diverged at update 2") as caught:
        list(train(request(run, corpora, {"training": {"learning_rate": 1e30, "warmup_updates": 0, **every}})))
    assert caught.value.code == ExitCode.DIVERGED
    for tensor in {} if late else load_checkpoint(run).tensors.values():
        assert not tensor.is_floating_point() or not tensor.isnan().any()


def test_micro_batches_have_the_gradient_of_the_whole_update(tmp_path, corpora, monkeypatch):
    gradients = {}

    def update(learner: TrainStep, rows, number: int) -> None:
        learner.model.eval()  # without dropout the two must agree
        for most in (100_000, 40):
            learner.micro_batch_tokens = most
            learner._gradient(rows, number)
            gradients[most] = learner.weights.gradient / rows.n_tgt_tokens
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainStep, "update", update)
    with pytest.raises(KeyboardInterrupt):
        list(train(request(tmp_path / "run", corpora, {"training": {"precision": "fp32"}})))
    torch.testing.assert_close(gradients[40], gradients[100_000], rtol=1e-4, atol=1e-6)
    assert gradients[40].abs().sum() > 0


def test_out_of_memory_leads_to_smaller_micro_batches(tmp_path, corpora, monkeypatch):
    sizes = []
    sum_of_losses = TrainStep._sum_of_losses

    def short_of_memory(learner: TrainStep, batch) -> torch.Tensor:
        sizes.append(batch.src.numel())
        if batch.src.numel() > 60:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return sum_of_losses(learner, batch)

    monkeypatch.setattr(TrainStep, "_sum_of_losses", short_of_memory)
    events = list(train(request(tmp_path / "run", corpora)))
    assert isinstance(events[-1], Finished)
    assert max(sizes) > 60

    monkeypatch.setattr(TrainStep, "_sum_of_losses", lambda learner, batch: short_of_memory(learner, _too_big(batch)))
    with pytest.raises(UserError, match="memory ran out on a single sentence pair") as caught:
        list(train(request(tmp_path / "run2", corpora)))
    assert caught.value.code == ExitCode.TRY_LATER


def _too_big(batch):
    mask = None if batch.src_mask is None else batch.src_mask.repeat(1, 100)
    return batch._replace(src=batch.src.repeat(1, 100), src_mask=mask)


def test_reports_count_real_tokens(whole):
    reports = [e for e in whole().events if isinstance(e, Report)]
    assert [r.update for r in reports] == [4, 8, 12, 16, 20, 24]
    assert all(0 <= r.padding < 0.5 and r.tgt_tokens_per_second > 0 for r in reports)
    assert reports[-1].loss < reports[0].loss


def test_a_small_model_learns_to_reverse_strings_exactly(reverser):
    """For this, positions, cross-attention and the end of a search must all be right."""
    taken = {line for name in ("train", "valid") for line in (reverser.parent / f"{name}.ab").read_text().splitlines()}
    unseen = reversal_lines(200, seed=3, unlike=taken)
    translator = Translator.load(reverser, device="cpu")
    assert translator.translate(unseen) == [line[::-1] for line in unseen]


def test_a_line_of_metrics_for_each_report_with_scores_where_it_was_validated(whole):
    lines = [json.loads(line) for line in (whole().folder / "metrics.jsonl").read_text().split("\n")[:-1]]
    assert [line["update"] for line in lines] == [4, 8, 12, 16, 20, 24]
    assert ["bleu" in line for line in lines] == [False, True] * 3
    assert all(line["loss"] > 0 and line["tgt_tokens_per_second"] > 0 for line in lines)


def test_intervals_that_depend_on_the_length_follow_a_new_length(tmp_path, corpora):
    free = {"training": {"max_updates": 10, "valid_every": None, "save_every": None}}
    list(train(request(tmp_path / "run", corpora, free)))
    longer = {"training": {"max_updates": 30, "valid_every": None, "save_every": None}}
    events = list(train(request(tmp_path / "run", corpora, longer)))
    assert [e.update for e in events if isinstance(e, Validation)] == [30]


def test_a_run_keeps_its_tokenizer(tmp_path, corpora, whole):
    """The weights need it, even if the original file has changed."""
    first, model = whole().folder / "tokenizer.model", tmp_path / "my.model"
    model.write_bytes(first.read_bytes())
    given: Layer = {"data": {"tokenizer": str(model)}}
    list(train(request(tmp_path / "run", corpora, given)))
    list(train(request(tmp_path / "other", corpora, {"data": {"tokenizer_type": "bpe"}})))
    model.write_bytes((tmp_path / "other/tokenizer.model").read_bytes())
    list(train(request(tmp_path / "run", corpora, given, {"training": {"max_updates": 30}})))
    assert (tmp_path / "run/tokenizer.model").read_bytes() == first.read_bytes()


def test_a_tokenizer_that_is_replaced_before_anything_is_learned_is_read_again(tmp_path, corpora):
    short: Layer = {"training": {"max_updates": 1}}
    for kind in ("unigram", "bpe"):
        list(train(request(tmp_path / kind, corpora, {"data": {"tokenizer_type": kind}}, short)))
    model, run = tmp_path / "my.model", tmp_path / "run"
    given: Layer = {"data": {"tokenizer": str(model)}, **short}
    model.write_bytes((tmp_path / "unigram/tokenizer.model").read_bytes())
    events = train(request(run, corpora, given))
    while not isinstance(next(events), Started):
        pass
    events.close()  # as a kill before the first checkpoint
    model.write_bytes((tmp_path / "bpe/tokenizer.model").read_bytes())
    list(train(request(run, corpora, given)))
    assert (run / "tokenizer.model").read_bytes() == model.read_bytes()


def test_weights_are_finished_under_their_own_update_and_scores(tmp_path, corpora, monkeypatch):
    """They may be newer than the checkpoint, and training on other cores may not reproduce them."""
    run = tmp_path / "run"

    def interrupt(*_: object, **__: object) -> None:
        raise Interrupted(15, saved=True)

    with monkeypatch.context() as patched:
        patched.setattr(ValidationSet, "choose_alpha", interrupt)
        with pytest.raises(Interrupted):
            list(train(request(run, corpora, {"decoding": {"shortlist": 8}})))
    found = read_manifest(run)
    weights = read_tensors(run, found, found.weights)
    files = ("config.toml", "tokenizer.model")
    commit(run, replace(found, update=77, scores={"bleu": 99.0}), {model_name(77): weights}, files)
    finished = list(train(request(run, corpora)))[-1]
    found = read_manifest(run)
    assert (found.finished, found.update, found.weights) == (True, 77, model_name(77))
    assert found.scores["bleu"] == finished.scores["bleu"] == 99.0
    assert finished.best_update == 77


@pytest.mark.slow
def test_the_vocabulary_grows_for_a_text_of_many_characters(tmp_path):
    """As in Chinese, which has more characters than the 1,000 pieces of ``auto``."""
    draw = random.Random(3)
    lines = ["".join(chr(0x4E00 + i) for i in draw.sample(range(2400), 20)) for _ in range(600)]
    for name in ("zh", "en"):
        (tmp_path / f"train.{name}").write_text("".join(f"{line}\n" for line in lines))
    data = {"langs": "zh-en", "train": [str(tmp_path / "train")]}
    layer = {"data": data, "model": TINY["model"], "training": {"max_updates": 3, "save_every": 1}}

    def run(name: str, *layers: Layer, stop: StopAt | None = None) -> list[object]:
        request = Request(tmp_path / name, [layer, *layers], device="cpu")
        return list(train(request, stop) if stop else train(request))

    messages = [event.text for event in run("first") if isinstance(event, Notice)]
    size = read_manifest(tmp_path / "first").vocab_size
    assert size > 2400
    assert f"vocabulary raised from 1,000 to {size:,} pieces: the text has more characters" in messages
    assert f"vocabulary: {size:,} pieces (a piece for each character, and as many more as the text allows)" in messages
    config = parse_toml((tmp_path / "first/config.toml").read_bytes(), Path("config.toml"))
    assert config["data"]["vocab_size"] == size
    with pytest.raises(Interrupted):
        run("second", stop=StopAt(5))
    run("second")
    assert weights_of(tmp_path / "second") == weights_of(tmp_path / "first")
    with pytest.raises(UserError, match="vocab_size 2,000 is too small for 256 bytes"):
        run("third", {"data": {"vocab_size": 2000}})


@pytest.fixture(scope="module")
def nearly_done(corpora: Layer, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run that was interrupted near its end."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Interrupted):
        list(train(request(folder, corpora), StopAt(30)))
    return Whole(folder, [])


@pytest.mark.parametrize(
    "name", ["train.ids.arrow", "train.text.arrow", "tokenizer.model", "prepared.json", "corpora.json"]
)
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_damaged_prepared_files_are_made_again(tmp_path, corpora, whole, nearly_done, name, how):
    run = nearly_done.copied_to(tmp_path / "run")
    path = run / "prepared" / name
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    list(train(request(run, corpora)))
    assert weights_of(run) == weights_of(whole().folder)


def test_other_corpora_do_not_change_prepared_files(tmp_path, corpora, nearly_done):
    run = nearly_done.copied_to(tmp_path / "run")
    other = {"data": {"train": [write_corpus(tmp_path / "other", 40, 9)]}}
    with pytest.raises(UserError, match="was trained on other corpora"):
        list(train(request(run, corpora, other)))
    assert (run / "prepared" / "train.ids.arrow").exists()


def test_a_refused_extension_leaves_no_prepared_files(tmp_path, corpora, whole, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise UserError("no", mend="no")

    run = whole().copied_to(tmp_path / "run")
    monkeypatch.setattr(session, "prepare", refuse)
    with pytest.raises(UserError):
        list(train(request(run, corpora, {"training": {"max_updates": 30}})))
    assert not (run / "prepared").exists()


def test_a_finished_run_that_is_extended_and_interrupted_still_finishes(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    more = {"training": {"max_updates": 40}}
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, more), StopAt(12)))
    assert 24 < load_checkpoint(run).update < 40
    events = list(train(request(run, corpora, more)))
    assert events[-1].update == 40
    assert not events[-1].already


def test_the_first_validation_is_remembered(tmp_path, corpora):
    """Even if a checkpoint was written before it: a worse model must not replace the best."""
    list(train(request(tmp_path / "run", corpora, {"training": {"max_updates": 8}})))
    state = state_of(tmp_path / "run")
    assert (state.validated_update, state.best.update) == (8, 8)
    assert state.best.scores.items() <= read_manifest(tmp_path / "run").scores.items()


@pytest.mark.parametrize(
    "n_calls", [10, *(pytest.param(n_calls, marks=pytest.mark.slow) for n_calls in (11, 13, 14)), 12, 15]
)
def test_metrics_of_an_interrupted_run_have_no_duplicate_lines(tmp_path, corpora, n_calls):
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(n_calls)))
    list(train(request(run, corpora)))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]]
    assert [line["update"] for line in lines] == [4, 8, 12, 16, 20, 24]
    assert all(line["loss"] > 0 for line in lines)


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_a_finished_run_keeps_one_checkpoint_or_none(tmp_path, corpora, keep):
    run, kept = tmp_path / "run", {"training": {"keep_checkpoints": keep, "max_epochs": 2, "max_updates": None}}
    while_training = set()
    for event in train(request(run, corpora, kept)):
        if isinstance(event, Saved):
            while_training.add(len(list((run / "checkpoints").iterdir())))
    assert while_training == set(range(1, max(1, keep) + 1))
    assert len(list((run / "checkpoints").iterdir())) == min(1, keep)
    # The same command, and one with limits that are already reached.
    for more in ({}, {"training": {"report_every": 7}}):
        events = list(train(request(run, corpora, kept, more)))
        assert [(type(e), e.already, e.update) for e in events] == [(Finished, True, read_manifest(run).final_update)]
    longer = {"training": {"max_epochs": 4}}
    if keep:
        assert not list(train(request(run, corpora, kept, longer)))[-1].already
        return
    for more, says in (
        (longer, "holds no checkpoint"),
        ({"model": {"dropout": 0.1}}, "model.dropout: 0.3 -> 0.1"),
    ):
        with pytest.raises(UserError, match=says) as caught:
            list(train(request(run, corpora, kept, more)))
        assert caught.value.code == ExitCode.REFUSED
    assert Translator.load(run, device="cpu").translate(["rot"])


def test_a_finished_run_deletes_its_checkpoint_on_request(tmp_path, corpora, whole):
    run = whole().copied_to(tmp_path / "run")
    for keep, left in ((2, 1), (0, 0), (2, 0)):
        events = list(train(request(run, corpora, {"training": {"keep_checkpoints": keep}})))
        assert [type(e) for e in events] == [Finished]
        assert len(list((run / "checkpoints").iterdir())) == left


def test_a_crash_between_the_save_and_the_commit_of_the_best_weights(tmp_path, corpora, whole, monkeypatch):
    """At any update, the final run folder is that of an uninterrupted run."""
    commit_best = RunWriter.commit_best
    for nth in range(3):
        run = tmp_path / f"crash{nth}"
        commits = []

        def crash(self, state, weights, commits=commits, nth=nth):
            commits.append(state.update)
            if len(commits) == nth + 1:
                raise KeyboardInterrupt
            return commit_best(self, state, weights)

        with monkeypatch.context() as patched:
            patched.setattr(RunWriter, "commit_best", crash)
            try:
                list(train(request(run, corpora)))
            except KeyboardInterrupt:
                assert load_checkpoint(run).update == commits[-1], "what is committed has been saved before"
        list(train(request(run, corpora)))
        assert weights_of(run) == weights_of(whole().folder)
        assert read_manifest(run).files == read_manifest(whole().folder).files
        metrics = [json.loads(line)["update"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert metrics == [4, 8, 12, 16, 20, 24]


@pytest.mark.parametrize("n_calls", [27, 28, 29])
def test_a_repeated_validation_is_remembered(tmp_path, corpora, whole, n_calls):
    """At the update of the checkpoint: a later, worse model must not replace the best."""
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(n_calls)))
    list(train(request(run, corpora)))
    assert standing(run) == standing(whole().folder)


def test_the_limits_of_the_last_command_are_remembered(tmp_path, corpora):
    """Even if no update was made with them."""
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora), StopAt(12)))
    reached = state_of(run).update
    list(train(request(run, corpora, {"training": {"max_updates": reached}})))
    state = state_of(run)
    assert (state.limits.max_updates, state.validated_update, state.best is not None) == (reached, reached, True)


@pytest.mark.parametrize("damaged", [False, True], ids=["extended", "only checkpoint"])
def test_a_finished_run_with_a_damaged_checkpoint_is_still_finished(tmp_path, corpora, whole, damaged):
    run = whole().copied_to(tmp_path / "run")
    if not damaged:
        with pytest.raises(Interrupted):
            list(train(request(run, corpora, {"training": {"max_updates": 40}}), StopAt(4)))
    newest = max((run / "checkpoints").iterdir())
    (newest / "state.json").write_text("{}")
    events = list(train(request(run, corpora)))
    assert [type(e) for e in events] == [Notice] * len(events[:-1]) + [Finished]
    assert events[0].warning
    assert events[-1].already
    if not damaged:  # the whole one is kept, the damaged one is not
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["update-00000024"]
        assert state_of(run).update == 24


def test_lower_limits_for_a_finished_run(tmp_path, corpora):
    """With its checkpoint and without."""
    run, passes = tmp_path / "run", {"training": {"max_updates": None, "max_epochs": 3}}
    list(train(request(run, corpora, passes)))
    for keep in (1, 0):
        for less in (
            {"max_epochs": 2},
            {"max_epochs": None, "max_updates": 5},
            {"max_epochs": None, "time_budget": 0.1},
        ):
            training = {"max_updates": None, **less, "keep_checkpoints": keep}
            events = list(train(request(run, corpora, passes, {"training": training})))
            assert [(type(e), e.already) for e in events] == [(Finished, True)], (keep, less)


def test_an_edited_configuration_does_not_lose_a_run(tmp_path, corpora):
    run = tmp_path / "run"
    for event in train(request(run, corpora)):
        if isinstance(event, Validation) and event.update == 8:
            with (run / "config.toml").open("a") as file:
                file.write("# mine\n")
    assert read_manifest(run).finished
    assert "mine" not in (run / "config.toml").read_text()
    assert Translator.load(run, device="cpu").translate(["rot"])


def test_an_extended_run_keeps_its_length_penalty_until_another_is_chosen(tmp_path, corpora, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr(ValidationSet, "choose_alpha", lambda *_: LengthPenalty(0.4, 12.5, 20))
    better = {"training": {"best_metric": "loss"}}
    list(train(request(run, corpora, better)))
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, better, {"training": {"max_updates": 60}}), StopAt(30)))
    manifest = read_manifest(run)
    assert (manifest.finished, manifest.update > 24, manifest.length_penalty) == (False, True, 0.4)
    assert manifest.length_penalty_pairs == 20


def test_the_chosen_length_penalty_is_in_the_manifest(tmp_path, corpora, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr(ValidationSet, "choose_alpha", lambda *_: LengthPenalty(0.4, 12.5, 20))
    list(train(request(run, corpora)))
    assert read_manifest(run).length_penalty == 0.4
    config = parse_toml((run / "config.toml").read_bytes(), run / "config.toml")
    assert "length_penalty" not in config["decoding"]
    assert Translator.load(run, device="cpu").config.alpha == 0.4
    given: Layer = {"decoding": {"length_penalty": 0.7}}
    list(train(request(tmp_path / "given", corpora, given)))
    given_manifest = read_manifest(tmp_path / "given")
    assert (given_manifest.length_penalty, given_manifest.length_penalty_pairs) == (None, None)
    assert Translator.load(tmp_path / "given", device="cpu").config.alpha == 0.7


@pytest.mark.parametrize("n", [20, 7])
def test_a_score_of_a_sample_is_not_reported_with_scores_of_all_pairs(tmp_path, corpora, monkeypatch, n):
    monkeypatch.setattr(ValidationSet, "choose_alpha", lambda *_: LengthPenalty(0.4, 12.5, n))
    *_, finished = train(request(tmp_path / "run", corpora))
    manifest = read_manifest(tmp_path / "run")
    assert (manifest.length_penalty, manifest.length_penalty_pairs) == (0.4, n)
    assert manifest.scores.get("bleu_beam") == finished.scores.get("bleu_beam") == (12.5 if n == 20 else None)


def test_no_score_of_another_length_penalty_is_kept(tmp_path, corpora, monkeypatch):
    """In a resumed run without a new best."""
    run, better = tmp_path / "run", {"training": {"best_metric": "bleu"}}
    monkeypatch.setattr(ValidationSet, "choose_alpha", lambda *_: LengthPenalty(0.4, 12.5, 20))
    scripted(monkeypatch, *[(9.0, 9.0, 30.0, 2.0)] * 3, (8.0, 8.0, 30.0, 2.0))
    list(train(request(run, corpora, better)))
    assert read_manifest(run).scores["bleu_beam"] == 12.5
    monkeypatch.setattr(ValidationSet, "choose_alpha", lambda *_: LengthPenalty(1.2, 12.5, 7))
    list(train(request(run, corpora, better, {"training": {"max_updates": 25}})))
    manifest = read_manifest(run)
    assert (manifest.length_penalty, "bleu_beam" in manifest.scores) == (1.2, False)


def test_no_committed_file_changes_during_a_run(tmp_path, corpora, monkeypatch):
    """Not even ``config.toml``, when a resumed run ends at another limit."""
    run, seen = tmp_path / "run", []
    real = run_folder.commit_files

    def write(folder, files, *, old, **rest):
        assert not files.keys() & set(old)
        seen.append(sorted(name for name in files if name.endswith(".toml")))
        return real(folder, files, old=old, **rest)

    monkeypatch.setattr(run_folder, "commit_files", write)
    list(train(request(run, corpora)))
    list(train(request(run, corpora, {"training": {"max_updates": 30}})))
    assert seen[0] == ["config.toml"]
    assert seen[-2:] == [["config-next.toml"], ["config.toml"]]
    assert "max_updates = 30" in (run / "config.toml").read_text()
    assert not (run / "config-next.toml").exists()
    assert set(read_manifest(run).files) == {"config.toml", "tokenizer.model", read_manifest(run).weights}


@pytest.mark.parametrize("longer", [0, 6])
def test_a_crash_while_the_configuration_is_replaced(tmp_path, corpora, whole, monkeypatch, longer):
    """The run is usable with the other file name, and the same command or another one finishes it."""
    run, more = whole().copied_to(tmp_path / "run"), {"training": {"max_updates": 30}}
    real, commits = run_writer.commit, []

    def crash(folder, committed, files, keep):
        if "config.toml" in files:
            raise KeyboardInterrupt
        commits.append(files)
        return real(folder, committed, files, keep)

    with monkeypatch.context() as patched:
        patched.setattr(run_writer, "commit", crash)
        with pytest.raises(KeyboardInterrupt):
            list(train(request(run, corpora, more)))
    assert read_manifest(run).config == "config-next.toml"
    assert Translator.load(run, device="cpu").translate(["rot"])
    assert not read_manifest(run).finished
    assert read_manifest(run).final_update is None
    list(train(request(run, corpora, {"training": {"max_updates": 30 + longer}})))
    assert (read_manifest(run).finished, read_manifest(run).config) == (True, "config.toml")
    assert f"max_updates = {30 + longer}" in (run / "config.toml").read_text()
    assert not (run / "config-next.toml").exists()


def test_a_corpus_cannot_change_its_role(tmp_path, corpora):
    run = tmp_path / "run"
    a, b, c = (write_corpus(tmp_path / name, 60, seed) for seed, name in enumerate("abc"))
    with pytest.raises(Interrupted):
        list(train(request(run, {"data": {"train": [a, b], "valid": [c]}}), StopAt(12)))
    with pytest.raises(UserError, match="was trained on other corpora"):
        list(train(request(run, {"data": {"train": [a], "valid": [b, c]}})))


def test_epochs_are_counted_in_real_updates(tmp_path, corpora):
    few = {"training": {"max_updates": None, "max_epochs": 2, "batch_tokens": 60, "report_every": 1}}
    events = list(train(request(tmp_path / "run", corpora, few)))
    reports = [e for e in events if isinstance(e, Report)]
    in_first = sum(report.epoch == 0 for report in reports)
    assert in_first < len(reports)
    assert abs(len(reports) - 2 * in_first) <= 2


# A time to end --------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(0.05)
    monkeypatch.setattr("seq2seq.training.trainer.time", clock)
    monkeypatch.setattr("seq2seq.training.parallel.ranks.time", clock)
    return clock


TIMED: Layer = {"training": {"time_budget": 40.0, "valid_every": None, "save_every": None}}


@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (10.0, 0)])
def test_a_budget_with_long_validations_is_reported(tmp_path, corpora, clock, monkeypatch, share, n):
    monkeypatch.setattr("seq2seq.training.trainer.SLOW_VALIDATION", share)
    events = list(train(request(tmp_path / "run", corpora, TIMED)))
    messages = [
        event for event in events if isinstance(event, Notice) and event.text.startswith("validating 20 pairs takes")
    ]
    assert [(event.warning, "`data.valid`" in event.text) for event in messages] == [(True, True)] * n


def until_length_set(wanted: Request, times: int) -> list[LengthSet]:
    """Train until the number of updates has been set this many times, then interrupt."""
    lengths: list[LengthSet] = []
    events = train(wanted, lambda: 15 if len(lengths) == times else None)
    with pytest.raises(Interrupted):
        lengths.extend(event for event in events if isinstance(event, LengthSet))
    return lengths


def test_a_run_ends_when_its_time_budget_is_over(tmp_path, corpora, clock):
    run = tmp_path / "run"
    events = list(train(request(run, corpora, TIMED)))
    first, *_, last = [e for e in events if isinstance(e, LengthSet)]
    (started,) = [e for e in events if isinstance(e, Started)]
    assert started.config.training.max_updates is None
    assert first.update < 0.15 * first.max_updates
    assert events[-1].update == last.max_updates == load_checkpoint(run).update
    assert 36 < clock.now < 41
    assert read_manifest(run).seconds - 0.05 <= events[-1].seconds <= clock.now
    assert [e.update for e in events if isinstance(e, Validation)][-1] == last.max_updates
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().split("\n")[:-1]]
    rates = [line["lr"] for line in lines]
    assert max(rates) == 3e-3
    assert rates[-1] < 0.1 * max(rates), "annealed"
    assert list(train(request(run, corpora, TIMED)))[-1].already


@pytest.mark.slow
def test_the_configuration_repeats_the_updates_of_a_time_budget(tmp_path, corpora, clock):
    run, again = tmp_path / "run", tmp_path / "again"
    list(train(request(run, corpora, TIMED)))
    config = parse_toml((run / "config.toml").read_bytes(), run / "config.toml")
    assert "time_budget" not in config["training"]
    assert config["training"]["max_updates"] == load_checkpoint(run).update
    list(train(Request(again, [config], device="cpu")))
    assert load_checkpoint(again).update == load_checkpoint(run).update


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_number_of_updates(tmp_path, corpora, clock, monkeypatch):
    """Time goes by in updates alone: a run that resumes also reads the clock more often."""
    real, clock.moment = TrainStep.update, 0.0

    def update(step: TrainStep, pairs, number: int):
        clock.now += 0.2
        return real(step, pairs, number)

    monkeypatch.setattr(TrainStep, "update", update)
    list(train(request(tmp_path / "whole", corpora, TIMED)))
    run = tmp_path / "parts"
    clock.now = 0.0
    until_length_set(request(run, corpora, TIMED), 2)
    list(train(request(run, corpora, TIMED)))
    assert weights_of(run) == weights_of(tmp_path / "whole")
    validated = [
        [
            line["update"]
            for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
            if "bleu" in line
        ]
        for folder in (run, tmp_path / "whole")
    ]
    assert validated[0] == validated[1]
    assert len(validated[0]) > 1


def test_a_resumed_run_keeps_its_number_of_updates_for_some_time(tmp_path, corpora, clock):
    run = tmp_path / "run"
    (first,) = until_length_set(request(run, corpora, TIMED), 1)
    clock.now += 1e6  # nobody counts the time in between
    events = list(train(request(run, corpora, TIMED)))
    (started,) = [e for e in events if isinstance(e, Started)]
    assert started.config.training.max_updates == first.max_updates
    assert started.update == first.update
    again = [e for e in events if isinstance(e, LengthSet)]
    assert again[0].update - first.update > 3
    assert again[0].max_updates == pytest.approx(first.max_updates, rel=0.2)


def test_a_run_interrupted_before_its_number_of_updates_is_set_still_finishes(tmp_path, corpora, clock):
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        list(train(request(run, corpora, TIMED), StopAt(2)))
    events = list(train(request(run, corpora, TIMED)))
    found = [type(e) for e in events if isinstance(e, LengthSet | Finished)]
    assert found == [LengthSet] * (len(found) - 1) + [Finished]
    assert 1 < len(found) < 30


@pytest.mark.slow
def test_another_time_budget_resumes_the_run(tmp_path, corpora, clock):
    run = tmp_path / "run"
    list(train(request(run, corpora, TIMED)))
    before, ended = load_checkpoint(run).update, clock.now
    list(train(request(run, corpora, TIMED, {"training": {"time_budget": 60.0}})))
    assert load_checkpoint(run).update > 1.2 * before
    assert clock.now - ended < 21
    list(train(request(run, corpora, {"training": {"max_updates": 300, "valid_every": None}})))
    assert load_checkpoint(run).update == 300


@pytest.fixture
def rates_used(monkeypatch) -> dict[int, float]:
    """The learning rate of each update, as the optimizer took it."""
    rates: dict[int, float] = {}
    real = TrainStep.update

    def update(self, portion, number):
        learned = real(self, portion, number)
        rates[number] = self.optimizer.adamw.param_groups[0]["lr"]
        return learned

    monkeypatch.setattr(TrainStep, "update", update)
    return rates


def reported_rates(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["update"]: line["lr"] for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["hold_cooldown", "inverse_sqrt"])
def test_the_rate_of_a_time_budget_never_jumps(tmp_path, corpora, clock, rates_used, schedule):
    """Not even at an interruption; and the reported rate is the one that was used."""
    shape: Layer = {"training": {"schedule": schedule, "warmup_updates": 1000, "report_every": 1}}
    run = tmp_path / "run"
    for times in (1, 3):
        until_length_set(request(run, corpora, TIMED, shape), times)
    list(train(request(run, corpora, TIMED, shape)))
    used = [rates_used[number] for number in sorted(rates_used)]
    assert len(used) == load_checkpoint(run).update > 100
    assert max(b / a for a, b in itertools.pairwise(used)) <= 2.0 + 1e-9
    assert max(used) > 0.99 * 3e-3
    assert reported_rates(run) == pytest.approx(rates_used)


@pytest.mark.parametrize("n_updates", [60, 30])
def test_a_schedule_without_an_end_continues_with_a_new_length(tmp_path, corpora, whole, rates_used, n_updates):
    shape: Layer = {"training": {"schedule": "inverse_sqrt", "warmup_updates": 4, "report_every": 1}}
    run = whole(shape).copied_to(tmp_path / "run")
    last = reported_rates(run)[24]
    rates_used.clear()
    list(train(request(run, corpora, shape, {"training": {"max_updates": n_updates}})))
    expected = {number: last * math.sqrt(24 / number) for number in range(25, n_updates + 1)}
    assert rates_used == pytest.approx(expected)


def test_the_rate_does_not_jump_when_a_command_changes_the_length(tmp_path, corpora, whole, rates_used):
    """For a finished run, and one whose rate falls: it rises again from its current value."""
    run, more = whole().copied_to(tmp_path / "run"), {"training": {"max_updates": 60, "report_every": 1}}
    last = reported_rates(run)[24]
    rates_used.clear()
    list(train(request(run, corpora, more)))
    used = [last, *(rates_used[number] for number in range(25, 61))]
    assert max(b / a for a, b in itertools.pairwise(used)) <= 2.0 + 1e-9
    assert max(used) > 0.9 * 3e-3
    assert used[-1] < 0.1 * 3e-3
    assert {update: lr for update, lr in reported_rates(run).items() if update > 24} == pytest.approx(rates_used)


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_freed_memory_is_kept():
    """Large tensors are allocated from the heap, not from the system each time."""
    program = """
import torch
from seq2seq.system.allocator import keep_freed_memory
def in_heap(tensor):
    (heap,) = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")]
    first, last = (int(end, 16) for end in heap.split("-"))
    return first <= tensor.data_ptr() < last
before = in_heap(torch.ones(7 << 20))
keep_freed_memory()
print(before, in_heap(torch.ones(7 << 20)))
"""
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["False", "True"]
