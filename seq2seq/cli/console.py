"""What a person sees: everything but data goes to stderr, through Rich on a terminal and plainly off it."""

import sys

from rich.console import Console
from rich.markup import escape

console = Console(stderr=True, highlight=False, soft_wrap=True)


class _Debugging:
    """Whether ``--debug`` was given."""

    on = False


debugging = _Debugging()


def print_error(what: str, mend: str, kind: str = "error") -> None:
    """One line: what happened and where, then how to mend it."""
    text = " ".join(f"{what}; {mend}".split())
    console.print(f"[bold red]{kind}:[/] {escape(text)}")


def print_warning(text: str) -> None:
    """One line that something is not as expected, though work goes on."""
    console.print(f"[yellow]warning:[/] {escape(text)}")


def print_note(text: str) -> None:
    """One line that is good to know."""
    console.print(escape(text))


def on_terminal() -> bool:
    """Whether a person watches stderr."""
    return sys.stderr.isatty()
