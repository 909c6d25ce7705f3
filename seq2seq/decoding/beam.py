"""Beam search: at each step the N likeliest of all continuations of N hypotheses.

Shapes: B sentences still searched, N beams, V vocabulary, C = 2N candidates a step, t tokens so far.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.hypotheses import Hypothesis, Model, length_penalty, log_probabilities
from seq2seq.tokenizer import BOS, EOS


@dataclass
class _Sentence:
    """One sentence's search."""

    index: int
    """Its place in the batch."""
    max_length: int
    """Tokens at most, EOS included."""
    finished: list[Hypothesis] = field(default_factory=list)

    def best(self, n: int) -> list[Hypothesis]:
        """The n best finished hypotheses, best first."""
        return sorted(self.finished, key=lambda h: -h.score)[:n]

    def is_over(self, length: int, top_finished: bool, best_live: float, config: DecodingConfig) -> bool:
        """Whether searching on is of no use.

        Args:
            length: tokens so far.
            top_finished: the likeliest continuation of this step was EOS.
            best_live: log-probability of the likeliest unfinished hypothesis.
            config: stopping rule, beams, n best.
        """
        if length >= self.max_length:
            return True
        if config.stopping == "enough":
            # As CTranslate2 ends a search. Without a length penalty a finished top cannot be beaten:
            # every longer hypothesis only loses probability.
            if config.alpha == 0 and top_finished and len(self.finished) >= config.n_best:
                return True
            if len(self.finished) < config.beam_size:
                return False
            # But not while one lives that is likelier than all that have finished: a model that is sure
            # of itself leaves the other beams to nonsense, which ends before the right output does.
            return best_live <= max(h.log_probability for h in self.finished)
        # A log-probability only falls from here on, and the largest divisor is that of the longest output.
        best_possible = best_live / length_penalty(self.max_length, config.alpha)
        return len(self.finished) >= config.n_best and self.best(config.n_best)[-1].score >= best_possible


def beam_search(
    model: Model, src: Tensor, src_mask: Tensor | None, max_lengths: list[int], config: DecodingConfig
) -> list[list[Hypothesis]]:
    """The ``config.n_best`` best hypotheses a sentence, fewer where fewer exist. Arguments as ``search``'s.

    A hypothesis is finished when EOS is among the N best candidates of a step; its beam goes to the
    next best candidate, so that N stay alive. Sentences whose search is over leave the batch.
    """
    beams = config.beam_size
    sentences = [_Sentence(i, max_length) for i, max_length in enumerate(max_lengths)]
    results: list[list[Hypothesis]] = [[] for _ in sentences]
    state = model.start(src, src_mask)
    tokens = src.new_full((len(sentences), 1), BOS)  # [B, N]; one beam until there is a choice
    live = torch.zeros(len(sentences), 1, device=src.device)  # [B, N] summed log-probabilities
    history = src.new_empty(len(sentences), 1, 0)  # [B, N, t]
    while sentences:
        logits, state = model.step(tokens.reshape(-1), state)
        scores, parents, tokens = _candidates(log_probabilities(logits), live, beams)  # three of [B, C]
        top_ended = tokens[:, 0].eq(EOS).tolist()  # [B]
        length = history.size(2) + 1
        _finish(sentences, scores, parents, tokens, history, length, config)
        live, parents, tokens = _survivors(scores, parents, tokens, beams)  # three of [B, N]
        history = torch.cat(
            (history.gather(1, parents.unsqueeze(2).expand(-1, -1, length - 1)), tokens.unsqueeze(2)), 2
        )

        keep = []
        for row, (sentence, ended, best_live) in enumerate(zip(sentences, top_ended, live[:, 0].tolist(), strict=True)):
            if sentence.is_over(length, ended, best_live, config):
                results[sentence.index] = sentence.best(config.n_best)
            else:
                keep.append(row)
        if len(keep) < len(sentences):
            sentences = [sentences[row] for row in keep]
            kept = torch.tensor(keep, device=src.device, dtype=torch.long)
            live, parents, tokens, history = live[kept], parents[kept], tokens[kept], history[kept]
        else:
            kept = torch.arange(len(sentences), device=src.device)
        if sentences:
            old_beams = logits.size(0) // scores.size(0)
            state = model.reorder(state, kept.unsqueeze(1) * old_beams + parents)
    return results


def _candidates(log_probs: Tensor, live: Tensor, beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """The 2N best continuations of each sentence, best first.

    Twice the beams, because up to N of them may end in EOS and N have to live on.

    Args:
        log_probs: of the next piece. [B·N, V]
        live: log-probabilities of the hypotheses so far. [B, N]
        beams: N wanted; one at the first step becomes N here.

    Returns:
        Summed log-probabilities, parent beams and pieces. Three of [B, C]
    """
    n_sentences, n_parents = live.shape
    # The best of a sentence are among the best of each of its beams: a narrow top-k a row, then a
    # top-k over what is left, instead of one over N·V.
    per_row = min(2 * beams, log_probs.size(-1))
    best, pieces = log_probs.topk(per_row, dim=-1)  # [B·N, C]
    totals = (live.unsqueeze(2) + best.view(n_sentences, n_parents, per_row)).flatten(1)  # [B, N·C]
    scores, places = totals.topk(min(2 * beams, totals.size(1)), dim=-1)  # [B, C]
    return scores, places // per_row, pieces.view(n_sentences, -1).gather(1, places)


def _finish(
    sentences: list[_Sentence],
    scores: Tensor,
    parents: Tensor,
    tokens: Tensor,
    history: Tensor,
    length: int,
    config: DecodingConfig,
) -> None:
    """Note the hypotheses that end at this step: EOS among the N best, or the longest output reached."""
    ending = tokens[:, : config.beam_size].eq(EOS)  # [B, N]
    at_limit = torch.tensor([length >= s.max_length for s in sentences], device=tokens.device)  # [B]
    ending |= at_limit.unsqueeze(1)
    ending &= scores[:, : config.beam_size] > -torch.inf
    rows, columns = ending.nonzero(as_tuple=True)
    if not len(rows):
        return
    pasts = history[rows, parents[rows, columns]].tolist()
    divisor = length_penalty(length, config.alpha)
    for row, past, token, log_probability in zip(
        rows.tolist(), pasts, tokens[rows, columns].tolist(), scores[rows, columns].tolist(), strict=True
    ):
        output = past if token == EOS else [*past, token]
        sentences[row].finished.append(Hypothesis(output, log_probability, log_probability / divisor))


def _survivors(scores: Tensor, parents: Tensor, tokens: Tensor, beams: int) -> tuple[Tensor, Tensor, Tensor]:
    """The N best candidates that do not end in EOS, best first. Three of [B, C] -> three of [B, N]"""
    ended = tokens.eq(EOS)
    # In a toy vocabulary there may be fewer than N: an ended one fills the beam, and can never win.
    scores = scores.masked_fill(ended, -torch.inf)
    places = torch.arange(tokens.size(1), device=tokens.device) + tokens.size(1) * ended  # [B, C]
    alive = places.argsort(dim=1)[:, :beams]  # [B, N]
    return scores.gather(1, alive), parents.gather(1, alive), tokens.gather(1, alive)
