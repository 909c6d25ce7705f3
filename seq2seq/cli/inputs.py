"""Input and output of ``translate``: checks of its arguments, and lines from a file, a pipe, a keyboard or TEXTs."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from seq2seq.cli.console import console, print_note
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import run_files
from seq2seq.text import LineReader, TextCounts, open_input, refuse_overwriting, shell_word
from seq2seq.translation.output import can_be_resumed
from seq2seq.translation.resumable import partial_path
from seq2seq.translation.windows import Lines


class GivenLines:
    """The TEXTs of a command line: each is one line, even if it holds line breaks."""

    size: int | None = None
    n_bytes_taken = 0

    def __init__(self, lines: list[str], counts: TextCounts) -> None:
        self.counts = counts
        self._lines = lines

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """The next lines; none at the end."""
        window, self._lines = self._lines[:max_lines], self._lines[max_lines:]
        return window


class TypedLines:
    """Lines typed at a prompt, which is on stderr."""

    size: int | None = None
    n_bytes_taken = 0

    def __init__(self, reader: LineReader) -> None:
        self.counts = reader.counts
        self._reader = reader
        print_note("Type a sentence and press Enter to translate it; Ctrl-D ends.")

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """The lines that were typed or pasted; none after Ctrl-D."""
        console.print("> ", end="")
        window: list[str] = []
        try:
            window = self._reader.read_window(max_lines, max_bytes)
        finally:
            if not window:  # after Ctrl-D or Ctrl-C the shell's prompt should start a new line
                console.print()
        return window


@contextmanager
def open_lines(source: str, texts: Sequence[str], *, strict: bool) -> Iterator[Lines]:
    """Open the input.

    Args:
        source: path, or - for stdin.
        texts: from the command line; if there are any, nothing else is read.
        strict: refuse text that is not UTF-8.

    Raises:
        UserError: a TEXT is not UTF-8, and ``strict`` (65); the source cannot be opened (66).
    """
    if texts:
        counts = TextCounts()
        yield GivenLines([_decoded(number, text, strict, counts) for number, text in enumerate(texts, start=1)], counts)
        return
    with open_input(source) as stream:
        reader = LineReader(stream, "stdin" if source == "-" else source, strict=strict)
        is_typed = source == "-" and sys.stdin is not None and sys.stdin.isatty() and console.file.isatty()
        yield TypedLines(reader) if is_typed else reader


def _decoded(number: int, text: str, strict: bool, counts: TextCounts) -> str:
    """A TEXT in which bytes that are not UTF-8 are replaced: Python gives them as surrogates."""
    raw = os.fsencode(text)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if strict:
            raise UserError(
                f"TEXT {number} is not UTF-8 (byte {error.start + 1})", mend="give it in UTF-8, or leave out --strict"
            ) from None
        counts.invalid_utf8 += 1
        return raw.decode(errors="replace")


def form_of(n_best: int | None, *, scores: bool, alignments: bool) -> str:
    """What is printed for a line: a row of ``FORMATS``.

    Args:
        n_best: the value of ``--n-best``; None: it was not given.
        scores: whether ``--scores`` was given.
        alignments: whether ``--alignments`` was given.

    Raises:
        UserError: alignments, and another form (2).
    """
    form = "n-best" if n_best is not None else "scores" if scores else "text"
    if alignments and form != "text":
        raise UserError(f"--alignments cannot be used with --{form}", mend="give one of the two", code=ExitCode.USAGE)
    return "alignments" if alignments else form


def refuse_texts(texts: Sequence[str], source: str | None, *, resume: bool = False, instead: str = "-i") -> None:
    """Refuse TEXTs that are meant to be files, and options that cannot be used with them.

    Args:
        texts: from the command line.
        source: the value of ``-i``; None: it was not given.
        resume: whether ``--resume`` was given.
        instead: what comes before the name of a file that is to be read.

    Raises:
        UserError: a TEXT names a file, or is beside ``-i`` or ``--resume`` (2).
    """
    for text in texts:
        if text == "-" or (os.path.exists(text) and not os.path.isdir(text)):
            raise UserError(
                f"{text} is a file, not a text to translate" if text != "-" else "- is stdin, not a text to translate",
                mend=f"did you mean {instead} {shell_word(text)}?"
                if text != "-" or instead == "-i"
                else "leave it out",
                code=ExitCode.USAGE,
            )
    if texts and (source is not None or resume):
        option = "--resume" if source is None else f"-i {source}"
        raise UserError(
            f"{option} cannot be used with a TEXT to translate ({texts[0]:.40})",
            mend="give one of the two" if source is not None else "leave --resume out",
            code=ExitCode.USAGE,
        )


def refuse_output(output: str, source: str, run: Path, *, resume: bool) -> None:
    """Refuse an output that cannot be resumed, and one that would overwrite the input or a file of the run.

    Args:
        output: path, or - for stdout.
        source: path, or - for stdin.
        run: its folder.
        resume: whether ``--resume`` was given.

    Raises:
        UserError: the output is refused (2), or there is no run (66).
    """
    if resume and not can_be_resumed(output):
        what = "stdout" if output == "-" else output
        raise UserError(
            f"--resume needs a file as output, but the output is {what}",
            mend="name a file with -o",
            code=ExitCode.USAGE,
        )
    for place in (output, partial_path(Path(output))):
        refuse_overwriting(place, chain([source], run_files(run)))
