"""Sentence pairs, and the counts of a reader."""

from dataclasses import dataclass, field
from typing import NamedTuple

from seq2seq.text import TextCounts


class Pair(NamedTuple):
    """A sentence and its translation: one line each, without newlines."""

    src: str
    tgt: str


@dataclass
class CorpusCounts(TextCounts):
    """Counts of a corpus; one object may count several corpora."""

    pairs: int = 0
    """Pairs read, blank ones too."""
    blank: int = 0
    """Pairs with a blank side: yielded, for the caller to drop."""
    notes: list[str] = field(default_factory=list)
    """Decisions about the form, for the user: a header left out, columns found by name, quotes removed."""
