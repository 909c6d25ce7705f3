"""The Transformer as translating uses it: encode once, then one target token at a time over cached keys and values.

The same arithmetic as ``Transformer.forward``, which sees all target positions at once; what differs is
what is kept and where:

- Keys and values of the source are made once a sentence. The beams of a sentence ask them as N queries
  of one text, so that they are neither copied nor read N times.
- Keys and values of the target go to a log that is only appended to: at each step one slot for every
  beam. Which slots a beam descends from is said by a mask, and so beams that change places move no
  cache. Sentences that leave make room for others from the end of the batch: they alone are copied.
- Weights are laid out for products of few rows: see ``laid_out``.

Shapes: B sentences, N beams, S source length, T target tokens so far, D model width, H heads,
K width of a head, V vocabulary, L decoder layers, P slots (one at the first step, then N a step), n pieces
that may come: a shortlist, or all of V.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.device import to_device
from seq2seq.model.shortlist import Shortlist
from seq2seq.model.transformer.fast import (
    Absorbed,
    CachedDecoderLayer,
    CachedEncoderLayer,
    LayerCache,
    Norm,
    keys_values_of,
)
from seq2seq.model.transformer.fast.output import IMPOSSIBLE, OutputLayer, Screen
from seq2seq.model.transformer.model import Transformer
from seq2seq.tokenizer import N_CONTROL

_MORE_STEPS = 12
"""The log of the target has room for so many more steps than the source is long, at first."""
_MIN_SCREENED_ROWS, _SCREENED_ROWS = 8, 256
"""Rows whose best columns are found by a screen: fewer are as quick by their logits, more outgrow the cache."""
_PIECES_ALIGNED = 64
"""The vocabulary's side of the output is filled up to a multiple of this with pieces that never come."""


@dataclass
class DecoderState:
    """What decoding remembers between steps; B sentences of N beams each. A step or a reordering uses it up."""

    cross: list[Tensor]
    """Keys and values of the source. L of [B, S, 2, H, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None where nothing is padding. [B, 1, 1, S]"""
    absorbed: Sequence[Absorbed | None]
    """What attention reads in place of ``cross`` where one sentence steps alone; None as ``absorb`` says. L"""
    output: OutputLayer
    """Of the pieces that may come."""
    pieces: Tensor | None
    """Which pieces these are; None: all, and some that fill up. [n]"""
    forbidden: Tensor | None
    """0 at the pieces that a sentence may be translated with, far below 0 elsewhere; None: all may come. [B, n]"""
    logs: list[Tensor]
    """Keys and values of the target so far, with room for more slots than the P in use. L of [B, ≥P, 2, H, K]"""
    descent: Tensor | None
    """0 at the slots that a beam descends from, -inf elsewhere; None with one beam. [B, N, P]"""
    own: Tensor
    """0 on the diagonal, -inf off it: of the newest slots a beam sees its own. [N, N]"""
    n_tokens: int
    """Target tokens so far, the start symbol included: T."""
    n_slots: int
    """P"""
    cross_read: list[Sequence[Tensor]] | None = None
    """``cross`` as attention reads it, once it has. L of two [B, H, S, K]"""

    @property
    def n_beams(self) -> int:
        """N"""
        return self.own.size(0)

    def of_layer(self, layer: int) -> LayerCache:
        """What one layer of the decoder reads."""
        descent = None if self.descent is None else self.descent.unsqueeze(1)  # [B, 1, N, P]
        log = self.logs[layer][:, : self.n_slots]
        if self.cross_read is None:
            self.cross_read = [keys_values_of(cross) for cross in self.cross]
        return LayerCache(self.n_tokens - 1, log, descent, self.cross_read[layer], self.src_mask, self.absorbed[layer])


