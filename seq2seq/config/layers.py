"""Layers of configuration: how they are read, checked, merged, and written as TOML.

Each layer overrides those before it: defaults < preset < TOML file < options of the command line.
"""

import contextlib
import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from seq2seq.config.aliases import choose_among, did_you_mean
from seq2seq.config.keys import described_keys, known_keys, values_by_key
from seq2seq.config.model import is_used
from seq2seq.config.presets import Layer
from seq2seq.config.tables import TABLES, RunConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import cannot_read


def parse_langs(text: str) -> tuple[str, str]:
    """Split ``de-en`` or ``pt-BR:en`` into source and target language.

    Raises:
        UserError: it does not name two languages (exit code 2).
    """
    parts = text.split(":") if ":" in text else text.split("-")
    if len(parts) != 2 or not all(part and all(c.isalnum() or c in "-_" for c in part) for part in parts):
        raise UserError(
            f"'{text}' does not name two languages",
            mend="give `data.langs=SOURCE-TARGET`, as in `data.langs=de-en`, or `data.langs=pt-BR:en` if a code holds "
            "a hyphen",
            code=ExitCode.USAGE,
        )
    if parts[0] == parts[1]:
        raise UserError(
            f"`data.langs={text}` names the same language twice",
            mend="give two codes, as in `data.langs=de-en`",
            code=ExitCode.USAGE,
        )
    return parts[0], parts[1]


def merge(layers: Iterable[Layer]) -> Layer:
    """Merge partial configurations; later ones win, key by key."""
    merged: Layer = {}
    for layer in layers:
        for name, value in layer.items():
            before = merged.get(name)
            merged[name] = merge([before, value]) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def build(layer: Layer, *, where: str) -> RunConfig:
    """Check a partial configuration and add the defaults.

    Args:
        layer: keys by table, as read from TOML.
        where: named in errors: the file or the option that the keys came from.

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of range (exit code 78).
    """
    try:
        return _adapter().validate_python(layer)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _refused(first["type"], [str(p) for p in first["loc"]], first["msg"], first.get("input"), where) from None
    except UserError as error:
        raise _ConflictingKeysError(error.what, mend=error.mend, code=error.code) from None


def check_keys(layer: Layer, *, where: str) -> None:
    """Check each key of a layer by itself. Once all layers are merged, ``build`` checks rules about several keys.

    Args:
        layer: as for ``build``.
        where: as for ``build``.

    Raises:
        UserError: an unknown key, or a value of the wrong type or out of range (exit code 78).
    """
    for key, value in values_in(layer).items():
        with contextlib.suppress(_ConflictingKeysError):  # another layer may change one of the keys
            build(layer_of(key, value), where=where)


def values_in(layer: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """The values of a layer by key, as ``model.rnn.cell``; unknown keys too."""
    values: dict[str, Any] = {}
    for name, value in layer.items():
        key = f"{table}.{name}" if table else name
        values |= values_in(value, key) if key in TABLES and isinstance(value, Mapping) else {key: value}
    return values


def layer_of(key: str, value: Any) -> Layer:
    """The layer with one value."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def refuse_unused_keys(user_layer: Layer, config: RunConfig) -> None:
    """Refuse keys of ``model`` that a user sets, but that do not apply to the architecture. A preset may have them.

    Args:
        user_layer: the layers above the preset.
        config: with them.

    Raises:
        UserError: 78
    """
    architecture = config.model.architecture
    unused = [key for key in values_in(user_layer) if key.startswith("model.") and not is_used(key, architecture)]
    if unused:
        verb = "does" if len(unused) == 1 else "do"
        raise UserError(
            f"{', '.join(unused)} {verb} not apply to model.architecture {architecture}",
            mend=f"remove {'it' if len(unused) == 1 else 'them'}, or choose another architecture",
            code=ExitCode.REFUSED,
        )


class _ConflictingKeysError(UserError):
    """Keys whose values are valid by themselves, but not together."""


@functools.cache
def _adapter() -> TypeAdapter[RunConfig]:
    return TypeAdapter(RunConfig)


def _refused(kind: str, loc: list[str], message: str, value: object, where: str) -> UserError:
    """The error for what pydantic found. For an unknown key it suggests a known one."""
    key = ".".join(part for part in loc if not part.isdigit())
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return UserError(f"{where}: unknown key {key}", mend=did_you_mean(key), code=ExitCode.REFUSED)
    if kind == "dataclass_type":
        message = f"write its keys as {key}.KEY, or in a table [{key}]"
    if kind == "tuple_type":
        message = f'write a list, as in {key.rpartition(".")[2]} = ["…", "…"]'
    message = message.removeprefix("Value error, ")
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    mend = _expected(key, value, kind) or message[:1].lower() + message[1:]
    return UserError(f"{where}: {key} = {shown} is refused", mend=mend, code=ExitCode.REFUSED)


def _expected(key: str, value: object, kind: str) -> str:
    """Advice with the type of a key or its choices; empty if pydantic's message is better."""
    if kind in ("value_error", "dataclass_type", "tuple_type", "string_unicode", "too_short", "too_long"):
        return ""
    known = next((known for known in described_keys() if known.name == key), None)
    if known is None or known.type.startswith("list"):
        return ""
    if kind.startswith("less_than") and " to " not in known.type and "less" not in known.type:
        return ""  # the type does not mention so high a bound
    if known.choices:
        return choose_among(str(value), known.choices)
    return f"give {'a ' if 'number' in known.type else ''}{known.type}"


def known_layer(layer: Mapping[str, Any]) -> Layer:
    """The keys of a stored configuration that this version knows. Later versions may add keys within a format."""
    keys = set(known_keys())
    return merge(layer_of(key, value) for key, value in values_in(layer).items() if key in keys)


def read_toml(path: Path) -> Layer:
    """Read a TOML file: a user's configuration, or a run's ``config.toml``.

    Raises:
        UserError: the file is missing (66) or not TOML (78).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise cannot_read(path, error) from None
    return parse_toml(data, path)


def parse_value(text: str) -> object:
    """Parse a TOML value; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def parse_toml(data: bytes, where: Path) -> Layer:
    """Parse TOML. ``where`` is named in errors.

    Raises:
        UserError: it is not TOML (78).
    """
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too many digits or brackets
        raise UserError(f"{where} is not TOML: {error}", mend="correct that line", code=ExitCode.REFUSED) from None


def to_toml(config: RunConfig) -> str:
    """The configuration as TOML, with every key that is set and that applies to the architecture."""
    tables = asdict(config)
    architecture = config.model.architecture
    tables["model"] = {key: value for key, value in tables["model"].items() if is_used(f"model.{key}", architecture)}
    return tomli_w.dumps(_without_none(tables))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
        for key, value in table.items()
        if value is not None
    }


def difference(old: RunConfig, new: RunConfig) -> list[str]:
    """The keys in which two configurations differ, each as ``table.key: old -> new``."""
    before, after = values_by_key(old), values_by_key(new)
    return [f"{key}: {before[key]} -> {after[key]}" for key in before if key != "preset" and before[key] != after[key]]
