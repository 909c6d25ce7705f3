"""Layers laid out for translating: weights copied and arranged for products of few rows.

The same arithmetic as ``layers``, without what only training needs. Weights are packed and transposed; what reads
the same input stands side by side in one matrix; the score of the attention (``ATTENTIONS``) is multiplied into
W_Q; a LayerNorm's weight and bias are multiplied into what reads it; and residuals are added in their place.

Shapes: B sentences, N beams, S source length, T tokens, D model width, H heads, K width of a head, P slots.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention, fused_attention
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, Residual
from seq2seq.model.packed import has_bf16, pack, packed_linear, packed_linear_added, rows_with_kernels
from seq2seq.model.positions import rotate

_ROUGH_ROWS = 256
"""Most rows that a rough look is taken at."""
IMPOSSIBLE = -1e30
"""The logit of what never comes, as good as -inf, which a product may turn into NaN."""
_FAR = 1e20
"""No real piece's bias is so far below 0."""


class SideBySide:
    """A linear map: several of ``nn.Linear`` side by side.

    Args:
        weights: each [out, in]
        biases: each [out]
        after: the LayerNorm whose results it reads, in fp32. Its weight and bias and these biases then become part of
            the weights, and ``after`` has to leave one behind: see ``Norm.plain``.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], after: "Norm | None" = None) -> None:
        weight, self.bias = torch.cat(list(weights)), torch.cat(list(biases))  # [out, in], [out]
        self.plain = after is not None
        # In fp32 plain products are as fast.
        self.packed = pack(weight) if weight.dtype == torch.bfloat16 else None
        assert after is None or self.packed is None  # packed are weights in bf16, which leave nothing out
        if self.packed is None:
            if after is not None:
                weight = _after_norm(weight, self.bias, after)
            self.weight = weight.t().contiguous()  # [in, out]

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias, relu=relu)
        image = torch.mm(x, self.weight) if self.plain else torch.addmm(self.bias, x, self.weight)
        return image.relu_() if relu else image

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """``total``, perhaps in its place, and the image of ``x``. [rows, out], [rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear_added(x, self.packed, self.bias, total)
        return total.addmm_(x, self.weight).add_(self.bias)


def _after_norm(weight: Tensor, bias: Tensor, norm: "Norm") -> Tensor:
    """The weight W' with W'·(z + 1) = W·(g·z + b) + bias for every z that sums to zero, as a LayerNorm's does.

    A number added to a whole row of W' then changes the result by D times that number, whatever z is: by that the
    bias comes in without being added to each row of the product.
    """
    assert norm.weight is not None
    assert norm.bias is not None
    scaled = weight.double() * norm.weight.double()  # [out, in]
    constant = weight.double() @ norm.bias.double() + bias.double()  # [out]
    rows = constant / weight.size(1) - scaled.mean(dim=1)
    return (scaled + rows.unsqueeze(1)).to(weight.dtype)


class OutputLayer:
    """The output layer, of all pieces or of some.

    Args:
        weight: [V, D]
        bias: [V]; None: it is in the weight, and hidden states come from a plain norm.
        packed: take the time to pack the weight, where that is of use.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, packed: bool = True) -> None:
        self.weight, self.bias = weight, bias
        self._packed = pack(weight) if packed and weight.dtype == torch.bfloat16 else None
        # The bias is one more row of the weight, for one more input that is 1: adding it to so many
        # numbers would be a pass over all of them.
        bias_row = [] if bias is None else [bias.unsqueeze(0)]
        self._laid_out = torch.cat((weight.t(), *bias_row))  # [D or D + 1, V]

    @classmethod
    def after(cls, norm: "Norm", output: nn.Linear, aligned: int) -> "OutputLayer":
        """That of a trained model, for the results of the decoder's last norm: of ``norm.plain()``, if there is one.

        Args:
            norm: the last of the decoder.
            output: the layer.
            aligned: V is filled up to a multiple of this with pieces that never come.
        """
        filling = -output.weight.size(0) % aligned
        weight = F.pad(output.weight, (0, 0, 0, filling))  # [≥V, D]
        bias = F.pad(output.bias, (0, filling), value=IMPOSSIBLE)  # [≥V]
        return cls(weight, bias) if norm.plain() is None else cls(_after_norm(weight, bias, norm), None)

    def of(self, pieces: Tensor) -> "OutputLayer":
        """That of some pieces alone. [n]"""
        bias = None if self.bias is None else self.bias.index_select(0, pieces)
        return OutputLayer(self.weight.index_select(0, pieces), bias, packed=False)

    def of_columns(self, hidden: Tensor, columns: Tensor) -> Tensor:
        """Other pieces for each row. [b, D], [b, C] -> [b, C]"""
        logits = torch.bmm(self.weight[columns], hidden.unsqueeze(2)).squeeze(2)
        return logits if self.bias is None else logits.add_(self.bias[columns])

    def apart(self) -> tuple[Tensor, Tensor, float]:
        """Weight [V, D] and bias [V], for hidden states from which a number is taken off first."""
        if self.bias is not None:
            return self.weight, self.bias, 0.0
        bias = self.weight.double().sum(dim=1)  # what a plain norm's 1 makes of it
        weight = self.weight.double() - bias.unsqueeze(1) / self.weight.size(1)
        return weight.to(self.weight.dtype), bias.to(self.weight.dtype), 1.0

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None:
            assert self.bias is not None  # in bf16 no norm is folded in
            return packed_linear(hidden, self._packed, self.bias)
        return (hidden if self.bias is None else F.pad(hidden, (0, 1), value=1.0)) @ self._laid_out


class RoughOutput:
    """The output layer in bf16: logits to within a known error, in a quarter of the time where processors have bf16.

    Args:
        output: of real and filling pieces.
    """

    def __init__(self, output: OutputLayer) -> None:
        # With the bias in the weight both would be larger, and so the error.
        weight, bias, self._less = output.apart()
        self._packed, self._bias = pack(weight.bfloat16()), bias.bfloat16()
        rounding = torch.finfo(torch.bfloat16).eps / 2
        # h·w, both rounded, is off by at most rounding · (2 + rounding) · |h| · |w| (Cauchy-Schwarz). A hundredth
        # more is far above what the sum's order makes of it.
        self._per_norm = 2.02 * rounding * float(weight.norm(dim=1).max())
        self._of_bias = rounding * float(bias[~(bias < -_FAR)].abs().max())
        # Kernels that are made here are there for all that is forked.
        for rows in rows_with_kernels(_ROUGH_ROWS) if self._packed is not None else ():
            self(weight.new_zeros(rows, weight.size(1)))

    @classmethod
    def of(cls, output: OutputLayer) -> "RoughOutput | None":
        """That of an output layer in fp32; None where bf16 would gain nothing."""
        if output.weight.dtype != torch.float32 or output.weight.device.type != "cpu" or not has_bf16():
            return None
        rough = cls(output)
        return None if rough._packed is None else rough

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded logits, and how far each was from the exact one at most before it was rounded.

        [b, D] -> [b, V], [b]; b ≤ 256
        """
        assert self._packed is not None
        hidden = hidden - self._less if self._less else hidden
        rough = packed_linear(hidden.bfloat16(), self._packed, self._bias)
        return rough, self._per_norm * hidden.norm(dim=1) + self._of_bias


class Norm:
    """LayerNorm or RMSNorm, without the way through ``nn.Module`` that costs as much as a norm of few rows."""

    def __init__(self, norm: nn.Module) -> None:
        self.shape: list[int] = list(getattr(norm, "normalized_shape", ()))  # none: nn.Identity
        weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
        self.weight: Tensor | None = None if weight is None else weight.clone()
        self.bias: Tensor | None = None if bias is None else bias.clone()
        self.eps: float = getattr(norm, "eps", 0.0)
        self.kind = type(norm)

    def plain(self) -> "Norm | None":
        """One that leaves weight and bias to the linear maps that read its results; None where they cannot take them.

        Its results are one more than those of no weight and no bias.
        """
        if self.kind is not nn.LayerNorm or self.weight is None or self.bias is None or not _is_exact(self.weight):
            return None
        plain = copy.copy(self)
        plain.weight, plain.bias = torch.ones_like(self.weight), torch.ones_like(self.bias)
        return plain

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        if self.kind is nn.LayerNorm:
            return torch.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return torch.rms_norm(x, self.shape, self.weight, self.eps) if self.kind is nn.RMSNorm else x


def _is_exact(weight: Tensor) -> bool:
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


class Reading:
    """What reads a sublayer's input: the norm, where it stands there, and several linear maps side by side.

    Args:
        norm: None where it stands after the sublayer.
        weights: each [out, D]
        biases: each [out]
    """

    def __init__(self, norm: Norm | None, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        plain = None if norm is None else norm.plain()
        self.norm = plain or norm
        self.linear = SideBySide(weights, biases, after=norm if plain is not None else None)

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, D] -> [rows, out]"""
        return self.linear(x if self.norm is None else self.norm(x), relu=relu)


class _Sublayer:
    """What attention and feed-forward network have in common: x plus what they make of it, normalised."""

    def __init__(self, residual: Residual, out: nn.Linear) -> None:
        self.norm, self.pre = Norm(residual.norm), residual.pre
        self.out = SideBySide([out.weight], [out.bias])

    def reading(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Reading:
        """Linear maps of what the sublayer reads."""
        return Reading(self.norm if self.pre else None, weights, biases)

    def add_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """The sum ``x``, perhaps in its place, with the image of ``hidden``. [rows, D], [rows, in] -> [rows, D]"""
        x = self.out.add_to(x, hidden)
        return x if self.pre else self.norm(x)


class _Attention(_Sublayer):
    """One attention sublayer's weights."""

    def __init__(self, attention: MultiHeadAttention, residual: Residual, *, of_itself: bool) -> None:
        super().__init__(residual, attention.out_proj)
        self.n_heads = attention.n_heads
        # A rotation stands between W_Q and the score: there the score stays a step of its own.
        self.score = attention.score if attention.rotary else None
        q = (attention.q_proj.weight, attention.q_proj.bias) if attention.rotary else attention.folded_queries()
        projections = [q]
        if of_itself:
            projections += [(p.weight, p.bias) for p in (attention.k_proj, attention.v_proj)]
        self.projections = self.reading([weight for weight, _ in projections], [bias for _, bias in projections])

    def project(self, x: Tensor) -> Tensor:
        """Queries, and of self-attention keys and values, of all heads: [rows, D] -> [rows, D or 3·D]"""
        return self.projections(x)

    def heads(self, projected: Tensor, batch: int, place: int | None = None) -> Tensor:
        """The heads of some rows: [B·T, 3·D] -> [3, B, H, T, K]; of queries alone: [B·T, D] -> [1, B, H, T, K]

        Args:
            projected: as ``project`` gives them.
            batch: B
            place: of all tokens in their texts; None: they stand one after the other.
        """
        width = self.out.bias.size(0)
        heads = projected.view(batch, -1, projected.size(1) // width, self.n_heads, width // self.n_heads)
        heads = heads.permute(2, 0, 3, 1, 4)
        if self.score is None:
            return heads
        q, k, v = heads.unbind()
        q, k = (rotate(y) if place is None else rotate(y.unsqueeze(-2), place).squeeze(-2) for y in (q, k))
        return torch.stack((self.score(q), k, v))

    def mix(self, q: Tensor, k_v: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """Attend; the heads side by side. [B, H, T, K], two of [B, H, S, K] -> [B·T, D]"""
        k, v = k_v
        return fused_attention(q, k, v, mask).transpose(1, 2).flatten(0, 1).flatten(1)


class _FeedForward(_Sublayer):
    """One feed-forward sublayer's weights."""

    def __init__(self, feed_forward: FeedForward, residual: Residual) -> None:
        super().__init__(residual, feed_forward.out_proj)
        gate = feed_forward.gate
        branches = [feed_forward.inner] if gate is None else [feed_forward.inner, gate]
        self.gated = gate is not None
        self.inner = self.reading([branch.weight for branch in branches], [branch.bias for branch in branches])
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


class CachedEncoderLayer:
    def __init__(self, layer: EncoderLayer) -> None:
        self.attention = _Attention(layer.self_attention, layer.self_attention_residual, of_itself=True)
        self.feed_forward = _FeedForward(layer.feed_forward, layer.feed_forward_residual)

    def __call__(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """[B·S, D] -> [B·S, D]; the mask is [B, 1, 1, S]"""
        q, k, v = self.attention.heads(self.attention.project(x), batch).unbind()
        return self.feed_forward(self.attention.add_to(x, self.attention.mix(q, (k, v), mask)))


class LayerCache(NamedTuple):
    """What one layer of the decoder reads beside a batch's new tokens."""

    place: int
    """Of the new tokens in their texts."""
    log: Tensor
    """Keys and values of the target, the newest N slots to be filled. [B, P, 2, H, K]"""
    descent: Tensor | None
    """0 at the slots that a beam descends from, -inf elsewhere; None: at all. [B, 1, N, P]"""
    cross: Tensor
    """Keys and values of the source. [B, S, 2, H, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None where nothing is padded. [B, 1, 1, S]"""


class CachedDecoderLayer:
    """One layer of the decoder.

    Args:
        layer: as trained.
        memory_norm: that the encoder ends with; ``plain`` where that is possible.
    """

    def __init__(self, layer: DecoderLayer, memory_norm: Norm) -> None:
        self.attention = _Attention(layer.self_attention, layer.self_attention_residual, of_itself=True)
        self.cross = _Attention(layer.cross_attention, layer.cross_attention_residual, of_itself=False)
        self.feed_forward = _FeedForward(layer.feed_forward, layer.feed_forward_residual)
        k, v = layer.cross_attention.k_proj, layer.cross_attention.v_proj
        after = memory_norm if memory_norm.plain() is not None else None
        self.keys_values = SideBySide([k.weight, v.weight], [k.bias, v.bias], after=after)

    def cross_keys_values(self, memory: Tensor, batch: int) -> Tensor:
        """What cross-attention reads of the source. [B·S, D] -> [B, S, 2, H, K]

        Args:
            memory: results of the encoder's last norm, of the plain one if there is one.
            batch: B
        """
        heads = self.cross.n_heads
        return self.keys_values(memory).view(batch, -1, 2, heads, memory.size(1) // heads)

    def __call__(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """One new token for each row.

        Products are made of all rows; a row attends to its own batch's keys and values.

        Args:
            x: rows of several batches, one batch after the other. [rows, D]
            caches: of each batch.
            rows: B·N of each batch.
        """
        mixed = []
        for cache, projected in zip(caches, torch.split(self.attention.project(x), list(rows)), strict=True):
            new = self.attention.heads(projected, cache.log.size(0), cache.place)  # [3, B, H, N, K]
            cache.log[:, -new.size(3) :] = new[1:].permute(1, 3, 0, 2, 4)
            mixed.append(self.attention.mix(new[0], _keys_values(cache.log), cache.descent))
        x = self.attention.add_to(x, _joined(mixed))
        mixed = []
        for cache, projected in zip(caches, torch.split(self.cross.project(x), list(rows)), strict=True):
            q = self.cross.heads(projected, cache.cross.size(0))[0]  # [B, H, N, K]
            mixed.append(self.cross.mix(q, _keys_values(cache.cross), cache.src_mask))
        return self.feed_forward(self.cross.add_to(x, _joined(mixed)))


def _joined(parts: list[Tensor]) -> Tensor:
    """One below the other. Each [b, D] -> [rows, D]"""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _keys_values(cache: Tensor) -> Sequence[Tensor]:
    """[B, S, 2, H, K] -> two of [B, H, S, K]"""
    return cache.permute(2, 0, 3, 1, 4).unbind()
