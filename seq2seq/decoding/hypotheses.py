"""What searching works with: the model as three calls, and hypotheses with their scores.

Shapes: B sentences, N beams, S source length, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from seq2seq.tokenizer import BOS, PAD, UNK


class Model(Protocol):
    """All that decoding knows of a model; the state is the model's own business."""

    def start(self, src: Tensor, src_mask: Tensor | None) -> Any:
        """Encode sources, one beam each. [B, S] -> state"""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read the newest token of each row. [B·N] -> logits of the next [B·N, V], state"""

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """Go on from the given rows. [B', N'] -> state of B' sentences of N' beams"""


@dataclass(frozen=True)
class Hypothesis:
    """One translation of a sentence, in pieces."""

    tokens: list[int]
    """Piece ids, without BOS and EOS."""
    log_probability: float
    """Sum over the tokens, EOS included, in nats."""
    score: float
    """What hypotheses are ranked by: log_probability / length^α."""


def length_penalty(length: int, alpha: float) -> float:
    """Divisor that offsets beam search's liking for short hypotheses.

    Args:
        length: tokens of the hypothesis, EOS included; at least 1.
        alpha: strength; 0 disables.

    Returns:
        length^α, the divisor of the summed log-probability.

    Raises:
        ValueError: alpha is negative, or length is not positive.

    Source: CTranslate2's; Wu et al. 2016, arXiv:1609.08144, section 7, has ((5 + length) / 6)^α.
    """
    if alpha < 0 or length < 1:
        raise ValueError(f"length {length} and alpha {alpha} make no length penalty")
    return float(length**alpha)


# Control symbols that no translation holds. Their probability is not shared out among the rest: a
# score is the model's own log-probability.
_NEVER = [UNK, BOS, PAD]


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities of the next piece, control symbols other than EOS impossible. [..., V] -> [..., V]"""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    log_probs[..., _NEVER] = -torch.inf
    return log_probs
