"""The plain decoder of the Transformer: one token at a time, with a cache of keys and values.

``Transformer.decode`` computes all target positions at once. A search does not know the target yet, so here each step
computes one position. Its query attends to the keys and values of all tokens so far. These are computed once, when a
token is read, and kept in the ``kv_caches``. The keys and values of the source are also computed once.

This decoder is the reference: ``fast/`` gives the same logits, faster.

Shapes: B sentences, N beams, R = B·N rows (the beams of a sentence are neighbours), S source length, T target tokens so
far, D model width, H heads, K width of a head, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.model.base import TensorLogits
from seq2seq.model.transformer.attention import fused_attention, key_mask
from seq2seq.model.transformer.layers import DecoderLayer
from seq2seq.model.transformer.model import Transformer


@dataclass
class KVCache:
    """Keys and values of one attention layer. Two of [R, H, T, K]"""

    keys: Tensor
    values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add those of the newest token of each row. Two of [R, H, 1, K]"""
        self.keys = torch.cat((self.keys, keys), dim=2)
        self.values = torch.cat((self.values, values), dim=2)

    def select(self, rows: Tensor) -> "KVCache":
        """The keys and values of some rows. [R']"""
        return KVCache(self.keys.index_select(0, rows), self.values.index_select(0, rows))


@dataclass
class DecoderState:
    """The state of a batch: keys and values of what it has read so far."""

    cross: list[KVCache]
    """Keys and values of the source, in each layer. They do not grow."""
    src_mask: Tensor | None
    """True at real source tokens; None if nothing is padding. [R, S]"""
    kv_caches: list[KVCache]
    """Keys and values of the target so far, in each layer."""
    n_tokens: int
    """T"""
    n_beams: int
    """N"""


class TransformerDecoder:
    """A trained Transformer as ``Decoder``.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Transformer) -> None:
        self._model = model

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> DecoderState:
        """Encode sentences. Arguments as ``Decoder``'s. [B, S], [B, S]"""
        memory = self._model.encode(src, src_mask)  # [B, S, D]
        cross = [KVCache(*layer.cross_attention.keys_values(memory)) for layer in self._model.decoder_layers]
        empty = [KVCache(cache.keys[:, :, :0], cache.values[:, :, :0]) for cache in cross]
        return DecoderState(cross, src_mask, empty, n_tokens=0, n_beams=1)

    def step(
        self, tokens: Sequence[Tensor], states: Sequence[DecoderState]
    ) -> tuple[list[TensorLogits], list[DecoderState]]:
        """One step of each batch, one batch after the other. Arguments as ``Decoder``'s. Each [R]"""
        return [self._step(newest, state) for newest, state in zip(tokens, states, strict=True)], list(states)

    def reorder(self, state: DecoderState, sentences: Sequence[int], parents: Tensor) -> DecoderState:
        """Copy the rows of the beams that continue. Arguments as ``Decoder``'s."""
        first_rows = torch.tensor(sentences, device=parents.device) * state.n_beams  # [B']
        rows = (first_rows.unsqueeze(1) + parents).flatten()  # [B'·N']
        return DecoderState(
            cross=[cache.select(rows) for cache in state.cross],
            src_mask=None if state.src_mask is None else state.src_mask.index_select(0, rows),
            kv_caches=[cache.select(rows) for cache in state.kv_caches],
            n_tokens=state.n_tokens,
            n_beams=parents.size(1),
        )

    def _step(self, tokens: Tensor, state: DecoderState) -> TensorLogits:
        """Read the newest token of each row. [R] -> [R, V]"""
        x = self._model.embed_tgt(tokens.unsqueeze(1), offset=state.n_tokens)  # [R, 1, D]
        for layer, cross, cache in zip(self._model.decoder_layers, state.cross, state.kv_caches, strict=True):
            x = _next_token(layer, x, cache, cross, state)
        state.n_tokens += 1
        return TensorLogits(self._model.output(self._model.decoder_norm(x)).squeeze(1))


def _next_token(layer: DecoderLayer, x: Tensor, cache: KVCache, cross: KVCache, state: DecoderState) -> Tensor:
    """One layer for the newest token of each row. [R, 1, D] -> [R, 1, D]"""

    def self_attention(y: Tensor) -> Tensor:
        q, k, v = layer.self_attention.self_queries_keys_values(y, offset=state.n_tokens)
        cache.append(k, v)
        # The newest token is the last one, so there is nothing to its right and no causal mask.
        return layer.self_attention.mix_heads(fused_attention(q, cache.keys, cache.values))

    def cross_attention(y: Tensor) -> Tensor:
        q = layer.cross_attention.queries(y)
        return layer.cross_attention.mix_heads(fused_attention(q, cross.keys, cross.values, key_mask(state.src_mask)))

    x = layer.self_attention_residual(x, self_attention)
    x = layer.cross_attention_residual(x, cross_attention)
    return layer.feed_forward_residual(x, layer.feed_forward)  # type: ignore[no-any-return]
