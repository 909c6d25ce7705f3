"""Errors for a CORPUS word that no reader can read. They say what it is, and what to write or do instead."""

import errno
import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from seq2seq.corpus.columns import find_columns
from seq2seq.corpus.tables import first_row, refuse_columns
from seq2seq.corpus.words import COMPRESSED, ending, side, split_columns, uncompressed_name
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import cannot_read
from seq2seq.text import read_lines
from seq2seq.text.languages import code_of

_AS_TABLE = "save it as CSV (.csv) or tab-separated text (.tsv), and name that"
_AS_LINES = "save it as plain text, one sentence a line, and name the two files as SOURCE,TARGET"
_UNPACK = "unpack it, and name the files in it"

FORMATS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("xlsx", "xls", "xlsm", "ods", "numbers"), ("a spreadsheet", _AS_TABLE)),
    **dict.fromkeys(("docx", "doc", "odt", "rtf", "pdf", "pptx", "html", "htm", "epub"), ("a document", _AS_LINES)),
    **dict.fromkeys(("srt", "vtt", "ass", "sub"), ("a file of subtitles", _AS_LINES)),
    "tmx": (
        "a translation memory (TMX), which is not read yet",
        "export it from the program that wrote it as CSV or tab-separated text",
    ),
    **dict.fromkeys(
        ("xlf", "xliff", "sdlxliff", "mqxliff"),
        (
            "an XLIFF file, which is not read yet",
            "convert it with Translate Toolkit: `xliff2po FILE FILE.po`, then `po2csv FILE.po FILE.csv`",
        ),
    ),
    **dict.fromkeys(
        ("po", "pot"),
        ("a gettext file, which is not read yet", "convert it with Translate Toolkit: `po2csv FILE FILE.csv`"),
    ),
    "mo": (
        "a compiled gettext file",
        "convert it: `msgunfmt FILE -o FILE.po`, then with Translate Toolkit `po2csv FILE.po FILE.csv`",
    ),
    **dict.fromkeys(
        ("parquet", "arrow", "feather"), ("a file of a data set", "name only the folder that holds it, as hf:FOLDER")
    ),
    "json": ("one JSON document", "write one object on each line: `jq -c '.[]' FILE > FILE.jsonl`"),
    **dict.fromkeys(("xml", "yaml", "yml", "sgm", "sgml", "tbx", "ttx"), ("in a format that is not read", _AS_TABLE)),
    "toml": ("a configuration file", "give it with `train layers`"),
    "lz4": ("compressed with LZ4, which is not read", "decompress it: `lz4 -d FILE`"),
    **dict.fromkeys(("zip", "tar", "tgz", "tbz", "txz", "7z", "rar"), ("an archive", _UNPACK)),
    **dict.fromkeys(("db", "sqlite", "sqlite3"), ("a database", _AS_TABLE)),
}
"""By the suffix of a file: what the file is, and what to do. FILE is replaced by its name."""

_DATA_FILES = ("parquet", "arrow", "jsonl", "json", "csv", "tsv", "ndjson")
_READ = ("tsv", "csv", "jsonl", "ndjson")
_HOW_TO_NAME = "give a prefix, a .tsv, .csv or .jsonl file, two files as SOURCE,TARGET, or hf:NAME"


def refusal(corpus: str, langs: tuple[str, str]) -> UserError:
    """The error for a word that does not name a readable corpus.

    Args:
        corpus: the CORPUS word.
        langs: source and target language.
    """
    path = split_columns(corpus).path
    if not path:
        return _missing("an empty word does not name a corpus", _HOW_TO_NAME)
    for name in (path, *(f"{path}.{lang}{suffix}" for lang in langs for suffix in COMPRESSED)):
        if os.path.islink(name) and not os.path.exists(name):
            return _missing(f"{name} is a link to {Path(name).readlink()}, which does not exist", "repair the link")
    if any(side(path, lang) for lang in langs):
        return _no_such_sides(path, langs)
    try:
        status = Path(path).stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return cannot_read(path, error)
        return _not_found(path, langs)
    except ValueError:  # a NUL in the name
        return _not_found(path, langs)
    if stat.S_ISDIR(status.st_mode):
        return _folder(path, langs)
    if not stat.S_ISREG(status.st_mode):
        return UserError(
            f"{path} is a pipe or a device, so the kind of corpus is not known",
            mend="write it to a file first, or choose columns of tab-separated text as '" + path + "[1,2]'",
        )
    return _file(path, langs)


def _missing(what: str, mend: str) -> UserError:
    return UserError(what, mend=mend, code=ExitCode.NO_INPUT)


def _file(path: str, langs: tuple[str, str]) -> UserError:
    """The error for a file that exists but is not a corpus."""
    for lang in langs:
        for suffix in COMPRESSED:
            prefix = path.removesuffix(f".{lang}{suffix}")
            if prefix != path and any(side(prefix, other) for other in langs if other != lang):
                what = f"{path} is one side of a corpus"
                return UserError(
                    what,
                    mend=f"leave the language out of the name: CORPUS is what comes before .{langs[0]} and .{langs[1]},"
                    f" {prefix}",
                )
    kind = ending(path)
    if kind == "json" and _is_json_lines(path):
        what = f"{path} holds one JSON object on each line"
        return UserError(what, mend="rename it, so that its name ends in .jsonl")
    if kind in FORMATS:
        what, mend = FORMATS[kind]
        plain = str(Path(path).with_name(uncompressed_name(Path(path).name)))
        mend = mend.replace("hf:FOLDER", f"hf:{Path(path).parent}").replace("FILE", shlex.quote(plain))
        mend = mend if plain == str(Path(path)) else f"decompress it; then {mend}"
        return UserError(f"{path} is {what}", mend=mend)
    cells = first_row(path)
    if len(cells) > 1:
        error = refuse_columns(path, 1, cells, langs)
        return UserError(f"{error.what} (its name does not say that it is a table)", mend=error.mend)
    return UserError(
        f"{path} is one text file, but a corpus has two sides",
        mend=f"name both files, source then target, as {shlex.quote('SOURCE,TARGET')}; or a prefix, if they end in "
        f".{langs[0]} and .{langs[1]}",
    )


