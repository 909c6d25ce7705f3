"""The progress bar of training and translation at any width, with and without colors."""

import io

import pytest
from rich.console import Console

from seq2seq.cli import bar
from seq2seq.cli.bar import bar_line, eta

FACTS = ["0:12:34", "eta 0:45:12", "loss 1.30", "BLEU 33.3", "10,418 tok/s"]


@pytest.mark.parametrize(
    ("width", "n_facts", "size"), [(200, 5, 122), (80, 4, 16), (60, 2, 18), (40, 1, 11), (30, 0, 10), (10, 0, 0)]
)
def test_the_line_fills_the_width_and_cuts_no_fact(width, n_facts, size):
    line = bar_line(0.5, "update 1,000/12,000", FACTS, width)
    assert line.cell_len == width
    assert line.plain.count("━") + line.plain.count("─") == size or width == 10
    assert [fact for fact in FACTS if fact in line.plain] == FACTS[:n_facts]
    if n_facts:
        assert line.plain.endswith(f"  {FACTS[n_facts - 1]}")


@pytest.mark.parametrize(
    ("share", "done"), [(0.0, 0), (0.004, 0), (0.5, 20), (0.999, 39), (1.0, 40), (1.7, 40), (-1.0, 0)]
)
def test_the_track_shows_without_colours(share, done):
    assert bar_line(share, "", [], 40).plain == "━" * done + "─" * (40 - done)
    assert bar_line(share, "", [], 40, ascii_only=True).plain == "#" * done + "-" * (40 - done)


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    ("colours", "no_color", "encoding", "track"),
    [
        ("standard", False, "utf-8", "━─"),
        ("standard", True, "utf-8", "━─"),
        (None, False, "utf-8", "━─"),
        (None, True, "ascii", "#-"),
    ],
)
def test_a_terminal_gets_it(monkeypatch, width, colours, no_color, encoding, track):
    monkeypatch.setenv("TERM", "xterm")  # Rich takes 80 columns for a dumb one
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    screen = Console(file=file, force_terminal=True, width=width, color_system=colours, no_color=no_color)
    monkeypatch.setattr(bar, "console", screen)
    monkeypatch.setattr(bar, "on_terminal", lambda: True)
    drawn = bar.make_bar(lambda task: (f"update {task.completed:,.0f}", ["0:00:01", "loss 1.30"]))
    drawn.add_task("train", total=100, completed=30)
    screen.print(drawn.get_renderable())
    file.seek(0)
    text = "".join(char for char in file.read() if char in track)
    size = width - 3 - len("update 30 ") - len("  0:00:01  loss 1.30")
    assert (text.count(track[0]), text.count(track[1])) == (int(0.3 * size), size - int(0.3 * size))


def test_unknown_time():
    assert (eta(None), eta(65.4)) == ("eta -:--:--", "eta 0:01:05")
