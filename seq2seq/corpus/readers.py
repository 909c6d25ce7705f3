"""The readers of corpora. A CORPUS word is one word that names parallel text; its form decides how it is read."""

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
from seq2seq.corpus.words import STREAMED, ending, is_pattern, matches, side, split_columns, two_files
from seq2seq.errors import ExitCode, UserError
from seq2seq.text import EncodingErrors, is_blank

Reader = Callable[[str, tuple[str, str], EncodingErrors, CorpusCounts], Iterator[Pair]]
"""Its arguments: a CORPUS word, both languages, what to do with lines that are not UTF-8, and counts. Yields pairs."""


def read_pairs(
    corpus: str,
    langs: tuple[str, str],
    *,
    encoding_errors: EncodingErrors = "refuse",
    counts: CorpusCounts | None = None,
) -> Iterator[Pair]:
    """Read a corpus in its order and in constant memory.

    Args:
        corpus: a prefix, ``SOURCE,TARGET``, a file whose name ends in ``.tsv``, ``.csv`` or ``.jsonl``, a pattern with
            ``*`` or ``?`` for several of these, or ``hf:NAME[@REVISION][#CONFIG][:SPLIT]``. Two columns or keys may
            follow in brackets.
        langs: source and target language.
        encoding_errors: what to do with lines that are not UTF-8. refuse: refuse a file if more than 1 line in 100 is
            not UTF-8, else replace the bytes; replace: replace the bytes in any number of lines; strict: refuse any
            such line. Lines with replaced bytes are counted.
        counts: are updated while reading.

    Yields:
        Every pair, also those with a blank side.

    Raises:
        UserError: bad or misaligned data (65), missing or unreadable (66), no space for the copy that ``datasets``
            makes (74), wrong names of columns (2). It is raised when the fault is found, perhaps at the end of the
            corpus.
    """
    counts = CorpusCounts() if counts is None else counts
    yield from count_pairs(find_reader(corpus, langs)(corpus, langs, encoding_errors, counts), langs, counts)


def count_pairs(pairs: Iterator[Pair], langs: tuple[str, str], counts: CorpusCounts) -> Iterator[Pair]:
    """The pairs, counted; a note is added to the counts if the sides look swapped."""
    first: list[Pair] = []
    for pair in pairs:
        counts.pairs += 1
        if is_blank(pair.src) or is_blank(pair.tgt):
            counts.blank += 1
        if len(first) < N_CHECKED:
            first.append(pair)
            if len(first) == N_CHECKED:
                _note_swapped(first, langs, counts)
        yield pair
    if len(first) < N_CHECKED:
        _note_swapped(first, langs, counts)


def _note_swapped(first: list[Pair], langs: tuple[str, str], counts: CorpusCounts) -> None:
    if (swapped := english_side(first, langs)) is not None:
        counts.notes.append(
            f"the sides look swapped: the text read as {swapped} is English; swap the sides, or "
            "the languages of `data.langs`"
        )


def find_reader(corpus: str, langs: tuple[str, str]) -> Reader:
    """The reader for a CORPUS word. A word that has no other form is a prefix.

    Raises:
        UserError: brackets that do not name two columns, or ``?streaming`` (2).
    """
    if corpus.endswith(STREAMED):
        raise UserError(f"{corpus}: only training streams", mend=f"leave out {STREAMED}", code=ExitCode.USAGE)
    if corpus.startswith("hf:"):
        return READERS["hf"]
    # `news.tsv` may also be a prefix, as of `news.tsv.de`.
    if not os.path.lexists(corpus) and any(side(corpus, lang) for lang in langs):
        return READERS["prefix"]
    if is_pattern(corpus):
        return READERS["*"]
    if two_files(corpus) is not None:
        return READERS["two files"]
    path, columns = split_columns(corpus)
    kind = ending(path)
    if os.path.isdir(path) or (
        (os.path.islink(path) or path.startswith(("~/", "http://", "https://"))) and not os.path.exists(path)
    ):
        return READERS["prefix"]  # its error says what is wrong
    if kind in READERS and kind not in ("hf", "prefix"):
        return READERS[kind]
    # `deu.txt[2,1]`: with columns, a file of any name is a table, unless its suffix is that of another format.
    if columns is not None and kind not in FORMATS:
        return READERS["tsv"]
    return READERS["prefix"]


def has_ordered_sides(corpus: str) -> bool:
    """Whether the form of a CORPUS word says which side is the source, without the names of the languages."""
    ordered = [READERS[name] for name in ("two files", "tsv", "csv")]
    return split_columns(corpus).columns is not None or find_reader(corpus, ("", "")) in ordered


def corpus_files(corpus: str, langs: tuple[str, str]) -> list[Path]:
    """The files of a corpus or of a local data set; empty if one is missing, or if it is on the hub."""
    reader = find_reader(corpus, langs)
    if reader is READERS["hf"]:
        return local_files(corpus)
    if reader is READERS["prefix"]:
        paths = [path for path in (side(corpus, lang) for lang in langs) if path is not None]
        return paths if len(paths) == len(langs) else []
    if reader is READERS["*"]:
        return [path for word in matches(corpus, langs) for path in corpus_files(word, langs)]
    return [*(two_files(corpus) or [Path(split_columns(corpus).path)])]


def lone_target(corpus: str, langs: tuple[str, str]) -> Path | None:
    """The target file of a prefix without a source file (references without sources); otherwise None."""
    src, tgt = (side(corpus, lang) for lang in langs)
    return tgt if src is None and find_reader(corpus, langs) is READERS["prefix"] else None


def stamp(corpus: str, langs: tuple[str, str]) -> list[list[int]] | None:
    """Sizes and modification times of a corpus's files. They are equal as long as the files do not change.

    None for data sets of ``hf:``, and if one of them is not a regular file.
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
    """A data set on the hub, or a local folder with the same layout. Its formats are always UTF-8."""
    return read_hub(corpus, langs, counts)


def _read_matches(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """All files that a pattern matches, one after the other."""
    for word in require_matches(corpus, langs):
        yield from find_reader(word, langs)(word, langs, encoding_errors, counts)


def require_matches(pattern: str, langs: tuple[str, str]) -> list[str]:
    """As ``matches``.

    Raises:
        UserError: nothing matches (66).
    """
    if found := matches(pattern, langs):
        return found
    raise UserError(f"{pattern} matches no file", mend="check the pattern", code=ExitCode.NO_INPUT)


READERS: dict[str, Reader] = {
    "prefix": read_prefix,
    "two files": read_two_files,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "ndjson": read_jsonl,
    "hf": _read_hf,
    "*": _read_matches,
}
"""The readers by the form of the CORPUS word. The key of a file format is its suffix."""
