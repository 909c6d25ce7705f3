"""Several seeds: a run for each, resumed, refused, compared."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from reversal import reversal_lines, reversal_recipe, write_reversal

from seq2seq.cli.display import show
from seq2seq.cli.signals import StopFlag
from seq2seq.config import build, merge, to_toml
from seq2seq.errors import Interrupted, UserError
from seq2seq.runs import read_manifest
from seq2seq.runs.spread import spread, spreads
from seq2seq.training import Request, train, train_seeds
from seq2seq.training.progress import Finished, Notice, Report, SeedsFinished, SeedStarted, Started

QUICK = {
    "model": {"d_model": 16, "d_ff": 16},
    "training": {"max_updates": 6, "warmup_updates": 2, "report_every": 1, "valid_every": 3, "samples": 0},
}


@pytest.fixture(scope="module")
def layers(tmp_path_factory) -> list:
    """A training run of a second."""
    folder = tmp_path_factory.mktemp("corpora")
    recipe = reversal_recipe(folder)
    write_reversal(folder / "train", reversal_lines(200, seed=1))
    return [recipe, QUICK]


@pytest.fixture(scope="module")
def three(layers, tmp_path_factory) -> tuple[Path, list]:
    """A folder of three finished runs, and the events of their training. Read it only."""
    folder = tmp_path_factory.mktemp("several") / "runs"
    return folder, list(train_seeds(Request(folder, layers, "cpu"), [3, 1, 2]))


@pytest.fixture
def recipe(layers, tmp_path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(build(merge(layers), where="the test")), encoding="utf-8")
    return path


def weights_of(run: Path) -> str:
    """The hash of its weights."""
    manifest = read_manifest(run)
    return manifest.files[manifest.weights]


def test_mean_and_standard_deviation():
    assert spread([2.0, 4.0, 9.0]) == (5.0, pytest.approx(13**0.5), 3)
    assert spread([2.0]) == (2.0, None, 1)
    with pytest.raises(ValueError, match="no value"):
        spread([])


def test_a_score_that_a_run_lacks_has_no_mean():
    found = spreads([{"bleu": 1.0, "valid_loss": None, "bleu_beam": 2.0}, {"bleu": 2.0, "valid_loss": 3.0}])
    assert found == {"bleu": (1.5, pytest.approx(0.5**0.5), 2)}


def test_each_seed_is_an_ordinary_run(three, layers, tmp_path):
    folder, _ = three
    assert sorted(path.name for path in folder.iterdir()) == ["seed-1", "seed-2", "seed-3"]
    alone = [*layers, {"training": {"seed": 2}}]
    for _ in train(Request(tmp_path / "alone", alone, "cpu")):
        pass
    assert weights_of(tmp_path / "alone") == weights_of(folder / "seed-2")
    assert len({weights_of(folder / f"seed-{seed}") for seed in (1, 2, 3)}) == 3


def test_all_seeds_have_the_same_tokenizer_and_validation_pairs(layers, tmp_path):
    """The pairs are held out of the training pairs; subword sampling makes no difference."""
    own = {"data": {"valid": [], "subword_sampling": 0.5}, "training": {"max_updates": 3}}
    for _ in train_seeds(Request(tmp_path / "runs", [*layers, own], "cpu"), [1, 2]):
        pass
    first, second = (read_manifest(tmp_path / f"runs/seed-{seed}") for seed in (1, 2))
    assert first.files["tokenizer.model"] == second.files["tokenizer.model"]
    without_stamps = [[{**corpus, "stamp": None} for corpus in run.corpora] for run in (first, second)]
    assert without_stamps[0] == without_stamps[1]
    assert first.recipe == second.recipe


def test_events(three):
    folder, events = three
    started = [event for event in events if isinstance(event, SeedStarted)]
    assert started == [SeedStarted(seed, folder / f"seed-{seed}", i, 3) for i, seed in enumerate((3, 1, 2), 1)]
    assert [event.config.training.seed for event in events if isinstance(event, Started)] == [3, 1, 2]
    last = events[-1]
    assert isinstance(last, SeedsFinished)
    assert last.seeds == (3, 1, 2)
    losses = [read_manifest(folder / f"seed-{seed}").scores["valid_loss"] for seed in (1, 2, 3)]
    mean = sum(losses) / 3
    assert last.scores["valid_loss"].mean == pytest.approx(mean)
    assert last.scores["valid_loss"].sd == pytest.approx((sum((loss - mean) ** 2 for loss in losses) / 2) ** 0.5)
    assert {"bleu", "chrf"} <= last.scores.keys()


@pytest.mark.parametrize("update", [2, 4])
def test_an_interrupted_seed_resumes_exactly(three, layers, tmp_path, update):
    """The finished one is not trained again, and the next one starts after it."""
    folder, _ = three
    request = Request(tmp_path / "runs", layers, "cpu")
    seen: list = []

    def stop() -> int | None:
        place = [event for event in seen if isinstance(event, SeedStarted | Report)]
        return 15 if isinstance(place[-1], Report) and place[-1].update == update and n_started(seen) == 2 else None

    with pytest.raises(Interrupted) as interrupted:
        collect(train_seeds(request, [1, 2, 3], stop), seen)
    assert (interrupted.value.saved, interrupted.value.update) == (True, update)
    assert not (tmp_path / "runs/seed-3").exists()
    events = list(train_seeds(request, [1, 2, 3]))
    finished = [event for event in events if isinstance(event, Finished)]
    assert [event.already for event in finished] == [True, False, False]
    assert [event.update for event in events if isinstance(event, Started)] == [update, 0]
    for seed in (1, 2, 3):
        assert weights_of(tmp_path / f"runs/seed-{seed}") == weights_of(folder / f"seed-{seed}")
    assert isinstance(events[-1], SeedsFinished)


def collect(events, seen: list) -> None:
    """Append each event as soon as it comes."""
    for event in events:
        seen += [event]


def n_started(events: list) -> int:
    return sum(isinstance(event, SeedStarted) for event in events)


def is_between(events: list) -> bool:
    return bool(events) and isinstance(events[-1], Finished)


def test_a_signal_between_two_seeds(layers, tmp_path):
    seen: list = []
    request = Request(tmp_path / "runs", layers, "cpu")
    with pytest.raises(Interrupted) as interrupted:
        collect(train_seeds(request, [1, 2], lambda: 2 if is_between(seen) else None), seen)
    assert (interrupted.value.saved, interrupted.value.update) == (True, 6)
    assert not (tmp_path / "runs/seed-2").exists()


def test_more_seeds_later_and_a_changed_command(three, layers, tmp_path):
    """Existing runs come first: nothing new is trained by a changed command."""
    folder, _ = three
    request = Request(tmp_path / "runs", layers, "cpu")
    for _ in train_seeds(request, [1]):
        pass
    changed = replace(request, layers=[*layers, {"model": {"d_ff": 32}}])
    with pytest.raises(
        UserError, match=r"seed-1 was trained with another configuration: model.d_ff: 16 -> 32"
    ) as error:
        for _ in train_seeds(changed, [2, 1]):
            pass
    assert error.value.code == 78
    assert not (tmp_path / "runs/seed-2").exists()
    events = list(train_seeds(request, [2, 1]))
    assert [event.seed for event in events if isinstance(event, SeedStarted)] == [1, 2]
    assert weights_of(tmp_path / "runs/seed-2") == weights_of(folder / "seed-2")


def test_a_corpus_that_changes_between_two_seeds_is_reported(layers, tmp_path):
    train_words = [write_reversal(tmp_path / "train", reversal_lines(200, seed=1))]
    request = Request(tmp_path / "runs", [*layers, {"data": {"train": train_words}}], "cpu")
    warnings = []
    for event in train_seeds(request, [1, 2]):
        if isinstance(event, SeedStarted) and event.seed == 2:
            write_reversal(tmp_path / "train", reversal_lines(200, seed=3))
        if isinstance(event, Notice) and event.warning:
            warnings.append(event.text)
    assert any("corpora changed between two seeds" in text for text in warnings)


def test_no_warning_if_nothing_changed(three):
    assert not [event for event in three[1] if isinstance(event, Notice) and "changed between" in event.text]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_of_a_caller(layers, tmp_path, seeds):
    with pytest.raises(ValueError, match="different"):
        next(train_seeds(Request(tmp_path / "runs", layers, "cpu"), seeds))


def test_overwrite_moves_all_seeds_aside_first(layers, tmp_path):
    request = Request(tmp_path / "runs", layers, "cpu")
    for _ in train_seeds(request, [1, 2]):
        pass
    (tmp_path / "runs/seed-2/mine").touch()
    shorter = replace(request, layers=[*layers, {"training": {"max_updates": 3}}], overwrite=True)
    events = train_seeds(shorter, [1, 2])
    for event in events:
        if isinstance(event, SeedStarted):
            break
    events.close()
    assert (tmp_path / "runs/seed-1.old-1").exists()
    assert (tmp_path / "runs/seed-2.old-1/mine").exists()
    assert not (tmp_path / "runs/seed-2").exists()


def test_old_runs_come_back_if_no_new_one_starts(layers, tmp_path):
    request = Request(tmp_path / "runs", layers, "cpu")
    for _ in train_seeds(request, [1, 2]):
        pass
    bad = {"data": {"train": [write_reversal(tmp_path / "blank", [" ", " "])]}}
    with pytest.raises(UserError, match="blank side"):
        for _ in train_seeds(replace(request, layers=[*layers, bad], overwrite=True), [1, 2]):
            pass
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["seed-1", "seed-2"]


# The command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1,1"], "--seeds 1,1 names 1 twice; give each seed once"),
        (["--seeds", "1,2,01"], "names 1 twice"),
        (["--seeds", "1,,2"], "--seeds 1,,2 is not a list of whole numbers; write 1,2,3"),
        (["--seeds", ""], "is not a list of whole numbers"),
        (["--seeds", "1-3"], "is not a list of whole numbers"),
        (["--seeds", "-1"], "is not a list of whole numbers"),
        (["--seeds", "٣"], "is not a list of whole numbers"),
        (["--seeds", "1,9223372036854775808"], "9223372036854775808 is too large; give numbers below 2^63"),
        (["--seeds", "1" * 5000], "is too large"),
        (["--seeds", "1,2", "--seed", "3"], "--seeds and --seed contradict each other; give one of them"),
        (["--seeds", "1,2", "--set", "training.seed=3"], "--seeds and --set training.seed contradict each other"),
        (["--seeds", "1", "--seeds", "2"], "--seeds is given 2 times"),
    ],
)
def test_seeds_are_checked(cli, tmp_path, words, message):
    outcome = cli("train", "-l", "ab-ba", "--train", tmp_path / "c", "-o", tmp_path / "runs", *words)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_itself_a_run(cli, recipe, three):
    run = three[0] / "seed-1"
    outcome = cli("train", "--config", recipe, "-o", run, "--seeds", "1,2")
    assert outcome.code == 78
    assert outcome.err == (
        f"error: {run} is itself a run, so it cannot hold a run for each seed; name another folder with -o\n"
    )


def test_a_folder_with_other_files(cli, recipe, tmp_path):
    outcome = cli("train", "--config", recipe, "-o", tmp_path, "--seeds", "1,2")
    assert outcome.code == 78
    assert "is a folder with other files in it (recipe.toml, …)" in outcome.err


def test_one_run_in_a_folder_of_seeds(cli, recipe, three):
    folder, _ = three
    outcome = cli("train", "--config", recipe, "-o", folder)
    assert outcome.code == 78
    assert outcome.err == (
        f"error: {folder} holds a run for each of several seeds (seed-1, …); resume them with --seeds, or name another "
        "folder with -o\n"
    )


def test_what_is_printed(cli, recipe, tmp_path):
    outcome = cli("train", "--config", recipe, "-o", tmp_path / "runs", "--seeds", "5,7", "--device", "cpu")
    assert (outcome.code, outcome.out) == (0, "")
    lines = outcome.err.splitlines()
    assert lines.count(f"seed 5, 1 of 2: {tmp_path / 'runs/seed-5'}") == 1
    number = r"\d+\.\d\d"
    score = f"{number} ± {number}"
    assert re.fullmatch(rf"2 seeds: BLEU {score}  chrF {score}  loss {score}  BLEU of beam search {score}", lines[-1])
    again = cli("train", "--config", recipe, "-o", tmp_path / "runs", "--seeds", "5,7", "--device", "cpu")
    assert again.code == 0
    assert again.err.count("finished already, after 6 updates") == 2
    assert again.err.splitlines()[-1] == lines[-1]


def test_a_signal_while_the_second_seed_is_prepared_ends_it_at_once(three):
    """Only training waits for a checkpoint."""
    stop, patience = StopFlag(), []

    def noted():
        for event in three[1]:
            yield event
            if isinstance(event, SeedStarted | Started):
                patience.append(stop.patient)

    show(noted(), stop)
    assert patience == [False, True] * 3


def test_a_start_that_fails_leaves_no_folder(cli, tmp_path):
    outcome = cli("train", "-l", "ab-ba", "--train", tmp_path / "none", "-o", tmp_path / "runs", "--seeds", "1,2")
    assert outcome.code == 66
    assert not (tmp_path / "runs").exists()


def test_the_seed_of_a_file_gives_way(cli, recipe, three):
    """Every config.toml of a run names a seed."""
    folder, _ = three
    assert "seed = 3" in (folder / "seed-3/config.toml").read_text()
    assert json.loads((folder / "seed-3/manifest.json").read_text())["finished"]
    outcome = cli("train", "--config", folder / "seed-3/config.toml", "-o", folder, "--seeds", "1,2", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("finished already") == 2
