"""Attention: each position reads from other positions, and learns from which.

Linear layers (W_Q, W_K, W_V) turn hidden vectors into queries, keys and values. A query says what a position looks for;
a key says what a position offers; a value is what is read from it. Attention has three steps:

1. a **score** for each pair of a query and a key;
2. **softmax** over the keys: the scores become weights that sum to one;
3. the **weighted sum** of the values.

This is done by H heads in parallel, each with its own queries, keys and values. W_O, another linear layer, mixes their
outputs.

The three kinds of attention in the Transformer differ in where queries, keys and values come from:

- self-attention of the encoder: all three come from the source;
- masked self-attention of the decoder: all three come from the target, and each position sees only itself and the
  positions to its left;
- cross-attention of the decoder: queries come from the target, keys and values from ``memory``, the encoder's output.

Shapes: B sentences, T queries, S keys, D model width, H heads, K = D/H width of a head.
Masks are boolean, True = may attend, and broadcast to [B, H, T, S]. They hide padding, and what is to the right.
"""

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seq2seq.model.products import Linear
from seq2seq.model.transformer.positions import rotate

# PyTorch has several attention kernels for NVIDIA's GPUs. cuDNN makes a plan for each new shape, which takes 8 ms, and
# nearly every batch has a new shape. FlashAttention computes 128 positions at a time, and a sentence fills few of them:
# in greedy search it took three quarters of an H200's computing time. docs/lab-notes.md has the figures.
_FOR_SHORT_TEXTS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """The mask of masked self-attention: each position sees itself and those to its left. [T, T]"""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def key_mask(mask: Tensor | None) -> Tensor | None:
    """A padding mask in the shape that attention takes: it hides keys. None stays None. [B, S] -> [B, 1, 1, S]"""
    return None if mask is None else mask[:, None, None, :]


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention in its three steps. It is the reference for ``fused_attention``, and also returns the weights.

    Args:
        q: queries, already transformed by a score of ``ATTENTIONS``. [B, H, T, K]
        k: keys. [B, H, S, K]
        v: values. [B, H, S, K]
        mask: True where a query may attend to a key. [B or 1, 1, T or 1, S]
        causal: also hide the keys to the right of each query; T = S.

    Returns:
        The weighted sums of the values [B, H, T, K], and the weights [B, H, T, S].
    """
    scores = q @ k.transpose(-2, -1)  # [B, H, T, S]
    if causal:
        visible = causal_mask(q.size(-2), q.device)
        mask = visible if mask is None else mask & visible
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = softmax(scores)
    if mask is not None:
        # A query without any visible key would get NaN weights. The fused kernel gives it zeros.
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


def softmax(scores: Tensor) -> Tensor:
    """Positive weights over the keys that sum to one: exp(score) / sum of exp(scores). [..., S]"""
    # The largest score is subtracted first: the result is the same, and exp cannot overflow.
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """``reference_attention`` in one kernel, which never writes the [T, S] weights to memory. [B, H, T, K]"""
    kernels = sdpa_kernel(_FOR_SHORT_TEXTS) if q.device.type == "cuda" else nullcontext()
    with kernels:
        # q contains the score's scale already (see ATTENTIONS), so the kernel's scale must be one.
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=1.0)


class ScaledDot(nn.Module):
    """Scaled dot product: score = q·k / sqrt(K). Without the scale the variance of q·k grows with K, and softmax
    saturates: nearly all weight is on one key."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(d_head)

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q * self.scale


