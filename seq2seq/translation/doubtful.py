"""The doubtful lines of an input: those whose translations are expected to have a low chrF, for somebody to read."""

from typing import BinaryIO, NamedTuple

from seq2seq.text import is_blank, one_line
from seq2seq.translation.events import WindowTranslated


class Doubtful(NamedTuple):
    """Which lines are doubtful, and where they are written."""

    path: str
    """A file of tab-separated values: line number (from 1), confidence, source, translation."""
    min_confidence: float
    """Expected chrF, 0 to 100: lines below it are doubtful. Blank lines never are."""


def write_doubtful(out: BinaryIO, event: WindowTranslated, min_confidence: float) -> None:
    """Write the doubtful lines of a window."""
    first = event.n_lines - len(event.lines) + 1
    for number, (line, best) in enumerate(zip(event.lines, event.translations, strict=True), start=first):
        confidence = best[0].confidence
        if not is_blank(line) and confidence is not None and confidence < min_confidence:
            row = (str(number), f"{confidence:.1f}", _field(line), _field(best[0].text))
            out.write(("\t".join(row) + "\n").encode("utf-8"))


def _field(text: str) -> str:
    """A text without tabs and line separators."""
    return one_line(text).replace("\t", " ")
