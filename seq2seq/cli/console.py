"""Messages for the user on stderr: through Rich on a terminal, as plain lines elsewhere. Data goes to stdout."""

import io
import os
import re
import sys
from datetime import timedelta
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text


class _Stderr(io.TextIOBase):
    """A stderr that never raises. If it is closed, or if nobody reads it, messages are dropped."""

    def write(self, text: str, /) -> int:
        try:
            if sys.stderr is not None:
                return sys.stderr.write(text)
        except (OSError, ValueError):
            _drop_stderr()
        return len(text)

    def flush(self) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            _drop_stderr()

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.stderr, "encoding", None) or "utf-8"


def _drop_stderr() -> None:
    """Redirect stderr to nowhere. Otherwise Python would fail at exit to flush its buffer."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    except OSError:
        sys.stderr = None  # as Python does if there is no stderr


# Text is shown as it is: no [markup], no :emoji:, no highlighting.
console = Console(file=cast(IO[str], _Stderr()), markup=False, emoji=False, highlight=False, soft_wrap=True)


class _Debugging:
    """Whether ``--debug`` was given."""

    on = False


debugging = _Debugging()

_WORD = re.compile(r" *[^ ]+ *")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str, max_characters: int | None = None) -> str:
    """Text without control characters, cut to a maximal length."""
    text = _CONTROL.sub("\ufffd", text)
    if max_characters is None or len(text) <= max_characters:
        return text
    return text[: max_characters - 1] + "…"


def print_line(line: Text, indent: int = 2) -> None:
    """Print one line. On a terminal it wraps between words, with all lines but the first indented.

    The terminal itself wraps a word that is wider than it, such as a path, so that the word can be copied as a whole.
    """
    line = Text(" ").join(line.split("\n"))
    breaks = _breaks(line.plain, console.width, indent) if console.file.isatty() else []
    for i, part in enumerate(line.divide(breaks)):
        part.rstrip()
        console.print(Text(" " * indent) + part if i else part)


def _breaks(line: str, width: int, indent: int) -> list[int]:
    """Offsets at which to wrap a line: the starts of words that begin a new line."""
    breaks: list[int] = []
    used, room = 0, width
    for word in _WORD.finditer(line):
        if used and used + cell_len(word[0].rstrip(" ")) > room:
            breaks.append(word.start())
            used, room = 0, width - indent
        used += cell_len(word[0])
    return breaks


def print_error(what: str, mend: str, kind: str = "error") -> None:
    """Print one line: what happened and where, then how to mend it."""
    style = "bold" if kind == "note" else "bold red"
    print_line(Text.assemble((f"{kind}:", style), " ", shown(" ".join(f"{what}; {mend}".split()))))


def print_warning(text: str) -> None:
    """Print one line about something unexpected that does not stop the work."""
    print_line(Text.assemble(("warning:", "yellow"), " ", shown(text)))


def print_note(text: str) -> None:
    """Print one line of information."""
    print_line(Text(shown(text)))


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds: ``1:23:45``."""
    return str(timedelta(seconds=round(seconds)))


def on_terminal() -> bool:
    """Whether stderr is a terminal that can move its cursor."""
    # Rich alone would say yes if FORCE_COLOR is set, which colours logs.
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
