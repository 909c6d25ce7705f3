"""A map of attention in characters, for a terminal of any width.

The names of the columns are written out if there is room; else they are shortened; else they are turned, and read from
top to bottom. A map that is still too wide comes in several bands, one below the other.
"""

from collections.abc import Callable, Iterator, Sequence

from seq2seq.attention.maps import AttentionMap
from seq2seq.drawing.labels import ELLIPSIS, clusters, isolated, label, n_cells, padded, shortened

_SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"), (0.05, "·"))
"""From which weight on; less is left white."""
LEGEND = "attention from " + "  ".join(f"{shade} {least:g}" for least, shade in reversed(_SHADES))
_MIN_WIDTH = 40
_MIN_SHORT = 4
"""Cells of a shortened name; fewer say nothing, and names are turned."""
_MAX_TURNED = 12
"""Lines of a turned name."""


def draw(picture: AttentionMap, width: int) -> str:
    """A row for each query, a column for each key; the darker, the more attention. Each line ends with a newline.

    If there is room, each row ends with the key that gets the most attention, and how much.

    Args:
        picture: what to draw.
        width: columns of the terminal; at least 40 are used.
    """
    width = max(width, _MIN_WIDTH)
    queries, keys = [label(piece) for piece in picture.queries], [label(piece) for piece in picture.keys]
    margin = min(max(map(n_cells, queries)), width // 4)
    room = width - margin - 1
    names = [padded(shortened(query, margin), margin) for query in queries]
    lines = [picture.title]
    for columns, widths, gap, heads in _bands(keys, room):
        lines += [f"{' ' * (margin + 1)}{head}".rstrip() for head in heads]
        used = margin + 1 + sum(widths) + gap * (len(widths) - 1)
        best = _best(keys, picture.weights, width - used)
        for row, (name, weights) in enumerate(zip(names, picture.weights, strict=True)):
            cells = (" " * gap).join(
                _shade(weights[column]) * cell for column, cell in zip(columns, widths, strict=True)
            )
            lines.append(f"{name} {cells}{best(row)}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def _bands(keys: Sequence[str], room: int) -> Iterator[tuple[range, list[int], int, list[str]]]:
    """Columns of each band, their widths, the cells between two of them, and the lines above them."""
    widths = _fitting([n_cells(key) for key in keys], room)
    if widths:
        head = " ".join(padded(shortened(key, cells), cells) for key, cells in zip(keys, widths, strict=True))
        yield range(len(keys)), widths, 1, [head]
        return
    # Turned, a column is as wide as its widest character; with a second cell between, if there is room.
    cell = max(n_cells(cluster) for key in keys for cluster in clusters(key))
    gap = 1 if cell == 1 and 2 * len(keys) - 1 <= room else 0
    at_once = max(1, (room + gap) // (cell + gap))
    n_bands = -(-len(keys) // at_once)
    size = -(-len(keys) // n_bands)
    for start in range(0, len(keys), size):
        columns = range(start, min(start + size, len(keys)))
        heads = _turned([keys[column] for column in columns], cell, gap)
        of = f"columns {columns.start + 1} to {columns.stop} of {len(keys)}"
        yield columns, [cell] * len(columns), gap, [of, *heads] if n_bands > 1 else heads


def _fitting(wanted: Sequence[int], room: int) -> list[int]:
    """Widths of columns beside each other, the widest ones cut; none if they would be too narrow."""
    for limit in range(max(wanted), _MIN_SHORT - 1, -1):
        widths = [min(cells, limit) for cells in wanted]
        if sum(widths) + len(widths) - 1 <= room:
            return widths
    return []


def _turned(keys: Sequence[str], cell: int, gap: int) -> list[str]:
    """Names from top to bottom, which end above their column."""
    columns = []
    for key in keys:
        letters = clusters(key)
        if len(letters) > _MAX_TURNED:
            letters = [*letters[: _MAX_TURNED - 1], ELLIPSIS]
        columns.append(letters)
    height = max(map(len, columns))
    columns = [[""] * (height - len(letters)) + letters for letters in columns]
    return [(" " * gap).join(padded(letters[line], cell) for letters in columns) for line in range(height)]


def _best(keys: Sequence[str], weights: Sequence[Sequence[float]], room: int) -> Callable[[int], str]:
    """What is written at the end of a row: nothing, if the longest one does not fit."""
    ends = []
    for row in weights:
        best = max(range(len(keys)), key=lambda column: row[column])
        ends.append(f"  {isolated(keys[best])} {row[best]:.2f}")
    fits = max(map(n_cells, ends)) <= room
    return lambda row: ends[row] if fits else ""


def _shade(weight: float) -> str:
    return next((shade for least, shade in _SHADES if weight >= least), " ")
