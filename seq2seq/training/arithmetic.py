"""The precision of training on this machine, and the library of its matrix products."""

from collections.abc import Iterator
from typing import Literal

import torch

from seq2seq.config import TrainingConfig
from seq2seq.config.records import record
from seq2seq.device import DTYPES, Processor, has_bf16, has_bf16_units, pick_precision, this_processor
from seq2seq.model.products import Library, can_multiply, nearest, pick_library


@record
class Arithmetic:
    """Precision and library of a run's matrix products: chosen when it starts, kept when it is resumed."""

    precision: Literal["fp32", "bf16", "fp16"]
    products: Library = "mkl"
    """Library of the products on a CPU. In bf16 oneDNN rounds the operands of products alone; with ``mkl`` the whole
    model computes in bf16."""
    device: str = "cpu"
    """Kind of device: cpu, cuda or mps."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the model's weights and of all that passes through it."""
        return torch.float32 if self.products == "onednn" else DTYPES[self.precision]

    def __str__(self) -> str:
        """For example ``bf16 by oneDNN``."""
        return f"{self.precision} by oneDNN" if self.products == "onednn" else self.precision


def choose_arithmetic(training: TrainingConfig, device: torch.device, processor: Processor | None = None) -> Arithmetic:
    """Resolve ``training.precision`` and ``training.products`` for this machine; nothing else has an influence.

    Args:
        training: the table of the configuration.
        device: the device that trains.
        processor: the kind of CPU; None: this one.
    """
    if device.type != "cpu" or training.compile:
        return default_arithmetic(training, device)
    processor = processor or this_processor()
    precision = training.precision
    if precision == "auto":
        is_faster = nearest(processor).bf16 and has_bf16(processor) and can_multiply("bf16")
        precision = "bf16" if is_faster and training.products != "mkl" else "fp32"
    if precision == "bf16":
        return Arithmetic(precision="bf16", products="onednn" if can_multiply("bf16") else "mkl")
    if precision == "fp16":
        return Arithmetic(precision="fp16")
    return Arithmetic(precision="fp32", products=pick_library(training.products, processor))


def default_arithmetic(training: TrainingConfig, device: torch.device) -> Arithmetic:
    """The arithmetic with PyTorch's own products. A checkpoint that names no arithmetic was trained with it."""
    return Arithmetic(precision=pick_precision(training.precision, device), device=device.type)


def is_available(arithmetic: Arithmetic, device: torch.device) -> bool:
    """Whether this device can continue in the arithmetic of a checkpoint."""
    if arithmetic.device != device.type:
        return False
    if arithmetic.products == "onednn":
        return can_multiply(arithmetic.precision) and (arithmetic.precision == "fp32" or has_bf16())
    return device.type == "cpu" or arithmetic.precision != "bf16" or has_bf16_units(device)


def change_of(stored: Arithmetic, used: Arithmetic) -> str | None:
    """The warning for a run that is resumed in another arithmetic than its checkpoint's; None if it is the same."""
    if (stored.precision, stored.products) == (used.precision, used.products):
        return None
    before, after = f"{stored}, which is not available here", str(used)
    if stored.device != used.device:
        before, after = f"{stored} on {stored.device}", f"{used} on {used.device}"
    return (
        f"this run was trained in {before}; it continues in {after}, "
        "so its weights will differ a little from those of an uninterrupted run"
    )


def unmet_requests(training: TrainingConfig, used: Arithmetic) -> Iterator[str]:
    """Warnings about requested settings that this machine lacks, or computes slowly."""
    if used.device != "cpu":
        return
    if training.products == "onednn" and used.products != "onednn":
        yield "training.products is onednn, which this PyTorch does not offer here: its own products are used"
    if used.precision == "bf16" and not has_bf16():
        yield "this processor has no bf16 instructions (AMX or AVX512-BF16): training in bf16 is slow"
    if used.precision == "fp16":
        yield "fp16 is for GPUs: on a CPU it is slower than fp32"
