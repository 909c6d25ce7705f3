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
    """A model as it is trained: it reads a source and a whole target at once (teacher forcing)."""

    config: ModelConfig
    output: Linear
    """The output layer: from hidden vectors to logits. [..., D] -> [..., V]"""

    @abstractmethod
    def hidden(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """One vector for each target position, which knows the source and the target to its left.

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
    """Trained numbers, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


# Decoding ---------------------------------------------------------------------------------------------------------

IMPOSSIBLE = -1e30
"""The logit of a piece that is not allowed; a product might turn -inf into NaN."""


class Logits(Protocol):
    """Logits of the next piece for each row of a step: computed when they are read, so that a search reads what it
    needs. They are valid until the states of their step are used again.

    A row has one column for each piece that may come next. The control symbols are the first columns, whatever the
    other ones stand for.
    """

    device: torch.device

    def __len__(self) -> int:
        """Number of rows."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Logits of some rows: unnormalised log-probabilities, far below all others for a piece that is not allowed.

        Args:
            start: first row, the first of a sentence.
            stop: row after the last one.

        Returns:
            A tensor that the caller may change, and therefore reads once. [stop - start, n]
        """

    def best(self) -> Tensor | None:
        """The piece with the highest logit in each row; None if there is no quicker way than all logits. [rows]"""

    def pieces(self, columns: Tensor) -> Tensor:
        """The pieces that columns stand for. Any shape; the same shape"""


class Decoder(Protocol):
    """A trained model that writes one target token at a time: all that decoding knows of it.

    A state belongs to its decoder: nobody else looks into it, and each is used once.
    """

    def start(self, src: Tensor, src_mask: Tensor | None) -> Any:
        """Read sources, in evaluation mode; each sentence has one beam.

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
        """Drop sentences, replace each beam by one of its sentence's beams, change the number of beams.

        Args:
            state: B sentences of N beams; invalid afterwards.
            sentences: those that stay, in their new order. [B']
            parents: for each new beam the beam of its sentence that it continues. [B', N']

        Returns:
            The state of B' ≤ B sentences of N' beams.
        """


class TensorLogits:
    """Logits that are computed already, of all pieces. [rows, V]"""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        self.device = logits.device

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._logits)

    def rows(self, start: int, stop: int) -> Tensor:
        """[stop - start, V]"""
        return self._logits[start:stop]

    def best(self) -> None:
        """There is no quicker way than all logits."""

    def pieces(self, columns: Tensor) -> Tensor:
        """The columns are the pieces."""
        return columns


# Sizes ------------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    """The longest texts that a model can read and write, in tokens, EOS included; None: no limit."""

    max_src: int | None = None
    max_tgt: int | None = None


class PerToken(NamedTuple):
    """What each token costs."""

    src: int
    """For each source token."""
    tgt: int
    """For each target token; while decoding, of each beam."""
