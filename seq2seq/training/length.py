"""The length of training: in epochs, in updates, and in time on this machine."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from seq2seq.config import Layer, RunConfig
from seq2seq.device import this_processor
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.products import Products, pick_library
from seq2seq.training.arithmetic import choose_arithmetic
from seq2seq.training.recipe import DeviceKind
from seq2seq.training.tuning import (
    BF16_SPEEDUP,
    MATMUL_ROUNDS,
    MATMUL_SHARE,
    MAX_VALID_EVERY,
    MAX_VALIDATIONS,
    MIN_VALID_EVERY,
)

LIMITS = ("max_updates", "max_epochs", "time_budget")
"""Keys of ``training`` that say when a run ends."""


def keep_one_limit(layers: Sequence[Layer]) -> list[Layer]:
    """Keep one kind of limit: a time budget replaces the number of updates or epochs of lower layers, and vice versa.

    Raises:
        UserError: one layer requests both (2).
    """
    timed = counted = False
    kept: list[Layer] = []
    for layer in reversed(layers):
        training: dict[str, Any] = dict(layer.get("training", {}))
        times = training.get("time_budget") is not None
        counts = training.get("max_updates") is not None or training.get("max_epochs") is not None
        if times and counts and not timed and not counted:
            raise UserError(
                "a time budget sets the number of updates, but updates or epochs are given too",
                mend="give either a time budget, or updates or epochs",
                code=ExitCode.USAGE,
            )
        if timed:
            training |= {name: None for name in ("max_updates", "max_epochs") if name in training}
        elif counted and times:
            training["time_budget"] = None
        timed, counted = timed or (times and not counted), counted or (counts and not timed)
        kept.append({**layer, "training": training} if "training" in layer else layer)
    return kept[::-1]


def resolve_length(config: RunConfig, usual_epochs: float, updates_an_epoch: int) -> RunConfig:
    """Set the number of updates, and the cadences of validations and checkpoints, if they are unset.

    Args:
        config: with every layer applied.
        usual_epochs: epochs of the recipe, for a run without a limit.
        updates_an_epoch: updates of the first epoch; other epochs differ by one or two.

    Returns:
        The configuration with ``max_updates``, ``valid_every`` and ``save_every`` set; with a time budget
        they stay unset until the speed is known.
    """
    training = config.training
    if training.time_budget is not None and training.max_updates is None:
        return config
    limits = [training.max_updates, training.max_epochs and training.max_epochs * updates_an_epoch]
    max_updates = min((n for n in limits if n), default=max(1, round(usual_epochs * updates_an_epoch)))
    usual = min(max(updates_an_epoch, MIN_VALID_EVERY, max_updates // MAX_VALIDATIONS), MAX_VALID_EVERY, max_updates)
    valid_every = training.valid_every or usual
    save_every = training.save_every or valid_every
    completed = replace(training, max_updates=max_updates, valid_every=valid_every, save_every=save_every)
    return replace(config, training=completed)


def kind_of(device: torch.device) -> DeviceKind:
    """The kind of device, as recipes know it."""
    return "gpu" if device.type == "cuda" else "cpu"


def measured_rate(config: RunConfig, device: torch.device) -> float:
    """Estimate the floating-point operations per second of training on this machine."""
    arithmetic = choose_arithmetic(config.training, device)
    on_cpu = device.type == "cpu"
    size = 1024 if on_cpu else 4096
    a = torch.ones(size, size, device=device, dtype=torch.float32 if on_cpu else arithmetic.dtype)
    products = Products(a, pick_library("auto", this_processor()) if on_cpu else "mkl")  # of fp32, also for bf16
    seconds = []
    for _ in range(MATMUL_ROUNDS):
        began = time.perf_counter()
        float(products.grad_input(a, size)[0, 0])  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    speedup = BF16_SPEEDUP if on_cpu and arithmetic.precision == "bf16" else 1.0
    return MATMUL_SHARE[device.type] * speedup * 2 * size**3 / min(seconds)
