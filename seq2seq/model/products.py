"""Matrix products of linear layers, by the library that is fastest on this processor: MKL or oneDNN.

A linear layer needs three products: its output, and in the backward pass the gradients of its input and its weight.
In fp32 PyTorch calls MKL, which reaches half of the possible speed on some AMD processors. oneDNN, which is also part
of PyTorch, reaches all of it. In bf16 oneDNN is faster on every processor with bf16 instructions: operands, biases and
results are rounded, and sums within a product are in fp32.

The choice depends on the processor and the kind of product (``MEASURED``), never on a measurement at run time. So two
runs on one machine give the same bits.

PyTorch has no public names for these calls of oneDNN; torch.compile makes them. No other file uses private names of
PyTorch. If they are missing (another processor, another version of PyTorch), PyTorch's own products are used.

Shapes: N rows; in and out: sizes of the linear layer.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.device import Processor, this_processor

Library = Literal["mkl", "onednn"]
"""``mkl``: PyTorch's own choice, which is another library on ARM and Apple."""

# What was measured on each kind of processor ----------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The fastest library on a kind of processor, measured by ``make bench-products``."""

    processor: Processor
    training: Library = "mkl"
    """Library for products of many rows."""
    bf16: bool = False
    """Whether training in bf16 was measured to be at least 1.25 times as fast as in fp32."""
    packed: range = range(0)
    """Numbers of rows for which packed weights are faster in fp32."""
    packed_output: range = range(0)
    """The same for weights of many columns, such as the output layer's."""


_NO_LIMIT = 2**31


def _processor(vendor: str, instructions: str) -> Processor:
    return Processor(vendor, frozenset(instructions.split()))


MEASURED = [
    # Intel with AVX2 alone, as AMD's
    Measured(_processor("Intel", "avx2"), packed_output=range(2, _NO_LIMIT)),
    # Skylake to Ice Lake: not measured
    Measured(_processor("Intel", "avx2 avx512")),
    # Sapphire Rapids and Emerald Rapids
    Measured(_processor("Intel", "avx2 avx512 avx512_bf16 avx_vnni amx"), bf16=True),
    # Zen 3
    Measured(_processor("AMD", "avx2"), packed_output=range(2, _NO_LIMIT)),
    # Zen 4
    Measured(
        _processor("AMD", "avx2 avx512 avx512_bf16"),
        bf16=True,
        packed=range(4, _NO_LIMIT),
        packed_output=range(2, _NO_LIMIT),
    ),
    # Zen 5: bf16 not measured
    Measured(
        _processor("AMD", "avx2 avx512 avx512_bf16 avx_vnni"),
        training="onednn",
        packed=range(2, _NO_LIMIT),
        packed_output=range(2, _NO_LIMIT),
    ),
]


def nearest(processor: Processor) -> Measured:
    """The row of the most similar processor of the same vendor: the fewest instructions differ.

    On a tie it is the older processor. For an unknown vendor it is PyTorch's own products.
    """
    rows = [row for row in MEASURED if row.processor.vendor == processor.vendor]
    if not rows:
        return Measured(processor)
    return min(rows, key=lambda row: len(row.processor.instructions ^ processor.instructions))


def pick_library(wanted: str, processor: Processor) -> Library:
    """The library for training: ``auto`` is the fastest one. oneDNN is used only if this PyTorch offers it."""
    chosen = nearest(processor).training if wanted == "auto" else wanted
    return "onednn" if chosen == "onednn" and HAS_ONEDNN else "mkl"


# oneDNN's calls -------------------------------------------------------------------------------------------------

_NAMES = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
HAS_ONEDNN = bool(
    torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and all(hasattr(torch.ops.mkldnn, name) for name in _NAMES)
)
"""Whether this PyTorch offers oneDNN's products."""
_ROWS = 256
"""Number of rows that packing is tuned for; any number works."""


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """x·Wᵀ + b by oneDNN, for any strides. [N, in], [out, in], [out] -> [N, out]"""
    output: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return output


