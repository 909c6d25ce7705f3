"""Text as labels of a picture: safe to print, of a known width, in any script.

A cell is a column of a terminal. A letter takes one, a Chinese character two, a combining mark none.
"""

import unicodedata

_LRM = "\u200e"
"""Left-to-right mark: has no width, and ends a run of right-to-left letters, so that the next label stays to its
right."""
_JOINERS = "\u200c\u200d"
ELLIPSIS = "…"


def label(piece: str) -> str:
    """A piece without characters that are no text: controls and lone surrogates become U+FFFD, invisible marks of
    format (which could turn a line around) are dropped, except the two joiners that some scripts need."""
    kept = []
    for character in piece:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp"):
            kept.append("\ufffd")
        elif category != "Cf" or character in _JOINERS:
            kept.append(character)
    return "".join(kept)


def clusters(text: str) -> list[str]:
    """Characters with their combining marks."""
    found: list[str] = []
    for character in text:
        if found and (unicodedata.category(character) in ("Mn", "Me") or character in _JOINERS):
            found[-1] += character
        else:
            found.append(character)
    return found


def n_cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, max_cells: int) -> str:
    """The text, or its first characters and an ellipsis. At least one cell wide."""
    if n_cells(text) <= max_cells:
        return text
    kept, used = "", 1
    for cluster in clusters(text):
        used += n_cells(cluster)
        if used > max_cells:
            break
        kept += cluster
    return kept + ELLIPSIS


def is_right_to_left(text: str) -> bool:
    """Whether a text holds letters that are written from right to left."""
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)


def isolated(text: str) -> str:
    """The text, ended in such a way that what follows on the line stays to its right."""
    return text + _LRM if is_right_to_left(text) else text


def padded(text: str, width: int) -> str:
    """The text and spaces, so many cells in all."""
    return isolated(text) + " " * (width - n_cells(text))
