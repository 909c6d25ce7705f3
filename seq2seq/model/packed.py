"""oneDNN's linear maps: weights packed once, bias, ReLU and residual added while the result is in registers.

In bf16 they are the quickest for any number of rows, in fp32 for some: see ``rows_quicker_packed``.

PyTorch makes these calls itself in compiled models; it has no public name for them. Where they are missing
(another processor, another PyTorch) ``pack`` says so, and plain products take their place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_FOUND = (
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
)
_ROWS = 256
"""Packing is tuned for products of so many rows, and right for any."""
_ANY = 2**31


def has_bf16() -> bool:
    """Whether this processor has bf16 arithmetic (AMX or AVX512-BF16)."""
    # PyTorch knows, but has no public word for it.
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def rows_quicker_packed(weight: Tensor) -> range:
    """Numbers of rows whose products with a weight of many columns are quicker packed than plain. [out, in]"""
    if weight.dtype == torch.bfloat16:
        return range(1, _ANY)
    # Where there is AVX-512 plain products of many rows are as quick, and few rows were not measured.
    return range(2, _ANY) if torch.backends.cpu.get_cpu_capability() == "AVX2" else range(0)


def pack(weight: Tensor) -> Tensor | None:
    """A weight packed for ``packed_linear``; None where that cannot be. [out, in]"""
    if not _FOUND or weight.device.type != "cpu":
        return None
    # On a processor that can do no bf16, not even slowly, it would raise.
    if weight.dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)  # type: ignore[no-any-return]


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """[rows, in], [out, in], [out] -> [rows, out]"""
    image = torch.ops.mkldnn._linear_pointwise(_filled_up(x), packed, bias, "relu" if relu else "none", [], "")
    return image[: len(x)]  # type: ignore[no-any-return]


def packed_linear_added(x: Tensor, packed: Tensor, bias: Tensor, total: Tensor) -> Tensor:
    """``total``, perhaps in its place, and the image of ``x``.

    [rows, in], [out, in], [out], [rows, out] -> [rows, out]
    """
    added = torch.ops.mkldnn._linear_pointwise.binary(_filled_up(x), _filled_up(total), packed, bias, "add")
    return added[: len(x)]  # type: ignore[no-any-return]


def _filled(rows: int, dtype: torch.dtype) -> int:
    # oneDNN makes a kernel for each number of rows it meets, in a millisecond or two, and decoding meets them all.
    # In fp32 a row too many costs more.
    step = 1 if rows <= 4 else 8 if rows <= 64 or dtype == torch.float32 else 64
    return -(-rows // step) * step


def _filled_up(x: Tensor) -> Tensor:
    filling = _filled(len(x), x.dtype) - len(x)
    return F.pad(x, (0, 0, 0, filling)) if filling else x
