"""Checks of the lines and translations that callers pass to a ``Translator``."""

from collections.abc import Iterable, Mapping, Sequence


def checked_lines(lines: Iterable[str]) -> list[str]:
    """The lines as a list, each without a newline at its end: lists, generators, columns and open files are accepted.

    Raises:
        TypeError: a single string, a mapping, or a line that is not a string.
        ValueError: a string that UTF-8 cannot hold.
    """
    return [checked_line(index, line) for index, line in enumerate(checked_iterable(lines))]


def checked_iterable(lines: Iterable[str]) -> Iterable[str]:
    """Check that an object may hold lines, without reading any of them.

    Raises:
        TypeError: a single string, or a mapping.
    """
    if isinstance(lines, str | bytes):
        raise TypeError(
            f"lines must be a list of strings, not one {type(lines).__name__}: pass [text] for a single line"
        )
    if not isinstance(lines, Iterable) or isinstance(lines, Mapping):
        raise TypeError(f"lines must be a list of strings, not {type(lines).__name__}")
    return lines


def checked_line(index: int, line: str) -> str:
    """The line without a newline at its end.

    Args:
        index: of the line, counted from 0; for errors.
        line: of an iterable.

    Raises:
        TypeError: not a string.
        ValueError: a string that UTF-8 cannot hold.
    """
    if not isinstance(line, str):
        how = "decode it, as in line.decode('utf-8')" if isinstance(line, bytes) else "pass '' for a missing line"
        raise TypeError(f"line {index} (counted from 0) is {type(line).__name__} {line!r:.40}, not a string: {how}")
    if not line.isascii():
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"line {index} (counted from 0) holds half of a surrogate pair, U+{ord(line[error.start]):04X}: "
                "pass line.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
            ) from None
    return line.removesuffix("\r\n").removesuffix("\n")


def checked_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The sides of pairs, as two lists of lines.

    Raises:
        TypeError: not pairs of strings.
        ValueError: a string that UTF-8 cannot hold.
    """
    rows = [tuple(pair) if isinstance(pair, Sequence) and not isinstance(pair, str | bytes) else () for pair in pairs]
    for index, row in enumerate(rows):
        if len(row) != 2:
            raise TypeError(f"pair {index} (counted from 0) is not a source and its translation: pass (source, target)")
    return checked_lines([row[0] for row in rows]), checked_lines([row[1] for row in rows])
