"""Faults of single translations that can be seen without knowing the language.

Each claims only what is certain: what the reference (or the source) does as well is no fault.
"""

import re
import unicodedata
from collections.abc import Sequence

from seq2seq.text import is_blank

FAULTS = {
    "empty": "empty",
    "looping": "repeats a phrase three times in a row",
    "copied": "a copy of the source",
    "lost_numbers": "a number of the source is missing",
}
"""Faults, and what they mean."""

_MAX_PERIOD = 50
"""Max words of a phrase that is repeated."""
_MIN_DIGITS = 3
"""A shorter number, or a round one such as 1,000, may be written in words."""
_NUMBER = re.compile(r"\d(?:[\d.,'’٫٬\u00a0\u2009\u202f]*\d)?")
"""Digits of any script, with what may separate thousands and decimals."""


def faults(hypothesis: str, reference: str, source: str | None, *, unspaced: bool = False) -> list[str]:
    """Faults of a translation, rows of ``FAULTS``.

    Args:
        hypothesis: the translation.
        reference: of it.
        source: None if it is not known; then copies and lost numbers are not seen.
        unspaced: whether the language is written without spaces between words.
    """
    if is_blank(hypothesis):
        return ["empty"]
    found = []
    if is_looping(hypothesis, unspaced=unspaced) and not is_looping(reference, unspaced=unspaced):
        found.append("looping")
    if source is not None:
        if is_copy(hypothesis, reference, source):
            found.append("copied")
        if lost_numbers(hypothesis, reference, source):
            found.append("lost_numbers")
    return found


def is_copy(hypothesis: str, reference: str, source: str) -> bool:
    """Whether a translation is its source, and its reference is not."""
    return hypothesis == source != reference


def is_looping(text: str, *, unspaced: bool = False) -> bool:
    """Whether a phrase is repeated three times in a row, as in ``the man and the man and the man and``.

    Args:
        text: a line.
        unspaced: whether it is written without spaces: then a phrase is two characters or more.
    """
    tokens = list(text) if unspaced else text.split()
    for period in range(2 if unspaced else 1, min(_MAX_PERIOD, len(tokens) // 3) + 1):
        equal = 0  # tokens in a row that are the same as those one period before
        for i in range(period, len(tokens)):
            equal = equal + 1 if tokens[i] == tokens[i - period] else 0
            # Dashes, dots and digits in a row are no loop.
            if equal >= 2 * period and any(map(str.isalpha, "".join(tokens[i - period + 1 : i + 1]))):
                return True
    return False


def lost_numbers(hypothesis: str, reference: str, source: str) -> list[str]:
    """Numbers that the source and the reference hold, and the translation does not, as their digits.

    Separators are ignored (1,984 is 1.984 and १९८४), and so are zeros at either end (2.50 is 2.5). A number with fewer
    than three other digits may be written in words, and is not claimed.
    """
    kept = "".join(_digits(hypothesis))
    candidates = dict.fromkeys(number.strip("0") for number in _numbers(source))
    in_reference = {number.strip("0") for number in _numbers(reference)}
    return [
        number for number in candidates if len(number) >= _MIN_DIGITS and number in in_reference and number not in kept
    ]


def _numbers(text: str) -> Sequence[str]:
    """Each number's digits, in ASCII."""
    return ["".join(_digits(found)) for found in _NUMBER.findall(text)]


def _digits(text: str) -> Sequence[str]:
    return [str(unicodedata.decimal(character)) for character in text if character.isdecimal()]
