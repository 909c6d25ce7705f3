"""The best next pieces, out of a vocabulary that is looked at once.

With a small model the vocabulary is nearly half of a step's arithmetic, and sorting or normalising it
naively costs as much again. So on a CPU the logits are made and used up a block of rows at a time, while
they are in the processor's cache; and the best pieces are looked for among the best *groups* of pieces
alone: the C best of all cannot lie outside the C groups with the highest maxima.

Shapes: B sentences, N beams, V vocabulary, G groups, C candidates; b of the rows.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.hypotheses import Model, one_below_the_other
from seq2seq.tokenizer import BOS, EOS, PAD, UNK

_ROWS = {True: 128, False: 8192}
"""Rows of logits made at once on a CPU: enough for a matrix product to be efficient, few enough for a cache; and on a
GPU, which wants much to do at a time."""
_GROUP = 64
"""Neighbouring pieces in a group."""
_CONTROL = 1 + max(UNK, BOS, PAD)
"""Columns that hold the control symbols, and EOS."""
FEW_ROWS = 8
"""So many are looked through with as few steps as can be: each takes longer than the numbers it is about."""
_FEW_NUMBERS = 64
"""So many are looked at one by one."""
_MANY_GROUPS = 256
"""With fewer, all values are quicker looked through at once."""
_IMPOSSIBLE = -1e20
"""No log-probability of a piece that there is, nor a sum of them, comes near this. What is not above it, as what fills
up the vocabulary or a damaged model's NaN, cannot come: EOS stands in its place."""
_SAFE = 60.0
"""A sum of this many exponentials neither overflows nor loses precision."""


def best_piece(model: Model, hidden: Tensor, state: Any, *, scored: bool) -> tuple[Tensor, Tensor | None]:
    """The likeliest next piece of each row.

    Args:
        model: makes the logits.
        hidden: as ``model.step`` returns it. [B, D]
        state: the same.
        scored: whether log-probabilities are wanted: the likeliest piece is known without.

    Returns:
        Pieces [B], and their log-probabilities [B] or None.
    """
    rows = _rows_at_once(hidden)
    found = [
        _looked_up(model, hidden, state, first, min(first + rows, len(hidden)), scored=scored)
        for first in range(0, len(hidden), rows)
    ]
    pieces, log_probs = one_below_the_other(found)
    if not _all_possible(log_probs):
        pieces = torch.where(log_probs > _IMPOSSIBLE, pieces, EOS)
    return model.pieces(pieces, state), log_probs if scored else None


@cache
def _never(device: torch.device) -> Tensor:
    """What is added so that no control symbol comes out. [4]

    Their probability is not shared out among the rest: a score is the model's own.
    """
    return torch.zeros(_CONTROL).index_fill_(0, torch.tensor([UNK, BOS, PAD]), -torch.inf).to(device)


def _rows_at_once(hidden: Tensor) -> int:
    return _ROWS[hidden.device.type == "cpu"]


def _looked_up(
    model: Model, hidden: Tensor, state: Any, first: int, last: int, *, scored: bool
) -> tuple[Tensor, Tensor]:
    """The best column of some rows, and its log-probability; without ``scored`` whether it can come: > impossible.

    Returns:
        Two of [b].
    """
    logits = model.logits(hidden, state, first, last)
    if not scored and (last - first <= FEW_ROWS or logits.device.type != "cpu"):
        logits[:, :_CONTROL].add_(_never(logits.device))
        highest, pieces = logits.max(dim=1)
        return pieces, highest.float()
    best = _best_groups(logits, 1, scored=scored)
    inner = best.logits.squeeze(1).argmax(dim=1)
    return best.groups.squeeze(1) * _GROUP + inner, best.maxima.squeeze(1) - best.normaliser


