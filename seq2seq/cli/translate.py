"""``seq2seq translate``: lines in, lines out."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli import options
from seq2seq.cli.options import MORE


def translate_command(
    run: Annotated[Path, typer.Argument(help="Folder written by train.", metavar="RUN", readable=False)],
    texts: options.Texts = None,
    source: Annotated[
        str | None, typer.Option("-i", "--input", help="File to translate; - is stdin.", metavar="FILE")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="File to write; - is stdout.", metavar="FILE")] = "-",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted translation to -o FILE.")] = False,
    beam_size: options.BeamSize = None,
    length_penalty: options.LengthPenalty = None,
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
    batch_tokens: options.BatchTokens = None,
    stopping: Annotated[
        str | None, typer.Option("--stopping", help="When a search ends: enough or exact.", rich_help_panel=MORE)
    ] = None,
    shortlist: options.ShortlistSize = None,
    precision: options.Precision = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    strict: options.Strict = False,
) -> None:
    """Translate sentences, a file, or stdin: one line in, one line out."""
    from seq2seq.cli.stream import translate_with  # keeps torch out of --help

    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping, "precision": precision, "shortlist": shortlist,
    }  # fmt: skip
    translate_with(
        run, texts or [], source, output, decoding=decoding, device=device, workers=workers, ranked=n_best is not None,
        scores=scores, attention=attention, strict=strict, resume=resume,
    )  # fmt: skip
