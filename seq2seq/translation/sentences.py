"""Finds the ends of sentences and clauses, in any script.

Some ends are sure: a sentence ends there, in any line. They are used to count sentences and to divide lines.
The others are only a better place than a comma to cut a sentence that is too long. A full stop is sure if a space and
then a capital letter follow (or a letter of a script that has no capitals), and if it is not part of an abbreviation or
a number.

Sources: Unicode 17, PropList.txt, Sentence_Terminal; the rules follow the idea of UAX #29, SB6 to SB11.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from seq2seq.text.languages import is_unspaced, row_of

_STOPS = ".\u2024\u2026"
_NEED_SPACE = "!?;\u037e"
"""The semicolons are Greek question marks, after Greek letters."""
# The rest of Sentence_Terminal, which need no space after them; without three that are used as commas (Burmese U+104A,
# Balinese U+1B5E, Javanese U+A9C8). Tibetan's shads are added: they end clauses too, but training counts them the same
# way.
_ENDS = (
    "\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u0f0d-\u0f12\u104b\u1362\u1367"
    "\u1368\u166e\u1735\u1736\u17d4\u17d5\u1803\u1809\u1944\u1945\u1aa8-\u1aab\u1b4e\u1b4f\u1b5a\u1b5b\u1b5f\u1b7d-\u1b7f"
    "\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e\u2e3c\u2e53\u2e54\u2e60\u2e61\u3002\ua4ff"
    "\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c9\uaa5d-\uaa5f\uaaf0\uaaf1\uabeb\ufe12\ufe15\ufe16"
    "\ufe56\ufe57\uff01\uff1f\uff61"
)
_FAR_ENDS = re.compile(
    "[\U00010a56\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047\U00011048\U000110be-\U000110c1"
    "\U00011141-\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c"
    "\U000112a9\U000113d4\U000113d5\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9-\U000115d7\U00011641\U00011642"
    "\U0001173c-\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b\U00011a9c\U00011c41\U00011c42\U00011ef7"
    "\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37\U00016b38\U00016b44\U00016d6e\U00016d6f"
    "\U00016e98\U0001bc9f\U0001da88]"
)
_WIDE_STOPS = "\ufe52\uff0e"
"""Full stops, or decimal points."""
_ETHIOPIC_SPACE = "\u1361"
"""Two of them are a full stop."""
# The range holds all scripts above U+FFFF, letters too; what it finds is checked later. This is ten times as fast.
_MARKS = f"[{_STOPS}{_NEED_SPACE}{_ENDS}{_WIDE_STOPS}{_ETHIOPIC_SPACE}\U00010a56-\U0001da88]"

_QUOTES = "\"'‘’“”‟«»‹›」』＂＇｣"
"""Quotation marks that may close a quotation; marks that only open one are left out."""
_EMOJI = "\u2600-\u27bf\ufe0f\u200d\U0001f000-\U0001faff"
# They belong to the sentence before. A quote after a space opens a quotation, except in French; so do “ and ‘ after a
# Chinese stop or a closing quote.
_CLOSERS = (
    rf"(?:[)\]}}〉》】〕〗〙〛）］｝{_EMOJI}]|(?<!\s)(?![“‘](?<=[。！？｡”’].))[{_QUOTES}]"
    rf"|\s[»›](?![^\s,.;:])|\s[{_EMOJI}])*"
)
_OPENERS = f"([{{¡¿<*-‐‑‒–—― 〈《【〔（［｛„‚‛「『｢{_QUOTES}"

_SENTENCE_END = re.compile(rf"(?P<mark>{_MARKS}{_MARKS}*)(?P<closers>{_CLOSERS})(?P<space>\s*)")  # [x]+ is slower
_CLAUSE_END = re.compile(
    rf"(?:[,;:–—](?={_CLOSERS}\s)|[·\u0387\u055d،؛߸၊፣-፦\u1802\u1808\u1b5e、\ua9c8︐-︔﹐﹑﹔﹕，：；､]|——){_CLOSERS}\s*"
)

# Words with a full stop that ends no sentence, even if a capital letter follows. Words without a vowel (Ltd, bzw) need
# no list.
_ABBREVIATIONS = (
    # Germanic languages
    "al approx ca dept ehem etc evtl exkl geb gest ibid inkl max min resp sog usw vol Abb Abs Abt Adm Apt Assn Aufl Ave"
    " Bros Capt Cie Co Col Corp Dept Dipl Dist Dr Fa Fam Fig Figs Ft Gen Gov Hon Hr Inc Ing Inh Kap Lt Maj Mevr Mio Mr"
    " Mrs Ms Mt Nr Pres Prof Rep Rev Sen Sr St Tel Univ Vol"
    " amerik engl ev evang griech jur kath lat med nat phil rer röm Aug Dec Dez Ev Feb Febr Jan Nov Oct Okt Sept Ziff"
    # Romance languages
    " admón apdo ej fasc núm pág Arq Av Avda Cía Dña Dott Dra Exc Exmo Gral Hno Ilmo Ldo Lic Messrs Mlle Mme Sig Sra"
    " Sras Srta Sta Ste Sto Ud Uds"
    # Slavic languages, Hungarian, Turkish, Greek, Hindi, Swahili
    " акад им ім обл проф рис тов тыс ул вул al im inż św ul Акад Проф Рис Тов ifj özv Doç αγ Αγ Δρ κα κος"
    " डॉ प्रो पं श्री ए बी सी डी एच जे के एल एम एन पी आर एस टी वी Bi"
)
_KNOWN = frozenset(_ABBREVIATIONS.split())
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]{2}")
_NO_VOWEL = re.compile("[b-df-hj-np-tv-xzб-джзй-нп-тф-щ]+")
_NUMBER = re.compile(r"\d{1,3}|[IVXLC]+")
"""In many languages an ordinal number, if a full stop follows."""
_MAX_WORD = 40


class End(NamedTuple):
    """The end of a sentence that is not the last one."""

    at: int
    """Offset of what follows: after closing quotes and brackets, and after spaces."""
    sure: bool


def sentence_ends(text: str) -> Iterator[End]:
    """The ends of sentences inside a text, in order."""
    all_small = text.islower()  # then a small letter may start a sentence
    for match in _SENTENCE_END.finditer(text):
        if match.end() < len(text) and (sure := _is_sure(text, match, all_small)) is not None:
            yield End(match.end(), sure)


def n_sentences(text: str) -> int:
    """How many sentences a text holds, by its sure ends: one or more."""
    return 1 + sum(end.sure for end in sentence_ends(text))


def clause_ends(text: str) -> Iterator[int]:
    """The ends of clauses inside a text, as offsets of what follows."""
    return (match.end() for match in _CLAUSE_END.finditer(text) if match.end() < len(text))


def _is_sure(text: str, match: re.Match[str], all_small: bool) -> bool | None:
    """Whether a sentence surely ends at the match; None: no sentence ends there."""
    mark, closers, space = match["mark"], match["closers"], match["space"]
    last, stop = mark[-1], match.start("closers")
    begin = text[match.end() : match.end() + 8].lstrip(_OPENERS)[:1]
    is_small = begin.islower() and not all_small and not "ა" <= begin <= "ჿ"  # Georgian has no capitals there
    if last in _STOPS:
        if not space or _is_abbreviated(text[max(0, stop - _MAX_WORD) : stop], all_small):
            return None
        # Three dots may stand for a pause, a digit may be the number of something.
        return not mark.endswith(("..", "…")) and begin.isalpha() and not is_small
    if last in _NEED_SPACE:
        is_greek = _GREEK.fullmatch(text[max(0, stop - 3) : stop - 1])
        # A semicolon that is not Greek; a mark without a space, as in a web address.
        if (last in ";\u037e" and not is_greek) or not (space or is_unspaced(row_of("", begin))):
            return None
        return begin.isalnum() and not is_small
    if (
        mark == _ETHIOPIC_SPACE
        or (last in _WIDE_STOPS and begin.isdigit())
        or (last > "\uffff" and not _FAR_ENDS.match(last))
        or "។ល។" in text[max(0, stop - 3) : stop + 2]  # Khmer's "etc."
    ):
        return None
    # 「もう遅い。」と言った: the speaker may be named after a quotation.
    is_quoted = bool(closers) and closers[-1] in _QUOTES and not space and text[match.end()] == begin
    return begin.isalnum() and not is_quoted


def _is_abbreviated(text: str, all_small: bool) -> bool:
    """Whether the full stop at the end of a text belongs to the word or number before it."""
    word = text.rstrip(_STOPS).split(" ")[-1].lstrip(_OPENERS)
    if any(inner in word for inner in _STOPS):  # z.B, U.S
        return True
    if len(word) == 1 and word.isalpha() and word < "\u1100":  # an initial; a syllable of Korean is a word
        return True
    if _NUMBER.fullmatch(word) or word in _KNOWN or ((all_small or word.isupper()) and word.title() in _KNOWN):
        return True
    if word in ("EE", "UU") or word.endswith("str"):  # EE. UU.; Hauptstr.
        return True
    return not word.isupper() and _NO_VOWEL.fullmatch(word.lower()) is not None
