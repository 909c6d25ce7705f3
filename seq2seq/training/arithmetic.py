"""The precision of training on this machine, and the library of its matrix products."""

from typing import Literal

import torch

from seq2seq.config import TrainingConfig
from seq2seq.config.records import record
from seq2seq.model.products import Library, Processor, can_multiply, has_bf16, nearest, pick_library, this_processor
from seq2seq.translation import pick_precision


@record
class Arithmetic:
    """Precision and library of a run: chosen when it starts, kept when it is resumed."""

    precision: Literal["fp32", "bf16"]
    products: Library = "mkl"
    """Library of products on a CPU."""

    def __str__(self) -> str:
        """As in ``bf16 by oneDNN``."""
        return f"{self.precision} by oneDNN" if self.products == "onednn" else self.precision


def choose_arithmetic(training: TrainingConfig, device: torch.device, processor: Processor | None = None) -> Arithmetic:
    """What ``auto`` means here for ``training.precision`` and ``training.products``: a function of the machine alone.

    Args:
        training: the table of the configuration.
        device: the device that trains.
        processor: the kind of CPU; None: this one.
    """
    if device.type != "cpu" or training.compile:
        return without_choice(training, device)
    processor = processor or this_processor()
    precision = training.precision
    if precision == "auto":
        quicker = nearest(processor).bf16 and has_bf16(processor) and can_multiply("bf16")
        precision = "bf16" if quicker and training.products != "mkl" else "fp32"
    if precision == "bf16":
        return Arithmetic(precision="bf16", products="onednn" if can_multiply("bf16") else "mkl")
    return Arithmetic(precision="fp32", products=pick_library(training.products, processor))


def without_choice(training: TrainingConfig, device: torch.device) -> Arithmetic:
    """The arithmetic of a run that began before this choice existed."""
    return Arithmetic(precision=pick_precision(training.precision, device))


def is_here(arithmetic: Arithmetic, device: torch.device) -> bool:
    """Whether a run can be resumed in this arithmetic on this machine."""
    if arithmetic.products == "onednn":
        return device.type == "cpu" and can_multiply(arithmetic.precision)
    return arithmetic.precision == "fp32" or device.type != "cpu"