class CachedTransformer:
    """A trained model laid out for translating: the calls of ``decoding``'s ``Model``.

    It holds copies of the weights as they are now, except embeddings and positions: it reads these from the model.

    Args:
        model: in evaluation mode.
        shortlist: what a sentence may be translated with; None: every piece.
        n_control: as ``decoding``'s ``Model`` has it.
        greedy: whether ``best_columns`` will be called: its screen takes half as much memory as the output layer.
        products: library of fp32 matrix products on a CPU: auto, mkl or onednn.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: Transformer,
        shortlist: Shortlist | None = None,
        *,
        n_control: int = N_CONTROL,
        greedy: bool = True,
        products: str = "auto",
    ) -> None:
        self.n_control = n_control
        self._model = model
        self._shortlist = shortlist
        self._encoder = [CachedEncoderLayer(layer, products) for layer in model.encoder]  # type: ignore[arg-type]
        self._decoder = [CachedDecoderLayer(layer, products) for layer in model.decoder]  # type: ignore[arg-type]
        self._encoder_norm, self._decoder_norm = Norm(model.encoder_norm), Norm(model.decoder_norm)
        self._output = OutputLayer.padded(model.output, _PIECES_ALIGNED, products)
        self._screen = Screen.quicker_than(self._output, n_control) if greedy and shortlist is None else None

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> DecoderState:
        """Encode sentences and make ready to translate them, one beam each.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None where nothing is padding. [B, 1, 1, S]
        """
        batch = src.size(0)
        mask = None if src_mask is None else _additive(src_mask, self._output.weight.dtype)
        x = self._model.embed_src(src).flatten(0, 1)  # [B·S, D]
        for layer in self._encoder:
            x = layer(x, batch, mask)
        memory = self._encoder_norm(x)  # [B·S, D]
        cross = [layer.cross_keys_values(memory, batch) for layer in self._decoder]
        absorbed: list[Absorbed | None] = [None] * len(cross)
        if batch == 1 and mask is None:
            absorbed = [layer.absorb(keys_values) for layer, keys_values in zip(self._decoder, cross, strict=True)]
        log = memory.new_empty(batch, 0, *cross[0].shape[2:])
        output, pieces, forbidden = self._output, None, None
        if self._shortlist is not None:
            pieces, allowed = self._shortlist.of(src, _PIECES_ALIGNED)
            output = output.of(pieces)
            forbidden = memory.new_zeros(allowed.shape).masked_fill_(~allowed, IMPOSSIBLE)
        return DecoderState(
            cross=cross,
            src_mask=mask,
            absorbed=absorbed,
            output=output,
            pieces=pieces,
            forbidden=forbidden,
            logs=[log] * len(cross),
            descent=None,
            own=memory.new_zeros(1, 1),
            n_tokens=0,
            n_slots=0,
        )

    def step(self, tokens: Sequence[Tensor], states: Sequence[DecoderState]) -> tuple[Tensor, list[DecoderState]]:
        """Read one more target token in each row of some batches.

        Args:
            tokens: for each batch the newest piece of each row, the beams of a sentence side by side. Each [B·N]
            states: everything before it; used up.

        Returns:
            What ``logits`` are made from, the batches' rows one after the other [rows, D], and the states with
            the new tokens in them.
        """
        for state in states:
            self._add_slots(state)
        embedded = [
            self._model.embed_tgt(newest.unsqueeze(1), state.n_tokens - 1)  # [B·N, 1, D]
            for newest, state in zip(tokens, states, strict=True)
        ]
        x = torch.cat(embedded).squeeze(1)  # [rows, D]
        rows = [len(newest) for newest in tokens]
        for i, layer in enumerate(self._decoder):
            x = layer(x, [state.of_layer(i) for state in states], rows)
        return self._decoder_norm(x), list(states)

    def output_of(self, state: DecoderState) -> int:
        """Says which pieces may come: ``logits`` takes rows of several states for which it is the same."""
        return id(state.output)

    def logits(self, hidden: Tensor, state: DecoderState, first: int, last: int) -> Tensor:
        """Unnormalised log-probabilities of the next piece for some rows; far below any other where it must not come.

        Args:
            hidden: as ``step`` returns it, of a state's rows, or of several states alike in ``output_of``. [rows, D]
            state: that ``step`` returned; one of these.
            first: row to begin with, the first of a sentence.
            last: row to end before.

        Returns:
            [last - first, n]
        """
        logits = state.output(hidden[first:last])
        if state.forbidden is not None:
            beams = state.n_beams
            logits.view(-1, beams, logits.size(1)).add_(state.forbidden[first // beams : last // beams].unsqueeze(1))
        return logits

    def best_columns(self, hidden: Tensor, state: DecoderState) -> Tensor | None:
        """The column of each row's highest logit, of those that may come; None if it is not found without all logits.

        Args:
            hidden: as for ``logits``. [rows, D]
            state: as for ``logits``.

        Returns:
            [rows]
        """
        if self._screen is None or len(hidden) < _MIN_SCREENED_ROWS:
            return None
        found = [self._screen.best(block) for block in torch.split(hidden, _SCREENED_ROWS)]
        known = [columns for columns in found if columns is not None]
        return torch.cat(known) if len(known) == len(found) else None

    def pieces(self, columns: Tensor, state: DecoderState) -> Tensor:
        """The pieces that columns of the logits stand for. Any shape; the same shape."""
        return columns if state.pieces is None else state.pieces[columns]

    def reorder(self, state: DecoderState, sentences: Sequence[int], parents: Tensor) -> DecoderState:
        """Drop sentences, let each beam go on from another, change the number of beams.

        Args:
            state: B sentences of N beams; used up.
            sentences: which go on, and in what order. Those that keep their place are not copied. [B']
            parents: for each new beam, the beam of its sentence to go on from. [B', N']

        Returns:
            The state of B' ≤ B sentences of N' beams.
        """
        moved = [(place, sentence) for place, sentence in enumerate(sentences) if place != sentence]
        if moved:
            used = [log[:, : state.n_slots] for log in state.logs]
            for kept in (*state.cross, *used, state.src_mask, state.descent, state.forbidden):
                if kept is not None:
                    _move(kept, moved)
        n = len(sentences)
        if n < state.cross[0].size(0):
            state.cross, state.logs = [k_v[:n] for k_v in state.cross], [k_v[:n] for k_v in state.logs]
            state.cross_read = None
            state.src_mask = None if state.src_mask is None else state.src_mask[:n]
            state.descent = None if state.descent is None else state.descent[:n]
            state.forbidden = None if state.forbidden is None else state.forbidden[:n]
        beams = parents.size(1)
        if beams != state.n_beams:
            state.own = state.own.new_full((beams, beams), -math.inf).fill_diagonal_(0.0)
            if state.descent is None:
                state.descent = state.own.new_zeros(n, 1, state.n_slots)
        if state.descent is not None:
            state.descent = state.descent.gather(1, parents.unsqueeze(2).expand(-1, -1, state.n_slots))
        return state

    def _add_slots(self, state: DecoderState) -> None:
        """Let the log hold one more slot for each beam, which sees itself and none of its sentence's other beams."""
        if state.n_slots + state.n_beams > state.logs[0].size(1) > 0:
            self._drop_dead_slots(state)
        if state.descent is not None:
            own = state.own.expand(state.descent.size(0), -1, -1)
            state.descent = torch.cat((state.descent, own), dim=2)
        state.n_tokens += 1
        state.n_slots += state.n_beams
        room = state.logs[0].size(1)
        if state.n_slots > room:
            # How many beams there will be is known after the first step.
            steps = state.cross[0].size(1) + _MORE_STEPS if room else 1
            size = max(steps * state.n_beams, state.n_slots, room + room // 2)
            for i, log in enumerate(state.logs):
                state.logs[i] = log.new_empty(log.size(0), size, *log.shape[2:])
                state.logs[i][:, :room] = log

    def _drop_dead_slots(self, state: DecoderState) -> None:
        """Move the slots that a beam descends from to the front of the log, over those that none does any more."""
        if state.descent is None:
            return
        alive = state.descent.eq(0).any(dim=1)  # [B, P]
        width = int(alive.sum(dim=1).max())
        kept = alive.byte().argsort(dim=1, descending=True, stable=True)[:, :width]  # [B, W]
        state.descent = state.descent.gather(2, kept.unsqueeze(1).expand(-1, state.n_beams, -1))
        rows = torch.arange(len(kept), device=kept.device).unsqueeze(1)  # [B, 1]
        for log in state.logs:
            log[:, :width] = log[rows, kept]
        state.n_slots = width


def _move(kept: Tensor, moved: Sequence[tuple[int, int]]) -> None:
    """Copy sentences to other places. [B, …]"""
    if kept.device.type == "cpu" and not {place for place, _ in moved} & {origin for _, origin in moved}:
        for place, origin in moved:  # a few times as fast as an index
            kept[place].copy_(kept[origin])
        return
    places, origins = (to_device(torch.tensor(column), kept.device) for column in zip(*moved, strict=True))
    kept[places] = kept[origins]


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """True = may attend, as what is added to a score: 0, else -inf."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
