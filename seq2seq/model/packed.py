"""oneDNN's linear maps: weights packed once, bias, ReLU and residual added while the result is in registers.

PyTorch makes these calls itself in compiled models; it has no public name for them. Where they are missing
(another processor, another PyTorch) ``pack`` says so, and plain products take their place.
"""

import torch
from torch import Tensor

_FOUND = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
_ROWS = 256
"""Packing is tuned for products of so many rows, and right for any."""


def has_bf16() -> bool:
    """Whether this processor has bf16 arithmetic (AMX or AVX512-BF16)."""
    # PyTorch knows, but has no public word for it.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def pack(weight: Tensor) -> Tensor | None:
    """A weight packed for ``packed_linear``; None where that cannot be. [out, in]"""
    if not _FOUND or weight.device.type != "cpu":
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)  # type: ignore[no-any-return]


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor, *, relu: bool = False) -> Tensor:
    """[rows, in], [out, in], [out] -> [rows, out]"""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "relu" if relu else "none", [], "")  # type: ignore[no-any-return]


def packed_linear_added(x: Tensor, packed: Tensor, bias: Tensor, total: Tensor) -> Tensor:
    """``total`` and the image of ``x``. [rows, in], [out, in], [out], [rows, out] -> [rows, out]"""
    return torch.ops.mkldnn._linear_pointwise.binary(x, total, packed, bias, "add")  # type: ignore[no-any-return]
