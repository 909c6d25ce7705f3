"""How options become configuration layers, and what their values mean."""

import re
from dataclasses import asdict
from pathlib import Path

from seq2seq.cli.console import print_note
from seq2seq.config import (
    PRESETS,
    SIZES,
    TABLES,
    Layer,
    build,
    check_keys,
    did_you_mean,
    known_keys,
    layer_of,
    merge,
    parse_langs,
    parse_value,
    read_toml,
)
from seq2seq.errors import ExitCode, UserError
from seq2seq.text import EncodingErrors


def encoding_errors_option(word: str | None, *, strict: bool) -> EncodingErrors | None:
    """The value of ``--encoding-errors`` and ``--strict``; None if neither is given.

    Raises:
        UserError: an unknown word, or options that contradict each other (2).
    """
    known: dict[str | None, EncodingErrors] = {"refuse": "refuse", "replace": "replace", "strict": "strict"}
    if (word is not None and word not in known) or (strict and word not in (None, "strict")):
        what = f"--encoding-errors {word} and --strict" if word in known else f"--encoding-errors {word}"
        raise UserError(
            f"{what} {'contradict each other' if word in known else 'is unknown'}",
            mend=f"choose among {', '.join(map(str, known))}",
            code=ExitCode.USAGE,
        )
    return "strict" if strict else known.get(word)


_NUMBER = r"(\d+(?:\.\d+)?)"
_MAX_DIGITS = 20
"""Of a seed; Python itself refuses to read thousands."""
_DURATION = re.compile(rf"(?:{_NUMBER}\s*h)?\s*(?:{_NUMBER}\s*m)?\s*(?:{_NUMBER}\s*s)?", re.ASCII | re.IGNORECASE)


def _parse_duration(duration: str) -> float:
    """Parse ``45m``, ``1h30m`` or ``90s`` as seconds. A number without a unit is refused."""
    time = duration.strip()
    if re.fullmatch(_NUMBER, time, re.ASCII) and float(time) > 0:
        raise UserError(
            f"--time-budget {time} has no unit", mend=f"write {time}m, {time}h or {time}s", code=ExitCode.USAGE
        )
    found = _DURATION.fullmatch(time)
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UserError(
            f"--time-budget {duration} is not a duration", mend="write 45m, 1h30m or 90s", code=ExitCode.USAGE
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
    skip_bad_shards: bool = False,
    max_updates: int | None,
    max_epochs: int | None,
    time_budget: str | None,
    sets: list[str],
) -> list[Layer]:
    """The layers of configuration above the preset, by precedence: file < flags < ``--set``.

    Raises:
        UserError: a malformed ``-l`` or ``--set``, a bad value of a flag, a key set twice, a preset whose size the file
            overrides (2), an unknown key or a bad value in a file or ``--set`` (78), a missing file (66).
    """
    file: Layer = {}
    if recipe is not None:
        file = read_toml(recipe)
        check_keys(file, where=str(recipe))
    if langs is not None:
        parse_langs(langs)
    flags: Layer = {
        "data": {
            "langs": langs,
            "train": train or None,
            "valid": valid or None,
            "encoding_errors": "strict" if strict else None,
            "bad_shards": "skip" if skip_bad_shards else None,
        },
        "training": {"seed": seed, "max_updates": max_updates, "max_epochs": max_epochs},
    }
    if time_budget is not None:
        flags["training"]["time_budget"] = _parse_duration(time_budget)
    given: Layer = {
        table: {key: value for key, value in keys.items() if value is not None} for table, keys in flags.items()
    }
    if preset is not None:
        given["preset"] = preset
    try:
        for table, keys in given.items():
            for key in keys if isinstance(keys, dict) else [table]:
                option = f"--{key.replace('_', '-')}"
                check_keys({table: {key: keys[key]}} if isinstance(keys, dict) else given, where=option)
    except UserError as error:
        raise UserError(error.what, mend=error.mend, code=ExitCode.USAGE) from None
    assigned = _merge_sets(sets)
    _check_preset(str(recipe), file, merge([given, assigned]))
    return [file, given, assigned]


