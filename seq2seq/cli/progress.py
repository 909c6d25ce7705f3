"""How far the translation of a file has come: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from seq2seq.cli.bar import eta, make_bar
from seq2seq.cli.console import clock, on_terminal, print_note
from seq2seq.cli.inputs import Lines
from seq2seq.errors import counted

_EVERY = 30.0
"""Seconds between lines off a terminal. What takes less time needs none."""


class Reached(Protocol):
    def __call__(self, lines: int, under_way: int = 0, share: float = 0.0) -> None:
        """So far have answers come."""


class Pace:
    """How fast lines are answered, and how long the rest will take, by the mean over this run.

    Args:
        size: bytes of the input.
        lines: answered before this run.
        taken: bytes of the input that these lines took up.
        clock: seconds.
    """

    def __init__(
        self, size: int, *, lines: int = 0, taken: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.size = size
        self.lines, self.taken = lines, taken
        self._lines_before, self._taken_before = lines, taken
        self._clock = clock
        self._began = clock()

    def reach(self, lines: int, taken: int) -> None:
        """So many lines and bytes, those before this run included, are answered."""
        self.lines, self.taken = lines, max(self.taken, min(taken, self.size))

    @property
    def seconds(self) -> float:
        """Since the start of this run."""
        return self._clock() - self._began

    @property
    def new_lines(self) -> int:
        """Those that this run has answered."""
        return self.lines - self._lines_before

    @property
    def lines_per_second(self) -> float:
        return self.new_lines / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None before this run has answered anything."""
        taken = self.taken - self._taken_before
        return self.seconds * (self.size - self.taken) / taken if taken > 0 else None

    def facts(self) -> list[str]:
        """Lines answered, share of the input, speed, time to go."""
        speed = self.lines_per_second
        # Rounded down: 100% is when it is done.
        share = f"{100 * self.taken // self.size}%"
        return [counted(self.lines, "line"), share, f"{speed:,.{0 if speed >= 10 else 1}f} lines/s", eta(self.left)]

    def __str__(self) -> str:
        return ", ".join(self.facts())


@contextmanager
def show_progress(reader: Lines, lines: int, output: str) -> Iterator[Reached]:
    """Draw how far the lines handed out by a reader have come, where its input is a file.

    A reader of which nobody knows how much is to come, and a terminal on which the translations
    themselves appear, get nothing.

    Args:
        reader: after the lines that are answered already.
        lines: their number.
        output: path, or - for stdout.

    Yields:
        What to call with the number of lines answered so far, and where the next window is being answered
        already, with its number of lines and the share of them that is done.
    """
    if not reader.size or (on_terminal() and output == "-" and sys.stdout is not None and sys.stdout.isatty()):
        yield lambda lines, under_way=0, share=0.0: None
        return
    pace = Pace(reader.size, lines=lines, taken=reader.n_bytes_taken)
    bar = make_bar(lambda task: (clock(pace.seconds), pace.facts()), transient=True)
    task = bar.add_task("translate", total=pace.size, completed=pace.taken)
    last, answered = 0.0, pace.taken

    def reached(lines: int, under_way: int = 0, share: float = 0.0) -> None:
        nonlocal last, answered
        taken = reader.n_bytes_taken  # those of the window that is under way among them
        if not under_way:
            answered = taken
        pace.reach(lines + round(share * under_way), answered + round(share * (taken - answered)))
        if on_terminal():
            bar.update(task, completed=pace.taken)
        elif pace.seconds - last >= _EVERY and pace.taken < pace.size:
            last = pace.seconds
            print_note(str(pace))

    with bar:
        yield reached
    if pace.seconds >= _EVERY:
        print_note(f"{counted(pace.new_lines, 'line')} in {clock(pace.seconds)}, {pace.lines_per_second:,.1f} lines/s")
