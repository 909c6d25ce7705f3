"""The recurrent network with attention: the encoder reads in both directions, the decoder looks back at the source.

A recurrent layer reads one token after the other, and keeps what it has read in a state of fixed size. So T tokens are
T steps that must follow one another, however many processors there are; and what the first token said has to survive
all steps up to the last. Attention was invented to shorten that way: at each target position the decoder looks back at
all source vectors. The Transformer keeps the attention, and drops the recurrence.

The encoder is that of Bahdanau et al. 2015, arXiv:1409.0473; scores and output are those of Luong et al. 2015,
arXiv:1508.04025. As in Wu et al. 2016, arXiv:1609.08144, the first decoder layer makes the queries, and the layers
above read what attention found: no layer needs the logits of the position before, so that in training each layer reads
the whole target in one call.

Shapes: B sentences, N beams, R = B·N rows (the beams of a sentence are neighbours), S source length, T target length,
D model width, L decoder layers, V vocabulary. Masks are boolean, True = may attend.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.errors import counted
from seq2seq.model.base import AttentionHead, AttentionKind, MaxLengths, PerToken, Seq2SeqModel, TensorLogits
from seq2seq.model.products import Linear
from seq2seq.model.transformer.attention import ATTENTIONS, fused_attention, key_mask, reference_attention
from seq2seq.model.transformer.layers import Dropout

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
_N_GATES = {"lstm": 4, "gru": 3}
_N_STATES = {"lstm": 2, "gru": 1}

LayerState = tuple[Tensor, ...]
"""What a recurrent layer has read so far: its output, and of an LSTM its memory cell. One or two of [1, R, D]"""


class BidirectionalLayer(nn.Module):
    """Two recurrent layers of half the width; one reads from the left, the other from the right."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        cell, width = CELLS[config.rnn.cell], config.d_model
        self.forwards = cell(width, width // 2, batch_first=True)
        self.backwards = cell(width, width // 2, batch_first=True)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]

        Args:
            x: [B, S, D]
            order: see ``reversed_order``. [B, S]
        """
        from_left, _ = self.forwards(x)  # [B, S, D/2]
        from_right, _ = self.backwards(_reordered(x, order))
        return torch.cat((from_left, _reordered(from_right, order)), dim=2)


def reversed_order(src: Tensor, src_mask: Tensor | None) -> Tensor:
    """The positions of each text from its last token to its first; padding stays on the right. [B, S] -> [B, S]

    To reverse twice gives the text again.
    """
    position = torch.arange(src.size(1), device=src.device)  # [S]
    length = src.size(1) if src_mask is None else src_mask.sum(dim=1, keepdim=True)  # [B, 1]
    return torch.where(position < length, length - 1 - position, position).expand(src.shape)


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.unsqueeze(2).expand(-1, -1, x.size(2)))


class RecurrentModel(Seq2SeqModel):
    """Encoder, attention and decoder.

    Args:
        config: the shape.
        vocab_size: pieces of the joint vocabulary V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        width, n_layers = config.d_model, config.decoder_layers
        self.src_embedding = nn.Embedding(vocab_size, width)
        self.tgt_embedding = self.src_embedding if config.tied_embeddings else nn.Embedding(vocab_size, width)
        self.encoder = nn.ModuleList(BidirectionalLayer(config) for _ in range(config.encoder_layers))
        self.first_states = Linear(width // 2, n_layers * width)
        cell = CELLS[config.rnn.cell]
        # All layers but the first read what attention found, beside the output of the layer below.
        self.decoder = nn.ModuleList(
            cell(width if i == 0 else 2 * width, width, batch_first=True) for i in range(n_layers)
        )
        self.score = ATTENTIONS[config.rnn.attention](1, width)
        self.combine = Linear(2 * width, width)  # W_c of Luong et al.
        self.output = Linear(width, vocab_size)
        if config.tied_embeddings:
            self.output.weight = self.src_embedding.weight
        self.dropout = Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        """Glorot for the matrices, unit variance after embedding; recurrent layers start as PyTorch's."""
        for linear in (self.first_states, self.combine):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for matrix in (self.src_embedding.weight, self.tgt_embedding.weight, self.output.weight):
            nn.init.normal_(matrix, std=self.config.d_model**-0.5)
        nn.init.zeros_(self.output.bias)

    def _embed(self, tokens: Tensor, embedding: nn.Module) -> Tensor:
        """[B, T] -> [B, T, D]"""
        return self.dropout(embedding(tokens) * math.sqrt(self.config.d_model))  # type: ignore[no-any-return]

    def encode(self, src: Tensor, src_mask: Tensor | None = None) -> tuple[Tensor, list[LayerState]]:
        """Read the source in both directions.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None if nothing is padding. [B, S]

        Returns:
            ``memory``, one vector for each source token [B, S, D]; and the decoder's states before its first token, one
            for each layer.
        """
        order = reversed_order(src, src_mask)
        x = self._embed(src, self.src_embedding)  # [B, S, D]
        for layer in self.encoder:
            x = x + self.dropout(layer(x, order))
        # At the first token, the reader from the right has read the whole source.
        whole = x[:, 0, self.config.d_model // 2 :]  # [B, D/2]
        starts = torch.tanh(self.first_states(whole)).chunk(self.config.decoder_layers, dim=1)  # L of [B, D]
        n_states = _N_STATES[self.config.rnn.cell]
        return x, [(start.unsqueeze(0), *[torch.zeros_like(start.unsqueeze(0))] * (n_states - 1)) for start in starts]

    def queries(self, x: Tensor) -> Tensor:
        """Outputs of the first decoder layer as queries, transformed by the score. [B, T, D] -> [B, 1, T, D]"""
        return self.score(x.unsqueeze(1))  # type: ignore[no-any-return]

    def read_first(self, tgt: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """The first decoder layer, which asks. [B, T] -> [B, T, D]"""
        x, state = _recur(self.decoder[0], self._embed(tgt, self.tgt_embedding), state)
        return self.dropout(x), state

    def read_above(self, x: Tensor, context: Tensor, states: Sequence[LayerState]) -> tuple[Tensor, list[LayerState]]:
        """The layers above the first, and Luong's output: both read the context.

        Args:
            x: output of the first layer. [B, T, D]
            context: what attention found. [B, T, D]
            states: of these layers.

        Returns:
            The input of the output layer [B, T, D], and the new states.
        """
        new = []
        for layer, before in zip(list(self.decoder)[1:], states, strict=True):
            y, state = _recur(layer, torch.cat((x, context), dim=2), before)
            x = x + self.dropout(y)
            new.append(state)
        return self.dropout(torch.tanh(self.combine(torch.cat((x, context), dim=2)))), new

    def hidden(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """As ``Seq2SeqModel``'s. [B, T, D]"""
        memory, (first, *above) = self.encode(src, src_mask)
        x, _ = self.read_first(tgt, first)
        context = attend(self.queries(x), memory, src_mask)
        return self.read_above(x, context, above)[0]

    def attention_maps(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> dict[AttentionKind, Tensor]:
        """As ``Seq2SeqModel``'s: one head of cross-attention. [B, 1, 1, T, S]"""
        queries, keys = self._queries_keys(src, tgt, src_mask)
        weights = reference_attention(queries, keys, keys, key_mask(src_mask))[1]  # [B, 1, T, S]
        return {"cross": weights.unsqueeze(1).float()}

    def attention_head(self, src: Tensor, tgt: Tensor, kind: AttentionKind, layer: int, head: int) -> AttentionHead:
        """As ``Seq2SeqModel``'s."""
        queries, keys = self._queries_keys(src, tgt, None)
        return AttentionHead(queries[0, 0].float(), keys[0, 0].float(), keys[0, 0].float())

    def _queries_keys(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """[B, 1, T, D], [B, 1, S, D]"""
        memory, (first, *_) = self.encode(src, src_mask)
        x, _ = self.read_first(tgt, first)
        return self.queries(x), memory.unsqueeze(1)


def attend(queries: Tensor, memory: Tensor, src_mask: Tensor | None) -> Tensor:
    """Source vectors are keys and values at once. [B, 1, T, D], [B, S, D], [B, S] -> [B, T, D]"""
    keys = memory.unsqueeze(1)  # [B, 1, S, D]
    return fused_attention(queries, keys, keys, key_mask(src_mask)).squeeze(1)


def _recur(layer: nn.Module, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
    """One recurrent layer over some positions, after those of ``state``. [B, T, D or 2·D] -> [B, T, D]"""
    if isinstance(layer, nn.LSTM):
        return layer(x, state)  # type: ignore[no-any-return]
    y, last = layer(x, *state)
    return y, (last,)


# Decoding ---------------------------------------------------------------------------------------------------------


@dataclass
class RecurrentState:
    """What a batch has read so far. It does not grow with the target."""

    memory: Tensor
    """[B, S, D]"""
    src_mask: Tensor | None
    """[B, S]"""
    states: list[LayerState]
    """Of each decoder layer, for each row."""


class RecurrentDecoder:
    """A trained ``RecurrentModel`` as ``Decoder``.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: RecurrentModel) -> None:
        self._model = model

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> RecurrentState:
        """Encode sentences. Arguments as ``Decoder``'s. [B, S], [B, S]"""
        memory, states = self._model.encode(src, src_mask)
        return RecurrentState(memory, src_mask, states)

    def step(
        self, tokens: Sequence[Tensor], states: Sequence[RecurrentState]
    ) -> tuple[list[TensorLogits], list[RecurrentState]]:
        """One step of each batch, one batch after the other. Arguments as ``Decoder``'s. Each [R]"""
        return [self._step(newest, state) for newest, state in zip(tokens, states, strict=True)], list(states)

    def reorder(self, state: RecurrentState, sentences: Sequence[int], parents: Tensor) -> RecurrentState:
        """Copy the rows that continue. Arguments as ``Decoder``'s."""
        kept = torch.tensor(sentences, device=parents.device)  # [B']
        n_beams = state.states[0][0].size(1) // state.memory.size(0)
        rows = ((kept * n_beams).unsqueeze(1) + parents).flatten()  # [B'·N']
        # All beams of a sentence look at one source: it is copied only when sentences leave.
        same = len(sentences) == state.memory.size(0) and list(sentences) == list(range(len(sentences)))
        return RecurrentState(
            state.memory if same else state.memory.index_select(0, kept),
            state.src_mask if same or state.src_mask is None else state.src_mask.index_select(0, kept),
            [tuple(part.index_select(1, rows) for part in of_layer) for of_layer in state.states],
        )

    def _step(self, tokens: Tensor, state: RecurrentState) -> TensorLogits:
        """Read the newest token of each row. [R] -> [R, V]"""
        first, *above = state.states
        x, first = self._model.read_first(tokens.unsqueeze(1), first)  # [R, 1, D]
        queries = self._model.queries(x.view(state.memory.size(0), -1, x.size(2)))  # [B, 1, N, D]
        context = attend(queries, state.memory, state.src_mask).reshape(x.shape)  # [R, 1, D]
        x, above = self._model.read_above(x, context, above)
        state.states = [first, *above]
        return TensorLogits(self._model.output(x.squeeze(1)))


# Sizes ------------------------------------------------------------------------------------------------------------


def limits(config: ModelConfig) -> MaxLengths:
    """A recurrent network reads texts of any length."""
    return MaxLengths()


def multiply_adds(config: ModelConfig, vocab_size: int) -> PerToken:
    """Products with weights in a forward pass; what happens once a sentence counts for one token."""
    square, gates = config.d_model**2, _N_GATES[config.rnn.cell]
    a_direction = gates * (config.d_model // 2) * (config.d_model + config.d_model // 2)
    first_states = square // 2 * config.decoder_layers
    layers = gates * (2 * square + 3 * square * (config.decoder_layers - 1))
    score = square if config.rnn.attention == "bilinear" else 0
    return PerToken(
        src=2 * a_direction * config.encoder_layers + first_states,
        tgt=layers + score + 2 * square + config.d_model * vocab_size,
    )


def n_layers(config: ModelConfig) -> int:
    """Of encoder, in both directions, and decoder."""
    return 2 * config.encoder_layers + config.decoder_layers


def state_size(config: ModelConfig) -> PerToken:
    """A vector for each source token. The decoder's states do not grow; a few tokens' worth of them is counted."""
    return PerToken(src=config.d_model, tgt=config.d_model)


def shape(config: ModelConfig) -> str:
    """For example ``2 encoder and 2 decoder layers of LSTM, of width 256``."""
    layers = f"{config.encoder_layers} encoder and {counted(config.decoder_layers, 'decoder layer')}"
    return f"{layers} of {config.rnn.cell.upper()}, of width {config.d_model}"
