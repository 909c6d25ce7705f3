"""A run folder that an earlier version wrote: this one translates with it, resumes it, and writes the same keys."""

import json
import shutil
from pathlib import Path

import pytest

from seq2seq.runs import load_checkpoint, read_manifest
from seq2seq.training import Request, train
from seq2seq.training.progress import Finished, Started
from seq2seq.training.state import TrainingState

GOLDEN = Path(__file__).parent / "golden"
RUN = GOLDEN / "run"


@pytest.mark.parametrize(("expected", "beams"), [("greedy.en", ["-b", 1]), ("beam.en", [])])
def test_its_translations_are_identical(cli, tmp_path, expected, beams):
    done = cli("translate", RUN, "-i", GOLDEN / "input.num", "-o", tmp_path / "out", "--device", "cpu", *beams)
    assert done.code == 0
    assert (tmp_path / "out").read_bytes() == (GOLDEN / expected).read_bytes()


def test_the_expected_output_is_right():
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    lines = (GOLDEN / "input.num").read_text().split("\n")
    right = "\n".join(" ".join(words[int(digit)] for digit in line.split()) for line in lines)
    assert (GOLDEN / "beam.en").read_text() == (GOLDEN / "greedy.en").read_text() == right


def test_its_training_continues(tmp_path, monkeypatch):
    monkeypatch.chdir(GOLDEN)  # where its corpora are
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    layers = [{"data": {"langs": "num-en"}, "training": {"max_updates": 1503}}]
    events = list(train(Request(run, layers, device="cpu")))
    assert [e.update for e in events if isinstance(e, Started)] == [1500]
    assert isinstance(events[-1], Finished)
    assert (events[-1].update, events[-1].already) == (1503, False)
    assert events[-1].scores["bleu"] > 95


def test_its_records_have_the_keys_that_this_version_writes():
    """A change that adds a key adds it to this folder too."""
    manifest = json.loads((RUN / "manifest.json").read_text())
    known = set(read_manifest(RUN).__dataclass_fields__)
    assert manifest.keys() - {"checksum"} == known
    checkpoint = load_checkpoint(RUN)
    assert checkpoint is not None
    assert checkpoint.state.keys() == TrainingState.__dataclass_fields__.keys()
    assert (
        TrainingState.from_json(checkpoint.state, RUN).to_json()
        == TrainingState.from_json(json.loads(json.dumps(checkpoint.state)), RUN).to_json()
    )


def test_it_is_small():
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 600_000