class Dot(nn.Module):
    """Dot product: score = q·k, as in Luong et al. 2015, arXiv:1508.04025."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q


class Bilinear(nn.Module):
    """Bilinear score = qᵀ W k with a trained W for each head (Luong's "general")."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        # At first W makes it the scaled dot product.
        self.weight = nn.Parameter(torch.eye(d_head).repeat(n_heads, 1, 1) / math.sqrt(d_head))  # [H, K, K]

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q @ self.weight


# A score transforms the queries; the dot product with the keys follows. A new score is one class and one row here.
ATTENTIONS: dict[str, type[nn.Module]] = {
    "scaled_dot": ScaledDot,
    "dot": Dot,
    "bilinear": Bilinear,
}


STACKED = {"in_proj": 3, "kv_proj": 2}
"""Linear layers of ``MultiHeadAttention`` that stack several [D, D] matrices, and how many."""


class MultiHeadAttention(nn.Module):
    """Multi-head attention: H heads attend independently, each with K channels, and W_O mixes their outputs.

    Args:
        d_model: width D; a multiple of n_heads.
        n_heads: heads H; with one head it is plain attention.
        attention: row of ``ATTENTIONS``.
        rotary: rotate queries and keys by their positions; only for self-attention.
        cross: cross-attention: queries come from one text, keys and values from another. Otherwise self-attention: all
            three come from the same text.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        attention: str = "scaled_dot",
        rotary: bool = False,
        cross: bool = False,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.rotary = rotary
        self.cross = cross
        if cross:
            self.q_proj = Linear(d_model, d_model)  # W_Q
            self.kv_proj = Linear(d_model, 2 * d_model)  # W_K and W_V
        else:
            self.in_proj = Linear(d_model, 3 * d_model)  # W_Q, W_K and W_V
        self.out_proj = Linear(d_model, d_model)  # W_O
        self.score = ATTENTIONS[attention](n_heads, d_model // n_heads)

    def projections(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Weight and bias of W_Q, W_K and W_V, as views. Three of [D, D], [D]"""
        linears = (self.q_proj, self.kv_proj) if self.cross else (self.in_proj,)
        weights = [weight for linear in linears for weight in torch.split(linear.weight, linear.in_features)]
        biases = [bias for linear in linears for bias in torch.split(linear.bias, linear.in_features)]
        return tuple(zip(weights, biases, strict=True))

    def folded_queries(self) -> tuple[Tensor, Tensor]:
        """W_Q and its bias with the score folded in: queries made with them need only a dot product. [D, D], [D]

        This is possible because a score is a linear map of each head's queries.
        """
        weight, bias = self.projections()[0]
        columns = torch.cat((weight.t(), bias.unsqueeze(0)))  # [D + 1, D]
        scored = self.score(self.split_heads(columns.unsqueeze(0)))  # [1, H, D + 1, K]
        folded = scored.transpose(1, 2).flatten(-2)[0]  # [D + 1, D]
        return folded[:-1].t(), folded[-1]

    def split_heads(self, x: Tensor) -> Tensor:
        """Split the channels among the heads. [B, T, D] -> [B, H, T, K]"""
        return x.view(*x.shape[:-1], self.n_heads, -1).transpose(1, 2)

    def queries(self, x: Tensor) -> Tensor:
        """Queries of cross-attention, transformed by the score. [B, T, D] -> [B, H, T, K]"""
        return self.score(self.split_heads(self.q_proj(x)))  # type: ignore[no-any-return]

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of cross-attention. [B, S, D] -> two of [B, H, S, K]"""
        k, v = self.kv_proj(memory).chunk(2, dim=-1)
        return self.split_heads(k), self.split_heads(v)

    def self_queries_keys_values(self, x: Tensor, offset: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, transformed by the score, keys and values of self-attention. [B, T, D] -> three of [B, H, T, K]

        Args:
            x: [B, T, D]
            offset: position of the first token.
        """
        q, k, v = (self.split_heads(y) for y in self.in_proj(x).chunk(3, dim=-1))
        if self.rotary:
            q, k = rotate(q, offset), rotate(k, offset)
        return self.score(q), k, v

    def queries_keys_values(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries from ``x``, keys and values from ``memory``.

        [B, T, D], [B, S, D] -> [B, H, T, K], two of [B, H, S, K]

        Raises:
            ValueError: ``memory`` is not ``x`` in self-attention.
        """
        if self.cross:
            return self.queries(x), *self.keys_values(memory)
        if memory is not x:
            raise ValueError("self-attention takes queries, keys and values from the same text")
        return self.self_queries_keys_values(x)

    def mix_heads(self, heads: Tensor) -> Tensor:
        """Concatenate the heads and mix them by W_O. [B, H, T, K] -> [B, T, D]"""
        return self.out_proj(heads.transpose(1, 2).flatten(-2))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Compute queries, keys and values, attend, concatenate the heads and mix them by W_O.

        Args:
            x: hidden vectors that queries are computed from. [B, T, D]
            memory: hidden vectors that keys and values are computed from; in self-attention it is ``x``. [B, S, D]
            mask: True where a query may attend to a key. [B or 1, 1, T or 1, S]
            causal: hide the keys to the right of each query (masked self-attention).

        Returns:
            One vector for each query. [B, T, D]
        """
        q, k, v = self.queries_keys_values(x, memory)
        return self.mix_heads(fused_attention(q, k, v, mask, causal=causal))

    def weights(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """The attention weights, which ``forward`` does not return. Arguments as there. [B, H, T, S]"""
        return reference_attention(*self.queries_keys_values(x, memory), mask, causal=causal)[1]
