"""Prototype: several pairs in a row of fixed width, and a mask that says which positions belong together.

Sentences of 14 tokens fill a fifth of an attention kernel's tile; rows of 128 positions fill it, need no padding
between sentences, and make every pass the same shape, which a CUDA graph needs. The model's modules are the program's.

Shapes: R rows, W their width, S = T = W, D model width, H heads, V vocabulary, n positions.
"""

import heapq
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seq2seq.batching import TokenIds
from seq2seq.model.transformer.layers import DecoderLayer
from seq2seq.model.transformer.model import Transformer
from seq2seq.tokenizer import BOS, EOS, PAD
from seq2seq.training.loader import TokenizedPairs

TRIES = 4
"""Rows that are tried for a pair before a new row is started."""
FIELDS = 7
"""Tensors of a table, in the order of ``RowTable``."""


# Dealing and filling, on the CPU ------------------------------------------------------------------------------------


def deal(src: NDArray[np.int64], tgt: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], int]:
    """Deal pairs to rows: the longest first, each to the emptiest row that has room on both sides.

    Args:
        src: lengths of the sources, EOS included. [pairs]
        tgt: of the targets. [pairs]
        width: of a row, W.

    Returns:
        The row of each pair, and the number of rows R.
    """
    n_rows = -(-int(max(src.sum(), tgt.sum())) // width)
    emptiest = [(0, row) for row in range(n_rows)]  # a heap of (tokens of the fuller side, row)
    used = [[0, 0] for _ in range(n_rows)]
    row_of = np.empty(len(src), np.int64)
    for pair in np.argsort(-np.maximum(src, tgt), kind="stable").tolist():
        n_src, n_tgt = int(src[pair]), int(tgt[pair])
        if max(n_src, n_tgt) > width:
            raise ValueError(f"a sentence of {max(n_src, n_tgt)} tokens is longer than a row of {width}")
        looked_at = []
        chosen = -1
        while emptiest and len(looked_at) < TRIES:
            looked_at.append(heapq.heappop(emptiest))
            row = looked_at[-1][1]
            if used[row][0] + n_src <= width and used[row][1] + n_tgt <= width:
                looked_at.pop()
                chosen = row
                break
        if chosen < 0:
            chosen = len(used)
            used.append([0, 0])
        used[chosen][0] += n_src
        used[chosen][1] += n_tgt
        row_of[pair] = chosen
        for entry in (*looked_at, (max(used[chosen]), chosen)):
            heapq.heappush(emptiest, entry)
    return row_of, len(used)


def fill(sentences: Sequence[TokenIds], row_of: NDArray[np.int64], n_rows: int, width: int) -> NDArray[np.int32]:
    """Write sentences into their rows: ids, the number of the sentence from 1 (0: nothing), and its positions.

    [3, R, W]
    """
    table = np.zeros((3, n_rows, width), np.int32)
    table[0] = PAD
    ends = [0] * n_rows
    for number, (ids, row) in enumerate(zip(sentences, row_of.tolist(), strict=True), 1):
        start = ends[row]
        stop = ends[row] = start + len(ids)
        table[0, row, start:stop] = ids
        table[1, row, start:stop] = number
        table[2, row, start:stop] = np.arange(len(ids))
    return table


def table_of(pairs: TokenizedPairs, width: int, n_rows: int = 0) -> NDArray[np.int32]:
    """The table of an update; empty rows fill it up to ``n_rows``. [7, R, W]"""
    src, tgt = (np.array([len(ids) + 1 for ids in side], np.int64) for side in (pairs.src, pairs.tgt))
    row_of, n = deal(src, tgt, width)
    n = max(n, n_rows)
    sources = fill([[*ids, EOS] for ids in pairs.src], row_of, n, width)
    targets = fill([[BOS, *ids] for ids in pairs.tgt], row_of, n, width)
    following = fill([[*ids, EOS] for ids in pairs.tgt], row_of, n, width)[:1]
    return np.concatenate((sources, targets, following))


# The pass, on the GPU ------------------------------------------------------------------------------------------------


class RowTable(NamedTuple):
    """An update in rows. Each [R, W]"""

    src: Tensor
    src_sentence: Tensor
    src_position: Tensor
    tgt: Tensor
    tgt_sentence: Tensor
    tgt_position: Tensor
    following: Tensor
    """The piece after each target position."""


class RowDecoderLayer(nn.Module):
    """A decoder layer of the program that reads rows: it has a mask of its own for each of its attentions."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, memory: Tensor, own_mask: Tensor, cross_mask: Tensor) -> Tensor:
        """[R, W, D] -> [R, W, D]"""
        layer = self.layer
        x = layer.self_attention_residual(x, lambda y: layer.self_attention(y, y, own_mask))
        x = layer.cross_attention_residual(x, lambda y: layer.cross_attention(y, memory, cross_mask))
        return layer.feed_forward_residual(x, layer.feed_forward)  # type: ignore[no-any-return]


class RowModel:
    """The program's Transformer, with sinusoidal positions, over rows."""

    def __init__(self, model: Any) -> None:
        assert isinstance(model, Transformer)
        self.model = model
        self.decoder = [RowDecoderLayer(layer) for layer in model.decoder_layers]

    def hidden(self, rows: RowTable) -> Tensor:
        """The input of the output layer at each target position. [R, W, D]"""
        model, dtype = self.model, self.model.output.weight.dtype
        src_mask = visible(rows.src_sentence, rows.src_sentence, dtype)
        cross_mask = visible(rows.tgt_sentence, rows.src_sentence, dtype)
        own_mask = visible(rows.tgt_sentence, rows.tgt_sentence, dtype, causal=True)
        x = self._embed(rows.src, rows.src_position, model.src_embedding, model.src_positions)
        for layer in model.encoder:
            x = layer(x, src_mask)
        memory = model.encoder_norm(x)
        x = self._embed(rows.tgt, rows.tgt_position, model.tgt_embedding, model.tgt_positions)
        for row_layer in self.decoder:
            x = row_layer(x, memory, own_mask, cross_mask)
        return model.decoder_norm(x)  # type: ignore[no-any-return]

    def _embed(self, tokens: Tensor, place: Tensor, embedding: nn.Module, positions: nn.Module) -> Tensor:
        """Positions start again in each sentence. [R, W] -> [R, W, D]"""
        scaled = embedding(tokens) * math.sqrt(self.model.config.d_model)
        return self.model.dropout(scaled + positions.table[place].to(scaled.dtype))  # type: ignore[index, no-any-return]


def visible(of_queries: Tensor, of_keys: Tensor, dtype: torch.dtype, *, causal: bool = False) -> Tensor:
    """The additive mask: 0 within a sentence, -inf elsewhere. Padding sees all, so that no softmax is empty.

    It has the type of the queries, as kernels read it so. Two of [R, W] -> [R, 1, W, W]
    """
    same = of_queries.unsqueeze(2) == of_keys.unsqueeze(1)  # [R, W, W]
    if causal:
        same = same & torch.ones(same.shape[1:], dtype=torch.bool, device=same.device).tril()
    same = same | (of_queries == 0).unsqueeze(2)
    return torch.zeros(same.shape, dtype=dtype, device=same.device).masked_fill_(~same, -math.inf).unsqueeze(1)


# Losses --------------------------------------------------------------------------------------------------------------


def loss_by_autograd(hidden: Tensor, output: nn.Linear, targets: Tensor, real: Tensor, smoothing: float) -> Tensor:
    """The program's loss on a GPU: logits in fp32, gradients by autograd; positions that are not real have weight 0.

    [n, D], [n], [n] -> []
    """
    logits = F.linear(hidden, output.weight, output.bias).float()
    return (F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing) * real).sum()


