"""From lines to translated lines, with a model out of a run folder."""

from seq2seq.translation.batches import length_batches
from seq2seq.translation.device import is_out_of_memory, pick_device, pick_precision
from seq2seq.translation.loading import greedy_of, load_weights, read_config, read_langs, read_run
from seq2seq.translation.segments import Searched, SegmentCounts, join_segments
from seq2seq.translation.sentences import n_sentences
from seq2seq.translation.translator import Attention, Translation, Translator
from seq2seq.translation.workers import cores

__all__ = [
    "Attention",
    "Searched",
    "SegmentCounts",
    "Translation",
    "Translator",
    "cores",
    "greedy_of",
    "is_out_of_memory",
    "join_segments",
    "length_batches",
    "load_weights",
    "n_sentences",
    "pick_device",
    "pick_precision",
    "read_config",
    "read_langs",
    "read_run",
]