def best_continuations(model: Model, hidden: Tensor, state: Any, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest continuations of each sentence's hypotheses, best first.

    Args:
        model: makes the logits.
        hidden: as ``model.step`` returns it. [B·N, D]
        state: the same.
        live: log-probabilities of the hypotheses so far. [B, N]
        n: continuations wanted, C; fewer come where the vocabulary has fewer.

    Returns:
        Summed log-probabilities, parent beams and pieces; -inf and EOS where nothing may come. Three of [B, C]
    """
    beams = live.size(1)
    if len(hidden) <= FEW_ROWS:
        scores, parents, columns = _among_all(model.logits(hidden, state, 0, len(hidden)), live, n)
    else:
        found = []
        sentences = max(1, _rows_at_once(hidden) // beams)
        if hidden.dtype == torch.float32:  # in bf16 products are filled up to round numbers of rows
            sentences = -(-len(live) // -(-len(live) // sentences))  # a small block at the end would be a slow one
        for first in range(0, len(live), sentences):
            so_far = live[first : first + sentences]  # [b, N]
            logits = model.logits(hidden, state, first * beams, (first + len(so_far)) * beams)
            found.append(_among_groups(logits, so_far, n))
        scores, parents, columns = one_below_the_other(found)
    if not _all_possible(scores):
        possible = scores > _IMPOSSIBLE
        scores, columns = torch.where(possible, scores, -torch.inf), torch.where(possible, columns, EOS)
    return scores, parents, model.pieces(columns, state)


def _all_possible(scores: Tensor) -> bool:
    """Whether all can come, as far as it is soon known."""
    few = scores.numel() <= _FEW_NUMBERS and scores.device.type == "cpu"
    return few and _are_within(scores, _IMPOSSIBLE, torch.inf)


def _among_all(logits: Tensor, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest continuations of few rows.

    Args:
        logits: used up. [b·N, V]
        live: [b, N]
        n: wanted, C.

    Returns:
        Summed log-probabilities, parent beams and columns. Three of [b, C]
    """
    logits = logits.float()
    normaliser = _log_sum_exp(logits, logits.amax(dim=1, keepdim=True), used_up=False)  # [b·N]
    logits[:, :_CONTROL].add_(_never(logits.device))
    shift = live.reshape(-1, 1) - normaliser.unsqueeze(1)  # [b·N, 1]: from a logit to the sum with its piece
    totals = logits.add_(shift).view(*live.shape, -1).flatten(1)  # [b, N·V]
    scores, places = _highest(totals, min(n, totals.size(1)))
    return scores, places // logits.size(1), places % logits.size(1)


def _highest(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """As ``topk``, which is slow with many values: they are looked for in the n groups with the highest maxima.

    [b, V] -> two of [b, n]
    """
    if values.size(1) % _GROUP or values.size(1) // _GROUP < max(n, _MANY_GROUPS):
        return values.topk(n, dim=1)
    groups = values.view(len(values), -1, _GROUP)  # [b, G, size]
    best = groups.amax(dim=2).topk(n, dim=1).indices  # [b, n]
    members = groups.gather(1, best.unsqueeze(2).expand(-1, -1, _GROUP)).flatten(1)  # [b, n·size]
    highest, inner = members.topk(n, dim=1)
    return highest, best.gather(1, inner // _GROUP) * _GROUP + inner % _GROUP


def _among_groups(logits: Tensor, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same, looked for among the best groups alone."""
    rows, beams = len(logits), live.size(1)
    best = _best_groups(logits, n, scored=True)
    each = best.groups.size(1)
    shift = live - best.normaliser.view(-1, beams)  # [b, N]: from a logit to the sum with its piece
    totals = best.maxima.view(-1, beams, each) + shift.unsqueeze(2)
    _, places = totals.flatten(1).topk(min(n, beams * each), dim=1)  # [b, C]: of the best groups of all beams
    parents, groups = places // each, best.groups.view(len(live), -1).gather(1, places)  # [b, C]
    base = torch.arange(0, rows * each, beams * each, device=logits.device).unsqueeze(1)  # [b, 1]
    within = best.logits.flatten(0, 1).index_select(0, (base + places).flatten())  # [b·C, size]
    within = within.view(*places.shape, _GROUP) + shift.gather(1, parents).unsqueeze(2)  # [b, C, size]
    scores, inner = within.flatten(1).topk(min(n, within[0].numel()), dim=1)  # [b, C]
    chosen = inner // _GROUP
    return scores, parents.gather(1, chosen), groups.gather(1, chosen) * _GROUP + inner % _GROUP


class _BestGroups(NamedTuple):
    """What is needed of the logits of some rows."""

    logits: Tensor
    """Of the C groups with the highest maxima, the control symbols impossible. [b, C, size]"""
    maxima: Tensor
    """The highest of each, best first. [b, C]"""
    groups: Tensor
    """Which groups these are. [b, C]"""
    normaliser: Tensor
    """log sum exp of all logits of a row; of no meaning where it is not wanted. [b]"""


def _best_groups(logits: Tensor, n: int, *, scored: bool) -> _BestGroups:
    """Look through logits, which are used up.

    Args:
        logits: [b, V]
        n: groups wanted, C; fewer come where there are fewer.
        scored: whether the normaliser is wanted.
    """
    logits = logits.float()
    if logits.size(1) % _GROUP:
        logits = F.pad(logits, (0, -logits.size(1) % _GROUP), value=-torch.inf)
    grouped = logits.view(len(logits), -1, _GROUP)  # [b, G, size]
    maxima = grouped.amax(dim=2)  # [b, G]
    highest = maxima.amax(dim=1, keepdim=True)  # [b, 1]
    control = logits[:, :_CONTROL].clone()  # [b, 4]
    logits[:, :_CONTROL].add_(_never(logits.device))
    maxima[:, 0] = grouped[:, 0].amax(dim=1)
    maxima, groups = maxima.topk(min(n, maxima.size(1)), dim=1)  # [b, C]
    row = torch.arange(len(logits), device=logits.device).unsqueeze(1) * grouped.size(1)  # [b, 1]
    best = grouped.flatten(0, 1).index_select(0, (row + groups).flatten()).view(*groups.shape, _GROUP)
    normaliser = highest.squeeze(1)
    if scored:
        logits[:, :_CONTROL] = control
        normaliser = _log_sum_exp(logits, highest)
    return _BestGroups(best, maxima, groups, normaliser)


def _log_sum_exp(logits: Tensor, highest: Tensor, *, used_up: bool = True) -> Tensor:
    """log sum exp of each row of logits, which may be used up. [b, n], [b, 1] -> [b]"""
    # Logits of some size need no maximum taken off before exp: one pass less over all of them.
    if logits.device.type == "cpu" and _are_within(highest, -_SAFE, _SAFE):  # a GPU would have to be waited for
        return (logits.exp_() if used_up else logits.exp()).sum(dim=1).log()
    logits = logits.sub_(highest) if used_up else logits - highest
    return logits.exp_().sum(dim=1).log() + highest.squeeze(1)


def _are_within(values: Tensor, low: float, high: float) -> bool:
    """Whether all numbers are; no NaN is."""
    if values.numel() <= _FEW_NUMBERS:  # which are looked at one by one sooner than by three steps
        return all(low < value < high for value in values.flatten().tolist())
    lowest, highest = values.aminmax()
    return float(lowest) > low and float(highest) < high
