"""Scores in plain words: a rough guide for people who do not know BLEU."""

from collections import Counter
from collections.abc import Mapping, Sequence

from seq2seq.errors import counted
from seq2seq.evaluation.metrics import has_bleu_tokenizer
from seq2seq.evaluation.outputs import is_copy
from seq2seq.text import is_blank

# The table for BLEU is Google's (Cloud Translation, "Evaluating models"), after Lavie 2010, "Evaluating
# the Output of Machine Translation Systems". None is published for chrF: these bounds follow from our own runs between
# German and English, in docs/lab-notes.md (BLEU and chrF: 31 and 53, 39 and 60, 43 and 62, 94 and 97).
VERDICTS: tuple[tuple[float, float, str], ...] = (
    (60, 80, "very close to the references"),
    (50, 70, "very good: fluent and adequate"),
    (40, 60, "good"),
    (30, 50, "understandable to good"),
    (20, 40, "the gist is clear, with many errors"),
    (10, 30, "hard to get the gist"),
    (0, 0, "not usable yet"),
)
"""Min BLEU, min chrF, and a description of such translations."""

ROUGH_GUIDE = (
    "This is a rough guide. Scores depend on the languages and on the text; short or repetitive text raises them. Each "
    "sentence has only one reference."
)

_MIN_SENTENCES = 200
"""With fewer sentences, a score varies by several points by chance."""
_MAX_SHOWN = 60
"""Max characters of a translation in a message."""


def verdict(scores: Mapping[str, float], row: str, *, n_sentences: int, poor_bleu: str) -> str:
    """The scores in plain words, as in ``BLEU 34.2: understandable to good``.

    Args:
        scores: by row of ``METRICS``.
        row: row of ``languages`` of the references.
        n_sentences: number of scored sentences.
        poor_bleu: why BLEU says little, from ``bleu_says_little``; then chrF is used.

    Returns:
        Empty if no score says enough: only TER, or chrF of Chinese, Japanese or Korean. There chrF is lower, because a
        character means as much as a word.
    """
    name = "" if poor_bleu or "bleu" not in scores else "bleu"
    if not name and "chrf" in scores and not has_bleu_tokenizer(row):
        name = "chrf"
    if not name:
        return ""
    value = round(scores[name], 1)  # as it is printed
    words = next(words for bleu, chrf, words in VERDICTS if value >= (bleu if name == "bleu" else chrf))
    caution = f" ({counted(n_sentences, 'sentence')}: too few to be sure)" if n_sentences < _MIN_SENTENCES else ""
    return f"{'BLEU' if name == 'bleu' else 'chrF'} {value:.1f}: {words}{caution}"


def failures(hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str] | None) -> list[str]:
    """Warnings if most translations are blank, all the same, or copies of their sources.

    Args:
        hypotheses: as many as references.
        references: if they are like that, too, it is not a fault.
        sources: None if they are not known.
    """
    found = []

    def check(n: int, what: str) -> None:
        if 2 * n > len(hypotheses):
            found.append(f"{n:,} of {counted(len(hypotheses), 'translation')} {'is' if n == 1 else 'are'} {what}")

    check(sum(map(is_blank, hypotheses)), "blank: has training failed?")
    (text, n), (_, n_in_references) = (Counter(lines).most_common(1)[0] for lines in (hypotheses, references))
    if not is_blank(text) and n > n_in_references:
        check(n, f"the same, {text[:_MAX_SHOWN]!r}: has training failed?")
    rows = zip(hypotheses, references, sources or [], strict=False)
    check(sum(is_copy(*row) for row in rows), "copies of the source: are both sides in one language?")
    return found
