"""``seq2seq config``: list configuration keys with their defaults and meanings."""

from typing import Annotated

import typer

from seq2seq.cli.options import OTHER
from seq2seq.config import PRESETS


def config_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORD ...]", help="Tables, keys, or parts of their names: model, dropout. Default: all."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            rich_help_panel=OTHER,
            help=f"List the values of this preset instead of the defaults: {', '.join(PRESETS)}.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", rich_help_panel=OTHER, help="Print the keys as JSON.")] = False,
) -> None:
    """List every configuration key with its type, default and meaning."""
    from seq2seq.cli.keys import listed_keys, print_keys

    print_keys(listed_keys(words or [], preset), as_json=as_json)
