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
from seq2seq.translation import Doubtful, Translator
from seq2seq.translation.output import can_be_resumed
from seq2seq.translation.resumable import partial_path
from seq2seq.translation.shards import LineRange, ShardLines
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
def open_lines(source: str, texts: Sequence[str], *, strict: bool, shard: LineRange | None = None) -> Iterator[Lines]:
    """Open the input.

    Args:
        source: path, or - for stdin.
        texts: from the command line; if there are any, nothing else is read.
        strict: refuse text that is not UTF-8.
        shard: the lines of the source that are read; None: all.

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
        yield TypedLines(reader) if is_typed else reader if shard is None else ShardLines(reader, shard)


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


def form_of(
    n_best: int | None, *, scores: bool, alignments: bool, confidence: bool = False, as_json: bool = False
) -> str:
    """What is printed for a line: a row of ``FORMATS``.

    Args:
        n_best: the value of ``--n-best``; None: it was not given.
        scores: whether ``--scores`` was given.
        alignments: whether ``--alignments`` was given.
        confidence: whether ``--confidence`` was given.
        as_json: whether ``--json`` was given.

    Raises:
        UserError: two forms that exclude one another (2).
    """
    given = {"json": as_json, "alignments": alignments, "n-best": n_best is not None, "scores": scores}
    names = [name for name, is_given in given.items() if is_given]
    if confidence and names[:1] not in (["json"], ["n-best"]):  # these two can show it
        names.append("confidence")
    if names == ["n-best", "scores"]:  # the list has the scores
        names = ["n-best"]
    if len(names) > 1:
        raise UserError(
            f"--{names[0]} cannot be used with --{names[1]}", mend="give one of the two", code=ExitCode.USAGE
        )
    form = names[0] if names else "text"
    return "n-best-confidence" if confidence and form == "n-best" else form


def doubtful_of(
    path: str | None, min_confidence: float | None, others: Sequence[str], run: Path, *, resume: bool
) -> Doubtful | None:
    """What ``--doubtful`` and ``--min-confidence`` request; None: neither was given.

    Args:
        path: the value of ``--doubtful``.
        min_confidence: the value of ``--min-confidence``.
        others: input and output, which it must not overwrite.
        run: its folder.
        resume: whether ``--resume`` was given.

    Raises:
        UserError: one without the other, with ``--resume``, or the file is refused (2).
    """
    if path is None and min_confidence is None:
        return None
    if path is None or min_confidence is None:
        given, missing = (
            ("--min-confidence", "--doubtful FILE") if path is None else ("--doubtful", "--min-confidence X")
        )
        raise UserError(f"{given} needs {missing}", mend="give both, or neither", code=ExitCode.USAGE)
    if path == "-" or resume:
        what = "with --resume: the doubtful lines before the interruption are lost" if resume else "on stdout"
        mend = "print all with --confidence -o FILE, and select lines of FILE" if resume else "name a file"
        raise UserError(f"--doubtful cannot be used {what}", mend=mend, code=ExitCode.USAGE)
    refuse_overwriting(path, chain(others, run_files(run)))
    if any(os.path.realpath(path) == os.path.realpath(other) for other in others if other != "-"):
        raise UserError(
            f"--doubtful {path} is also the output", mend="name another file for one of the two", code=ExitCode.USAGE
        )
    return Doubtful(path, min_confidence)


def require_confidence(translator: Translator, run: Path, *, is_needed: bool) -> None:
    """Refuse to show confidence if the run has no fit for it.

    Args:
        translator: of the run.
        run: its folder.
        is_needed: whether an option needs confidence.

    Raises:
        UserError: an older version trained the run, or it has few validation pairs (78).
    """
    if is_needed and translator.confidence is None:
        raise UserError(
            f"{run} has no fit for confidence: an older version trained it, or it has few validation pairs",
            mend=f"fit it on pairs that the model has not seen: `seq2seq eval {run} CORPUS --fit-confidence`",
            code=ExitCode.REFUSED,
        )


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
