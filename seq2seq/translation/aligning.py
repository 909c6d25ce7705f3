"""Word alignments of lines and their translations, from those of their segments."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from seq2seq.attention import AlignmentUnit, Link, align_batches, piece_words, words
from seq2seq.model import Seq2SeqModel
from seq2seq.text import one_line
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.batches import fitting_batch_tokens, length_batches
from seq2seq.translation.events import Translation
from seq2seq.translation.segments import Searched, Segment
from seq2seq.translation.tuning import BATCHES_AT_ONCE
from seq2seq.translation.workers import map_parallel


class Aligner:
    """Aligns lines with their translations, many at once.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        langs: source and target language, which say what a word is.
        workers: that align side by side.
        threads: that the tokenizer may use.
    """

    def __init__(
        self,
        model: Seq2SeqModel,
        tokenizer: Tokenizer,
        langs: tuple[str, str],
        *,
        workers: int,
        threads: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._langs = langs
        self._n_workers = workers
        self._threads = threads

    def align(
        self,
        lines: Sequence[str],
        segments: Sequence[Sequence[Segment]],
        searched: Sequence[Sequence[Searched]],
        translations: Sequence[Translation],
    ) -> list[Translation]:
        """The best translation of each line, with its alignment.

        Words are those of the whole line and of its whole translation, also if it was translated in segments.

        Args:
            lines: of the source.
            segments: of each line.
            searched: what was found for each segment of each line.
            translations: of each line, made of the best of its segments.
        """
        units: list[AlignmentUnit] = []
        places: list[range] = []  # of each line's segments in `units`
        in_pieces = self._in_pieces(segments, searched)
        for line, of_line, translation in zip(lines, segments, translations, strict=True):
            src_words, tgt_words = words(line, self._langs[0]), words(translation.text, self._langs[1])
            first, at = len(units), 0
            for segment in of_line:
                src_starts, tokens, text, tgt_starts = next(in_pieces)
                if src_words and text.strip():  # blank ones were left out of the line
                    at = translation.text.find(text, at)
                    of_src = piece_words(line, [segment.start + start for start in src_starts], src_words)
                    of_tgt = piece_words(translation.text, [at + start for start in tgt_starts], tgt_words)
                    units.append(AlignmentUnit(segment.ids, of_src, tokens, of_tgt))
                    at += len(text)
            places.append(range(first, len(units)))
        found = dict(self._links(units))
        return [
            replace(translation, alignment=tuple(sorted({link for i in place for link in found[i]})))
            for translation, place in zip(translations, places, strict=True)
        ]

    def _in_pieces(
        self, segments: Sequence[Sequence[Segment]], searched: Sequence[Sequence[Searched]]
    ) -> Iterator[tuple[list[int], list[int], str, list[int]]]:
        """For each segment: where its pieces start; the pieces and text of its translation; where these start."""
        sources = [segment.text for line in segments for segment in line]
        best = [of_each[0].tokens if of_each else [] for line in searched for of_each, *_ in line]
        src_starts = self._tokenizer.starts(sources, threads=self._threads)
        texts = map(one_line, self._tokenizer.decode(best, threads=self._threads))
        return zip(src_starts, best, texts, self._tokenizer.decoded_starts(best, threads=self._threads), strict=True)

    def _links(self, units: Sequence[AlignmentUnit]) -> Iterator[tuple[int, list[Link]]]:
        """The links of every unit, those of similar length together; in the order in which they are found."""
        longer = [max(unit.src_ids, unit.tgt_ids, key=len) for unit in units]
        # As small as those of a search: on a CPU their activations stay in its cache, which makes a quarter.
        kind = self._model.output.weight.device.type
        tokens = fitting_batch_tokens(self._model, 1) // BATCHES_AT_ONCE[kind == "cpu"]
        batches = list(length_batches(longer, tokens, min_batches=self._n_workers))
        align = partial(align_batches, self._model, units)
        if self._n_workers == 1 or len(batches) < 2:
            return align(None, iter(batches))
        return map_parallel(self._n_workers, align, None, batches)
