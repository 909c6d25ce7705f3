"""Top-k: the best next pieces of each hypothesis, among the whole vocabulary.

In a small model the output layer is nearly half of a step's arithmetic. So on a CPU the logits are read in blocks of
rows that fit into the processor's cache, and top-k first finds the best groups of pieces: see ``grouped_topk``.

Shapes: B sentences, N beams, V vocabulary, G groups, C candidates, b rows.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.decoding.hypotheses import concat
from seq2seq.model import Logits
from seq2seq.tokenizer import EOS

_ROWS = {True: 128, False: 8192}
"""Rows of logits read at once. On a CPU (True): enough for an efficient matrix product, and few enough for the cache.
On a GPU: many."""
_GROUP = 64
"""Number of neighbouring pieces in a group."""
_IMPOSSIBLE = -1e20
"""Far below the log-probability of any real piece, and below sums of them. Pieces that are not above it (padding of the
vocabulary, NaN of a damaged model) are not allowed; EOS takes their place."""


def best_piece(logits: Logits, n_control: int, *, scored: bool) -> tuple[Tensor, Tensor | None]:
    """The likeliest next piece of each row.

    Args:
        logits: of the rows of a step. [B]
        n_control: pieces below this one are control symbols and tags; of these only EOS may be output.
        scored: whether to compute log-probabilities; the likeliest piece can be found without them.

    Returns:
        Pieces [B], and their log-probabilities [B] or None.
    """
    if not scored and (found := logits.best()) is not None:
        is_forbidden = (found < n_control) & (found != EOS)
        if not bool(is_forbidden.any()):
            return found, None
    best, columns = _best_columns(logits, n_control, 1, 1, normalized=scored)  # two of [B, 1]
    best, columns = _replace_impossible(best, columns)
    return logits.pieces(columns.squeeze(1)), best.squeeze(1) if scored else None


def best_continuations(logits: Logits, n_control: int, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest continuations of each sentence's hypotheses, best first.

    Args:
        logits: of the rows of a step. [B·N]
        n_control: pieces below this one are control symbols and tags; of these only EOS may be output.
        live: log-probabilities of the hypotheses so far. [B, N]
        n: number of continuations C; fewer are returned if the vocabulary has fewer.

    Returns:
        Summed log-probabilities, parent beams and pieces; -inf and EOS if no further piece is allowed. Three of [B, C]
    """
    log_probs, columns = _best_columns(logits, n_control, n, live.size(1), normalized=True)  # two of [B·N, C]
    totals = (log_probs.view(*live.shape, -1) + live.unsqueeze(2)).flatten(1)  # [B, N·C]
    scores, places = totals.topk(min(n, totals.size(1)), dim=1)  # two of [B, C]
    scores, columns = _replace_impossible(scores, columns.view(live.size(0), -1).gather(1, places))
    return scores, places // log_probs.size(1), logits.pieces(columns)


def grouped_topk(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """``torch.topk``, but faster for many columns.

    The n highest values of a row are in the n groups of neighbours with the highest maxima. Only these are searched.

    Args:
        values: [b, V]
        n: number of columns; fewer are returned if V, padded to whole groups with -inf, is smaller.

    Returns:
        Values and columns, best first. Two of [b, n]
    """
    if values.size(1) % _GROUP:
        values = F.pad(values, (0, -values.size(1) % _GROUP), value=-torch.inf)
    n = min(n, values.size(1))
    groups = values.view(values.size(0), -1, _GROUP)  # [b, G, size]
    maxima = groups.amax(dim=2)  # [b, G]
    best = maxima.topk(min(n, maxima.size(1)), dim=1).indices  # [b, n or G]
    members = groups.gather(1, best.unsqueeze(2).expand(-1, -1, _GROUP)).flatten(1)
    highest, places = members.topk(n, dim=1)
    return highest, best.gather(1, places // _GROUP) * _GROUP + places % _GROUP


@cache
def _control_bias(n_control: int, device: torch.device) -> Tensor:
    """A bias of the first columns, by which no control symbol except EOS is output. [n_control]

    It is added after the softmax, so the other pieces keep the model's own probabilities.
    """
    return torch.full((n_control,), -torch.inf).index_fill_(0, torch.tensor(EOS), 0.0).to(device)


def _best_columns(logits: Logits, n_control: int, n: int, beams: int, *, normalized: bool) -> tuple[Tensor, Tensor]:
    """The n highest columns of each row, best first, without control symbols except EOS.

    Args:
        logits: of b rows.
        n_control: number of control symbols and tags, the first columns.
        n: number of columns to return, C.
        beams: rows of a sentence, N; a block holds whole sentences.
        normalized: return log-probabilities; otherwise logits.

    Returns:
        Log-probabilities or logits, and columns. Two of [b, C]
    """
    rows = max(1, _ROWS[logits.device.type == "cpu"] // beams) * beams
    found = []
    for start in range(0, len(logits), rows):
        block = logits.rows(start, min(start + rows, len(logits))).float()
        scores = block.log_softmax(dim=1) if normalized else block  # [rows, V]
        scores[:, :n_control].add_(_control_bias(n_control, scores.device))
        found.append(grouped_topk(scores, n))
    best, columns = concat(found)
    return best, columns


def _replace_impossible(scores: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Replace pieces that are not allowed by EOS, and their scores by -inf. Two of any shape; the same shape."""
    possible = scores > _IMPOSSIBLE
    return torch.where(possible, scores, -torch.inf), torch.where(possible, columns, EOS)
