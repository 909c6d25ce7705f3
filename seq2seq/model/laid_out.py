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
from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention, fused_attention
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, Residual
from seq2seq.model.packed import pack, packed_linear, packed_linear_added
from seq2seq.model.positions import rotate


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
                weight = after_norm(weight, self.bias, after)
            # The longer side lies in a row: with AVX2 a single row's product takes 91 µs so where it took 152.
            long_inputs = weight.size(1) > weight.size(0)
            self.weight = weight.contiguous().t() if long_inputs else weight.t().contiguous()  # [in, out]

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias, relu=relu)
        if relu and x.device.type == "cuda":  # within the product; on a CPU it would be two passes
            return torch._addmm_activation(self.bias, x, self.weight)
        image = torch.mm(x, self.weight) if self.plain else torch.addmm(self.bias, x, self.weight)
        return image.relu_() if relu else image

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """``total``, perhaps in its place, and the image of ``x``. [rows, out], [rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear_added(x, self.packed, self.bias, total)
        return total.addmm_(x, self.weight).add_(self.bias)


def after_norm(weight: Tensor, bias: Tensor, norm: "Norm") -> Tensor:
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
        return self.linear(self.normalised(x), relu=relu)

    def normalised(self, x: Tensor) -> Tensor:
        """What the linear maps read. [rows, D] -> [rows, D]"""
        return x if self.norm is None else self.norm(x)


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

    def queries(self, projected: Tensor, batch: int) -> Tensor:
        """The heads of queries alone. [B·T, D] -> [B, H, T, K]"""
        return projected.view(batch, -1, self.n_heads, projected.size(1) // self.n_heads).transpose(1, 2)

    def heads(self, projected: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of whole texts. [B·T, 3·D] -> three of [B, H, T, K]"""
        q, k, v = self._in_heads(projected, batch, 3).permute(2, 0, 3, 1, 4).unbind()
        return (q, k, v) if self.score is None else (self.score(rotate(q)), rotate(k), v)

    def next_heads(self, projected: Tensor, batch: int, place: int) -> tuple[Tensor, Tensor]:
        """Queries of one new token a row, and its keys and values as they lie in the log.

        Args:
            projected: as ``project`` gives them. [B·N, 3·D]
            batch: B
            place: of the new tokens in their texts.

        Returns:
            [B, H, N, K], [B, N, 2, H, K]
        """
        width = self.out.bias.size(0)
        q = self.queries(projected[:, :width], batch)
        keys_values = self._in_heads(projected[:, width:], batch, 2)
        if self.score is None:
            return q, keys_values
        k, v = keys_values.unbind(2)  # two of [B, N, H, K]
        turned = rotate(k.unsqueeze(-2), place).squeeze(-2)
        return self.score(rotate(q.unsqueeze(-2), place).squeeze(-2)), torch.stack((turned, v), dim=2)

    def of_one_row(self, x: Tensor, log: Tensor) -> Tensor | None:
        """What ``project``, ``next_heads`` and ``mix`` make of a sentence of one beam, in as few calls as can be.

        It reads the whole log: only where no slot of it belongs to another beam.

        Args:
            x: [1, D]
            log: keys and values so far; those of ``x`` are written to the last place. [P, 2, H, K]

        Returns:
            The heads side by side [1, D]; None, and nothing is written, with rotary positions, in bf16 and on a GPU.
        """
        if self.score is not None or not _is_exact(log):
            return None
        _, _, heads, width = log.shape
        q_k_v = self.project(x).view(3, heads, 1, width)
        keys_values = log.permute(1, 2, 0, 3)  # [2, H, P, K]
        keys_values[:, :, -1:] = q_k_v[1:]
        weights = torch.bmm(q_k_v[0], keys_values[0].transpose(1, 2)).softmax(dim=2)  # [H, 1, P]
        return torch.bmm(weights, keys_values[1]).view(1, -1)

    def absorb(self, k: Tensor, v: Tensor) -> "Absorbed | None":
        """W_Q and W_O multiplied into one sentence's keys and values, which must not be padded.

        Args:
            k: [H, S, K]
            v: [H, S, K]

        Returns:
            None where that makes nothing quicker: in bf16, on a GPU, and for S > K.
        """
        w_q, w_o = self.projections.linear, self.out
        heads, length, width = k.shape
        # Of a longer sentence the products would be larger than the weights.
        if not _is_exact(k) or length > width:
            return None
        keys = torch.bmm(k, w_q.weight.view(-1, heads, width).permute(1, 2, 0))  # [H, S, D]
        offsets = None if w_q.plain else torch.bmm(k, w_q.bias.view(heads, width, 1)).flatten()  # [H·S]
        values = torch.bmm(v, w_o.weight.view(heads, width, -1))  # [H, S, D]
        values[0] += w_o.bias  # a head's weights sum to one
        return Absorbed(keys.flatten(0, 1).t(), offsets, values.flatten(0, 1))

    def add_absorbed(self, x: Tensor, absorbed: "Absorbed") -> Tensor:
        """What ``project``, ``mix`` and ``add_to`` make of rows that read one sentence, perhaps in the place of ``x``.

        [N, D] -> [N, D]
        """
        scores = self.projections.normalised(x) @ absorbed.keys  # [N, H·S]
        if absorbed.offsets is not None:
            scores += absorbed.offsets
        weights = scores.view(len(x), self.n_heads, -1).softmax(dim=2)  # [N, H, S]
        x = x.addmm_(weights.view(len(x), -1), absorbed.values)
        return x if self.pre else self.norm(x)

    def _in_heads(self, projected: Tensor, batch: int, n: int) -> Tensor:
        """[B·T, n·D] -> [B, T, n, H, K]"""
        return projected.view(batch, -1, n, self.n_heads, projected.size(1) // (n * self.n_heads))

    def mix(self, q: Tensor, k_v: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        """Attend; the heads side by side. [B, H, T, K], two of [B, H, S, K] -> [B·T, D]"""
        k, v = k_v
        return fused_attention(q, k, v, mask).transpose(1, 2).reshape(-1, self.out.bias.size(0))


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
        q, k, v = self.attention.heads(self.attention.project(x), batch)
        return self.feed_forward(self.attention.add_to(x, self.attention.mix(q, (k, v), mask)))


class Absorbed(NamedTuple):
    """One sentence's keys with W_Q multiplied in and its values with W_O: cross-attention in two products.

    (W_Q·x)·k is x·(W_Qᵀ·k), and W_O of a weighted sum of values is the weighted sum of W_O's values.
    """

    keys: Tensor
    """What is multiplied with the decoder's vectors to get the scores. [D, H·S]"""
    offsets: Tensor | None
    """What is added to the scores; None: it is in ``keys``. [H·S]"""
    values: Tensor
    """Of which the weighted sum over all heads and places is what the sublayer adds, W_O's bias too. [H·S, D]"""


class LayerCache(NamedTuple):
    """What one layer of the decoder reads beside a batch's new tokens."""

    place: int
    """Of the new tokens in their texts."""
    log: Tensor
    """Keys and values of the target, the newest N slots to be filled. [B, P, 2, H, K]"""
    descent: Tensor | None
    """0 at the slots that a beam descends from, -inf elsewhere; None: at all. [B, 1, N, P]"""
    cross: Sequence[Tensor]
    """Keys and values of the source. Two of [B, H, S, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None where nothing is padded. [B, 1, 1, S]"""
    absorbed: Absorbed | None
    """What is read in place of ``cross`` where the batch is alone; None: nothing."""


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

    def absorb(self, keys_values: Tensor) -> Absorbed | None:
        """The weights of cross-attention multiplied into what it reads of a sentence; None where that gains nothing.

        Args:
            keys_values: as ``cross_keys_values`` gives them. [1, S, 2, H, K]
        """
        return self.cross.absorb(*keys_values[0].permute(1, 2, 0, 3).unbind())

    def __call__(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """One new token for each row.

        Products are made of all rows; a row attends to its own batch's keys and values.

        Args:
            x: rows of several batches, one batch after the other. [rows, D]
            caches: of each batch.
            rows: B·N of each batch.
        """
        alone = self.attention.of_one_row(x, caches[0].log[0]) if len(x) == 1 and caches[0].descent is None else None
        x = self.attention.add_to(x, self._read_target(x, caches, rows) if alone is None else alone)
        if len(caches) == 1 and caches[0].absorbed is not None:
            return self.feed_forward(self.cross.add_absorbed(x, caches[0].absorbed))
        return self.feed_forward(self.cross.add_to(x, self._read_source(x, caches, rows)))

    def _read_target(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """The heads of self-attention side by side. [rows, D] -> [rows, D]"""
        mixed = []
        for cache, projected in zip(caches, _apart(self.attention.project(x), rows), strict=True):
            q, keys_values = self.attention.next_heads(projected, cache.log.size(0), cache.place)
            cache.log[:, -keys_values.size(1) :] = keys_values
            mixed.append(self.attention.mix(q, keys_values_of(cache.log), cache.descent))
        return _joined(mixed)

    def _read_source(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """The heads of cross-attention side by side. [rows, D] -> [rows, D]"""
        mixed = []
        for cache, projected in zip(caches, _apart(self.cross.project(x), rows), strict=True):
            q = self.cross.queries(projected, cache.cross[0].size(0))  # [B, H, N, K]
            mixed.append(self.cross.mix(q, cache.cross, cache.src_mask))
        return _joined(mixed)


def _apart(x: Tensor, rows: Sequence[int]) -> Sequence[Tensor]:
    """The rows of each batch. [rows, D] -> each [b, D]"""
    return [x] if len(rows) == 1 else torch.split(x, list(rows))


def _joined(parts: list[Tensor]) -> Tensor:
    """One below the other. Each [b, D] -> [rows, D]"""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def keys_values_of(cache: Tensor) -> Sequence[Tensor]:
    """[B, S, 2, H, K] -> two of [B, H, S, K]"""
    return cache.permute(2, 0, 3, 1, 4).unbind()
