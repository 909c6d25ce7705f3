"""Search for translations: greedy and beam search. A model is only used as a ``Decoder``: start, step, reorder."""

from seq2seq.decoding.hypotheses import MAX_EXACT_ALPHA, NOTHING, Hypothesis, SourceBatch, length_penalty
from seq2seq.decoding.repetition import guarded, has_loop
from seq2seq.decoding.scheduler import STRATEGIES, search

__all__ = [
    "MAX_EXACT_ALPHA",
    "NOTHING",
    "STRATEGIES",
    "Hypothesis",
    "SourceBatch",
    "guarded",
    "has_loop",
    "length_penalty",
    "search",
]
