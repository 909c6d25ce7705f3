"""Linear maps for few rows, and the norms whose weight and bias they take over.

Shapes: D model width; in and out: of the map.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.model.packed import pack, packed_linear, packed_linear_added


class SideBySide:
    """A linear map: several of ``nn.Linear`` side by side.

    Args:
        weights: each [out, in]
        biases: each [out]
        after: the LayerNorm whose results it reads, in fp32. Its weight and bias and these biases then become part of
            the weights, and ``after`` has to leave one behind: see ``Norm.plain``.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], after: "Norm | None" = None) -> None:
        weight, self.bias = torch.cat(list(weights)), torch.cat(list(biases))  # [out, in], [out]
        self.plain = after is not None
        # In fp32 plain products are as fast.
        self.packed = pack(weight) if weight.dtype == torch.bfloat16 else None
        assert after is None or self.packed is None  # packed are weights in bf16, which leave nothing out
        if self.packed is None:
            if after is not None:
                weight = after_norm(weight, self.bias, after)
            # The longer side lies in a row: with AVX2 a single row's product takes 91 µs so where it took 152.
            long_inputs = weight.size(1) > weight.size(0)
            self.weight = weight.contiguous().t() if long_inputs else weight.t().contiguous()  # [in, out]

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias, relu=relu)
        if relu and x.device.type == "cuda":  # within the product; on a CPU it would be two passes
            return torch._addmm_activation(self.bias, x, self.weight)
        image = torch.mm(x, self.weight) if self.plain else torch.addmm(self.bias, x, self.weight)
        return image.relu_() if relu else image

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """``total``, perhaps in its place, and the image of ``x``. [rows, out], [rows, in] -> [rows, out]"""
        if self.packed is not None:
            return packed_linear_added(x, self.packed, self.bias, total)
        return total.addmm_(x, self.weight).add_(self.bias)


def after_norm(weight: Tensor, bias: Tensor, norm: "Norm") -> Tensor:
    """The weight W' with W'·(z + 1) = W·(g·z + b) + bias for every z that sums to zero, as a LayerNorm's does.

    A number added to a whole row of W' then changes the result by D times that number, whatever z is: by that the
    bias comes in without being added to each row of the product.
    """
    assert norm.weight is not None
    assert norm.bias is not None
    scaled = weight.double() * norm.weight.double()  # [out, in]
    constant = weight.double() @ norm.bias.double() + bias.double()  # [out]
    rows = constant / weight.size(1) - scaled.mean(dim=1)
    return (scaled + rows.unsqueeze(1)).to(weight.dtype)


class Norm:
    """LayerNorm or RMSNorm, without the way through ``nn.Module`` that costs as much as a norm of few rows."""

    def __init__(self, norm: nn.Module) -> None:
        self.shape: list[int] = list(getattr(norm, "normalized_shape", ()))  # none: nn.Identity
        weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
        self.weight: Tensor | None = None if weight is None else weight.clone()
        self.bias: Tensor | None = None if bias is None else bias.clone()
        self.eps: float = getattr(norm, "eps", 0.0)
        self.kind = type(norm)

    def plain(self) -> "Norm | None":
        """One that leaves weight and bias to the linear maps that read its results; None where they cannot take them.

        Its results are one more than those of no weight and no bias.
        """
        if self.kind is not nn.LayerNorm or self.weight is None or self.bias is None or not is_fp32_on_cpu(self.weight):
            return None
        plain = copy.copy(self)
        plain.weight, plain.bias = torch.ones_like(self.weight), torch.ones_like(self.bias)
        return plain

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        if self.kind is nn.LayerNorm:
            return torch.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return torch.rms_norm(x, self.shape, self.weight, self.eps) if self.kind is nn.RMSNorm else x


def is_fp32_on_cpu(weight: Tensor) -> bool:
    """Whether it is in fp32 on a CPU: what is multiplied into weights then changes the last digits alone."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu"


class Reading:
    """What reads a sublayer's input: the norm, where it stands there, and several linear maps side by side.

    Args:
        norm: None where it stands after the sublayer.
        weights: each [out, D]
        biases: each [out]
    """

    def __init__(self, norm: Norm | None, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        plain = None if norm is None else norm.plain()
        self.norm = plain or norm
        self.linear = SideBySide(weights, biases, after=norm if plain is not None else None)

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """[rows, D] -> [rows, out]"""
        return self.linear(self.normalised(x), relu=relu)

    def normalised(self, x: Tensor) -> Tensor:
        """What the linear maps read. [rows, D] -> [rows, D]"""
        return x if self.norm is None else self.norm(x)
