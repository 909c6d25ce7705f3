"""SVG files: no script, nothing from outside, right on a light and on a dark page. Sizes are in pixels."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from seq2seq.drawing.curves import Axes, Curve, bounds, tick_names, ticks
from seq2seq.drawing.labels import label, shortened

LETTER = 7.0
"""Width of a letter, estimated: a picture cannot measure its font."""
# The name of the format, which looks like an address, but nothing is loaded from it.
_NAMESPACE = "http://www.w3.org/2000/svg"
_LIGHT = "text{font:11px sans-serif;fill:#1f2328}.t{font-weight:bold}.b{fill:#fff}.f{fill:none;stroke:#8c959f}"
_DARK = "text{fill:#e6edf3}.b{fill:#0d1117}.f{stroke:#6e7681}"


def document(
    width: float, height: float, title: str, description: str, parts: Sequence[str], *, light: str = "", dark: str = ""
) -> str:
    """A whole SVG file.

    Args:
        width: of the picture.
        height: of the picture.
        title: what it shows.
        description: the same in more words, for readers who do not see it.
        parts: elements; texts in them are escaped. The class t is a title, b the background, f a frame.
        light: further rules of style.
        dark: the same for a dark page.
    """
    head = [
        f'<svg xmlns="{_NAMESPACE}" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        'role="img" aria-labelledby="title desc">',
        f'<title id="title">{svg_text(title)}</title>',
        f'<desc id="desc">{svg_text(description)}</desc>',
        f"<style>{_LIGHT}{light}@media(prefers-color-scheme:dark){{{_DARK}{dark}}}</style>",
        f'<rect class="b" width="{width:g}" height="{height:g}"/>',
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def svg_text(text: str) -> str:
    """Text for an element of a picture: without controls, and escaped."""
    return escape(label(text))


# Curves ----------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 860, 480
"""Of the picture without its legend."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 50, 44, 56
_ROW = 16
_MAX_NAME = 110
"""Cells of a name in the legend."""
_COLOURS = (
    ("#0550ae", "#79c0ff"), ("#bc4c00", "#ffa657"), ("#116329", "#7ee787"), ("#8250df", "#d2a8ff"),
    ("#a40e26", "#ff7b72"), ("#5c5f00", "#e3e35c"), ("#0a6e7c", "#56d4dd"), ("#99286e", "#ff9bce"),
)  # fmt: skip
"""Of curves, on a light and on a dark page."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
"""Of curves. Neighbours differ in colour and dash; 32 curves differ in one of them."""


def curves_svg(curves: Sequence[Curve], axes: Axes, title: str) -> str:
    """Curves as an SVG file, with a legend. Each has a colour, a dash and a letter at its end.

    Args:
        curves: at least one has a point.
        axes: their names.
        title: what they show.
    """
    drawn = [curve for curve in curves if curve.points]
    first, last, lowest, highest = bounds(drawn)
    columns, rows = ticks(min(first, 0.0), last, 9), ticks(lowest, highest, 8)

    def x_of(x: float) -> float:
        return _LEFT + (x - columns[0]) / (columns[-1] - columns[0]) * (_WIDTH - _LEFT - _RIGHT)

    def y_of(y: float) -> float:
        return _TOP + (rows[-1] - y) / (rows[-1] - rows[0]) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="t" x="{_LEFT}" y="20">{svg_text(title)}</text>']
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value, name in zip(columns, tick_names(columns), strict=True):
        parts.append(f'<path class="g" d="M{x_of(value):.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{x_of(value):.1f}" y="{bottom + 16}" text-anchor="middle">{name}</text>')
    for value, name in zip(rows, tick_names(rows), strict=True):
        parts.append(f'<path class="g" d="M{_LEFT} {y_of(value):.1f}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y_of(value) + 4:.1f}" text-anchor="end">{name}</text>')
    parts.append(f'<rect class="f" x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"/>')
    parts.append(f'<text x="{right}" y="{bottom + 34}" text-anchor="end">{svg_text(axes.x)}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_TOP - 8}">{svg_text(axes.y)}</text>')
    ends = _apart([y_of(curve.points[-1][1]) + 4 for curve in drawn])
    for i, (curve, end) in enumerate(zip(drawn, ends, strict=True)):
        places = [(x_of(x), y_of(y)) for x, y in curve.points]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dot = "".join(f"M{x - 2:.1f} {y:.1f}h4M{x:.1f} {y - 2:.1f}v4" for x, y in places)
        parts.append(f'<path class="c{i % len(_COLOURS)}"{_dash(i)} d="M{line}"/>')
        parts.append(f'<path class="c{i % len(_COLOURS)}" d="{dot}"/>')
        parts.append(f'<text class="t" x="{places[-1][0] + 5:.1f}" y="{end:.1f}">{svg_text(curve.letter)}</text>')
    parts += _legend(drawn)
    height = _HEIGHT + _ROW * len(drawn)
    return document(
        _WIDTH, height, title, _description(drawn, axes), parts,
        light=_rules(0, "#d0d7de"), dark=_rules(1, "#30363d"),
    )  # fmt: skip


def _rules(page: int, grid: str) -> str:
    colours = "".join(f".c{i}{{stroke:{pair[page]}}}" for i, pair in enumerate(_COLOURS))
    return f"path{{fill:none;stroke-width:2}}.g{{stroke:{grid};stroke-width:1}}{colours}"


def _dash(i: int) -> str:
    dash = _DASHES[(i + i // len(_COLOURS)) % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _legend(curves: Sequence[Curve]) -> Iterator[str]:
    for i, curve in enumerate(curves):
        y = _HEIGHT - 12 + _ROW * i
        yield f'<path class="c{i % len(_COLOURS)}"{_dash(i)} d="M{_LEFT} {y}h36"/>'
        yield f'<text class="t" x="{_LEFT + 44}" y="{y + 4}">{svg_text(curve.letter)}</text>'
        yield f'<text x="{_LEFT + 68}" y="{y + 4}">{svg_text(shortened(label(curve.name), _MAX_NAME))}</text>'


def _apart(heights: Sequence[float]) -> list[float]:
    """Heights of letters, moved down so that none lies on another one."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + 11)
    return moved


def _description(curves: Sequence[Curve], axes: Axes) -> str:
    """The ends of the curves, in words."""
    ends = [
        f"{curve.letter}, {curve.name}: from {curve.points[0][1]:.4g} at {curve.points[0][0]:,.0f} to "
        f"{curve.points[-1][1]:.4g} at {curve.points[-1][0]:,.0f}."
        for curve in curves
    ]
    return f"{axes.y} over {axes.x}. {' '.join(ends)}"
