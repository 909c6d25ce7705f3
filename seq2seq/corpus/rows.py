"""Rows with keys, as in JSON Lines and in data sets of the hub."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seq2seq.corpus.columns import find_columns
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.words import split_columns
from seq2seq.errors import UserError
from seq2seq.text import EncodingErrors, is_blank, one_line, read_lines


def read_jsonl(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """JSON Lines: each line is an object ``{"de": …, "en": …}``, or holds it under ``translation`` or another key."""
    path, columns = split_columns(corpus)
    keys = columns or langs
    for number, line in enumerate(read_lines(Path(path), encoding_errors=encoding_errors, counts=counts), start=1):
        if is_blank(line):
            yield Pair("", "")
            continue
        where = f"{path}, line {number}"
        try:
            # Numbers stay text, as they are written: as a float, 1.10 would become 1.1.
            row = json.loads(line, parse_int=str, parse_float=str, parse_constant=_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{where}: not valid JSON ({error})",
                mend="give one JSON object on each line, as `jq -c . FILE` writes them",
            ) from None
        if isinstance(row, list):
            raise UserError(
                f"{where}: a list, not an object with {keys[0]} and {keys[1]}",
                mend="give one JSON object on each line, as `jq -c '.[]' FILE` writes them",
            )
        if columns is None:
            row = inner_object(row, langs)
            if isinstance(row, dict) and not all(key in row for key in keys):
                keys = _other_keys(row, langs, counts) or langs
        yield pair_of(row, keys, where)


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name  # pandas writes a missing value as NaN


def inner_object(row: Any, langs: tuple[str, str]) -> Any:
    """The object in a row that holds the languages: under ``translation``, or under the only key that has both."""
    if not isinstance(row, dict):
        return row
    inner = row.get("translation")
    if not isinstance(inner, dict):
        if all(lang in row for lang in langs):
            return row
        parts = [value for value in row.values() if isinstance(value, dict) and _has_languages(value, langs)]
        inner = parts[0] if len(parts) == 1 else row
    return first_translations(inner, langs) if is_variable(inner) else inner


def _has_languages(value: dict[str, Any], langs: tuple[str, str]) -> bool:
    return is_variable(value) or all(lang in value for lang in langs)


def is_variable(value: dict[str, Any]) -> bool:
    """Whether it is a value of the feature ``TranslationVariableLanguages`` of ``datasets``."""
    return value.keys() == {"language", "translation"} and isinstance(value["language"], list)


def first_translations(value: dict[str, Any], langs: tuple[str, str]) -> dict[str, Any]:
    """The first text in each language, from a list of languages and a list of texts; None if there is none."""
    translations = list(zip(value["language"], value["translation"] or (), strict=False))
    return {lang: next((text for one, text in translations if one == lang), None) for lang in langs}


def _other_keys(row: dict[str, Any], langs: tuple[str, str], counts: CorpusCounts) -> tuple[str, str] | None:
    """The keys that name the languages in another way (``German``, ``deu``, ``source``); None if there are none."""
    names = list(row)
    if (found := find_columns(names, langs)) is None:
        return None
    keys = names[found[0]], names[found[1]]
    note = f"{keys[0]} is read as {langs[0]}, {keys[1]} as {langs[1]}"
    if note not in counts.notes:
        counts.notes.append(note)
    return keys


def pair_of(row: Any, keys: tuple[str, str], where: str) -> Pair:
    """The pair of the texts under two keys of a row; null is blank.

    Raises:
        UserError: a key is missing, or a value is not text (65).
    """
    if not isinstance(row, dict) or not all(key in row for key in keys):
        found = f"keys {', '.join(map(str, row)) or 'none'}" if isinstance(row, dict) else f"a {type(row).__name__}"
        raise UserError(
            one_line(f"{where}: {found}, not {keys[0]} and {keys[1]}"),
            mend="name the languages of these keys with `data.langs`, or choose two keys as 'CORPUS[KEY,KEY]'",
        )
    return Pair(text_of(row[keys[0]], keys[0], where), text_of(row[keys[1]], keys[1], where))


def text_of(value: Any, name: str, where: str) -> str:
    """A value as one line of text. Null and NaN are blank; an integer becomes its digits.

    Raises:
        UserError: the value has another type (65).
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {name} is {type(value).__name__}, not a string", mend="give text in both languages")
    # JSON strings may contain newlines and single surrogates, but a line must not.
    return one_line(value)
