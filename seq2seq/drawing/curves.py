"""Curves and their scales: what a chart in characters and one in SVG have in common."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Curve:
    """A line through points."""

    letter: str
    """Marks the line, so that several can be distinguished without colour; see ``letter``."""
    name: str
    points: Sequence[tuple[float, float]]
    """x and y, in the order of x."""

    def at(self, x: float) -> float | None:
        """The height at x, on the straight line between two points; None outside of the curve."""
        for (x0, y0), (x1, y1) in pairwise(self.points):
            if x0 <= x <= x1:
                return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        return self.points[0][1] if len(self.points) == 1 and self.points[0][0] == x else None


@dataclass(frozen=True)
class Axes:
    """The names of the axes, with their units."""

    x: str
    y: str


def letter(number: int) -> str:
    """The letters of a curve, counted from 0: A, B, …, Z, AA, AB, …"""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def ticks(low: float, high: float, max_ticks: int) -> list[float]:
    """Round numbers for an axis, from one that is not above ``low`` to one that is not below ``high``.

    Args:
        low: the smallest value.
        high: the largest value; may be equal.
        max_ticks: at least 3.
    """
    if not high > low:
        low, high = (low - abs(low) / 10, low + abs(low) / 10) if low else (0.0, 1.0)
    rough = (high - low) / (max_ticks - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < max_ticks:
            break
    return [number * step for number in range(first, last + 1)]


def tick_names(values: Sequence[float]) -> list[str]:
    """Ticks as text, with as many decimals as their distance needs: ``1,000``, ``0.25``."""
    step = values[1] - values[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value + 0.0:,.{decimals}f}" for value in values]


def bounds(curves: Sequence[Curve]) -> tuple[float, float, float, float]:
    """The smallest and the largest x, the smallest and the largest y of curves that have points."""
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    return min(xs), max(xs), min(ys), max(ys)
