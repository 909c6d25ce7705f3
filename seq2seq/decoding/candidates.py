"""The best next pieces, out of a vocabulary that is looked at once.

With a small model the vocabulary is nearly half of a step's arithmetic, and sorting or normalising it
naively costs as much again. So the logits are made and used up a block of rows at a time, while they
are in the processor's cache; and the best pieces are looked for among the best *groups* of pieces
alone: the C best of all cannot lie outside the C groups with the highest maxima.

Shapes: B sentences, N beams, V vocabulary, G groups, C candidates.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.hypotheses import Model
from seq2seq.tokenizer import BOS, EOS, PAD, UNK

# Control symbols that no translation holds. Their probability is not shared out among the rest: a
# score is the model's own log-probability.
_NEVER = torch.zeros(max(UNK, BOS, PAD) + 1).index_fill_(0, torch.tensor([UNK, BOS, PAD]), -torch.inf)

_ROWS = 64
"""Rows of logits made at once: enough for a matrix product to be efficient, few enough for a cache."""
_GROUP = 64
"""Neighbouring pieces in a group."""
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
    pieces, log_probs = [], []
    for first in range(0, len(hidden), _ROWS):
        logits = model.logits(hidden, state, first, min(first + _ROWS, len(hidden)))
        grouped, maxima, normaliser = _grouped_logits(logits, scored=scored)
        group = maxima.argmax(dim=1, keepdim=True)  # [b, 1]
        within = _of_groups(grouped, group).argmax(dim=1, keepdim=True)  # [b, 1]
        pieces.append(_possible((group * grouped.size(2) + within).squeeze(1), maxima.gather(1, group).squeeze(1)))
        if normaliser is not None:
            log_probs.append(maxima.gather(1, group).squeeze(1) - normaliser)
    return model.pieces(torch.cat(pieces), state), torch.cat(log_probs) if scored else None


def best_continuations(model: Model, hidden: Tensor, state: Any, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest continuations of each sentence's hypotheses, best first.

    Args:
        model: makes the logits.
        hidden: as ``model.step`` returns it. [B·N, D]
        state: the same.
        live: log-probabilities of the hypotheses so far. [B, N]
        n: continuations wanted, C; fewer come where the vocabulary has fewer.

    Returns:
        Summed log-probabilities, parent beams and pieces. Three of [B, C]
    """
    beams = live.size(1)
    found = []
    sentences = max(1, _ROWS // beams)
    for first in range(0, len(live), sentences):
        so_far = live[first : first + sentences]  # [b, N]
        logits = model.logits(hidden, state, first * beams, (first + len(so_far)) * beams)
        grouped, maxima, normaliser = _grouped_logits(logits, scored=True)
        assert normaliser is not None
        rows, groups, size = grouped.shape
        shift = so_far - normaliser.view(-1, beams)  # [b, N]: from a logit to the sum with its piece
        totals = maxima.view(-1, beams, groups) + shift.unsqueeze(2)  # [b, N, G]
        _, places = totals.flatten(1).topk(min(n, beams * groups), dim=1)  # [b, C]
        parents = places // groups  # [b, C]
        base = torch.arange(0, rows * groups, beams * groups, device=hidden.device).unsqueeze(1)  # [b, 1]
        best = grouped.flatten(0, 1).index_select(0, (base + places).flatten()).view(*places.shape, size)
        best = best + shift.gather(1, parents).unsqueeze(2)  # [b, C, size]
        scores, inner = best.flatten(1).topk(min(n, best[0].numel()), dim=1)  # [b, C]
        chosen = places.gather(1, inner // size)  # [b, C]: the group that each is of
        found.append((scores, chosen // groups, chosen % groups * size + inner % size))
    scores, parents, pieces = found[0] if len(found) == 1 else (torch.cat(parts) for parts in zip(*found, strict=True))
    return scores, parents, model.pieces(_possible(pieces, scores), state)


def _possible(pieces: Tensor, scores: Tensor) -> Tensor:
    """Pieces with EOS in place of what cannot come: what fills up the vocabulary, or a damaged model's NaN."""
    return pieces.masked_fill(~(scores > _IMPOSSIBLE), EOS)


def _grouped_logits(logits: Tensor, *, scored: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits in groups, the control symbols impossible, with their maxima and normalisers.

    Args:
        logits: [b, V]
        scored: whether the normaliser is wanted.

    Returns:
        Logits [b, G, size of a group], their maxima [b, G], and log sum exp of all logits [b] or None.
    """
    logits = logits.float()
    filling = -logits.size(1) % _GROUP
    if filling:
        logits = F.pad(logits, (0, filling), value=-torch.inf)
    grouped = logits.view(logits.size(0), -1, _GROUP)
    maxima = grouped.amax(dim=2)  # [b, G]
    normaliser = None
    if scored:
        highest = maxima.amax(dim=1, keepdim=True)  # [b, 1]
        lowest_of_all, highest_of_all = (float(extreme) for extreme in highest.aminmax())
        # Logits of this size need no maximum taken off before exp: one pass less over all of them.
        if lowest_of_all > -_SAFE and highest_of_all < _SAFE:
            normaliser = logits.exp().sum(dim=1).log()
        else:
            normaliser = logits.sub(highest).exp().sum(dim=1).log() + highest.squeeze(1)
    logits[:, : len(_NEVER)].add_(_NEVER.to(logits.device))
    maxima[:, 0] = grouped[:, 0].amax(dim=1)  # the group that the control symbols are in
    return grouped, maxima, normaliser


def _of_groups(grouped: Tensor, group: Tensor) -> Tensor:
    """The logits of one group in each row. [b, G, size], [b, 1] -> [b, size]"""
    return grouped[torch.arange(len(group), device=group.device), group.squeeze(1)]
