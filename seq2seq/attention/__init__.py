"""Where a model looks: maps of attention, ways to draw them, and word alignments."""

from seq2seq.attention.alignment import AlignmentUnit, Link, align_batches, pharaoh, piece_words, words
from seq2seq.attention.html import page
from seq2seq.attention.maps import (
    KINDS,
    Attention,
    AttentionMap,
    AttentionMaps,
    Place,
    map_sizes,
    positions_of,
    read_maps,
)
from seq2seq.attention.svg import svg
from seq2seq.attention.terminal import LEGEND, draw

__all__ = [
    "KINDS",
    "LEGEND",
    "AlignmentUnit",
    "Attention",
    "AttentionMap",
    "AttentionMaps",
    "Link",
    "Place",
    "align_batches",
    "draw",
    "map_sizes",
    "page",
    "pharaoh",
    "piece_words",
    "positions_of",
    "read_maps",
    "svg",
    "words",
]
