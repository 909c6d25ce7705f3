"""Several ranks train one model, as torchrun starts them: the same batches, one writer, one end for all."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from reversal import reversal_lines, write_reversal
from support.processes import children, until
from support.ranks import ended, started_ranks

from seq2seq import cli
from seq2seq.config import Layer, build, merge, to_toml
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.runs import load_checkpoint, read_manifest, read_metrics
from seq2seq.tokenizer import train_tokenizer
from seq2seq.training import Request, following, train
from seq2seq.training.parallel import Ranks, join_ranks
from seq2seq.training.step import TrainStep

KEY_BIASES = ("in_proj.bias", "kv_proj.bias")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ranks are forked here")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Layer:
    """A training run of a second."""
    folder = tmp_path_factory.mktemp("corpus")
    train = write_reversal(folder / "train", reversal_lines(60, seed=1))
    tokenizer = folder / "tokenizer.model"
    train_tokenizer(folder / "train.ab", tokenizer, vocab_size=300, tokenizer_type="unigram", normalization="nfc")
    return {
        "preset": "tiny",
        "data": {
            "langs": "ab-ba",
            "train": [train],
            "valid": [write_reversal(folder / "valid", reversal_lines(5, seed=2))],
            "tokenizer": str(tokenizer),
        },
        "model": {
            **{"d_model": 16, "d_ff": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
            "dropout": 0.0,
        },
        "training": {
            **{"batch_tokens": 100, "max_updates": 6, "save_every": 3, "valid_every": 3, "report_every": 1},
            **{"precision": "fp32", "warmup_updates": 2},
        },
    }


def command(recipe: Layer, folder: Path, **changes: Any) -> list[str]:
    """The words of a command that trains a recipe with changes, by table."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"recipe-{len(list(folder.iterdir()))}.toml"
    path.write_text(to_toml(build(merge([recipe, changes]), where="the test")))
    return ["train", "--config", str(path), "-o", str(folder / "run"), "--device", "cpu"]


def run(words: list[str]) -> int:
    """Run the command in this process."""
    sys.argv = ["seq2seq", *words]
    return int(cli._run())


def trained(n: int, words: Callable[[int], list[str]], log: Path) -> list[int]:
    """Train with n ranks, whose command lines may differ; their exit codes."""
    with started_ranks(n, lambda rank: run(words(rank)), log) as pids:
        return [ended(pid) for pid in pids]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(run)]


def weights(run: Path) -> torch.Tensor:
    """Those of the newest checkpoint, without biases of keys, whose gradient is zero: Adam moves them by rounding."""
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    tensors = {name: t for name, t in checkpoint.tensors.items() if name.startswith("model.")}
    return torch.cat([t.flatten() for name, t in sorted(tensors.items()) if not name.endswith(KEY_BIASES)])


