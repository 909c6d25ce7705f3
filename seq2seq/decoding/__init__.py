"""How a translation is searched for, knowing a model only by a few calls: ``hypotheses.Model``."""

from seq2seq.decoding.hypotheses import MAX_EXACT_ALPHA, Batch, Hypothesis, Model, length_penalty
from seq2seq.decoding.scheduler import STRATEGIES, search

__all__ = ["MAX_EXACT_ALPHA", "STRATEGIES", "Batch", "Hypothesis", "Model", "length_penalty", "search"]
