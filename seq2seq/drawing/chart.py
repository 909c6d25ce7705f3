"""Curves in characters, for a terminal of any width: each is drawn with its own letter."""

from collections.abc import Sequence

from seq2seq.drawing.curves import Axes, Curve, bounds, tick_names, ticks

_MIN_WIDTH = 40
_CELLS_OF_TICK = 12
"""Columns between two ticks of the x axis, at least."""
MAX_CURVES = 26
"""A letter for each; more cannot be distinguished."""


def draw_chart(curves: Sequence[Curve], axes: Axes, width: int, height: int = 12) -> str:
    """Curves over one x axis; each line ends with a newline. Empty if no curve has a point.

    Where several curves meet, their letters take turns, so that none is hidden. Curves after the first 26 are left out.

    Args:
        curves: each with a single letter.
        axes: their names.
        width: columns of the terminal; at least 40 are used.
        height: lines of the curves.
    """
    drawn = [curve for curve in curves[:MAX_CURVES] if curve.points]
    if not drawn:
        return ""
    width = max(width, _MIN_WIDTH)
    first, last, lowest, highest = bounds(drawn)
    rows = ticks(lowest, highest, max(3, height // 2))
    names = tick_names(rows)
    margin = max(map(len, names))
    n_columns = width - margin - 2
    columns = ticks(min(first, 0.0), last, max(3, n_columns // _CELLS_OF_TICK))
    scale = (columns[-1] - columns[0]) / (n_columns - 1)
    grid = [[" "] * n_columns for _ in range(height)]

    def row_of(y: float) -> int:
        return round((rows[-1] - y) / (rows[-1] - rows[0]) * (height - 1))

    for column in range(n_columns):
        at: dict[int, list[str]] = {}
        for curve in drawn:
            y = _height(curve, columns[0] + (column - 0.5) * scale, columns[0] + (column + 0.5) * scale)
            if y is not None:
                at.setdefault(row_of(y), []).append(curve.letter)
        for row, letters in at.items():
            grid[row][column] = letters[column % len(letters)]
    labels = {row_of(value): name for value, name in zip(rows, names, strict=True)}
    lines = [axes.y]
    for row, cells in enumerate(grid):
        edge = "┤" if row in labels else "│"
        lines.append(f"{labels.get(row, ''):>{margin}} {edge}{''.join(cells)}".rstrip())
    places = [round((value - columns[0]) / scale) for value in columns]
    base = ["─"] * n_columns
    for place in places:
        base[place] = "┬"
    lines += [f"{'':>{margin}} └{''.join(base)}", _x_line(places, tick_names(columns), margin + 2, width)]
    return "".join(f"{line}\n" for line in [*lines, f"{axes.x:>{width}}".rstrip()])


def _height(curve: Curve, left: float, right: float) -> float | None:
    """Of a curve in a column: the last point in it, or where it crosses the middle of the column."""
    inside = [y for x, y in curve.points if left <= x < right]
    return inside[-1] if inside else curve.at((left + right) / 2)


def _x_line(places: Sequence[int], names: Sequence[str], margin: int, width: int) -> str:
    """The ticks of the x axis, each below its place; those without room are left out."""
    line = ""
    for place, name in zip(places, names, strict=True):
        start = min(max(0, margin + place - len(name) // 2), width - len(name))
        if not line or start > len(line):
            line = line.ljust(start) + name
    return line
