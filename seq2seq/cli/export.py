"""``seq2seq export``: convert a run folder to a folder for CTranslate2."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli import options
from seq2seq.cli.options import FILES


def export_command(
    run: options.RunFolder,
    folder: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="DIR", readable=False, rich_help_panel=FILES, help="Folder to create."),
    ],
    quantization: Annotated[
        str,
        typer.Option(
            "--quantization",
            metavar="TYPE",
            rich_help_panel=FILES,
            help="Type of the weights: float32, float16, int8 or another of CTranslate2's.",
        ),
    ] = "float32",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=FILES, help="Move an old folder aside.")
    ] = False,
) -> None:
    """Write a folder that ctranslate2.Translator loads, with a README that shows how."""
    from seq2seq.cli.console import print_note
    from seq2seq.interop.ctranslate2 import export_run  # keeps torch out of --help

    exported = export_run(run, folder, quantization=quantization, overwrite=overwrite)
    if exported.moved is not None:
        print_note(f"the old folder is now {exported.moved}")
    print_note(f"wrote {exported.folder}: {exported.quantization}, {exported.n_bytes / 1e6:.1f} MB")
