"""Lines that are not UTF-8: how many a file may contain, and a guess of their encoding.

In the right encoding, nearly all characters beyond ASCII are small letters of one alphabet, or common characters of
Chinese, Japanese or Korean. The guess is only a hint for the user who converts the file. Encodings that differ in a few
letters (Windows-1252 and -1254) cannot be distinguished if the text has none of these letters.
"""

import unicodedata
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from seq2seq.errors import UserError, counted
from seq2seq.text.first_bytes import iconv, shell_word
from seq2seq.text.tuning import FIRST_CHECK, GUESS_BYTES, MAX_INVALID, MIN_SCORE

EncodingErrors = Literal["refuse", "replace", "strict"]
"""What to do with lines that are not UTF-8. refuse: refuse a file with more than 1 in 100 of them, else replace bytes;
replace: always replace bytes; strict: refuse any such line."""


# Names of encodings (for iconv and for Python), each with the letters beyond ASCII of a language.
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўјљњћђџқғңһүұөә"
_POLISH, _CZECH = "ąćęłńóśźż", "áčďéěíňóřšťúůýžäľĺŕô"
_HUNGARIAN, _CROATIAN, _ROMANIAN = "áéíóöőúüű", "čćđšž", "ăâîşţ"
_ALPHABETS = (
    ("WINDOWS-1252", "äöüß"),
    ("WINDOWS-1252", "éèêëàâçîïôùûœ"),
    ("WINDOWS-1252", "áéíóúñü¿¡àèìòùçãõâêô"),
    ("WINDOWS-1252", "åäöæøé"),
    ("WINDOWS-1252", "áðéíóúýþæö"),
    ("WINDOWS-1250", _POLISH),
    ("WINDOWS-1250", _CZECH),
    ("WINDOWS-1250", _HUNGARIAN),
    ("WINDOWS-1250", _CROATIAN),
    ("WINDOWS-1250", _ROMANIAN),
    ("ISO-8859-2", _POLISH),
    ("ISO-8859-2", _CZECH),
    ("WINDOWS-1254", "çğıöşüâîû"),
    ("WINDOWS-1257", "ąčęėįšųūž"),
    ("WINDOWS-1257", "āčēģīķļņšūž"),
    ("WINDOWS-1255", "אבגדהוזחטיךכלםמןנסעףפץצקרשת"),
    ("WINDOWS-1253", "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώ"),
    ("WINDOWS-1251", _CYRILLIC),
    ("KOI8-R", _CYRILLIC),
    ("CP866", _CYRILLIC),
    ("WINDOWS-1256", "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيپچژگکیً"),
    ("TIS-620", "".join(map(chr, range(0x0E01, 0x0E4F)))),
)
_PUNCTUATION = "‘’“”„‚«»–—…·°§©®€£\xa0"


class InvalidLines:
    """The lines of one file that are not UTF-8."""

    def __init__(self) -> None:
        self.n = 0
        self._n_until_check = 0
        self._first = 0
        self._sample: list[bytes] = []
        self._n_sampled = 0
        self._n_other = 0

    def add(self, number: int, raw: bytes) -> None:
        """Count a line that is not UTF-8. ``number`` is its number in the file, from 1."""
        self.n += 1
        self._n_until_check += number <= FIRST_CHECK
        self._first = self._first or number
        if self._n_sampled < GUESS_BYTES:
            self._sample.append(raw)
            self._n_sampled += len(raw) + 1

    def add_valid(self, raw: bytes) -> None:
        """Count a neighbouring line that is UTF-8."""
        self._n_other += not raw.isascii()

    def refusal(self, name: str, n_lines: int, *, at_end: bool) -> UserError | None:
        """The error (65) if more than 1 line in 100 is not UTF-8: among the first 10,000 lines, or all at the end."""
        is_first_check = n_lines >= FIRST_CHECK and self._n_until_check > MAX_INVALID * FIRST_CHECK
        if not is_first_check and not (at_end and self.n > MAX_INVALID * n_lines):
            return None
        n_all = f"the first {FIRST_CHECK:,} lines" if is_first_check else counted(n_lines, "line")
        share = f"{self._n_until_check if is_first_check else self.n:,} of {n_all}"
        verb = "is" if self.n == 1 else "are"
        what = f"{name}: {share} {verb} not UTF-8, the first is line {self._first:,}"
        encoding = guess_encoding(b"\n".join(self._sample))
        if self._n_other > self.n // 10:
            found, mend = (
                f"mixed with UTF-8{f', looks like {encoding}' if encoding else ''}",
                "convert only those lines",
            )
        elif encoding == "UTF-8":
            found, mend = "damaged UTF-8", "correct those lines"
        elif encoding:
            found, mend = f"looks like {encoding}", iconv(encoding).format(file=shell_word(name))
        else:
            found, mend = "in an encoding that was not recognized", "convert the file to UTF-8"
        return UserError(
            f"{what} ({found})",
            mend=f"{mend}, or give `data.encoding_errors=replace`",
        )


