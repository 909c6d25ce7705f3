"""Translator: lines in, lines out, in the same order.

Lines become pieces, pieces become batches sorted by length, batches are searched, and the best hypotheses go back to
the places of their lines. A blank line stays blank and never reaches the model. A line that is too long for the model
is translated in segments.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch

from seq2seq.attention import Attention, AttentionMaps, Place
from seq2seq.config import DecodingConfig, parse_langs
from seq2seq.decoding import Hypothesis
from seq2seq.device import cores, pick_device
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import ARCHITECTURES, Seq2SeqModel, Shortlist, n_parameters
from seq2seq.runs import ConfidenceRecord
from seq2seq.runs.loading import decoding_config, max_src_length, read_run
from seq2seq.system.collector import rare_collections
from seq2seq.text import is_blank
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.aligning import Aligner
from seq2seq.translation.arguments import checked_lines, checked_pairs
from seq2seq.translation.attending import AttentionReader
from seq2seq.translation.batches import SearchResult, max_output
from seq2seq.translation.engines import ENGINES, Engine, OwnEngine, check_engine
from seq2seq.translation.engines.base import OpenedRun
from seq2seq.translation.events import LineDivided, Translation, WindowEvent, WindowProgress, WindowTranslated
from seq2seq.translation.likelihood import Likelihood, LikelihoodCounts, PairScorer
from seq2seq.translation.ranked import ranked_translations
from seq2seq.translation.segments import (
    Divider,
    Ids,
    Searched,
    Segment,
    SegmentCounts,
    ids_of,
    searched_lines,
)
from seq2seq.translation.tuning import CORE_SPEED, MAX_BYTES
from seq2seq.translation.windows import IterableReader, Lines, WindowSize


class Translator:
    """A model with its tokenizer and decoding settings.

    Args:
        model: put into evaluation mode by the caller.
        tokenizer: the model's.
        config: beams, length penalty, batch size.
        max_src_length: max tokens of a segment, EOS included.
        max_src_sentences: max sentences of a segment; None: no limit.
        langs: source and target language.
        workers: number of parallel searches on a CPU; None: one for each core.
        identity: hash of the weights. A translation is resumed only with the same one.
        shortlist: restricts the target pieces of each sentence; None: no restriction. For our own engine.
        engine: searches for translations; None: our own engine, which uses the model.
        confidence: how the chrF of a translation is expected; None: not known.
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
        engine: Engine | None = None,
        confidence: ConfidenceRecord | None = None,
    ) -> None:
        self.model = model
        self.device, self.dtype = next(model.parameters()).device, next(model.parameters()).dtype
        self.tokenizer = tokenizer
        self.config = config
        self.max_src_length = max_src_length
        self.max_src_sentences = max_src_sentences
        self.langs = langs
        self.identity = identity
        self.confidence = confidence
        self._max_tgt_length = ARCHITECTURES[model.config.architecture].limits(model.config).max_tgt
        self._n_workers = count_workers(workers, self.device)
        self.engine = engine or OwnEngine(
            model, config, n_control=tokenizer.n_control, n_workers=self._n_workers, shortlist=shortlist
        )
        self._load_again: Callable[[], Translator] | None = None
        self._text_threads = 1 if self.device.type == "cpu" else cores()  # of the tokenizer
        self._aligner = Aligner(model, tokenizer, langs, workers=self._n_workers, threads=self._text_threads)
        self._attention = AttentionReader(model, tokenizer, self._max_tgt_length)
        limits = max_src_length, max_output(config, max_src_length - 1, self._max_tgt_length)
        self._scorer = PairScorer(model, tokenizer, limits, workers=self._n_workers, threads=self._text_threads)

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        device: str = "auto",
        decoding: dict[str, object] | None = None,
        workers: int | None = None,
        engine: str = "own",
    ) -> Self:
        """Load a run folder.

        Args:
            run: written by ``train``.
            device: auto, cpu, cuda, cuda:N or mps.
            decoding: keys that override the run's decoding configuration.
            workers: number of parallel searches, only on a CPU; None: one for each core.
            engine: row of ``ENGINES``: what searches for translations.

        Raises:
            UserError: an option is refused (2), the folder is missing (66), a file in it is refused, or the engine is
                not available here or does not support the model (78).
        """
        run = Path(run)
        check_engine(engine)
        manifest, config, tokenizer = read_run(run)
        several = workers is not None and workers > 1
        where = pick_device("cpu" if several and device == "auto" else device)
        if several and where.type != "cpu":
            raise UserError(
                f"`workers={workers}` needs a CPU, not `device={device}`",
                mend="leave one of the two out",
                code=ExitCode.USAGE,
            )
        settings = decoding_config(manifest, config, decoding or {})
        opened = OpenedRun(run, manifest, config, tokenizer, settings, where, count_workers(workers, where))
        model, search_engine = ENGINES[engine](opened)
        translator = cls(
            model,
            tokenizer,
            settings,
            max_src_length=max_src_length(manifest, config),
            max_src_sentences=manifest.max_src_sentences,
            langs=parse_langs(config.data.langs),
            workers=workers,
            identity=manifest.files[manifest.weights],
            engine=search_engine,
            confidence=manifest.confidence,
        )
        translator._load_again = partial(
            cls.load, run.absolute(), device=device, decoding=dict(decoding or {}), workers=workers, engine=engine
        )
        return translator

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, also in other processes, are loaded from the run folder."""
        if self._load_again is None:
            raise TypeError("only a Translator from Translator.load can be copied or sent to another process")
        return self._load_again, ()

    @rare_collections()
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

    @rare_collections()
    def best_texts(self, searched: list[list[Searched]]) -> list[str]:
        """The best translation of each line, from the result of ``hypotheses``."""
        return [best.text for best in self._translations(searched, 0)]

    @rare_collections()
    def n_best(
        self,
        lines: Iterable[str],
        *,
        first_line: int = 1,
        counts: SegmentCounts | None = None,
        scored: bool = True,
    ) -> list[list[Translation]]:
        """Exactly ``config.n_best`` translations of each line, best first.

        Args:
            lines: as ``translate``'s.
            first_line: number of the first of them, for ``counts``.
            counts: lines that are translated in segments are added.
            scored: whether the scores are needed; greedy search is faster without them.
        """
        return self._n_best(self.hypotheses(lines, first_line=first_line, counts=counts, scored=scored))

    @rare_collections()
    def align(self, lines: Iterable[str]) -> list[Translation]:
        """The best translation of each line with its ``alignment`` of words; none if the line is blank.

        Args:
            lines: as ``translate``'s.
        """
        checked = checked_lines(lines)
        segments = self._segments(checked, 1, SegmentCounts())
        found = searched_lines(segments, dict(self._search(ids_of(segments), scored=True)))
        return self._aligner.align(checked, segments, found, self._translations(found, 0))

    def score(
        self, pairs: Iterable[tuple[str, str]], *, counts: LikelihoodCounts | None = None
    ) -> list[Likelihood | None]:
        """The likelihood of given translations; None if a side is blank or too long for the model.

        Args:
            pairs: a line and its translation each.
            counts: the pairs are added.
        """
        return self._scorer.score(*checked_pairs(pairs), counts)

    def stream(self, lines: Iterable[str]) -> Iterator[str]:
        """The best translation of each line, in the same order, while the lines are still coming.

        Lines are translated as soon as the next one is not ready. A generator that waits for a translation gets it at
        once. A long list is translated in windows of some thousand lines, sorted by length. Memory does not grow with
        the number of lines. Nothing is read before the first translation is requested; then up to one window is
        read ahead. A thread iterates over ``lines``.

        Args:
            lines: as ``translate``'s; the iterator may block, and never end.

        Raises:
            TypeError: a single string (at once), or a line that is not a string.
            ValueError: a string that UTF-8 cannot hold.
            Exception: whatever ``lines`` raises. These come after the translations of the lines before.
        """
        return self._texts(IterableReader(lines))

    def _texts(self, reader: IterableReader) -> Iterator[str]:
        try:
            for event in self.translate_windows(reader, scored=False):
                if isinstance(event, WindowTranslated):
                    yield from (best[0].text for best in event.translations)
        finally:
            reader.close()

    def translate_windows(
        self,
        reader: Lines,
        *,
        n_lines: int = 0,
        counts: SegmentCounts | None = None,
        scored: bool = True,
        aligned: bool = False,
    ) -> Iterator[WindowEvent]:
        """Translate all lines of a reader, in windows of lines that are ready.

        Args:
            reader: at the next line to translate.
            n_lines: lines before it.
            counts: as ``n_best``'s.
            scored: as ``n_best``'s.
            aligned: whether the best translation of each line needs its alignment.

        Yields:
            The progress within a window, now and then; then the window and its translations.
        """
        counts = counts or SegmentCounts()
        size = WindowSize(self.expected_speed(), on_gpu=self.device.type != "cpu")
        n_bytes = reader.n_bytes_taken
        while window := reader.read_window(size.lines, MAX_BYTES):
            began, was_divided = time.monotonic(), bool(counts.first)
            n_new_bytes = reader.n_bytes_taken - n_bytes
            with rare_collections():
                segments = self._segments(window, n_lines + 1, counts)
                if counts.first and not was_divided:
                    yield LineDivided(counts.first)
                found: dict[int, list[Hypothesis]] = {}
                sources = ids_of(segments)
                for i, hypotheses in self._search(sources, scored):
                    found[i] = hypotheses
                    share = len(found) / len(sources)
                    yield WindowProgress(n_lines + round(share * len(window)), n_bytes + round(share * n_new_bytes))
                n_lines, n_bytes = n_lines + len(window), n_bytes + n_new_bytes
                searched = searched_lines(segments, found)
                translations = self._n_best(searched)
                if aligned:
                    best = self._aligner.align(window, segments, searched, [of_line[0] for of_line in translations])
                    translations = [[first, *others] for first, (_, *others) in zip(best, translations, strict=True)]
                del segments, found, sources, searched  # not while the caller uses the translations
            size.update(len(window), time.monotonic() - began)
            yield WindowTranslated(window, translations, n_lines, n_bytes)

    @rare_collections()
    def hypotheses(
        self,
        lines: Iterable[str],
        *,
        first_line: int = 1,
        counts: SegmentCounts | None = None,
        scored: bool = True,
        limits: Sequence[int] | None = None,
    ) -> list[list[Searched]]:
        """The hypotheses of the segments of each line; a blank line has no segments. Arguments as ``n_best``'s, and:

        Args:
            limits: for each line, max tokens of the translation of a segment, EOS included.
        """
        segments = self._segments(checked_lines(lines), first_line, counts or SegmentCounts())  # of each line
        of_segments = None
        if limits is not None:
            of_segments = [limit for line, limit in zip(segments, limits, strict=True) for _ in line]
        return searched_lines(segments, dict(self._search(ids_of(segments), scored, of_segments)))

    def expected_speed(self) -> float:
        """A guess at the speed before any line is translated, in lines of 15 tokens a second."""
        if self.device.type != "cpu":
            return math.inf
        return CORE_SPEED / n_parameters(self.model) * self._n_workers / (1 + self.config.beam_size)

    def attention(self, line: str, translation: str) -> Attention | None:
        """The cross-attention of ``translation``, as a translation of ``line``.

        None if a side is blank, if the line was translated in several segments, or if the translation has more tokens
        than the model can read.
        """
        return self._attention.mean_cross_attention(self._segments([line], 1, SegmentCounts())[0], translation)

    def attention_maps(
        self, line: str, translation: str | None = None, *, place: Place | None = None
    ) -> list[AttentionMaps]:
        """Where the model looks, in all layers and heads.

        Args:
            line: of the source.
            translation: of the line; None: the model's own.
            place: a head whose queries, keys and values are read, too.

        Returns:
            One for each segment of the line: none if it is blank.

        Raises:
            UserError: a translation is given, but it is blank, or has more tokens than the model can read, or the line
                is translated in segments (65).
        """
        segments = self._segments(checked_lines([line]), 1, SegmentCounts())[0]
        if translation is None:
            found = dict(self._search(ids_of([segments]), scored=False))
            best = [found[i][0].tokens if found[i] else [] for i in range(len(segments))]
        else:
            best = self._attention.check_given(segments, translation)
        return self._attention.maps(segments, best, place)

    def _segments(self, lines: Sequence[str], first_line: int, counts: SegmentCounts) -> list[list[Segment]]:
        encoded = self.tokenizer.encode(["" if is_blank(line) else line for line in lines], threads=self._text_threads)
        divider = Divider(self.tokenizer, self.max_src_length - 1, self.max_src_sentences)
        numbered = enumerate(zip(lines, encoded, strict=True), start=first_line)
        return [divider.divide(line, ids, number, counts) for number, (line, ids) in numbered]

    def _n_best(self, searched: list[list[Searched]]) -> list[list[Translation]]:
        """The n best translations of each line, from the hypotheses of its segments."""
        ranked = [self._translations(searched, rank) for rank in range(self.config.n_best)]
        return [list(of_line) for of_line in zip(*ranked, strict=True)]

    def _translations(self, searched: list[list[Searched]], rank: int) -> list[Translation]:
        """The translation of each line from the rank-th best hypotheses of its segments; blank if it has none."""
        language, threads = self.langs[1], self._text_threads
        return ranked_translations(searched, rank, self.tokenizer, language, threads, self.confidence)

    def _search(
        self, sources: Sequence[Ids], scored: bool, limits: Sequence[int] | None = None
    ) -> Iterator[SearchResult]:
        """Search every source, for hypotheses within the limits given and those of the configuration and the model."""
        own = [max_output(self.config, len(ids), self._max_tgt_length) for ids in sources]
        within = own if limits is None else [min(pair) for pair in zip(own, limits, strict=True)]
        return self.engine.search(sources, within, scored=scored)


def count_workers(requested: int | None, device: torch.device) -> int:
    """The number of parallel searches on a device; None: one for each core of a CPU."""
    return (requested or cores()) if device.type == "cpu" else 1