def can_multiply(precision: str) -> bool:
    """Whether oneDNN supports products in this precision. In bf16 they are slow without bf16 instructions."""
    return HAS_ONEDNN and (precision == "fp32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def pack(weight: Tensor) -> Tensor | None:
    """A weight packed for ``packed_linear``; None if it cannot be packed. [out, in]"""
    if (
        weight.device.type != "cpu"
        or weight.dtype == torch.float16
        or not can_multiply("bf16" if weight.dtype == torch.bfloat16 else "fp32")
    ):
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)  # type: ignore[no-any-return]


def rows_packed(weight: Tensor, wanted: str, *, many_columns: bool = False) -> range:
    """Numbers of rows for which the packed weight should be used. [out, in]

    Args:
        weight: in fp32 or bf16.
        wanted: ``decoding.products``: auto, mkl or onednn.
        many_columns: whether it is a weight such as the output layer's.
    """
    if weight.dtype == torch.bfloat16 or wanted == "onednn":
        return range(_NO_LIMIT)
    measured = nearest(this_processor())
    return range(0) if wanted == "mkl" else measured.packed_output if many_columns else measured.packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None, *, relu: bool = False) -> Tensor:
    """x·Wᵀ + b with a packed weight. [N, in], [out, in], [out] -> [N, out]"""
    output = _onednn_linear(_pad_rows(x), packed, bias, "relu" if relu else "none")
    return _drop_padding(output, x)


def packed_linear_added(x: Tensor, packed: Tensor, bias: Tensor, total: Tensor) -> Tensor:
    """total + x·Wᵀ + b with a packed weight; ``total`` may be changed in place.

    [N, in], [out, in], [out], [N, out] -> [N, out]
    """
    added = torch.ops.mkldnn._linear_pointwise.binary(_pad_rows(x), _pad_rows(total), packed, bias, "add")
    return _drop_padding(added, x)


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x·W + b) by PyTorch's own product. [N, in], [in, out], [out] -> [N, out]"""
    if x.device.type == "cuda":  # within the product; on a CPU it would be two passes
        return torch._addmm_activation(bias, x, weight)
    return torch.addmm(bias, x, weight).relu_()


