"""The output layer laid out for translating: all pieces, or some.

Shapes: D model width, V vocabulary, n pieces.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.packed import pack, packed_linear, rows_quicker_packed

IMPOSSIBLE = -1e30
"""The logit of what never comes, as good as -inf, which a product may turn into NaN."""


class OutputLayer:
    """The output layer, of all pieces or of some.

    Args:
        weight: [V, D]
        bias: [V]
        packed: take the time to pack the weight, where that is of use.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, packed: bool = True) -> None:
        self.weight, self.bias = weight, bias
        rows = rows_quicker_packed(weight)
        self._packed = pack(weight) if packed and rows else None
        self._rows_packed = range(0) if self._packed is None else rows
        # On a CPU the bias is one more row of the weight, for one more input that is 1: adding it to so many
        # numbers would be a pass over all of them. A GPU adds it within the product, and likes even widths.
        self._bias_row = weight.device.type == "cpu"
        bias_row = [bias.unsqueeze(0)] if self._bias_row else []
        self._laid_out = torch.cat((weight.t(), *bias_row))  # [D or D + 1, V]

    @classmethod
    def padded(cls, output: nn.Linear, multiple: int) -> "OutputLayer":
        """The output layer of a trained model, with V padded to a multiple by pieces that never come."""
        filling = -output.weight.size(0) % multiple
        weight = F.pad(output.weight, (0, 0, 0, filling))  # [≥V, D]
        return cls(weight, F.pad(output.bias, (0, filling), value=IMPOSSIBLE))

    def of(self, pieces: Tensor) -> "OutputLayer":
        """That of some pieces alone. [n]"""
        return OutputLayer(self.weight.index_select(0, pieces), self.bias.index_select(0, pieces), packed=False)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None and len(hidden) in self._rows_packed:
            return packed_linear(hidden, self._packed, self.bias)
        if self._bias_row:
            return F.pad(hidden, (0, 1), value=1.0) @ self._laid_out
        return torch.addmm(self.bias, hidden, self._laid_out)