# The same training --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "model"),
    [
        (2, {}),
        pytest.param(3, {}, marks=pytest.mark.slow),
        pytest.param(2, {"architecture": "rnn", "d_model": 16, "dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param(2, {"architecture": "cnn", "d_model": 16, "dropout": 0.0}, marks=pytest.mark.slow),
    ],
    ids=["2", "3", "rnn", "cnn"],
)
def test_ranks_train_as_one_process_does(recipe, tmp_path, monkeypatch, n, model):
    monkeypatch.setattr("seq2seq.training.validation.LOSS_BATCH_TOKENS", 16)  # several batches of the few pairs
    recipe = {**recipe, "model": model or recipe["model"]}
    assert run(command(recipe, tmp_path / "alone")) == 0
    words = command(recipe, tmp_path / "together")
    assert trained(n, lambda _: words, tmp_path / "log") == [0] * n
    alone, together = tmp_path / "alone/run", tmp_path / "together/run"
    assert losses(together) == pytest.approx(losses(alone), rel=1e-5)
    torch.testing.assert_close(weights(together), weights(alone), atol=1e-4, rtol=0)
    one, several = read_manifest(alone), read_manifest(together)
    assert several.scores == pytest.approx(one.scores, rel=1e-4)
    assert several.finished
    assert [record["update"] for record in read_metrics(together)] == list(range(1, 7))
    log = (tmp_path / "log").read_text()
    assert log.count("finished after") == log.count("validation at update 3") == 1  # rank 0 alone reports


def test_an_update_may_have_fewer_pairs_than_ranks(recipe, tmp_path):
    few = write_reversal(tmp_path / "few", reversal_lines(9, seed=3))
    changes = {"data": {"train": [few]}, "training": {"batch_tokens": 8, "max_epochs": 1, "max_updates": None}}
    words = command(recipe, tmp_path / "together", **changes)
    assert trained(2, lambda _: words, tmp_path / "log") == [0, 0]
    assert run(command(recipe, tmp_path / "alone", **changes)) == 0
    assert losses(tmp_path / "together/run") == pytest.approx(losses(tmp_path / "alone/run"), rel=1e-5)


@pytest.mark.slow
def test_other_ranks_resume_with_the_same_batches(recipe, tmp_path):
    for folder in ("alone", "parts"):
        calls = count(1)
        signals = lambda folder=folder, calls=calls: 15 if folder == "parts" and next(calls) > 5 else None  # noqa: E731
        with suppress(Interrupted):
            list(train(Request(tmp_path / folder / "run", [recipe], device="cpu"), signals))
    before = read_metrics(tmp_path / "parts/run")[-1]["update"]
    assert before < 6
    words = command(recipe, tmp_path / "parts")
    assert trained(3, lambda _: words, tmp_path / "log") == [0] * 3
    assert f"resuming after update {before}" in (tmp_path / "log").read_text()
    assert losses(tmp_path / "parts/run") == pytest.approx(losses(tmp_path / "alone/run"), rel=1e-5)


# The end of one is the end of all ----------------------------------------------------------------------------------


def test_a_signal_at_one_rank_stops_all_and_resuming_is_exact(recipe, tmp_path):
    """With dropout and sampled subwords; in the third update, which no checkpoint was due after."""
    changes = {"model": {"dropout": 0.3}, "data": {"subword_sampling": 0.1}, "training": {"save_every": 100}}
    layer = merge([recipe, changes])

    def work(folder: Path, n_calls: int) -> Callable[[int], int]:
        def of_rank(rank: int) -> int:
            calls = count(1)
            signals = (lambda: signal.SIGTERM if next(calls) > n_calls else None) if rank else lambda: None
            try:
                list(train(Request(folder, [layer], device="cpu"), signals))
            except Interrupted as error:
                return 128 + error.signal_number
            except SystemExit as error:
                return int(error.code or 0)
            return 0

        return of_rank

    for folder, n_calls, code in (("parts", 14, 143), ("parts", 10**9, 0), ("whole", 10**9, 0)):
        with started_ranks(2, work(tmp_path / folder, n_calls), tmp_path / "log") as pids:
            assert [ended(pid) for pid in pids] == [code, code], (tmp_path / "log").read_text()
        if code:
            checkpoint = load_checkpoint(tmp_path / folder)
            assert checkpoint is not None
            assert 0 < checkpoint.update < 6
            assert checkpoint.update == read_metrics(tmp_path / folder)[-1]["update"]
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert torch.equal(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def is_training(folder: Path) -> bool:
    return (folder / "run/metrics.jsonl").exists() and bool(list((folder / "run").glob("checkpoints/update-*")))


ENDLESS = {"training": {"max_updates": 100_000, "save_every": 3, "valid_every": 100_000}}


@pytest.mark.parametrize(
    ("rank", "number"), [(1, signal.SIGTERM), pytest.param(0, signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_real_signal_at_one_rank(recipe, tmp_path, rank, number):
    words = command(recipe, tmp_path, **ENDLESS)
    with started_ranks(2, lambda _: run(words), tmp_path / "log") as pids:
        until(lambda: is_training(tmp_path))
        os.kill(pids[rank], number)
        assert [ended(pid) for pid in pids] == [128 + number] * 2
    log = (tmp_path / "log").read_text()
    assert log.count("Stopped by") == log.count("saved; the same command resumes.") == 1
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert checkpoint.update == read_metrics(tmp_path / "run")[-1]["update"]


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_other(recipe, tmp_path, rank):
    words = command(recipe, tmp_path, **ENDLESS)
    with started_ranks(2, lambda _: run(words), tmp_path / "log") as pids:
        until(lambda: is_training(tmp_path))
        os.kill(pids[rank], signal.SIGKILL)
        began = time.monotonic()
        assert ended(pids[1 - rank]) == ExitCode.TRY_LATER
        assert time.monotonic() - began < 45  # silence of 25 s, if it waits for an answer and not for a gradient
    assert (tmp_path / "log").read_text().count("error: another process of this training has ended") == 1
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    words = [*words, "--max-updates", str(checkpoint.update + 2)]
    assert trained(2, lambda _: words, tmp_path / "again") == [0, 0]  # the lock is free, and nothing is lost
    assert f"resuming after update {checkpoint.update:,}" in (tmp_path / "again").read_text()


def of_ranks(n: int, work: Callable[[Ranks], None], log: Path) -> list[int]:
    """Some work of joined ranks; their exit codes."""

    def of_rank(_: int) -> int:
        try:
            with join_ranks(lambda: None) as ranks:
                work(ranks)
        except UserError as error:
            sys.stderr.write(f"{error}\n")
            return error.code
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    with started_ranks(n, of_rank, log) as pids:
        return [ended(pid) for pid in pids]


def test_a_rank_that_vanishes_is_noticed_while_others_wait(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.training.parallel.ranks.MAX_SILENCE", 0.6)
    monkeypatch.setattr("seq2seq.training.parallel.ranks.BEAT_SECONDS", 0.1)

    def work(ranks: Ranks) -> None:
        if ranks.rank:
            os._exit(9)
        ranks.gather(lambda: None)

    assert of_ranks(2, work, tmp_path / "log") == [ExitCode.TRY_LATER, 9]
    assert "rank 1 has not answered for 1 s" in (tmp_path / "log").read_text()


def test_a_rank_that_works_for_long_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("seq2seq.training.parallel.ranks.MAX_SILENCE", 0.5)
    monkeypatch.setattr("seq2seq.training.parallel.ranks.BEAT_SECONDS", 0.1)
    assert of_ranks(2, lambda ranks: ranks.gather(lambda: time.sleep(1.5 * ranks.rank)) and None, tmp_path / "log") == [
        0,
        0,
    ]


def test_the_first_error_is_reported_and_ends_all(tmp_path):
    def work(ranks: Ranks) -> None:
        def fail() -> None:
            if ranks.rank:
                raise UserError("the third disk is full", mend="free space", code=ExitCode.CANNOT_WRITE)

        ranks.together(fail)

    assert of_ranks(3, work, tmp_path / "log") == [ExitCode.CANNOT_WRITE] * 3
    assert (tmp_path / "log").read_text() == "the third disk is full; free space\n"


def test_overwriting_is_refused_if_torchrun_may_restart(recipe, tmp_path, cli, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    outcome = cli(*command(recipe, tmp_path), "--overwrite")
    assert outcome.code == ExitCode.USAGE
    assert outcome.err.startswith("error: --overwrite with torchrun's --max-restarts would start over")


@pytest.mark.slow
def test_torchrun(recipe, tmp_path):
    """The whole command, killed and restarted."""
    words = command(recipe, tmp_path, training={"max_updates": 300, "save_every": 10, "valid_every": 150})
    options = ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "--nproc-per-node", "2"]
    started = [sys.executable, "-m", "torch.distributed.run", *options, "--max-restarts", "1", "-m", "seq2seq", *words]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    with subprocess.Popen(started, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: is_training(tmp_path))
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        _, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert "resuming after update " in log
    assert log.count("finished after") == 1
    assert [record["update"] for record in read_metrics(tmp_path / "run")] == list(range(1, 301))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_an_error_of_one_rank_in_an_update_is_reported_by_it(recipe, tmp_path):
    words = command(recipe, tmp_path, **ENDLESS)

    def of_rank(rank: int) -> int:
        updates = count(1)

        def fail(step: TrainStep) -> None:
            if rank and next(updates) > 3:
                raise UserError("the third disk is full", mend="free space", code=ExitCode.CANNOT_WRITE)

        TrainStep.check_finite = fail  # type: ignore[method-assign]
        return run(words)

    with started_ranks(2, of_rank, tmp_path / "log") as pids:
        assert [ended(pid) for pid in pids] == [ExitCode.CANNOT_WRITE] * 2
    log = (tmp_path / "log").read_text()
    assert "error: the third disk is full" in log
    assert log.count("error:") == 1


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("configuration", "rank 1 has another --seed than rank 0: 7 instead of 1"),
        ("version", "rank 1 has another version of seq2seq than rank 0: 0.0 instead of"),
        ("corpus", "rank 1 has another corpus train (bytes of its files) than rank 0: ["),
        ("folder", "rank 1 has another run folder than rank 0: other on another disk instead of run"),
    ],
)
def test_ranks_that_differ_are_refused(recipe, tmp_path, monkeypatch, name, what):
    """Each rank works in a folder of its own, where the corpora have the same names."""
    words = ["train", "--config", "recipe.toml", "-o", "run", "--device", "cpu"]
    for rank, n_pairs in enumerate((60, 61 if name == "corpus" else 60)):
        folder = tmp_path / f"rank-{rank}"
        folder.mkdir()
        write_reversal(folder / "train", reversal_lines(n_pairs, seed=1))
        layer = merge(
            [recipe, {"data": {"train": ["train"]}, "training": {"seed": 7 if rank and name == "configuration" else 1}}]
        )
        (folder / "recipe.toml").write_text(to_toml(build(layer, where="the test")))
    (tmp_path / "rank-1/run").symlink_to(tmp_path / "rank-0/run")

    def of_rank(rank: int) -> int:
        following.SEEN_SECONDS = 0.5
        if rank and name == "version":
            following.VERSION = "0.0"
        os.chdir(tmp_path / f"rank-{rank}")
        return run([*words[:4], "other", *words[5:]] if rank and name == "folder" else words)

    with started_ranks(2, of_rank, tmp_path / "log") as pids:
        assert [ended(pid) for pid in pids] == [ExitCode.REFUSED] * 2, (tmp_path / "log").read_text()
    log = (tmp_path / "log").read_text()
    assert f"error: {what}" in log
    assert log.count("error:") == 1
    assert not (tmp_path / "rank-0/run/checkpoints").exists()
    assert not (tmp_path / "rank-1/other").exists()
