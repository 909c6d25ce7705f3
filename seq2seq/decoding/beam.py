"""Beam search: at each step the N likeliest of all continuations of N hypotheses.

Shapes: B sentences still searched, N beams, C = 2N candidates a step.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.candidates import best_continuations
from seq2seq.decoding.hypotheses import Hypothesis, Model, gapless, length_penalty
from seq2seq.tokenizer import BOS, EOS

_MUCH_LIKELIER = math.log(10)
"""In nats. With a smaller lead the order of a beam says little, and CTranslate2's rule is followed to the letter."""


@dataclass
class _Sentence:
    """One sentence's search."""

    index: int
    """Its place in the batch."""
    max_length: int
    """Tokens at most, EOS included."""
    config: DecodingConfig
    live: list[list[int]] = field(default_factory=lambda: [[]])
    """The tokens of the hypotheses that are still to end, likeliest first."""
    finished: list[Hypothesis] = field(default_factory=list)
    over: bool = False
    """Searching on is of no use."""

    def best(self) -> list[Hypothesis]:
        """The n best finished hypotheses, best first."""
        return sorted(self.finished, key=lambda h: -h.score)[: self.config.n_best]

    def advance(
        self, length: int, scores: list[float], parents: list[int], tokens: list[int]
    ) -> tuple[list[float], list[int], list[int]]:
        """Sort the candidates of a step into those that end and those that live on.

        A hypothesis is finished when EOS is among the N best candidates, or when the longest output is
        reached; its beam goes to the next best candidate, so that N stay alive.

        Args:
            length: tokens of each candidate.
            scores: log-probabilities of the candidates, best first. [C]
            parents: which of ``live`` each goes on from. [C]
            tokens: the newest token of each. [C]

        Returns:
            The same three of those that live on. Three of [N]
        """
        beams = self.config.beam_size
        at_limit = length >= self.max_length
        divisor = length_penalty(length, self.config.alpha)
        survivors: list[int] = []
        for rank, (score, parent, token) in enumerate(zip(scores, parents, tokens, strict=True)):
            if rank < beams and (token == EOS or at_limit) and score > -torch.inf:
                past = self.live[parent]
                output = past if token == EOS else [*past, token]
                self.finished.append(Hypothesis(output, score, score / divisor))
            if token != EOS and len(survivors) < beams:
                survivors.append(rank)
        best_live = scores[survivors[0]] if survivors else -torch.inf
        self.over = self._is_over(length, tokens[0] == EOS, best_live)
        # In a toy vocabulary there may be fewer than N: an ended one fills the beam, and can never win.
        filled = survivors + [0] * (beams - len(survivors))
        self.live = [[*self.live[parents[rank]], tokens[rank]] for rank in filled]
        living = [scores[rank] for rank in survivors] + [-torch.inf] * (beams - len(survivors))
        return living, [parents[rank] for rank in filled], [tokens[rank] for rank in filled]

    def _is_over(self, length: int, top_finished: bool, best_live: float) -> bool:
        """Whether nothing is left to find.

        Args:
            length: tokens so far.
            top_finished: the likeliest continuation of this step was EOS.
            best_live: log-probability of the likeliest unfinished hypothesis.
        """
        config = self.config
        if length >= self.max_length:
            return True
        if config.stopping == "enough":
            # As CTranslate2 ends a search. Without a length penalty a finished top cannot be beaten, and
            # nothing else can end it: every longer hypothesis only loses probability.
            if config.alpha == 0:
                return best_live == -torch.inf or (top_finished and len(self.finished) >= config.n_best)
            if len(self.finished) < config.beam_size:
                return False
            # But not while one lives that is much likelier than all that have finished: a model that is sure
            # of itself leaves the other beams to nonsense, which ends before the right output does.
            return best_live <= max(h.log_probability for h in self.finished) + _MUCH_LIKELIER
        # A log-probability only falls from here on, and the largest divisor is that of the longest output.
        best_possible = best_live / length_penalty(self.max_length, config.alpha)
        return len(self.finished) >= config.n_best and self.best()[-1].score >= best_possible


def beam_search(
    model: Model,
    src: Tensor,
    src_mask: Tensor | None,
    max_lengths: list[int],
    config: DecodingConfig,
    scored: bool = True,
) -> list[list[Hypothesis]]:
    """The ``config.n_best`` best hypotheses a sentence, fewer where fewer exist. Arguments as ``search``'s.

    Sentences whose search is over leave the batch. Hypotheses are ranked by their scores: these are known
    whether ``scored`` or not.
    """
    sentences = [_Sentence(i, max_length, config) for i, max_length in enumerate(max_lengths)]
    results: list[list[Hypothesis]] = [[] for _ in sentences]
    state = model.start(src, src_mask)
    tokens = src.new_full((len(sentences), 1), BOS)  # [B, N]; one beam until there is a choice
    live = torch.zeros(len(sentences), 1, device=src.device)  # [B, N] summed log-probabilities
    length = 0
    while sentences:
        length += 1
        hidden, state = model.step(tokens.flatten(), state)
        # Twice the beams, because up to N of them may end in EOS and N have to live on.
        candidates = best_continuations(model, hidden, state, live, 2 * config.beam_size)  # three of [B, C]
        rows = zip(sentences, *(c.tolist() for c in candidates), strict=True)
        survivors = [sentence.advance(length, *row) for sentence, *row in rows]
        for sentence in sentences:
            if sentence.over:
                results[sentence.index] = sentence.best()
        staying = gapless([not sentence.over for sentence in sentences])
        sentences = [sentences[row] for row in staying]
        if sentences:
            scores, parents, newest = zip(*(survivors[row] for row in staying), strict=True)
            live = torch.tensor(scores, device=src.device)  # [B, N]
            tokens = torch.tensor(newest, device=src.device)  # [B, N]
            state = model.reorder(state, staying, torch.tensor(parents, device=src.device))
    return results
