"""Parsing of CORPUS words: ``train``, ``pairs.tsv``, ``pairs.tsv[4,2]``, ``deu.txt,eng.txt``, ``shards/*.tsv``."""

import os
from glob import glob
from pathlib import Path
from typing import NamedTuple

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import COMPRESSED_SUFFIXES, exists

STREAMED = "?streaming"
"""The end of a CORPUS word that ``train`` reads as a stream."""
COMPRESSED = ("", *COMPRESSED_SUFFIXES, ".zst")
"""Suffixes of compression that may follow a file's name. The content of the file decides how it is decompressed."""


class Word(NamedTuple):
    """The parts of a CORPUS word: a path or ``hf:NAME``, and the two chosen columns."""

    path: str
    columns: tuple[str, str] | None
    """Of source and target, as written in the brackets."""


def split_columns(word: str) -> Word:
    """Split ``pairs.tsv[4,2]`` into its path and its columns. The name of an existing file is not split.

    Raises:
        UserError: the brackets do not name two columns (2).
    """
    if not word.endswith("]") or os.path.lexists(word.removeprefix("hf:")):
        return Word(word, None)
    starts = [i for i in range(len(word) - 1, 0, -1) if word[i] == "["]
    at = next((i for i in starts if os.path.isfile(word[:i])), None)
    if at is None:  # no such file: brackets with a comma in them; those of hf:NAME:train[:10%] have none
        at = next((i for i in starts if "," in word[i:] and "/" not in word[i:]), None)
    if at is None:
        return Word(word, None)
    columns = [column.strip() for column in word[at + 1 : -1].split(",")]
    if len(columns) != 2 or not all(columns) or columns[0] == columns[1]:
        raise UserError(
            f"{word} does not name two columns",
            mend="write source and target as [1,2] or [German,English]; give the number of a column whose name "
            "holds a comma",
            code=ExitCode.USAGE,
        )
    return Word(word[:at], (columns[0], columns[1]))


def two_files(word: str) -> tuple[Path, Path] | None:
    """The two files that ``deu.txt,eng.txt`` names, if at least one of them exists; None for any other word."""
    if "," not in word or os.path.lexists(word):
        return None
    cuts = [(word[:i], word[i + 1 :]) for i, character in enumerate(word) if character == ","]
    for enough in (all, any):
        for src, tgt in cuts:
            if enough(os.path.exists(path) and not os.path.isdir(path) for path in (src, tgt)):
                return Path(src), Path(tgt)
    return None


def is_pattern(word: str) -> bool:
    """Whether a word names several files, as ``shards/*.tsv`` or ``part-?``. The name of an existing file does not."""
    path = split_columns(word).path
    return ("*" in path or "?" in path) and not path.startswith("hf:") and not os.path.lexists(path)


def matches(pattern: str, langs: tuple[str, str]) -> list[str]:
    """The CORPUS words of all files or prefixes that a pattern matches, in the order of their names.

    Args:
        pattern: columns may follow in brackets; each word has them too.
        langs: source and target language.
    """
    path, columns = split_columns(pattern)
    ends = [f".{lang}{suffix}" for lang in langs for suffix in COMPRESSED]
    # Path.glob refuses a pattern that begins with a slash.
    prefixes = {name.removesuffix(end) for end in ends for name in glob(path + end)}  # noqa: PTH207
    found = prefixes or set(glob(path))  # noqa: PTH207
    brackets = f"[{columns[0]},{columns[1]}]" if columns else ""
    return [name + brackets for name in sorted(found)]


def side(prefix: str, lang: str) -> Path | None:
    """The file of one language. A plain file is preferred to a compressed one; None if there is neither."""
    paths = (f"{prefix}.{lang}{suffix}" for suffix in COMPRESSED)
    return next((Path(path) for path in paths if exists(path)), None)


def ending(path: str) -> str:
    """The suffix of a name in lower case, ignoring that of a compression: ``tsv`` for ``A.TSV.gz``."""
    plain = uncompressed_name(Path(path).name.lower())
    return plain.rpartition(".")[2] if "." in plain else ""


def uncompressed_name(name: str) -> str:
    """A file's name without the suffix of its compression: ``test.en`` for ``test.en.gz``."""
    return next((name.removesuffix(suffix) for suffix in COMPRESSED[1:] if name.endswith(suffix)), name)
