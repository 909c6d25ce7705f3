"""Where a model looks: maps of attention, ways to draw them, and word alignments."""

from seq2seq.attention.alignment import AlignmentUnit, Link, align_batches, pharaoh, piece_words, words
from seq2seq.attention.maps import KINDS, Attention, AttentionMap, AttentionMaps, read_maps

__all__ = [
    "KINDS",
    "AlignmentUnit",
    "Attention",
    "AttentionMap",
    "AttentionMaps",
    "Link",
    "align_batches",
    "pharaoh",
    "piece_words",
    "read_maps",
    "words",
]
