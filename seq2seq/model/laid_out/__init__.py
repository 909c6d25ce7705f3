"""Layers laid out for translating: weights copied and arranged for products of few rows.

The same arithmetic as ``model.layers``, without what only training needs. Weights are packed and transposed; what reads
the same input stands side by side in one matrix; the score of the attention (``ATTENTIONS``) is multiplied into
W_Q; a LayerNorm's weight and bias are multiplied into what reads it; and residuals are added in their place.
"""

from seq2seq.model.laid_out.layers import CachedDecoderLayer, CachedEncoderLayer, LayerCache, keys_values_of
from seq2seq.model.laid_out.linear import Norm, after_norm
from seq2seq.model.laid_out.sublayers import Absorbed

__all__ = [
    "Absorbed",
    "CachedDecoderLayer",
    "CachedEncoderLayer",
    "LayerCache",
    "Norm",
    "after_norm",
    "keys_values_of",
]
