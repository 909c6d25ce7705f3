"""The output layer laid out for translating: all pieces, or some.

Shapes: D model width, V vocabulary, n pieces.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.laid_out import Norm, after_norm
from seq2seq.model.packed import pack, packed_linear, rows_quicker_packed

IMPOSSIBLE = -1e30
"""The logit of what never comes, as good as -inf, which a product may turn into NaN."""


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

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None and len(hidden) in self._rows_packed:
            return packed_linear(hidden, self._packed, self.bias)
        if self.bias is not None and not self._bias_row:
            return torch.addmm(self.bias, hidden, self._laid_out)
        return (F.pad(hidden, (0, 1), value=1.0) if self._bias_row else hidden) @ self._laid_out
