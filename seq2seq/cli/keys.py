"""Lists of configuration keys, as ``seq2seq config`` prints them."""

import json
import textwrap
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from seq2seq.cli.help import text_width
from seq2seq.config import (
    PRESETS,
    TABLES,
    Key,
    choose_among,
    described_keys,
    did_you_mean,
    keys_named,
    known_keys,
    table_meaning,
    toml_value,
)
from seq2seq.errors import ExitCode, UserError
from seq2seq.text import open_output

_HEAD = (
    "Each key with its default, its type and its meaning. Set a key with `seq2seq train --set KEY=VALUE`, or in a file "
    "for --config. train may choose keys that you do not set, by the size of the corpus, the device and the time. It "
    "reports its choice, and RUN/config.toml holds the values of a run."
)


def listed_keys(words: list[str], preset: str | None) -> list[Key]:
    """The keys that match any of the words, in the order of the tables; all, if there are no words.

    Args:
        words: tables, keys, parts of their names, or another toolkit's names for them.
        preset: row of ``PRESETS``, whose values replace the defaults.

    Raises:
        UserError: a word that matches no key, or an unknown preset (2).
    """
    if preset is not None and preset not in PRESETS:
        mend = (
            "auto depends on the corpus: see docs/recipes.md"
            if preset == "auto"
            else choose_among(preset, list(PRESETS))
        )
        raise UserError(f"unknown preset '{preset}'", mend=mend, code=ExitCode.USAGE)
    keys = [_with_value_of(preset, key) for key in described_keys()]
    found = {name for word in words for name in _matching(word, keys)}
    return [key for key in keys if key.name in found or not words]


def _with_value_of(preset: str | None, key: Key) -> Key:
    if key.name == "preset":
        return replace(key, default=preset or key.default)
    table, _, name = key.name.partition(".")
    return replace(key, default=PRESETS.get(preset or "", {}).get(table, {}).get(name, key.default))


def _matching(word: str, keys: list[Key]) -> set[str]:
    part = word.lower().replace("-", "_")
    if part in TABLES:
        return {key.name for key in keys if key.name.startswith(f"{part}.")}
    if part in known_keys():
        return {part}
    # Without a table, only the name of the key counts: "data" does not match "data.train".
    found = {key.name for key in keys if part in (key.name if "." in part else key.name.rpartition(".")[2])}
    found.update(keys_named(part)[0])
    if not found:
        own = Path(word, "config.toml")
        mend = f"the configuration of a run is in {own}" if own.exists() else did_you_mean(part)
        raise UserError(f"no configuration key is named {word}", mend=mend, code=ExitCode.USAGE)
    return found


def print_keys(keys: list[Key], *, as_json: bool) -> None:
    """Print keys to stdout, as JSON or as text of the terminal's width."""
    text = json.dumps({"keys": [asdict(key) for key in keys]}, ensure_ascii=False) if as_json else _as_text(keys)
    with open_output("-") as out:
        out.write(f"{text}\n".encode("utf-8", "replace"))


def _as_text(keys: list[Key]) -> str:
    wrapped = partial(textwrap.fill, width=text_width(), break_on_hyphens=False)
    deeper = partial(wrapped, subsequent_indent=" " * 6)
    paragraphs = [wrapped(_HEAD)] if len(keys) == len(known_keys()) else []
    for table in ("", *TABLES):
        of_table = [key for key in keys if key.name.rpartition(".")[0] == table]
        if of_table and table:
            paragraphs.append(wrapped(f"[{table}] {table_meaning(table)}"))
        for key in of_table:
            head = deeper(f"{key.name} = {toml_value(key.default)} ({key.type})", initial_indent=" " * 2)
            paragraphs.append(f"{head}\n{deeper(key.meaning, initial_indent=' ' * 6)}")
    return "\n\n".join(paragraphs)
