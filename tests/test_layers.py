"""Dropout, norms, residuals and the feed-forward network, against their formulas."""

import pytest
import torch
import torch.nn.functional as F

from seq2seq.config import ModelConfig
from seq2seq.model.transformer.layers import (
    ACTIVATIONS,
    DecoderLayer,
    Dropout,
    EncoderLayer,
    FeedForward,
    Residual,
    build_norm,
)

N = 1 << 18


def config(**changes: object) -> ModelConfig:
    return ModelConfig(**({"d_model": 16, "d_ff": 24, "n_heads": 2, "dropout": 0.0} | changes))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def five_sigma(share: float, n: int) -> float:
    return 5 * (share * (1 - share) / n) ** 0.5


@pytest.mark.parametrize("share", [0.001, 0.1, 0.3, 0.5, 0.9, 0.999])
def test_dropout_zeroes_a_fraction_p_and_keeps_the_expected_sum(share):
    """Probabilities near 0 and 1 round to 0/256 and 256/256, which a byte cannot represent."""
    dropped = Dropout(share)(torch.ones(N))
    rounding = 1 / 512 if 0.002 < share < 0.998 else 0.0
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=rounding + five_sigma(share, N))
    survivors = dropped[dropped != 0]
    assert (survivors == survivors[0]).all()
    # The scale is exact for the rounded probability, so that the expected value is one.
    tolerance = five_sigma(share, N) / (1 - share)
    assert dropped.mean().item() == pytest.approx(1.0, abs=tolerance)


def test_dropout_is_exact_for_multiples_of_1_256():
    assert set(Dropout(0.25)(torch.ones(1000)).tolist()) == {0.0, torch.tensor(4 / 3).item()}


def test_dropout_draws_each_element_independently():
    """One draw gives eight bytes: they must have the same distribution and be independent."""
    kept = Dropout(0.5)(torch.ones(N)).ne(0).double().view(-1, 8)
    shares = kept.mean(0)
    assert (shares - 0.5).abs().max() < five_sigma(0.5, N // 8)
    correlations = torch.corrcoef(kept.T) - torch.eye(8, dtype=torch.float64)
    assert correlations.abs().max() < 5 / (N // 8) ** 0.5
    flat = kept.flatten()
    for lag in (1, 8, 64, 512):
        correlation = torch.corrcoef(torch.stack((flat[:-lag], flat[lag:])))[0, 1]
        assert abs(correlation.item()) < 5 / N**0.5


def test_dropout_is_reproducible_by_the_seed():
    dropout, x = Dropout(0.3), torch.randn(5, 77)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)
    state = torch.get_rng_state()  # what a checkpoint keeps
    third = dropout(x)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x), third)


def test_dropout_changes_nothing_in_evaluation_or_without_p():
    x = torch.randn(3, 50)
    before = x.clone()
    state = torch.get_rng_state()
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(Dropout(0.5)(x), x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_gradient_of_dropout_has_the_mask_and_scale_of_the_output(share):
    x = torch.randn(3, 5, 7).abs().add(0.1).requires_grad_()
    out = Dropout(share)(x)
    upstream = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, upstream)
    torch.testing.assert_close(gradient, upstream * (out / x).detach())
    assert (gradient == 0).any()
    assert (gradient != 0).any()


