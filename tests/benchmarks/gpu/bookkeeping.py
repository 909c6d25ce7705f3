"""Prototype: what a search remembers, as tensors of fixed shape on the GPU.

A step changes them in place and waits for nobody, so it may be part of a CUDA graph. The rules are those of
``decoding/beam.py`` and ``decoding/greedy.py``, with ``stopping = "enough"``, one best hypothesis and no repetition
guard.

Shapes: B sentences, N beams, T max tokens of an output, C = 2N candidates of a step.
"""

import math

import torch
from torch import Tensor

from seq2seq.decoding import Hypothesis
from seq2seq.model import Logits
from seq2seq.tokenizer import BOS, EOS

_MUCH_LIKELIER = math.log(10)
"""As in ``decoding/beam.py``."""


class Bookkeeping:
    """What both searches have in common. An output is read when all searches are over."""

    def __init__(self, n_sentences: int, n_beams: int, max_tgt: int, device: torch.device) -> None:
        self.n_sentences, self.n_beams = n_sentences, n_beams
        self.limits = torch.zeros(n_sentences, dtype=torch.long, device=device)
        self.over = torch.ones(n_sentences, dtype=torch.bool, device=device)
        self.t = torch.zeros((), dtype=torch.long, device=device)
        """Steps made."""
        self.tokens = torch.full((n_sentences * n_beams,), BOS, device=device)
        """The newest piece of each row. [B·N]"""
        self.done = torch.full((n_sentences, n_beams, max_tgt), EOS, device=device)
        """Finished hypotheses, best first. [B, N, T]"""
        self.lengths = torch.zeros(n_sentences, n_beams, dtype=torch.long, device=device)
        self.scores = torch.full((n_sentences, n_beams), -math.inf, device=device)
        self.log_probs = self.scores.clone()

    def start(self, limits: Tensor) -> None:
        """Start the search of up to B sentences. [≤B]"""
        self.limits.zero_()[: len(limits)].copy_(limits)
        self.over.fill_(True)[: len(limits)].fill_(False)
        self.t.zero_()
        self.tokens.fill_(BOS)
        self.done.fill_(EOS)
        self.lengths.zero_()
        self.scores.fill_(-math.inf)
        self.log_probs.fill_(-math.inf)

    def of_sentences(self) -> list[Tensor]:
        """All tensors with a row for each sentence. Each [B, …]"""
        return [self.limits, self.over, self.done, self.lengths, self.scores, self.log_probs]

    def move_to(self, other: "Bookkeeping", rows: Tensor) -> None:
        """Continue some sentences in a smaller object of the same kind. [B']"""
        for mine, theirs in zip(self.of_sentences(), other.of_sentences(), strict=True):
            torch.index_select(mine, 0, rows, out=theirs)
        other.t.copy_(self.t)
        other.tokens.copy_(self.tokens.view(self.n_sentences, -1).index_select(0, rows).flatten())

    def choose(self, logits: Logits, n_control: int) -> Tensor | None:
        """Choose the next pieces and append them.

        Returns:
            The old beam that each new beam continues [B, N]; None: its own.
        """
        raise NotImplementedError


class FixedGreedy(Bookkeeping):
    """Greedy search."""

    def choose(self, logits: Logits, n_control: int) -> None:
        from seq2seq.decoding.topk import best_piece

        piece, _ = best_piece(logits, n_control, scored=False)  # [B]
        going_on = ~self.over
        self.done.index_copy_(2, self.t.view(1), torch.where(going_on, piece, EOS).view(-1, 1, 1))
        self.t += 1
        self.lengths += going_on.unsqueeze(1)
        self.over |= (piece == EOS) | (self.limits <= self.t)
        self.tokens.copy_(piece)


