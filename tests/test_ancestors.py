"""The recurrent and the convolutional network in use: they train, resume, translate and score as the Transformer."""

import contextlib
import json
from pathlib import Path

import pytest
import torch
from reversal import reversal_lines, write_reversal
from test_replicas import CPU, gradient, random_pairs
from test_training import StopAt, state_of, weights_of

from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.errors import ExitCode, Interrupted
from seq2seq.model.products import can_multiply
from seq2seq.training import Request, train
from seq2seq.training.parallel.forked import ForkedReplicas
from seq2seq.training.step import TrainStep

KINDS = ["rnn-lstm", "rnn-gru", "cnn"]
every_kind = pytest.mark.parametrize("kind", KINDS)
SETS = {
    "rnn-lstm": {"architecture": "rnn"},
    "rnn-gru": {"architecture": "rnn", "rnn": {"cell": "gru"}},
    "cnn": {"architecture": "cnn"},
}


def layer(folder: Path, kind: str, **training):
    taken = set()
    return {
        "preset": "tiny",
        "data": {
            "langs": "ab-ba",
            "train": [write_reversal(folder / "train", reversal_lines(2000, seed=1, unlike=taken))],
            "valid": [write_reversal(folder / "valid", reversal_lines(50, seed=2, unlike=taken))],
            "vocab_size": 300,
        },
        "model": {"d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0, **SETS[kind]},
        "training": {
            **{"precision": "fp32", "products": "mkl", "batch_tokens": 512, "learning_rate": 5e-3},
            **{"warmup_updates": 20, "max_updates": 200, "valid_every": 200, "ema_decay": 0.9},
            **{"label_smoothing": 0.0, **training},
        },
    }


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=pytest.mark.slow if kind == "rnn-gru" else ()) for kind in KINDS]
)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    list(train(Request(folder / "run", [layer(folder, request.param)], device="cpu")))
    return folder / "run"


def test_a_small_model_learns_to_reverse_strings(cli, run, tmp_path):
    lines = reversal_lines(40, seed=3)
    for beams in (1, 4):
        outcome = cli("translate", run, "-i", write_lines(tmp_path, lines), "-b", beams)
        assert outcome.code == 0
        right = [out == line[::-1] for line, out in zip(lines, outcome.out.splitlines(), strict=True)]
        assert sum(right) >= 36, outcome.out


def write_lines(folder: Path, lines: list[str]) -> Path:
    path = folder / "lines.ab"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_line_alone_and_among_others_is_translated_alike(cli, run, tmp_path):
    lines = reversal_lines(12, seed=4)
    together = cli("translate", run, "-i", write_lines(tmp_path, lines)).out.splitlines()
    assert [cli("translate", run, line).out.rstrip("\n") for line in lines[:4]] == together[:4]


def test_its_corpus_is_scored_and_its_attention_drawn(cli, run):
    scored = cli("eval", run, run.parent / "valid", "--json")
    (corpus,) = json.loads(scored.out)["corpora"]
    assert corpus["metrics"]["chrf"]["score"] > 80
    drawn = cli("translate", run, "a b c", "--attention")
    assert drawn.code == 0
    assert any(shade in drawn.err for shade in "░▒▓█")


def test_its_attention_is_drawn_in_the_terminal_and_as_a_page(cli, run, tmp_path):
    shown = cli("attend", run, "a b c", "--layer", "1", "--head", "1")
    assert shown.code == 0
    assert "cross-attention, layer 1 of" in shown.out
    for kind in ("encoder", "decoder"):
        assert cli("attend", run, "a b c", "--kind", kind).code == ExitCode.USAGE
    assert cli("attend", run, "a b c", "-o", tmp_path / "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "masked self-attention" not in page.partition("<script")[0]
    aligned = cli("translate", run, "a b c", "--alignments")
    assert aligned.code == 0
    assert " ||| " in aligned.out


def test_export_is_refused_with_the_reason(cli, run, tmp_path):
    outcome = cli("export", run, "-o", tmp_path / "out")
    assert outcome.code == ExitCode.REFUSED
    assert f"CTranslate2 does not support model.architecture {run.parent.name[:3]}" in outcome.err
    assert not (tmp_path / "out").exists()


def test_config_toml_repeats_the_run(cli, run, tmp_path):
    text = (run / "config.toml").read_text()
    assert "n_heads" not in text
    assert f"[model.{run.parent.name[:3]}]" in text
    again = cli("train", "--config", run / "config.toml", "-o", tmp_path / "again", "--max-updates", "2")
    assert again.code == 0, again.err


@every_kind
@pytest.mark.parametrize(
    "precision",
    [
        "fp32",
        pytest.param("bf16", marks=[pytest.mark.slow, pytest.mark.skipif(not can_multiply("bf16"), reason="no bf16")]),
    ],
)
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, kind, precision):
    short = layer(tmp_path, kind, max_updates=12, save_every=4, valid_every=6, precision=precision, products="auto")
    short["model"]["dropout"] = 0.2
    list(train(Request(tmp_path / "whole", [short], device="cpu")))
    with pytest.raises(Interrupted):
        list(train(Request(tmp_path / "parts", [short], device="cpu"), StopAt(7)))
    list(train(Request(tmp_path / "parts", [short], device="cpu")))
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "whole")
    assert state_of(tmp_path / "parts").arithmetic.precision == precision


@every_kind
@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is one replica")
def test_the_gradient_is_that_of_one_replica(kind):
    gradients = []
    for n in (1, 2):
        model = ModelConfig(d_model=32, encoder_layers=2, decoder_layers=2, dropout=0.0, **SETS[kind])
        one = TrainStep(RunConfig(model=model, training=TrainingConfig(precision="fp32", max_updates=9)), 60, CPU)
        with contextlib.ExitStack() as stack:
            one.replicas = ForkedReplicas(one.weights, one._forward_backward, n)
            stack.enter_context(one.replicas)
            gradients.append(gradient(one, random_pairs())[1])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
