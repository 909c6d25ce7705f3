"""Training as a person watches it: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator

from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from seq2seq.cli.console import clock, console, on_terminal, print_note, print_warning, shown
from seq2seq.cli.signals import StopFlag
from seq2seq.config import TrainingConfig
from seq2seq.training.progress import Finished, Notice, Progress, Report, Saved, Settled, Started, Validation

_LONGEST_SAMPLE = 200
"""Characters of a sample translation that are shown."""


def show(progress: Iterator[Progress], stop: StopFlag) -> None:
    """Draw what training yields until it ends; from its start on, signals wait for a save."""
    bar = Bar(
        TextColumn("update {task.completed:,.0f}/{task.fields[most]}"),
        BarColumn(bar_width=12),
        # In a narrow window the clocks stay whole, and the numbers after them are cut.
        TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("eta"),
        TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        disable=not on_terminal(),
        speed_estimate_period=600,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    drawn = _Drawn(bar)
    with bar:
        for event in progress:
            if isinstance(event, Started):
                stop.patient = True
            drawn.draw(event)


class _Drawn:
    """What is on the screen."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.task: TaskID | None = None
        self.max_updates = 0
        self.began, self.update_then = time.monotonic(), 0
        self.speed_and_loss = ""
        self.last_bleu = ""

    def draw(self, event: Progress) -> None:
        """Show one event."""
        match event:
            case Notice(text, warning):
                (print_warning if warning else print_note)(text)
            case Started():
                self._started(event)
            case Settled():
                self._settled(event)
            case Report():
                self._report(event)
            case Validation():
                self._validation(event)
            case Saved():
                pass  # that nothing is lost is not worth a line each time
            case Finished():
                self._finished(event)

    def _started(self, event: Started) -> None:
        training = event.config.training
        self.max_updates = training.max_updates or 0
        self.began, self.update_then = time.monotonic(), event.update
        resumed = f", resuming after update {event.update:,}" if event.update else ""
        print_note(
            f"training {event.n_parameters:,} parameters on {event.n_pairs:,} pairs ({event.n_tgt_tokens:,} target "
            f"tokens, {event.vocab_size:,} pieces) {self._how_long(training)} "
            f"on {event.device} in {event.precision}{resumed}"
        )
        self.task = self.bar.add_task(
            "train", total=self.max_updates or None, completed=event.update, most=self._most(), numbers=""
        )

    def _how_long(self, training: TrainingConfig) -> str:
        if training.time_budget is None or training.max_updates is not None:
            return f"for {self.max_updates:,} updates"
        return f"until {clock(training.time_budget)} are over"

    def _most(self) -> str:
        return f"{self.max_updates:,}" if self.max_updates else "?"

    def _settled(self, event: Settled) -> None:
        self.max_updates = event.max_updates
        if event.is_news:
            print_note(
                f"{event.max_updates:,} updates in all: {event.max_updates - event.update:,} more fit into the "
                f"{clock(max(0.0, event.seconds_left))} that are left"
            )
        if self.task is not None:
            self.bar.update(self.task, total=event.max_updates, completed=event.update, most=self._most())

    def _report(self, event: Report) -> None:
        numbers = f"{event.tgt_tokens_per_second:,.0f} tok/s  loss {event.loss:.2f}"
        if on_terminal() and self.task is not None:
            self.speed_and_loss = numbers
            self.bar.update(self.task, completed=event.update, numbers=f"{numbers}{self.last_bleu}")
            return
        pace = (time.monotonic() - self.began) / max(1, event.update - self.update_then)
        left = (self.max_updates - event.update) * pace
        eta = f"  eta {clock(left)}" if self.max_updates else ""
        print_note(
            f"update {event.update:,}/{self._most()}  epoch {event.epoch}  {numbers}  lr {event.lr:.2e}  "
            f"padding {event.padding:.1%}  elapsed {clock(event.seconds)}{eta}"
        )

    def _validation(self, event: Validation) -> None:
        self.last_bleu = f"  BLEU {event.bleu:.1f}"
        loss = "unknown" if event.valid_loss is None else f"{event.valid_loss:.3f}"
        scores = f"loss {loss}  BLEU {event.bleu:.2f}  chrF {event.chrf:.2f}"
        console.print(
            Text.assemble(
                ("validation", "bold"),
                f" at update {event.update:,}: {scores}  ({event.seconds:.0f} s)",
                ("  best" if event.is_best else "", "green"),
            )
        )
        for sample in event.samples:
            for name, text in (("source", sample.src), ("ours", sample.hypothesis), ("reference", sample.reference)):
                console.print(Text.assemble("  ", (f"{name:<9}", "dim"), " ", shown(text, most=_LONGEST_SAMPLE)))
        if self.task is not None:
            self.bar.update(self.task, completed=event.update, numbers=f"{self.speed_and_loss}{self.last_bleu}")

    def _finished(self, event: Finished) -> None:
        scores = "  ".join(f"{name} {value:.2f}" for name, value in event.scores.items() if value is not None)
        if event.already:
            print_note(f"finished already, after {event.update:,} updates: {scores}; {event.trained_on}")
            return
        print_note(
            f"finished after {clock(event.seconds)}: {event.reason}; best at update {event.best_update:,}: {scores}"
        )
