"""What every architecture offers: a model to train, and a decoder of three calls (``start``, ``step``, ``reorder``).

Training and translating know an architecture by the classes here and by its row of ``ARCHITECTURES``; decoding knows
only ``Decoder`` and ``Logits``.

Shapes: B sentences, N beams, S source length, T target length, D model width, H heads, V vocabulary, n columns of the
logits: the pieces that may come next. Masks are boolean, True = may be read.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model.products import Linear

AttentionKind = Literal["encoder", "decoder", "cross"]
"""Encoder self-attention, masked self-attention of the decoder, cross-attention of the decoder to the encoder."""


class AttentionHead(NamedTuple):
    """What one head computes with, for one sentence: its weights are the softmax of queries times keys. K channels."""

    queries: Tensor
    """Scaled, or transformed in another way, as the score wants it. [queries, K]"""
    keys: Tensor
    """[keys, K]"""
    values: Tensor
    """[keys, K]"""


class Positions(NamedTuple):
    """How a model tells its tokens' positions."""

    name: str
    """As in the configuration; empty if the architecture needs none, because it reads one token after another."""
    table: Tensor | None = None
    """What is added to the embeddings, one row for each position; None: nothing is added. [positions, D]"""


# Training ---------------------------------------------------------------------------------------------------------


class Seq2SeqModel(nn.Module, ABC):
    """A trainable model: it reads a source and a whole target at once (teacher forcing)."""

    config: ModelConfig
    output: Linear
    """The output layer: from hidden vectors to logits. [..., D] -> [..., V]"""

    @abstractmethod
    def hidden(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """Hidden vectors of the target positions. Each is computed from the source and the target up to its position.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None if nothing is padding. [B, S]
            tgt: start symbol, then pieces, padded on the right. [B, T]

        Returns:
            The input of ``output``. [B, T, D]
        """

    def forward(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """Logits of the piece after each target position. Arguments as ``hidden``'s. [B, T, V]"""
        return self.output(self.hidden(src, src_mask, tgt))  # type: ignore[no-any-return]

    @abstractmethod
    def attention_maps(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> dict[AttentionKind, Tensor]:
        """Where each position looks, in every layer and head. Arguments as ``hidden``'s.

        Returns:
            By kind, only the kinds that the architecture has, in fp32: weights that sum to one over the keys, and are
            0 for padding of the source. A kind without layers or heads has one of each.
            encoder: [B, layers, H, S, S]; decoder: [B, layers, H, T, T]; cross: [B, layers, H, T, S]
        """

    def cross_attention(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """``attention_maps`` of one kind, for callers that need no other. [B, layers, H, T, S]"""
        return self.attention_maps(src, tgt, src_mask)["cross"]

    def attention_head(
        self, src: Tensor, tgt: Tensor, kind: AttentionKind, layer: int, head: int
    ) -> AttentionHead | None:
        """The numbers of one head; None if its score is not a product of queries and keys.

        Args:
            src: of one sentence, without padding. [1, S]
            tgt: start symbol, then pieces. [1, T]
            kind: one that the architecture has.
            layer: counted from 1.
            head: counted from 1.
        """
        return None

    def positions(self, length: int) -> Positions:
        """How the model tells the first ``length`` positions of a source; by default it needs no encodings."""
        return Positions("")


def padding_mask(tokens: Tensor, pad: int) -> Tensor | None:
    """True at real tokens; None if nothing is padding. [B, S] -> [B, S]"""
    real = tokens.ne(pad)
    return None if bool(real.all()) else real


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())


# Decoding ---------------------------------------------------------------------------------------------------------

IMPOSSIBLE = -1e30
"""The logit of a piece that is not allowed. It is finite, as a matrix product may turn -inf into NaN. fp16 cannot hold
it."""


class Logits(Protocol):
    """Logits of the next piece for each row of a step. They are computed when a search reads them, so only those that
    it needs are computed. They are valid until the states of their step are used again.

    A row has one column for each piece that may come next: all pieces, or those of a shortlist. The first columns are
    always the control symbols.
    """

    device: torch.device

    def __len__(self) -> int:
        """Number of rows."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Logits of some rows: unnormalized log-probabilities, far below all others for a piece that is not allowed.

        Args:
            start: first row, the first of a sentence.
            stop: row after the last one.

        Returns:
            A tensor that the caller may change, and therefore reads once. [stop - start, n]
        """

    def best(self) -> Tensor | None:
        """The piece with the highest logit in each row; None if only all logits can find it. [rows]"""

    def pieces(self, columns: Tensor) -> Tensor:
        """The pieces that columns stand for. Any shape; the same shape"""


class Decoder(Protocol):
    """A trained model that generates one target token at a time. Decoding uses nothing else of a model.

    A state belongs to its decoder: no other code reads it, and each state is used once.
    """

    def start(self, src: Tensor, src_mask: Tensor | None) -> Any:
        """Encode sources. Each sentence starts with one beam. The model is in evaluation mode.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None if nothing is padding. [B, S]

        Returns:
            The state of the batch.
        """

    def step(self, tokens: Sequence[Tensor], states: Sequence[Any]) -> tuple[Sequence[Logits], Sequence[Any]]:
        """Read one more target token in each row of several batches (continuous batching).

        Args:
            tokens: for each batch the newest piece of each row; the beams of a sentence are neighbours. Each [B·N]
            states: of each batch; invalid afterwards.

        Returns:
            Logits with the batches' rows one after the other: one for each batch, or one for several neighbours with
            the same columns and number of beams; and the new states.
        """

    def reorder(self, state: Any, sentences: Sequence[int], parents: Tensor) -> Any:
        """Drop finished sentences, and let each new beam continue one of the old beams of its sentence.

        Args:
            state: B sentences of N beams; invalid afterwards.
            sentences: indices of those that stay, in their new order. [B']
            parents: index of the old beam that each new beam continues. [B', N']

        Returns:
            The state of B' ≤ B sentences of N' beams.
        """


class TensorLogits:
    """Logits of all pieces, already computed. [rows, V]"""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        self.device = logits.device

    def __len__(self) -> int:
        """Number of rows."""
        return self._logits.size(0)

    def rows(self, start: int, stop: int) -> Tensor:
        """[stop - start, V]"""
        return self._logits[start:stop]

    def best(self) -> None:
        """None: only all logits can find it."""

    def pieces(self, columns: Tensor) -> Tensor:
        """The columns are the pieces."""
        return columns


# Sizes ------------------------------------------------------------------------------------------------------------


class MaxLengths(NamedTuple):
    """Max lengths of source and target in tokens, EOS included; None: no limit."""

    max_src: int | None = None
    max_tgt: int | None = None


class PerToken(NamedTuple):
    """A cost for each token: of arithmetic, or of memory."""

    src: int
    """For each source token."""
    tgt: int
    """For each target token; while decoding, of each beam."""
