"""The output layer laid out for translating: all pieces, some pieces, and all of them roughly.

Shapes: D model width, V vocabulary, b of the rows, n pieces, C columns of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.laid_out import Norm, after_norm
from seq2seq.model.packed import has_bf16, pack, packed_linear, rows_quicker_packed, rows_with_kernels

_ROUGH_ROWS = 256
"""Most rows that a rough look is taken at."""
IMPOSSIBLE = -1e30
"""The logit of what never comes, as good as -inf, which a product may turn into NaN."""
_FAR = 1e20
"""No real piece's bias is so far below 0."""


class OutputLayer:
    """The output layer, of all pieces or of some.

    Args:
        weight: [V, D]
        bias: [V]; None: it is in the weight, and hidden states come from a plain norm.
        packed: take the time to pack the weight, where that is of use.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, packed: bool = True) -> None:
        self.weight, self.bias = weight, bias
        rows = rows_quicker_packed(weight)
        self._packed = pack(weight) if packed and rows else None
        self._rows_packed = range(0) if self._packed is None else rows
        # On a CPU the bias is one more row of the weight, for one more input that is 1: adding it to so many
        # numbers would be a pass over all of them. A GPU adds it within the product, and likes even widths.
        self._bias_row = bias is not None and weight.device.type == "cpu"
        bias_row = [bias.unsqueeze(0)] if bias is not None and self._bias_row else []
        self._laid_out = torch.cat((weight.t(), *bias_row))  # [D or D + 1, V]

    @classmethod
    def after(cls, norm: Norm, output: nn.Linear, aligned: int) -> "OutputLayer":
        """That of a trained model, for the results of the decoder's last norm: of ``norm.plain()``, if there is one.

        Args:
            norm: the last of the decoder.
            output: the layer.
            aligned: V is filled up to a multiple of this with pieces that never come.
        """
        filling = -output.weight.size(0) % aligned
        weight = F.pad(output.weight, (0, 0, 0, filling))  # [≥V, D]
        bias = F.pad(output.bias, (0, filling), value=IMPOSSIBLE)  # [≥V]
        return cls(weight, bias) if norm.plain() is None else cls(after_norm(weight, bias, norm), None)

    def of(self, pieces: Tensor) -> "OutputLayer":
        """That of some pieces alone. [n]"""
        bias = None if self.bias is None else self.bias.index_select(0, pieces)
        return OutputLayer(self.weight.index_select(0, pieces), bias, packed=False)

    def of_columns(self, hidden: Tensor, columns: Tensor) -> Tensor:
        """Other pieces for each row. [b, D], [b, C] -> [b, C]"""
        logits = torch.bmm(self.weight[columns], hidden.unsqueeze(2)).squeeze(2)
        return logits if self.bias is None else logits.add_(self.bias[columns])

    def apart(self) -> tuple[Tensor, Tensor, float]:
        """Weight [V, D] and bias [V], for hidden states from which a number is taken off first."""
        if self.bias is not None:
            return self.weight, self.bias, 0.0
        bias = self.weight.double().sum(dim=1)  # what a plain norm's 1 makes of it
        weight = self.weight.double() - bias.unsqueeze(1) / self.weight.size(1)
        return weight.to(self.weight.dtype), bias.to(self.weight.dtype), 1.0

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None and len(hidden) in self._rows_packed:
            return packed_linear(hidden, self._packed, self.bias)
        if self.bias is not None and not self._bias_row:
            return torch.addmm(self.bias, hidden, self._laid_out)
        return (F.pad(hidden, (0, 1), value=1.0) if self._bias_row else hidden) @ self._laid_out


class RoughOutput:
    """The output layer in bf16: logits to within a known error, in a quarter of the time where processors have bf16.

    Args:
        output: of real and filling pieces.
    """

    def __init__(self, output: OutputLayer) -> None:
        # With the bias in the weight both would be larger, and so the error.
        weight, bias, self._less = output.apart()
        self._packed, self._bias = pack(weight.bfloat16()), bias.bfloat16()
        rounding = torch.finfo(torch.bfloat16).eps / 2
        # h·w, both rounded, is off by at most rounding · (2 + rounding) · |h| · |w| (Cauchy-Schwarz). A hundredth
        # more is far above what the sum's order makes of it.
        self._per_norm = 2.02 * rounding * float(weight.norm(dim=1).max())
        self._of_bias = rounding * float(bias[~(bias < -_FAR)].abs().max())
        # Kernels that are made here are there for all that is forked.
        for rows in rows_with_kernels(_ROUGH_ROWS) if self._packed is not None else ():
            self(weight.new_zeros(rows, weight.size(1)))

    @classmethod
    def of(cls, output: OutputLayer) -> "RoughOutput | None":
        """That of an output layer in fp32; None where bf16 would gain nothing."""
        if output.weight.dtype != torch.float32 or output.weight.device.type != "cpu" or not has_bf16():
            return None
        rough = cls(output)
        return None if rough._packed is None else rough

    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Rounded logits, and how far each was from the exact one at most before it was rounded.

        [b, D] -> [b, V], [b]; b ≤ 256
        """
        assert self._packed is not None
        hidden = hidden - self._less if self._less else hidden
        rough = packed_linear(hidden.bfloat16(), self._packed, self._bias)
        return rough, self._per_norm * hidden.norm(dim=1) + self._of_bias