def parse_seeds(words: str | None, *, seed: int | None, sets: list[str]) -> list[int] | None:
    """The value of ``--seeds``; None if it is not given.

    Args:
        words: whole numbers, separated by commas.
        seed: the value of ``--seed``.
        sets: the values of ``--set``.

    Raises:
        UserError: malformed, repeated or too large numbers, or the seed is set by another option too (2).
    """
    if words is None:
        return None
    if seed is not None or "training.seed" in (assignment.partition("=")[0].strip() for assignment in sets):
        other = "--set training.seed" if seed is None else "--seed"
        raise UserError(f"--seeds and {other} contradict each other", mend="give one of them", code=ExitCode.USAGE)
    parts = [part.strip() for part in words.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--seeds {words} is not a list of whole numbers", mend="write 1,2,3", code=ExitCode.USAGE)
    seeds = [int(part) if len(part) < _MAX_DIGITS else 10**_MAX_DIGITS for part in parts]
    for part, number in zip(parts, seeds, strict=True):
        try:
            check_keys(layer_of("training.seed", number), where="--seeds")
        except UserError as error:
            what = f"--seeds {words}: {part:.40} is too large"
            raise UserError(what, mend="give numbers below 2^63", code=ExitCode.USAGE) from error
    if repeated := [number for number in seeds if seeds.count(number) > 1]:
        raise UserError(f"--seeds {words} names {repeated[0]} twice", mend="give each seed once", code=ExitCode.USAGE)
    return seeds


def parse_set(assignment: str) -> Layer:
    """Read ``model.d_model=256``: a key and a TOML value; anything else than a TOML value is a string.

    Raises:
        UserError: no key or no ``=`` (2), or an unknown key (78).
    """
    key, equals, text = assignment.partition("=")
    key = key.strip()
    if not equals or not key or key in TABLES:
        raise UserError(
            f"--set {assignment} is not an assignment",
            mend="write --set table.key=value, as in --set model.d_model=256",
            code=ExitCode.USAGE,
        )
    if key not in known_keys():
        raise UserError(f"--set {assignment}: unknown key {key}", mend=did_you_mean(key), code=ExitCode.REFUSED)
    return layer_of(key, parse_value(text))


def _merge_sets(sets: list[str]) -> Layer:
    """The layer of all ``--set`` flags."""
    layer: Layer = {}
    for assignment in sets:
        one = parse_set(assignment)
        check_keys(one, where=f"--set {assignment}")
        both = merge([layer, one])
        if merge([one, layer]) != both:
            raise UserError(
                f"--set {assignment.partition('=')[0].strip()} is given with two values",
                mend="give it once",
                code=ExitCode.USAGE,
            )
        layer = both
    return layer


def _check_preset(recipe: str, file: Layer, given: Layer) -> None:
    """Report the keys of a command line's preset that the file overrides.

    Args:
        recipe: name of the file.
        file: configuration of the file.
        given: configuration of the command line.

    Raises:
        UserError: the model would not have the size of the preset (2).
    """
    preset = given.get("preset", file.get("preset"))
    if preset == file.get("preset", "auto") or preset not in ("auto", *PRESETS):
        return
    named = merge([{"model": dict.fromkeys(SIZES)}, PRESETS.get(preset, {})])
    values = asdict(build(PRESETS.get(preset, {}), where="the preset"))
    overridden = {
        f"{table}.{key}": file[table][key]
        for table in named
        for key in named[table]
        if key in file.get(table, {}) and key not in given.get(table, {})
        if preset == "auto" or file[table][key] != values[table][key]
    }
    listed = ", ".join(f"{key} = {value}" for key, value in overridden.items())
    if any(f"model.{key}" in overridden for key in SIZES):
        raise UserError(
            f"the model would not have the size of preset {preset}: {recipe} overrides it with {listed}",
            mend="leave the preset out, or take these keys out of the file",
            code=ExitCode.USAGE,
        )
    if overridden:
        print_note(f"{recipe} overrides preset {preset} with {listed}")
