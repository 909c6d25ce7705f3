"""``train --log tensorboard``: a copy of ``metrics.jsonl`` that does not change the training."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from reversal import reversal_lines, reversal_recipe, write_reversal

from seq2seq.errors import Interrupted, UserError
from seq2seq.runs import append_metrics, read_manifest, read_metrics, run_files
from seq2seq.training import Request, train, train_seeds
from seq2seq.training.progress import Notice, Report
from seq2seq.training.tensorboard import EventFile

QUICK = {
    "model": {"d_model": 16, "d_ff": 16},
    "training": {"max_updates": 8, "warmup_updates": 2, "report_every": 1, "valid_every": 4, "samples": 0},
}
TAGS = {"loss": "train/loss", "lr": "train/lr", "tgt_tokens_per_second": "train/tgt_tokens_per_second"}
TAGS |= {"epoch": "train/epoch", "valid_loss": "valid/loss", "bleu": "valid/bleu", "chrf": "valid/chrf"}
TAGS |= {"cut_off": "valid/cut_off"}
"""By the names of metrics.jsonl; seconds are the times of events."""


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("corpora")
    recipe = reversal_recipe(folder)
    write_reversal(folder / "train", reversal_lines(200, seed=1))
    return [recipe, QUICK]


@pytest.fixture
def installed() -> None:
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed: pip install tensorboard")


@pytest.fixture
def missing(monkeypatch) -> None:
    """The package is not installed, whether it is or not."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)


def scalars(run: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Step, value and time of each event by tag, as TensorBoard's own files hold them; in their order."""
    from tensorboard.compat.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float, float]]] = {}
    (path,) = (path for path in (run / "tensorboard").iterdir() if path.stat().st_size)
    data = path.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value, event.wall_time))
    return found


