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
    """Counts of a corpus. One object may count several corpora."""

    pairs: int = 0
    """Pairs read, blank ones included."""
    blank: int = 0
    """Pairs with a blank side. They are yielded, and the caller drops them."""
    notes: list[str] = field(default_factory=list)
    """Notices to the user about the form of the corpus: a header left out, columns found by name, quotes removed."""
