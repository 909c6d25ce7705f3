"""The page of ``--help``: what a command does, two examples, and its options in groups, the most important first.

The pages of Typer and Click put options before commands, show types as ``<bool>``, and differ between versions.
"""

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from seq2seq.cli.options import GROUPS, OTHER

MAX_WIDTH = 100
"""Columns; longer lines are hard to read, even in a wide terminal."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "seq2seq": (
        ("train on corpus/train.de and corpus/train.en", "seq2seq train -l de-en --train corpus/train -o runs/de-en"),
        ("translate with the model", "seq2seq translate runs/de-en 'Guten Morgen!'"),
    ),
    "train": (
        ("train on corpus/train.de and corpus/train.en", "seq2seq train -l de-en --train corpus/train -o runs/de-en"),
        (
            "validate on corpus/valid, finish within 45 minutes",
            "seq2seq train -l de-en --train corpus/train --valid corpus/valid \\\n"
            "              -o runs/short --time-budget 45m",
        ),
    ),
    "translate": (
        ("a sentence", "seq2seq translate runs/de-en 'Guten Morgen!'"),
        ("a file, with greedy search", "seq2seq translate runs/de-en -i corpus/test.de -o test.hyp -b 1"),
    ),
    "attend": (
        ("where a model looks while it translates", "seq2seq attend runs/de-en 'Guten Morgen!'"),
        ("a page with all layers and heads", "seq2seq attend runs/de-en 'Guten Morgen!' -o attention.html"),
    ),
    "eval": (
        ("translate corpus/test.de, compare it with corpus/test.en", "seq2seq eval runs/de-en corpus/test"),
        (
            "score a file of translations, and test if it differs from those of a run",
            "seq2seq eval --hyp test.hyp -l de-en corpus/test --against runs/de-en",
        ),
    ),
    "runs": (
        ("scores, time, size and settings of all runs below runs/", "seq2seq runs runs"),
        ("two runs, with a picture of their learning curves", "seq2seq runs runs/de-en runs/short -o curves.svg"),
    ),
    "score": (
        ("how likely corpus/test.en is as a translation of corpus/test.de", "seq2seq score runs/de-en corpus/test"),
        ("each piece, for a program", "seq2seq score runs/de-en corpus/test --tokens --json"),
    ),
    "export": (
        ("for CTranslate2, in fp32", "seq2seq export runs/de-en -o ct2/de-en"),
        ("a quarter of the size", "seq2seq export runs/de-en -o ct2/small --quantization int8"),
    ),
    "config": (
        ("all keys whose names contain dropout", "seq2seq config dropout"),
        ("the table model, with the values of the preset tiny", "seq2seq config model --preset tiny"),
    ),
}
"""By command: a purpose and a command line, which works after the command lines above it."""

_INDENT = 2
_MAX_NAMES = 28
"""Max columns for the names of an option; longer names get a line of their own."""


def text_width() -> int:
    """Columns for text: those of the terminal, up to ``MAX_WIDTH``; 80 if there is no terminal."""
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)


def print_help(command: Any, ctx: Any) -> None:
    """Print the help of a command to stdout, with colours on a terminal.

    Args:
        command: Typer's command or group of commands.
        ctx: Typer's context.
    """
    out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for line in _page(command, ctx, max(text_width(), 40)):
        out.print(line)


def _page(command: Any, ctx: Any, width: int) -> Iterable[Text]:
    params = [param for param in command.get_params(ctx) if not getattr(param, "hidden", False)]
    arguments = [param for param in params if param.param_type_name == "argument"]
    options = [param for param in params if param.param_type_name == "option"]
    commands: dict[str, Any] = getattr(command, "commands", {})

    required = [f"{option.opts[0]} {option.metavar}" for option in options if option.required]
    words = [*required, "[OPTIONS]", *(argument.metavar for argument in arguments)]
    words = ["[OPTIONS]", "COMMAND", "..."] if commands else words
    yield Text.assemble(("Usage:", "bold"), f" {' '.join([ctx.command_path, *words])}")
    yield Text()
    yield from map(Text, textwrap.wrap(str(command.help), width, break_on_hyphens=False))
    yield from _heading("Examples")
    for meaning, line in EXAMPLES[command.name if ctx.parent else "seq2seq"]:
        yield Text(f"{' ' * _INDENT}# {meaning}", "dim")
        yield from (Text(f"{' ' * _INDENT}{part}") for part in line.split("\n"))
    if commands:
        yield from _heading("Commands")
        yield from _rows([(name, one.help) for name, one in commands.items()], width)
    if arguments:
        yield from _heading("Arguments")
        yield from _rows([(argument.metavar, _meaning(argument)) for argument in arguments], width)
    for group in GROUPS:
        rows = [(_names(o), _meaning(o)) for o in options if _group(o) == group]
        if rows:
            yield from _heading(group)
            yield from _rows(rows, width)


def _heading(text: str) -> Iterable[Text]:
    yield Text()
    yield Text(f"{text}:", "bold")


def _group(option: Any) -> str:
    # --help and --version have no panel; in Typer 0.15, --help lacks the attribute.
    return getattr(option, "rich_help_panel", None) or OTHER


def _names(option: Any) -> str:
    """The names of an option, as in ``-o, --output RUN``."""
    short = "".join(f"{name}, " for name in option.opts if not name.startswith("--"))
    long = ", ".join(name for name in option.opts if name.startswith("--"))
    return f"{short or ' ' * 4}{long} {option.metavar or ''}".rstrip()


def _meaning(param: Any) -> str:
    if param.required:
        return f"{param.help} Required."
    return f"{param.help} Default: {param.default}." if param.default else str(param.help)


def _rows(rows: list[tuple[str, str]], width: int) -> Iterable[Text]:
    """Rows of a table: names on the left, their meaning on the right."""
    left = min(max(len(names) for names, _ in rows), _MAX_NAMES)
    for names, meaning in rows:
        first, *others = textwrap.wrap(meaning, width - left - 2 * _INDENT, break_on_hyphens=False)
        if len(names) > left:
            yield Text.assemble(" " * _INDENT, (names, "cyan"))
            names = ""
        yield Text.assemble(" " * _INDENT, (names.ljust(left), "cyan"), " " * _INDENT, first)
        yield from (Text(" " * (left + 2 * _INDENT) + line) for line in others)
