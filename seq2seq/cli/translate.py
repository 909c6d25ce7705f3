"""``seq2seq translate``: lines in, lines out."""

from pathlib import Path
from typing import Annotated

import typer

_MORE = "Advanced"


def translate_command(
    run: Annotated[Path, typer.Argument(help="Folder written by train.", metavar="RUN")],
    source: Annotated[str, typer.Option("-i", "--input", help="File to translate; - is stdin.", metavar="FILE")] = "-",
    output: Annotated[str, typer.Option("-o", "--output", help="File to write; - is stdout.", metavar="FILE")] = "-",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where -o FILE was interrupted.")] = False,
    beam_size: Annotated[
        int | None, typer.Option("-b", "--beam-size", help="Hypotheses kept; 1 is greedy.", metavar="BEAMS")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option("--length-penalty", help="Exponent of the length in the score.", metavar="A")
    ] = None,
    n_best: Annotated[
        int | None, typer.Option("--n-best", help="Print N lines for each: index ||| text ||| score.")
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print the score and a tab before each translation.")
    ] = False,
    attention: Annotated[
        bool, typer.Option("--attention", help="Draw on stderr where the model looked in the source.")
    ] = False,
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Longest output in tokens.", rich_help_panel=_MORE)
    ] = None,
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", help="Tokens decoded side by side.", rich_help_panel=_MORE)
    ] = None,
    stopping: Annotated[
        str | None, typer.Option("--stopping", help="End a search with enough, or exact.", rich_help_panel=_MORE)
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads; one for each core.", rich_help_panel=_MORE)
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_MORE)] = "auto",
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse input that is not UTF-8.", rich_help_panel=_MORE)
    ] = False,
) -> None:
    """Translate stdin to stdout, one line in, one line out."""
    from seq2seq.cli.stream import translate_with  # keeps torch out of --help

    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping,
    }  # fmt: skip
    translate_with(
        run, source, output, decoding=decoding, device=device, workers=workers, ranked=n_best is not None,
        scores=scores, attention=attention, strict=strict, resume=resume,
    )  # fmt: skip
