"""Products with weights, each by the library that is quickest for it on this processor.

A linear map makes three products: its image, and on the way back the gradients of its input and of its weight. PyTorch
gives those in fp32 to MKL, which uses half of what some processors of AMD can do; oneDNN, in the same PyTorch, uses all
of it. In bf16 oneDNN is quicker wherever a processor has bf16 arithmetic: operands are rounded, sums are made in fp32.

Which library it is follows from the processor and the kind of product alone (``MEASURED``), never from a timing, so
that two runs on one machine are the same to the bit.

PyTorch calls oneDNN itself in compiled models, and has no public names for these calls. They are made in this file
alone; where they are missing (another processor, another PyTorch) MKL, or what PyTorch has in its place, makes the
products.

Shapes: N rows; in and out: of the linear map.
"""

import contextlib
import functools
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Library = Literal["mkl", "onednn"]
"""``mkl``: as PyTorch does by itself, on ARM and Apple with another library."""

# The processor, and what was measured on its like ---------------------------------------------------------------

_INSTRUCTIONS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f", "avx512_f"),
    "avx512_bf16": ("avx512_bf16",),
    "avx_vnni": ("avx_vnni",),
    "amx": ("amx_bf16",),
}
"""Those on which the choice hangs, as Linux and PyTorch name them."""
_VENDORS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}


class Processor(NamedTuple):
    """What the choice of a library hangs on."""

    vendor: str
    """AMD or Intel; '' is any other."""
    instructions: frozenset[str]
    """Of ``_INSTRUCTIONS``, those it has."""

    def __str__(self) -> str:
        return " ".join([self.vendor or "processor", *(name for name in _INSTRUCTIONS if name in self.instructions)])


@functools.cache
def this_processor() -> Processor:
    """The one that this program runs on."""
    description = platform.processor()
    # From PyTorch 2.11 on it knows them too.
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    words = {word for word, has in known.items() if has is True}
    with contextlib.suppress(OSError):  # elsewhere than on Linux
        description += Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        words.update(description.split())
    vendor = next((name for word, name in _VENDORS.items() if word in description), "")
    return Processor(vendor, frozenset(name for name, any_of in _INSTRUCTIONS.items() if words & set(any_of)))


@dataclass(frozen=True)
class Measured:
    """What is quickest on a processor: a row of what ``make bench-products`` prints."""

    processor: Processor
    training: Library = "mkl"
    """For products of many rows."""
    bf16: bool = False
    """Whether training in bf16 is at least 1.25 times as fast as in fp32."""
    packed: range = range(0)
    """Numbers of rows whose products in fp32 are quicker with packed weights."""
    packed_output: range = range(0)
    """The same for a weight of many columns, as the output layer's."""


_ANY = 2**31


def _processor(vendor: str, instructions: str) -> Processor:
    return Processor(vendor, frozenset(instructions.split()))


MEASURED = [
    Measured(_processor("Intel", "avx2")),
    Measured(_processor("Intel", "avx2 avx512 avx512_bf16 avx_vnni amx")),
    Measured(_processor("AMD", "avx2"), packed_output=range(2, _ANY)),
    Measured(_processor("AMD", "avx2 avx512 avx512_bf16"), bf16=True),
    Measured(
        _processor("AMD", "avx2 avx512 avx512_bf16 avx_vnni"),
        training="onednn",
        packed=range(2, 64),
        packed_output=range(2, 64),
    ),
]


def nearest(processor: Processor) -> Measured:
    """The row of the processor most like this one: of its vendor, with the most instructions in common.

    A processor of no known vendor gets what PyTorch does by itself.
    """
    rows = [row for row in MEASURED if row.processor.vendor == processor.vendor]
    if not rows:
        return Measured(processor)
    return min(rows, key=lambda row: len(row.processor.instructions ^ processor.instructions))


def pick_library(wanted: str, processor: Processor) -> Library:
    """For training: ``auto`` takes what is quickest; oneDNN is taken only where it is there."""
    chosen = nearest(processor).training if wanted == "auto" else wanted
    return "onednn" if chosen == "onednn" and HAS_ONEDNN else "mkl"


# oneDNN's calls -------------------------------------------------------------------------------------------------

_NAMES = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
HAS_ONEDNN = bool(
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and all(hasattr(torch.ops.mkldnn, name) for name in _NAMES)
)
"""Whether this PyTorch can be asked for oneDNN's products."""
_ROWS = 256
"""Packing is tuned for products of so many rows, and right for any."""


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """x·Wᵀ + b, of any strides. [N, in], [out, in], [out] -> [N, out]"""
    image: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return image


def has_bf16(processor: Processor | None = None) -> bool:
    """Whether a processor, or this one, has bf16 arithmetic (AMX or AVX512-BF16)."""
    return bool((processor or this_processor()).instructions & {"avx512_bf16", "amx"})


def can_multiply(precision: str) -> bool:
    """Whether oneDNN can be asked for products in this precision; in bf16 they are slow without arithmetic for it."""
    return HAS_ONEDNN and (precision == "fp32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pack(weight: Tensor) -> Tensor | None:
    """A weight packed for ``packed_linear``; None where that cannot be. [out, in]"""
    if weight.device.type != "cpu" or not can_multiply("bf16" if weight.dtype == torch.bfloat16 else "fp32"):
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)  # type: ignore[no-any-return]


