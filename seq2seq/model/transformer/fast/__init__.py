"""The fast decoder: the same logits as the plain one, computed by fused layers that suit products of few rows.

Linear layers with the same input are fused into one, weights are packed or transposed, the attention score
(``ATTENTIONS``) is folded into W_Q, and residuals are added in place.
"""

from seq2seq.model.transformer.fast.decoder import FastDecoder

__all__ = ["FastDecoder"]