class FixedBeams(Bookkeeping):
    """Beam search."""

    def __init__(self, n_sentences: int, n_beams: int, max_tgt: int, alpha: float, device: torch.device) -> None:
        super().__init__(n_sentences, n_beams, max_tgt, device)
        self.alpha = alpha
        self.live = self.scores.clone()
        """Log-probabilities of the unfinished hypotheses; at first only one beam has any. [B, N]"""
        self.outputs = self.done.clone()
        """What they have said. [B, N, T]"""
        self.count = torch.zeros(n_sentences, dtype=torch.long, device=device)
        """Hypotheses finished so far, kept or not. [B]"""
        self.likeliest = self.scores[:, 0].clone()
        """The highest log-probability of a finished hypothesis. [B]"""

    def start(self, limits: Tensor) -> None:
        super().start(limits)
        self.live.fill_(-math.inf)[:, 0].zero_()
        self.outputs.fill_(EOS)
        self.count.zero_()
        self.likeliest.fill_(-math.inf)

    def of_sentences(self) -> list[Tensor]:
        return [*super().of_sentences(), self.live, self.outputs, self.count, self.likeliest]

    def choose(self, logits: Logits, n_control: int) -> Tensor:
        from seq2seq.decoding.topk import best_continuations

        # The first step of a decoder that grows its beams has one row for each sentence.
        beams = len(logits) // self.n_sentences
        return self.advance(*best_continuations(logits, n_control, self.live[:, :beams], 2 * self.n_beams))

    def advance(self, scores: Tensor, parents: Tensor, pieces: Tensor) -> Tensor:
        """Append the best continuations of each sentence, best first. Three of [B, C] -> [B, N]"""
        n, t = self.n_beams, self.t + 1
        best, from_beam, newest = scores[:, :n], parents[:, :n], pieces[:, :n]
        at_limit = self.limits <= t  # [B]
        ends = ((newest == EOS) | at_limit.unsqueeze(1)) & (best > -math.inf) & ~self.over.unsqueeze(1)  # [B, N]
        score = torch.where(ends, best / t.to(best.dtype) ** self.alpha, -math.inf)
        kept, which = torch.cat((self.scores, score), 1).topk(n, 1)  # two of [B, N]: the best of old and new
        finished = self._continued(from_beam, newest)

        def keep(old: Tensor, new: Tensor) -> None:
            index = which if old.dim() == 2 else which.unsqueeze(2).expand_as(old)
            old.copy_(torch.cat((old, new), 1).gather(1, index))

        keep(self.done, finished)
        keep(self.log_probs, best)
        keep(self.lengths, t.expand_as(which))
        self.scores.copy_(kept)
        self.count += ends.sum(1)
        self.likeliest.copy_(torch.maximum(self.likeliest, torch.where(ends, best, -math.inf).amax(1)))
        is_end = pieces == EOS  # [B, C]
        staying = is_end.byte().argsort(dim=1, stable=True)[:, :n]  # [B, N]: the best unfinished ones
        live = scores.masked_fill(is_end, -math.inf).gather(1, staying)
        going, said = parents.gather(1, staying), pieces.gather(1, staying)
        self.over |= at_limit | self._enough(newest[:, 0] == EOS, live[:, 0])
        self.outputs.copy_(self._continued(going, said))
        self.live.copy_(live)
        self.tokens.copy_(said.flatten())
        self.t += 1
        return going

    def _continued(self, parents: Tensor, pieces: Tensor) -> Tensor:
        """Outputs of some beams with one more piece each. Two of [B, N] -> [B, N, T]"""
        past = self.outputs.gather(1, parents.unsqueeze(2).expand_as(self.outputs))
        return past.index_copy_(2, self.t.view(1), pieces.unsqueeze(2))

    def _enough(self, top_finished: Tensor, best_live: Tensor) -> Tensor:
        """Whether enough hypotheses of a sentence are finished, as ``_Sentence.is_over`` decides. Two of [B] -> [B]"""
        if self.alpha == 0:
            return (best_live == -math.inf) | (top_finished & (self.count >= 1))
        return (self.count >= self.n_beams) & (best_live <= self.likeliest + _MUCH_LIKELIER)


def hypotheses(tokens: list[int], length: int, score: float, log_prob: float) -> Hypothesis:
    """The hypothesis of a finished output."""
    said = tokens[:length]
    return Hypothesis(said[:-1] if said[-1:] == [EOS] else said, log_prob, score, length)
