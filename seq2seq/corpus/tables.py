"""Tables: CSV, and tab-separated text with or without the quotes that spreadsheets write."""

import csv
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

from seq2seq.corpus.columns import column_index, find_columns, name_two_languages
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.tuning import HEAD_CHARACTERS, HEAD_LINES, MAX_CELL, MIN_QUOTED_CELLS, SNIFFED_ROWS
from seq2seq.corpus.words import ending, split_columns
from seq2seq.errors import UserError, counted
from seq2seq.text import EncodingErrors, is_blank, one_line, read_lines
from seq2seq.text.languages import code_of, code_of_name

TableRows = Iterator[tuple[int, list[str]]]
"""For each row the number of its first line, from 1, and its cells."""

_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?')
"""A first line of a CSV file that names the separator, for Excel."""


def read_tsv(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """Tab-separated text. Quotes are part of the text, unless the whole table is quoted as spreadsheets do it."""
    path, columns = split_columns(corpus)
    head, lines = _peek(read_lines(Path(path), encoding_errors=encoding_errors, counts=counts))
    if not _is_quoted(head):
        yield from _pairs(((n, line.split("\t")) for n, line in enumerate(lines, 1)), path, columns, langs, counts)
        return
    quoted = [0]
    rows = _parse(_count_quotes(lines, quoted), "\t", path)
    yield from _pairs(rows, path, columns, langs, counts)
    counts.notes.append(f"cells are quoted as spreadsheets do it: quotes were removed on {counted(quoted[0], 'line')}")


def read_csv(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """CSV. Cells may be quoted; quoted cells may contain the separator, quotes and line breaks."""
    path, columns = split_columns(corpus)
    head, lines = _peek(read_lines(Path(path), encoding_errors=encoding_errors, counts=counts))
    if declared := _SEPARATOR_LINE.fullmatch(head[0]) if head else None:
        next(lines)
        counts.notes.append(f"row 1 names the separator: {head[0]}; left out")
    separator = declared[1] if declared else _separator(head, path, columns, langs)
    if separator != ",":
        counts.notes.append(f"columns are separated by {'tabs' if separator == chr(9) else separator}")
    rows = _parse(lines, separator, path, first=2 if declared else 1)
    yield from _pairs(rows, path, columns, langs, counts)


def _peek(lines: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines as a list, and an iterator over all lines. It raises an error after the lines before it."""
    head: list[str] = []
    n_characters = 0
    failure: UserError | None = None
    try:
        for line in lines:
            head.append(line)
            n_characters += len(line)
            if len(head) == HEAD_LINES or n_characters > HEAD_CHARACTERS:
                break
    except UserError as error:
        failure = error

    def rest() -> Iterator[str]:
        if failure is not None:
            raise failure
        yield from lines

    return head, chain(head, rest())


# Quotes and separators ------------------------------------------------------------------------------

_CELL = re.compile(r'("[^"]*(?:""[^"]*)*"|[^"\t\n][^"\t\n]*|)(\t|\n)')


def _is_quoted(head: list[str]) -> bool:
    """Whether a spreadsheet has quoted the cells of tab-separated text. Otherwise quotes are part of the text.

    A program that quotes cells quotes each cell that contains a quote, and doubles that quote. So the answer is no if
    any cell has another kind of quote. It is yes if a quoted cell contains a doubled quote, a tab or a line break. It
    is also yes if 10 cells or more are quoted, and they are all cells of their columns, or exactly the cells with a
    comma (Excel).
    """
    if not any('"' in line for line in head):
        return False
    text = "\n".join(head) + "\n"
    is_cut = len(head) >= HEAD_LINES or len(text) > HEAD_CHARACTERS
    at = n_quoted = n_escaped = with_comma = without_comma = loose_comma = 0
    row: list[str] = []
    widths: set[int] = set()
    of_column: dict[int, set[bool]] = {}
    while at < len(text):
        cell = _CELL.match(text, at)
        if cell is None:
            if is_cut and text[at] == '"' and text.count('"', at) % 2:  # the last of the first lines ends within a cell
                break
            return False
        at = cell.end()
        content = cell[1]
        if content.startswith('"'):
            inside = content[1:-1]
            n_quoted += 1
            n_escaped += '"' in inside or "\t" in inside or "\n" in inside
            with_comma += "," in inside or '"' in inside
            without_comma += not ("," in inside or '"' in inside)
        else:
            loose_comma += "," in content
        if content:
            of_column.setdefault(len(row), set()).add(content.startswith('"'))
        row.append(content)
        if cell[2] == "\n":
            if len(row) > 1 or not is_blank(row[0]):
                widths.add(len(row))
            row = []
    if len(widths) != 1 or widths == {1} or not n_quoted:
        return False
    whole_columns = all(len(kinds) == 1 for kinds in of_column.values())
    as_excel = not without_comma and not loose_comma and with_comma > 0
    return n_escaped > 0 or (n_quoted >= MIN_QUOTED_CELLS and (whole_columns or as_excel))


def _count_quotes(lines: Iterable[str], quoted: list[int]) -> Iterator[str]:
    for line in lines:
        quoted[0] += '"' in line
        yield line


def _parse(lines: Iterable[str], separator: str, path: str, first: int = 1) -> TableRows:
    """The cells of each row, with the number of its first line. ``first`` is the number of the very first line."""
    csv.field_size_limit(MAX_CELL)
    # A carriage return would end a row. In text it becomes a space anyway.
    reader = csv.reader((line.replace("\r", " ") + "\n" for line in lines), delimiter=separator, strict=True)
    number = first
    try:
        for cells in reader:
            yield number, [one_line(cell) for cell in cells]  # a line break in a quoted cell becomes a space
            number = reader.line_num + first
    except csv.Error as error:
        raise UserError(
            f"{path}, line {number}: wrong quotes for CSV ({error})",
            mend='close each quoted cell with ", write a " inside it as "", and end lines with a newline',
        ) from None


def _separator(head: list[str], path: str, columns: tuple[str, str] | None, langs: tuple[str, str]) -> str:
    """The separator of a CSV file: a comma, a semicolon (as spreadsheets write in some countries) or a tab."""
    fitting, named = [], []
    for separator in ",;\t":
        rows: list[list[str]] = []
        with suppress(UserError):  # wrong quotes for this separator
            for _, cells in islice(_parse(head, separator, path), SNIFFED_ROWS):
                rows += [] if all(map(is_blank, cells)) else [cells]
        if len({len(cells) for cells in rows}) == 1 and len(rows[0]) > 1:
            fitting.append(separator)
            names = [name for name in columns or () if not name.isdecimal()]
            if find_columns(rows[0], langs) or (names and set(names) <= {cell.strip() for cell in rows[0]}):
                named.append(separator)
    if len(found := named or fitting) > 1:
        raise UserError(
            f"the columns of {path} may be separated by {' or by '.join('a tab' if s == chr(9) else s for s in found)}",
            mend="save it as tab-separated text (.tsv), or give it a header row that names the languages",
        )
    return found[0] if found else ","


# Rows to pairs -------------------------------------------------------------------------------------------


def _pairs(
    rows: TableRows, path: str, columns: tuple[str, str] | None, langs: tuple[str, str], counts: CorpusCounts
) -> Iterator[Pair]:
    """The pairs of a table, from two columns of each row. A blank line is a pair of empty texts."""
    n_columns: int | None = None
    src = tgt = 0
    for number, cells in rows:
        if len(cells) != n_columns:
            if not cells or (len(cells) == 1 and is_blank(cells[0])):
                yield Pair("", "")
                continue
            if n_columns is not None:
                raise _ragged(path, number, cells, n_columns, columns)
            n_columns = len(cells)
            src, tgt, is_header = _choose(cells, path, number, columns, langs, counts)
            if is_header:
                continue
        yield Pair(cells[src], cells[tgt])


def _choose(
    cells: list[str],
    path: str,
    number: int,
    columns: tuple[str, str] | None,
    langs: tuple[str, str],
    counts: CorpusCounts,
) -> tuple[int, int, bool]:
    """The indices of source and target, and whether the first row is a header."""
    shown = ", ".join(one_line(cell.strip()) for cell in cells)
    if columns is not None:
        src, tgt = (column_index(name, cells, path) for name in columns)
        headings = [cells[src], cells[tgt]]
        found = find_columns(headings, langs)
        is_header = bool(found or name_two_languages(*headings) or not all(name.isdecimal() for name in columns))
        if is_header:
            note = f"row {number} is a header: {shown}; left out"
            if found == (1, 0):
                note += f"; column {src + 1} is still read as {langs[0]}, as the brackets say"
            counts.notes.append(note)
        return src, tgt, is_header
    if (found := find_columns(cells, langs)) is not None:
        src, tgt = found
        which = "" if found == (0, 1) else f"; column {src + 1} is read as {langs[0]}, column {tgt + 1} as {langs[1]}"
        counts.notes.append(f"row {number} is a header: {shown}; left out{which}")
        return src, tgt, True
    if len(cells) != 2:
        raise refuse_columns(path, number, cells, langs)
    if name_two_languages(*cells):
        raise UserError(
            f"{path}, line {number}: the header names {shown}, not {langs[0]} and {langs[1]}",
            mend=f"name the languages with `data.langs`, or the columns as {shlex.quote(f'{path}[1,2]')}",
        )
    return 0, 1, False


def refuse_columns(path: str, number: int, cells: list[str], langs: tuple[str, str]) -> UserError:
    """The error for a table whose columns the user must choose. It shows a row and the CORPUS word to write."""
    where = f"{path}, line {number}"
    if len(cells) < 2:
        return UserError(
            f"{where}: 1 column, not 2: {_shown(cells)}", mend="give a source, one tab and a target on each line"
        )
    src, tgt = _guess(cells, path, langs)
    mend = (
        f"choose source and target: {shlex.quote(f'{path}[{src},{tgt}]')} reads column {src} as {langs[0]} and "
        f"column {tgt} as {langs[1]}, [{tgt},{src}] the other way round"
    )
    if ending(path) == "csv":
        mend += "; cells that hold a comma must be quoted"
    return UserError(f"{where}: {counted(len(cells), 'column')}: {_shown(cells)}", mend=mend)


def _guess(cells: list[str], path: str, langs: tuple[str, str]) -> tuple[int, int]:
    """The likeliest columns of source and target, from 1.

    The first two columns with letters are text. In tables of Anki, with links to tatoeba.org, English is the first; in
    others the languages in the file's name say which is first.
    """
    text = [
        i
        for i, cell in enumerate(cells, 1)
        if any(character.isalpha() for character in cell) and not cell.startswith(("CC-BY", "http://", "https://"))
    ]
    first, second = text[:2] if len(text) >= 2 else (1, 2)
    named = ["en"] if any("tatoeba.org" in cell for cell in cells) else []
    named += [code for word in re.findall(r"\w+", Path(path).name) if (code := code_of_name(word))]
    return (second, first) if named and named[0] == code_of(langs[1]) else (first, second)


def _ragged(path: str, number: int, cells: list[str], n_columns: int, columns: tuple[str, str] | None) -> UserError:
    what = f"{counted(len(cells), 'column')}, not {n_columns}"
    mend = "give a source, one tab and a target on each line"
    if ending(path) == "csv":
        mend = "give each row as many cells as the first one, and quote cells that hold the separator or a quote"
    elif columns is not None or n_columns > 2:
        mend = f"give each line {counted(n_columns, 'column')}, as the first has"
    return UserError(f"{path}, line {number}: {what}: {_shown(cells)}", mend=mend)


def _shown(cells: list[str]) -> str:
    """A row for a message, shortened."""
    short = [one_line(cell if len(cell) <= 24 else f"{cell[:23]}…") for cell in cells[:6]]
    return " | ".join(short) + (" | …" if len(cells) > 6 else "")


def first_row(path: str) -> list[str]:
    """The cells of the first line that is not blank, for a message.

    Raises:
        UserError: as ``read_lines``.
    """
    return next((line.split("\t") for line in islice(read_lines(Path(path)), 100) if not is_blank(line)), [])
