"""``seq2seq runs``: a table of run folders, what differs, mean over seeds, curves. The folders are only read."""

import json
import os
import shutil
import struct
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from reversal import reversal_lines, reversal_recipe, write_reversal

from seq2seq.config import build, merge, to_toml
from seq2seq.errors import UserError
from seq2seq.runs import (
    Limits,
    Manifest,
    RecipeRecord,
    append_metrics,
    commit,
    differences,
    find_runs,
    groups,
    lock,
    read_manifest,
    read_metrics,
    read_tensors,
    summarize,
)
from seq2seq.runs import listing as listing_module
from seq2seq.training import Request, train

GOLDEN = Path(__file__).parent / "golden" / "run"
DOCUMENTED = ("BLEU", "chrF", "loss", "minutes", "parameters", "MB", "updates", "finished", "recipe")


def weights(n: int) -> bytes:
    """A file of safetensors with n numbers."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * n)


def write_run(folder: Path, bleu: float = 40.0, settings: Any = None, **fields: Any) -> Path:
    """A run folder, as training would leave it, with a curve of three validations."""
    corpora = [{"role": "train", "corpus": "c/train", "sha256": "a" * 64}, {"role": "train", "corpus": "all"}]
    of_run: dict[str, Any] = {
        "files": {}, "update": 300, "finished": True, "final_update": 300, "max_updates": 300, "seconds": 5400.0,
        "corpora": corpora, "scores": {"bleu": bleu, "chrf": bleu + 20, "valid_loss": 2.0, "bleu_beam": None},
        "recipe": RecipeRecord(name="auto-30k", hash="1f0c2ab", usual_passes=10.0),
    } | fields  # fmt: skip
    base = {"data": {"langs": "de-en", "train": ["c/train"]}, "training": {"max_updates": 300}}
    config = build(merge([base, settings or {}]), where="the test")
    files = {"config.toml": to_toml(config).encode(), "model-00000300.safetensors": weights(1_234_567)}
    commit(folder, Manifest(**of_run), files)
    for update in (100, 200, 300):
        record = {"update": update, "epoch": 1, "loss": 3.0, "seconds": update * 18.0, "bleu": bleu * update / 300}
        append_metrics(folder, {**record, "chrf": 50.0, "valid_loss": 3.0 - update / 300})
    return folder


def seed(number: int) -> dict[str, Any]:
    return {"training": {"seed": number}}


@pytest.fixture
def house(tmp_path) -> Path:
    """A folder with runs at several depths, and other folders."""
    write_run(tmp_path / "runs/multi/seed-1", 40.0, seed(1))
    write_run(tmp_path / "runs/multi/seed-2", 41.0, seed(2))
    write_run(tmp_path / "runs/multi/seed-10", 45.0, seed(10))
    write_run(tmp_path / "runs/wide", 39.0, {"model": {"d_ff": 2048}, "data": {"max_length": 100}})
    (tmp_path / "runs/notes").mkdir()
    (tmp_path / "runs/notes/manifest.txt").touch()
    return tmp_path / "runs"


# Finding and reading ---------------------------------------------------------------------------------


def test_runs_are_found_in_the_order_of_numbers(house):
    found = find_runs([house])
    assert [str(run.folder.relative_to(house)) for run in found.runs] == [
        "multi/seed-1", "multi/seed-2", "multi/seed-10", "wide",
    ]  # fmt: skip
    assert found.problems == []


def test_a_run_is_listed_once_and_nothing_inside_it(house):
    write_run(house / "wide/checkpoints/update-00000100")
    write_run(house / ".hidden/run")
    found = find_runs([house / "wide", house, house / "multi/../wide"])
    assert [run.folder.name for run in found.runs] == ["wide", "seed-1", "seed-2", "seed-10"]


def test_the_size_of_a_run_is_that_of_its_tensors():
    """Without parsing them."""
    manifest = read_manifest(GOLDEN)
    tensors = read_tensors(GOLDEN, manifest, manifest.weights)
    run = summarize(GOLDEN)
    assert run.n_parameters == sum(tensor.numel() for tensor in tensors.values())
    assert run.n_bytes == (GOLDEN / manifest.weights).stat().st_size


def test_curves(house):
    run = summarize(house / "wide")
    assert run.curve("bleu") == [(100.0, pytest.approx(13.0)), (200.0, pytest.approx(26.0)), (300.0, 39.0)]
    assert (run.update, run.seconds, run.scores["bleu"]) == (300, 5400.0, 39.0)


def test_metrics_that_are_no_metrics_are_skipped(tmp_path):
    run = write_run(tmp_path / "run")
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(b'[1]\n{"update": "4"}\n{"update": true}\n\xff\n{"update": 400, "bleu": "x"}\n')
        file.write(
            b'{"update": 500, "bleu": NaN}\n{"update": 600, "bleu": true}\n{"update": 1' + b"0" * 400 + b'}\n{"upd'
        )
    assert [record["update"] for record in read_metrics(run)] == [100, 200, 300, 400, 500, 600, 10**400]
    assert [x for x, _ in summarize(run).curve("bleu")] == [100.0, 200.0, 300.0]


def digests(folder: Path) -> dict[str, Any]:
    """Content and times of all files and folders."""
    return {
        str(path): (path.stat().st_mtime_ns, sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in [folder, *sorted(folder.rglob("*"))]
    }


def test_runs_are_only_read(cli, house):
    before = digests(house)
    with lock(house / "wide"):
        locked = digests(house / "wide")
        assert cli("runs", house, "-o", house.parent / "curves.svg").code == 0
        assert digests(house / "wide") == locked
    assert {name: value for name, value in digests(house).items() if "multi" in name} == {
        name: value for name, value in before.items() if "multi" in name
    }


def test_a_run_that_is_replaced_meanwhile_is_read_again(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run")
    real, calls = listing_module.read_stored_config, []

    def replace_first(folder: Path, manifest: Manifest) -> Any:
        calls.append(manifest.update)
        if len(calls) == 1:
            commit(folder, Manifest(files={}, update=400, finished=False), {"model-00000400.safetensors": weights(5)})
            (folder / "config.toml").unlink()
            commit(
                folder, Manifest(files={}, update=500, finished=False),
                {"config.toml": b"", "model-00000500.safetensors": weights(6)},
            )  # fmt: skip
        return real(folder, manifest)

    monkeypatch.setattr(listing_module, "read_stored_config", replace_first)
    summary = summarize(run)
    assert calls == [300, 500]
    assert summary.n_parameters == 6


def test_a_damaged_run_is_not_read_again_and_again(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "config.toml").write_text("other")
    with pytest.raises(UserError, match=r"config.toml is damaged: its hash differs") as error:
        summarize(run)
    assert error.value.code == 78


def test_runs_are_listed_while_one_is_trained(tmp_path):
    recipe = reversal_recipe(tmp_path)
    write_reversal(tmp_path / "train", reversal_lines(200, seed=1))
    quick = {"training": {"max_updates": 6, "valid_every": 3, "report_every": 1, "samples": 0}}
    seen = []
    for _ in train(Request(tmp_path / "run", [recipe, quick], "cpu")):
        found = find_runs([tmp_path])
        seen += [(run.update, run.finished, run.manifest is not None) for run in found.runs]
        assert found.problems == ([] if found.runs else [f"{tmp_path} holds no run"])
    assert seen == sorted(seen)
    assert {(3, False, True), (5, False, True), (6, True, True)} <= set(seen)
    assert any(not has_manifest and update in (1, 2) for update, _, has_manifest in seen)


# Comparing -------------------------------------------------------------------------------------------


def test_only_keys_that_differ_once_each(house):
    found = {difference.key: difference.values for difference in differences(find_runs([house]).runs)}
    assert found == {
        "data.max_length": [256, 256, 256, 100],
        "model.d_ff": [1024, 1024, 1024, 2048],
        "training.seed": [1, 2, 10, 1],
    }


def test_runs_that_differ_by_their_seed_alone(house):
    (group,) = groups(find_runs([house]).runs)
    assert (group.runs, group.seeds) == ([0, 1, 2], [1, 2, 10])
    assert group.scores["bleu"] == (42.0, pytest.approx(7**0.5), 3)
    assert "bleu_beam" not in group.scores


@pytest.mark.parametrize(
    ("settings", "fields", "why"),
    [
        ({"training": {"seed": 2, "label_smoothing": 0.2}}, {}, "another setting"),
        (seed(1), {}, "the same seed"),
        (seed(2), {"finished": False, "final_update": None}, "not finished"),
        (seed(2), {"corpora": [{"role": "train", "corpus": "c/train", "sha256": "b" * 64}]}, "other text"),
    ],
)
def test_runs_that_are_no_group(tmp_path, settings, fields, why):
    write_run(tmp_path / "a", 40.0, seed(1))
    write_run(tmp_path / "b", 41.0, settings, **fields)
    assert groups(find_runs([tmp_path]).runs) == [], why


def test_a_corpus_that_was_moved_is_the_same(tmp_path):
    write_run(tmp_path / "a", 40.0, seed(1))
    write_run(tmp_path / "b", 41.0, merge([seed(2), {"data": {"train": ["elsewhere/train"]}}]))
    runs = find_runs([tmp_path]).runs
    assert len(groups(runs)) == 1
    assert [difference.key for difference in differences(runs)] == ["training.seed"]


def test_other_text_of_the_same_name_is_a_difference(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", corpora=[{"role": "train", "corpus": "c/train", "sha256": "b" * 64}])
    (difference,) = differences(find_runs([tmp_path]).runs)
    assert difference.key == "data.train"
    assert difference.values == [["c/train (text aaaaaaa)"], ["c/train (text bbbbbbb)"]]


def test_what_follows_from_a_time_budget_is_no_difference(tmp_path):
    limits = Limits(time_budget=2700.0)
    write_run(tmp_path / "a", 40.0, {"training": {"seed": 1, "max_updates": 301, "valid_every": 20}}, limits=limits)
    write_run(tmp_path / "b", 41.0, {"training": {"seed": 2, "max_updates": 330, "valid_every": 21}}, limits=limits)
    write_run(tmp_path / "c", 41.0, seed(3), limits=Limits(time_budget=60.0))
    runs = find_runs([tmp_path]).runs
    assert [group.seeds for group in groups(runs)] == [[1, 2]]
    assert {difference.key: difference.values for difference in differences(runs)} == {
        "training.time_budget": [2700.0, 2700.0, 60.0],
        "training.seed": [1, 2, 3],
    }


# The command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 200])
def test_the_text_is_readable_in_any_width(cli, house, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.chdir(house.parent)
    outcome = cli("runs", "runs")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= columns
    head = lines[0] if columns == 200 else lines[0] + lines[1]
    assert all(word in head for word in DOCUMENTED)
    first = lines[1:2] if columns == 200 else lines[2:4]
    assert " ".join(" ".join(first).split()) in (
        "A runs/multi/seed-1 40.00 60.00 2.00 90.0 1,234,567 4.9 300 yes auto-30k (1f0c2ab)",
        "A runs/multi/seed-1 auto-30k (1f0c2ab) 40.00 60.00 2.00 90.0 1,234,567 4.9 300 yes",
    )
    assert len({line.find(" yes") for line in lines if " yes" in line}) == 1, "columns are straight"
    assert "  A B C:  BLEU 42.00 ± 2.65  chrF 62.00 ± 2.65  loss 2.00 ± 0.00" in lines
    assert "  model.d_ff:  1024 (A B C)  2048 (D)" in lines
    assert "BLEU of validation (0 to 100)" in lines


def test_curves_of_other_scores(cli, house):
    assert "loss of validation (nats per target token)" in cli("runs", house, "--curve", "loss").out
    assert "chrF of validation" in cli("runs", house, "--curve", "chrf").out


def test_one_run_needs_no_comparison(cli, house):
    outcome = cli("runs", house / "wide")
    assert "differs" not in outcome.out
    assert "Mean" not in outcome.out


def test_json_has_all_of_it(cli, house):
    outcome = cli("runs", house, house / "none", "--json")
    assert outcome.code == 0
    result = json.loads(outcome.out)
    assert list(result) == ["runs", "groups", "differences", "problems"]
    run = result["runs"][0]
    assert run == {
        "run": str(house / "multi/seed-1"), "finished": True, "updates": 300, "max_updates": 300,
        "scores": {"bleu": 40.0, "chrf": 60.0, "valid_loss": 2.0, "bleu_beam": None}, "signatures": {},
        "seconds": 5400.0, "parameters": 1_234_567, "bytes": (house / "wide/model-00000300.safetensors").stat().st_size,
        "recipe": {"name": "auto-30k", "hash": "1f0c2ab"}, "seed": 1, "curves": run["curves"],
    }  # fmt: skip
    assert run["curves"]["bleu"][-1] == [300.0, 40.0]
    assert set(run["curves"]) == {"bleu", "chrf", "valid_loss"}
    (group,) = result["groups"]
    assert group["seeds"] == [1, 2, 10]
    assert group["scores"]["bleu"] == {"mean": 42.0, "sd": pytest.approx(7**0.5), "n": 3}
    assert {"key": "training.seed", "values": [1, 2, 10, 1]} in result["differences"]
    assert len(result["problems"]) == 1
    assert f"{house / 'none'} does not exist" in result["problems"][0]


def damage_manifest(run: Path) -> None:
    (run / "manifest.json").write_text("{}")


def damage_config(run: Path) -> None:
    (run / "config.toml").unlink()


def cut_weights(run: Path) -> None:
    (run / "model-00000300.safetensors").write_bytes(b"\xff" * 20)


def remove_weights(run: Path) -> None:
    (run / "model-00000300.safetensors").unlink()


def later_format(run: Path) -> None:
    shutil.rmtree(run)
    write_run(run, format=2)


@pytest.mark.parametrize("damage", [damage_manifest, damage_config, cut_weights, remove_weights, later_format])
def test_a_damaged_run_does_not_hide_the_others(cli, house, damage: Callable[[Path], None]):
    damage(house / "multi/seed-2")
    outcome = cli("runs", house)
    assert outcome.code == 0
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith(f"warning: {house / 'multi/seed-2'}")
    assert "seed-1" in outcome.out
    assert "seed-2" not in outcome.out
    assert cli("runs", house / "multi/seed-2").code == 66


@pytest.mark.parametrize("name", ["notes", "none", "file"])
def test_nothing_is_found(cli, house, name):
    (house / "file").touch()
    outcome = cli("runs", house / name)
    assert (outcome.code, outcome.out) == (66, "")
    first, second = outcome.err.splitlines()
    assert str(house / name) in first
    assert second == "error: no run was found; name folders written by train"


def test_a_run_before_its_first_validation(cli, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints/update-00000020").mkdir(parents=True)
    (run / ".lock").touch()
    append_metrics(run, {"update": 10, "epoch": 0, "loss": 5.0, "seconds": 60.0})
    outcome = cli("runs", run)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].split() == ["-", "-", "-", "1.0", "-", "-", "20", "of", "?", "no"]


def test_the_picture(cli, house):
    target = house.parent / "curves.svg"
    outcome = cli("runs", house, "-o", target)
    assert outcome.code == 0
    assert outcome.err.startswith(f"wrote {target}: ")
    assert str(house / "multi/seed-10") in "".join(ET.parse(target).getroot().itertext())


def test_a_hostile_name(cli, tmp_path):
    write_run(tmp_path / "<script>\x1b[31m")
    outcome = cli("runs", tmp_path, "-o", tmp_path / "curves.svg")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert "<script" not in (tmp_path / "curves.svg").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--curve", "ter"], 2, "--curve ter is unknown; choose among bleu, chrf, loss"),
        (["-o", "curves.png"], 2, "-o curves.png: the name of a picture ends in .svg"),
        (["-o", "none/curves.svg"], 74, "none"),
    ],
)
def test_options_are_checked(cli, house, words, code, message):
    outcome = cli("runs", house, *words)
    assert outcome.code == code
    assert message in outcome.err


def test_a_file_of_a_run_is_not_overwritten(cli, house):
    os.link(house / "wide/config.toml", house / "link.svg")
    outcome = cli("runs", house, "-o", house / "link.svg")
    assert outcome.code == 2
    assert "is a file that is being read" in outcome.err


def test_a_folder_is_required(cli):
    outcome = cli("runs")
    assert outcome.code == 2
    assert "DIR" in outcome.err or "run folder" in outcome.err


def test_reading_does_not_wait_for_a_lock(house):
    done = threading.Event()

    def read() -> None:
        find_runs([house])
        done.set()

    with lock(house / "wide"):
        threading.Thread(target=read, daemon=True).start()
        assert done.wait(60)
