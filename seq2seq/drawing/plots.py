"""Plots within a page, as inline SVG that its style sheet colours. Sizes are in pixels; 320 fit on a phone.

Systems are told by letters and by colours, A first.
"""

from collections.abc import Sequence
from html import escape

from seq2seq.drawing.curves import letter, ticks

_WIDTH = 320
_LEFT = 34
_RIGHT = 10
_PLOT = _WIDTH - _LEFT - _RIGHT


def interval_plot(title: str, rows: Sequence[tuple[float, float, float]]) -> str:
    """Scores with confidence intervals, a row for each system.

    Args:
        title: of the metric.
        rows: low end, score and high end for each system.
    """
    low, high = _padded([value for row in rows for value in row])
    height = 26 + 22 * len(rows) + 18
    parts = [_text(4, 15, title, "t")]

    def x(value: float) -> float:
        return _LEFT + _PLOT * (value - low) / (high - low)

    bottom = height - 18
    for tick in _ticks(low, high):
        parts.append(_line(x(tick), 24, x(tick), bottom, "g"))
        parts.append(_text(x(tick), height - 4, f"{tick:g}", "m"))
    for i, (start, score, end) in enumerate(rows):
        y = 36 + 22 * i
        parts += [
            _text(_LEFT - 10, y + 4, letter(i), f"e f{i % 6}"),
            _line(x(start), y, x(end), y, f"w c{i % 6}"),
            f'<circle class="f{i % 6}" cx="{x(score):.1f}" cy="{y}" r="4"/>',
        ]
    told = "; ".join(f"{letter(i)} {score:.1f} ({a:.1f} to {b:.1f})" for i, (a, score, b) in enumerate(rows))
    return _svg(height, f"{title} with 95% confidence intervals: {told}", parts)


def line_plot(title: str, labels: Sequence[str], series: Sequence[Sequence[float]]) -> str:
    """Scores over buckets, a line for each system.

    Args:
        title: of the metric.
        labels: of the buckets.
        series: for each system, a score in each bucket.
    """
    low, high = _padded([value for values in series for value in values])
    height, top, bottom = 190, 28, 160

    def x(i: int) -> float:
        return _LEFT + _PLOT * (i + 0.5) / len(labels)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    parts = [_text(4, 15, title, "t")]
    for tick in _ticks(low, high):
        parts += [
            _line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "g"),
            _text(_LEFT - 4, y(tick) + 4, f"{tick:g}", "e"),
        ]
    parts += [_text(x(i), height - 12, label, "m") for i, label in enumerate(labels)]
    for i, values in reversed([*enumerate(series)]):  # the first system is on top
        points = " ".join(f"{x(j):.1f},{y(value):.1f}" for j, value in enumerate(values))
        parts.append(f'<polyline class="n c{i % 6}" points="{points}"/>')
        parts += [f'<circle class="f{i % 6}" cx="{x(j):.1f}" cy="{y(v):.1f}" r="3"/>' for j, v in enumerate(values)]
    told = "; ".join(f"{letter(i)} {', '.join(f'{v:.1f}' for v in values)}" for i, values in enumerate(series))
    return _svg(height, f"{title} by length, from short to long: {told}", parts)


def histogram(title: str, told: str, edges: Sequence[float], counts: Sequence[Sequence[int]], signs: bool) -> str:
    """Numbers of lines in bins, a bar for each system.

    Args:
        title: shown above.
        told: what it shows, for readers of texts.
        edges: of the bins, one more than bins.
        counts: for each system, a number in each bin.
        signs: whether bars below and above zero have the colours of worse and better.
    """
    height, top, bottom = 170, 40, 142
    most = max(1, *(n for of_system in counts for n in of_system))
    n_bins = len(edges) - 1
    room = _PLOT / n_bins
    width = (room - 2) / len(counts)
    parts = [_text(4, 15, title, "t")]
    for tick in _ticks(0, most):
        if tick == int(tick):
            y = bottom - (bottom - top) * tick / most
            parts += [_line(_LEFT, y, _WIDTH - _RIGHT, y, "g"), _text(_LEFT - 4, y + 4, f"{tick:g}", "e")]
    for i, of_system in enumerate(counts):
        for j, n in enumerate(of_system):
            tall = (bottom - top) * n / most
            kind = f"f{i % 6}" if not signs else "worse" if edges[j + 1] <= 0 else "better"
            if n:
                parts.append(
                    f'<rect class="{kind}" x="{_LEFT + room * j + 1 + width * i:.1f}" y="{bottom - tall:.1f}" '
                    f'width="{width:.1f}" height="{tall:.1f}"/>'
                )
    step = max(1, n_bins // 4)
    parts += [_text(_LEFT + room * j, height - 12, f"{edges[j]:g}", "m") for j in range(0, n_bins + 1, step)]
    return _svg(height, told, parts)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), 0.5)
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, three to six."""
    return [tick for tick in ticks(low, high, 7) if low <= tick <= high]


def _svg(height: int, told: str, parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    return f'<svg {size} role="img" aria-label="{escape(told)}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
