"""Segments: the parts of a line that a model translates at once. Lines are divided, and translations are joined."""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import NamedTuple

from seq2seq.decoding import Hypothesis
from seq2seq.errors import counted
from seq2seq.text import is_blank
from seq2seq.text.languages import row_of, separator
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.sentences import clause_ends, n_sentences, sentence_ends

Ids = list[int]


class Segment(NamedTuple):
    """A part of a line that is translated at once."""

    ids: Ids
    ends_sentence: bool
    """Whether a sentence ends here; otherwise a sentence was cut in two."""
    text: str
    """The text of the ids."""
    start: int
    """Where the text starts in the line."""


class Searched(NamedTuple):
    """A segment after its search."""

    hypotheses: list[Hypothesis]
    """The best first."""
    ends_sentence: bool
    """As the segment's."""
    src_ids: Ids = []  # noqa: RUF012  # a named tuple copies nothing, and nobody changes it
    """As the segment's ``ids``."""


@dataclass
class SegmentCounts:
    """Lines that were translated in several segments, and why."""

    too_long: int = 0
    """Lines with more tokens than the model translates at once."""
    several_sentences: int = 0
    """Lines with more sentences than the model translates at once."""
    first: str = ""
    """A message about the first of them."""

    @property
    def n(self) -> int:
        """The number of lines."""
        return self.too_long + self.several_sentences

    def total(self) -> str:
        """A message about all of them; if there is only one, ``first``."""
        if self.n == 1:
            return self.first
        return (
            f"{counted(self.n, 'line')} translated in segments: {self.too_long:,} with too many tokens for this model, "
            f"{self.several_sentences:,} with too many sentences"
        )


