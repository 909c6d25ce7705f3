"""Curves in characters and as SVG."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from seq2seq.drawing import Axes, Curve, curves_svg, draw_chart, letter
from seq2seq.drawing.curves import tick_names, ticks
from seq2seq.drawing.labels import n_cells

AXES = Axes("updates", "BLEU (0 to 100)")
RISING = Curve("A", "runs/a", [(100.0, 1.0), (500.0, 30.0), (1000.0, 42.5)])
FLAT = Curve("B", "runs/b", [(100.0, 20.0), (1000.0, 20.0)])
SVG = "{http://www.w3.org/2000/svg}"


def test_letters():
    assert [letter(i) for i in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "n", "names"),
    [
        (0, 1000, 5, ["0", "500", "1,000"]),
        (1.2, 42.5, 5, ["0", "20", "40", "60"]),
        (0.11, 0.13, 5, ["0.110", "0.115", "0.120", "0.125", "0.130"]),
        (7, 7, 4, ["6", "7", "8"]),
        (0, 0, 4, ["0.0", "0.5", "1.0"]),
        (-3, -1, 3, ["-3", "-2", "-1"]),
        (0, 12345678, 6, ["0", "5,000,000", "10,000,000", "15,000,000"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, n, names):
    found = ticks(low, high, n)
    assert tick_names(found) == names
    assert found[0] - 1e-9 <= low <= high <= found[-1] + 1e-9
    assert len(found) <= n


def test_heights_between_points():
    assert RISING.at(300.0) == pytest.approx(15.5)
    assert (RISING.at(100.0), RISING.at(1000.0), RISING.at(99.0), RISING.at(1001.0)) == (1.0, 42.5, None, None)
    assert Curve("A", "", [(5.0, 2.0)]).at(5.0) == 2.0
    assert Curve("A", "", []).at(5.0) is None


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_chart_fills_the_width(width):
    lines = draw_chart([RISING, FLAT], AXES, width).splitlines()
    assert max(map(n_cells, lines)) == max(width, 40)
    assert lines[0] == AXES.y
    assert lines[-1].strip() == AXES.x
    assert "0" in lines[-2]
    assert "1,000" in lines[-2]


def test_curves_are_where_they_belong():
    text = draw_chart([RISING, FLAT], AXES, 80)
    rows = [line for line in text.splitlines() if "│" in line or "┤" in line]
    assert len(rows) == 12
    of_b = [line for line in rows if "B" in line]
    assert len(of_b) == 1, "a level curve is one row"
    assert rows.index(of_b[0]) == round(11 * (60 - 20) / 60), "from 0 to 60"
    first = [line.find("A") for line in rows if "A" in line]
    assert first == sorted(first, reverse=True), "a rising curve"


def test_a_curve_that_lies_on_another_one_is_seen():
    text = draw_chart([RISING, Curve("B", "same", RISING.points)], AXES, 80)
    assert text.count("A") > 10
    assert text.count("B") > 10


def test_one_point_is_seen():
    assert draw_chart([Curve("Q", "", [(7.0, 3.0)])], AXES, 80).count("Q") == 1


def test_a_chart_without_points_is_empty():
    assert draw_chart([Curve("A", "", [])], AXES, 80) == ""


def test_a_picture_has_everything():
    text = curves_svg([RISING, Curve("C", "empty", []), FLAT], AXES, "Learning curves")
    root = ET.fromstring(text)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert root.find(f"{SVG}title").text == "Learning curves"
    assert "A, runs/a: from 1 at 100 to 42.5 at 1,000." in root.find(f"{SVG}desc").text
    assert {AXES.x, AXES.y, "runs/a", "runs/b", "1,000", "20"} <= set(texts)
    assert "empty" not in texts
    assert texts.count("A") == texts.count("B") == 2, "at the end of the curve, and in the legend"
    assert "prefers-color-scheme:dark" in text
    lines = [path.attrib for path in root.iter(f"{SVG}path") if path.attrib["class"].startswith("c")]
    assert len({(line["class"], line.get("stroke-dasharray")) for line in lines if "L" in line["d"]}) == 2


def test_neighbours_differ_by_more_than_colour():
    curves = [Curve(letter(i), str(i), [(0.0, i), (1.0, i + 1.0)]) for i in range(40)]
    root = ET.fromstring(curves_svg(curves, AXES, "t"))
    lines = [path.attrib for path in root.iter(f"{SVG}path") if "h36" in path.attrib["d"]]
    assert len({(line["class"], line.get("stroke-dasharray")) for line in lines[:32]}) == 32
    dashes = [path.attrib.get("stroke-dasharray") for path in root.iter(f"{SVG}path") if "h36" in path.attrib["d"]]
    assert len(dashes) == 40
    assert all(one != other for one, other in pairwise(dashes))


def test_letters_at_the_ends_do_not_lie_on_each_other():
    curves = [Curve(letter(i), str(i), [(0.0, 1.0), (1.0, 5.0)]) for i in range(5)]
    root = ET.fromstring(curves_svg(curves, AXES, "t"))
    ends = [float(t.attrib["y"]) for t in root.iter(f"{SVG}text") if t.text in "ABCDE" and float(t.attrib["x"]) > 700]
    assert len(ends) == 5
    assert all(after - before >= 11 for before, after in pairwise(ends))


def test_a_picture_is_safe():
    hostile = '</text><script>alert("x")</script>&\x1b[31m\u202e'
    text = curves_svg([Curve("A", hostile, RISING.points)], Axes(hostile, hostile), hostile)
    root = ET.fromstring(text)
    assert not list(root.iter(f"{SVG}script"))
    assert not re.search(r"<script|href|@import|url\(|\x1b|\u202e", text)
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
