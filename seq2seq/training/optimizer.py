"""AdamW, and the learning rate as a function of the update."""

import math

import torch
from torch import nn

from seq2seq.config import TrainingConfig
from seq2seq.training.state import Knot

_START = Knot()
"""A run begins with a rate of zero."""


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in one fused kernel; matrices decay, biases and norms do not.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    on_mps = next(model.parameters()).device.type == "mps"
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=1e-9, fused=not on_mps)


def learning_rate(update: int, config: TrainingConfig, knot: Knot = _START) -> float:
    """The rate of the ``update``-th update, counted from 1.

    Linear warm-up to the peak, over a fifth of a short run at most; then either the inverse square
    root of Vaswani et al. 2017, section 5.3, or a hold and a linear cool-down that would reach zero
    with one update more (Hägele et al. 2024, arXiv:2405.18392). While nobody knows how many updates
    there will be, the peak is held.

    Args:
        update: the knot's or a later one.
        config: its ``max_updates`` may have been set or changed at the knot.
        knot: from where the rate continues, so that it never jumps: a warm-up rises with its new slope, and a rate
            that falls continues to fall, with ``hold_cooldown`` on a straight line to the new end.
    """
    return config.learning_rate * _share(update, config, knot)[0]


def knot_at(update: int, config: TrainingConfig, knot: Knot) -> Knot:
    """Where the rate stands at an update, before the number of updates changes."""
    share, falling = _share(update, config, knot)
    return Knot(update=update, share=share, falling=falling)


def _share(update: int, config: TrainingConfig, knot: Knot) -> tuple[float, bool]:
    """The share of the peak rate, and whether it falls."""
    warmup = max(1, min(config.warmup_updates, (config.max_updates or config.warmup_updates * 5) // 5))
    # A warm-up that has become steeper begins as any: up to its first rate each update doubles the one before.
    doublings = max(0, math.ceil(-math.log2(warmup * knot.share))) if knot.share else 0
    start, since = knot.share * 2**doublings, update - knot.update - doublings
    rising = min(1.0, start + since / warmup if since > 0 else start * 2.0**since)
    if config.schedule == "inverse_sqrt":
        # The update at which the peak is reached, or would have been.
        to_peak = doublings + math.ceil((1 - start) * warmup)
        peak = knot.update * knot.share**2 if knot.falling else knot.update + to_peak
        falling = min(1.0, float((peak / update) ** 0.5))
    elif config.max_updates is None:
        falling = 1.0
    else:
        left, left_then = config.max_updates + 1 - update, config.max_updates + 1 - knot.update
        # Not before the peak has been reached.
        length = max(1.0, min(config.cooldown * config.max_updates, config.max_updates + 1 - warmup))
        if knot.falling or left_then < knot.share * length:
            falling = knot.share * max(0, left) / left_then if left_then > 0 else knot.share
        else:
            falling = min(1.0, max(0.0, left / length))
    if knot.falling:
        return falling, True
    return min(rising, falling), falling < rising
