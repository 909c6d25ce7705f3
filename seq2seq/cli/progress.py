"""The display of translating: a progress bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress

from rich.progress import Progress

from seq2seq.attention import Attention
from seq2seq.cli.attention import draw_attention
from seq2seq.cli.bar import eta, make_bar
from seq2seq.cli.console import clock, on_terminal, print_error, print_note, print_warning
from seq2seq.cli.flags import with_flags
from seq2seq.cli.signals import stopped_by
from seq2seq.errors import Interrupted, counted
from seq2seq.translation import TranslationEvent
from seq2seq.translation.events import (
    Completed,
    InputReady,
    LineDivided,
    OutputOpened,
    Suspended,
    WindowProgress,
    WindowTranslated,
    loops_avoided,
)
from seq2seq.translation.shards import LineRange
from seq2seq.translation.streaming import Events

_EVERY = 30.0
"""Seconds between lines if stderr is not a terminal. Shorter work gets no line."""


class Pace:
    """The speed of translating and the time left, from the mean speed of this process.

    Args:
        size: bytes of the input.
        lines: translated before this process started.
        taken: bytes of the input that these lines take up.
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
        """Record the lines and bytes that are translated, including those of earlier processes."""
        self.lines, self.taken = lines, max(self.taken, min(taken, self.size))

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._began

    @property
    def new_lines(self) -> int:
        """Lines that this process has translated."""
        return self.lines - self._lines_before

    @property
    def lines_per_second(self) -> float:
        return self.new_lines / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None before this process has translated a line."""
        taken = self.taken - self._taken_before
        return self.seconds * (self.size - self.taken) / taken if taken > 0 else None

    def facts(self) -> list[str]:
        """Lines translated, share of the input, speed, time left."""
        speed = self.lines_per_second
        # Rounded down: 100% means that all is done.
        share = f"{100 * self.taken // self.size}%"
        return [counted(self.lines, "line"), share, f"{speed:,.{0 if speed >= 10 else 1}f} lines/s", eta(self.left)]

    def __str__(self) -> str:
        return ", ".join(self.facts())


def show_translating(
    events: Events,
    output: str,
    *,
    resume: bool,
    attention: Callable[[str, str], Attention | None] | None = None,
    shard: LineRange | None = None,
) -> None:
    """Show the events of ``translate_lines`` until it ends.

    Args:
        events: of ``translate_lines``.
        output: path, or - for stdout.
        resume: whether ``--resume`` was given.
        attention: computes the attention of a line and its translation, which is drawn; None: no picture.
        shard: of this process, if there are several; only the first one shows its progress.
    """
    is_first = shard is None or shard.rank.is_first
    display = _TranslationDisplay(output, resume=resume, attention=attention, is_first=is_first)
    try:
        for event in events:
            display.draw(event)
    except BaseException as error:
        display.stop()
        if (suspended := display.suspended or _suspend(events, error)) and is_first:
            _print_suspended(suspended, error, output)
        raise
    finally:
        display.stop()


def _suspend(events: Events, error: BaseException) -> Suspended | None:
    """End translating after an error while an event was drawn; None if nothing is kept, or if it has already ended."""
    with suppress(BaseException):
        event = events.throw(error)
        events.close()
        return event if isinstance(event, Suspended) else None
    return None


class _TranslationDisplay:
    """Draws events.

    There is no bar if the size of the input is unknown, or if the terminal shows the translations themselves.
    """

    def __init__(
        self,
        output: str,
        *,
        resume: bool,
        attention: Callable[[str, str], Attention | None] | None = None,
        is_first: bool = True,
    ) -> None:
        self.suspended: Suspended | None = None
        self._resume = resume
        self._is_first = is_first
        self._attention = attention
        self._output = output
        self._pace: Pace | None = None
        self._last = 0.0  # when the last line about the pace was printed, in seconds
        self._bar: Progress | None = None

    def draw(self, event: TranslationEvent) -> None:
        """Show one event."""
        match event:
            case OutputOpened():
                if self._is_first:
                    _print_opened(event, resume=self._resume)
            case InputReady(n_lines, n_bytes, size):
                if size and self._is_first and not self._shows_translations():
                    self._start(Pace(size, lines=n_lines, taken=n_bytes))
            case WindowProgress(n_lines, n_bytes):
                self._move(n_lines, n_bytes)
            case LineDivided(message):
                print_warning(with_flags(message, "translate"))
            case WindowTranslated():
                self._move(event.n_lines, event.n_bytes)
                self._draw_attention(event)
            case Suspended():
                self.suspended = event
            case Completed():
                self._completed(event)

    def _shows_translations(self) -> bool:
        """Whether the translations appear on a terminal, where a bar would be too."""
        return self._output == "-" and on_terminal() and sys.stdout is not None and sys.stdout.isatty()

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _start(self, pace: Pace) -> None:
        self._pace = pace
        self._bar = make_bar(lambda _: (clock(pace.seconds), pace.facts()), transient=True)
        self._bar.add_task("translate", total=pace.size, completed=pace.taken)
        self._bar.start()

    def _move(self, n_lines: int, n_bytes: int) -> None:
        pace, bar = self._pace, self._bar
        if pace is None or bar is None:
            return
        pace.reach(n_lines, n_bytes)
        if on_terminal():
            bar.update(bar.task_ids[0], completed=pace.taken)
        elif pace.seconds - self._last >= _EVERY and pace.taken < pace.size:
            self._last = pace.seconds
            print_note(str(pace))

    def _draw_attention(self, event: WindowTranslated) -> None:
        if self._attention is not None:
            for line, best in zip(event.lines, event.translations, strict=True):
                if picture := self._attention(line, best[0].text):
                    draw_attention(picture)

    def _completed(self, event: Completed) -> None:
        self.stop()
        pace = self._pace
        if pace is not None and pace.seconds >= _EVERY:
            lines = counted(pace.new_lines, "line")
            print_note(f"{lines} in {clock(pace.seconds)}, {pace.lines_per_second:,.1f} lines/s")
        if event.segments.n > 1:  # a single one has already been reported
            print_warning(event.segments.total())
        if event.n_avoided_loops:
            print_note(loops_avoided(event.n_avoided_loops))
        if event.n_invalid_utf8:
            lines = counted(event.n_invalid_utf8, "line")
            print_warning(f"{lines} held bytes that are not UTF-8; they were replaced by U+FFFD")


def _print_opened(event: OutputOpened, *, resume: bool) -> None:
    if resume and event.n_lines:
        print_note(f"resuming after line {event.n_lines:,}")
    elif resume:
        what = f"{event.partial} holds nothing to resume" if event.has_leftover else "there is nothing to resume"
        print_error(what, "starting at the first line", kind="note")
    elif event.has_leftover:
        what = f"{event.partial}, left by an interrupted translation, is overwritten"
        print_error(what, "--resume would have continued it", kind="note")


def _print_suspended(event: Suspended, error: BaseException, output: str) -> None:
    lines = counted(event.n_lines, "line")
    if isinstance(error, Interrupted):
        where = f"after {lines}, saved in {event.partial}"
        print_note(f"{stopped_by(error)} {where}; the same command with --resume continues there.")
    else:
        what = f"{output} is not complete: {event.partial} holds the translations of {lines}"
        print_error(what, "the same command with --resume continues there", kind="note")
