"""What every reader yields, and what it counts."""

from dataclasses import dataclass, field
from typing import NamedTuple

from seq2seq.text import TextCounts


class Pair(NamedTuple):
    """A sentence and its translation: one line each, without its end."""

    src: str
    tgt: str


@dataclass
class CorpusCounts(TextCounts):
    """What was found while reading a corpus; one object may count several corpora."""

    pairs: int = 0
    """Pairs read, blank ones too."""
    blank: int = 0
    """Pairs with a blank side: yielded, for the caller to drop."""
    notes: list[str] = field(default_factory=list)
    """What was decided about the form, for a person: a header left out, columns found by name, quotes removed."""
