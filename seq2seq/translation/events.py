"""Events of translating: records that the command line draws and that tests read.

``n_lines`` counts lines from the first line of the input, including those of an interrupted translation. ``n_bytes`` is
about the number of bytes that they take up in the input; in a compressed file these are compressed bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from seq2seq.attention import Link
from seq2seq.errors import counted
from seq2seq.translation.confidence import Features
from seq2seq.translation.segments import SegmentCounts


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    score: float
    """log-probability / length^α in nats; the mean over the segments of a line."""
    n_segments: int = 1
    """Parts of the line that were translated one by one; 0 if it is blank."""
    alignment: tuple[Link, ...] = ()
    """Source words and target words that belong together, if they were requested."""
    features: Features | None = None
    """What confidence is computed from; None: the line or its translation is blank."""
    confidence: float | None = None
    """Expected chrF, 0 to 100; None: the run has no fit for it, or no score was requested."""
    avoided_loop: bool = False
    """Whether a better one gave way to it, because it repeats itself (``decoding.repetition_guard``)."""


def loops_avoided(n_lines: int) -> str:
    """A message about translations that gave way."""
    return f"{counted(n_lines, 'line')}: a translation that repeated itself gave way to the next best one"


@dataclass(frozen=True)
class OutputOpened:
    """The output is open. Nothing is written yet."""

    partial: Path | None
    """Its temporary name; None if it cannot be resumed."""
    has_leftover: bool
    """Whether an interrupted translation left something under that name, usable or not."""
    n_lines: int
    """Lines that are already translated: more than 0 if an interrupted translation is resumed."""


@dataclass(frozen=True)
class InputReady:
    """Lines that are already translated have been skipped; the first window is next."""

    n_lines: int
    n_bytes: int
    size: int | None
    """Bytes of the input; None if it is not an ordinary file."""


@dataclass(frozen=True)
class WindowProgress:
    """A part of a window is translated. The numbers are estimates from the share of its segments."""

    n_lines: int
    n_bytes: int


@dataclass(frozen=True)
class LineDivided:
    """The first line that is translated in several segments."""

    message: str


@dataclass(frozen=True)
class WindowTranslated:
    """A window is translated. If there is an output, the translations have been written."""

    lines: list[str]
    """Of the window."""
    translations: list[list[Translation]]
    """The n best of each line, best first."""
    n_lines: int
    """Up to the end of the window."""
    n_bytes: int


@dataclass(frozen=True)
class Suspended:
    """Translating ends early, and its output can be resumed. The exception that ended it follows."""

    n_lines: int
    """Lines whose translations are kept."""
    partial: Path
    """Where they are."""


@dataclass(frozen=True)
class Completed:
    """All lines are translated, and the output is complete."""

    n_lines: int
    segments: SegmentCounts
    """Lines that were translated in several segments by this process."""
    n_invalid_utf8: int
    """Lines in which bytes that are not UTF-8 were replaced."""
    n_avoided_loops: int = 0
    """Lines whose best translation gave way to the next one, because it repeats itself; by this process."""


TranslationEvent = OutputOpened | InputReady | WindowProgress | LineDivided | WindowTranslated | Suspended | Completed
WindowEvent = WindowProgress | LineDivided | WindowTranslated
"""Events of windows."""
