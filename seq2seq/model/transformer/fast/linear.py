"""Linear layers for few rows, and the norms in front of them.

Shapes: D model width; in and out: sizes of the linear layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.model.products import linear_relu, pack, packed_linear, packed_linear_added, rows_packed


class FusedLinear:
    """Several linear layers that read the same input, fused into one.

    Args:
        weights: each [out, in]
        biases: each [out]
        products: library of fp32 products on a CPU: auto, mkl or onednn.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], products: str = "auto") -> None:
        weight, self.bias = torch.cat(list(weights)), torch.cat(list(biases))  # [out, in], [out]
        rows = rows_packed(weight, products)
        self.packed = pack(weight) if rows else None
        self.rows_packed = range(0) if self.packed is None else rows
        if weight.dtype != torch.bfloat16 or self.packed is None:
            # The longer side is contiguous: with AVX2 the product of a single row takes 91 µs instead of 152.
            long_inputs = weight.size(1) > weight.size(0)
            self.weight = weight.contiguous().t() if long_inputs else weight.t().contiguous()  # [in, out]

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, in] -> [rows, out]"""
        # size: len() of a tensor takes a microsecond.
        if self.packed is not None and x.size(0) in self.rows_packed:
            return packed_linear(x, self.packed, self.bias, relu=relu)
        return linear_relu(x, self.weight, self.bias) if relu else torch.addmm(self.bias, x, self.weight)

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """The output for ``x`` added to ``total``, perhaps in place. [rows, out], [rows, in] -> [rows, out]"""
        if self.packed is not None and x.size(0) in self.rows_packed:
            return packed_linear_added(x, self.packed, self.bias, total)
        return total.addmm_(x, self.weight).add_(self.bias)


class Norm:
    """LayerNorm or RMSNorm without ``nn.Module``: calling a module takes as long as the norm of a few rows."""

    def __init__(self, norm: nn.Module) -> None:
        self.shape: list[int] = list(getattr(norm, "normalized_shape", ()))  # none: nn.Identity
        weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
        self.weight: Tensor | None = None if weight is None else weight.clone()
        self.bias: Tensor | None = None if bias is None else bias.clone()
        self.eps: float = getattr(norm, "eps", 0.0)
        self.kind = type(norm)

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        if self.kind is nn.LayerNorm:
            return torch.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return torch.rms_norm(x, self.shape, self.weight, self.eps) if self.kind is nn.RMSNorm else x


def is_fp32_on_cpu(weight: Tensor) -> bool:
    """Whether a weight is in fp32 on a CPU. Then multiplying it with another weight changes only the last digits."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


class NormedLinear:
    """The norm before a sublayer (pre-norm), and the fused linear layers that read its output.

    Args:
        norm: None with post-norm.
        weights: each [out, D]
        biases: each [out]
        products: as of ``FusedLinear``.
    """

    def __init__(
        self, norm: Norm | None, weights: Sequence[Tensor], biases: Sequence[Tensor], products: str = "auto"
    ) -> None:
        self.norm = norm
        self.linear = FusedLinear(weights, biases, products)

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, D] -> [rows, out]"""
        return self.linear(self.normalized(x), relu=relu)

    def normalized(self, x: Tensor) -> Tensor:
        """The input of the linear layer. [rows, D] -> [rows, D]"""
        return x if self.norm is None else self.norm(x)
