"""What depends on a language or its script: one table, reached from every spelling of a code.

``zh``, ``zho``, ``chi``, ``cmn_Hans``, ``zh-TW`` and ``ZH`` name one row. A code that names its script is read by the
script: ``zh-Latn`` is pinyin, which is written with spaces.

Sources: ISO 639-1 and -3, ISO 15924, BCP 47; Unicode 16, Line_Break=SA (scripts without spaces between words).
"""

import re

# Codes of one language: its ISO 639-1 code, then the others that people write for it (cn and jp are countries).
_SPELLINGS = {
    "zh": "zho chi cmn yue wuu lzh gan hsn cjy cn",
    "ja": "jpn jp",
    "ko": "kor",
    "th": "tha",
    "lo": "lao",
    "km": "khm",
    "my": "mya bur",
    "bo": "bod tib dz dzo",
}
_PRIMARY = {spelling: code for code, others in _SPELLINGS.items() for spelling in (code, *others.split())}

# The row that a script names, whatever the language. Those that are not here are written with spaces.
_BY_SCRIPT = {
    "hans": "zh", "hant": "zh", "hani": "zh", "jpan": "ja", "hira": "ja", "kana": "ja", "kore": "ko", "hang": "ko",
    "thai": "th", "laoo": "lo", "khmr": "km", "mymr": "my", "tibt": "bo",
}  # fmt: skip

_UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my", "bo"})
"""Rows of languages written without spaces between words. Korean has spaces."""

_NO_SPACE_AFTER_A_SENTENCE = frozenset({"zh", "ja"})
"""The other rows set a space between two sentences: they have little punctuation or none."""

_KANA = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTERS = {
    "ja": re.compile(f"[{_KANA}]"),
    "zh": re.compile(f"[{_HAN}]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "lo": re.compile("[\u0e80-\u0eff]"),
    "bo": re.compile("[\u0f00-\u0fff]"),
    "my": re.compile("[\u1000-\u109f\ua9e0-\ua9fe\uaa60-\uaa7f]"),
    "km": re.compile("[\u1780-\u17ff\u19e0-\u19ff]"),
    "ko": re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"),
}
_LETTER = re.compile(r"[^\W\d_]")
# A code with a script, a region or both; zh-en is two languages.
_CODE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{4})?([-_]([A-Z]{2}|\d{3}))?")


def primary(code: str) -> str:
    """The row of a language: its ISO 639-1 code if the table has one, else the code's language in small letters.

    Args:
        code: any spelling, as people name files with: ``zho_Hans``, ``zh-TW``, ``JPN``, ``th``.
    """
    language, *others = code.replace("_", "-").lower().split("-")
    for subtag in others:
        if len(subtag) == 4 and subtag.isalpha():
            # A script that has no row is written with spaces: pinyin is zh-latn, and no row.
            return _BY_SCRIPT.get(subtag, f"{language}-{subtag}" if language in _PRIMARY else language)
    return _PRIMARY.get(language, language)


def _is_known(row: str) -> bool:
    return row in _SPELLINGS or "-" in row


def code_in_name(name: str) -> str:
    """The language that a file is named after, as ``zho_Hans`` in ``ref.zho_Hans`` and ``th`` in ``test.th.txt``.

    Args:
        name: of a file, without what names its compression.

    Returns:
        The code; empty if the name ends in none that the table knows.
    """
    code = name.removesuffix(".txt").rpartition(".")[2]
    return code if code != name and _CODE.fullmatch(code) and _is_known(primary(code)) else ""


def row_of(code: str, text: str) -> str:
    """The row of a language, read from the text if the table does not know its code.

    Args:
        code: as ``primary``'s.
        text: in that language.

    Returns:
        What ``primary`` gives, or the row of the script in which most of the text's letters are.
    """
    row = primary(code)
    if _is_known(row):
        return row
    n_letters = len(_LETTER.findall(text))
    found = {script: len(letters.findall(text)) for script, letters in _LETTERS.items()}
    if not n_letters or 2 * sum(found.values()) <= n_letters:
        return row
    row = max(found, key=lambda script: found[script])
    if row in ("zh", "ja"):  # Chinese has no kana, Japanese has both
        return "ja" if 10 * found["ja"] > found["zh"] else "zh"
    return row


def is_unspaced(row: str) -> bool:
    """Whether a row's language is written without spaces between words."""
    return row in _UNSPACED


def separator(row: str, *, after_sentence: bool) -> str:
    """What stands between two neighbouring pieces of text.

    Args:
        row: of the language, from ``primary`` or ``row_of``.
        after_sentence: whether the first one ends a sentence; otherwise a sentence was cut in two.
    """
    if row in _UNSPACED and (row in _NO_SPACE_AFTER_A_SENTENCE or not after_sentence):
        return ""
    return " "