def _padded(rows: int, dtype: torch.dtype) -> int:
    # oneDNN compiles a kernel for each new number of rows, which takes up to two milliseconds, and decoding uses every
    # number. In fp32 an additional row costs more than in bf16.
    step = 1 if rows <= 4 else 8 if rows <= 64 or dtype == torch.float32 else 64
    return -(-rows // step) * step


def _pad_rows(x: Tensor) -> Tensor:
    padding = _padded(x.size(0), x.dtype) - x.size(0)
    return F.pad(x, (0, 0, 0, padding)) if padding else x


def _drop_padding(output: Tensor, x: Tensor) -> Tensor:
    return output if output.size(0) == x.size(0) else output[: x.size(0)]


# Training -------------------------------------------------------------------------------------------------------


class Products(NamedTuple):
    """The three products of a linear layer, with many rows each."""

    weight: Tensor
    """In fp32; for oneDNN perhaps in bf16: then the other operands are rounded too. [out, in]"""
    library: Library

    def operand(self, x: Tensor) -> Tensor:
        """``x`` as an operand: for oneDNN in bf16 it is rounded and padded with rows of zeros. [N, k] -> [≥N, k]"""
        n = x.size(0)
        is_padded = self.library == "onednn" and self.weight.dtype == torch.bfloat16
        n_rows = _padded(n, self.weight.dtype) if is_padded else n
        if n_rows == n and x.dtype == self.weight.dtype:
            return x
        rounded = x.new_empty(n_rows, x.size(1), dtype=self.weight.dtype)
        rounded[:n] = x
        rounded[n:] = 0.0
        return rounded

    def output(
        self, operand: Tensor, bias: Tensor, n: int, out: Tensor | None = None, *, as_operand: bool = False
    ) -> Tensor:
        """The layer's output: the first n rows in fp32, or ``as_operand``. [≥n, in], [out] -> [n, out] or [≥n, out]"""
        if self.library == "mkl":
            return torch.addmm(bias, operand, self.weight.t(), out=out)
        output = _onednn_linear(operand, self.weight, bias.to(self.weight.dtype))
        if as_operand:
            return output
        output = output[:n] if output.size(0) > n else output
        return output.float() if out is None else out.copy_(output)

    def grad_input(self, gradient: Tensor, n: int) -> Tensor:
        """The gradient of the input, of its first n rows, from that of the output. [≥n, out] -> [n, in]"""
        if self.library == "mkl":
            return gradient @ self.weight
        return _onednn_linear(gradient, self.weight.t())[:n]

    def grad_weight(self, gradient: Tensor, operand: Tensor) -> Tensor:
        """The gradient of the weight. [≥n, out], [≥n, in] -> [out, in]"""
        if self.library == "mkl":
            return gradient.t() @ operand
        return _onednn_linear(gradient.t(), operand.t())

    def add_grad_weight(self, total: Tensor, gradient: Tensor, operand: Tensor) -> None:
        """Add the gradient of the weight to ``total``. [out, in], [≥n, out], [≥n, in]"""
        if self.library == "mkl" and total.dtype == gradient.dtype:
            total.addmm_(gradient.t(), operand)
        else:
            total.add_(self.grad_weight(gradient, operand))


class Linear(nn.Linear):
    """``nn.Linear`` whose products can use another library: see ``use_products``."""

    products: Products | None = None
    """None: PyTorch's own."""

    def forward(self, x: Tensor, *, as_operand: bool = False) -> Tensor:
        """[..., in] -> [..., out]

        Args:
            x: in fp32, or an output ``as_operand``.
            as_operand: the output is used only as the operand of another product, so it may stay in bf16 and padded.
                Then x must be [N, in].
        """
        if self.products is None:
            return super().forward(x)
        output: Tensor = _LinearFunction.apply(x.flatten(0, -2), self.weight, self.bias, self.products, as_operand)  # type: ignore[no-untyped-call]
        return output if as_operand else output.view(*x.shape[:-1], self.weight.size(0))

    @property
    def products_or_own(self) -> Products:
        """``products``, or PyTorch's own: for a caller that computes the products itself."""
        return Products(self.weight.detach(), "mkl") if self.products is None else self.products


class _LinearFunction(torch.autograd.Function):
    """x·Wᵀ + b. Each operand is rounded once; gradients are returned in fp32."""

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
        ctx.products, ctx.n, ctx.dtype = products, x.size(0), x.dtype  # type: ignore[attr-defined]
        return products.output(operand, bias, x.size(0), as_operand=as_operand)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (operand,) = ctx.saved_tensors  # type: ignore[attr-defined]
        products: Products = ctx.products  # type: ignore[attr-defined]
        gradient = products.operand(grad)
        grad_input = products.grad_input(gradient, ctx.n).to(ctx.dtype)  # type: ignore[attr-defined]
        grad_weight = products.grad_weight(gradient, operand).float()
        return grad_input, grad_weight, grad.sum(dim=0, dtype=torch.float32), None, None


@contextlib.contextmanager
def use_products(library: Library, precision: str, model: nn.Module) -> Iterator[None]:
    """Let a model's linear layers use a library and a precision within this context.

    Weights are rounded when the context is entered, and must not change inside it.

    Args:
        library: ``onednn`` for bf16.
        precision: ``fp32`` or ``bf16``.
        model: on a CPU.

    Raises:
        ValueError: bf16 by MKL, which is not supported.
    """
    if (library, precision) == ("mkl", "bf16"):
        raise ValueError("only oneDNN computes products in bf16")
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    outer = [linear.products for linear in linears]
    for linear in linears:
        weight = linear.weight.detach()
        linear.products = Products(weight if precision == "fp32" else weight.bfloat16(), library)
    try:
        yield
    finally:
        for linear, products in zip(linears, outer, strict=True):
            linear.products = products