@pytest.mark.parametrize("shape", [(0, 4), (1,), (3, 5, 7), (2, 8)])
def test_dropout_takes_any_shape(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_dropout_of_a_transposed_tensor_and_in_bfloat16():
    x = torch.arange(1.0, 1201).view(30, 40).T
    out = Dropout(0.5)(x)
    assert ((out == 0) | (out == 2 * x)).all()
    assert 0.3 < (out == 0).float().mean() < 0.7
    assert Dropout(0.5)(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_norms_by_their_formulas():
    x = torch.randn(2, 3, 16) * 3 + 2
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    torch.testing.assert_close(build_norm(config(norm="layer"))(x), (x - mean) / (variance + 1e-5).sqrt())
    expected = x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(build_norm(config(norm="rms"))(x), expected)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_pre_norm_and_post_norm(norm):
    x = torch.randn(2, 3, 16) * 3 + 1

    def sublayer(y: torch.Tensor) -> torch.Tensor:
        return 2 * y + 0.3

    pre = Residual(config(norm=norm, norm_order="pre"))
    torch.testing.assert_close(pre(x, sublayer), x + sublayer(pre.norm(x)))
    post = Residual(config(norm=norm, norm_order="post"))
    torch.testing.assert_close(post(x, sublayer), post.norm(x + sublayer(x)))
    assert not torch.allclose(pre(x, sublayer), post(x, sublayer))


def test_dropout_is_applied_to_the_branch_and_not_to_the_residual():
    x = torch.randn(2, 3, 16)
    residual = Residual(config(dropout=0.5, norm_order="pre"))
    branch = residual(x, torch.ones_like) - x
    assert set(branch.round(decimals=4).flatten().tolist()) == {0.0, 2.0}
    residual = Residual(config(dropout=0.5, norm_order="post"))
    residual.norm = torch.nn.Identity()
    branch = residual(x, torch.ones_like) - x
    assert set(branch.round(decimals=4).flatten().tolist()) == {0.0, 2.0}


BY_HAND = {
    "relu": lambda x: x.clamp(min=0),
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "swiglu": lambda x: x / (1 + torch.exp(-x)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_by_its_formula(activation):
    network = FeedForward(config(activation=activation))
    x = torch.randn(2, 5, 16)
    hidden = BY_HAND[activation](x @ network.inner.weight.T + network.inner.bias)
    assert hidden.shape == (2, 5, 24)
    if activation == "swiglu":
        hidden = hidden * (x @ network.gate.weight.T + network.gate.bias)
    else:
        assert network.gate is None
    torch.testing.assert_close(network(x), hidden @ network.out_proj.weight.T + network.out_proj.bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feed_forward_treats_each_position_by_itself(activation):
    network = FeedForward(config(activation=activation))
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(network(x)[:, 2], network(x[:, 2]))
    torch.testing.assert_close(network(x.flip(1)), network(x).flip(1))


@pytest.mark.parametrize("norm_order", ["pre", "post"])
def test_layers_are_their_sublayers_in_order(norm_order):
    settings = config(norm_order=norm_order)
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    mask = (torch.arange(7) < torch.tensor([[7], [4]]))[:, None, None, :]

    def add(residual: Residual, y: torch.Tensor, branch) -> torch.Tensor:
        norm = residual.norm
        return y + branch(norm(y)) if norm_order == "pre" else norm(y + branch(y))

    layer = EncoderLayer(settings)
    y = add(layer.self_attention_residual, memory, lambda z: layer.self_attention(z, z, mask))
    y = add(layer.feed_forward_residual, y, layer.feed_forward)
    torch.testing.assert_close(layer(memory, mask), y)

    layer = DecoderLayer(settings)
    y = add(layer.self_attention_residual, x, lambda z: layer.self_attention(z, z, causal=True))
    y = add(layer.cross_attention_residual, y, lambda z: layer.cross_attention(z, memory, mask))
    y = add(layer.feed_forward_residual, y, layer.feed_forward)
    torch.testing.assert_close(layer(x, memory, mask), y)


def test_dropout_is_applied_to_every_branch_of_a_layer():
    """With nearly everything dropped, a pre-norm layer is nearly its residual path."""
    layer = EncoderLayer(config(dropout=0.99))
    x = torch.randn(4, 50, 16)
    unchanged = (layer(x, None) == x).float().mean().item()
    assert unchanged == pytest.approx(0.98, abs=0.01)
    assert F.mse_loss(layer.eval()(x, None), x) > 0.01
