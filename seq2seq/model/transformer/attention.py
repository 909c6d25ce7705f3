"""Attention: each query is scored against all keys, and gets the mean of their values, weighted by the scores.

Three steps: a **score** for each query and key; **softmax** over the keys, so that the scores become weights that sum
to one; the **weighted sum** of the values. The three kinds of the Transformer differ in where queries, keys and values
come from: in encoder self-attention all come from the source; in masked self-attention all come from the target, and
each position sees only those to its left; in cross-attention queries come from the target, keys and values from
``memory``, the encoder's output.

Shapes: B sentences, T queries, S keys, D model width, H heads, K = D/H width of a head.
Masks are boolean, True = may attend, and broadcast to [B, H, T, S].
"""

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seq2seq.model.products import Linear
from seq2seq.model.transformer.positions import rotate

# PyTorch has several kernels for NVIDIA's GPUs. cuDNN's makes a plan for each new shape, which takes 8 ms, and nearly
# every batch has a new shape. FlashAttention's computes 128 positions at a time, and a sentence fills few of them: in
# greedy search it took three quarters of an H200's own time. docs/lab-notes.md has the figures.
_FOR_SHORT_TEXTS = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """The mask of masked self-attention: each position sees itself and all to its left. [T, T]"""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def key_mask(mask: Tensor | None) -> Tensor | None:
    """A mask of the keys in the shape that attention takes; None stays None. [B, S] -> [B, 1, 1, S]"""
    return None if mask is None else mask[:, None, None, :]


def reference_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention step by step: the reference of ``fused_attention``, and the one that returns its weights.

    Args:
        q: queries, already transformed by a row of ``ATTENTIONS``. [B, H, T, K]
        k: keys. [B, H, S, K]
        v: values. [B, H, S, K]
        mask: True where a query may attend to a key. [B or 1, 1, T or 1, S]
        causal: hide the keys to the right of each query as well; T = S.

    Returns:
        The weighted sums of the values [B, H, T, K], and the weights [B, H, T, S].
    """
    scores = q @ k.transpose(-2, -1)  # [B, H, T, S]
    if causal:
        seen = causal_mask(q.size(-2), q.device)
        mask = seen if mask is None else mask & seen
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = softmax(scores)
    if mask is not None:
        # A query that may see nothing would get 0 / 0 = NaN; the kernel gives it zeros.
        weights = weights.masked_fill(~mask, 0.0)
    return weights @ v, weights


def softmax(scores: Tensor) -> Tensor:
    """Positive weights over the keys that sum to one: exp(score) / sum of exp(scores). [..., S]"""
    # The largest score is subtracted first: the result is the same, and exp cannot overflow.
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """The same in one kernel, which never writes the [T, S] weights to memory. [B, H, T, K]"""
    kernels = sdpa_kernel(_FOR_SHORT_TEXTS) if q.device.type == "cuda" else nullcontext()
    with kernels:
        # The score's own scale is in q already (see ATTENTIONS), so the kernel's must be one.
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=1.0)


class ScaledDot(nn.Module):
    """score = q·k / sqrt(K). Unscaled, the variance of q·k grows with K and softmax saturates."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(d_head)

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q * self.scale


class Dot(nn.Module):
    """score = q·k, as in Luong et al. 2015, arXiv:1508.04025."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q


class Bilinear(nn.Module):
    """score = qᵀ W k with a trained W for each head (Luong's "general")."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        # W starts as the scaled dot product.
        self.weight = nn.Parameter(torch.eye(d_head).repeat(n_heads, 1, 1) / math.sqrt(d_head))  # [H, K, K]

    def forward(self, q: Tensor) -> Tensor:
        """[B, H, T, K] -> [B, H, T, K]"""
        return q @ self.weight


# A score is one transform of the query in front of the same kernel: a new score is one class and one row here.
ATTENTIONS: dict[str, type[nn.Module]] = {
    "scaled_dot": ScaledDot,
    "dot": Dot,
    "bilinear": Bilinear,
}


STACKED = {"in_proj": 3, "kv_proj": 2}
"""Linear layers of ``MultiHeadAttention`` that hold so many matrices [D, D], one below the other."""


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each in its own subspace of K channels, mixed by W_O.

    Args:
        d_model: width D; a multiple of n_heads.
        n_heads: heads H; one head is single attention.
        attention: row of ``ATTENTIONS``.
        rotary: rotate queries and keys by their positions; only for self-attention.
        cross: queries come from one text, keys and values from another; else all three come from the same text.

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
            self.q_proj = Linear(d_model, d_model)
            self.kv_proj = Linear(d_model, 2 * d_model)
        else:
            self.in_proj = Linear(d_model, 3 * d_model)
        self.out_proj = Linear(d_model, d_model)  # W_O
        self.score = ATTENTIONS[attention](n_heads, d_model // n_heads)

    def projections(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Weight and bias of the queries, of the keys and of the values: views. Three of [D, D], [D]"""
        linears = (self.q_proj, self.kv_proj) if self.cross else (self.in_proj,)
        weights = [weight for linear in linears for weight in torch.split(linear.weight, linear.in_features)]
        biases = [bias for linear in linears for bias in torch.split(linear.bias, linear.in_features)]
        return tuple(zip(weights, biases, strict=True))

    def folded_queries(self) -> tuple[Tensor, Tensor]:
        """W_Q and its bias with the score multiplied in: their queries need only a dot product. [D, D], [D]

        A score is a linear map of each head's queries, and therefore of the columns that make them.
        """
        weight, bias = self.projections()[0]
        columns = torch.cat((weight.t(), bias.unsqueeze(0)))  # [D + 1, D]
        scored = self.score(self.split_heads(columns.unsqueeze(0)))  # [1, H, D + 1, K]
        folded = scored.transpose(1, 2).flatten(-2)[0]  # [D + 1, D]
        return folded[:-1].t(), folded[-1]

    def split_heads(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, K]"""
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
        """Attend, concatenate the heads and mix them by W_O.

        Args:
            x: queries come from it. [B, T, D]
            memory: keys and values come from it; in self-attention it is ``x``. [B, S, D]
            mask: True where a query may attend to a key. [B or 1, 1, T or 1, S]
            causal: masked self-attention.

        Returns:
            One vector for each query. [B, T, D]
        """
        q, k, v = self.queries_keys_values(x, memory)
        return self.mix_heads(fused_attention(q, k, v, mask, causal=causal))

    def weights(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """The softmax weights that ``forward`` uses and does not keep. [B, H, T, S]"""
        return reference_attention(*self.queries_keys_values(x, memory), mask, causal=causal)[1]