def guess_encoding(sample: bytes) -> str:
    """The likeliest encoding of text that is not UTF-8, as iconv names it; empty if none is likely."""
    if b"\0" in sample:  # text in the older encodings has no NUL
        return "UTF-16"
    # The first is damaged UTF-8: text in other encodings hardly ever contains valid UTF-8 characters by chance.
    scores = [("UTF-8", _mean(sample, "utf-8", lambda before, c: 2.0))]
    scores += [(name, _mean(sample, python, common)) for name, python, common in _EAST_ASIAN]
    scores += [(name, _mean(sample, name, _in_alphabet(letters))) for name, letters in _ALPHABETS]
    best, score = max(scores, key=lambda row: row[1])  # on a tie, the first
    return best if score >= MIN_SCORE else ""


def _mean(sample: bytes, encoding: str, value: Callable[[str, str], float]) -> float:
    """The mean ``value`` of the characters beyond ASCII, each with the one before it; invalid bytes count as -1."""
    text = " " + sample.decode(encoding, "replace")
    found = [(before, c) for before, c in pairwise(text) if not c.isascii()]
    return sum(-1.0 if c == "\ufffd" else value(before, c) for before, c in found) / max(1, len(found))


def _in_alphabet(letters: str) -> Callable[[str, str], float]:
    is_latin = letters[0] < "\u0250"

    def value(before: str, c: str) -> float:
        if c in _PUNCTUATION:
            return 0.5
        if unicodedata.category(c) == "Mn" and before not in letters:  # a Thai vowel or tone follows a letter
            return -1.0
        found = 1.0 if c in letters else 0.3 if c.lower() in letters else 0.0
        # Latin words are mostly ASCII; words of other scripts contain no ASCII letters.
        return found if not before.isalpha() or before.isascii() == is_latin else found / 2

    return value


def _lead_byte_in(c: str, encoding: str, first: int, last: int) -> float:
    """1 if the first byte of a character is in a range, else 0. These encodings list common characters first."""
    if "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uff5e":  # punctuation
        return 0.5
    try:
        return float(first <= c.encode(encoding)[0] <= last)
    except UnicodeEncodeError:
        return 0.0


def _japanese(before: str, c: str) -> float:
    # Chinese has the same kanji, but no kana.
    return 1.5 if "\u3040" <= c <= "\u30ff" else 0.4 * _lead_byte_in(c, "shift_jis", 0x88, 0x97)


_EAST_ASIAN: tuple[tuple[str, str, Callable[[str, str], float]], ...] = (
    ("EUC-KR", "euc_kr", lambda before, c: float("\uac00" <= c <= "\ud7a3")),
    ("SHIFT_JIS", "cp932", _japanese),
    ("EUC-JP", "euc_jp", _japanese),
    ("GB18030", "gb18030", lambda before, c: _lead_byte_in(c, "gb2312", 0xB0, 0xD7)),
    ("BIG5", "big5", lambda before, c: _lead_byte_in(c, "big5", 0xA4, 0xC6)),
)
"""For each encoding its name in iconv, its name in Python, and a function that says how common a character is."""
