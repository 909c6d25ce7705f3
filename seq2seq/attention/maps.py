"""Maps of attention: how much each position of a text looks at each other one, in every layer and head.

Shapes: S source pieces and T target pieces, EOS included; H heads. A map has a row for each query and a column for each
key, and its rows sum to one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seq2seq.batching import pad
from seq2seq.model import AttentionHead, AttentionKind, Positions, Seq2SeqModel
from seq2seq.tokenizer import BOS, EOS, Tokenizer

KINDS: dict[AttentionKind, str] = {
    "encoder": "encoder self-attention",
    "decoder": "masked self-attention",
    "cross": "cross-attention",
}
"""The name of each kind."""


@dataclass(frozen=True)
class Attention:
    """Where each piece of a translation looked in its source."""

    src_pieces: list[str]
    """S pieces, EOS last."""
    tgt_pieces: list[str]
    """T pieces, EOS last."""
    weights: list[list[float]]
    """Cross-attention, mean over the decoder's layers and heads; a row sums to one. [T, S]"""


@dataclass(frozen=True)
class AttentionMap:
    """One map, ready to be drawn."""

    title: str
    """Kind, layer and head, counted from 1."""
    queries: list[str]
    """Piece of each row: the one that the model reads (source), or writes (target)."""
    keys: list[str]
    """Piece of each column. In masked self-attention it is one that the decoder has read: BOS, then target pieces."""
    weights: list[list[float]]
    """A row for each query. [queries, keys]"""


@dataclass(frozen=True)
class Place:
    """A head of a model."""

    kind: AttentionKind
    layer: int
    """Counted from 1."""
    head: int
    """Counted from 1."""


@dataclass(frozen=True)
class AttentionMaps:
    """All maps of a source and its translation."""

    src_pieces: list[str]
    """What the encoder reads: S pieces, EOS last."""
    tgt_pieces: list[str]
    """What the decoder writes: T pieces, EOS last."""
    tgt_read: list[str]
    """What the decoder has read when it writes each of these: BOS first. T pieces"""
    weights: dict[AttentionKind, Tensor]
    """By kind, those that the architecture has. [layers, H, queries, keys]"""
    place: Place | None = None
    """The head whose numbers are here, too."""
    numbers: AttentionHead | None = None
    """Its queries, keys and values; None if it has no such, or if they were not requested."""

    def queries(self, kind: AttentionKind) -> list[str]:
        """The piece of each row."""
        return self.src_pieces if kind == "encoder" else self.tgt_pieces

    def keys(self, kind: AttentionKind) -> list[str]:
        """The piece of each column."""
        return self.tgt_read if kind == "decoder" else self.src_pieces

    def n_layers(self, kind: AttentionKind) -> int:
        """Layers of a kind; 0 if the architecture does not have it."""
        return self.weights[kind].size(0) if kind in self.weights else 0

    def n_heads(self, kind: AttentionKind) -> int:
        """Heads of each layer of a kind."""
        return self.weights[kind].size(1) if kind in self.weights else 0

    def map(self, kind: AttentionKind, layer: int | None = None, head: int | None = None) -> AttentionMap:
        """One map, or the mean of several.

        Args:
            kind: one that the architecture has.
            layer: counted from 1; None: the mean over layers.
            head: counted from 1; None: the mean over heads.

        Raises:
            KeyError: the architecture does not have that kind.
            IndexError: no such layer or head.
        """
        of_kind = self.weights[kind]
        for n, size in ((layer, of_kind.size(0)), (head, of_kind.size(1))):
            if n is not None and not 1 <= n <= size:
                raise IndexError(n)
        layers = of_kind if layer is None else of_kind[layer - 1 : layer]
        heads = layers if head is None else layers[:, head - 1 : head]
        title = f"{KINDS[kind]}, {_part('layer', layer, of_kind.size(0))}, {_part('head', head, of_kind.size(1))}"
        return AttentionMap(title, self.queries(kind), self.keys(kind), heads.mean(dim=(0, 1)).tolist())


def _part(noun: str, n: int | None, of: int) -> str:
    if n is not None or of == 1:
        return f"{noun} {n or 1} of {of}"
    return f"mean of {of} {noun}s"


def read_maps(
    model: Seq2SeqModel,
    tokenizer: Tokenizer,
    src_ids: Sequence[int],
    tgt_ids: Sequence[int],
    *,
    place: Place | None = None,
) -> AttentionMaps:
    """Read a source and its translation with the whole model at once.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        src_ids: pieces, without EOS.
        tgt_ids: pieces, without BOS and EOS.
        place: a head whose numbers are read, too.
    """
    device = model.output.weight.device
    src, tgt = pad([src_ids], last=EOS).to(device), pad([tgt_ids], first=BOS).to(device)
    with torch.inference_mode():
        maps = model.attention_maps(src, tgt)
        numbers = model.attention_head(src, tgt, place.kind, place.layer, place.head) if place else None
    return AttentionMaps(
        src_pieces=tokenizer.pieces([*src_ids, EOS]),
        tgt_pieces=tokenizer.pieces([*tgt_ids, EOS]),
        tgt_read=tokenizer.pieces([BOS, *tgt_ids]),
        weights={kind: of_kind[0].cpu() for kind, of_kind in maps.items()},
        place=place,
        numbers=numbers,
    )


def map_sizes(model: Seq2SeqModel) -> dict[AttentionKind, tuple[int, int]]:
    """Layers and heads of each kind that a model has."""
    device = model.output.weight.device
    with torch.inference_mode():
        maps = model.attention_maps(pad([[EOS]]).to(device), pad([[BOS]]).to(device))
    return {kind: (of_kind.size(1), of_kind.size(2)) for kind, of_kind in maps.items()}


def positions_of(model: Seq2SeqModel, length: int) -> Positions:
    """How a model tells the first positions of a source."""
    with torch.inference_mode():
        return model.positions(length)
