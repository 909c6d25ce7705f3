"""Attention: every score, masks and heads, compared with PyTorch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq.config import ModelConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.transformer.attention import (
    ATTENTIONS,
    MultiHeadAttention,
    causal_mask,
    fused_attention,
    reference_attention,
    softmax,
)

B, T, S, D, H = 3, 5, 7, 12, 3
K = D // H

LENGTHS = torch.tensor([7, 4, 1])
PADDING = (torch.arange(S) < LENGTHS[:, None])[:, None, None, :]  # [B, 1, 1, S]
SQUARE_PADDING = PADDING[..., :T].clone()


def draw_mask() -> torch.Tensor:
    """A random mask in which each query may attend to some key. [B, 1, T, S]"""
    mask = torch.rand(B, 1, T, S, generator=torch.Generator().manual_seed(5)) < 0.5
    mask[..., 2] = True
    return mask


# name -> (keys S, mask, causal)
MASKS = {
    "none": (S, None, False),
    "padding": (S, PADDING, False),
    "any": (S, draw_mask(), False),
    "causal": (T, None, True),
    "causal and padding": (T, SQUARE_PADDING, True),
}


def build(score: str, n_heads: int = H, *, cross: bool = False) -> MultiHeadAttention:
    """Attention whose weights and biases have no special values."""
    torch.manual_seed(0)
    attention = MultiHeadAttention(D, n_heads, attention=score, cross=cross)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.4)
    return attention


def leaves(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("score", ATTENTIONS)
@pytest.mark.parametrize("case", MASKS)
def test_fused_attention_equals_the_reference(score, case):
    n_keys, mask, causal = MASKS[case]
    module = build(score).score
    q, k, v = leaves((B, H, T, K), (B, H, n_keys, K), (B, H, n_keys, K))
    upstream = torch.randn(B, H, T, K)

    def gradients(out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad((out * upstream).sum(), [q, k, v, *module.parameters()])

    fused = fused_attention(module(q), k, v, mask, causal=causal)
    written, _ = reference_attention(module(q), k, v, mask, causal=causal)
    torch.testing.assert_close(fused, written)
    for of_fused, of_written in zip(gradients(fused), gradients(written), strict=True):
        torch.testing.assert_close(of_fused, of_written)
        assert of_fused.abs().sum() > 0


def test_scores_follow_their_formulas():
    q, k = leaves((B, H, T, K), (B, H, S, K))
    products = torch.einsum("bhtk,bhsk->bhts", q, k)
    bilinear = build("bilinear").score
    expected = {
        "scaled_dot": products / math.sqrt(K),
        "dot": products,
        "bilinear": torch.einsum("bhtk,hkl,bhsl->bhts", q, bilinear.weight, k),
    }
    assert expected.keys() == ATTENTIONS.keys()
    for name, scores in expected.items():
        module = bilinear if name == "bilinear" else ATTENTIONS[name](H, K)
        torch.testing.assert_close(module(q) @ k.transpose(-2, -1), scores)


def test_bilinear_starts_as_the_scaled_dot_product_and_is_trained():
    (q,) = leaves((B, H, T, K))
    fresh = ATTENTIONS["bilinear"](H, K)
    torch.testing.assert_close(fresh(q), ATTENTIONS["scaled_dot"](H, K)(q))
    assert [p.shape for p in fresh.parameters()] == [(H, K, K)]


def test_softmax_is_pytorchs_and_does_not_overflow():
    scores = torch.randn(4, 9) * 5
    torch.testing.assert_close(softmax(scores), torch.softmax(scores, -1))
    torch.testing.assert_close(softmax(torch.tensor([1e4, 1e4, -1e4])), torch.tensor([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("score", ATTENTIONS)
@pytest.mark.parametrize("case", MASKS)
def test_weights_sum_to_one_and_are_zero_at_hidden_keys(score, case):
    n_keys, mask, causal = MASKS[case]
    attention = build(score, cross=True)
    x, memory = leaves((B, T, D), (B, n_keys, D))
    weights = attention.weights(x, memory, mask, causal=causal)
    assert weights.shape == (B, H, T, n_keys)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, T))
    seen = torch.ones(B, 1, T, n_keys, dtype=torch.bool) if mask is None else mask.expand(B, 1, T, n_keys)
    if causal:
        seen = seen & causal_mask(T)
    seen = seen.expand(B, H, T, n_keys)
    assert (weights[~seen] == 0).all()
    assert (weights[seen] > 0).all()
    # They are the weights in use: forward returns the values weighted by them.
    heads = weights @ attention.split_heads(F.linear(memory, *attention.projections()[2]))
    expected = attention.out_proj(heads.transpose(1, 2).reshape(B, T, D))
    torch.testing.assert_close(attention(x, memory, mask, causal=causal), expected)


def test_causal_mask_sees_itself_and_the_left():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize("score", ATTENTIONS)
def test_masked_self_attention_never_looks_right(score):
    attention = build(score)
    (x,) = leaves((B, T, D))
    other = x.detach().clone()
    other[:, 3] += 1
    before, after = attention(x, x, causal=True), attention(other, other, causal=True)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert ((before[:, 3:] - after[:, 3:]).abs().amax(-1) > 1e-4).all()
    (gradient,) = torch.autograd.grad(before[:, 2].sum(), x)
    assert (gradient[:, 3:] == 0).all()
    assert (gradient[:, :3].abs().amax(-1) > 0).all()
    # Without the mask it does see the right.
    assert not torch.allclose(attention(x, x)[:, :3], attention(other, other)[:, :3])


@pytest.mark.parametrize("score", ATTENTIONS)
def test_padding_changes_neither_outputs_nor_gradients(score):
    attention = build(score, cross=True)
    n_real = 4
    x, real = leaves((1, T, D), (1, n_real, D))
    padded = torch.cat((real.detach(), torch.full((1, 3, D), 50.0)), dim=1).requires_grad_()
    mask = (torch.arange(n_real + 3) < n_real)[None, None, None, :]
    without, with_padding = attention(x, real), attention(x, padded, mask)
    torch.testing.assert_close(with_padding, without)
    assert not torch.allclose(attention(x, padded), without)

    upstream = torch.randn(1, T, D)
    expected = torch.autograd.grad((without * upstream).sum(), [real, x, *attention.parameters()])
    found = torch.autograd.grad((with_padding * upstream).sum(), [padded, x, *attention.parameters()])
    torch.testing.assert_close(found[0][:, :n_real], expected[0])
    assert (found[0][:, n_real:] == 0).all()
    for a, b in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("score", ATTENTIONS)
def test_a_query_without_visible_keys_gets_zeros(score):
    """From the kernel and from its reference; and no NaN reaches a gradient."""
    mask = PADDING.clone()
    mask[1] = False
    module = build(score).score
    for attend in (fused_attention, lambda *args: reference_attention(*args)[0]):
        q, k, v = leaves((B, H, T, K), (B, H, S, K), (B, H, S, K))
        out = attend(module(q), k, v, mask)
        assert (out[1] == 0).all()
        assert (out[[0, 2]].abs().amax(-1) > 0).all()
        for gradient in torch.autograd.grad(out.sum(), [q, k, v]):
            assert (gradient[1] == 0).all()
            assert gradient.isfinite().all()


def torch_twin(attention: MultiHeadAttention, score: str) -> nn.MultiheadAttention:
    """PyTorch's multi-head attention with the same weights, the score folded into W_Q."""
    n_heads, width = attention.n_heads, D // attention.n_heads
    eye = torch.eye(width, dtype=torch.double).repeat(n_heads, 1, 1)
    # PyTorch divides by sqrt(K) itself; each head's queries pass through this [H, K, K] first.
    fold = {
        "scaled_dot": eye,
        "dot": eye * math.sqrt(width),
        "bilinear": getattr(attention.score, "weight", eye) * math.sqrt(width),
    }[score]
    twin = nn.MultiheadAttention(D, n_heads, batch_first=True, dtype=torch.double)
    (q_weight, q_bias), (k_weight, k_bias), (v_weight, v_bias) = attention.projections()
    q_weight, q_bias = q_weight.view(n_heads, width, D), q_bias.view(n_heads, width)
    with torch.no_grad():
        q_weight = torch.einsum("hkl,hkd->hld", fold, q_weight).reshape(D, D)
        q_bias = torch.einsum("hkl,hk->hl", fold, q_bias).flatten()
        twin.in_proj_weight.copy_(torch.cat((q_weight, k_weight, v_weight)))
        twin.in_proj_bias.copy_(torch.cat((q_bias, k_bias, v_bias)))
        twin.out_proj.load_state_dict(attention.out_proj.state_dict())
    return twin


