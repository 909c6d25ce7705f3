"""Devices: choice of device and precision, cores, out-of-memory errors, the processor, copies to and from a GPU."""

import contextlib
import functools
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seq2seq.errors import ExitCode, UserError, counted

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The data type of each precision."""
_FP16_CAPABILITY = (7, 0)
"""Compute capability of NVIDIA's first GPUs with matrix units, which are for fp16: V100, T4."""
_CUDA_INDEX = re.compile(r"cuda:(0|[1-9][0-9]{0,3})")


def pick_device(name: str) -> torch.device:
    """The device with this name: ``auto`` is CUDA, else MPS, else the CPU; ``cuda:1`` is the second GPU.

    Of several processes that ``torchrun`` started on one machine, each has its own GPU: that of its ``LOCAL_RANK``.

    Raises:
        UserError: the device is not available (78), or the name is unknown (2).
    """
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if n_local > 1:
        name = _own_device(name, n_local)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = "cuda" if _CUDA_INDEX.fullmatch(name) else name
    if not available.get(kind, False):
        names = [kind for kind, is_available in available.items() if is_available]
        raise UserError(
            f"`device={name}` is {'not available here' if kind in available else 'unknown'}",
            mend=f"choose among auto, {', '.join(names)}{' and cuda:N' if 'cuda' in names else ''}",
            code=ExitCode.REFUSED if kind in available else ExitCode.USAGE,
        )
    if kind == name:
        return torch.device(name)
    n_gpus = torch.cuda.device_count()
    if int(name.removeprefix("cuda:")) >= n_gpus:
        names_of_gpus = "cuda:0" if n_gpus == 1 else f"cuda:0 to cuda:{n_gpus - 1}"
        raise UserError(
            f"`device={name}` does not exist: this machine has {counted(n_gpus, 'GPU')} ({names_of_gpus})",
            mend="choose a device of this machine" if n_local == 1 else "start as many processes as there are GPUs",
            code=ExitCode.REFUSED,
        )
    # Then calls without a device (pinned memory, random numbers, bf16) use this GPU, and no memory of the others.
    torch.cuda.set_device(name)
    return torch.device(name)


def pick_precision(wanted: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """The precision of a setting: ``auto`` is bf16 on a CUDA GPU that supports it, fp16 on one that is fast in it."""
    if wanted != "auto":
        return wanted
    if has_bf16_units(device):
        return "bf16"
    if device.type != "cuda":
        return "fp32"
    return "fp16" if torch.cuda.get_device_capability(device) >= _FP16_CAPABILITY else "fp32"


def has_bf16_units(device: torch.device) -> bool:
    """Whether it is a CUDA GPU that computes in bf16; older ones emulate it, which is slow."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _own_device(name: str, n_local: int) -> str:
    """The device of one of several processes that ``torchrun`` started on this machine."""
    if name == "mps" or _CUDA_INDEX.fullmatch(name):
        raise UserError(
            f"`device={name}` is one GPU, but torchrun started {n_local} processes on this machine",
            mend="give `device=auto`: each process takes a GPU of its own, or they share the CPU",
            code=ExitCode.USAGE,
        )
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return "cpu" if name == "auto" else name


def pick_dtype(wanted: Precision | Literal["int8"], device: torch.device) -> torch.dtype:
    """The data type of the weights for translation.

    Raises:
        UserError: int8, which only CTranslate2 has (2); bf16 on a processor without it (78).
    """
    if wanted == "int8":
        raise UserError(
            "`decoding.precision=int8` needs CTranslate2",
            mend="give `engine=ctranslate2`, or `decoding.precision=fp32`",
            code=ExitCode.USAGE,
        )
    precision = pick_precision(wanted, device)
    if precision == "bf16" and device.type == "cpu" and not has_bf16():
        raise UserError(
            "this processor has no bf16 instructions (AMX or AVX512-BF16)",
            mend="give `decoding.precision=fp32`",
            code=ExitCode.REFUSED,
        )
    return DTYPES[precision]


def cores() -> int:
    """Number of cores for this process: PyTorch's threads, but not more than the system allows."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), allowed)


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch or NumPy ran out of memory, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Messages of the allocators of the CPU, of a GPU, and of C++.
    return any(words in str(error) for words in ("allocate memory", "out of memory", "bad_alloc"))


# The processor --------------------------------------------------------------------------------------------------

_INSTRUCTIONS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f", "avx512_f"),
    "avx512_bf16": ("avx512_bf16",),
    "avx_vnni": ("avx_vnni",),
    "amx": ("amx_bf16",),
}
"""Instruction sets on which the choice of a library depends, and their names in Linux and PyTorch."""
_VENDORS = {"AuthenticAMD": "AMD", "HygonGenuine": "AMD", "GenuineIntel": "Intel"}


