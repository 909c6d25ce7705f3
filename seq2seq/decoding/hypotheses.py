"""Batches of sentences, and hypotheses with their scores.

Shapes: B sentences, S source length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from seq2seq.tokenizer import EOS


@dataclass(frozen=True)
class SourceBatch:
    """Sentences to search together."""

    src: Tensor
    """Source pieces and EOS, padded on the right. [B, S]"""
    src_mask: Tensor | None
    """True at real source tokens; None if nothing is padding. [B, S]"""
    max_lengths: Sequence[int]
    """Max output tokens of each sentence, EOS included. [B]"""
    names: Sequence[int]
    """Identify the sentences to the caller. [B]"""


@dataclass(frozen=True)
class Hypothesis:
    """One translation of a sentence, in pieces."""

    tokens: list[int]
    """Piece ids, without BOS and EOS."""
    log_probability: float
    """Sum over the tokens, EOS included, in nats; NaN if no score was requested."""
    score: float
    """log_probability / length^α: hypotheses are ranked by it."""
    length: int
    """Tokens that log_probability sums over: EOS included, if it was not cut off at its limit."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it reached its limit before it ended."""
        return self.length == len(self.tokens)

    @classmethod
    def of_output(cls, output: list[int], log_probability: float, alpha: float) -> Self:
        """The hypothesis for the output of a search.

        Args:
            output: its pieces, EOS last unless it was cut off at its limit.
            log_probability: sum over all of these.
            alpha: length penalty.
        """
        tokens = output[:-1] if output[-1] == EOS else output
        return cls(tokens, log_probability, log_probability / length_penalty(len(output), alpha), len(output))

    def score_under(self, alpha: float) -> float:
        """The score with another length penalty."""
        return self.log_probability / length_penalty(self.length, alpha)


MAX_EXACT_ALPHA = 1.0
"""Largest α that is chosen automatically for ``stopping = "exact"``. Beyond 1 each token that is as likely as the mean
raises the score, so a search for the best score ends in loops; ``enough`` stops before that."""


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


def compact(staying: Sequence[bool]) -> list[int]:
    """The rows that stay, in the order that moves the fewest: rows from the end fill the gaps.

    >>> compact([True, False, True, True])
    [0, 3, 2]
    """
    n = sum(staying)
    from_the_end = (row for row in range(len(staying) - 1, n - 1, -1) if staying[row])
    return [row if staying[row] else next(from_the_end) for row in range(n)]


def concat(blocks: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Join blocks of rows. For each block any number of [b, …]"""
    return blocks[0] if len(blocks) == 1 else [torch.cat(parts) for parts in zip(*blocks, strict=True)]


def split_rows(values: Sequence[Tensor], rows: Sequence[int]) -> Iterator[Sequence[Tensor]]:
    """Split rows into blocks of so many rows each."""
    if len(rows) == 1:
        return iter([values])
    return zip(*(torch.split(several, list(rows)) for several in values), strict=True)
