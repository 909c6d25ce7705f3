"""Numbers on their way to a GPU and back, without either side waiting for the other.

PyTorch's own ways wait until the GPU has done all that it was asked for before, which leaves it idle while
Python thinks of more.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on another device. What a GPU is asked for next finds it there."""
    if device.type == "cuda":  # only from pinned memory does it travel while Python goes on; MPS has none to pin
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Fetched:
    """Tensors of as many rows each, whose values are wanted here.

    A GPU is not waited for before they are taken. All travel together, as the way is long however little there is to
    carry.

    Args:
        tensors: log-probabilities, and whole numbers that fp32 holds exactly. Each [B, …]
    """

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors
        self._there: torch.cuda.Event | None = None
        if _is_here(tensors[0]):
            return
        on_cuda = tensors[0].device.type == "cuda"
        together = torch.cat([t.reshape(len(t), -1).float() for t in tensors], dim=1)
        self._together = together.to("cpu", non_blocking=on_cuda)  # MPS has no event to wait for
        if on_cuda:
            self._there = torch.cuda.Event()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            # Of the GPU that the tensors are on, which need not be PyTorch's current one.
            self._there.record(torch.cuda.current_stream(tensors[0].device))

    def values(self) -> Sequence[Tensor]:
        """The tensors on the CPU, once they are there."""
        if _is_here(self._tensors[0]):
            return self._tensors
        if self._there is not None:
            self._there.synchronize()
        parts = torch.split(self._together, [t[0].numel() for t in self._tensors], dim=1)
        return [part.to(t.dtype).view(t.shape) for part, t in zip(parts, self._tensors, strict=True)]


def _is_here(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"