@pytest.mark.parametrize("score", ATTENTIONS)
@pytest.mark.parametrize("n_heads", [1, 3, 12])
def test_many_heads_against_pytorch(score, n_heads):
    attention = build(score, n_heads, cross=True).double()
    twin = torch_twin(attention, score)
    x, memory = leaves((B, T, D), (B, S, D), dtype=torch.double)
    out, weights = twin(x, memory, memory, key_padding_mask=~PADDING[:, 0, 0], average_attn_weights=False)
    torch.testing.assert_close(attention(x, memory, PADDING), out)
    torch.testing.assert_close(attention.weights(x, memory, PADDING), weights)
    itself = build(score, n_heads).double()
    expected, _ = torch_twin(itself, score)(x, x, x, attn_mask=~causal_mask(T), need_weights=False)
    torch.testing.assert_close(itself(x, x, causal=True), expected)

    upstream = torch.randn(B, T, D, dtype=torch.double)
    ours = torch.autograd.grad((attention(x, memory, PADDING) * upstream).sum(), [x, memory])
    theirs = torch.autograd.grad((out * upstream).sum(), [x, memory])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_one_head_is_plain_attention():
    attention = build("scaled_dot", n_heads=1, cross=True)
    x, memory = leaves((B, T, D), (B, S, D))
    of_q, of_k, of_v = attention.projections()
    q, k, v = F.linear(x, *of_q), F.linear(memory, *of_k), F.linear(memory, *of_v)
    weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(D), dim=-1)
    torch.testing.assert_close(attention(x, memory), attention.out_proj(weights @ v))


def test_each_head_uses_only_its_own_channels():
    """The input of one head changes only its own channels before W_O."""
    attention = build("scaled_dot")
    nn.init.eye_(attention.out_proj.weight)
    (x,) = leaves((B, T, D))
    before = attention(x, x).detach()
    with torch.no_grad():
        attention.in_proj.weight[K : 2 * K] *= -1  # the second head has opposite queries
    changed = (attention(x, x) - before).abs().amax((0, 1)) > 1e-4
    assert changed.tolist() == [False] * K + [True] * K + [False] * K


def test_self_attention_of_two_texts_is_refused():
    x, memory = leaves((B, T, D), (B, S, D))
    with pytest.raises(ValueError, match="from the same text"):
        build("dot")(x, memory)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match=r"model.d_model 256 is not divisible by model.n_heads 3") as caught:
        ModelConfig(d_model=256, n_heads=3)
    assert caught.value.code == ExitCode.REFUSED
