"""Loss and sizes of updates: summed over micro-batches, replicas, ranks and updates."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepStats:
    """Loss and sizes of one update, or of several together. On a GPU they may be tensors, so that nobody waits."""

    loss_sum: Tensor | float
    """Label-smoothed cross-entropy, with R-Drop the divergence too, summed over target tokens, in nats. []"""
    n_tokens: Tensor | float
    """Target tokens, EOS included. []"""
    n_padding: Tensor | float
    """Positions of both sides that hold no token. []"""
    n_positions: Tensor | float
    """Positions of both sides. []"""

    def __add__(self, other: "StepStats") -> "StepStats":
        return StepStats(*(a + b for a, b in zip(self.numbers(), other.numbers(), strict=True)))

    def numbers(self) -> tuple[Tensor | float, ...]:
        """All fields in their order."""
        return self.loss_sum, self.n_tokens, self.n_padding, self.n_positions
