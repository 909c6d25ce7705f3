"""The fast decoder: the plain one's logits, by fused layers with caches for products of few rows.

Linear layers with the same input are fused into one matrix, weights are packed or transposed, the attention's score
(``ATTENTIONS``) is folded into W_Q, and residuals are added in place.
"""

from seq2seq.model.transformer.fast.decoder import FastDecoder

__all__ = ["FastDecoder"]
