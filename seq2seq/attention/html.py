"""Maps of attention as one HTML page: every kind, layer and head, to be explored in a browser.

The page is whole: its style, its script and its data are inside, it loads nothing, and its content security policy
forbids it to. What it shows may come from a hostile corpus: texts are data, which the script shows as text only.

A weight is stored in a byte, as 255 times its root: small weights, of which long sentences have many, stay exact, and
large ones are right to 0.004. So a page of 60 pieces with 6 layers and 8 heads takes less than a megabyte.
"""

import re
import struct
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from seq2seq.attention.maps import KINDS, AttentionMaps
from seq2seq.drawing.labels import label
from seq2seq.drawing.page import json_block, read_part, whole_page
from seq2seq.model import AttentionKind, Positions

_POSITIONS = {
    "sinusoidal": "Sines and cosines, which are added to the embeddings and not learned: each pair of columns is the "
    "hand of a clock, and the clocks go slower from left to right. A row for each position, a colour for each sign.",
    "learned": "Learned vectors, which are added to the embeddings. A row for each position, a colour for each sign.",
    "rotary": "Rotary: nothing is added to the embeddings. Queries and keys of self-attention are rotated by their "
    "positions, so that their score depends on the distance of two pieces. There is no table to show.",
    "none": "This model has no position encodings: it does not see the order of pieces.",
    "": "This architecture needs no position encodings: it reads one piece after another.",
}


_BYTES = re.compile("(<0x[0-9A-F]{2}>)+")
"""Pieces that stand for bytes, of characters that the vocabulary does not have."""


def page(
    sentences: Sequence[AttentionMaps],
    positions: Positions,
    *,
    about: str,
    kind: AttentionKind = "cross",
    layer: int | None = None,
    head: int | None = None,
) -> str:
    """The page.

    Args:
        sentences: at least one; of one model.
        positions: of the model.
        about: a sentence about the model.
        kind: shown first.
        layer: shown first, counted from 1; None: the mean.
        head: shown first, counted from 1; None: the mean.
    """
    kinds = {name: {"layers": w.size(0), "heads": w.size(1)} for name, w in sentences[0].weights.items()}
    data = {
        "about": label(about),
        "names": KINDS,
        "kinds": kinds,
        "start": {"kind": kind, "layer": layer or 0, "head": head or 0},
        "sentences": [_sentence(maps) for maps in sentences],
        "positions": _positions(positions),
    }
    package = "seq2seq.attention"
    return whole_page(
        read_part(package, "page.html"),
        title=f"Where the model looks: {_text(sentences[0].src_pieces)}",
        style=read_part(package, "page.css"),
        script=read_part(package, "page.js"),
        parts={"data": json_block(data)},
    )


def _text(pieces: Sequence[str]) -> str:
    """The beginning of a source, with the characters that its bytes stand for."""
    text = _BYTES.sub(
        lambda run: bytes.fromhex(run[0][3:-1].replace("><0x", "")).decode(errors="replace"), "".join(pieces[:-1])
    )
    return label(text.replace("\u2581", " ").strip())[:80]


def _sentence(maps: AttentionMaps) -> dict[str, Any]:
    return {
        "text": _text(maps.src_pieces),
        "src": [label(piece) for piece in maps.src_pieces],
        "written": [label(piece) for piece in maps.tgt_pieces],
        "read": [label(piece) for piece in maps.tgt_read],
        "maps": {kind: _bytes(weights.clamp(0, 1).sqrt() * 255) for kind, weights in maps.weights.items()},
        "numbers": _numbers(maps),
    }


def _numbers(maps: AttentionMaps) -> dict[str, Any] | None:
    """Queries, keys and values of one head, as they are."""
    if maps.place is None or maps.numbers is None:
        return None
    found: dict[str, Any] = asdict(maps.place) | {"width": maps.numbers.queries.size(-1)}
    for name, numbers in zip(maps.numbers._fields, maps.numbers, strict=True):
        found[name] = b64encode(struct.pack(f"<{numbers.numel()}f", *numbers.flatten().tolist())).decode()
    return found


def _positions(positions: Positions) -> dict[str, Any]:
    found: dict[str, Any] = {"name": positions.name, "about": _POSITIONS[positions.name], "rows": 0}
    if positions.table is not None:
        table = positions.table.nan_to_num()
        scale = max(float(table.abs().max()), 1e-9)
        rows, columns = table.shape
        found |= {"rows": rows, "columns": columns, "scale": scale}
        found["values"] = _bytes((table / scale + 1) * 127)
    return found


def _bytes(values: Tensor) -> str:
    """Values from 0 to 255, rounded, in base64."""
    return b64encode(bytes(values.nan_to_num().round().to(torch.uint8).flatten().tolist())).decode()
