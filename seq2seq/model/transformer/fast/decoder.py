"""The fast decoder of the Transformer.

It gives the same logits as the plain one (``TransformerDecoder``). What differs:

- The beams of a sentence attend to its source as N queries of one text, so keys and values of the source are neither
  copied nor read N times.
- The cache of target keys and values only grows: each step appends one entry for each beam. A mask says which entries
  are a beam's ancestors, so reordering beams moves no entries. If a sentence leaves, the last sentence of the batch
  takes its place, and only that one is copied.
- Weights are fused and stored for products of few rows.
- One matrix product computes the rows of several batches.
- Logits are computed when a search reads them, in blocks that fit into a processor's cache.

Shapes: B sentences, N beams, S source length, T target tokens so far, D model width, H heads, K width of a head, V
vocabulary, L decoder layers, P entries of the cache (one at the first step, then N a step), n allowed pieces (of a
shortlist, or all of V).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from seq2seq.device import to_device
from seq2seq.model.base import IMPOSSIBLE
from seq2seq.model.shortlist import Shortlist
from seq2seq.model.transformer.attention import key_mask
from seq2seq.model.transformer.fast.layers import FusedDecoderLayer, FusedEncoderLayer, LayerCache, split_keys_values
from seq2seq.model.transformer.fast.linear import Norm
from seq2seq.model.transformer.fast.output import OutputLayer, OutputLogits, Screen
from seq2seq.model.transformer.fast.sublayers import Absorbed
from seq2seq.model.transformer.model import Transformer

_MORE_STEPS = 12
"""At first the cache of the target has room for as many steps as the source has tokens, and for this many more."""
_PIECES_ALIGNED = 64
"""The vocabulary is padded to a multiple of this number with pieces that are never output."""


@dataclass
class FastState:
    """The state between steps; B sentences of N beams each. It is valid until the next step or reordering."""

    cross: list[Tensor]
    """Keys and values of the source. L of [B, S, 2, H, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None if nothing is padding. [B, 1, 1, S]"""
    absorbed: Sequence[Absorbed | None]
    """Read instead of ``cross`` while one sentence is decoded alone; None if ``absorb`` is not faster. L"""
    output: OutputLayer
    """The output layer of the allowed pieces."""
    pieces: Tensor | None
    """The allowed pieces; None: all pieces, then padding. [n]"""
    forbidden: Tensor | None
    """0 at the pieces that are allowed for a sentence, far below 0 elsewhere; None: all are. [B, n]"""
    kv_caches: list[Tensor]
    """Keys and values of the target so far, with room for more than the P entries in use. L of [B, ≥P, 2, H, K]"""
    ancestry: Tensor | None
    """0 at a beam's ancestors, -inf elsewhere; None with one beam. [B, N, P]"""
    diagonal: Tensor
    """0 on the diagonal, -inf elsewhere: of the newest entries a beam sees only its own. [N, N]"""
    n_tokens: int
    """Target tokens so far, the start symbol included: T."""
    n_entries: int
    """P"""
    cross_read: list[Sequence[Tensor]] | None = None
    """``cross`` in the shape that attention reads, after the first step. L of two [B, H, S, K]"""

    @property
    def n_beams(self) -> int:
        """N"""
        return self.diagonal.size(0)

    def layer_cache(self, layer: int) -> LayerCache:
        """The cache of one decoder layer."""
        ancestry = None if self.ancestry is None else self.ancestry.unsqueeze(1)  # [B, 1, N, P]
        cache = self.kv_caches[layer][:, : self.n_entries]
        if self.cross_read is None:
            self.cross_read = [split_keys_values(cross) for cross in self.cross]
        return LayerCache(
            self.n_tokens - 1, cache, ancestry, self.cross_read[layer], self.src_mask, self.absorbed[layer]
        )


class FastDecoder:
    """A trained Transformer as ``Decoder``.

    It copies the weights, except those of embeddings and positions, which it reads from the model.

    Args:
        model: in evaluation mode.
        shortlist: the pieces that are allowed for a sentence; None: all.
        greedy: whether the search reads ``Logits.best``. Its ``Screen`` takes half as much memory as the output layer.
        products: library of fp32 matrix products on a CPU: auto, mkl or onednn.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: Transformer,
        shortlist: Shortlist | None = None,
        *,
        greedy: bool = True,
        products: str = "auto",
    ) -> None:
        self._model = model
        self._shortlist = shortlist
        self._encoder = [FusedEncoderLayer(layer, products) for layer in model.encoder]  # type: ignore[arg-type]
        self._decoder = [FusedDecoderLayer(layer, products) for layer in model.decoder]  # type: ignore[arg-type]
        self._encoder_norm, self._decoder_norm = Norm(model.encoder_norm), Norm(model.decoder_norm)
        self._output = OutputLayer.padded(model.output, _PIECES_ALIGNED, products)
        self._screen = Screen.if_faster(self._output) if greedy and shortlist is None else None

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> FastState:
        """Encode sentences. Arguments as ``Decoder``'s. [B, S], [B, S]"""
        batch = src.size(0)
        mask = _additive(key_mask(src_mask), self._output.weight.dtype)  # [B, 1, 1, S]
        x = self._model.embed_src(src).flatten(0, 1)  # [B·S, D]
        for layer in self._encoder:
            x = layer(x, batch, mask)
        memory = self._encoder_norm(x)  # [B·S, D]
        cross = [layer.cross_keys_values(memory, batch) for layer in self._decoder]
        absorbed: list[Absorbed | None] = [None] * len(cross)
        if batch == 1 and mask is None:
            absorbed = [layer.absorb(keys_values) for layer, keys_values in zip(self._decoder, cross, strict=True)]
        cache = memory.new_empty(batch, 0, *cross[0].shape[2:])
        output, pieces, forbidden = self._output, None, None
        if self._shortlist is not None:
            pieces, allowed = self._shortlist.lookup(src, _PIECES_ALIGNED)
            output = output.select(pieces)
            forbidden = torch.zeros(allowed.shape, device=src.device).masked_fill_(~allowed, IMPOSSIBLE)
        return FastState(
            cross=cross,
            src_mask=mask,
            absorbed=absorbed,
            output=output,
            pieces=pieces,
            forbidden=forbidden,
            kv_caches=[cache] * len(cross),
            ancestry=None,
            diagonal=memory.new_zeros(1, 1),
            n_tokens=0,
            n_entries=0,
        )

    def step(self, tokens: Sequence[Tensor], states: Sequence[FastState]) -> tuple[list[OutputLogits], list[FastState]]:
        """One step of all batches at once. Arguments as ``Decoder``'s. Each [B·N]"""
        for state in states:
            self._append_entries(state)
        embedded = [
            self._model.embed_tgt(newest.unsqueeze(1), state.n_tokens - 1)  # [B·N, 1, D]
            for newest, state in zip(tokens, states, strict=True)
        ]
        x = torch.cat(embedded).squeeze(1)  # [rows, D]
        rows = [newest.size(0) for newest in tokens]
        for i, layer in enumerate(self._decoder):
            x = layer(x, [state.layer_cache(i) for state in states], rows)
        return self._logits(self._decoder_norm(x), states, rows), list(states)

    def _logits(self, hidden: Tensor, states: Sequence[FastState], rows: Sequence[int]) -> list[OutputLogits]:
        """The logits of each batch. Neighbours with the same output layer and number of beams share one object.

        Args:
            hidden: the rows of all batches, one batch after the other. [rows, D]
            states: of each batch.
            rows: B·N of each batch.
        """
        logits = []
        start = 0
        alike = groupby(zip(states, rows, strict=True), key=lambda batch: (id(batch[0].output), batch[0].n_beams))
        for _, batches in alike:
            (state, n), *others = batches
            stop = start + n + sum(n for _, n in others)
            logits.append(
                OutputLogits(
                    hidden[start:stop], state.output, state.n_beams, state.pieces, state.forbidden, self._screen
                )
            )
            start = stop
        return logits

    def reorder(self, state: FastState, sentences: Sequence[int], parents: Tensor) -> FastState:
        """As ``Decoder``'s. Sentences that keep their place are not copied. [B'], [B', N']"""
        moved = [(place, sentence) for place, sentence in enumerate(sentences) if place != sentence]
        if moved:
            used = [cache[:, : state.n_entries] for cache in state.kv_caches]
            for kept in (*state.cross, *used, state.src_mask, state.ancestry, state.forbidden):
                if kept is not None:
                    _move(kept, moved)
        n = len(sentences)
        if n < state.cross[0].size(0):
            state.cross, state.kv_caches = [k_v[:n] for k_v in state.cross], [k_v[:n] for k_v in state.kv_caches]
            state.cross_read = None
            state.src_mask = None if state.src_mask is None else state.src_mask[:n]
            state.ancestry = None if state.ancestry is None else state.ancestry[:n]
            state.forbidden = None if state.forbidden is None else state.forbidden[:n]
        beams = parents.size(1)
        if beams != state.n_beams:
            state.diagonal = state.diagonal.new_full((beams, beams), -math.inf).fill_diagonal_(0.0)
            if state.ancestry is None:
                state.ancestry = state.diagonal.new_zeros(n, 1, state.n_entries)
        if state.ancestry is not None:
            state.ancestry = state.ancestry.gather(1, parents.unsqueeze(2).expand(-1, -1, state.n_entries))
        return state

    def _append_entries(self, state: FastState) -> None:
        """Append one entry for each beam. Of the new entries of its sentence, a beam sees only its own."""
        if state.n_entries + state.n_beams > state.kv_caches[0].size(1) > 0:
            self._prune(state)
        if state.ancestry is not None:
            own = state.diagonal.expand(state.ancestry.size(0), -1, -1)
            state.ancestry = torch.cat((state.ancestry, own), dim=2)
        state.n_tokens += 1
        state.n_entries += state.n_beams
        room = state.kv_caches[0].size(1)
        if state.n_entries > room:
            # The number of beams is known only after the first step.
            steps = state.cross[0].size(1) + _MORE_STEPS if room else 1
            size = max(steps * state.n_beams, state.n_entries, room + room // 2)
            for i, cache in enumerate(state.kv_caches):
                state.kv_caches[i] = cache.new_empty(cache.size(0), size, *cache.shape[2:])
                state.kv_caches[i][:, :room] = cache

    def _prune(self, state: FastState) -> None:
        """Remove entries that are ancestors of no beam: the others move to the front of the cache."""
        if state.ancestry is None:
            return
        used = state.ancestry.eq(0).any(dim=1)  # [B, P]
        width = int(used.sum(dim=1).max())
        kept = used.byte().argsort(dim=1, descending=True, stable=True)[:, :width]  # [B, W]
        state.ancestry = state.ancestry.gather(2, kept.unsqueeze(1).expand(-1, state.n_beams, -1))
        rows = torch.arange(kept.size(0), device=kept.device).unsqueeze(1)  # [B, 1]
        for cache in state.kv_caches:
            cache[:, :width] = cache[rows, kept]
        state.n_entries = width


def _move(kept: Tensor, moved: Sequence[tuple[int, int]]) -> None:
    """Copy sentences within a tensor, from (place, origin) pairs. [B, …]"""
    if kept.device.type == "cpu" and not {place for place, _ in moved} & {origin for _, origin in moved}:
        for place, origin in moved:  # several times faster than indexing with tensors
            kept[place].copy_(kept[origin])
        return
    places, origins = (to_device(torch.tensor(column), kept.device) for column in zip(*moved, strict=True))
    kept[places] = kept[origins]


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """An additive mask, 0 or -inf, from a boolean one (True = may attend)."""
    return (
        None
        if mask is None
        else torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
    )
