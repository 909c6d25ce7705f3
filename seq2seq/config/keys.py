"""Configuration keys with their types, defaults and meanings, read from ``tables.py`` and ``model.py``."""

import ast
import functools
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pydantic import TypeAdapter

from seq2seq.config import model, tables
from seq2seq.config.presets import PRESETS
from seq2seq.config.tables import TABLES, RunConfig
from seq2seq.config.types import MAX_COUNT

_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One configuration key."""

    name: str
    """In the form ``table.key``."""
    type: str
    """Its type and range, or its choices, in words."""
    choices: tuple[str, ...] = ()
    """Its possible values; empty if it is not a choice among words."""
    default: Any
    """None: unset."""
    meaning: str


def known_keys() -> list[str]:
    """All configuration keys, in the form ``table.key``."""
    return ["preset", *(f"{table}.{key}" for table in TABLES for key in keys_of(table))]


def keys_of(table: str) -> list[str]:
    """The keys of a table, without the tables in it."""
    return [field.name for field in fields(TABLES[table]) if f"{table}.{field.name}" not in TABLES]


def values_by_key(config: RunConfig) -> dict[str, Any]:
    """The values of a configuration by key, in the order of ``known_keys``."""
    return {key: functools.reduce(getattr, key.split("."), config) for key in known_keys()}


def described_keys() -> list[Key]:
    """All configuration keys with their descriptions, in the order of ``known_keys``."""
    schema = TypeAdapter(RunConfig).json_schema()
    preset = schema["properties"]["preset"] | {"enum": ["auto", *PRESETS]}
    properties = {"preset": preset} | {
        f"{name}.{key}": of_key
        for name, table in TABLES.items()
        for key, of_key in schema["$defs"][table.__name__]["properties"].items()
    }
    return [
        Key(
            name=name,
            type=_in_words(properties[name]),
            choices=_choices(properties[name]),
            default=properties[name]["default"],
            meaning=_meaning(name),
        )
        for name in known_keys()
    ]


def table_meaning(name: str) -> str:
    """The meaning of a table of the configuration, in one sentence."""
    return str(TABLES[name].__doc__)


def toml_value(value: Any) -> str:
    """A default, or a value of a preset, as TOML writes it."""
    return "unset" if value is None else json.dumps(value, ensure_ascii=False)


def _meaning(name: str) -> str:
    table, _, key = name.rpartition(".")
    text = _docstrings()[TABLES.get(table, RunConfig).__name__, key]
    return " ".join(text.replace("``", "`").split())


@functools.cache
def _docstrings() -> dict[tuple[str, str], str]:
    """The docstring below each field, by class and field. Python does not store them, so the source is parsed."""
    found = {}
    for node in ast.parse(inspect.getsource(model) + inspect.getsource(tables)).body:
        if isinstance(node, ast.ClassDef):
            for field, below in zip(node.body, node.body[1:], strict=False):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[node.name, key] = text
    return found


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    schema = _not_null(schema)
    return tuple(schema.get("enum") or ([schema["const"]] if "const" in schema else []))


def _not_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a value that is set, for a key that may be unset."""
    return schema["anyOf"][0] if "anyOf" in schema else schema  # a type, or null


def _in_words(schema: Mapping[str, Any]) -> str:
    """Type and range of a key from its JSON schema."""
    schema = _not_null(schema)
    if choices := _choices(schema):
        return " or ".join(", ".join(choices).rsplit(", ", 1))
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}, each: {_in_words(schema['prefixItems'][0])}"
    if schema["type"] == "array":
        return f"list, each: {_in_words(schema['items'])}"
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum", MAX_COUNT), schema.get("exclusiveMaximum", MAX_COUNT)
    bounds = [f"more than {above:g}" if above is not None else "", f"less than {below:g}" if below < MAX_COUNT else ""]
    if low is not None and high < MAX_COUNT / 10:
        bounds.insert(0, f"{low:g} to {high:g}")
    elif low is not None:
        bounds.insert(0, f"{low:g} or more")
    elif high < MAX_COUNT / 10:
        bounds.append(f"{high:g} or less")
    return ", ".join([_TYPES[schema["type"]], *filter(None, bounds)])
