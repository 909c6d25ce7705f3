"""How good a model is on validation pairs: its loss, and real translations scored."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from seq2seq.batching import collate
from seq2seq.config import DecodingConfig
from seq2seq.corpus import Pair
from seq2seq.decoding import Hypothesis, length_penalty
from seq2seq.evaluation import score
from seq2seq.model.transformer import Transformer, padding_mask
from seq2seq.tokenizer import PAD, Tokenizer
from seq2seq.translation import Searched, Translator, greedy_of, join_segments, length_batches

# Tried for the length penalty: beyond these, hypotheses are too short or too long on any data.
ALPHAS = [round(0.2 * i, 1) for i in range(2, 11)]

_BLOCK = {True: 256, False: 2048}
"""Sentences translated between two questions whether to stop: on a CPU, and elsewhere."""


class Stopped(Exception):  # noqa: N818  # it is no error
    """A signal arrived in the middle of a validation, whose result is not needed any more."""


@dataclass(frozen=True)
class Scores:
    """The verdict on one set of weights."""

    loss: float
    """Cross-entropy in nats a target token, without smoothing."""
    bleu: float
    chrf: float
    hypotheses: list[str]

    def figures(self) -> dict[str, float]:
        """By the names of ``metrics.jsonl``."""
        return {"valid_loss": self.loss, "bleu": self.bleu, "chrf": self.chrf}


@dataclass(frozen=True)
class ValidationSet:
    """Validation pairs, as text and as ids.

    Pairs longer than ``max_length`` are translated in segments, but their loss is left out: the model
    was never shown such a length.
    """

    pairs: Sequence[Pair]
    tokenizer: Tokenizer
    max_length: int
    max_src_length: int
    target_language: str
    max_src_sentences: int | None = None

    def n_tgt_tokens(self) -> int:
        """Of all references, EOS included."""
        return sum(map(len, self.tokenizer.encode([pair.tgt for pair in self.pairs]))) + len(self.pairs)

    def run(self, model: Transformer, decoding: DecodingConfig, check: Callable[[], None]) -> Scores:
        """Loss, and BLEU and chrF of greedy translations: what ``translate -b 1`` would give.

        Args:
            model: in evaluation mode.
            decoding: settings other than the number of beams.
            check: called between batches; may raise ``Stopped``.
        """
        loss = self._loss(model, check)
        order = self._by_length()
        by_length: list[str] = []
        translator = self._translator(model, greedy_of(decoding))
        for rows in _blocks(order, translator):
            check()
            by_length += translator.translate([self.pairs[i].src for i in rows])
        hypotheses = [text for _, text in sorted(zip(order, by_length, strict=True))]
        references = [pair.tgt for pair in self.pairs]
        return Scores(
            loss=loss,
            bleu=score("bleu", hypotheses, references, self.target_language).value,
            chrf=score("chrf", hypotheses, references, self.target_language).value,
            hypotheses=hypotheses,
        )

    @torch.inference_mode()
    def _loss(self, model: Transformer, check: Callable[[], None]) -> float:
        device = next(model.parameters()).device
        src = self.tokenizer.encode([pair.src for pair in self.pairs])
        tgt = self.tokenizer.encode([pair.tgt for pair in self.pairs])
        usable = [i for i in range(len(src)) if src[i] and tgt[i] and max(len(src[i]), len(tgt[i])) < self.max_length]
        total, n_tokens = 0.0, 0
        for indices in length_batches([tgt[i] for i in usable], 2048):
            check()
            rows = [usable[i] for i in indices]
            batch = collate([src[i] for i in rows], [tgt[i] for i in rows]).to(device)
            logits = model(batch.src, padding_mask(batch.src, PAD), batch.tgt_in)
            total += float(
                F.cross_entropy(
                    logits[batch.tgt_out.ne(PAD)].float(), batch.tgt_out[batch.tgt_out.ne(PAD)], reduction="sum"
                )
            )
            n_tokens += batch.n_tgt_tokens
        return total / max(1, n_tokens)

    def choose_alpha(
        self, model: Transformer, decoding: DecodingConfig, check: Callable[[], None]
    ) -> tuple[float, float | None]:
        """The length penalty with the best BLEU, and that BLEU; None of a set that cannot be scored.

        Which hypotheses a search finishes does not depend on a positive α, only their ranking does, so
        that one search serves every α; but for ``stopping = "exact"``, which needs one for each.
        """
        references = [pair.tgt for pair in self.pairs]
        if not any(reference.strip() for reference in references):
            return 1.0, None
        found: list[list[Searched]] = []
        best = (-1.0, 1.0)
        for alpha in ALPHAS:
            if not found or decoding.stopping == "exact":
                config = replace(decoding, n_best=decoding.beam_size, length_penalty=alpha)
                found = self._search(model, config, check)
            texts = [
                join_segments(
                    self.tokenizer.decode([_best(h, alpha) for h, _ in segments]), segments, self.target_language
                )
                for segments in found
            ]
            bleu = score("bleu", texts, references, self.target_language).value
            # On a tie the value nearest to 1 wins: a tiny validation set should not choose an extreme.
            best = max(best, (bleu, alpha), key=lambda b: (round(b[0], 6), -abs(b[1] - 1.0)))
        return best[1], best[0]

    def _search(self, model: Transformer, config: DecodingConfig, check: Callable[[], None]) -> list[list[Searched]]:
        """All hypotheses of each segment of each source."""
        order = self._by_length()
        found: list[list[Searched]] = [[] for _ in order]
        translator = self._translator(model, config)
        for rows in _blocks(order, translator):
            check()
            searched = translator.hypotheses([self.pairs[i].src for i in rows])
            for i, segments in zip(rows, searched, strict=True):
                found[i] = segments
        return found

    def _translator(self, model: Transformer, decoding: DecodingConfig) -> Translator:
        return Translator(
            model,
            self.tokenizer,
            decoding,
            max_src_length=self.max_src_length,
            max_src_sentences=self.max_src_sentences,
            langs=("", self.target_language),
        )

    def _by_length(self) -> list[int]:
        """Blocks of similar lengths, so that a signal is heard soon and little is padded."""
        return sorted(range(len(self.pairs)), key=lambda i: len(self.pairs[i].src))


def _blocks(order: list[int], translator: Translator) -> Iterator[list[int]]:
    size = _BLOCK[translator.device.type == "cpu"]
    return (order[start : start + size] for start in range(0, len(order), size))


def _best(hypotheses: list[Hypothesis], alpha: float) -> list[int]:
    """The pieces of the hypothesis that ranks first under a length penalty."""
    if not hypotheses:
        return []
    return max(hypotheses, key=lambda h: h.log_probability / length_penalty(len(h.tokens) + 1, alpha)).tokens
