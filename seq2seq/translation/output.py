"""Outputs of translations: a stream, or a file that appears when it is complete and can be resumed."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from seq2seq.attention import pharaoh
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.text import ByteSource, LineReader, LineWriter, open_input, open_line_output, open_output
from seq2seq.translation.events import Translation
from seq2seq.translation.resumable import ResumableFile, partial_path
from seq2seq.translation.shards import LineRange, hand_over
from seq2seq.translation.translator import Translator
from seq2seq.translation.tuning import MAX_BYTES, MAX_LINES
from seq2seq.translation.windows import Lines

_SPEED_ONLY = {"batch_tokens"}
"""Decoding settings that change only the speed."""


def _text(index: int, best: list[Translation]) -> str:
    return f"{best[0].text}\n"


def _with_score(index: int, best: list[Translation]) -> str:
    return f"{best[0].score:.4f}\t{best[0].text}\n"


def _with_alignment(index: int, best: list[Translation]) -> str:
    # A blank line stays blank. The translation comes first: after the last ||| there are only numbers.
    return f"{best[0].text} ||| {pharaoh(best[0].alignment)}\n" if best[0].text else "\n"


def _n_best(index: int, best: list[Translation]) -> str:
    return "".join(f"{index} ||| {t.text} ||| {t.score:.4f}\n" for t in best)


def _with_confidence(index: int, best: list[Translation]) -> str:
    return f"{best[0].confidence or 0.0:.1f}\t{best[0].text}\n"


def _n_best_with_confidence(index: int, best: list[Translation]) -> str:
    return "".join(f"{index} ||| {t.text} ||| {t.score:.4f} ||| {t.confidence or 0.0:.1f}\n" for t in best)


def _json(index: int, best: list[Translation]) -> str:
    one = best[0]
    record = {
        "text": one.text,
        "score": round(one.score, 4) if math.isfinite(one.score) else None,
        "confidence": None if one.confidence is None else round(one.confidence, 1),
        "segments": one.n_segments,
    }
    return json.dumps(record, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[int, list[Translation]], str]] = {
    "text": _text,
    "scores": _with_score,
    "alignments": _with_alignment,
    "n-best": _n_best,
    "confidence": _with_confidence,
    "n-best-confidence": _n_best_with_confidence,
    "json": _json,
}
"""Formats by name. Each takes the index of an input line, from 0, and its n best translations."""
SCORED = {"scores", "n-best", "confidence", "n-best-confidence", "json"}
"""Formats that need the scores of a search."""
_CONFIDENT = {"confidence", "n-best-confidence", "json"}
"""Formats that show confidence."""


class Output(Protocol):
    """Takes translations, window by window."""

    n_lines: int
    """Lines of the input that are translated."""
    partial: Path | None
    """Temporary name of the file; None if it cannot be resumed."""
    has_leftover: bool
    """Whether an interrupted translation left something under that name."""
    is_suspended: bool
    """Whether the file is incomplete, and can be resumed after ``n_lines`` lines."""

    def skip_translated(self, reader: Lines) -> None:
        """Skip the lines that are already translated.

        Raises:
            UserError: they are not the lines that were translated (65).
        """

    def write(self, lines: list[str], translations: bytes) -> None:
        """Write the translations of a window. When this returns, they can be read from the output."""


class StreamOutput:
    """An output that cannot be resumed."""

    has_leftover = is_suspended = False

    def __init__(self, out: LineWriter) -> None:
        self.n_lines = 0
        self.partial: Path | None = None
        self._out = out

    def skip_translated(self, reader: Lines) -> None:
        """There is nothing to skip."""

    def write(self, lines: list[str], translations: bytes) -> None:
        """As ``Output.write``."""
        self._out.write(translations)
        self.n_lines += len(lines)


class ResumableOutput:
    """A file that can be resumed."""

    def __init__(self, file: ResumableFile) -> None:
        self.n_lines = file.position.lines
        self.partial: Path | None = file.partial
        self.has_leftover = file.has_leftover
        self.is_suspended = False
        self._file = file
        self._src = hashlib.sha256()
        self._has_skipped = False  # the lines of the input that are already translated

    def skip_translated(self, reader: Lines) -> None:
        """As ``Output.skip_translated``."""
        position = self._file.position
        n_read = 0
        while n_read < position.lines:
            lines = reader.read_window(min(MAX_LINES, position.lines - n_read), MAX_BYTES)
            if not lines:
                break
            self._add_to_checksum(lines)
            n_read += len(lines)
        if position.lines and (n_read, self._src.hexdigest()) != (position.lines, position.src):
            raise UserError(
                f"{self._file.partial} holds translations of {counted(position.lines, 'line')} of another input",
                mend="give the input of the translation that was interrupted, or leave `resume` out to start over",
            )
        self._has_skipped = True

    def write(self, lines: list[str], translations: bytes) -> None:
        """As ``Output.write``."""
        self._add_to_checksum(lines)
        self._file.write(translations, lines=self.n_lines + len(lines), src=self._src.hexdigest())
        self.n_lines = self._file.position.lines

    def complete(self, shard: LineRange | None, output: Path) -> None:
        """Give the file its final name, or leave it to the first of several processes."""
        if shard is None:
            self._file.complete()
        else:
            hand_over(self._file, shard, output)

    def suspend(self) -> None:
        """Close the incomplete file, so that it can be resumed."""
        self.is_suspended = self._file.suspend() and self._has_skipped
        self.n_lines = self._file.position.lines

    def _add_to_checksum(self, lines: list[str]) -> None:
        self._src.update("".join(f"{line}\n" for line in lines).encode("utf-8"))


@contextmanager
def open_translations(
    output: str,
    translator: Translator,
    form: str,
    *,
    resumable: bool = True,
    resume: bool = False,
    shard: LineRange | None = None,
) -> Iterator[Output]:
    """Open an output for translations. At the end it is completed; after an exception it is suspended.

    Args:
        output: path, or - for stdout.
        translator: that will translate.
        form: row of ``FORMATS``.
        resumable: whether a file is kept after an interruption.
        resume: continue an interrupted translation.
        shard: of this process, if several translate the input to a resumable output; None: it is the only one.

    Raises:
        UserError: not the name of a file, cannot be written (74), or as ``ResumableFile`` and ``hand_over``.
    """
    if output != "-" and os.path.isdir(output or "."):
        raise UserError(
            f"the output '{output}' is not the name of a file",
            mend="name a file with `output`",
            code=ExitCode.CANNOT_WRITE,
        )
    if not can_be_resumed(output):
        with open_line_output(output) as out:
            yield StreamOutput(out)
        return
    if not resumable:
        with open_output(output) as file:
            yield StreamOutput(LineWriter(file))
        return
    settings, path = _settings(translator, form), Path(output)
    if shard is not None:
        settings, path = {**settings, **shard.settings()}, shard.path(path)
    resumed = ResumableOutput(ResumableFile(path, settings, resume=resume))
    try:
        yield resumed
        resumed.complete(shard, Path(output))
    except BaseException:
        resumed.suspend()
        raise


def can_be_resumed(output: str) -> bool:
    """Whether the output is a file that appears when it is complete: neither stdout nor, say, a named pipe."""
    return output != "-" and (os.path.isfile(output) or not os.path.exists(output))


def _settings(translator: Translator, form: str) -> dict[str, object]:
    """The settings that translations depend on."""
    decoding = {
        f"decoding.{field.name}": getattr(translator.config, field.name)
        for field in dataclasses.fields(translator.config)
        if field.name not in _SPEED_ONLY
    }
    # What `auto` means on this machine: a file can be resumed on machines where it means the same.
    decoding["decoding.precision"] = translator.engine.precision
    # A new fit would change the rest of a file.
    fitted = {"confidence": str(translator.confidence)} if form in _CONFIDENT else {}
    # Files of our own engine say nothing about it, as before there were others.
    engine = {} if translator.engine.name == "own" else {"engine": translator.engine.name}
    return {"model": translator.identity[:16], "answer": form, **engine, **fitted, **decoding}


def is_finished(source: str, output: str, lines_each: int) -> bool:
    """Whether an output is finished: no process writes it, it is not older than its input, and its length is right.

    A finished file does not record which model made it, so models are not compared.

    Args:
        source: path, or - for stdin; if it is not an ordinary file, the output never counts as finished.
        output: path.
        lines_each: lines of output for each line of input.
    """
    path = Path(output)
    if not os.path.isfile(path) or os.path.exists(partial_path(path)):
        return False
    if source != "-" and not os.path.isfile(source):  # opening and closing a named pipe would end its writer
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
    while window := reader.read_window(MAX_LINES, MAX_BYTES):
        n += len(window)
    return n


def _n_newlines(path: Path) -> int:
    n = 0
    with open_input(str(path)) as stream:
        source = ByteSource(stream, str(path))
        while chunk := source.read():
            n += chunk.count(b"\n")
    return n
