"""Search for translations: greedy and beam search. A model is only used as a ``Decoder``: start, step, reorder."""

from seq2seq.decoding.hypotheses import MAX_EXACT_ALPHA, Hypothesis, SourceBatch, length_penalty
from seq2seq.decoding.scheduler import STRATEGIES, search

__all__ = ["MAX_EXACT_ALPHA", "STRATEGIES", "Hypothesis", "SourceBatch", "length_penalty", "search"]
