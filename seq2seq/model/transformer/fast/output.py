"""The output layer of the fast decoder: logits that are computed when a search reads them.

They are those of all pieces, or of a shortlist. A screen finds the best piece of each row without the exact logits of
most pieces.

Shapes: B sentences, N beams, D model width, V vocabulary, n pieces, b rows, G groups.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.device import has_bf16
from seq2seq.model.base import IMPOSSIBLE
from seq2seq.model.products import pack, packed_linear, rows_packed

_FAR = 1e20
"""No real piece's bias is so far below 0."""
_GROUP = 64
"""Columns of a group: G groups have V / G each."""
_MAX_RIVALS = 16
"""Pieces of a row that a screen leaves, on average; with more of them all logits are as quick."""
_MIN_SCREENED_ROWS, _SCREENED_ROWS = 8, 256
"""Min and max rows that a screen searches at once: fewer are as quick by their logits, more outgrow the cache."""
_EPS = torch.finfo(torch.bfloat16).eps
"""Twice what rounding to bf16 changes a number by at most, as a part of it."""


class OutputLayer:
    """The output layer, of all pieces or of some.

    Args:
        weight: [V, D]
        bias: [V]
        products: library of fp32 products on a CPU: auto, mkl or onednn; None: do not pack.
    """

    def __init__(self, weight: Tensor, bias: Tensor, products: str | None = "auto") -> None:
        self.weight, self.bias = weight, bias
        rows = range(0) if products is None else rows_packed(weight, products, of_output=True)
        self._packed = pack(weight) if rows else None
        self._rows_packed = range(0) if self._packed is None else rows
        # On a CPU the bias is an additional row of the weight, for an additional input of 1: adding it would be a pass
        # over all logits. A GPU adds it within the product, and is quicker with even widths.
        self._bias_row = weight.device.type == "cpu"
        bias_row = [bias.unsqueeze(0)] if self._bias_row else []
        self._transposed = torch.cat((weight.t(), *bias_row))  # [D or D + 1, V]

    @classmethod
    def padded(cls, output: nn.Linear, multiple: int, products: str = "auto") -> "OutputLayer":
        """The output layer of a trained model, with V padded to a multiple by pieces that are never output."""
        filling = -output.weight.size(0) % multiple
        weight = F.pad(output.weight, (0, 0, 0, filling))  # [≥V, D]
        return cls(weight, F.pad(output.bias, (0, filling), value=IMPOSSIBLE), products)

    def select(self, pieces: Tensor) -> "OutputLayer":
        """The output layer of some pieces alone. [n]"""
        return OutputLayer(self.weight.index_select(0, pieces), self.bias.index_select(0, pieces), None)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None and len(hidden) in self._rows_packed:
            return packed_linear(hidden, self._packed, self.bias)
        if self._bias_row:
            return F.pad(hidden, (0, 1), value=1.0) @ self._transposed
        return torch.addmm(self.bias, hidden, self._transposed)


