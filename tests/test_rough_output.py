"""The output layer in bf16: how far off it may be."""

import pytest
import torch

from seq2seq.decoding.candidates import best_piece
from seq2seq.model.cached import CachedTransformer
from seq2seq.model.output import OutputLayer, RoughOutput
from seq2seq.model.packed import has_bf16, pack


@pytest.fixture
def output() -> OutputLayer:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1024, 64, generator=generator)
    weight[1000:] = 0.0
    bias = torch.randn(1024, generator=generator)
    bias[1000:] = -1e30  # what fills up a vocabulary
    return OutputLayer(weight, bias)


@pytest.fixture
def rough(output) -> RoughOutput:
    """Emulated where the processor has no bf16."""
    if pack(output.weight.bfloat16()) is None:
        pytest.skip("no packed products here")
    return RoughOutput(output)


@pytest.mark.parametrize("rows", [1, 5, 128, 200, 256])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_the_error_is_within_what_is_said(output, rough, rows, scale):
    hidden = scale * torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows))
    found, error = rough(hidden)
    exact = hidden.double() @ output.weight.double().t() + output.bias.double()
    assert (found.shape, error.shape) == ((rows, 1024), (rows,))
    off = (found.double() - exact).abs()[:, :1000]
    rounding = found.double().abs()[:, :1000] * torch.finfo(torch.bfloat16).eps / 2
    assert (off <= error.unsqueeze(1) + 1.01 * rounding).all()
    assert off.max() > 0.05 * error.min()  # nor is it said without reason
    assert found[:, 1000:].max() < -1e29


def test_where_nothing_is_left_of_the_bound():
    """All numbers as far as can be from those of bf16, all in one direction: Cauchy and Schwarz give no room."""
    far = 1 + 2**-8 - 2**-12  # rounded to 1
    if pack(torch.ones(64, 64).bfloat16()) is None:
        pytest.skip("no packed products here")
    for number, bias in ((far, 0.0), (0.0, far)):
        output = OutputLayer(torch.full((64, 64), number), torch.full((64,), bias))
        found, error = RoughOutput(output)(torch.full((8, 64), number))
        off = 64 * number**2 + bias - found.double()
        assert (0.9 * error.unsqueeze(1) < off).all()
        assert (off <= error.unsqueeze(1)).all()


def test_it_is_for_processors_that_have_bf16(output, monkeypatch):
    monkeypatch.setattr("seq2seq.model.output.has_bf16", lambda: False)
    assert RoughOutput.of(output) is None
    monkeypatch.undo()
    assert (RoughOutput.of(output) is not None) == (has_bf16() and pack(output.weight) is not None)
    in_bf16 = OutputLayer(output.weight.bfloat16(), output.bias.bfloat16())
    assert RoughOutput.of(in_bf16) is None


def test_a_model_finds_the_same_pieces_with_it_and_without(output, rough):
    model = object.__new__(CachedTransformer)
    model._output, model._rough = output, rough
    hidden = torch.randn(700, 64, generator=torch.Generator().manual_seed(3))

    class State:
        forbidden = pieces = None
        n_beams = 1

    state = State()
    state.output = output
    quick, _ = best_piece(model, hidden, state, scored=False)
    model._rough = None
    slow, _ = best_piece(model, hidden, state, scored=False)
    assert torch.equal(quick, slow)
