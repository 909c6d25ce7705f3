"""Beam search: each step continues N hypotheses by every piece, and keeps the N likeliest results.

Shapes: B sentences still searched, N beams, T tokens so far, C = 2N candidates a step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.hypotheses import Hypothesis, SourceBatch, compact, concat, length_penalty, split_rows
from seq2seq.decoding.repetition import guarded
from seq2seq.decoding.topk import best_continuations
from seq2seq.device import HostCopy, to_device
from seq2seq.model import Decoder, Logits
from seq2seq.tokenizer import BOS, EOS, PAD

_MUCH_LIKELIER = math.log(10)
"""In nats. A smaller lead of an unfinished hypothesis says little, so the search stops as CTranslate2's does."""


@dataclass
class _Sentence:
    """The hypotheses of one sentence."""

    name: int
    max_length: int
    """Max output tokens, EOS included."""
    config: DecodingConfig
    src: Tensor
    """Source pieces and EOS, padded. [S]"""
    finished: list[Hypothesis] = field(default_factory=list)

    def ranked(self) -> list[Hypothesis]:
        """The finished hypotheses, best first."""
        return sorted(self.finished, key=lambda h: -h.score)

    def best(self) -> list[Hypothesis]:
        """The n best finished hypotheses, best first; one that repeats itself may give way."""
        ranked = self.ranked()
        return (guarded(ranked, self._pieces) if self.config.repetition_guard else ranked)[: self.config.n_best]

    def _pieces(self) -> list[int]:
        return [piece for piece in self.src.tolist() if piece not in (EOS, PAD)]

    def is_over(self, length: int, top_finished: bool, best_live: float) -> bool:
        """Whether the search of the sentence is over.

        Args:
            length: tokens so far.
            top_finished: whether the likeliest continuation of this step is EOS.
            best_live: log-probability of the likeliest unfinished hypothesis.
        """
        config = self.config
        if length >= self.max_length:
            return True
        if config.stopping == "enough":
            # As in CTranslate2. Without a length penalty, no hypothesis can become better than the likeliest one once
            # that is finished: each further token lowers a probability.
            if config.alpha == 0:
                return best_live == -torch.inf or (top_finished and len(self.finished) >= config.n_best)
            if len(self.finished) < config.beam_size:
                return False
            # Unlike CTranslate2, the search continues while an unfinished hypothesis is much likelier than all
            # finished ones. If a model is very sure, the other beams hold nonsense, which may end first.
            return best_live <= max(h.log_probability for h in self.finished) + _MUCH_LIKELIER
        # A log-probability never rises, and the longest output has the largest divisor.
        best_possible = best_live / length_penalty(self.max_length, config.alpha)
        return len(self.finished) >= config.n_best and self.ranked()[config.n_best - 1].score >= best_possible


class _BeamStep(NamedTuple):
    """The continuations chosen at one step of a batch."""

    best: HostCopy
    """Scores, parent beams and pieces of the N best continuations, each [B, N]; the best score of an unfinished one
    [B, 1]; and the outputs before this step [B, N, T]."""
    live: Tensor
    """Log-probabilities of the N best unfinished continuations: the new beams. [B, N]"""
    parents: Tensor
    """The old beam that each new beam continues. [B, N]"""
    pieces: Tensor
    """The newest token of each new beam. [B, N]"""


