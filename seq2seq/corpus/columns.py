"""Search for the columns of a table, or the keys of a row, that hold the source and the target."""

import re
from collections.abc import Sequence

from seq2seq.errors import UserError, counted
from seq2seq.text.languages import code_of, code_of_name

_SIDES = (("source", "target"), ("src", "tgt"), ("src", "trg"), ("original", "translation"))
"""Names of source and target columns that do not name languages."""
_IGNORED = re.compile(r"(?<![^\W_])(text|sentences?|segment|string)(?![^\W_])|\([^()]*\)")
"""Parts of a column's name that can be ignored: ``source text``, ``sentence_deu_Latn``, ``English (US)``."""


def _plain(name: str) -> str:
    """A column's name without the parts that can be ignored: ``sentence_deu_Latn`` is ``deu_latn``."""
    return " ".join(_IGNORED.sub(" ", name.casefold()).split()).strip("_- ")


def find_columns(names: list[str], langs: tuple[str, str]) -> tuple[int, int] | None:
    """Find the columns of source and target by their names, if exactly one column fits each.

    Args:
        names: names of all columns; or the first row of a table, which may be a header row or not.
        langs: source and target language.

    Returns:
        Indices of source and target, from 0; None if the names are not clear.
    """
    plain = [_plain(name) for name in names]
    codes = [code_of_name(name) or code_of(name) for name in plain]
    languages = [code_of(lang) for lang in langs]
    wanted: list[tuple[Sequence[str | None], Sequence[str | None]]] = [
        ([name.strip() for name in names], langs),
        (codes, languages),
        *((plain, sides) for sides in _SIDES),
    ]
    for found, (src, tgt) in wanted:
        if src is not None and found.count(src) == found.count(tgt) == 1 and src != tgt:
            return found.index(src), found.index(tgt)
    return None


def name_two_languages(first: str, second: str) -> bool:
    """Whether two cells are names of two languages. A sentence and its translation never are.

    Codes do not count (``no`` and ``it`` are words too), nor do two names of one language (Deutsch, German).
    """
    codes = code_of_name(_plain(first)), code_of_name(_plain(second))
    return None not in codes and codes[0] != codes[1]


def column_index(name: str, names: list[str], path: str) -> int:
    """The index (from 0) of a column that is chosen by its number (from 1) or by its name.

    Raises:
        UserError: there is no such column, or more than one (65).
    """
    if name.isdecimal():
        if not 1 <= int(name) <= len(names):
            raise UserError(
                f"{path} has {counted(len(names), 'column')}, but no column {name}",
                mend=f"give a number from 1 to {len(names)}",
            )
        return int(name) - 1
    stripped = [one.strip() for one in names]
    folded = [one.casefold() for one in stripped]
    for wanted, found in ((name, stripped), (name.casefold(), folded)):
        if found.count(wanted) == 1:
            return found.index(wanted)
    listed = ", ".join(stripped)
    what = f"two columns named {name}" if name.casefold() in folded else f"no column {name}"
    raise UserError(
        f"{path} has {what}; its first row is {listed if len(listed) <= 120 else listed[:119] + '…'}",
        mend="name columns of that row, or give their numbers, counted from 1",
    )
