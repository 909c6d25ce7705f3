"""Notes, warnings and errors: wrapped between words on a terminal, otherwise one line each."""

import pytest
from rich.text import Text

from seq2seq.attention import Attention
from seq2seq.cli import console
from seq2seq.cli.attention import draw_attention

PATH = "corpora/" + "very-long-name/" * 8 + "train.de.gz"
WHAT = f"{PATH} and [bold]:smile:[/bold] [red]x[/] are of two minds about the many words in them"


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal with a number of columns."""

    def make(columns):
        monkeypatch.setattr(console._Stderr, "isatty", lambda self: True)
        monkeypatch.setenv("TERM", "xterm")  # Rich takes 80 columns for a dumb one
        monkeypatch.setattr(console.console, "_width", columns)

    return make


@pytest.mark.parametrize("columns", [30, 60, 80, 200, 500])
def test_a_terminal_gets_lines_wrapped_between_words(terminal, capfd, columns):
    terminal(columns)
    console.print_error(WHAT, "name one [file]")
    console.print_warning(WHAT)
    console.print_note("two  spaces stay  " * 20)
    lines = capfd.readouterr().err.splitlines()
    for line in lines:
        assert len(line) <= columns or line.strip() == PATH, "a word alone may be wider"
        assert line == line.rstrip()
    first = [i for i, line in enumerate(lines) if not line.startswith("  ")]
    assert len(first) == 3, "all but the first line of each are indented"
    joined = [" ".join(map(str.strip, lines[a:b])) for a, b in zip(first, [*first[1:], None], strict=True)]
    assert joined[:2] == [f"error: {WHAT}; name one [file]", f"warning: {WHAT}"]
    assert any("two  spaces" in line for line in lines)


def test_anything_else_gets_one_line(capfd, monkeypatch):
    monkeypatch.setattr(console.console, "_width", 40)
    console.print_note(f"{WHAT}\nand a newline\x1b[2J")
    assert capfd.readouterr().err == f"{WHAT} and a newline\ufffd[2J\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("one", ["one"]),
        ("a" * 30, ["a" * 30]),
        ("a" * 20 + " b", ["a" * 20, "    b"]),
        ("a" * 19 + " b", ["a" * 19, "    b"]),
        ("a" * 18 + " b", ["a" * 18 + " b"]),
        ("  ours  one two three four", ["  ours  one two", "    three four"]),
        ("明日は北京に行く です よ ね", ["明日は北京に行く", "    です よ ね"]),  # two columns a character
        ("a\u00a0b " * 6, ["a\u00a0b " * 4 + "a\u00a0b", "    a\u00a0b"]),
    ],
)
def test_where_a_line_is_wrapped(terminal, capfd, text, lines):
    terminal(20)
    console.print_line(Text(text), indent=4)
    assert capfd.readouterr().err.split("\n")[:-1] == lines


def test_a_drawing_is_not_wrapped(terminal, capfd):
    terminal(40)
    pieces = [f"▁word{i}" for i in range(12)]
    draw_attention(Attention(pieces, ["▁a", "</s>"], [[1.0] + [0.0] * 11, [0.0] * 11 + [1.0]]))
    assert len(capfd.readouterr().err.splitlines()) == 3
