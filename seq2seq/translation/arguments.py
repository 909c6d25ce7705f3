"""Checks of the lines that Python callers pass to a ``Translator``."""

from collections.abc import Iterable, Mapping


def checked_lines(lines: Iterable[str]) -> list[str]:
    """The lines as a list, each without a newline at its end: lists, generators, columns and open files are fine.

    Raises:
        TypeError: a single string, a mapping, or a line that is not a string.
        ValueError: a string that UTF-8 cannot hold.
    """
    if isinstance(lines, str | bytes):
        raise TypeError(
            f"lines must be a list of strings, not one {type(lines).__name__}: pass [text] for a single line"
        )
    if not isinstance(lines, Iterable) or isinstance(lines, Mapping):
        raise TypeError(f"lines must be a list of strings, not {type(lines).__name__}")
    checked = []
    for index, line in enumerate(lines):
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
        checked.append(line.removesuffix("\r\n").removesuffix("\n"))
    return checked