@dataclass(frozen=True)
class Divider:
    """Divides lines into segments that a model can translate at once.

    Args:
        tokenizer: the model's.
        max_tokens: of a segment, EOS not counted.
        max_sentences: of a segment; None: no limit.
    """

    tokenizer: Tokenizer
    max_tokens: int
    max_sentences: int | None = None

    def divide(self, line: str, ids: Ids, number: int, counts: SegmentCounts) -> list[Segment]:
        """Divide a line into segments: none if it is blank. A line that holds newlines is divided at them.

        Args:
            line: raw text.
            ids: its pieces.
            number: its number, for ``counts``.
            counts: lines in several segments; this line may be added.
        """
        if not ids:
            return []
        found = 1 if self.max_sentences is None else n_sentences(line)
        too_many = self.max_sentences is not None and found > self.max_sentences
        if len(ids) <= self.max_tokens and not too_many and "\n" not in line:
            return [Segment(ids, True, line, 0)]
        segments = [
            segment
            for part in _PART.finditer(line)
            if not is_blank(part[0])
            for segment in self._cut(part[0], part.start(), 0, ends_sentence=True)
        ]
        if len(ids) > self.max_tokens:
            counts.too_long += 1
            what = f"{counted(len(ids), 'token')}, more than the {self.max_tokens:,}"
        elif too_many:
            counts.several_sentences += 1
            what = f"{counted(found, 'sentence')}, more than the {self.max_sentences:,}"
        else:
            return segments
        counts.first = counts.first or (
            f"line {number:,} has {what} this model translates at once: "
            f"translated in {counted(len(segments), 'segment')}"
        )
        return segments

    def _cut(self, text: str, start: int, level: int, *, ends_sentence: bool) -> Iterator[Segment]:
        """Cut a text at the places that a level of ``_LEVELS`` finds, and too long parts at those of the next level.

        Args:
            text: a part of a line.
            start: where it starts in the line.
            level: row of ``_LEVELS``.
            ends_sentence: as the last segment's.
        """
        n_tokens = len(self.tokenizer.encode([text])[0])
        cuts = [0, *_LEVELS[level](text, -(-n_tokens // self.max_tokens)), len(text)]
        sizes = [len(ids) for ids in self.tokenizer.encode([text[a:b].strip() for a, b in pairwise(cuts)])]
        max_count = self.max_sentences if level == 0 else 1 if level == _LAST else None
        starts = [0, *_group_starts(sizes, self.max_tokens, max_count), len(sizes)]
        raw = [text[cuts[a] : cuts[b]] for a, b in pairwise(starts)]
        pieces = [piece.strip() for piece in raw]
        for i, (piece, ids) in enumerate(zip(pieces, self.tokenizer.encode(pieces), strict=True)):
            ends = ends_sentence if i == len(pieces) - 1 else level < _FIRST_INSIDE_SENTENCES
            begin = start + cuts[starts[i]] + len(raw[i]) - len(raw[i].lstrip())
            if len(ids) <= self.max_tokens or len(piece) == 1:
                if ids:
                    yield Segment(ids, ends, piece, begin)
            else:
                yield from self._cut(piece, begin, min(level + 1, _LAST), ends_sentence=ends)


def ids_of(segments: list[list[Segment]]) -> list[Ids]:
    """The ids of all segments of all lines, in order."""
    return [segment.ids for line in segments for segment in line]


def searched_lines(segments: list[list[Segment]], found: Mapping[int, list[Hypothesis]]) -> list[list[Searched]]:
    """The segments of each line with their hypotheses.

    Args:
        segments: of each line.
        found: hypotheses of each segment, by its index in ``ids_of``.
    """
    indices = count()
    return [
        [Searched(found[next(indices)], segment.ends_sentence, segment.ids) for segment in line] for line in segments
    ]


def join_segments(texts: Sequence[str], searched: Sequence[Searched], language: str) -> str:
    """Join the translations of the segments of a line; blank ones are left out.

    Args:
        texts: of the segments.
        searched: the same segments.
        language: code of the language that the texts are in.
    """
    if len(texts) < 2:
        return "".join(texts)
    row = row_of(language, " ".join(texts))
    joined, after_sentence = "", False
    for text, segment in zip(texts, searched, strict=True):
        if text:
            joined += (separator(row, after_sentence=after_sentence) if joined else "") + text
        after_sentence = segment.ends_sentence
    return joined


def _group_starts(sizes: Sequence[int], max_size: int, max_count: int | None) -> list[int]:
    """Group neighbouring parts: as few groups as the limits allow, of similar size.

    Args:
        sizes: of the parts; a part over the limit is a group of its own.
        max_size: of a group.
        max_count: parts of a group; None: no limit.

    Returns:
        The index of the first part of each group, without the first group.
    """

    def starts(limit: int) -> list[int]:
        found, filled, count = [], 0, 0
        for i, size in enumerate(sizes):
            if count and (filled + size > limit or count == max_count):
                found.append(i)
                filled = count = 0
            filled, count = filled + size, count + 1
        return found

    n_cuts = len(starts(max_size))
    limits = range(min(max_size, sum(sizes) // (n_cuts + 1)), max_size + 1)
    return starts(limits[bisect_left(limits, -n_cuts, key=lambda limit: -len(starts(limit)))])


_PART = re.compile(r"[^\n]+")
_SPACE = re.compile(r"[\s\u200b]+")


def _sure_ends(text: str, _: int) -> list[int]:
    return [end.at for end in sentence_ends(text) if end.sure]


def _all_ends(text: str, _: int) -> list[int]:
    return [end.at for end in sentence_ends(text)]


def _clause_ends(text: str, _: int) -> list[int]:
    return list(clause_ends(text))


def _spaces(text: str, _: int) -> list[int]:
    return [match.end() for match in _SPACE.finditer(text)]


def _anywhere(text: str, n: int) -> list[int]:
    """Offsets that cut a text into n parts of equal length; if possible no letter is cut from its accents or vowels."""
    cuts = set()
    for i in range(1, n):
        cut = len(text) * i // n
        while cut > 0 and _is_inside_a_letter(text, cut):
            cut -= 1
        cuts.add(cut or len(text) * i // n)
    return sorted(cuts - {0})


def _is_inside_a_letter(text: str, at: int) -> bool:
    is_sign = unicodedata.category(text[at]).startswith("M") or text[at] in "ะาำๅະາຳ\u200d"
    # Vowels of Thai and Lao come before their consonant; some marks join two consonants.
    return is_sign or text[at - 1] in "เแโใไເແໂໃໄ\u0f84\u1039\u17d2\u094d\u200d"


_LEVELS: list[Callable[[str, int], list[int]]] = [_sure_ends, _all_ends, _clause_ends, _spaces, _anywhere]
"""Ways to cut a text, the best first. Each takes the text and the min number of parts, and returns the offset after
each cut."""
_FIRST_INSIDE_SENTENCES, _LAST = 2, len(_LEVELS) - 1
