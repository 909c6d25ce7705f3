"""Greedy search: each step appends the likeliest piece."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.hypotheses import Hypothesis, SourceBatch, compact, split_rows
from seq2seq.decoding.topk import best_piece
from seq2seq.device import HostCopy, to_device
from seq2seq.model import Decoder, Logits
from seq2seq.tokenizer import BOS, EOS


class _GreedyStep(NamedTuple):
    """The pieces chosen at one step of a batch."""

    pieces: Tensor
    """The likeliest next piece of each row. [B]"""
    best: HostCopy
    """The same pieces, and their log-probabilities if scores are requested. Each [B]"""


class GreedySearch:
    """Greedy search for a batch: one hypothesis for each sentence. Its methods are ``BatchSearch``'s.

    A sentence leaves the batch when it is finished.
    """

    def __init__(
        self, decoder: Decoder, batch: SourceBatch, config: DecodingConfig, *, n_control: int, scored: bool
    ) -> None:
        self.state = decoder.start(batch.src, batch.src_mask)
        self.tokens = batch.src.new_full((batch.src.size(0),), BOS)  # [B]
        self._decoder, self._alpha, self._n_control, self._scored = decoder, config.alpha, n_control, scored
        self._names, self._max_lengths = list(batch.names), list(batch.max_lengths)
        self._outputs: list[list[int]] = [[] for _ in self._names]
        self._sums = [0.0 if scored else math.nan] * len(self._names)
        self._src_length = batch.src.size(1)

    @property
    def size(self) -> int:
        return len(self._names) * self._src_length

    @staticmethod
    def choose(logits: Logits, searches: Sequence["GreedySearch"]) -> Iterator[_GreedyStep]:
        found = best_piece(logits, searches[0]._n_control, scored=searches[0]._scored)
        known = [values for values in found if values is not None]
        of_each = split_rows(known, [search.tokens.size(0) for search in searches])
        return (_GreedyStep(of_one[0], HostCopy(*of_one)) for of_one in of_each)

    def advance(self, step: _GreedyStep) -> list[tuple[int, list[Hypothesis]]]:
        """Append the next piece of each row."""
        newest, *log_probs = (values.tolist() for values in step.best.values())
        for of_each in log_probs:
            self._sums = [total + new for total, new in zip(self._sums, of_each, strict=True)]
        pieces = step.pieces
        continuing = []
        for output, max_length, piece in zip(self._outputs, self._max_lengths, newest, strict=True):
            output.append(piece)
            continuing.append(piece != EOS and len(output) < max_length)
        if all(continuing):
            self.tokens = pieces
            return []
        over = [(self._names[row], [self._finished(row)]) for row, continues in enumerate(continuing) if not continues]
        rows = compact(continuing)
        self._names, self._max_lengths = [self._names[row] for row in rows], [self._max_lengths[row] for row in rows]
        self._outputs, self._sums = [self._outputs[row] for row in rows], [self._sums[row] for row in rows]
        self.tokens = pieces[to_device(torch.tensor(rows, dtype=torch.long), pieces.device)]
        if rows:
            self.state = self._decoder.reorder(self.state, rows, pieces.new_zeros(len(rows), 1))
        return over

    def _finished(self, row: int) -> Hypothesis:
        return Hypothesis.from_output(self._outputs[row], self._sums[row], self._alpha)
