"""Maps of attention as one SVG file: no script, nothing from outside, right on a light and on a dark page.

Several maps stand side by side, such as the heads of a layer. Sizes are in pixels.
"""

import math
from collections.abc import Iterator, Sequence

from seq2seq.attention.maps import AttentionMap
from seq2seq.drawing.labels import label, n_cells, shortened
from seq2seq.drawing.svg import LETTER, document, svg_text

_CELL = 14
_MAX_LABEL = 18
"""Cells of a label."""
_GAP = 24
_TITLE = 22
_WIDTH = 1320
"""Maps in a row, up to this width."""
_LEVELS = 20
"""Shades. All cells of one shade are one path, which makes a file a third as large."""
_LIGHT, _DARK = "path{fill:#0550ae}", "path{fill:#79c0ff}"


def svg(pictures: Sequence[AttentionMap], title: str) -> str:
    """One map, or several side by side.

    Args:
        pictures: at least one.
        title: what they show; for readers of titles.
    """
    boxes = [_size(picture) for picture in pictures]
    places, width, height = _places(boxes)
    parts: list[str] = []
    for picture, (x, y) in zip(pictures, places, strict=True):
        parts += [f'<g transform="translate({x:g} {y:g})">', *_map(picture), "</g>"]
    return document(width, height, title, _description(pictures), parts, light=_LIGHT, dark=_DARK)


def _map(picture: AttentionMap) -> Iterator[str]:
    left, top = _label_room(picture.queries), _TITLE + _label_room(picture.keys)
    n_rows, n_columns = len(picture.queries), len(picture.keys)
    yield f'<text class="t" y="12">{svg_text(picture.title)}</text>'
    for row, piece in enumerate(picture.queries):
        yield f'<text x="{left - 5:g}" y="{top + row * _CELL + 11:g}" text-anchor="end">{_name(piece)}</text>'
    for column, piece in enumerate(picture.keys):
        at = f"translate({left + column * _CELL + 11:g} {top - 5:g})"
        yield f'<text transform="{at} rotate(-90)">{_name(piece)}</text>'
    shades: dict[int, list[str]] = {}
    for row, weights in enumerate(picture.weights):
        for column, weight in enumerate(weights):
            if level := round(weight * _LEVELS) if weight > 0 else 0:  # not if it is NaN
                shades.setdefault(level, []).append(
                    f"M{left + column * _CELL:g} {top + row * _CELL:g}h{_CELL}v{_CELL}h-{_CELL}z"
                )
    for level, cells in sorted(shades.items()):
        yield f'<path opacity="{level / _LEVELS:g}" d="{"".join(cells)}"/>'
    yield f'<rect class="f" x="{left:g}" y="{top:g}" width="{n_columns * _CELL}" height="{n_rows * _CELL}"/>'


def _size(picture: AttentionMap) -> tuple[float, float]:
    width = max(_label_room(picture.queries) + len(picture.keys) * _CELL, LETTER * n_cells(picture.title))
    return width, _TITLE + _label_room(picture.keys) + len(picture.queries) * _CELL


def _places(boxes: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], float, float]:
    """Where each map begins, in rows of the same number of maps if possible, and the size of the whole."""
    widest = max(width for width, _ in boxes) + _GAP
    n_rows = math.ceil(len(boxes) / max(1, int((_WIDTH - _GAP) // widest)))
    per_row = math.ceil(len(boxes) / n_rows)
    places: list[tuple[float, float]] = []
    y = float(_GAP)
    for start in range(0, len(boxes), per_row):
        row = boxes[start : start + per_row]
        places += [(_GAP + i * widest, y) for i in range(len(row))]
        y += max(height for _, height in row) + _GAP
    return places, _GAP + per_row * widest, y


def _label_room(pieces: Sequence[str]) -> float:
    return 8 + LETTER * max(n_cells(shortened(label(piece), _MAX_LABEL)) for piece in pieces)


def _name(piece: str) -> str:
    return svg_text(shortened(label(piece), _MAX_LABEL))


def _description(pictures: Sequence[AttentionMap]) -> str:
    """What each piece of each map looks at most, in words."""
    sentences = []
    for picture in pictures:
        looks = []
        for piece, weights in zip(picture.queries, picture.weights, strict=True):
            best = max(range(len(weights)), key=lambda column: weights[column])
            looks.append(f"{piece} at {picture.keys[best]} ({weights[best]:.2f})")
        sentences.append(f"{picture.title}. Most attention of {', '.join(looks)}.")
    return " ".join(sentences)
