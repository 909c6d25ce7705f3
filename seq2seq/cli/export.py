"""``seq2seq export``: a run folder in, a folder for CTranslate2 out."""

from pathlib import Path
from typing import Annotated

import typer


def export_command(
    run: Annotated[Path, typer.Argument(help="Folder written by train.", metavar="RUN", readable=False)],
    folder: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.", metavar="DIR", readable=False)],
    quantization: Annotated[
        str, typer.Option("--quantization", help="float32, float16, int8 or another of CTranslate2's.", metavar="TYPE")
    ] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Move an old folder aside.")] = False,
) -> None:
    """Write a folder that ctranslate2.Translator loads, with a README that shows how."""
    from seq2seq.cli.console import print_note
    from seq2seq.export import export_run  # keeps torch out of --help

    exported = export_run(run, folder, quantization=quantization, overwrite=overwrite)
    if exported.aside is not None:
        print_note(f"the old folder is now {exported.aside}")
    print_note(f"wrote {exported.folder}: {exported.quantization}, {exported.n_bytes / 1e6:.1f} MB")
