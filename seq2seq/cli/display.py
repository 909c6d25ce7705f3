"""The display of training: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator

from rich.progress import Progress as Bar
from rich.progress import Task, TaskID
from rich.text import Text

from seq2seq.cli.bar import eta, make_bar
from seq2seq.cli.console import clock, on_terminal, print_line, print_note, print_warning, shown
from seq2seq.cli.flags import with_flags
from seq2seq.cli.signals import StopFlag, stopped_by
from seq2seq.config import TrainingConfig
from seq2seq.errors import Interrupted, counted, duration
from seq2seq.evaluation import ROUGH_GUIDE
from seq2seq.runs import in_words
from seq2seq.training.progress import (
    Finished,
    LengthSet,
    Notice,
    Progress,
    Report,
    Saved,
    SeedsFinished,
    SeedStarted,
    Started,
    Validation,
)

_LONGEST_SAMPLE = 200
"""Characters of a sample translation that are shown."""
_SAMPLE_INDENT = 12
"""Columns before a sample translation."""


def show(progress: Iterator[Progress], stop: StopFlag) -> None:
    """Show the events of training until it ends. Once training has started, a signal waits for a checkpoint."""
    bar = make_bar(_words)
    display = _TrainingDisplay(bar)
    try:
        with bar:
            for event in _with_patience(progress, stop):
                display.draw(event)
    except Interrupted as error:
        if not stop.patient:
            print_note(f"{stopped_by(error)} while preparing; nothing is lost, and the same command starts again.")
        raise


def follow(progress: Iterator[Progress], stop: StopFlag) -> None:
    """As ``show``, but show nothing: another process of the same training does."""
    for _ in _with_patience(progress, stop):
        pass


def _with_patience(progress: Iterator[Progress], stop: StopFlag) -> Iterator[Progress]:
    for event in progress:
        if isinstance(event, Started | SeedStarted):
            stop.patient = isinstance(event, Started)
        yield event


def _words(task: Task) -> tuple[str, list[str]]:
    """The text before the bar, and the facts after it."""
    clocks = [clock(task.elapsed or 0.0), eta(task.time_remaining)]
    return f"update {task.completed:,.0f}/{task.fields['n_updates']}", [*clocks, *task.fields["numbers"]]


class _TrainingDisplay:
    """What is on the screen."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.task: TaskID | None = None
        self.max_updates = 0
        self.began, self.first_update = time.monotonic(), 0
        self.loss: list[str] = []
        self.last_bleu: list[str] = []
        self.speed: list[str] = []

    def draw(self, event: Progress) -> None:
        """Show one event."""
        match event:
            case Notice(text, warning):
                (print_warning if warning else print_note)(with_flags(text, "train"))
            case Started():
                self._started(event)
            case LengthSet():
                self._length_set(event)
            case Report():
                self._report(event)
            case Validation():
                self._validation(event)
            case Saved():
                pass  # checkpoints are not worth a line each time
            case Finished():
                self._finished(event)
            case SeedStarted(seed, folder, number, n_seeds):
                self._remove_bar()
                print_note(f"seed {seed}, {number} of {n_seeds}: {folder}")
            case SeedsFinished(seeds, scores):
                self._remove_bar()
                print_note(f"{counted(len(seeds), 'seed')}: {in_words(scores)}")

    def _remove_bar(self) -> None:
        """Of the run before, if there is one."""
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task, self.loss, self.last_bleu, self.speed = None, [], [], []

    def _started(self, event: Started) -> None:
        training = event.config.training
        self.max_updates = training.max_updates or 0
        self.began, self.first_update = time.monotonic(), event.update
        resumed = f", resuming after update {event.update:,}" if event.update else ""
        pairs = f"{counted(event.n_pairs, 'pair')} ({counted(event.n_tgt_tokens, 'target token')}, "
        if event.n_shards:
            pairs = f"a stream of {counted(event.n_shards, 'shard')} ("
        print_note(
            f"training {counted(event.n_parameters, 'parameter')} on {pairs}{counted(event.vocab_size, 'piece')}) "
            f"{self._how_long(training)} on {event.device} in {event.arithmetic}{resumed}"
        )
        self.task = self.bar.add_task(
            "train",
            total=self.max_updates or None,
            completed=event.update,
            n_updates=self._n_updates(),
            numbers=[],
        )

    def _how_long(self, training: TrainingConfig) -> str:
        if training.time_budget is None or training.max_updates is not None:
            return f"for {counted(self.max_updates, 'update')}"
        return f"for {duration(training.time_budget)}"

    def _n_updates(self) -> str:
        return f"{self.max_updates:,}" if self.max_updates else "?"

    def _length_set(self, event: LengthSet) -> None:
        self.max_updates = event.max_updates
        if event.is_news:
            more, left = event.max_updates - event.update, duration(max(0.0, event.seconds_left))
            rest = f"{more:,} more in {left}" if more else "the rest of it is for validation"
            print_note(f"there is time for about {counted(event.max_updates, 'update')}: {rest}")
        if self.task is not None:
            self.bar.update(self.task, total=event.max_updates, completed=event.update, n_updates=self._n_updates())

    def _report(self, event: Report) -> None:
        speed, loss = f"{event.tgt_tokens_per_second:,.0f} tok/s", f"loss {event.loss:.2f}"
        if on_terminal() and self.task is not None:
            self.loss, self.speed = [loss], [speed]
            self._move(event.update)
            return
        pace = (time.monotonic() - self.began) / max(1, event.update - self.first_update)
        left = (self.max_updates - event.update) * pace
        to_go = f"  {eta(left)}" if self.max_updates else ""
        print_note(
            f"update {event.update:,}/{self._n_updates()}  epoch {event.epoch}  {speed}  {loss}  lr {event.lr:.2e}  "
            f"padding {event.padding:.1%}  elapsed {clock(event.seconds)}{to_go}"
        )

    def _move(self, update: int) -> None:
        """Draw the bar at an update, with the current numbers, the most important one first."""
        if self.task is not None:
            self.bar.update(self.task, completed=update, numbers=[*self.loss, *self.last_bleu, *self.speed])

    def _validation(self, event: Validation) -> None:
        self.last_bleu = [f"BLEU {event.bleu:.1f}"]
        loss = "unknown" if event.valid_loss is None else f"{event.valid_loss:.3f}"
        endless = f"  {counted(event.cut_off, 'translation')} cut off" if event.cut_off else ""
        scores = f"loss {loss}  BLEU {event.bleu:.2f}  chrF {event.chrf:.2f}{endless}"
        print_line(
            Text.assemble(
                ("validation", "bold"),
                f" at update {event.update:,}: {scores}  ({event.seconds:.0f} s)",
                ("  best" if event.is_best else "", "green"),
            )
        )
        for sample in event.samples:
            for name, text in (("source", sample.src), ("model", sample.hypothesis), ("reference", sample.reference)):
                line = Text.assemble("  ", (f"{name:<9}", "dim"), " ", shown(text, _LONGEST_SAMPLE))
                print_line(line, indent=_SAMPLE_INDENT)
        self._move(event.update)

    def _finished(self, event: Finished) -> None:
        scores = "  ".join(f"{name} {value:.2f}" for name, value in event.scores.items() if value is not None)
        if event.already:
            print_note(f"finished already, after {counted(event.update, 'update')}: {scores}; {event.trained_on}")
        else:
            done = f"finished after {clock(event.seconds)}: {event.reason}"
            print_note(f"{done}; best at update {event.best_update:,}: {scores}")
        if event.verdict:
            print_note(event.verdict)
            print_note(ROUGH_GUIDE)
