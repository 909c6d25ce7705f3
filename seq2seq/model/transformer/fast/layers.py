"""The fused layers of encoder and decoder.

Shapes: B sentences, N beams, S source length, D model width, H heads, K width of a head, P entries of the cache.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.model.transformer.fast.linear import FusedLinear
from seq2seq.model.transformer.fast.sublayers import Absorbed, FusedAttention, FusedFeedForward
from seq2seq.model.transformer.layers import DecoderLayer, EncoderLayer


class FusedEncoderLayer:
    """A fused layer of the encoder: the weights of an ``EncoderLayer``, stored for translation."""

    def __init__(self, layer: EncoderLayer, products: str) -> None:
        self.attention = FusedAttention(layer.self_attention, layer.self_attention_residual, products)
        self.feed_forward = FusedFeedForward(layer.feed_forward, layer.feed_forward_residual, products)

    def __call__(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """[B·S, D] -> [B·S, D]; the mask is [B, 1, 1, S]"""
        q, k, v = self.attention.heads(self.attention.project(x), batch)
        return self.feed_forward(self.attention.add_to(x, self.attention.mix(q, (k, v), mask)))


class LayerCache(NamedTuple):
    """What one decoder layer reads besides the new tokens of a batch."""

    position: int
    """Position of the new tokens."""
    kv_cache: Tensor
    """Keys and values of the target; the layer writes the newest N entries. [B, P, 2, H, K]"""
    ancestry: Tensor | None
    """0 at a beam's ancestors, -inf elsewhere; None: all entries are. [B, 1, N, P]"""
    cross: Sequence[Tensor]
    """Keys and values of the source. Two of [B, H, S, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None if nothing is padding. [B, 1, 1, S]"""
    absorbed: Absorbed | None
    """Read instead of ``cross`` if the batch is the only one; None: ``cross`` is read."""


class FusedDecoderLayer:
    """A fused layer of the decoder: the weights of a ``DecoderLayer``, stored for translation."""

    def __init__(self, layer: DecoderLayer, products: str) -> None:
        self.attention = FusedAttention(layer.self_attention, layer.self_attention_residual, products)
        self.cross = FusedAttention(layer.cross_attention, layer.cross_attention_residual, products)
        self.feed_forward = FusedFeedForward(layer.feed_forward, layer.feed_forward_residual, products)
        keys_values = layer.cross_attention.kv_proj
        self.keys_values = FusedLinear([keys_values.weight], [keys_values.bias], products)

    def cross_keys_values(self, memory: Tensor, batch: int) -> Tensor:
        """Keys and values of cross-attention. [B·S, D] -> [B, S, 2, H, K]

        Args:
            memory: the encoder's output.
            batch: B
        """
        heads = self.cross.n_heads
        return self.keys_values(memory).view(batch, -1, 2, heads, memory.size(1) // heads)

    def absorb(self, keys_values: Tensor) -> Absorbed | None:
        """Absorb W_Q and W_O of cross-attention into a sentence's keys and values; None if that is not faster.

        Args:
            keys_values: as ``cross_keys_values`` gives them. [1, S, 2, H, K]
        """
        return self.cross.absorb(*keys_values[0].permute(1, 2, 0, 3).unbind())

    def __call__(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """Compute one new token for each row.

        One matrix product computes the rows of all batches. A row attends to the keys and values of its own batch.

        Args:
            x: rows of several batches, one batch after the other. [rows, D]
            caches: of each batch.
            rows: B·N of each batch.
        """
        x = self.attention.add_to(x, self._read_target(x, caches, rows))
        if len(caches) == 1 and caches[0].absorbed is not None:
            return self.feed_forward(self.cross.add_absorbed(x, caches[0].absorbed))
        return self.feed_forward(self.cross.add_to(x, self._read_source(x, caches, rows)))

    def _read_target(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """The concatenated heads of self-attention. [rows, D] -> [rows, D]"""
        mixed = []
        for cache, projected in zip(caches, _split_rows(self.attention.project(x), rows), strict=True):
            q, keys_values = self.attention.next_heads(projected, cache.kv_cache.size(0), cache.position)
            cache.kv_cache[:, -keys_values.size(1) :] = keys_values
            mixed.append(self.attention.mix(q, split_keys_values(cache.kv_cache), cache.ancestry))
        return _concat(mixed)

    def _read_source(self, x: Tensor, caches: Sequence[LayerCache], rows: Sequence[int]) -> Tensor:
        """The concatenated heads of cross-attention. [rows, D] -> [rows, D]"""
        mixed = []
        for cache, projected in zip(caches, _split_rows(self.cross.project(x), rows), strict=True):
            q = self.cross.queries(projected, cache.cross[0].size(0))  # [B, H, N, K]
            mixed.append(self.cross.mix(q, cache.cross, cache.src_mask))
        return _concat(mixed)


def _split_rows(x: Tensor, rows: Sequence[int]) -> Sequence[Tensor]:
    """The rows of each batch. [rows, D] -> each [b, D]"""
    return [x] if len(rows) == 1 else torch.split(x, list(rows))


def _concat(parts: list[Tensor]) -> Tensor:
    """Concatenate the rows of all batches. Each [b, D] -> [rows, D]"""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def split_keys_values(cache: Tensor) -> Sequence[Tensor]:
    """Keys and values of a cache, as attention reads them. [B, S, 2, H, K] -> two of [B, H, S, K]"""
    return cache.permute(2, 0, 3, 1, 4).unbind()
