"""Fused attention and feed-forward sublayers, with residual and norm: for whole texts, and for one new token of each.

Shapes: B sentences, N beams, S source length, T tokens, D model width, H heads, K width of a head, P cache entries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seq2seq.model.transformer.attention import MultiHeadAttention, fused_attention
from seq2seq.model.transformer.fast.linear import FusedLinear, Norm, NormedLinear, is_fp32_on_cpu
from seq2seq.model.transformer.layers import FeedForward, Residual
from seq2seq.model.transformer.positions import rotate


class Sublayer:
    """The residual sum and the norm, which attention and feed-forward sublayers have in common."""

    def __init__(self, residual: Residual, out: nn.Linear, products: str) -> None:
        self.norm, self.pre = Norm(residual.norm), residual.pre
        self.out = FusedLinear([out.weight], [out.bias], products)
        self.products = products

    def normed_linear(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> NormedLinear:
        """Linear layers that read the sublayer's input."""
        return NormedLinear(self.norm if self.pre else None, weights, biases, self.products)

    def add_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """The output for ``hidden`` added to ``x``, perhaps in place. [rows, D], [rows, in] -> [rows, D]"""
        x = self.out.add_to(x, hidden)
        return x if self.pre else self.norm(x)


class Absorbed(NamedTuple):
    """Weight absorption: one sentence's keys multiplied by W_Q, and its values by W_O.

    Then cross-attention takes only two products. This is possible because (W_Q·x)·k is x·(W_Qᵀ·k), and because W_O of
    a weighted sum of values is the weighted sum of W_O of each value.
    """

    keys: Tensor
    """Their product with the decoder's hidden vectors is the scores. [D, H·S]"""
    offsets: Tensor
    """What the bias of W_Q adds to the scores. [H·S]"""
    values: Tensor
    """Their weighted sum over all heads and positions is the sublayer's output, with the bias of W_O. [H·S, D]"""


class FusedAttention(Sublayer):
    """A fused attention sublayer."""

    def __init__(self, attention: MultiHeadAttention, residual: Residual, products: str) -> None:
        super().__init__(residual, attention.out_proj, products)
        self.n_heads = attention.n_heads
        # With rotary positions the rotation comes between W_Q and the score, so the score cannot be folded into W_Q.
        self.score = attention.score if attention.rotary else None
        q, *keys_values = attention.projections()
        projections = [q if attention.rotary else attention.folded_queries()]
        if not attention.cross:
            projections += keys_values
        self.projections = self.normed_linear([weight for weight, _ in projections], [bias for _, bias in projections])

    def project(self, x: Tensor) -> Tensor:
        """Queries of all heads; in self-attention also keys and values. [rows, D] -> [rows, D or 3·D]"""
        return self.projections(x)

    def queries(self, projected: Tensor, batch: int) -> Tensor:
        """Split projected queries into heads. [B·T, D] -> [B, H, T, K]"""
        return projected.view(batch, -1, self.n_heads, projected.size(1) // self.n_heads).transpose(1, 2)

    def heads(self, projected: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of whole texts. [B·T, 3·D] -> three of [B, H, T, K]"""
        q, k, v = self._in_heads(projected, batch, 3).permute(2, 0, 3, 1, 4).unbind()
        return (q, k, v) if self.score is None else (self.score(rotate(q)), rotate(k), v)

    def next_heads(self, projected: Tensor, batch: int, position: int) -> tuple[Tensor, Tensor]:
        """Queries of one new token in each row, and its keys and values in the shape of the cache.

        Args:
            projected: by ``project``. [B·N, 3·D]
            batch: B
            position: of the new tokens.

        Returns:
            [B, H, N, K], [B, N, 2, H, K]
        """
        width = self.out.bias.size(0)
        q = self.queries(projected[:, :width], batch)
        keys_values = self._in_heads(projected[:, width:], batch, 2)
        if self.score is None:
            return q, keys_values
        k, v = keys_values.unbind(2)  # two of [B, N, H, K]
        rotated = rotate(k.unsqueeze(-2), position).squeeze(-2)
        return self.score(rotate(q.unsqueeze(-2), position).squeeze(-2)), torch.stack((rotated, v), dim=2)

    def absorb(self, k: Tensor, v: Tensor) -> Absorbed | None:
        """Absorb W_Q and W_O into one sentence's keys and values, which must not be padded.

        Args:
            k: [H, S, K]
            v: [H, S, K]

        Returns:
            None if that is not faster: in bf16, on a GPU, and for S > K.
        """
        w_q, w_o = self.projections.linear, self.out
        heads, length, width = k.shape
        # For a longer sentence the results are larger than the weights.
        if not is_fp32_on_cpu(k) or length > width:
            return None
        keys = torch.bmm(k, w_q.weight.view(-1, heads, width).permute(1, 2, 0))  # [H, S, D]
        offsets = torch.bmm(k, w_q.bias.view(heads, width, 1)).flatten()  # [H·S]
        values = torch.bmm(v, w_o.weight.view(heads, width, -1))  # [H, S, D]
        values[0] += w_o.bias  # a head's weights sum to one
        return Absorbed(keys.flatten(0, 1).t(), offsets, values.flatten(0, 1))

    def add_absorbed(self, x: Tensor, absorbed: Absorbed) -> Tensor:
        """``project``, ``mix`` and ``add_to`` for rows that read one sentence. ``x`` may be changed in place.

        [N, D] -> [N, D]
        """
        scores = torch.addmm(absorbed.offsets, self.projections.normalized(x), absorbed.keys)  # [N, H·S]
        weights = scores.view(x.size(0), self.n_heads, -1).softmax(dim=2)  # [N, H, S]
        x = x.addmm_(weights.view(x.size(0), -1), absorbed.values)
        return x if self.pre else self.norm(x)

    def _in_heads(self, projected: Tensor, batch: int, n: int) -> Tensor:
        """[B·T, n·D] -> [B, T, n, H, K]"""
        return projected.view(batch, -1, n, self.n_heads, projected.size(1) // (n * self.n_heads))

    def mix(self, q: Tensor, k_v: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """Attend, and concatenate the heads. [B, H, T, K], two of [B, H, S, K] -> [B·T, D]"""
        k, v = k_v
        return fused_attention(q, k, v, mask).transpose(1, 2).reshape(-1, self.out.bias.size(0))


class FusedFeedForward(Sublayer):
    """A fused feed-forward sublayer."""

    def __init__(self, feed_forward: FeedForward, residual: Residual, products: str) -> None:
        super().__init__(residual, feed_forward.out_proj, products)
        gate = feed_forward.gate
        branches = [feed_forward.inner] if gate is None else [feed_forward.inner, gate]
        self.gated = gate is not None
        self.inner = self.normed_linear([branch.weight for branch in branches], [branch.bias for branch in branches])
        self.relu = feed_forward.activation is torch.relu_
        self.activation = feed_forward.activation

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        hidden = self.inner(x, relu=self.relu)
        if self.relu:
            return self.add_to(x, hidden)
        if self.gated:
            inner, gate = hidden.chunk(2, dim=-1)
            return self.add_to(x, self.activation(inner) * gate)
        return self.add_to(x, self.activation(hidden))
