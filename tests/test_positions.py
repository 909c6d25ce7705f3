"""Positions: their formulas, what depends on them, and a model without them."""

import math

import pytest
import torch
import torch.nn.functional as F

from seq2seq.config import ModelConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import build_model
from seq2seq.model.transformer.model import Transformer
from seq2seq.model.transformer.positions import (
    POSITIONS,
    LearnedPositions,
    SinusoidalPositions,
    rotate,
    sinusoidal_table,
)
from seq2seq.tokenizer import BOS, EOS

D = 16
ME, LOVE, NLP = 5, 6, 7  # pieces of "I love NLP"


def model_with(positions: str, **changes: object) -> Transformer:
    torch.manual_seed(0)
    shape = {"d_model": D, "d_ff": 32, "n_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    return build_model(ModelConfig(positions=positions, **(shape | changes)), 12).eval()


def by_formula(position: int, channel: int, width: int) -> float:
    """Vaswani et al. 2017, section 3.5, as printed."""
    i = channel // 2
    angle = position / 10_000 ** (2 * i / width)
    return math.sin(angle) if channel % 2 == 0 else math.cos(angle)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoidal_table(60, D)
    expected = torch.tensor([[by_formula(position, channel, D) for channel in range(D)] for position in range(60)])
    torch.testing.assert_close(table, expected, rtol=0, atol=1e-5)


def test_sinusoids_by_hand():
    expected = [
        [0.0, 1.0, 0.0, 1.0],
        [0.841471, 0.540302, 0.0099998, 0.99995],
        [0.909297, -0.416147, 0.0199987, 0.9998],
    ]
    torch.testing.assert_close(sinusoidal_table(3, 4), torch.tensor(expected), rtol=0, atol=1e-6)


def test_a_shift_is_the_same_rotation_from_any_position():
    table = sinusoidal_table(50, D)
    for shift in (1, 7):
        products = (table[:-shift] * table[shift:]).sum(-1)
        torch.testing.assert_close(products, products[:1].expand_as(products))
    assert (table[0] * table[1]).sum() > (table[0] * table[7]).sum() + 0.1


@pytest.mark.parametrize("name", POSITIONS)
def test_an_offset_continues_the_positions(name):
    positions = POSITIONS[name](D, 20)
    embedded = torch.randn(2, 9, D)
    whole = positions(embedded)
    assert whole.shape == embedded.shape
    torch.testing.assert_close(torch.cat((positions(embedded[:, :4]), positions(embedded[:, 4:], 4)), 1), whole)
    added = (whole - embedded).abs().amax(-1)
    assert (added > 0).all() if name in ("sinusoidal", "learned") else (added == 0).all()


def test_sinusoids_grow_with_the_text():
    positions = SinusoidalPositions(D, max_positions=4)
    with torch.inference_mode():  # first a long text in evaluation, then training
        torch.testing.assert_close(positions(torch.zeros(1, 9, D))[0], sinusoidal_table(9, D))
    x = torch.zeros(1, 2, D, requires_grad=True)
    out = positions(x, 100)
    torch.testing.assert_close(out[0], sinusoidal_table(102, D)[100:])
    out.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * out.detach())
    assert positions.state_dict() == {}


def test_learned_positions_end_with_their_table():
    positions = LearnedPositions(D, 6)
    embedded = torch.zeros(1, 6, D)
    torch.testing.assert_close(positions(embedded)[0], positions.weight)
    positions(embedded[:, :2], 4)
    with pytest.raises(ValueError, match="position 7 is beyond the 6 learned positions"):
        positions(torch.zeros(1, 7, D))
    with pytest.raises(ValueError, match="position 7 is beyond"):
        positions(embedded[:, :1], 6)


def test_learned_positions_are_trained_and_saved():
    model = model_with("learned", max_positions=8)
    assert {"src_positions.weight", "tgt_positions.weight"} <= model.state_dict().keys()
    model(torch.tensor([[ME, LOVE, EOS]]), None, torch.tensor([[BOS, NLP]])).square().sum().backward()
    assert (model.src_positions.weight.grad.abs().amax(-1) > 0).tolist() == [True] * 3 + [False] * 5
    assert (model.tgt_positions.weight.grad.abs().amax(-1) > 0).tolist() == [True] * 2 + [False] * 6


def test_rotation_by_hand():
    """The first pair rotates by the position in radians, the second a hundred times slower."""
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(1, 1, 3, 4)
    expected = [[math.cos(p), math.sin(p), -math.sin(p / 100), math.cos(p / 100)] for p in (5, 6, 7)]
    torch.testing.assert_close(rotate(x, 5)[0, 0], torch.tensor(expected))


def test_rotated_products_depend_on_the_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)

    def product(q_place: int, k_place: int) -> torch.Tensor:
        return (rotate(q, q_place) * rotate(k, k_place)).sum(-1)

    torch.testing.assert_close(product(9, 4), product(5, 0))
    torch.testing.assert_close(product(109, 104), product(5, 0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(product(9, 4), product(9, 5))
    assert not torch.allclose(product(9, 4), product(4, 9))  # left is not right
    torch.testing.assert_close(rotate(q, 33).norm(dim=-1), q.norm(dim=-1))
    assert torch.equal(rotate(q), q)


def test_rotary_self_attention_sees_distances_and_cross_attention_none():
    layer = model_with("rotary").decoder[0]
    torch.manual_seed(1)
    x, memory = torch.randn(1, 3, D), torch.randn(1, 5, D)
    flipped = memory.flip(1)
    attend = layer.cross_attention
    torch.testing.assert_close(attend(x, memory), attend(x, flipped))
    attend = layer.self_attention
    assert not torch.allclose(attend(memory, memory), attend(flipped, flipped).flip(1), atol=1e-3)
    # Moving a whole text to the right changes nothing in it.
    q, k = (attend.split_heads(F.linear(memory, *projection)) for projection in attend.projections()[:2])
    moved = (rotate(q, 11) @ rotate(k, 11).mT, rotate(q) @ rotate(k).mT)
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POSITIONS)
def test_only_without_positions_is_i_love_nlp_equal_to_nlp_love_i(name):
    """Attention is a sum over a set: only positions tell one order from another."""
    model = model_with(name)
    there, back = torch.tensor([[ME, LOVE, NLP]]), torch.tensor([[NLP, LOVE, ME]])
    tgt = torch.tensor([[BOS]])
    memories = model.encode(there), model.encode(back).flip(1)
    logits = model(there, None, tgt), model(back, None, tgt)
    if name == "none":
        torch.testing.assert_close(*memories)
        torch.testing.assert_close(*logits)
    else:
        assert not torch.allclose(*memories, atol=1e-3)
        assert not torch.allclose(*logits, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rotary", "d_model": 12, "n_heads": 4}, "their width is 3"),
        ({"positions": "sinusoidal", "d_model": 9, "n_heads": 3}, "needs an even model.d_model, not 9"),
    ],
)
def test_widths_that_do_not_pair_up_are_refused(changes, message):
    with pytest.raises(UserError, match=message) as caught:
        ModelConfig(**changes)
    assert caught.value.code == ExitCode.REFUSED
    assert ModelConfig(**(changes | {"positions": "learned"}))
