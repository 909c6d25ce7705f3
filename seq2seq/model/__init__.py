"""Models and their decoders. Each architecture is one row of ``ARCHITECTURES``."""

from seq2seq.model.architectures import ARCHITECTURES, Architecture, build_decoder, build_model
from seq2seq.model.base import (
    AttentionHead,
    AttentionKind,
    Decoder,
    Logits,
    MaxLengths,
    PerToken,
    Positions,
    Seq2SeqModel,
    TensorLogits,
    n_parameters,
    padding_mask,
)
from seq2seq.model.shortlist import Shortlist

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "AttentionHead",
    "AttentionKind",
    "Decoder",
    "Logits",
    "MaxLengths",
    "PerToken",
    "Positions",
    "Seq2SeqModel",
    "Shortlist",
    "TensorLogits",
    "build_decoder",
    "build_model",
    "n_parameters",
    "padding_mask",
]
