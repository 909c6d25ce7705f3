"""The screen of the output layer: the best column of each row with few exact logits."""

import pytest
import torch

from seq2seq.decoding.topk import best_piece
from seq2seq.device import has_bf16
from seq2seq.model.base import IMPOSSIBLE
from seq2seq.model.products import pack
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.model.transformer.fast.output import OutputLayer, OutputLogits, Screen
from seq2seq.tokenizer import EOS

V, D, N_CONTROL = 1024, 64, 10


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def output() -> OutputLayer:
    weight, bias = normal(V, D), normal(V, seed=2)
    weight[1000:], bias[1000:] = 0.0, IMPOSSIBLE  # padding of the vocabulary
    bias[:N_CONTROL] -= 100.0  # a trained model never writes these
    return OutputLayer(weight, bias)


@pytest.fixture
def screen(output) -> Screen:
    """bf16 is emulated if the processor does not have it."""
    if pack(output.weight.bfloat16()) is None:
        pytest.skip("no packed products here")
    return Screen(output)


def exact_best(output: OutputLayer, hidden: torch.Tensor) -> torch.Tensor:
    return (hidden.double() @ output.weight.double().t() + output.bias.double()).argmax(dim=1)


@pytest.mark.parametrize("rows", [1, 8, 200, 256])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_it_finds_the_best_column(output, screen, rows, scale):
    hidden = scale * normal(rows, D, seed=rows)
    assert torch.equal(screen.best(hidden), exact_best(output, hidden))


def test_it_finds_the_best_of_columns_that_bf16_cannot_distinguish(output, screen):
    """Ten columns hardly differ, and rounding makes another one the best."""
    hidden = normal(64, D, seed=5)
    for column in range(20, 30):
        output.weight[column] = 5 * hidden.sum(dim=0) / 8 * (1 + 1e-4 * ((column * 7) % 10))
    output = OutputLayer(output.weight, output.bias)
    best = exact_best(output, hidden)
    rough = (hidden.bfloat16() @ output.weight.bfloat16().t()).float().argmax(dim=1)
    assert not torch.equal(rough, best)
    found = Screen(output).best(hidden)
    assert torch.equal(found, best)


def test_it_returns_none_if_it_cannot_help(output, screen):
    """A model with equal logits, and a damaged one with NaN."""
    assert Screen(OutputLayer(torch.zeros(V, D), torch.zeros(V))).best(normal(8, D)) is None
    hidden = normal(8, D)
    hidden[3] = torch.nan
    assert screen.best(hidden) is None


def test_the_error_bound_holds_in_the_worst_case():
    """All numbers as far as can be from those of bf16, all in one direction: the true best stays among the rivals."""
    far = 1 + 2**-8 - 2**-12  # rounded to 1
    if pack(torch.ones(64, 64).bfloat16()) is None:
        pytest.skip("no packed products here")
    weight = torch.ones(64, 64)
    weight[40], weight[50] = far, 1.001  # both are rounded to 1, as all others are
    hidden = torch.full((8, 64), far)
    screen = Screen(OutputLayer(weight, torch.zeros(64)))
    screen_all = screen.best(hidden)
    assert screen_all is None or set(screen_all.tolist()) == {40}
    weight[:] = 0.9
    weight[40], weight[50] = far, 1.001
    assert set(Screen(OutputLayer(weight, torch.zeros(64))).best(hidden).tolist()) == {40}


def test_it_is_for_processors_that_have_bf16(output, monkeypatch):
    monkeypatch.setattr("seq2seq.model.transformer.fast.output.has_bf16", lambda: False)
    assert Screen.if_faster(output) is None
    monkeypatch.undo()
    assert (Screen.if_faster(output) is not None) == (has_bf16() and pack(output.weight) is not None)
    in_bf16 = OutputLayer(output.weight.bfloat16(), output.bias.bfloat16())
    assert Screen.if_faster(in_bf16) is None


class Counted(OutputLogits):
    """Logits that count how often they are read."""

    n_read = 0

    def rows(self, start: int, stop: int) -> torch.Tensor:
        self.n_read += 1
        return super().rows(start, stop)


@pytest.mark.parametrize("rows", [8, 300])
def test_greedy_search_uses_the_screen(output, screen, rows):
    """The same pieces with and without it; no logits are read if it finds the pieces."""
    hidden = normal(rows, D, seed=rows)
    screened, plain = Counted(hidden, output, 1, screen=screen), Counted(hidden, output, 1)
    found, scores = best_piece(screened, N_CONTROL, scored=False)
    assert (scores, screened.n_read) == (None, 0)
    assert torch.equal(found, best_piece(plain, N_CONTROL, scored=False)[0])
    assert torch.equal(found, best_piece(screened, N_CONTROL, scored=True)[0])
    assert screened.n_read == plain.n_read > 0


def test_a_control_symbol_that_is_likeliest_is_not_taken(output, screen):
    """Except EOS. The screen does not know control symbols, so then all logits are read."""
    hidden = normal(32, D, seed=7)
    for likeliest in (EOS, 5):
        bias = output.bias.clone()
        bias[:N_CONTROL] = 1000.0
        bias[likeliest] = 2000.0
        biased = OutputLayer(output.weight, bias)
        logits = Counted(hidden, biased, 1, screen=Screen(biased))
        assert set(logits.best().tolist()) == {likeliest}
        assert set(best_piece(logits, N_CONTROL, scored=False)[0].tolist()) == {EOS}
        assert logits.n_read == (likeliest != EOS)


def test_a_decoder_screens_many_rows_of_all_pieces():
    from seq2seq.config import ModelConfig
    from seq2seq.model import build_model

    torch.manual_seed(0)
    model = build_model(ModelConfig(d_model=32, d_ff=32, n_heads=2, encoder_layers=1, decoder_layers=1), 500).eval()
    sources = torch.randint(20, 500, (300, 3), generator=torch.Generator().manual_seed(1))

    def first_logits(rows: int, *, greedy: bool) -> OutputLogits:
        decoder = FastDecoder(model, greedy=greedy)
        (logits,), _ = decoder.step([torch.full((rows,), 1)], [decoder.start(sources[:rows])])
        return logits

    with torch.inference_mode():
        logits = first_logits(300, greedy=True)
        assert (logits.best() is not None) == has_bf16()
        if has_bf16():
            assert torch.equal(logits.best(), logits.rows(0, 300).argmax(dim=1))
        assert first_logits(4, greedy=True).best() is None
        assert first_logits(300, greedy=False).best() is None