class Screen:
    """The best column of each row by logits in bf16, a quarter of the work of fp32 on processors that have bf16.

    A column cannot win if its rounded logit is further below the best one than the errors of both. Mostly one column is
    left. The exact logits of those that are left decide.

    Args:
        output: in fp32 on a CPU, of all pieces and padding.
    """

    def __init__(self, output: OutputLayer) -> None:
        self._weight, self._bias = output.weight, output.bias.clone()
        self._packed, self._rounded_bias = pack(output.weight.bfloat16()), self._bias.bfloat16()
        # h·w, both rounded, is off by at most eps/2 · (2 + eps/2) · |h| · |w| (Cauchy-Schwarz). A hundredth more is far
        # above what the sum's order makes of it.
        self._error_per_norm = 1.01 * _EPS * float(self._weight.norm(dim=1).max())
        self._error_of_bias = _EPS / 2 * float(self._bias[self._bias > -_FAR].abs().max())

    @classmethod
    def quicker_than(cls, output: OutputLayer) -> "Screen | None":
        """One for an output layer in fp32; None if bf16 would gain nothing."""
        if output.weight.dtype != torch.float32 or output.weight.device.type != "cpu" or not has_bf16():
            return None
        screen = cls(output)
        return None if screen._packed is None else screen

    def best(self, hidden: Tensor) -> Tensor | None:
        """The column with the highest logit in each row; None if too many are left, or a row is NaN. [b, D] -> [b]"""
        assert self._packed is not None
        rough = packed_linear(hidden.bfloat16(), self._packed, self._rounded_bias)  # [b, V]
        # A group is every G-th column: its maximum is that of halves laid over each other, the quickest there is.
        maxima = rough
        while maxima.size(1) % 2 == 0 and maxima.size(1) * _GROUP > rough.size(1):
            maxima = torch.maximum(*maxima.tensor_split(2, dim=1))
        groups = maxima.size(1)
        highest = maxima.amax(dim=1).float()  # [b]
        error = self._error_per_norm * hidden.norm(dim=1) + self._error_of_bias  # [b]: before a logit was rounded
        least = highest - 1.01 * (2 * error + _EPS * highest.abs())
        least = (least - _EPS * least.abs()).bfloat16()  # rounded down
        row, group = (maxima >= least.unsqueeze(1)).nonzero(as_tuple=True)  # two of [groups with a rival]
        members = rough.view(len(rough), -1, groups)[row, :, group]  # [groups with a rival, V / G]
        which, member = (members >= least[row].unsqueeze(1)).nonzero(as_tuple=True)  # two of [n]
        rows, columns = row[which], member * groups + group[which]  # two of [n]
        if len(rows) > _MAX_RIVALS * len(hidden):
            return None
        exact = (self._weight[columns] * hidden[rows]).sum(dim=1) + self._bias[columns]  # [n]
        best = exact.new_full((len(hidden),), -torch.inf).scatter_reduce(0, rows, exact, "amax")
        won = exact == best[rows]
        nothing = len(self._weight)
        found = columns.new_full((len(hidden),), nothing).scatter_reduce(0, rows[won], columns[won], "amin")
        return None if bool((found == nothing).any()) else found


class OutputLogits:
    """The logits of one step as ``Logits``.

    Args:
        hidden: of the rows of one batch, or of several with the same output layer and number of beams. [b, D]
        output: of the allowed pieces.
        n_beams: N
        pieces: the allowed pieces; None: all. [n]
        forbidden: 0 at the pieces that are allowed for a sentence, far below 0 elsewhere; None: all are. [B, n]
        screen: that finds the best pieces; None: there is none.
    """

    def __init__(
        self,
        hidden: Tensor,
        output: OutputLayer,
        n_beams: int,
        pieces: Tensor | None = None,
        forbidden: Tensor | None = None,
        screen: Screen | None = None,
    ) -> None:
        self.device = hidden.device
        self._hidden, self._output, self._screen = hidden, output, screen
        self._n_beams, self._pieces, self._forbidden = n_beams, pieces, forbidden

    def __len__(self) -> int:
        """b"""
        return len(self._hidden)

    def rows(self, start: int, stop: int) -> Tensor:
        """[stop - start, n]"""
        logits = self._output(self._hidden[start:stop])
        if self._forbidden is not None:
            beams = self._n_beams
            forbidden = self._forbidden[start // beams : stop // beams]
            logits.view(-1, beams, logits.size(1)).add_(forbidden.unsqueeze(1))
        return logits

    def best(self) -> Tensor | None:
        """[b]"""
        if self._screen is None or len(self) < _MIN_SCREENED_ROWS:
            return None
        found = [self._screen.best(block) for block in torch.split(self._hidden, _SCREENED_ROWS)]
        known = [columns for columns in found if columns is not None]
        return torch.cat(known) if len(known) == len(found) else None

    def pieces(self, columns: Tensor) -> Tensor:
        """Any shape; the same shape"""
        return columns if self._pieces is None else self._pieces[columns]
