"""What is known about the translations of one corpus."""

from dataclasses import dataclass

from seq2seq.evaluation.details import Details
from seq2seq.evaluation.metrics import Score
from seq2seq.runs import RecipeRecord
from seq2seq.translation import SegmentCounts


@dataclass(frozen=True)
class CorpusResult:
    """The scores of one corpus."""

    corpus: str
    sentences: int
    """Scored pairs: those with text on both sides."""
    dropped_empty: int
    """Pairs with a blank side: they are not scored. A blank hypothesis is scored."""
    seconds: float | None
    """Time of translation; None if hypotheses were given."""
    scores: dict[str, Score]
    """By row of ``METRICS``."""
    invalid_utf8: int
    """Lines in which bytes were replaced."""
    warnings: list[str]
    """Problems of the corpus, and scores that say little about it."""
    notes: list[str]
    """Decisions about the form of the corpus, such as a header that was left out."""
    verdict: str = ""
    """The scores in plain words; empty if no score says enough."""
    segments: SegmentCounts | None = None
    """Lines that were translated in segments; None if hypotheses were given."""
    recipe: RecipeRecord | None = None
    """The recipe of the run; None if hypotheses were given, or if the run does not record it."""
    details: Details | None = None
    """Tests of differences, and what differs where; None unless ``against`` or ``report`` is given."""
