"""Detection of swapped sides, for example after `cut -f1,2` of a file whose first column is English."""

import re
from collections.abc import Iterable

from seq2seq.corpus.pairs import Pair
from seq2seq.corpus.tuning import MIN_ENGLISH_RATIO, MIN_ENGLISH_WORDS
from seq2seq.text.languages import code_of

_ENGLISH = re.compile(r"\b(the|and|you|that|with|this|have|they|your|from|would|which|i'm|don't|it's)\b", re.IGNORECASE)
"""Words that are frequent in English and very rare in text of other languages."""


def english_side(pairs: Iterable[Pair], langs: tuple[str, str]) -> str | None:
    """The language whose side holds English text although the other language is English; None if no side does."""
    is_english = [code_of(lang) == "en" for lang in langs]
    if sum(is_english) != 1:
        return None
    found = [0, 0]
    for pair in pairs:
        for side, text in enumerate(pair):
            found[side] += len(_ENGLISH.findall(text))
    other = is_english.index(False)
    is_english_text = found[other] >= MIN_ENGLISH_WORDS and found[other] > MIN_ENGLISH_RATIO * found[1 - other]
    return langs[other] if is_english_text else None