class BeamSearch:
    """Beam search for a batch. Its methods are ``BatchSearch``'s.

    It finds the ``config.n_best`` best hypotheses of each sentence, or fewer if fewer exist. A hypothesis is finished
    if one of the N best continuations adds EOS to it, or if it has reached its max length. The next best continuation
    takes its beam, so that N beams stay unfinished. A sentence leaves the batch when its search is over. Scores are
    always computed, as hypotheses are ranked by them.
    """

    def __init__(
        self, decoder: Decoder, batch: SourceBatch, config: DecodingConfig, *, n_control: int, scored: bool
    ) -> None:
        self.state = decoder.start(batch.src, batch.src_mask)
        n = batch.src.size(0)
        self.tokens = batch.src.new_full((n,), BOS)  # [B·N]; one beam before the first step
        self._decoder, self._config, self._n_control = decoder, config, n_control
        rows = zip(batch.names, batch.max_lengths, batch.src.unbind(), strict=True)
        self._sentences = [_Sentence(name, limit, config, src) for name, limit, src in rows]
        self._max_lengths = torch.tensor(batch.max_lengths)  # [B]
        self._first_limit = min(batch.max_lengths)
        self._has_finished = False  # any hypothesis of any sentence
        self._live = torch.zeros(n, 1, device=batch.src.device)  # [B, N] summed log-probabilities
        self._outputs = batch.src.new_empty(n, 1, 0)  # [B, N, T]
        self._src_length = batch.src.size(1)

    @property
    def size(self) -> int:
        return len(self._sentences) * self._src_length

    @staticmethod
    def choose(logits: Logits, searches: Sequence["BeamSearch"]) -> "Iterator[_BeamStep]":
        # Twice as many as beams: up to N of them may end in EOS, and N must stay unfinished.
        n_candidates = 2 * searches[0]._config.beam_size
        (live,) = concat([[search._live] for search in searches])
        found = best_continuations(logits, searches[0]._n_control, live, n_candidates)  # three of [sum of B, C]
        of_each = split_rows(found, [search._live.size(0) for search in searches])
        return (search._separate(*of_one) for search, of_one in zip(searches, of_each, strict=True))

    def _separate(self, scores: Tensor, parents: Tensor, pieces: Tensor) -> "_BeamStep":
        """Separate the best continuations from the best unfinished ones.

        Args:
            scores: log-probabilities of the candidates, best first; -inf if no more exist. [B, C]
            parents: the beam that each candidate continues. [B, C]
            pieces: the newest token of each candidate. [B, C]
        """
        beams = self._config.beam_size
        best = scores[:, :beams], parents[:, :beams], pieces[:, :beams]
        ends = pieces == EOS  # [B, C]
        if ends.device.type == "cpu" and not ends.any():  # on a GPU this test would wait for its result
            live, continuing = best[0], best[1:]
        else:
            survivors = ends.byte().argsort(dim=1, stable=True)[:, :beams]  # [B, N]: the best unfinished ones
            live = scores.masked_fill(ends, -torch.inf).gather(1, survivors)  # [B, N]
            continuing = parents.gather(1, survivors), pieces.gather(1, survivors)
        return _BeamStep(HostCopy(*best, live[:, :1], self._outputs), live, *continuing)

    def advance(self, step: "_BeamStep") -> list[tuple[int, list[Hypothesis]]]:
        """Store the finished hypotheses and continue the others."""
        live, parents, pieces = step.live, step.parents, step.pieces
        scores, from_beams, newest, best_live, outputs = step.best.values()
        done = []
        ends = newest == EOS  # [B, N]
        at_a_limit = outputs.size(2) + 1 >= self._first_limit
        if at_a_limit or ends.any():
            self._finish(scores, from_beams, newest, outputs)
        over = self._over(ends[:, 0], best_live[:, 0]) if at_a_limit or self._has_finished else []
        if any(over):
            done = [(s.name, s.best()) for s, is_over in zip(self._sentences, over, strict=True) if is_over]
            staying = compact([not is_over for is_over in over])
            self._sentences = [self._sentences[row] for row in staying]
            rows = to_device(torch.tensor(staying, dtype=torch.long), parents.device)
            live, parents, pieces = live[rows], parents[rows], pieces[rows]
            self._outputs, self._max_lengths = self._outputs[rows], self._max_lengths[staying]
            self._first_limit = min((s.max_length for s in self._sentences), default=0)
        else:
            staying = list(range(len(self._sentences)))
        if staying:
            self.state = self._decoder.reorder(self.state, staying, parents)
        past = self._outputs.gather(1, parents.unsqueeze(2).expand(-1, -1, self._outputs.size(2)))  # [B, N, T]
        self._outputs = torch.cat((past, pieces.unsqueeze(2)), dim=2)
        self._live, self.tokens = live, pieces.flatten()
        return done

    def _finish(self, scores: Tensor, parents: Tensor, pieces: Tensor, outputs: Tensor) -> None:
        """Store the N best continuations that are finished. Three of [B, N], and the outputs before it [B, N, T]"""
        length = outputs.size(2) + 1
        at_limit = self._max_lengths <= length  # [B]
        at_end = ((pieces == EOS) | at_limit.unsqueeze(1)) & (scores > -torch.inf)  # [B, N]
        rows, ranks = at_end.nonzero(as_tuple=True)  # two of [finished]
        if not rows.size(0):
            return
        self._has_finished = True
        pasts = outputs[rows, parents[rows, ranks]].tolist()  # [finished, T]
        values = (rows.tolist(), pasts, pieces[rows, ranks].tolist(), scores[rows, ranks].tolist())
        for row, past, piece, score in zip(*values, strict=True):
            found = Hypothesis.from_output([*past, piece], score, self._config.alpha)
            self._sentences[row].finished.append(found)

    def _over(self, top_finished: Tensor, best_live: Tensor) -> list[bool]:
        """Whether the search of each sentence is over. Two of [B]"""
        length = self._outputs.size(2) + 1
        return [
            # Most sentences have no finished hypothesis yet, so this is checked first.
            (bool(sentence.finished) or length >= sentence.max_length) and sentence.is_over(length, *step)
            for sentence, *step in zip(self._sentences, top_finished.tolist(), best_live.tolist(), strict=True)
        ]
