"""Cross-attention of a translation, for a picture of it."""

from dataclasses import dataclass

import torch

from seq2seq.batching import pad
from seq2seq.model import Seq2SeqModel
from seq2seq.tokenizer import BOS, EOS, Tokenizer
from seq2seq.translation.segments import Ids


@dataclass(frozen=True)
class Attention:
    """The attention of each target piece to the source pieces."""

    src_pieces: list[str]
    """S pieces, EOS last."""
    tgt_pieces: list[str]
    """T pieces, EOS last."""
    weights: list[list[float]]
    """Cross-attention, mean over the decoder's layers and heads; a row sums to one. [T, S]"""


def read_attention(model: Seq2SeqModel, tokenizer: Tokenizer, src_ids: Ids, tgt_ids: Ids) -> Attention:
    """Compute the attention of a source and its translation, both without BOS and EOS, in one forward pass."""
    device = model.output.weight.device
    with torch.inference_mode():
        weights = model.cross_attention_weights(
            pad([src_ids], last=EOS).to(device), pad([tgt_ids], first=BOS).to(device)
        )  # [1, layers, H, T, S]
    return Attention(
        src_pieces=tokenizer.pieces([*src_ids, EOS]),
        tgt_pieces=tokenizer.pieces([*tgt_ids, EOS]),
        weights=weights[0].mean(dim=(0, 1)).tolist(),
    )
