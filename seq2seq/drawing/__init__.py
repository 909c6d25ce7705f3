"""Drawing: labels that are safe to print, curves in characters, SVG files, HTML pages. It knows no model."""

from seq2seq.drawing.chart import draw_chart
from seq2seq.drawing.curves import Axes, Curve, letter
from seq2seq.drawing.svg import curves_svg

__all__ = ["Axes", "Curve", "curves_svg", "draw_chart", "letter"]
