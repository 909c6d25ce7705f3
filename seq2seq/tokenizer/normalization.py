"""Unicode normalization of text before it is divided into pieces. Its rules are part of the SentencePiece model.

SentencePiece reads a text from left to right and replaces the longest match in its table. So the table of ``nfc`` lists
canonical composition in full: every spelling of every composed character. Other programs that use the model, for
example with CTranslate2, get the same pieces.

With ``nfc``, text that is encoded and decoded is the same, byte for byte, with three exceptions:

- Text becomes NFC. Marks keep their order, unless composition needs another order. NFC decomposes a few letters, such
  as Bengali য়. Decoding composes them again if the training text has the composed form more often.
- The Latin ligatures U+FB00 to U+FB06 and the Arabic presentation forms of letters become letters. Forms of whole words
  or phrases (U+FDF0 to U+FDFF, such as ﷲ and ﷺ) are kept. So are forms of marks without a letter, which
  Unicode decomposes to a space or a tatweel and the mark.
- Spaces (U+0020) at both ends are removed, and several in a row become one.

The table depends on Python's version of Unicode. Newer versions add rules for new characters and change no rule.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations

import sentencepiece as spm

_LATIN_LIGATURES = range(0xFB00, 0xFB07)
_ARABIC_FORMS = [*range(0xFB50, 0xFDF0), *range(0xFE70, 0xFEFF)]
_STOP = 0x30000
"""From this character on, none has a canonical decomposition."""
_LATIN_MARKS = (
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c"  # above
    "\u031b\u0323\u0324\u0325\u0327\u0328\u032d\u032e\u0330\u0331"  # below or attached
)
"""Marks that compose with Latin letters. People type them in any order."""

# SentencePiece writes spaces as U+2581, and would read a U+2581 in the text as a space. So U+2581 is escaped by
# noncharacters, which text should not have. If a text has them, the first one is escaped too.
_ESCAPES = {"\u2581": "\ufdd0\ufdd1", "\ufdd0": "\ufdd0\ufdd0"}
_DENORMALIZER_SPEC = b"\x2a"
"""Field 5 of SentencePiece's ModelProto: number and wire type."""


def normalizer(name: str) -> spm.SentencePieceNormalizer:
    """The rules for SentencePiece's trainer, by the value of ``data.normalization``."""
    # identity keeps all spaces.
    collapses = name != "identity"
    if name == "nfkc":
        return spm.SentencePieceNormalizer(rule_name="nmt_nfkc", remove_extra_whitespaces=collapses)
    rules = {**_ESCAPES, **(nfc_rules() if name == "nfc" else {})}
    return spm.SentencePieceNormalizer(norm_map=sorted(rules.items()), remove_extra_whitespaces=collapses)


def with_denormalizer(model: bytes, name: str, text: Sequence[str]) -> bytes:
    """Add rules for decoding to a model: they undo what its normalizer does to single characters.

    Args:
        model: trained with ``normalizer(name)``.
        name: ``nfc`` or ``identity``.
        text: training text of the model.
    """
    undone = {escaped: char for char, escaped in _ESCAPES.items()}
    if name == "nfc":
        decomposed = (char for char in set().union(*text) if len(_nfc(char)) > 1)
        undone |= {_nfc(char): char for char in decomposed if _count(text, char) > _count(text, _nfc(char))}
    spec = spm.SentencePieceNormalizer(
        norm_map=sorted(undone.items()),
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        escape_whitespaces=False,
    ).serialized_normalizer_spec()
    # Bytes appended to a message of Protocol Buffers become part of it.
    return model + _DENORMALIZER_SPEC + _varint(len(spec)) + spec


def _count(text: Sequence[str], part: str) -> int:
    return sum(line.count(part) for line in text)


def _varint(n: int) -> bytes:
    """A number in the encoding of Protocol Buffers: seven bits in each byte, the lowest first."""
    return bytes([n & 127 | 128]) + _varint(n >> 7) if n > 127 else bytes([n])


@cache
def nfc_rules() -> Mapping[str, str]:
    """The rules of ``nfc``: replacements by text.

    Sequences that NFC composes to several characters are left out, except Latin letters with two frequent marks.
    """
    spelt_by: dict[str, list[str]] = {}  # full decomposition -> characters that it can be written as
    for char in map(chr, [*range(0xD800), *range(0xE000, _STOP)]):
        if (decomposed := _nfd(char)) != char:
            spelt_by.setdefault(decomposed, []).append(char)
    spellings = (spelling for decomposed in spelt_by for spelling in _spellings(decomposed, spelt_by))
    rules = {spelling: _nfc(spelling) for spelling in spellings if _nfc(spelling) != spelling}
    composing = [(_nfc(d[:-1]), d[-1]) for d in spelt_by if len(_nfc(d)) == 1 < len(d) and unicodedata.combining(d[-1])]
    rules |= {text: _nfc(text) for text in _two_marks(composing) if sorted(_applied(rules, text)) != sorted(_nfc(text))}
    for char, letters in _letters_of_forms().items():
        rules[char] = letters
        rules |= {char + mark: _nfc(letters + mark) for letter, mark in composing if letter == letters[-1]}
    return rules


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _spellings(decomposed: str, spelt_by: Mapping[str, list[str]]) -> Iterator[str]:
    """Every sequence of characters that is canonically equivalent to a full decomposition."""
    n_marks = sum(map(bool, map(unicodedata.combining, decomposed)))
    for order in {"".join(chars) for chars in permutations(decomposed)} if n_marks > 1 else {decomposed}:
        if _nfd(order) == decomposed:
            yield from _partly_composed(order, spelt_by)


def _partly_composed(order: str, spelt_by: Mapping[str, list[str]]) -> Iterator[str]:
    """All ways to write characters in this order, with any neighbours composed."""
    if not order:
        yield ""
    for n in range(1, len(order) + 1):
        for first in (*spelt_by.get(order[:n], ()), *(order[:n] if n == 1 else ())):
            yield from (first + rest for rest in _partly_composed(order[n:], spelt_by))


def _two_marks(composing: list[tuple[str, str]]) -> Iterator[str]:
    """Latin letters with a mark that composes with them, and another mark before or after it."""
    for letter, mark in composing:
        if mark in _LATIN_MARKS and unicodedata.name(letter).startswith("LATIN"):
            for other in _LATIN_MARKS:
                yield from (letter + other + mark, letter + mark + other, _nfc(letter + mark) + other)


def _applied(rules: Mapping[str, str], text: str) -> str:
    """A short text after SentencePiece has applied these rules."""
    if not text:
        return ""
    n = next((n for n in range(len(text), 0, -1) if text[:n] in rules), 0)
    return rules[text[:n]] + _applied(rules, text[n:]) if n else text[0] + _applied(rules, text[1:])


def _letters_of_forms() -> dict[str, str]:
    """Latin ligatures and Arabic presentation forms, and the letters they stand for."""
    letters = {}
    for char in map(chr, [*_LATIN_LIGATURES, *_ARABIC_FORMS]):
        kind, *numbers = unicodedata.decomposition(char).split() or [""]
        text = "".join(chr(int(number, 16)) for number in numbers)
        if kind.startswith("<") and unicodedata.category(text[0]) in ("Ll", "Lo"):  # not a space or a tatweel
            letters[char] = text
    return letters
