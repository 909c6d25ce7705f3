"""The learning rate: a pure function of the update, so that a resumed run needs no state of a scheduler."""

import math

from seq2seq.config import TrainingConfig
from seq2seq.training.state import Knot

_START = Knot()
"""A run starts with a rate of zero."""


def learning_rate(update: int, config: TrainingConfig, knot: Knot = _START) -> float:
    """The rate of the ``update``-th update, counted from 1.

    Linear warm-up to the peak, over up to a fifth of the run. Then either the inverse square root of Vaswani et al.
    2017, section 5.3, or a hold and a linear cool-down, which would reach zero one update after the last (Hägele et al.
    2024, arXiv:2405.18392). As long as the number of updates is unknown, the peak is held.

    Args:
        update: the knot's or a later one.
        config: its ``max_updates`` may have been set or changed at the knot.
        knot: where the rate continues from, so that it never jumps. A warm-up rises with its new slope. A rate that
            falls continues to fall, with ``hold_cooldown`` on a straight line to the new end.
    """
    return config.learning_rate * _share(update, config, knot)[0]


def knot_at(update: int, config: TrainingConfig, knot: Knot) -> Knot:
    """The learning rate's place at an update, before the number of updates changes."""
    share, falling = _share(update, config, knot)
    return Knot(update=update, share=share, falling=falling)


def _share(update: int, config: TrainingConfig, knot: Knot) -> tuple[float, bool]:
    """The share of the peak rate, and whether it falls."""
    warmup = max(1, min(config.warmup_updates, (config.max_updates or config.warmup_updates * 5) // 5))
    # A warm-up that has become steeper starts gently: up to its first rate, each update doubles the rate.
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
