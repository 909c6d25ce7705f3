"""``translate -o FILE``: answers that are kept after an interruption, and resumed."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from seq2seq.cli.console import print_error, print_note
from seq2seq.cli.inputs import GivenLines, Lines
from seq2seq.cli.signals import stopped_by
from seq2seq.errors import ExitCode, Interrupted, UserError, counted
from seq2seq.runs import run_files
from seq2seq.text import (
    ByteSource,
    LineReader,
    LineWriter,
    PartialFile,
    open_input,
    open_line_output,
    open_output,
    partial_path,
    refuse_overwriting,
)
from seq2seq.translation import Translator

WINDOW_LINES, GPU_WINDOW_LINES = 8192, 65_536
WINDOW_BYTES = 4 << 20
"""A file is translated in windows of this size at most: large enough to sort by length with profit, small enough
that memory stays the same however long the input is. A GPU is idle between two of them."""
_FEWEST_LINES = 64
_FIRST_SECONDS = 5.0
_WINDOW_SECONDS = 15.0
"""What an interruption may cost: of the first window, whose pace is a guess, less."""

_NO_MATTER = {"batch_tokens"}
"""Decoding settings that change the time a translation takes, and nothing else."""


class WindowSize:
    """How many lines to answer together: as many as take some seconds, going by the window before.

    Args:
        pace: lines a second, at a guess; for the first window.
        on_gpu: whether it is one that answers.
    """

    def __init__(self, pace: float, *, on_gpu: bool = False) -> None:
        self._most = GPU_WINDOW_LINES if on_gpu else WINDOW_LINES
        self.lines = self._within_limits(_FIRST_SECONDS * pace)

    def took(self, lines: int, seconds: float) -> None:
        """So long were so many lines under way."""
        self.lines = self._within_limits(_WINDOW_SECONDS * lines / max(seconds, 1e-3))

    def _within_limits(self, lines: float) -> int:
        return int(min(max(lines, _FEWEST_LINES), self._most))


class Answers:
    """Answers on their way out, window by window."""

    def __init__(self, out: LineWriter) -> None:
        self.n_lines = 0
        """Lines of the input that are answered."""
        self._out = out

    def write(self, window: list[str], answers: bytes) -> None:
        """Write the answers to the lines of a window; whoever waits at the other end has them then."""
        self._out.write(answers)
        self.n_lines += len(window)


class KeptAnswers(Answers):
    """Answers in a file that can be resumed."""

    def __init__(self, partial: PartialFile) -> None:
        self.n_lines = 0
        self._partial = partial
        self._src = hashlib.sha256()

    def skip_answered(self, reader: Lines) -> None:
        """Read the lines that an interrupted translation has answered.

        Raises:
            UserError: they are not the same as then (65).
        """
        mark = self._partial.mark
        while self.n_lines < mark.lines:
            window = reader.read_window(min(WINDOW_LINES, mark.lines - self.n_lines), WINDOW_BYTES)
            if not window:
                break
            self._take(window)
        if mark.lines and (self.n_lines, self._src.hexdigest()) != (mark.lines, mark.src):
            raise UserError(
                f"{self._partial.partial} answers {counted(mark.lines, 'line')} of another input",
                mend="give the input of the translation that was interrupted, or leave --resume out to start over",
            )

    def write(self, window: list[str], answers: bytes) -> None:
        self._take(window)
        self._partial.write(answers, lines=self.n_lines, src=self._src.hexdigest())

    def _take(self, window: list[str]) -> None:
        self._src.update("".join(f"{line}\n" for line in window).encode("utf-8"))
        self.n_lines += len(window)


def can_be_resumed(output: str) -> bool:
    """Whether the output is a file that appears when it is complete: neither stdout nor, say, a named pipe."""
    return output != "-" and (os.path.isfile(output) or not os.path.exists(output))


def refuse_resume(output: str) -> None:
    """Say early that there will be nothing to go on with.

    Raises:
        UserError: the output is no file (2).
    """
    if not can_be_resumed(output):
        what = "stdout" if output == "-" else output
        raise UserError(
            f"--resume needs a file as output, but the output is {what}",
            mend="name a file with -o",
            code=ExitCode.USAGE,
        )


def refuse_input_as_output(output: str, source: str, run: Path) -> None:
    """Refuse an output, or its ``.FILE.partial``, that is the input or a file of the run.

    Raises:
        UserError: it is one (2), or there is no run (66).
    """
    for place in (output, partial_path(Path(output))):
        refuse_overwriting(place, chain([source], run_files(run)))


@contextmanager
def open_answers(output: str, reader: Lines, translator: Translator, answer: str, *, resume: bool) -> Iterator[Answers]:
    """Open the output, and move the input past the lines that are answered.

    Args:
        output: path, or - for stdout.
        reader: of the input, at its first line.
        translator: that will answer.
        answer: the form of an answer; another must not follow in the same file.
        resume: go on with what an interrupted translation left.

    Raises:
        UserError: as ``PartialFile``, and where the input is not that of the interrupted translation (65).
    """
    if output != "-" and os.path.isdir(output or "."):
        raise UserError(
            f"the output '{output}' is not the name of a file", mend="name a file after -o", code=ExitCode.CANNOT_WRITE
        )
    if not can_be_resumed(output):
        with open_line_output(output) as out:
            yield Answers(out)
        return
    if isinstance(reader, GivenLines):  # a command line is not worth a file that can be resumed
        with open_output(output) as file:
            yield Answers(LineWriter(file))
        return
    partial = PartialFile(Path(output), _made_with(translator, answer), resume=resume)
    going_on = False
    try:
        answers = KeptAnswers(partial)
        _say_where_it_begins(partial, resume=resume)
        answers.skip_answered(reader)
        going_on = True
        yield answers
        partial.complete()
    except BaseException as error:
        if partial.leave() and going_on:
            lines = counted(partial.mark.lines, "line")
            if isinstance(error, Interrupted):
                held = f"after {lines}, saved in {partial.partial}"
                print_note(f"{stopped_by(error)} {held}; the same command with --resume continues there.")
            else:
                what = f"{output} is not complete: {partial.partial} holds the answers to {lines}"
                print_error(what, "the same command with --resume continues there", kind="note")
        raise


def _say_where_it_begins(partial: PartialFile, *, resume: bool) -> None:
    if resume and partial.mark.lines:
        print_note(f"resuming after line {partial.mark.lines:,}")
    elif resume:
        what = f"{partial.partial} holds nothing to resume" if partial.found else "there is nothing to resume"
        print_error(what, "starting at the first line", kind="note")
    elif partial.found:
        what = f"{partial.partial}, left by an interrupted translation, is overwritten"
        print_error(what, "--resume would go on with it", kind="note")


def _made_with(translator: Translator, answer: str) -> dict[str, object]:
    """What an answer depends on, besides its line."""
    decoding = {
        f"decoding.{field.name}": getattr(translator.config, field.name)
        for field in dataclasses.fields(translator.config)
        if field.name not in _NO_MATTER
    }
    # What `auto` has come to: the same file may go on where that is something else.
    decoding["decoding.precision"] = str(translator.dtype).removeprefix("torch.")
    return {"model": translator.identity[:16], "answer": answer, **decoding}


def is_finished(source: str, output: str, lines_each: int) -> bool:
    """Whether ``--resume`` finds the work done: a file is there that nobody is at, as new and as long as it should be.

    By its look alone: nothing in a finished file says which model made it.

    Args:
        source: path, or - for stdin; what is no ordinary file is never taken for translated.
        output: path.
        lines_each: lines that answer one line of the input.
    """
    path = Path(output)
    if not os.path.isfile(path) or os.path.exists(partial_path(path)):
        return False
    if source != "-" and not os.path.isfile(source):  # to open and close a named pipe would end who writes to it
        return False
    with open_input(source) as stream:
        reader = LineReader(stream, "stdin" if source == "-" else source)
        if reader.size is None:
            return False
        start = stream.tell()
        try:
            as_new = os.fstat(stream.fileno()).st_mtime <= path.stat().st_mtime
            return as_new and _n_lines(reader) * lines_each == _n_newlines(path)
        finally:
            stream.seek(start)


def _n_lines(reader: LineReader) -> int:
    n = 0
    while window := reader.read_window(WINDOW_LINES, WINDOW_BYTES):
        n += len(window)
    return n


def _n_newlines(path: Path) -> int:
    n = 0
    with open_input(str(path)) as stream:
        answers = ByteSource(stream, str(path))
        while chunk := answers.read():
            n += chunk.count(b"\n")
    return n
