"""From lines to translated lines, with a model out of a run folder."""

from seq2seq.translation.batches import length_batches
from seq2seq.translation.loading import greedy_of, load_weights, read_config, read_langs, read_run
from seq2seq.translation.segments import Searched, SegmentCounts, join_segments
from seq2seq.translation.sentences import n_sentences
from seq2seq.translation.translator import Attention, Translation, Translator

__all__ = [
    "Attention",
    "Searched",
    "SegmentCounts",
    "Translation",
    "Translator",
    "greedy_of",
    "join_segments",
    "length_batches",
    "load_weights",
    "n_sentences",
    "read_config",
    "read_langs",
    "read_run",
]
