"""Batches of sentences, and hypotheses with their scores.

Shapes: B sentences, S source length.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from seq2seq.tokenizer import EOS


@dataclass(frozen=True)
class SourceBatch:
    """A batch of source sentences that are searched together."""

    src: Tensor
    """Source pieces and EOS, padded on the right. [B, S]"""
    src_mask: Tensor | None
    """True at real source tokens; None if nothing is padding. [B, S]"""
    max_lengths: Sequence[int]
    """Max output tokens of each sentence, EOS included. [B]"""
    names: Sequence[int]
    """Numbers by which the caller identifies the sentences. [B]"""


@dataclass(frozen=True)
class Hypothesis:
    """One translation of a sentence, in pieces."""

    tokens: list[int]
    """Piece ids, without BOS and EOS."""
    log_probability: float
    """Sum over the tokens, EOS included, in nats; NaN if no score was requested."""
    score: float
    """log_probability / length^α. Hypotheses are ranked by it."""
    length: int
    """Number of tokens that log_probability sums over: EOS included, unless it was cut off at its max length."""
    avoided_loop: bool = False
    """Whether a better hypothesis that repeats itself gave way to this one (``repetition.py``)."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it reached its max length before it ended."""
        return self.length == len(self.tokens)

    @classmethod
    def from_output(cls, output: list[int], log_probability: float, alpha: float) -> Self:
        """Make a hypothesis from the output of a search.

        Args:
            output: its pieces; EOS is the last one, unless it was cut off at its max length.
            log_probability: sum over all these pieces.
            alpha: exponent of the length penalty.
        """
        tokens = output[:-1] if output[-1] == EOS else output
        return cls(tokens, log_probability, log_probability / length_penalty(len(output), alpha), len(output))

    def score_under(self, alpha: float) -> float:
        """The score with another exponent of the length penalty."""
        return self.log_probability / length_penalty(self.length, alpha)


NOTHING = Hypothesis([], -math.inf, -math.inf, length=1)
"""Used if a search finds nothing, as with weights that are not finite."""

MAX_EXACT_ALPHA = 1.0
"""Max α that is chosen automatically for ``stopping = "exact"``. With α above 1, each further token of mean probability
raises the score, so an exact search ends in loops. ``enough`` stops before that."""


def length_penalty(length: int, alpha: float) -> float:
    """The divisor that compensates beam search's preference for short hypotheses.

    Args:
        length: tokens of the hypothesis, EOS included; at least 1.
        alpha: exponent; 0 disables the penalty.

    Returns:
        length^α, the divisor of the summed log-probability.

    Raises:
        ValueError: alpha is negative, or length is not positive.

    Source: CTranslate2's; Wu et al. 2016, arXiv:1609.08144, section 7, has ((5 + length) / 6)^α.
    """
    if alpha < 0 or length < 1:
        raise ValueError(f"length {length} must be at least 1, and alpha {alpha} must not be negative")
    return float(length**alpha)


def compact(staying: Sequence[bool]) -> list[int]:
    """The rows that stay, in the order that moves the fewest rows: the last ones fill the gaps.

    >>> compact([True, False, True, True])
    [0, 3, 2]
    """
    n = sum(staying)
    from_the_end = (row for row in range(len(staying) - 1, n - 1, -1) if staying[row])
    return [row if staying[row] else next(from_the_end) for row in range(n)]


def concat(blocks: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Concatenate blocks of rows. Each block has the same number of tensors [b, …]."""
    return blocks[0] if len(blocks) == 1 else [torch.cat(parts) for parts in zip(*blocks, strict=True)]


def split_rows(values: Sequence[Tensor], rows: Sequence[int]) -> Iterator[Sequence[Tensor]]:
    """Split tensors into blocks with the given numbers of rows: the reverse of ``concat``."""
    if len(rows) == 1:
        return iter([values])
    return zip(*(torch.split(several, list(rows)) for several in values), strict=True)
