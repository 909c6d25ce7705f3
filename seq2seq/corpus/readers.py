"""The readers of corpora: a CORPUS word is one word that names parallel text; its form decides how it is read."""

import os
import stat as file_stat
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.corpus.direction import english_side
from seq2seq.corpus.hub import local_files, read_hub
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.rows import read_jsonl
from seq2seq.corpus.sides import read_prefix, read_two_files
from seq2seq.corpus.tables import read_csv, read_tsv
from seq2seq.corpus.tuning import N_CHECKED
from seq2seq.corpus.unreadable import FORMATS
from seq2seq.corpus.words import ending, side, split_columns, two_files
from seq2seq.text import EncodingErrors, is_blank

Reader = Callable[[str, tuple[str, str], EncodingErrors, CorpusCounts], Iterator[Pair]]
"""Takes a CORPUS word, languages, what to do with lines that are not UTF-8, and counts. Yields pairs."""


def read_pairs(
    corpus: str,
    langs: tuple[str, str],
    *,
    encoding_errors: EncodingErrors = "refuse",
    counts: CorpusCounts | None = None,
) -> Iterator[Pair]:
    """Read a corpus, in constant memory and in its order.

    Args:
        corpus: a prefix, ``SOURCE,TARGET``, ``*.tsv``, ``*.csv``, ``*.jsonl`` or
            ``hf:NAME[@REVISION][#CONFIG][:SPLIT]``; a table or rows with keys, perhaps with two columns in brackets.
        langs: source and target language.
        encoding_errors: refuse a file with more than 1 line in 100 that is not UTF-8, replace bytes in any number of
            lines, or refuse any such line (strict). What is replaced is counted.
        counts: are updated while reading.

    Yields:
        Every pair, those with a blank side too.

    Raises:
        UserError: bad or misaligned data (65), missing or unreadable (66), no space for the copy that
            ``datasets`` makes (74), columns that are named wrongly (2). It is raised when the fault is found, perhaps
            at the end of the corpus.
    """
    counts = CorpusCounts() if counts is None else counts
    first: list[Pair] = []
    for pair in find_reader(corpus, langs)(corpus, langs, encoding_errors, counts):
        counts.pairs += 1
        if is_blank(pair.src) or is_blank(pair.tgt):
            counts.blank += 1
        if len(first) < N_CHECKED:
            first.append(pair)
        yield pair
    if (swapped := english_side(first, langs)) is not None:
        counts.notes.append(
            f"the sides look swapped: the text read as {swapped} is English; swap the sides, or "
            "the languages of `data.langs`"
        )


def find_reader(corpus: str, langs: tuple[str, str]) -> Reader:
    """The row of ``READERS`` for a CORPUS word. A word of no other form is a prefix.

    Raises:
        UserError: brackets that do not name two columns (2).
    """
    if corpus.startswith("hf:"):
        return READERS["hf"]
    # `news.tsv` may be a prefix too: that of `news.tsv.de`.
    if not os.path.lexists(corpus) and any(side(corpus, lang) for lang in langs):
        return READERS["prefix"]
    if two_files(corpus) is not None:
        return READERS["two files"]
    path, columns = split_columns(corpus)
    kind = ending(path)
    if os.path.isdir(path) or (
        (os.path.islink(path) or path.startswith(("~/", "http://", "https://"))) and not os.path.exists(path)
    ):
        return READERS["prefix"]  # whose error says what is wrong
    if kind in READERS and kind not in ("hf", "prefix"):
        return READERS[kind]
    # `deu.txt[2,1]`: with columns, a file of any name is a table, unless it is known to be something else.
    if columns is not None and kind not in FORMATS:
        return READERS["tsv"]
    return READERS["prefix"]


def has_ordered_sides(corpus: str) -> bool:
    """Whether the form of a corpus decides which side is the source, without the names of languages."""
    ordered = [READERS[name] for name in ("two files", "tsv", "csv")]
    return split_columns(corpus).columns is not None or find_reader(corpus, ("", "")) in ordered


def corpus_files(corpus: str, langs: tuple[str, str]) -> list[Path]:
    """The files of a corpus, also of a local data set; none if one is missing, or if it is on the hub."""
    reader = find_reader(corpus, langs)
    if reader is READERS["hf"]:
        return local_files(corpus)
    if reader is READERS["prefix"]:
        paths = [path for path in (side(corpus, lang) for lang in langs) if path is not None]
        return paths if len(paths) == len(langs) else []
    return [*(two_files(corpus) or [Path(split_columns(corpus).path)])]


def lone_target(corpus: str, langs: tuple[str, str]) -> Path | None:
    """The target file of a prefix that has no source file: references without sources; else None."""
    src, tgt = (side(corpus, lang) for lang in langs)
    return tgt if src is None and find_reader(corpus, langs) is READERS["prefix"] else None


def stamp(corpus: str, langs: tuple[str, str]) -> list[list[int]] | None:
    """Sizes and modification times of a corpus's files: equal as long as the files do not change.

    None for data sets of ``hf:``, and if a file is not a regular file.
    """
    if find_reader(corpus, langs) is READERS["hf"]:
        return None
    try:
        found = [path.stat() for path in corpus_files(corpus, langs)]
    except OSError:
        return None
    if not found or not all(file_stat.S_ISREG(s.st_mode) for s in found):
        return None
    return [[s.st_size, s.st_mtime_ns] for s in found]


def _read_hf(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """A data set on the hub, or a local folder in its layout; its text is UTF-8 by format."""
    return read_hub(corpus, langs, counts)


READERS: dict[str, Reader] = {
    "prefix": read_prefix,
    "two files": read_two_files,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "ndjson": read_jsonl,
    "hf": _read_hf,
}
"""By the form of the word. The row of a file format has the name of its suffix."""
