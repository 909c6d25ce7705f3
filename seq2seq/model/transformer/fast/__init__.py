"""The Transformer's fast decoder: fused layers with caches, for products of few rows.

The same arithmetic as ``model.transformer.layers``, without what only training needs. Linear layers with the same input
are fused into one matrix, weights are packed or transposed, the attention's score (``ATTENTIONS``) is folded into W_Q,
and residuals are added in place.
"""

from seq2seq.model.transformer.fast.layers import FusedDecoderLayer, FusedEncoderLayer, LayerCache, keys_values_of
from seq2seq.model.transformer.fast.linear import Norm
from seq2seq.model.transformer.fast.sublayers import Absorbed

__all__ = [
    "Absorbed",
    "FusedDecoderLayer",
    "FusedEncoderLayer",
    "LayerCache",
    "Norm",
    "keys_values_of",
]
