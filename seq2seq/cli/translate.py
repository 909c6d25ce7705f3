"""``seq2seq translate``: lines in, lines out."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli.options import (
    MORE,
    BatchTokens,
    BeamSize,
    Device,
    LengthPenalty,
    Precision,
    ShortlistSize,
    Strict,
    Workers,
)


def translate_command(
    run: Annotated[Path, typer.Argument(help="Folder written by train.", metavar="RUN", readable=False)],
    source: Annotated[str, typer.Option("-i", "--input", help="File to translate; - is stdin.", metavar="FILE")] = "-",
    output: Annotated[str, typer.Option("-o", "--output", help="File to write; - is stdout.", metavar="FILE")] = "-",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted translation to -o FILE.")] = False,
    beam_size: BeamSize = None,
    length_penalty: LengthPenalty = None,
    n_best: Annotated[
        int | None, typer.Option("--n-best", help="Print N lines for each input line: index ||| text ||| score.")
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print the score and a tab before each translation.")
    ] = False,
    attention: Annotated[
        bool, typer.Option("--attention", help="Draw on stderr where the model looked in the source.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Longest output in tokens.", rich_help_panel=MORE)
    ] = None,
    batch_tokens: BatchTokens = None,
    stopping: Annotated[
        str | None, typer.Option("--stopping", help="When a search ends: enough or exact.", rich_help_panel=MORE)
    ] = None,
    shortlist: ShortlistSize = None,
    precision: Precision = None,
    workers: Workers = None,
    device: Device = "auto",
    strict: Strict = False,
) -> None:
    """Translate stdin to stdout, one line in, one line out."""
    from seq2seq.cli.stream import translate_with  # keeps torch out of --help

    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping, "precision": precision, "shortlist": shortlist,
    }  # fmt: skip
    translate_with(
        run, source, output, decoding=decoding, device=device, workers=workers, ranked=n_best is not None,
        scores=scores, attention=attention, strict=strict, resume=resume,
    )  # fmt: skip