def expected(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in read_metrics(run):
        for name, tag in TAGS.items():
            if record.get(name) is not None:
                found.setdefault(tag, []).append((record["update"], record[name]))
    return found


def assert_copied(run: Path) -> None:
    found = scalars(run)
    assert {tag: [(step, pytest.approx(value)) for step, value, _ in events] for tag, events in found.items()} == (
        expected(run)
    )
    assert len(found["train/loss"]) > 1
    times = [time for _, _, time in found["train/loss"]]
    seconds = [record["seconds"] for record in read_metrics(run) if "loss" in record]
    assert times[-1] - times[0] == pytest.approx(seconds[-1] - seconds[0], abs=1e-3)


def all_of(run: Path, layers: list, **request: Any) -> list:
    return list(train(Request(run, layers, "cpu", **request)))


def test_it_is_a_copy_and_changes_nothing(layers, tmp_path, installed):
    all_of(tmp_path / "with", layers, log="tensorboard")
    all_of(tmp_path / "without", layers)
    with_log, without = (read_manifest(tmp_path / name) for name in ("with", "without"))
    assert with_log.files == without.files, "hashes of weights, tokenizer and configuration"
    assert with_log.recipe == without.recipe
    assert not (tmp_path / "without/tensorboard").exists()
    assert_copied(tmp_path / "with")
    assert "valid/bleu" in scalars(tmp_path / "with")


@pytest.mark.parametrize("log_first", ["tensorboard", None])
@pytest.mark.parametrize("update", [3, 4])
def test_a_resumed_run_has_each_update_once(layers, tmp_path, installed, update, log_first):
    """Also after a kill, when the lines after the last checkpoint are written again."""
    seen: list = []
    with pytest.raises(Interrupted):
        seen += train(
            Request(tmp_path / "run", layers, "cpu", log=log_first), stop_at := StopAt(tmp_path / "run", update)
        )
    assert stop_at.asked
    if log_first:
        assert max(step for step, _, _ in scalars(tmp_path / "run")["train/loss"]) == update
    append_metrics(tmp_path / "run", {"update": update + 1, "epoch": 0, "loss": 99.0, "lr": 1.0, "seconds": 9.0})
    (tmp_path / "run/tensorboard").mkdir(exist_ok=True)
    (tmp_path / "run/tensorboard/events.out.tfevents.1.seq2seq").touch()
    all_of(tmp_path / "run", layers, log="tensorboard")
    assert [step for step, _, _ in scalars(tmp_path / "run")["train/loss"]] == list(range(1, 9))
    assert_copied(tmp_path / "run")


class StopAt:
    """Requests an end after a report."""

    def __init__(self, run: Path, update: int) -> None:
        self.run, self.update, self.asked = run, update, False

    def __call__(self) -> int | None:
        records = read_metrics(self.run) if self.run.exists() else []
        self.asked |= bool(records) and records[-1]["update"] == self.update
        return 15 if self.asked else None


def test_a_finished_run_is_logged_later(layers, tmp_path, installed):
    all_of(tmp_path / "run", layers)
    all_of(tmp_path / "run", layers, log="tensorboard")
    assert_copied(tmp_path / "run")


def test_seeds_are_logged(layers, tmp_path, installed):
    for _ in train_seeds(Request(tmp_path / "runs", layers, "cpu", log="tensorboard"), [1, 2]):
        pass
    assert_copied(tmp_path / "runs/seed-1")
    assert_copied(tmp_path / "runs/seed-2")


def test_the_events_are_there_while_it_trains(layers, tmp_path, installed):
    for event in train(Request(tmp_path / "run", layers, "cpu", log="tensorboard")):
        if isinstance(event, Report) and event.update == 3:
            assert [step for step, _, _ in scalars(tmp_path / "run")["train/loss"]] == [1, 2, 3]


def test_tensorboard_itself_reads_it(layers, tmp_path, installed):
    """Also one that is running while the run resumes."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    all_of(tmp_path / "run", layers, log="tensorboard")
    reader = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"))
    reader.Reload()
    assert [event.step for event in reader.Scalars("valid/chrf")] == [4, 8]
    more = {"training": {"max_updates": 12}}
    all_of(tmp_path / "run", [*layers, more], log="tensorboard")
    reader.Reload()
    assert [event.step for event in reader.Scalars("valid/chrf")] == [4, 8, 12]
    assert [event.step for event in reader.Scalars("train/loss")] == list(range(1, 13))
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 2
    for _ in range(2):
        all_of(tmp_path / "run", [*layers, more], log="tensorboard")
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 2


def test_files_of_others_stay(layers, tmp_path, installed):
    (tmp_path / "run/tensorboard").mkdir(parents=True)
    (tmp_path / "run/tensorboard/events.out.tfevents.1.host").write_text("mine")
    (tmp_path / "run/prepared").mkdir()
    all_of(tmp_path / "run", layers, log="tensorboard")
    assert (tmp_path / "run/tensorboard/events.out.tfevents.1.host").read_text() == "mine"
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 2


def test_it_belongs_to_the_run_but_not_to_the_manifest(layers, tmp_path, installed):
    all_of(tmp_path / "run", layers, log="tensorboard")
    assert not [name for name in read_manifest(tmp_path / "run").files if "tensorboard" in name or "events" in name]
    (file,) = (tmp_path / "run/tensorboard").iterdir()
    assert file in set(run_files(tmp_path / "run")), "no output may overwrite it"


def test_training_continues_if_it_cannot_be_written(layers, tmp_path, installed):
    (tmp_path / "run/prepared").mkdir(parents=True)
    (tmp_path / "run/tensorboard").touch()
    events = all_of(tmp_path / "run", layers, log="tensorboard")
    warnings = [event.text for event in events if isinstance(event, Notice) and event.warning]
    assert warnings.count(f"{tmp_path / 'run/tensorboard'} is not written any more: File exists") == 1
    assert read_manifest(tmp_path / "run").finished


def test_a_full_disk_ends_only_the_log(layers, tmp_path, installed, monkeypatch):
    def full(self: EventFile) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(EventFile, "update", full)
    events = all_of(tmp_path / "run", layers, log="tensorboard")
    assert sum(isinstance(event, Notice) and "No space left" in event.text for event in events) == 1
    assert read_manifest(tmp_path / "run").finished


# Refusals -------------------------------------------------------------------------------------------


def test_a_missing_package_is_refused_before_anything_is_written(cli, layers, tmp_path, missing):
    words = ["-l", "ab-ba", "--train", layers[0]["data"]["train"][0], "-o", tmp_path / "run"]
    outcome = cli("train", *words, "--log", "tensorboard")
    assert (outcome.code, outcome.out) == (78, "")
    assert outcome.err == (
        "error: --log tensorboard needs the package tensorboard, which is not installed; "
        "pip install 'tensorboard>=2.20', or leave --log out\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["wandb", "", "TensorBoard"])
def test_nothing_else_is_accepted(cli, tmp_path, name):
    outcome = cli("train", "-l", "ab-ba", "--train", "none", "-o", tmp_path / "run", "--log", name)
    assert outcome.code == 2
    assert outcome.err.endswith("; give --log tensorboard, or leave it out\n")


def test_a_missing_package_in_python(layers, tmp_path, missing):
    with pytest.raises(UserError, match="needs the package tensorboard") as error:
        next(train_seeds(Request(tmp_path / "runs", layers, "cpu", log="tensorboard"), [1]))
    assert error.value.code == 78


def test_training_without_a_log_does_not_need_the_package(layers, tmp_path, missing):
    all_of(tmp_path / "run", layers)
    assert read_manifest(tmp_path / "run").finished
