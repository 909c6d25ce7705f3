"""Translator: lines in, lines out, in the same order.

Lines become pieces, pieces become batches sorted by length, batches are searched, and the best
hypotheses go back to the places of their lines. A blank line stays blank and never reaches the
model; a line that is longer than the model is used to is translated in segments.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from seq2seq.batching import pad
from seq2seq.config import DecodingConfig, parse_langs
from seq2seq.decoding import Hypothesis
from seq2seq.device import cores, pick_device, pick_dtype
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import ARCHITECTURES, Seq2SeqModel, Shortlist, build_decoder, n_parameters
from seq2seq.text import is_blank, one_line
from seq2seq.tokenizer import BOS, EOS, Tokenizer
from seq2seq.translation.arguments import checked_lines
from seq2seq.translation.batches import (
    BATCHES_AT_ONCE,
    Found,
    SearchJob,
    fitting_batch_tokens,
    length_batches,
    search_batches,
)
from seq2seq.translation.loading import decoding_config, load_model, load_shortlist, max_src_length, read_run
from seq2seq.translation.segments import Divider, Ids, Searched, Segment, SegmentCounts, join_segments
from seq2seq.translation.workers import shared_out


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    score: float
    """log-probability / length^α in nats; the mean over the segments of a line."""


@dataclass(frozen=True)
class Attention:
    """Where each piece of a translation looked in its source."""

    src_pieces: list[str]
    """S pieces, EOS last."""
    tgt_pieces: list[str]
    """T pieces, EOS last."""
    weights: list[list[float]]
    """Cross-attention, mean over the decoder's layers and heads; a row sums to one. [T, S]"""


_CORE_PACE = 5e9
"""Lines a second of a core, times parameters, times beams and one: 50 to 100 GFLOP/s."""

# Used if a search found nothing, as in a model of damaged numbers.
_NOTHING = Hypothesis([], -math.inf, -math.inf, length=1)


