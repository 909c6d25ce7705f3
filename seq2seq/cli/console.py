"""What a person sees: everything but data goes to stderr, through Rich on a terminal and plainly off it."""

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
    """stderr as no work may fail by: what it will not take, because its reader has gone or there is none, is lost."""

    def write(self, text: str, /) -> int:
        try:
            if sys.stderr is not None:
                return sys.stderr.write(text)
        except (OSError, ValueError):
            _give_up_stderr()
        return len(text)

    def flush(self) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            _give_up_stderr()

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.stderr, "encoding", None) or "utf-8"


def _give_up_stderr() -> None:
    """Let what is still buffered go nowhere, or Python would fail by it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    except OSError:
        sys.stderr = None  # as Python itself has it where there is none


# Text is shown as it is: no [markup], no :emoji:, no highlighting.
console = Console(file=cast(IO[str], _Stderr()), markup=False, emoji=False, highlight=False, soft_wrap=True)


class _Debugging:
    """Whether ``--debug`` was given."""

    on = False


debugging = _Debugging()

_WORD = re.compile(r" *[^ ]+ *")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: str, most: int | None = None) -> str:
    """Text that cannot steer a terminal, cut to ``most`` characters."""
    text = _CONTROL.sub("\ufffd", text)
    return text if most is None or len(text) <= most else text[: most - 1] + "…"


def print_line(line: Text, indent: int = 2) -> None:
    """One line; a terminal gets it wrapped between words, with all but the first line indented.

    A word that is wider than the terminal, as a path may be, is left to the terminal: it can still be copied whole.
    """
    line = Text(" ").join(line.split("\n"))
    breaks = _breaks(line.plain, console.width, indent) if console.file.isatty() else []
    for i, part in enumerate(line.divide(breaks)):
        part.rstrip()
        console.print(Text(" " * indent) + part if i else part)


def _breaks(line: str, width: int, indent: int) -> list[int]:
    """Where to wrap a line between words: offsets of the words that begin a new one."""
    breaks: list[int] = []
    used, room = 0, width
    for word in _WORD.finditer(line):
        if used and used + cell_len(word[0].rstrip(" ")) > room:
            breaks.append(word.start())
            used, room = 0, width - indent
        used += cell_len(word[0])
    return breaks


def print_error(what: str, mend: str, kind: str = "error") -> None:
    """One line: what happened and where, then how to mend it."""
    style = "bold" if kind == "note" else "bold red"
    print_line(Text.assemble((f"{kind}:", style), " ", shown(" ".join(f"{what}; {mend}".split()))))


def print_warning(text: str) -> None:
    """One line that something is not as expected, though work goes on."""
    print_line(Text.assemble(("warning:", "yellow"), " ", shown(text)))


def print_note(text: str) -> None:
    """One line that is good to know."""
    print_line(Text(shown(text)))


def clock(seconds: float) -> str:
    """As a clock shows it: 1:23:45."""
    return str(timedelta(seconds=round(seconds)))


def on_terminal() -> bool:
    """Whether a person watches stderr, on a terminal that can move its cursor."""
    # Rich believes FORCE_COLOR, by which people colour their logs.
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal
