"""Which device does the arithmetic."""

import torch

from seq2seq.errors import ExitCode, UserError


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: the device is not there (78).
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        raise UserError(
            f"--device {name} is not available here",
            mend=f"choose among auto, {', '.join(n for n, there in available.items() if there)}",
            code=ExitCode.REFUSED if name in available else ExitCode.USAGE,
        )
    return torch.device(name)


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch or NumPy failed for want of memory, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator, then MPS's.
    return any(words in str(error) for words in ("allocate memory", "backend out of memory"))
