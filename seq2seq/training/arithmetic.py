"""In what precision training computes on this machine, and which library makes its products."""

from typing import Literal

import torch

from seq2seq.config import TrainingConfig
from seq2seq.config.records import record
from seq2seq.model.products import Library, Processor, can_multiply, has_bf16, nearest, pick_library, this_processor
from seq2seq.translation import pick_precision


@record
class Arithmetic:
    """What a run computes in: chosen when it starts, and kept when it is resumed."""

    precision: Literal["fp32", "bf16"]
    products: Library = "mkl"
    """By whom products are made on a CPU."""

    def __str__(self) -> str:
        """As in ``bf16 by oneDNN``."""
        return f"{self.precision} by oneDNN" if self.products == "onednn" else self.precision


def choose_arithmetic(training: TrainingConfig, device: torch.device, processor: Processor | None = None) -> Arithmetic:
    """What ``training.precision`` and ``training.products`` come to: a pure function of these and of the machine.

    Args:
        training: the table.
        device: that trains.
        processor: of a CPU; None: this one.
    """
    if device.type != "cpu" or training.compile:
        return without_choice(training, device)
    processor = processor or this_processor()
    precision = training.precision
    if precision == "auto":
        pays = nearest(processor).bf16 and has_bf16(processor) and can_multiply("bf16")
        precision = "bf16" if pays else "fp32"
    if precision == "bf16":
        return Arithmetic(precision="bf16", products="onednn" if can_multiply("bf16") else "mkl")
    return Arithmetic(precision="fp32", products=pick_library(training.products, processor))


def without_choice(training: TrainingConfig, device: torch.device) -> Arithmetic:
    """What versions before this choice computed in."""
    return Arithmetic(precision=_known(pick_precision(training.precision, device)))


def is_here(arithmetic: Arithmetic, device: torch.device) -> bool:
    """Whether a run that began in it can go on in it."""
    if arithmetic.products == "onednn":
        return device.type == "cpu" and can_multiply(arithmetic.precision)
    return arithmetic.precision == "fp32" or device.type != "cpu"


def _known(precision: str) -> Literal["fp32", "bf16"]:
    return "bf16" if precision == "bf16" else "fp32"
