"""CORPUS -> pairs: one word of the command line names parallel text and is read by its look."""

import json
import os
import stat as file_stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seq2seq.corpus.hub import local_files, read_hub
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import EncodingErrors, exists, is_blank, is_file, one_line, read_lines

Reader = Callable[[str, tuple[str, str], EncodingErrors, CorpusCounts], Iterator[Pair]]
"""From CORPUS, languages, what becomes of lines that are not UTF-8, and counts to pairs."""

# What a name may end in; how a file is compressed is told by its content.
_COMPRESSED = ("", ".gz", ".bz2", ".xz")


def uncompressed_name(name: str) -> str:
    """A file's name without what it is compressed with: ``test.en`` of ``test.en.gz``."""
    return next((name.removesuffix(suffix) for suffix in _COMPRESSED[1:] if name.endswith(suffix)), name)


def read_pairs(
    corpus: str,
    langs: tuple[str, str],
    *,
    encoding_errors: EncodingErrors = "refuse",
    counts: CorpusCounts | None = None,
) -> Iterator[Pair]:
    """Read a corpus, in constant memory and in its order.

    Args:
        corpus: a prefix, ``*.tsv``, ``*.jsonl`` or ``hf:NAME[@REVISION][#CONFIG][:SPLIT]``.
        langs: source and target language.
        encoding_errors: refuse a file with more than 1 line in 100 that is not UTF-8, replace bytes in any number of
            lines, or refuse any such line (strict). What is replaced is counted.
        counts: added to on the way.

    Yields:
        Every pair, those with a blank side too.

    Raises:
        UserError: bad or misaligned data (65), missing or unreadable (66), no space for the copy that
            ``datasets`` makes (74); where the corpus is found to be so, which may be at its end.
    """
    counts = CorpusCounts() if counts is None else counts
    for pair in find_reader(corpus, langs)(corpus, langs, encoding_errors, counts):
        counts.pairs += 1
        if is_blank(pair.src) or is_blank(pair.tgt):
            counts.blank += 1
        yield pair


def find_reader(corpus: str, langs: tuple[str, str]) -> Reader:
    """The row of ``READERS`` that a corpus looks like; of no other look, it is a prefix."""
    if corpus.startswith("hf:"):
        return READERS["hf"]
    for name in (row for row in READERS if row not in ("hf", "prefix")):  # all of one file, named after the row
        # `news.tsv` may be a prefix too: that of `news.tsv.de`.
        if corpus.endswith(tuple(f".{name}{suffix}" for suffix in _COMPRESSED)) and (
            os.path.lexists(corpus) or not _side(corpus, langs[0])
        ):
            return READERS[name]
    return READERS["prefix"]


def corpus_files(corpus: str, langs: tuple[str, str]) -> list[Path]:
    """The files that a corpus is read from, those of a local data set too; none if one is missing or on the hub."""
    reader = find_reader(corpus, langs)
    if reader is READERS["hf"]:
        return local_files(corpus)
    paths = [_side(corpus, lang) for lang in langs] if reader is READERS["prefix"] else [Path(corpus)]
    found = [path for path in paths if path is not None]
    return found if len(found) == len(paths) else []


