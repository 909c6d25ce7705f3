"""Layers laid out for translating: weights copied and arranged for products of few rows.

The same arithmetic as ``model.layers``, without what only training needs. Weights are packed and transposed; what reads
the same input stands side by side in one matrix; the score of the attention (``ATTENTIONS``) is multiplied into
W_Q; and residuals are added in their place.
"""

from seq2seq.model.transformer.fast.layers import CachedDecoderLayer, CachedEncoderLayer, LayerCache, keys_values_of
from seq2seq.model.transformer.fast.linear import Norm
from seq2seq.model.transformer.fast.sublayers import Absorbed

__all__ = [
    "Absorbed",
    "CachedDecoderLayer",
    "CachedEncoderLayer",
    "LayerCache",
    "Norm",
    "keys_values_of",
]
