"""Likelihood of given translations: the log-probability of each piece, with the whole translation read at once.

For a hypothesis of a search, it is the search's own log-probability, up to rounding. With a shortlist the search
divides the probability among fewer pieces; here it is always divided among the whole vocabulary.

Shapes: B pairs, T target tokens, D model width, V vocabulary, n real target tokens of a batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.batching import pad
from seq2seq.decoding import length_penalty
from seq2seq.device import to_device
from seq2seq.model import Seq2SeqModel, padding_mask
from seq2seq.text import is_blank
from seq2seq.tokenizer import BOS, EOS, PAD, Tokenizer
from seq2seq.translation.batches import fitting_batch_tokens, length_batches
from seq2seq.translation.segments import Ids
from seq2seq.translation.tuning import BATCHES_AT_ONCE, LIKELIHOOD_ROWS
from seq2seq.translation.workers import map_parallel


class Likelihood(NamedTuple):
    """The log-probability of one translation, token by token."""

    tokens: Ids
    """Piece ids; EOS is the last one, unless the translation was cut off."""
    log_probabilities: list[float]
    """Of each of them, in nats."""

    @property
    def log_probability(self) -> float:
        """The sum, in nats."""
        return math.fsum(self.log_probabilities)

    def score_under(self, alpha: float) -> float:
        """log-probability / length^α: the score by which beam search would rank this translation."""
        return self.log_probability / length_penalty(len(self.tokens), alpha)


@dataclass
class LikelihoodCounts:
    """What was scored, and what was not. One object may count several lists of pairs."""

    pairs: int = 0
    """Scored pairs."""
    tokens: int = 0
    """Tokens of their targets, EOS included."""
    log_probability: float = 0.0
    """Sum over these tokens, in nats."""
    blank: int = 0
    """Pairs with a blank side."""
    too_long: int = 0
    """Pairs with a side that has too many tokens for the model."""

    @property
    def perplexity(self) -> float | None:
        """exp of the mean negative log-probability of a token; None if nothing was scored, or if it is not finite."""
        if not self.tokens or not math.isfinite(self.log_probability):
            return None
        try:
            return math.exp(-self.log_probability / self.tokens)
        except OverflowError:
            return None


class TokenizedPair(NamedTuple):
    """A source, and a translation whose tokens are scored."""

    src_ids: Ids
    """Without EOS."""
    tgt_ids: Ids
    """EOS is the last one, unless the translation was cut off. At least one."""


def likelihoods(model: Seq2SeqModel, pairs: Sequence[TokenizedPair], *, workers: int = 1) -> list[Likelihood]:
    """The likelihood of each pair; pairs of similar length are read together.

    Args:
        model: in evaluation mode.
        pairs: not longer than the model can read.
        workers: that read batches side by side, as in a search.
    """
    longer = [max(pair, key=len) for pair in pairs]
    kind = model.output.weight.device.type
    # As small as the batches of a search: on a CPU their activations stay in its cache.
    tokens = fitting_batch_tokens(model, 1) // BATCHES_AT_ONCE[kind == "cpu"]
    batches = list(length_batches(longer, tokens, min_batches=workers))
    read = partial(read_batches, model, pairs)
    if workers == 1 or len(batches) < 2:
        found = dict(read(None, iter(batches)))
    else:
        found = dict(map_parallel(workers, read, None, batches))
    return [Likelihood(pair.tgt_ids, found[i]) for i, pair in enumerate(pairs)]


@torch.inference_mode()
def read_batches(
    model: Seq2SeqModel, pairs: Sequence[TokenizedPair], decoder: None, batches: Iterator[list[int]]
) -> Iterator[tuple[int, list[float]]]:
    """Read batches of pairs, given by their indices.

    Args:
        model: in evaluation mode.
        pairs: those of all batches.
        decoder: not used; it makes this a work for ``translation.workers``.
        batches: indices of similar length.

    Yields:
        The index of a pair, and the log-probability of each target token.
    """
    device = model.output.weight.device
    for indices in batches:
        batch = [pairs[i] for i in indices]
        src = pad([pair.src_ids for pair in batch], last=EOS)  # [B, S + 1]
        mask = padding_mask(src, PAD)
        tgt_in = pad([pair.tgt_ids[:-1] for pair in batch], first=BOS)  # [B, T]
        mask = None if mask is None else to_device(mask, device)
        hidden = model.hidden(to_device(src, device), mask, to_device(tgt_in, device))  # [B, T, D]
        lengths = [len(pair.tgt_ids) for pair in batch]
        real = torch.arange(tgt_in.size(1)) < torch.tensor(lengths).unsqueeze(1)  # [B, T]
        tgt_out = torch.tensor([token for pair in batch for token in pair.tgt_ids])  # [n]
        found = _log_probabilities(model, hidden[to_device(real, device)], to_device(tgt_out, device))
        for i, of_pair in zip(indices, torch.split(found.cpu(), lengths), strict=True):
            yield i, of_pair.tolist()


def _log_probabilities(model: Seq2SeqModel, hidden: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of each token, in fp32. Logits are computed in blocks of rows. [n, D], [n] -> [n]"""
    rows = LIKELIHOOD_ROWS[hidden.device.type == "cpu"]
    found = [
        model.output(block).float().log_softmax(dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        for block, targets in zip(torch.split(hidden, rows), torch.split(tokens, rows), strict=True)
    ]
    return torch.cat(found)


class PairScorer:
    """Scores pairs of lines, many at once.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        limits: max tokens of a source (those that the model translates at once) and of a target (those of the longest
            translation that a search can make), EOS included.
        workers: that score side by side.
        threads: that the tokenizer may use.
    """

    def __init__(
        self,
        model: Seq2SeqModel,
        tokenizer: Tokenizer,
        limits: tuple[int, int],
        *,
        workers: int,
        threads: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._max_src, self._max_tgt = limits
        self._workers, self._threads = workers, threads

    def score(
        self, sources: Sequence[str], targets: Sequence[str], counts: LikelihoodCounts | None = None
    ) -> list[Likelihood | None]:
        """The likelihood of each target; None if a side is blank or too long.

        A given translation cannot be divided as its source, so an over-long pair is left out, as in a validation.

        Args:
            sources: lines.
            targets: a translation of each.
            counts: the pairs are added.
        """
        counts = counts or LikelihoodCounts()
        ids = [
            self._tokenizer.encode(["" if is_blank(line) else line for line in lines], threads=self._threads)
            for lines in (sources, targets)
        ]
        usable: list[TokenizedPair | None] = []
        for src, tgt in zip(*ids, strict=True):
            is_too_long = len(src) >= self._max_src or len(tgt) >= self._max_tgt
            usable.append(TokenizedPair(src, [*tgt, EOS]) if src and tgt and not is_too_long else None)
            counts.blank += not (src and tgt)
            counts.too_long += bool(src and tgt) and is_too_long
        scored = [pair for pair in usable if pair is not None]
        found = likelihoods(self._model, scored, workers=self._workers)
        counts.pairs += len(found)
        counts.tokens += sum(len(one.tokens) for one in found)
        counts.log_probability = math.fsum([counts.log_probability, *(one.log_probability for one in found)])
        results = iter(found)
        return [None if pair is None else next(results) for pair in usable]
