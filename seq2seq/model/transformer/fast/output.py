"""The output layer of the fast decoder. Logits are computed when a search reads them.

They are the logits of all pieces, or of a shortlist. A screen finds the best piece of each row without the exact logits
of most pieces.

Shapes: B sentences, N beams, D model width, V vocabulary, n pieces, b rows, G groups.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.device import has_bf16
from seq2seq.model.base import IMPOSSIBLE
from seq2seq.model.products import pack, packed_linear, rows_packed

_FAR = 1e20
"""The bias of a real piece is never this far below 0."""
_GROUP = 64
"""Min columns in a group of the screen. Each of the G groups has V / G."""
_MAX_RIVALS = 16
"""Max pieces that a screen may leave in a row, on average. With more, computing all logits is as fast."""
_MIN_SCREENED_ROWS, _SCREENED_ROWS = 8, 256
"""Min and max rows that a screen searches at once. For fewer, all logits are as fast; more do not fit the cache."""
_EPS = torch.finfo(torch.bfloat16).eps
"""Twice the max relative error of rounding to bf16."""


class OutputLayer:
    """The output layer, for all pieces or for some. It computes logits from hidden vectors.

    Args:
        weight: [V, D]
        bias: [V]
        products: library of fp32 products on a CPU: auto, mkl or onednn; None: do not pack.
    """

    def __init__(self, weight: Tensor, bias: Tensor, products: str | None = "auto") -> None:
        self.weight, self.bias = weight, bias
        rows = range(0) if products is None else rows_packed(weight, products, many_columns=True)
        self._packed = pack(weight) if rows else None
        self._rows_packed = range(0) if self._packed is None else rows
        # On a CPU the bias is an additional row of the weight, for an additional input of 1: adding it afterwards would
        # be a pass over all logits. A GPU adds it within the product, and is faster with even widths.
        self._bias_row = weight.device.type == "cpu"
        bias_row = [bias.unsqueeze(0)] if self._bias_row else []
        self._transposed = torch.cat((weight.t(), *bias_row))  # [D or D + 1, V]

    @classmethod
    def padded(cls, output: nn.Linear, multiple: int, products: str = "auto") -> "OutputLayer":
        """The output layer of a trained model. Pieces that are never output pad V to a multiple."""
        filling = -output.weight.size(0) % multiple
        weight = F.pad(output.weight, (0, 0, 0, filling))  # [≥V, D]
        lowest = float("-inf") if weight.dtype == torch.float16 else IMPOSSIBLE
        return cls(weight, F.pad(output.bias, (0, filling), value=lowest), products)

    def select(self, pieces: Tensor) -> "OutputLayer":
        """The output layer for only these pieces. [n]"""
        return OutputLayer(self.weight.index_select(0, pieces), self.bias.index_select(0, pieces), None)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[rows, D] -> [rows, V]"""
        if self._packed is not None and hidden.size(0) in self._rows_packed:
            return packed_linear(hidden, self._packed, self.bias)
        if self._bias_row:
            return F.pad(hidden, (0, 1), value=1.0) @ self._transposed
        return torch.addmm(self.bias, hidden, self._transposed)


class Screen:
    """A screen finds the best column of each row with few exact logits.

    First it computes all logits in bf16: a quarter of the work of fp32, on processors with bf16 instructions. A column
    cannot be the best if its rounded logit is further below the highest one than the errors of both. Mostly one column
    is left. If several are left, their exact logits decide.

    Args:
        output: in fp32 on a CPU, of all pieces and padding.
    """

    def __init__(self, output: OutputLayer) -> None:
        self._weight, self._bias = output.weight, output.bias.clone()
        self._packed, self._rounded_bias = pack(output.weight.bfloat16()), self._bias.bfloat16()
        # h·w, both rounded, is off by at most eps/2 · (2 + eps/2) · |h| · |w| (Cauchy-Schwarz). One per cent more is
        # far above the effect of the order of summation.
        self._error_per_norm = 1.01 * _EPS * float(self._weight.norm(dim=1).max())
        self._error_of_bias = _EPS / 2 * float(self._bias[self._bias > -_FAR].abs().max())

    @classmethod
    def if_faster(cls, output: OutputLayer) -> "Screen | None":
        """A screen for an output layer in fp32; None if it would not be faster than the exact logits."""
        if output.weight.dtype != torch.float32 or output.weight.device.type != "cpu" or not has_bf16():
            return None
        screen = cls(output)
        return None if screen._packed is None else screen

    def best(self, hidden: Tensor) -> Tensor | None:
        """The column with the highest logit in each row; None if too many are left, or a row is NaN. [b, D] -> [b]"""
        assert self._packed is not None
        rounded = packed_linear(hidden.bfloat16(), self._packed, self._rounded_bias)  # [b, V]
        # A group is every G-th column. Its maximum is found by folding rows in half, the fastest way.
        maxima = rounded
        while maxima.size(1) % 2 == 0 and maxima.size(1) * _GROUP > rounded.size(1):
            maxima = torch.maximum(*maxima.tensor_split(2, dim=1))
        groups = maxima.size(1)
        highest = maxima.amax(dim=1).float()  # [b]
        error = self._error_per_norm * hidden.norm(dim=1) + self._error_of_bias  # [b]: before a logit was rounded
        threshold = highest - 1.01 * (2 * error + _EPS * highest.abs())
        threshold = (threshold - _EPS * threshold.abs()).bfloat16()  # rounded down
        row, group = (maxima >= threshold.unsqueeze(1)).nonzero(as_tuple=True)  # two of [groups with a rival]
        members = rounded.view(rounded.size(0), -1, groups)[row, :, group]  # [groups with a rival, V / G]
        which, member = (members >= threshold[row].unsqueeze(1)).nonzero(as_tuple=True)  # two of [n]
        rows, columns = row[which], member * groups + group[which]  # two of [n]
        if rows.size(0) > _MAX_RIVALS * hidden.size(0):
            return None
        exact = (self._weight[columns] * hidden[rows]).sum(dim=1) + self._bias[columns]  # [n]
        best = exact.new_full((hidden.size(0),), -torch.inf).scatter_reduce(0, rows, exact, "amax")
        won = exact == best[rows]
        nothing = self._weight.size(0)
        found = columns.new_full((hidden.size(0),), nothing).scatter_reduce(0, rows[won], columns[won], "amin")
        return None if bool((found == nothing).any()) else found


class OutputLogits:
    """The logits of one step as ``Logits``.

    Args:
        hidden: of the rows of one batch, or of several with the same output layer and number of beams. [b, D]
        output: of the allowed pieces.
        n_beams: N
        pieces: the allowed pieces; None: all. [n]
        forbidden: 0 at the pieces that are allowed for a sentence, far below 0 elsewhere; None: all are. [B, n]
        screen: finds the best pieces; None: there is none.
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
        return self._hidden.size(0)

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
