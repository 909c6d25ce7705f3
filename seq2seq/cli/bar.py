"""The progress bar of training and translating: one line, as wide as the terminal, visible without colours too."""

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from seq2seq.cli.console import clock, console, on_terminal

_MIN_BAR = 10
"""Min columns of a bar; facts that leave less room for it are not shown."""
_FREE = 3
"""Columns to the right of the line, where a terminal shows ^C."""
_STYLES = ("bar.complete", "bar.back")


def bar_line(share: float, before: str, after: Sequence[str], width: int, *, ascii_only: bool = False) -> Text:
    """A bar, between a text and some facts.

    Args:
        share: of the work that is done, 0 to 1.
        before: text to the left of the bar.
        after: facts to the right of it, the most important one first. A narrow window shows only the first ones.
        width: columns of the whole line.
        ascii_only: for a terminal that shows no other characters.
    """
    room = width - cell_len(before) - bool(before) - _MIN_BAR
    shown: list[str] = []
    for fact in after:
        room -= cell_len(fact) + 2
        if room < 0:
            break
        shown.append(fact)
    right = "".join(f"  {fact}" for fact in shown)
    size = max(1, width - cell_len(before) - bool(before) - cell_len(right))
    done = int(size * min(max(share, 0.0), 1.0))
    full, empty = "#-" if ascii_only else "━─"
    left = f"{before} " if before else ""
    line = Text.assemble(left, (full * done, _STYLES[0]), (empty * (size - done), _STYLES[1]), right)
    line.truncate(width)
    return line


def eta(seconds: float | None) -> str:
    """The time that is left, for a bar."""
    return f"eta {'-:--:--' if seconds is None else clock(seconds)}"


class _Line(ProgressColumn):
    def __init__(self, words: Callable[[Task], tuple[str, Sequence[str]]]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:
        before, after = self._words(task)
        share = task.completed / task.total if task.total else 0.0
        return bar_line(share, before, after, console.width - _FREE, ascii_only=console.options.ascii_only)


def make_bar(words: Callable[[Task], tuple[str, Sequence[str]]], *, transient: bool = False) -> Progress:
    """A bar that is drawn only on a terminal.

    Args:
        words: the text and the facts that ``bar_line`` shows for a task.
        transient: it disappears at the end.
    """
    return Progress(
        _Line(words),
        console=console,
        disable=not on_terminal(),
        transient=transient,
        speed_estimate_period=600,
        redirect_stdout=False,
        redirect_stderr=False,
    )
