"""Flags that several commands have, and from flags to configuration layers."""

import re
from pathlib import Path
from typing import Annotated

import typer

from seq2seq.config import Layer, check_keys, parse_langs, parse_set, read_toml
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import EncodingErrors as OnInvalid

MORE = "Advanced"

BeamSize = Annotated[
    int | None, typer.Option("-b", "--beam-size", help="Hypotheses kept; 1 is greedy.", metavar="BEAMS")
]
LengthPenalty = Annotated[
    float | None, typer.Option("--length-penalty", help="Exponent of the length in the score.", metavar="A")
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens",
        help="Maximum padded source tokens decoded at once by a worker; chosen by device and beams.",
        rich_help_panel=MORE,
    ),
]
ShortlistSize = Annotated[
    int | None, typer.Option("--shortlist", help="Likely pieces for each source piece; 0: all.", rich_help_panel=MORE)
]
Precision = Annotated[
    str | None, typer.Option("--precision", help="Arithmetic: auto, fp32 or bf16.", rich_help_panel=MORE)
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Searches side by side; one for each core.", rich_help_panel=MORE)
]
TimeBudget = Annotated[
    str | None, typer.Option("--time-budget", metavar="TIME", help="End when this is over: 45m, 1h30m, 90s.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=MORE)]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse any line that is not UTF-8.", rich_help_panel=MORE)]
EncodingErrors = Annotated[
    str | None,
    typer.Option(
        "--encoding-errors",
        help="Lines that are not UTF-8: refuse (1 in 100 may be), replace or strict; as in training.",
        rich_help_panel=MORE,
    ),
]


def how_to_read(word: str | None, *, strict: bool) -> OnInvalid | None:
    """What ``--encoding-errors`` and ``--strict`` request; None: nothing.

    Raises:
        UserError: an unknown word, or both flags with different meanings (2).
    """
    known: dict[str | None, OnInvalid] = {"refuse": "refuse", "replace": "replace", "strict": "strict"}
    if (word is not None and word not in known) or (strict and word not in (None, "strict")):
        what = f"--encoding-errors {word} and --strict" if word in known else f"--encoding-errors {word}"
        raise UserError(
            f"{what} {'contradict each other' if word in known else 'is unknown'}",
            mend=f"choose among {', '.join(map(str, known))}",
            code=ExitCode.USAGE,
        )
    return "strict" if strict else known.get(word)


_DURATION = re.compile(r"(?:(?P<h>[\d.]+)h)?(?:(?P<m>[\d.]+)m)?(?:(?P<s>[\d.]+)s)?", re.ASCII)


def _seconds(duration: str) -> float:
    """Read ``45m``, ``1h30m``, ``90s`` or ``90``."""
    text = duration.replace(" ", "").lower()
    found = _DURATION.fullmatch(f"{text}s" if text[-1:].isdigit() and text.strip("0123456789.") == "" else text)
    try:
        parts = [float(found[unit] or 0) for unit in ("h", "m", "s")] if found else [0.0]
        total = sum(part * size for part, size in zip(parts, (3600, 60, 1), strict=True))
    except ValueError:
        total = 0.0
    if total <= 0:
        raise UserError(
            f"--time-budget {duration} is no length of time", mend="write 45m, 1h30m or 90s", code=ExitCode.USAGE
        )
    return total


def training_layers(
    recipe: Path | None,
    *,
    langs: str | None,
    train: list[str] | None,
    valid: list[str] | None,
    preset: str | None,
    seed: int | None,
    strict: bool,
    max_updates: int | None,
    max_epochs: int | None,
    time_budget: str | None,
    sets: list[str],
) -> list[Layer]:
    """The layers above the preset, in the order of precedence: file < flags < ``--set``.

    Raises:
        UserError: a malformed ``-l`` or ``--set`` or a bad value of a flag (2), an unknown key or a bad value
            of a file or ``--set`` (78), no such file (66).
    """
    layers: list[Layer] = []
    if recipe is not None:
        layers.append(read_toml(recipe))
        check_keys(layers[0], where=str(recipe))
    if langs is not None:
        parse_langs(langs)
    flags: Layer = {
        "data": {
            "langs": langs,
            "train": train or None,
            "valid": valid or None,
            "encoding_errors": "strict" if strict else None,
        },
        "training": {"seed": seed, "max_updates": max_updates, "max_epochs": max_epochs},
    }
    if time_budget is not None:
        flags["training"]["time_budget"] = _seconds(time_budget)
    given: Layer = {
        table: {key: value for key, value in keys.items() if value is not None} for table, keys in flags.items()
    }
    if preset is not None:
        given["preset"] = preset
    try:
        check_keys(given, where="the command line")
    except UserError as error:
        raise UserError(error.what, mend=error.mend, code=ExitCode.USAGE) from None
    layers.append(given)
    for assignment in sets:
        layers.append(parse_set(assignment))
        check_keys(layers[-1], where=f"--set {assignment}")
    return layers
