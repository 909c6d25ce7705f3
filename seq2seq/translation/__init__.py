"""From lines to translated lines, with a model out of a run folder."""

from seq2seq.translation.batches import length_batches
from seq2seq.translation.device import is_out_of_memory, pick_device, pick_precision
from seq2seq.translation.loading import greedy_of, load_weights, read_config, read_langs, read_run
from seq2seq.translation.translator import Attention, Translation, Translator
from seq2seq.translation.workers import cores

__all__ = [
    "Attention",
    "Translation",
    "Translator",
    "cores",
    "greedy_of",
    "is_out_of_memory",
    "length_batches",
    "load_weights",
    "pick_device",
    "pick_precision",
    "read_config",
    "read_langs",
    "read_run",
]
