"""The best next pieces, out of a vocabulary that is looked at once.

With a small model the vocabulary is nearly half of a step's arithmetic, and sorting or normalising it
naively costs as much again. So the logits are made and used up a block of rows at a time, while they
are in the processor's cache; and the best pieces are looked for among the best *groups* of pieces
alone: the C best of all cannot lie outside the C groups with the highest maxima.

Shapes: B sentences, N beams, V vocabulary, G groups, C candidates; b of the rows.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.hypotheses import Model
from seq2seq.tokenizer import BOS, EOS, PAD, UNK

_ROWS = 128
"""Rows of logits made at once: enough for a matrix product to be efficient, few enough for a cache."""
_GROUP = 64
"""Neighbouring pieces in a group."""
_NEVER = torch.zeros(1 + max(UNK, BOS, PAD)).index_fill_(0, torch.tensor([UNK, BOS, PAD]), -torch.inf)
"""Control symbols that no translation holds. Their probability is not shared out among the rest: a score is the
model's own."""
_IMPOSSIBLE = -1e20
"""No log-probability of a piece that there is, nor a sum of them, comes near this."""
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
    found = []
    for first in range(0, len(hidden), _ROWS):
        best = _best_groups(model.logits(hidden, state, first, min(first + _ROWS, len(hidden))), 1, scored=scored)
        inner = best.logits.squeeze(1).argmax(dim=1)  # [b]
        found.append((best.groups.squeeze(1) * _GROUP + inner, best.maxima.squeeze(1) - best.normaliser))
    pieces, log_probs = (torch.cat(parts) for parts in zip(*found, strict=True))
    return model.pieces(_possible(pieces, log_probs), state), log_probs if scored else None


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
    found = []
    sentences = max(1, _ROWS // beams)
    for first in range(0, len(live), sentences):
        so_far = live[first : first + sentences]  # [b, N]
        rows = len(so_far) * beams
        best = _best_groups(model.logits(hidden, state, first * beams, first * beams + rows), n, scored=True)
        each = best.groups.size(1)
        shift = so_far - best.normaliser.view(-1, beams)  # [b, N]: from a logit to the sum with its piece
        totals = best.maxima.view(-1, beams, each) + shift.unsqueeze(2)
        _, places = totals.flatten(1).topk(min(n, beams * each), dim=1)  # [b, C]: of the best groups of all beams
        parents, groups = places // each, best.groups.view(len(so_far), -1).gather(1, places)  # [b, C]
        base = torch.arange(0, rows * each, beams * each, device=hidden.device).unsqueeze(1)  # [b, 1]
        within = best.logits.flatten(0, 1).index_select(0, (base + places).flatten())  # [b·C, size]
        within = within.view(*places.shape, _GROUP) + shift.gather(1, parents).unsqueeze(2)  # [b, C, size]
        scores, inner = within.flatten(1).topk(min(n, within[0].numel()), dim=1)  # [b, C]
        chosen = inner // _GROUP
        found.append((scores, parents.gather(1, chosen), groups.gather(1, chosen) * _GROUP + inner % _GROUP))
    scores, parents, pieces = (torch.cat(parts) for parts in zip(*found, strict=True))
    pieces = model.pieces(_possible(pieces, scores), state)
    return scores.masked_fill(~(scores > _IMPOSSIBLE), -torch.inf), parents, pieces


def _possible(pieces: Tensor, scores: Tensor) -> Tensor:
    """Pieces with EOS in place of what cannot come: what fills up the vocabulary, or a damaged model's NaN."""
    return pieces.masked_fill(~(scores > _IMPOSSIBLE), EOS)


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
    control = logits[:, : len(_NEVER)].clone()  # [b, 4]
    logits[:, : len(_NEVER)].add_(_NEVER.to(logits.device))
    maxima[:, 0] = grouped[:, 0].amax(dim=1)
    maxima, groups = maxima.topk(min(n, maxima.size(1)), dim=1)  # [b, C]
    row = torch.arange(len(logits), device=logits.device).unsqueeze(1) * grouped.size(1)  # [b, 1]
    best = grouped.flatten(0, 1).index_select(0, (row + groups).flatten()).view(*groups.shape, _GROUP)
    normaliser = highest.squeeze(1)
    if scored:
        logits[:, : len(_NEVER)] = control
        normaliser = _log_sum_exp(logits, highest)
    return _BestGroups(best, maxima, groups, normaliser)


def _log_sum_exp(logits: Tensor, highest: Tensor) -> Tensor:
    """log sum exp of each row of logits, which are used up. [b, n], [b, 1] -> [b]"""
    lowest_of_all, highest_of_all = (float(extreme) for extreme in highest.aminmax())
    # Logits of this size need no maximum taken off before exp: one pass less over all of them.
    if lowest_of_all > -_SAFE and highest_of_all < _SAFE:
        return logits.exp_().sum(dim=1).log()
    return logits.sub_(highest).exp_().sum(dim=1).log() + highest.squeeze(1)