class Translator:
    """A model with its tokenizer and decoding settings.

    Args:
        model: put into evaluation mode by the caller.
        tokenizer: its own.
        config: beams, length penalty, batch size.
        max_src_length: longest source that is translated in one piece, in tokens, EOS included.
        max_src_sentences: max sentences that are translated in one piece; None: no limit.
        langs: source and target language.
        workers: that search side by side, on a CPU; None: one for each core.
        identity: says which weights these are.
        shortlist: what a sentence may be translated with; None: every piece.
    """

    def __init__(
        self,
        model: Seq2SeqModel,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        *,
        max_src_length: int,
        max_src_sentences: int | None = None,
        langs: tuple[str, str] = ("", ""),
        workers: int | None = None,
        identity: str = "",
        shortlist: Shortlist | None = None,
    ) -> None:
        self.model = model
        self.device, self.dtype = next(model.parameters()).device, next(model.parameters()).dtype
        self.tokenizer = tokenizer
        self.config = config
        self.max_src_length = max_src_length
        self.max_src_sentences = max_src_sentences
        self.langs = langs
        self.identity = identity
        self._decoder = build_decoder(model, shortlist, greedy=config.beam_size == 1, products=config.products)
        self._max_tgt_length = ARCHITECTURES[model.config.architecture].limits(model.config).max_tgt
        self._n_workers = (workers or cores()) if self.device.type == "cpu" else 1
        self._again: Callable[[], Translator] | None = None
        self._threads = 1 if self.device.type == "cpu" else cores()  # that text becomes pieces in, and pieces text

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        device: str = "auto",
        decoding: dict[str, object] | None = None,
        workers: int | None = None,
    ) -> Self:
        """Open a run folder.

        Args:
            run: written by ``train``.
            device: auto, cpu, cuda, cuda:N or mps.
            decoding: overrides of the run's decoding configuration, by key.
            workers: that search side by side; CPU alone. None: one for each core.

        Raises:
            UserError: the folder is missing (66), or something in it must not be used (78).
        """
        run = Path(run)
        manifest, config, tokenizer = read_run(run)
        several = workers is not None and workers > 1
        where = pick_device("cpu" if several and device == "auto" else device)
        if several and where.type != "cpu":
            raise UserError(
                f"--workers {workers} needs a CPU, not --device {device}",
                mend="leave one of the two out",
                code=ExitCode.USAGE,
            )
        settings = decoding_config(manifest, config, decoding or {})
        dtype = pick_dtype(settings.precision, where)
        translator = cls(
            load_model(run, manifest, config, tokenizer).to(where, dtype),
            tokenizer,
            settings,
            max_src_length=max_src_length(manifest, config),
            max_src_sentences=manifest.max_src_sentences,
            langs=parse_langs(config.data.langs),
            workers=workers,
            identity=manifest.files[manifest.weights],
            shortlist=load_shortlist(run, manifest, tokenizer, settings.shortlist) if settings.shortlist else None,
        )
        translator._again = partial(
            cls.load, run.absolute(), device=device, decoding=dict(decoding or {}), workers=workers
        )
        return translator

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, also in other processes, are loaded from the run folder."""
        if self._again is None:
            raise TypeError("only a Translator from Translator.load can be copied or sent to another process")
        return self._again, ()

    def translate(self, lines: Iterable[str]) -> list[str]:
        """The best translation of each line; blank if the line is blank.

        Args:
            lines: strings, as a list, a generator or an open file. A string that holds newlines is translated line by
                line, and the translations are joined into one line.

        Raises:
            TypeError: a single string, or a line that is not a string.
            ValueError: a string that UTF-8 cannot hold.
        """
        return self.best_texts(self.hypotheses(lines, scored=False))

    def best_texts(self, found: list[list[Searched]]) -> list[str]:
        """The best translation of each line, from what ``hypotheses`` found."""
        return [best.text for best in self._ranked(found, 0)]

    def n_best(
        self,
        lines: Iterable[str],
        *,
        first_line: int = 1,
        counts: SegmentCounts | None = None,
        scored: bool = True,
        tell: Callable[[float], None] | None = None,
    ) -> list[list[Translation]]:
        """Exactly ``config.n_best`` translations of each line, best first.

        Args:
            lines: as ``translate``'s.
            first_line: number of the first of them, for ``counts``.
            counts: lines that are translated in segments are added.
            scored: whether the scores are wanted; greedy search is faster without.
            tell: called now and then with the share of the lines that is done.
        """
        found = self.hypotheses(lines, first_line=first_line, counts=counts, scored=scored, tell=tell)
        ranked = [self._ranked(found, rank) for rank in range(self.config.n_best)]
        return [list(of_line) for of_line in zip(*ranked, strict=True)]

    def hypotheses(
        self,
        lines: Iterable[str],
        *,
        first_line: int = 1,
        counts: SegmentCounts | None = None,
        scored: bool = True,
        tell: Callable[[float], None] | None = None,
        limits: Sequence[int] | None = None,
    ) -> list[list[Searched]]:
        """What the search found for the segments of each line: none if it is blank. Arguments as ``n_best``'s, and:

        Args:
            limits: longest translation of a segment of each line, in tokens, EOS included.
        """
        segments = self._segments(checked_lines(lines), first_line, counts or SegmentCounts())  # of each line
        of_units = None
        if limits is not None:
            of_units = [limit for line, limit in zip(segments, limits, strict=True) for _ in line]
        units = [segment.ids for line in segments for segment in line]
        found = iter(self._search_all(units, scored, tell, of_units))
        return [[Searched(next(found), segment.ends_sentence) for segment in line] for line in segments]

    def expected_pace(self) -> float:
        """A guess at how many lines of 15 tokens are translated in a second, before any is."""
        if self.device.type != "cpu":
            return math.inf
        return _CORE_PACE / n_parameters(self.model) * self._n_workers / (1 + self.config.beam_size)

    def attention(self, line: str, translation: str) -> Attention | None:
        """Where the model looks while it reads ``translation`` as that of ``line``.

        None if a side is blank, if the line was translated in several segments, or if the translation has more tokens
        than the model can read.
        """
        segments, tgt_ids = self._segments([line], 1, SegmentCounts())[0], self.tokenizer.encode([translation])[0]
        if not tgt_ids or len(segments) != 1:
            return None
        src_ids = segments[0].ids
        if self._max_tgt_length is not None and len(tgt_ids) >= self._max_tgt_length:
            return None
        with torch.inference_mode():
            weights = self.model.cross_attention_weights(
                pad([src_ids], last=EOS).to(self.device), pad([tgt_ids], first=BOS).to(self.device)
            )  # [1, layers, H, T, S]
        return Attention(
            src_pieces=self.tokenizer.pieces([*src_ids, EOS]),
            tgt_pieces=self.tokenizer.pieces([*tgt_ids, EOS]),
            weights=weights[0].mean(dim=(0, 1)).tolist(),
        )

    def _segments(self, lines: Sequence[str], first_line: int, counts: SegmentCounts) -> list[list[Segment]]:
        encoded = self.tokenizer.encode(["" if is_blank(line) else line for line in lines], threads=self._threads)
        divider = Divider(self.tokenizer, self.max_src_length - 1, self.max_src_sentences)
        numbered = enumerate(zip(lines, encoded, strict=True), start=first_line)
        return [divider.divide(line, ids, number, counts) for number, (line, ids) in numbered]

    def _ranked(self, found: list[list[Searched]], rank: int) -> list[Translation]:
        """The translation of each line that is made of the rank-th best of its segments; blank without any."""
        # A segment may have fewer hypotheses than requested: its last one is used again.
        chosen = [
            [of_each[min(rank, len(of_each) - 1)] if of_each else _NOTHING for of_each, _ in segments]
            for segments in found
        ]
        texts = iter(self.tokenizer.decode([h.tokens for line in chosen for h in line], threads=self._threads))
        translations = []
        for segments, best in zip(found, chosen, strict=True):
            text = join_segments([next(texts) for _ in best], segments, self.langs[1])
            translations.append(Translation(one_line(text), sum(h.score for h in best) / max(1, len(best))))
        return translations

    def _search_all(
        self,
        units: Sequence[Ids],
        scored: bool,
        tell: Callable[[float], None] | None,
        limits: Sequence[int] | None,
    ) -> list[list[Hypothesis]]:
        """Search every unit, those of similar length together; results in the order of the units."""
        config = self.config
        at_once = config.batch_tokens or fitting_batch_tokens(self.model, config.beam_size)
        of_a_batch = at_once // BATCHES_AT_ONCE[self.device.type == "cpu"]
        batches = list(length_batches(units, of_a_batch, shares=self._n_workers))
        job = SearchJob(
            config,
            self.device,
            self._max_tgt_length,
            scored,
            self.tokenizer.n_control,
            room=at_once - of_a_batch,
            limits=limits,
        )
        results: list[list[Hypothesis]] = [[] for _ in units]
        for n, (i, hypotheses) in enumerate(self._search(job, units, batches), start=1):
            results[i] = hypotheses
            if tell is not None:
                tell(n / len(units))
        return results

    def _search(self, job: SearchJob, units: Sequence[Ids], batches: list[list[int]]) -> Iterator[Found]:
        # A single batch has all cores here; several are shared out among workers of one core each.
        if self._n_workers == 1 or len(batches) < 2:
            return search_batches(job, units, self._decoder, iter(batches))
        return shared_out(self._n_workers, partial(search_batches, job, units), self._decoder, batches)
