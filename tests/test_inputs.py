"""Input of ``translate`` from the command line, and from a person at a terminal."""

import gzip
import os
import pty
import sys

import pytest

from seq2seq.cli import console
from seq2seq.errors import ExitCode, Interrupted

HINT = "Type a sentence and press Enter to translate it; Ctrl-D ends."


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["a b c"], "c b a\n"),
        (["a b", "c d e"], "b a\ne d c\n"),
        (["a b", "b c", "c d"], "b a\nc b\nd c\n"),
        ([""], "\n"),
        ([" \t", "a b", "\u3000"], "\nb a\n\n"),
        (["a b\nc d e"], "b a e d c\n"),
        (["a b\r\nc d e\r\n"], "b a e d c\n"),
        (["\n\n"], "\n"),
        (["a b\n"], "b a\n"),
        (["a b", "-b", "1"], "b a\n"),
        (["-b", "1", "--", "a b", "c d"], "b a\nd c\n"),
        (["."], None),  # a folder is no input: its name is translated
        (["a b c", "--n-best", "2"], None),
        (["no/such/file.txt"], None),
        (["x" * 5000], None),
        (["😀 </s> \u2028 \x85"], None),
    ],
    ids=repr,
)
def test_each_text_is_one_line(cli, reverser, words, out):
    outcome = cli("translate", reverser, "--device", "cpu", *words)
    assert outcome.code == 0, outcome.err
    if out is None:
        assert len(outcome.out.splitlines()) == (2 if "--n-best" in words else 1)
    else:
        assert outcome.out == out


def test_many_texts(cli, reverser):
    words = [" ".join("abcde"[: 2 + i % 4]) for i in range(300)]
    outcome = cli("translate", reverser, "-b", "1", *words)
    assert outcome.out.splitlines() == [word[::-1] for word in words]


def test_forms_of_the_answer(cli, reverser, tmp_path):
    words = ("a b c", "", "d e")
    rows = [line.split(" ||| ") for line in cli("translate", reverser, *words, "--n-best", "2").out.splitlines()]
    assert [row[0] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    assert (rows[0][1], rows[4][1]) == ("c b a", "e d")
    assert cli("translate", reverser, "--scores", *words).out.splitlines()[0].endswith("\tc b a")
    drawn = cli("translate", reverser, "--attention", *words)
    assert drawn.out == "c b a\n\ne d\n"
    assert "█" in drawn.err
    for name, read in (("out", bytes), ("out.gz", gzip.decompress)):
        outcome = cli("translate", reverser, *words, "-o", tmp_path / name)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
        assert read((tmp_path / name).read_bytes()) == b"c b a\n\ne d\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.gz"]


def test_an_interrupted_text_leaves_nothing(cli, reverser, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise Interrupted(2, saved=False)

    monkeypatch.setattr("seq2seq.cli.progress.draw_attention", fail)  # after the answer
    (tmp_path / "out").write_text("old")
    outcome = cli("translate", reverser, "a b", "--attention", "-o", tmp_path / "out")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_bytes_that_are_not_utf8(cli, reverser):
    word = os.fsdecode(b"a \xff b")
    outcome = cli("translate", reverser, "c d", word)
    assert (outcome.code, len(outcome.out.splitlines())) == (0, 2)
    assert outcome.err.endswith("warning: 1 line held bytes that are not UTF-8; they were replaced by U+FFFD\n")
    outcome = cli("translate", reverser, "c d", word, "--strict")
    assert (outcome.code, outcome.out) == (ExitCode.BAD_DATA, "")
    assert outcome.err.startswith("error: TEXT 2 is not UTF-8 (byte 3); ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["IN"], "IN is a file, not a text to translate; did you mean -i IN?"),
        (["a b", "my file"], "did you mean -i 'my file'?"),
        (["/dev/null"], "did you mean -i /dev/null?"),
        (["-"], "- is stdin, not a text to translate; did you mean -i -?"),
        (["IN", "-i", "IN"], "did you mean -i IN?"),
        (["a b", "-i", "IN"], "-i IN cannot be used with a TEXT to translate (a b); give one of the two"),
        (["", "-i", "-"], "-i - cannot be used with a TEXT"),
        (["a b", "-o", "out", "--resume"], "--resume cannot be used with a TEXT to translate (a b); leave"),
        (["-5 Grad"], "No such option: -5; put -- before a TEXT that begins with a dash"),
        (["- a b"], "put -- before a TEXT"),
    ],
    ids=repr,
)
def test_invalid_texts(cli, reverser, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    for name in ("IN", "my file"):
        (tmp_path / name).write_text("a b\n")
    outcome = cli("translate", reverser, *words)
    assert (outcome.code, outcome.out) == (ExitCode.USAGE, "")
    assert says in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def typed(monkeypatch):
    """Makes stdin and stderr a terminal with typed bytes."""
    opened = []

    def type_them(text: bytes) -> None:
        ours, theirs = pty.openpty()
        opened.append(ours)
        os.write(ours, text)
        opened.append(stdin := os.fdopen(theirs))
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(console._Stderr, "isatty", lambda self: True)

    yield type_them
    for end in opened:
        os.close(end) if isinstance(end, int) else end.close()


@pytest.mark.parametrize(
    ("text", "out", "n_prompts"),
    [
        (b"a b\n\x04", "b a\n", 2),
        (b"a b\n\nc d e\n\x04", "b a\n\ne d c\n", 2),  # pasted: translated together
        (b"\x04", "", 1),
        (b"a b\x04\x04", "b a\n", 2),
    ],
)
def test_a_prompt_is_shown_on_a_terminal(cli, reverser, typed, text, out, n_prompts):
    typed(text)
    outcome = cli("translate", reverser)
    assert (outcome.code, outcome.out) == (0, out)
    assert outcome.err == f"{HINT}\n" + "> " * n_prompts + "\n"


def test_no_prompt_without_a_terminal(cli, reverser, typed, monkeypatch, tmp_path):
    (tmp_path / "in").write_text("a b\n")
    typed(b"a b\n\x04")
    for words in (("a b",), ("-i", tmp_path / "in")):
        outcome = cli("translate", reverser, *words)
        assert (outcome.code, outcome.out) == (0, "b a\n")
        assert ">" not in outcome.err
    with monkeypatch.context() as patch:
        patch.setattr(console._Stderr, "isatty", lambda self: False)
        assert cli("translate", reverser).err == ""  # nobody would see it
    ours, theirs = os.pipe()
    os.write(theirs, b"a b\n")
    os.close(theirs)
    for stdin in ((tmp_path / "in").open(), os.fdopen(ours)):
        with stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            outcome = cli("translate", reverser)
            assert (outcome.code, outcome.out) == (0, "b a\n")
            assert ">" not in outcome.err
