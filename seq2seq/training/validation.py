"""Validation: the loss, and the scores of real translations."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from seq2seq.batching import collate
from seq2seq.config import DecodingConfig
from seq2seq.corpus import Pair
from seq2seq.decoding import MAX_EXACT_ALPHA, NOTHING, Hypothesis, guarded
from seq2seq.errors import counted
from seq2seq.evaluation import Metric, Score, build_metric, fit_translations, language_row, score_with, verdict
from seq2seq.model import Seq2SeqModel, padding_mask
from seq2seq.runs import ConfidenceRecord
from seq2seq.tokenizer import PAD, Tokenizer
from seq2seq.training.parallel import Ranks
from seq2seq.training.progress import Sample
from seq2seq.training.tuning import ENDLESS_SHARE, LENGTH_BOUND, LOSS_BATCH_TOKENS, SAMPLE_PAIRS, STOP_CHECK_SENTENCES
from seq2seq.translation import MIN_PAIRS, Searched, Translator, features, greedy_of, join_segments, length_batches

ALPHAS = [round(0.2 * i, 1) for i in range(2, 11)]
"""Length penalties that are tried. With others, hypotheses are too short or too long on any data."""


@dataclass(frozen=True)
class Scores:
    """Validation scores of one set of weights."""

    loss: float | None
    """Cross-entropy in nats per target token, without smoothing; None: no pair counts, or it is not finite."""
    bleu: Score
    chrf: Score
    hypotheses: list[str]
    cut_off: int = 0
    """Translations that were cut off near the length of their reference, because the model cannot end them yet. 0: none
    was, and the scores are those of what ``translate`` returns."""

    def figures(self) -> dict[str, float | None]:
        """By the names of ``metrics.jsonl``."""
        return {"valid_loss": self.loss, "bleu": self.bleu.value, "chrf": self.chrf.value}


class LengthPenalty(NamedTuple):
    """The choice of ``choose_alpha``."""

    alpha: float
    bleu: float
    """Of the pairs that were searched."""
    n_pairs: int
    """The number of these pairs."""
    confidence: ConfidenceRecord | None = None
    """The expected chrF of such translations; None: there are too few pairs to fit it."""


@dataclass(frozen=True)
class ValidationSet:
    """Validation pairs, as text and as ids. If several ranks validate, they share the pairs and have the same results.

    Pairs longer than ``max_length`` are translated in segments, but they do not count for the loss: the model was not
    trained on such lengths.
    """

    pairs: Sequence[Pair]
    tokenizer: Tokenizer
    max_length: int
    max_src_length: int
    bleu: Metric
    """BLEU for the target language."""
    target_language: str = ""
    """Code by which segments are joined."""
    max_src_sentences: int | None = None
    poor_bleu: str = ""
    """Why BLEU says little here; empty: it does not."""
    chrf: Metric = field(default_factory=lambda: build_metric("chrf"))
    ranks: Ranks = field(default_factory=Ranks)

    def sample(self, device: torch.device) -> "ValidationSet":
        """Some of the pairs, of all lengths: enough to estimate the time for all of them."""
        size = SAMPLE_PAIRS[device.type == "cpu"]
        return replace(self, pairs=[self.pairs[i] for i in self._by_length()[:: -(-len(self.pairs) // size)]])

    def run(self, model: Seq2SeqModel, decoding: DecodingConfig, check: Callable[[], None]) -> Scores:
        """Loss, and BLEU and chrF of greedy translations, which are those of ``translate`` with one beam.

        A model that has learned little repeats itself up to the limit of the search, which takes ten times as long as
        real translations. So each search first ends near the length of its reference. Translations that were cut off
        are searched again without that bound. But if there are many of them, the model is not usable yet, and the
        scores are those with the bound.

        Args:
            model: in evaluation mode.
            decoding: settings other than the number of beams.
            check: called between batches; may raise ``Stopped``.
        """
        src, tgt = self._encoded()
        loss = self._loss(model, src, tgt, check)
        translator = self._translator(model, greedy_of(decoding))
        factor, extra = LENGTH_BOUND
        limits = [int(factor * len(ids)) + extra for ids in tgt]
        order = self._by_length()
        found = self._search(translator, order, check, limits, scored=False)
        endless = [i for i in order if any(_reached_limit(limits[i], s) for s in found[i])]
        is_bounded = len(endless) > ENDLESS_SHARE * len(self.pairs)
        if not is_bounded:
            found |= self._search(translator, endless, check, scored=False)
        hypotheses = translator.best_texts([found[i] for i in range(len(self.pairs))])
        references = [pair.tgt for pair in self.pairs]
        return Scores(
            loss=loss,
            bleu=score_with(self.bleu, hypotheses, references),
            chrf=score_with(self.chrf, hypotheses, references),
            hypotheses=hypotheses,
            cut_off=len(endless) if is_bounded else 0,
        )

    def samples(self, scores: Scores, n: int) -> list[Sample]:
        """Up to ``n`` pairs with their translations, spread evenly."""
        n = min(n, len(self.pairs))
        rows = [i * len(self.pairs) // n for i in range(n)]
        return [Sample(self.pairs[i].src, scores.hypotheses[i], self.pairs[i].tgt) for i in rows]

    def signatures(self) -> dict[str, str]:
        """How BLEU and chrF are computed, in sacreBLEU's words."""
        metrics = {"bleu": self.bleu, "chrf": self.chrf}
        return {name: score_with(metric, [""], [""]).signature for name, metric in metrics.items()}

    def verdict(self, scores: Mapping[str, float | None], cut_off: int) -> str:
        """The scores in plain words; empty if they say too little.

        Args:
            scores: by the names of ``metrics.jsonl``, and ``bleu_beam`` once the length penalty is chosen.
            cut_off: translations that the model could not end.
        """
        if cut_off:
            return f"not usable yet: {cut_off:,} of {counted(len(self.pairs), 'validation translation')} did not end"
        references = [pair.tgt for pair in self.pairs]
        found = {"bleu": scores.get("bleu_beam", scores.get("bleu")), "chrf": scores.get("chrf")}
        known = {name: value for name, value in found.items() if value is not None}
        row = language_row(self.target_language, references)
        return verdict(known, row, n_sentences=len(references), poor_bleu=self.poor_bleu)

    def n_with_loss(self) -> int:
        """Pairs whose loss counts."""
        return len(self._with_loss(*self._encoded()))

    def _encoded(self) -> tuple[list[list[int]], list[list[int]]]:
        encode = self.tokenizer.encode
        return encode([pair.src for pair in self.pairs]), encode([pair.tgt for pair in self.pairs])

    def _with_loss(self, src: list[list[int]], tgt: list[list[int]]) -> list[int]:
        return [i for i in range(len(src)) if src[i] and tgt[i] and max(len(src[i]), len(tgt[i])) < self.max_length]

    @torch.inference_mode()
    def _loss(
        self, model: Seq2SeqModel, src: list[list[int]], tgt: list[list[int]], check: Callable[[], None]
    ) -> float | None:
        usable = self._with_loss(src, tgt)
        batches = [[usable[i] for i in rows] for rows in length_batches([tgt[i] for i in usable], LOSS_BATCH_TOKENS)]
        sums = self.ranks.gather(lambda: self._sum_of_losses(model, src, tgt, batches[self.ranks.part], check))
        total, n_tokens = (sum(column) for column in zip(*sums, strict=True))
        return total / n_tokens if n_tokens and math.isfinite(total) else None

    def _sum_of_losses(
        self,
        model: Seq2SeqModel,
        src: list[list[int]],
        tgt: list[list[int]],
        batches: Iterable[Sequence[int]],
        check: Callable[[], None],
    ) -> tuple[float, int]:
        """Of some batches of rows; and their target tokens."""
        device = next(model.parameters()).device
        total, n_tokens = 0.0, 0
        for rows in batches:
            check()
            batch = collate([src[i] for i in rows], [tgt[i] for i in rows]).to(device)
            logits = model(batch.src, padding_mask(batch.src, PAD), batch.tgt_in)
            total += float(
                F.cross_entropy(
                    logits[batch.tgt_out.ne(PAD)].float(), batch.tgt_out[batch.tgt_out.ne(PAD)], reduction="sum"
                )
            )
            n_tokens += batch.n_tgt_tokens
        return total, n_tokens

    def choose_alpha(
        self,
        model: Seq2SeqModel,
        decoding: DecodingConfig,
        best_metric: str,
        check: Callable[[], None],
        seconds: float = math.inf,
    ) -> LengthPenalty:
        """The length penalty with the best translations.

        A positive α does not change which hypotheses a search finishes, only their ranking. So one search is enough for
        every α; only ``stopping = "exact"`` needs one for each.

        Args:
            model: in evaluation mode.
            decoding: settings other than the length penalty.
            best_metric: chooses, and chrF if scores are equal; for the loss, which does not depend on α, BLEU chooses.
            check: called between batches; may raise ``Stopped``.
            seconds: time for the search. If all pairs would take longer, fewer of them are searched, of all lengths,
                and at least a sample.
        """
        exact = decoding.stopping == "exact"
        alphas = [alpha for alpha in ALPHAS if alpha <= MAX_EXACT_ALPHA] if exact else ALPHAS

        def translator(alpha: float) -> Translator:
            return self._translator(model, replace(decoding, n_best=decoding.beam_size, length_penalty=alpha))

        rows, found = self._search_within(seconds / n_searches(decoding), translator(alphas[0]), check)
        references = [self.pairs[i].tgt for i in rows]
        texts: dict[float, list[str]] = {}
        found_with = {}
        for alpha in alphas:
            if exact and alpha != alphas[0]:
                found = self._search(translator(alpha), rows, check)
            found_with[alpha] = found
            texts[alpha] = [
                join_segments(
                    self.tokenizer.decode([best_under(alpha, one, decoding).tokens for one in segments]),
                    segments,
                    self.target_language,
                )
                for segments in (found[i] for i in rows)
            ]
        left = list(texts)
        for metric in [self.chrf] if best_metric == "chrf" else [self.bleu, self.chrf]:
            scores = {alpha: round(score_with(metric, texts[alpha], references).comparable, 6) for alpha in left}
            left = [alpha for alpha in left if scores[alpha] == max(scores.values())]
        # On a tie the value nearest to 1 wins: a tiny validation set should not choose an extreme.
        best = min(left, key=lambda alpha: abs(alpha - 1.0))
        confidence = self._fit(rows, found_with[best], texts[best], replace(decoding, length_penalty=best))
        return LengthPenalty(best, score_with(self.bleu, texts[best], references).value, len(rows), confidence)

    def fit_confidence(
        self, model: Seq2SeqModel, decoding: DecodingConfig, check: Callable[[], None], seconds: float = math.inf
    ) -> ConfidenceRecord | None:
        """The expected chrF of translations, for a run whose length penalty is given; None: there are too few pairs.

        Args:
            model: in evaluation mode.
            decoding: settings of the search.
            check: called between batches; may raise ``Stopped``.
            seconds: as ``choose_alpha``'s.
        """
        if len(self.pairs) < MIN_PAIRS:
            return None
        translator = self._translator(model, decoding)
        rows, found = self._search_within(seconds, translator, check)
        return self._fit(rows, found, translator.best_texts([found[i] for i in rows]), decoding)

    def _fit(
        self,
        rows: Sequence[int],
        found: Mapping[int, list[Searched]],
        texts: Sequence[str],
        decoding: DecodingConfig,
    ) -> ConfidenceRecord | None:
        chosen = [[best_under(decoding.alpha, segment, decoding) for segment in found[i]] for i in rows]
        judged = [
            (features(found[i], best) if text.strip() else None, text, self.pairs[i].tgt)
            for i, best, text in zip(rows, chosen, texts, strict=True)
        ]
        return fit_translations(judged, "validation")

    def _search_within(
        self, seconds: float, translator: Translator, check: Callable[[], None]
    ) -> tuple[list[int], dict[int, list[Searched]]]:
        """The pairs, of all lengths, for which there was time, and their hypotheses."""
        rows = self._by_length()
        size = SAMPLE_PAIRS[translator.device.type == "cpu"]
        if seconds == math.inf or len(rows) <= size:
            return rows, self._search(translator, rows, check)
        began = self.ranks.now()
        sample = rows[:: -(-len(rows) // size)]
        found = self._search(translator, sample, check)
        took = max(self.ranks.now() - began, 1e-9)
        others = [i for i in rows if i not in found]
        n_more = min(len(others), int((seconds - took) / took * len(sample)) if took < seconds else 0)
        found |= self._search(translator, [others[i * len(others) // n_more] for i in range(n_more)], check)
        return [i for i in rows if i in found], found

    def _search(
        self,
        translator: Translator,
        order: Sequence[int],
        check: Callable[[], None],
        limits: Sequence[int] | None = None,
        *,
        scored: bool = True,
    ) -> dict[int, list[Searched]]:
        """The hypotheses of each segment of some pairs' sources, by row.

        Args:
            translator: makes the search.
            order: rows of the pairs; neighbours have similar lengths.
            check: called between batches; may raise ``Stopped``.
            limits: max tokens of a translation, by row; for each of the pair's segments.
            scored: whether the hypotheses' scores are needed.
        """

        def search() -> Iterator[tuple[int, list[Searched]]]:
            for rows in _blocks(order[self.ranks.part], translator):
                check()
                searched = translator.hypotheses(
                    [self.pairs[i].src for i in rows],
                    scored=scored,
                    limits=None if limits is None else [limits[i] for i in rows],
                )
                yield from zip(rows, searched, strict=True)

        if self.ranks.n == 1:
            return dict(search())
        parts = self.ranks.gather(lambda: [(i, [to_json(segment) for segment in found]) for i, found in search()])
        return {i: [from_json(segment) for segment in found] for part in parts for i, found in part}

    def _translator(self, model: Seq2SeqModel, decoding: DecodingConfig) -> Translator:
        return Translator(
            model,
            self.tokenizer,
            decoding,
            max_src_length=self.max_src_length,
            max_src_sentences=self.max_src_sentences,
            langs=("", self.target_language),
        )

    def _by_length(self) -> list[int]:
        """Rows by length: blocks of similar lengths have little padding, and a signal is noticed early."""
        return sorted(range(len(self.pairs)), key=lambda i: len(self.pairs[i].src))


def to_json(segment: Searched) -> list[Any]:
    """A segment after its search, as JSON can hold it."""
    hypotheses = [(h.tokens, h.log_probability, h.score, h.length, h.avoided_loop) for h in segment.hypotheses]
    return [hypotheses, segment.ends_sentence, segment.src_ids]


def from_json(stored: Sequence[Any]) -> Searched:
    """What ``to_json`` was given."""
    hypotheses, ends_sentence, src_ids = stored
    return Searched([Hypothesis(*hypothesis) for hypothesis in hypotheses], ends_sentence, src_ids)


def n_searches(decoding: DecodingConfig) -> int:
    """Searches for choosing the length penalty; none if it is given."""
    if decoding.length_penalty is not None:
        return 0
    return sum(alpha <= MAX_EXACT_ALPHA for alpha in ALPHAS) if decoding.stopping == "exact" else 1


def _blocks(order: Sequence[int], translator: Translator) -> Iterator[Sequence[int]]:
    size = STOP_CHECK_SENTENCES[translator.device.type == "cpu"]
    return (order[start : start + size] for start in range(0, len(order), size))


def best_under(alpha: float, segment: Searched, decoding: DecodingConfig) -> Hypothesis:
    """The hypothesis of a segment that is the best one with a length penalty."""
    ranked = sorted(segment.hypotheses, key=lambda h: -h.score_under(alpha))
    if decoding.repetition_guard:
        ranked = guarded(ranked, lambda: segment.src_ids)
    return ranked[0] if ranked else NOTHING


def _reached_limit(limit: int, segment: Searched) -> bool:
    """Whether the best translation of a segment was cut off at this limit, and not at the search's own."""
    best = segment.hypotheses[0] if segment.hypotheses else None
    return best is not None and best.is_cut_off and best.length >= limit