def loss_by_hand(hidden: Tensor, output: nn.Linear, targets: Tensor, real: Tensor, smoothing: float) -> Tensor:
    """The same by ``HandMadeLoss``. [n, D], [n], [n] -> []"""
    args = (hidden, output.weight, output.bias, targets, real, smoothing)
    return HandMadeLoss.apply(*args)  # type: ignore[no-any-return, no-untyped-call]


class HandMadeLoss(torch.autograd.Function):
    """Smoothed cross-entropy with its gradients, in the type of the hidden vectors.

    With logits z, p = softmax(z) and smoothing ε, the loss of a position is -log p[target] + ε·(z[target] - mean z),
    and its gradient by z is p - (1 - ε)·onehot(target) - ε/V. Only p is as wide as the vocabulary, and only one softmax
    and three products read or write it: what the mean over the vocabulary adds is linear in the hidden vector.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, real: Tensor, smoothing: float
    ) -> Tensor:
        wide, vocabulary = torch.promote_types(weight.dtype, torch.float32), len(weight)
        target, mask = targets.unsqueeze(1), real.to(hidden.dtype).unsqueeze(1)  # two of [n, 1]
        x = hidden * mask
        p = torch.softmax(torch.addmm(bias, hidden, weight.t()), dim=1)  # [n, V]
        of_target = p.gather(1, target).to(wide).clamp_min_(torch.finfo(wide).tiny).squeeze(1)  # [n]
        loss = -(of_target.log() * real).sum()
        p.scatter_add_(1, target, torch.full_like(target, smoothing - 1, dtype=p.dtype))
        by_hidden, by_weight, by_bias = (p @ weight) * mask, (p.t() @ x).to(wide), (p.t() @ mask).squeeze(1).to(wide)
        # What smoothing adds: ε·(z[target] - mean z) to the loss, -ε/V to the gradient of each logit.
        mean_weight, mean_bias = weight.to(wide).mean(0), bias.to(wide).mean()
        sum_of_targets = (x * weight[targets]).sum(dtype=wide) + (bias[targets].to(wide) * real).sum()
        sum_of_means = (x.to(wide) @ mean_weight).sum() + mean_bias * real.sum()
        loss = loss + smoothing * (sum_of_targets - sum_of_means)
        by_hidden -= (smoothing * mean_weight).to(hidden.dtype) * mask
        by_weight -= smoothing / vocabulary * x.sum(0, dtype=wide)
        by_bias -= smoothing / vocabulary * real.sum()
        ctx.save_for_backward(by_hidden, by_weight.to(weight.dtype), by_bias.to(bias.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors
        scaled = (by.mul(grad.to(by.dtype)) for by in (by_hidden, by_weight, by_bias))
        return (*scaled, None, None, None)
