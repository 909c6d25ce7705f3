"""Which device does the arithmetic."""

import re
from typing import Literal

import torch

from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.model.products import has_bf16
from seq2seq.model.transformer.model import Transformer

Precision = Literal["auto", "fp32", "bf16"]
_A_GPU = re.compile(r"cuda:(0|[1-9][0-9]{0,3})")


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU; ``cuda:1`` is the second GPU.

    Raises:
        UserError: the device is not there (78), or there is none of this name (2).
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = "cuda" if _A_GPU.fullmatch(name) else name
    if not available.get(kind, False):
        names = [kind for kind, there in available.items() if there]
        raise UserError(
            f"--device {name} is {'not available here' if kind in available else 'unknown'}",
            mend=f"choose among auto, {', '.join(names)}{' and cuda:N' if 'cuda' in names else ''}",
            code=ExitCode.REFUSED if kind in available else ExitCode.USAGE,
        )
    if kind == name:
        return torch.device(name)
    n_gpus = torch.cuda.device_count()
    if int(name.removeprefix("cuda:")) >= n_gpus:
        there = "cuda:0" if n_gpus == 1 else f"cuda:0 to cuda:{n_gpus - 1}"
        raise UserError(
            f"--device {name} is not there: this machine has {counted(n_gpus, 'GPU')} ({there})",
            mend="choose a device of this machine",
            code=ExitCode.REFUSED,
        )
    # What PyTorch asks of no GPU in particular (pinned memory, random numbers, bf16) it asks of this one from now on,
    # and leaves the memory of the others alone.
    torch.cuda.set_device(name)
    return torch.device(name)


def pick_precision(wanted: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """``auto`` takes bf16 on GPUs of NVIDIA that have it, where matrix products gain most, and fp32 elsewhere."""
    if wanted != "auto":
        return wanted
    # Older ones would emulate it, slowly.
    has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has_it else "fp32"


def pick_dtype(wanted: Precision, device: torch.device) -> torch.dtype:
    """Of the weights that translate.

    Raises:
        UserError: bf16 is asked of a processor that has none (78).
    """
    precision = pick_precision(wanted, device)
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        raise UserError(
            "this processor has no bf16 arithmetic (AMX or AVX512-BF16)",
            mend="give --precision fp32",
            code=ExitCode.REFUSED,
        )
    return torch.bfloat16 if precision == "bf16" else torch.float32


_BATCH_TOKENS = {"cpu": 5120, "cuda": 102_400}
"""With one beam. CPU: activations stay in its cache. GPU: enough to keep it busy. Other devices were not measured."""


def fitting_batch_tokens(model: Transformer, beam_size: int) -> int:
    """The ``decoding.batch_tokens`` that is chosen if none is given, for a model on its device."""
    weight = model.output.weight
    # A further beam takes a fifth of what the first one and the source take.
    wanted, least = (
        5 * _BATCH_TOKENS.get(kind, _BATCH_TOKENS["cpu"]) // (4 + beam_size) for kind in (weight.device.type, "cpu")
    )
    if weight.device.type != "cuda":
        return wanted
    # Keys and values of the source and of as many target tokens of each beam, with room for half as many more.
    config = model.config
    a_token = 2 * config.decoder_layers * config.d_model * (1 + 2 * beam_size) * weight.element_size()
    free, _ = torch.cuda.mem_get_info(weight.device)
    free += torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device)
    return max(least, min(wanted, free // 2 // a_token))


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch or NumPy failed for want of memory, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, those of GPUs, C++'s own.
    return any(words in str(error) for words in ("allocate memory", "out of memory", "bad_alloc"))