def rows_packed(weight: Tensor, wanted: str, *, of_output: bool = False) -> range:
    """Numbers of rows whose products are to be made with the packed weight. [out, in]

    Args:
        weight: in fp32 or bf16.
        wanted: auto, mkl or onednn.
        of_output: it has many columns.
    """
    if weight.dtype == torch.bfloat16 or wanted == "onednn":
        return range(1, _ANY)
    measured = nearest(this_processor())
    return range(0) if wanted == "mkl" else measured.packed_output if of_output else measured.packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """[N, in], [out, in], [out] -> [N, out]"""
    return _by_onednn(_filled_up(x), packed, bias, "relu" if relu else "none")[: len(x)]


def packed_linear_added(x: Tensor, packed: Tensor, bias: Tensor, total: Tensor) -> Tensor:
    """``total``, perhaps in its place, and the image of ``x``.

    [N, in], [out, in], [out], [N, out] -> [N, out]
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


# Products of training -------------------------------------------------------------------------------------------


class Products(NamedTuple):
    """The three products of a linear map, of many rows each."""

    weight: Tensor
    """In fp32, or rounded to bf16 for oneDNN; then the other operands are rounded too. [out, in]"""
    library: Library

    def operand(self, x: Tensor) -> Tensor:
        """What stands in a product for ``x``: in bf16 rounded, and with some more rows, of zeros. [N, k] -> [≥N, k]"""
        n_rows = len(x) if self.weight.dtype == torch.float32 else _filled(len(x), self.weight.dtype)
        if n_rows == len(x) and x.dtype == self.weight.dtype:
            return x
        rounded = x.new_empty(n_rows, x.size(1), dtype=self.weight.dtype)
        rounded[: len(x)] = x
        rounded[len(x) :] = 0.0
        return rounded

    def image(
        self, operand: Tensor, bias: Tensor, n: int, out: Tensor | None = None, *, as_operand: bool = False
    ) -> Tensor:
        """The image of the first n rows, in fp32; or what the product is. [≥n, in], [out] -> [n, out] or [≥n, out]"""
        if self.library == "mkl":
            return torch.addmm(bias, operand, self.weight.t(), out=out)
        image = _by_onednn(operand, self.weight, bias.to(self.weight.dtype))
        if as_operand:
            return image
        image = image[:n] if len(image) > n else image
        return image.float() if out is None else out.copy_(image)

    def by_input(self, gradient: Tensor, n: int) -> Tensor:
        """The gradient of the input, of the first n rows, from that of the image, an operand. [≥n, out] -> [n, in]"""
        if self.library == "mkl":
            return gradient @ self.weight
        return _by_onednn(gradient, self.weight.t())[:n]

    def by_weight(self, gradient: Tensor, operand: Tensor) -> Tensor:
        """The gradient of the weight. [≥n, out], [≥n, in] -> [out, in]"""
        if self.library == "mkl":
            return gradient.t() @ operand
        return _by_onednn(gradient.t(), operand.t())

    def add_by_weight(self, total: Tensor, gradient: Tensor, operand: Tensor) -> None:
        """Add the gradient of the weight to a sum. [out, in], [≥n, out], [≥n, in]"""
        if self.library == "mkl":
            total.addmm_(gradient.t(), operand)
        else:
            total.add_(self.by_weight(gradient, operand))


class Linear(nn.Linear):
    """``nn.Linear`` whose products can be made by another library: see ``products_by``."""

    products: Products | None = None
    """None: PyTorch's own."""

    def forward(self, x: Tensor, *, as_operand: bool = False) -> Tensor:
        """[..., in] -> [..., out]

        Args:
            x: in fp32, or an image that was made as an operand.
            as_operand: of another product: the image stays in bf16 if it is, with the rows that ``operand`` added. x is
                [N, in] then.
        """
        if self.products is None:
            return super().forward(x)
        image: Tensor = _LinearMap.apply(x.flatten(0, -2), self.weight, self.bias, self.products, as_operand)  # type: ignore[no-untyped-call]
        return image if as_operand else image.view(*x.shape[:-1], -1)

    @property
    def products_or_own(self) -> Products:
        """Those for who makes the products by hand."""
        return Products(self.weight.detach(), "mkl") if self.products is None else self.products


class _LinearMap(torch.autograd.Function):
    """x·Wᵀ + b. The operands of products are rounded once; gradients are in fp32."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        products: Products,
        as_operand: bool,
    ) -> Tensor:
        operand = products.operand(x)
        ctx.save_for_backward(operand)
        ctx.products, ctx.n, ctx.dtype = products, len(x), x.dtype  # type: ignore[attr-defined]
        return products.image(operand, bias, len(x), as_operand=as_operand)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (operand,) = ctx.saved_tensors  # type: ignore[attr-defined]
        products: Products = ctx.products  # type: ignore[attr-defined]
        gradient = products.operand(grad)
        by_input = products.by_input(gradient, ctx.n).to(ctx.dtype)  # type: ignore[attr-defined]
        by_weight = products.by_weight(gradient, operand).float()
        return by_input, by_weight, grad.sum(dim=0, dtype=torch.float32), None, None


@contextlib.contextmanager
def products_by(library: Library, precision: str, model: nn.Module) -> Iterator[None]:
    """While it lasts, a model's linear maps make their products by a library, and in bf16 if that is the precision.

    The weights are rounded once, at the beginning, and must stay as they are.

    Args:
        library: oneDNN for bf16.
        precision: fp32 or bf16.
        model: on a CPU.
    """
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    for linear in linears:
        weight = linear.weight.detach()
        linear.products = Products(weight if precision == "fp32" else weight.bfloat16(), library)
    try:
        yield
    finally:
        for linear in linears:
            linear.products = None