class Processor(NamedTuple):
    """The properties of a processor on which the choice of a library depends."""

    vendor: str
    """AMD or Intel; empty for any other."""
    instructions: frozenset[str]
    """Those of ``_INSTRUCTIONS`` that it has."""

    def __str__(self) -> str:
        return " ".join([self.vendor or "processor", *(name for name in _INSTRUCTIONS if name in self.instructions)])


@functools.cache
def this_processor() -> Processor:
    """The processor that this program runs on."""
    cpuinfo = ""
    with contextlib.suppress(OSError):  # only Linux has this file
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    # PyTorch lists the capabilities since version 2.11.
    return parse_processor(cpuinfo, platform.processor(), getattr(torch.cpu, "get_capabilities", dict)())


def parse_processor(cpuinfo: str, description: str, capabilities: Mapping[str, object]) -> Processor:
    """Parse the system's description of a processor.

    Args:
        cpuinfo: ``/proc/cpuinfo`` of Linux; empty elsewhere.
        description: from ``platform.processor()``.
        capabilities: from ``torch.cpu.get_capabilities()``.
    """
    words = {*cpuinfo.split(), *(name for name, has in capabilities.items() if has is True)}
    found = frozenset(name for name, any_of in _INSTRUCTIONS.items() if words & set(any_of))
    # Without known instructions the vendor is not useful.
    vendors = [name for word, name in _VENDORS.items() if found and word in cpuinfo + description]
    return Processor(vendors[0] if vendors else "", found)


def has_bf16(processor: Processor | None = None) -> bool:
    """Whether a processor (default: this one) has bf16 instructions (AMX or AVX512-BF16)."""
    return bool((processor or this_processor()).instructions & {"avx512_bf16", "amx"})


# Copies ---------------------------------------------------------------------------------------------------------


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device. On CUDA, Python does not wait; later kernels wait for the copy."""
    if device.type == "cuda":  # only copies from pinned memory are asynchronous; MPS has no pinned memory
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostCopy:
    """An asynchronous copy of several tensors to the CPU. It waits for the GPU only when its values are read.

    One transfer copies all tensors, as most of its time is latency.

    Args:
        tensors: log-probabilities, and integers that fp32 holds exactly. Each [B, …]
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors
        self._copied: torch.cuda.Event | None = None
        if is_on_cpu(tensors[0]):
            return
        on_cuda = tensors[0].device.type == "cuda"
        joined = torch.cat([t.reshape(t.size(0), -1).float() for t in tensors], dim=1)
        self._joined = joined.to("cpu", non_blocking=on_cuda)  # MPS has no event to wait for
        if on_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            # The stream of the tensors' GPU, which may not be PyTorch's current one.
            self._copied.record(torch.cuda.current_stream(tensors[0].device))

    def values(self) -> Sequence[Tensor]:
        """The tensors on the CPU. Waits until they are copied."""
        if is_on_cpu(self._tensors[0]):
            return self._tensors
        if self._copied is not None:
            self._copied.synchronize()
        parts = torch.split(self._joined, [t[0].numel() for t in self._tensors], dim=1)
        return [part.to(t.dtype).view(t.shape) for part, t in zip(parts, self._tensors, strict=True)]


def is_on_cpu(tensor: Tensor) -> bool:
    """Whether a tensor is in the memory of the CPU."""
    return tensor.device.type == "cpu"
