"""The report: sections in order of worth, within a time limit, and their tables.

A section is guarded: if it fails, the next one runs. A table is printed as soon as its section is over, and all tables
are printed again at the end, as one Markdown document. So a run that is cut off loses nothing.
"""

import contextlib
import gc
import importlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch

Cell = str | float | int | None
HERE = Path(__file__).parent
GRACE = 5.0
"""Seconds between two alarms of a section whose time is over: code in between may swallow one."""


class OutOfTime(BaseException):
    """The time of a section is over. It is no ``Exception``, so that no library treats it as a failure of its own."""


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    where: str
    """The function that measures, as ``module.function`` of this folder. It is imported when the section starts, so
    that a missing library costs only the sections that need it."""
    needs: float = 0.0
    """Seconds on an H200; the section is skipped if less time is left."""
    at_most: float = 600.0
    """Seconds after which it is cut off."""


@dataclass
class Table:
    """A table of the report."""

    title: str
    columns: tuple[str, ...]
    note: str
    """What it shows, and what it decides."""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def markdown(self) -> str:
        """The table under its heading."""
        numeric = "|---|" + "---:|" * (len(self.columns) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self.rows)]
        return "\n".join([f"### {self.title}", "", self.note, "", lines[0], numeric, *lines[1:], ""])


class Report:
    """Runs sections, and collects what they find.

    Args:
        device: that is measured.
        dry: whether it is a dry run, with tiny sizes on a CPU.
        limit: seconds for all sections together.
        words: options of the command: a real corpus, its languages, a trained run.
        began: when the program started, by ``time.monotonic``; None: now.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        dry: bool,
        limit: float,
        words: dict[str, str] | None = None,
        began: float | None = None,
    ) -> None:
        self.device, self.dry, self.limit, self.words = device, dry, limit, words or {}
        self.on_gpu = device.type == "cuda"
        self.found: dict[str, Any] = {}
        """What sections found that later ones need, by name."""
        self.tables: list[Table] = []
        self.remarks: list[str] = []
        """What failed, was skipped or was cut off."""
        self.n_failed = 0
        self.closing: list[Callable[[], object]] = []
        """Called at the end, such as to remove temporary folders."""
        self._began = time.monotonic() if began is None else began

    # ------------------------------------------------------------------ what sections call

    def say(self, text: str) -> None:
        """Print a line of progress at once, with the seconds since the start."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    @property
    def left(self) -> float:
        """Seconds that are left for all sections."""
        return self.limit - (time.monotonic() - self._began)

    def table(self, title: str, *columns: str, note: str) -> Table:
        """Start a table; it is printed when the section is over."""
        self.tables.append(Table(title, columns, note))
        return self.tables[-1]

    def row(self, table: Table, *cells: Cell) -> None:
        """Add a row, and print it as progress. Missing cells at its end are dashes."""
        texts = tuple(shown(cell) for cell in (*cells, *[None] * (len(table.columns) - len(cells))))
        table.rows.append(texts)
        known = [f"{name} {text}" for name, text in zip(table.columns[1:], texts[1:], strict=True) if text != "–"]
        self.say("  " + "; ".join([texts[0], *known]))

    @contextlib.contextmanager
    def guarded(self, what: str, table: Table | None = None) -> Iterator[None]:
        """Catch what goes wrong in a part of a section, say so in one line, and free memory."""
        try:
            yield
        except Exception as error:
            text = f"{what} FAILED: {described(error)}"
            self.n_failed += 1
            self.remarks.append(text)
            self.say(text)
            if table is not None:
                self.row(table, what, "failed")
            traceback.clear_frames(error.__traceback__)  # their tensors would stay in memory
        finally:
            self.free()

    def remark(self, text: str) -> None:
        """Say something that belongs into the report: a part that is left out, and why."""
        if text not in self.remarks:
            self.remarks.append(text)
        self.say(text)

    def free(self) -> None:
        """Free what earlier measurements left in a GPU's memory."""
        if self.on_gpu:
            gc.collect()
            with contextlib.suppress(RuntimeError):  # after some errors CUDA answers nothing more
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()

    # ------------------------------------------------------------------ the loop over sections

    def run(self, sections: list[Section]) -> int:
        """Run all sections and print the document.

        Returns:
            The exit code: 1 if anything failed.
        """
        lost = False
        try:
            for section in sections:
                if lost:
                    self.remark(f"{section.title}: SKIPPED, the GPU no longer answers")
                elif self.left < section.needs:
                    self.remark(
                        f"{section.title}: SKIPPED, {self.left:.0f} s are left and it needs {section.needs:.0f}"
                    )
                else:
                    self._run_section(section)
                    lost = self._is_lost()
        finally:
            self.say(f"done, {self.n_failed} failed")
            print(f"\n{'=' * 30} to paste {'=' * 30}\n\n{self.document()}", flush=True)
            for close in self.closing:
                with contextlib.suppress(Exception):
                    close()
        return 1 if self.n_failed else 0

    def document(self) -> str:
        """All tables and remarks in Markdown."""
        remarks = [f"- {remark}" for remark in self.remarks]
        return "\n".join([*(table.markdown() for table in self.tables if table.rows), *remarks, ""])

    def _run_section(self, section: Section) -> None:
        self.say(f"== {section.title}")
        first, began = len(self.tables), time.monotonic()
        try:
            with self.guarded(section.title), alarm(min(section.at_most, self.left)):
                module, _, name = section.where.rpartition(".")
                getattr(importlib.import_module(f"{__package__}.{module}"), name)(self)
        except OutOfTime:
            self.remark(f"{section.title}: CUT OFF after {time.monotonic() - began:.0f} s")
            self.free()
        for table in self.tables[first:]:
            print(f"\n{table.markdown()}", flush=True)

    def _is_lost(self) -> bool:
        """Whether CUDA fails at everything from now on, as after an access to memory that is not there."""
        if not self.on_gpu:
            return False
        try:
            torch.cuda.synchronize()
            torch.ones(1, device=self.device).item()
        except Exception as error:
            self.n_failed += 1
            self.remark(f"the GPU no longer answers: {described(error)}")
            return True
        return False


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise ``OutOfTime`` in the main thread if the work takes longer. A kernel or a product is not interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    running, interval = signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), GRACE)
    began = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if running:  # an alarm of the caller's
            signal.setitimer(signal.ITIMER_REAL, max(0.01, running - (time.monotonic() - began)), interval)


def shown(cell: Cell) -> str:
    """A cell as text: numbers with three digits, or with all digits before the point."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.3g}" if abs(cell) < 1 else f"{cell:.2f}" if abs(cell) < 10 else f"{cell:.1f}"


def described(error: BaseException) -> str:
    """An error in one line: its kind, its first line, and where it was raised, here and in a library."""
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text[:200]} ({places(error.__traceback__)})"


def places(where: TracebackType | None) -> str:
    """The last line of this folder in a traceback, and the last line of all."""
    frames = traceback.extract_tb(where)
    ours = [frame for frame in frames if Path(frame.filename).parent == HERE and frame.name != "_run_section"]
    chosen = dict.fromkeys(f"{Path(f.filename).name}:{f.lineno}" for f in (*ours[-1:], *frames[-1:]))
    return " > ".join(chosen)


def stop_on_termination() -> None:
    """Let SIGTERM end the program as Ctrl-C does, so that the document is printed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