def stamp(corpus: str, langs: tuple[str, str]) -> list[list[int]] | None:
    """Sizes and times of change of a corpus's files: the same as long as nobody has touched them.

    None where that says nothing: data sets of ``hf:``, and what is no ordinary file.
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


def _read_prefix(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """``train.de`` and ``train.en``, each plain or compressed, one sentence a line."""
    src_path, tgt_path = (_side(corpus, lang) for lang in langs)
    if src_path is None or tgt_path is None:
        raise _no_such_sides(corpus, langs)
    src_lines = read_lines(src_path, encoding_errors=encoding_errors, counts=counts)
    tgt_lines = read_lines(tgt_path, encoding_errors=encoding_errors, counts=counts)
    n = 0
    while (src := next(src_lines, None)) is not None and (tgt := next(tgt_lines, None)) is not None:
        yield Pair(src, tgt)
        n += 1
    # Either src is a line that tgt has no partner for, or src has ended and tgt may go on.
    n_src = n + (src is not None) + sum(1 for _ in src_lines)
    n_tgt = n + sum(1 for _ in tgt_lines)
    if n_src != n_tgt:
        raise UserError(
            f"{src_path} has {n_src:,} lines but {tgt_path} has {n_tgt:,}",
            mend="give files with one sentence per line, in the same order",
        )


def _side(prefix: str, lang: str) -> Path | None:
    """The file of one language, the plain one before any compressed one.

    Raises:
        UserError: the system does not tell what is there (66).
    """
    paths = (f"{prefix}.{lang}{suffix}" for suffix in _COMPRESSED)
    return next((Path(path) for path in paths if exists(path)), None)


def lone_target(corpus: str, langs: tuple[str, str]) -> Path | None:
    """The target side of a prefix that has no source side: references, and nothing to translate."""
    src, tgt = (_side(corpus, lang) for lang in langs)
    return tgt if src is None and find_reader(corpus, langs) is READERS["prefix"] else None


def _no_such_sides(prefix: str, langs: tuple[str, str]) -> UserError:
    """Say which of the two files is missing, and what lies there instead."""
    missing = [f"{prefix}.{lang}" for lang in langs if _side(prefix, lang) is None]
    what = f"{' and '.join(missing)} not found (nor with {', '.join(_COMPRESSED[1:])})"
    folder, _, stem = prefix.rpartition("/")
    try:
        names = sorted(os.listdir(folder or ("/" if prefix.startswith("/") else ".")))
    except OSError:
        names = []
    there = {
        name.removeprefix(f"{stem}."): name
        for name in (name.removesuffix(suffix) for name in names for suffix in _COMPRESSED[1:] if name)
        if stem and name.startswith(f"{stem}.") and not name.endswith(_COMPRESSED[1:])
    }
    if there:
        shown = ", ".join(list(there.values())[:8]) + (", …" if len(there) > 8 else "")
        what += f", but there is {shown}"
        mend = f"languages {langs[0]} and {langs[1]} do not match the files: name two that are there with -l"
    elif is_file(prefix):
        mend = f"leave the language out of the name: CORPUS is what comes before .{langs[0]} and .{langs[1]}"
    else:
        mend = "give a prefix, a .tsv or .jsonl file, or hf:NAME"
    return UserError(what, mend=mend, code=ExitCode.NO_INPUT)


def _read_tsv(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """Source, tab, target; nothing is quoted."""
    for number, line in enumerate(read_lines(Path(corpus), encoding_errors=encoding_errors, counts=counts), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{corpus}, line {number}: {len(columns)} column{'s' if len(columns) > 1 else ''}, not 2",
                mend="give a source, one tab and a target on each line",
            )
        yield Pair(*columns)


def _read_jsonl(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """An object a line: ``{"de": …, "en": …}``, or the same under ``translation``."""
    for number, line in enumerate(read_lines(Path(corpus), encoding_errors=encoding_errors, counts=counts), start=1):
        where = f"{corpus}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: no JSON ({error})", mend="give one JSON object on each line") from None
        yield _pair_of(row, langs, where)


def _pair_of(row: Any, langs: tuple[str, str], where: str) -> Pair:
    if isinstance(row, dict) and isinstance(row.get("translation"), dict):
        row = row["translation"]
    if not isinstance(row, dict) or not all(lang in row for lang in langs):
        found = f"keys {', '.join(map(str, row)) or 'none'}" if isinstance(row, dict) else f"a {type(row).__name__}"
        raise UserError(
            one_line(f"{where}: {found}, not {langs[0]} and {langs[1]}"),
            mend="name the languages that are there with -l",
        )
    for lang in langs:
        if not isinstance(row[lang], str):
            raise UserError(
                f"{where}: {lang} is {'null' if row[lang] is None else type(row[lang]).__name__}, not a string",
                mend="give text in both languages, or leave the line out",
            )
    # JSON can write what no line may hold: newlines, halves of surrogate pairs.
    return Pair(one_line(row[langs[0]]), one_line(row[langs[1]]))


def _read_hf(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """A data set on the hub, or a local folder in its layout; its text is UTF-8 by format."""
    for number, row in enumerate(read_hub(corpus, langs), start=1):
        yield _pair_of(row, langs, f"{corpus}, row {number}")


READERS: dict[str, Reader] = {
    "prefix": _read_prefix,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "hf": _read_hf,
}
