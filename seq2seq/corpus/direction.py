"""Whether the sides of a corpus look swapped, as in `cut -f1,2` of a file that begins with English."""

import re
from collections.abc import Iterable

from seq2seq.corpus.pairs import Pair
from seq2seq.text.languages import code_of

SAMPLE = 1000
"""Pairs that are looked at."""

_ENGLISH = re.compile(r"\b(the|and|you|that|with|this|have|they|your|from|would|which|i'm|don't|it's)\b", re.IGNORECASE)
"""Words that are frequent in English and are hardly ever found in a text of another language."""


def english_side(pairs: Iterable[Pair], langs: tuple[str, str]) -> str | None:
    """The language whose side holds English text, if the other language is English; None if the sides are in order."""
    is_english = [code_of(lang) == "en" for lang in langs]
    if sum(is_english) != 1:
        return None
    found = [0, 0]
    for pair in pairs:
        for side, text in enumerate(pair):
            found[side] += len(_ENGLISH.findall(text))
    other = is_english.index(False)
    return langs[other] if found[other] >= 20 and found[other] > 5 * found[1 - other] else None