def _is_json_lines(path: str) -> bool:
    try:
        return isinstance(json.loads(next(read_lines(Path(path)), "")), dict)
    except (ValueError, RecursionError, UserError):
        return False


def _folder(path: str, langs: tuple[str, str]) -> UserError:
    """The error for a folder. It names a corpus in it, if there is one."""
    folder = path.rstrip("/")
    names = sorted(_names(path))
    if {"manifest.json", "config.toml"} <= set(names):
        return UserError(f"{path} is the folder of a run, not a corpus", mend=_HOW_TO_NAME)
    prefixes = [f"{folder}/{stem}" for stem in _stems(names, langs)]
    if prefixes:
        return UserError(f"{path} is a folder", mend=f"name a corpus in it: {_some(prefixes)}")
    tables = [name for name in names if ending(name) in _READ]
    deeper = [name for name in names for inner in _names(f"{folder}/{name}") if ending(inner) in _DATA_FILES]
    is_hub = deeper or any(ending(name) in ("parquet", "arrow") for name in names)
    if is_hub or (tables and ("README.md" in names or any(name.startswith("train") for name in tables))):
        shown = folder if path.startswith(("/", ".")) else f"./{folder}"
        return UserError(f"{path} is a folder that looks like a data set", mend=f"name it as hf:{shown}")
    if tables:
        return UserError(
            f"{path} is a folder", mend=f"name a file in it: {_some([f'{folder}/{name}' for name in tables])}"
        )
    if two := _two_files(folder, names, 0, langs):
        return UserError(f"{path} is a folder", mend=f"name the two files in it: {two}")
    what = f"{path} is a folder that holds {_some(names)}" if names else f"{path} is an empty folder"
    return UserError(what, mend=_HOW_TO_NAME)


def _not_found(path: str, langs: tuple[str, str]) -> UserError:
    """The error if no file has this name. A longer or similar name may exist, or files of other languages."""
    if path.startswith("~/"):
        return _missing(f"{path} not found", f"a shell does not expand ~ inside quotes: write {Path.home()}{path[1:]}")
    if path.startswith(("http://", "https://")):
        return _missing(f"{path} is a web address", "download it first; a data set on the hub is named hf:OWNER/NAME")
    if ending(path) in FORMATS or ending(path) == "txt":
        return _missing(f"{path} not found", "check the name")
    return _no_such_sides(path, langs)


def _no_such_sides(prefix: str, langs: tuple[str, str]) -> UserError:
    """The error that names the missing file or files of a prefix, and similar files that exist."""
    missing = [f"{prefix}.{lang}" for lang in langs if side(prefix, lang) is None]
    what = f"{' and '.join(missing)} not found (nor with {', '.join(COMPRESSED[1:])})"
    folder, _, stem = prefix.rpartition("/")
    folder = folder or ("/" if prefix.startswith("/") else ".")
    names = sorted(_names(folder))
    found = {
        uncompressed_name(name).removeprefix(f"{stem}."): uncompressed_name(name)
        for name in names
        if name.startswith(f"{stem}.")
    }
    other = {code_of(lang): lang for lang in found}
    if longer := [prefix.removesuffix(stem) + one for one in _stems(names, langs) if stem and one.startswith(stem)]:
        return _missing(what, f"there is a longer prefix: {_some(longer)}")
    if stem and found:
        what += f", but there is {_some(list(found.values()))}"
        mend = f"the files have other languages than {langs[0]} and {langs[1]}: name two of theirs with `data.langs`"
        spelt = [lang if lang in found else other.get(code_of(lang)) for lang in langs]
        if None not in spelt and None not in map(code_of, langs):
            hyphen = ":" if any("-" in str(lang) for lang in spelt) else "-"
            mend = f"name the languages as the files do: `data.langs={spelt[0]}{hyphen}{spelt[1]}`"
        elif two := _two_files(folder, list(found.values()), len(stem) + 1, langs):
            mend = f"name both files: {two}"
        return _missing(what, mend)
    if "," in prefix:
        return _missing(f"{what}, nor the two files {prefix}", "name existing files, source then target")
    return _missing(what, _HOW_TO_NAME)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _stems(names: list[str], langs: tuple[str, str]) -> Iterator[str]:
    """Prefixes that have a file in both languages."""
    plain = dict.fromkeys(uncompressed_name(name) for name in names)
    for name in plain:
        stem = name.removesuffix(f".{langs[0]}")
        if stem != name and stem and f"{stem}.{langs[1]}" in plain:
            yield stem


def _two_files(folder: str, names: list[str], start: int, langs: tuple[str, str]) -> str | None:
    """The CORPUS word for two files that are source and target by their names, read from ``start`` to the next dot."""
    found = find_columns([name[start:].partition(".")[0] for name in names], langs)
    if found is None:
        return None
    inside = "" if folder == "." else f"{folder}/"
    return ",".join(shlex.quote(f"{inside}{names[place]}") for place in found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
