"""The output layer's screen: the best column of each row, by far fewer exact logits."""

import pytest
import torch

from seq2seq.decoding.topk import best_piece
from seq2seq.device import has_bf16
from seq2seq.model.products import pack
from seq2seq.model.transformer.fast.decoder import TransformerDecoder
from seq2seq.model.transformer.fast.output import IMPOSSIBLE, OutputLayer, Screen
from seq2seq.tokenizer import EOS

V, D, N_CONTROL = 1024, 64, 10
NEVER = [column for column in range(N_CONTROL) if column != EOS]


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def output() -> OutputLayer:
    weight, bias = normal(V, D), normal(V, seed=2)
    weight[1000:], bias[1000:] = 0.0, IMPOSSIBLE  # what fills up a vocabulary
    return OutputLayer(weight, bias)


@pytest.fixture
def screen(output) -> Screen:
    """Emulated where the processor has no bf16."""
    if pack(output.weight.bfloat16()) is None:
        pytest.skip("no packed products here")
    return Screen(output, N_CONTROL)


def exact_best(output: OutputLayer, hidden: torch.Tensor) -> torch.Tensor:
    logits = hidden.double() @ output.weight.double().t() + output.bias.double()
    logits[:, NEVER] = -torch.inf
    return logits.argmax(dim=1)


@pytest.mark.parametrize("rows", [1, 8, 200, 256])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_it_finds_the_best_column(output, screen, rows, scale):
    hidden = scale * normal(rows, D, seed=rows)
    assert torch.equal(screen.best(hidden), exact_best(output, hidden))


def test_it_finds_the_best_of_columns_that_bf16_cannot_distinguish(output, screen):
    """Ten columns hardly differ, and rounding puts another one first."""
    hidden = normal(64, D, seed=5)
    for column in range(20, 30):
        output.weight[column] = 5 * hidden.sum(dim=0) / 8 * (1 + 1e-4 * ((column * 7) % 10))
    output = OutputLayer(output.weight, output.bias)
    best = exact_best(output, hidden)
    rough = (hidden.bfloat16() @ output.weight.bfloat16().t()).float().argmax(dim=1)
    assert not torch.equal(rough, best)
    found = Screen(output, N_CONTROL).best(hidden)
    assert torch.equal(found, best)


def test_control_symbols_except_eos_never_win(output, screen):
    hidden = normal(32, D, seed=7)
    output.bias[:N_CONTROL] = 100.0
    assert set(Screen(output, N_CONTROL).best(hidden).tolist()) == {EOS}
    output.bias[EOS] = -100.0
    assert torch.equal(Screen(output, N_CONTROL).best(hidden), exact_best(output, hidden))


def test_it_gives_up_where_it_cannot_help(output, screen):
    """A model that likes all pieces alike, and one of damaged numbers."""
    assert Screen(OutputLayer(torch.zeros(V, D), torch.zeros(V)), N_CONTROL).best(normal(8, D)) is None
    hidden = normal(8, D)
    hidden[3] = torch.nan
    assert screen.best(hidden) is None


def test_where_nothing_is_left_of_the_bound():
    """All numbers as far as can be from those of bf16, all in one direction: the true best stays among the rivals."""
    far = 1 + 2**-8 - 2**-12  # rounded to 1
    if pack(torch.ones(64, 64).bfloat16()) is None:
        pytest.skip("no packed products here")
    weight = torch.ones(64, 64)
    weight[40], weight[50] = far, 1.001  # both are rounded to 1, as all others are
    hidden = torch.full((8, 64), far)
    screen = Screen(OutputLayer(weight, torch.zeros(64)), N_CONTROL)
    screen_all = screen.best(hidden)
    assert screen_all is None or set(screen_all.tolist()) == {40}
    weight[:] = 0.9
    weight[40], weight[50] = far, 1.001
    assert set(Screen(OutputLayer(weight, torch.zeros(64)), N_CONTROL).best(hidden).tolist()) == {40}


def test_it_is_for_processors_that_have_bf16(output, monkeypatch):
    monkeypatch.setattr("seq2seq.model.transformer.fast.output.has_bf16", lambda: False)
    assert Screen.quicker_than(output, N_CONTROL) is None
    monkeypatch.undo()
    assert (Screen.quicker_than(output, N_CONTROL) is not None) == (has_bf16() and pack(output.weight) is not None)
    in_bf16 = OutputLayer(output.weight.bfloat16(), output.bias.bfloat16())
    assert Screen.quicker_than(in_bf16, N_CONTROL) is None


@pytest.mark.parametrize("rows", [8, 300])
def test_greedy_search_takes_what_it_finds(output, screen, rows):
    """The same pieces with it and without, and no logits where it has an answer."""
    hidden = normal(rows, D, seed=rows)

    class Model:
        n_control = N_CONTROL
        blocks = 0

        def best_columns(self, hidden, state):
            return torch.cat([screen.best(block) for block in hidden.split(256)]) if state else None

        def logits(self, hidden, state, first, last):
            self.blocks += 1
            return output(hidden[first:last])

        def pieces(self, columns, state):
            return columns

    model = Model()
    found, scores = best_piece(model, hidden, True, scored=False)
    assert (scores, model.blocks) == (None, 0)
    assert torch.equal(found, best_piece(model, hidden, False, scored=False)[0])
    assert torch.equal(found, best_piece(model, hidden, True, scored=True)[0])


def test_a_model_screens_many_rows_of_all_pieces():
    from seq2seq.config import ModelConfig
    from seq2seq.model import build_model

    torch.manual_seed(0)
    model = build_model(ModelConfig(d_model=32, d_ff=32, n_heads=2, encoder_layers=1, decoder_layers=1), 500).eval()
    with torch.inference_mode():
        cached = TransformerDecoder(model, n_control=N_CONTROL)
        state = cached.start(torch.full((300, 3), 20))
        hidden, (state,) = cached.step([torch.full((300,), 1)], [state])
        hidden = hidden + normal(300, 32)
        found = cached.best_columns(hidden, state)
        assert cached.best_columns(hidden[:4], state) is None
        assert TransformerDecoder(model, n_control=N_CONTROL, greedy=False).best_columns(hidden, state) is None
        if not has_bf16():
            assert found is None
            return
        logits = cached.logits(hidden, state, 0, 300)
        logits[:, NEVER] = -torch.inf
        assert torch.equal(found, logits.argmax(dim=1))
