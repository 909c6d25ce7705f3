"""``seq2seq attend``: what it prints and writes, and what it refuses."""

import io
import re

import pytest

from seq2seq.attention import LEGEND


@pytest.fixture
def attend(cli, reverser, monkeypatch):
    """Runs the command on the reverser, without a terminal."""

    def run(*words, stdin=""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        monkeypatch.setenv("COLUMNS", "80")
        return cli("attend", reverser, "--device", "cpu", *words)

    return run


def test_a_sentence_in_the_terminal(attend):
    outcome = attend("a b c")
    assert (outcome.code, outcome.err) == (0, "")
    legend, blank, title, names, *rows = outcome.out.splitlines()
    assert (legend, blank, title) == (LEGEND, "", "cross-attention, layer 1 of 1, mean of 2 heads")
    assert names.split() == ["▁a", "▁b", "▁c", "</s>"]
    assert [row.split()[0] for row in rows] == ["▁c", "▁b", "▁a", "</s>"]
    assert [row.split()[-2] for row in rows[:3]] == ["▁c", "▁b", "▁a"], "each looks at itself"


def test_lines_of_stdin_and_blank_ones(attend):
    outcome = attend(stdin="a b\n\n \nc d\n")
    assert outcome.code == 0
    assert outcome.out.count("cross-attention") == 2
    assert outcome.out.count(LEGEND) == 1


def test_a_given_translation(attend):
    rows = attend("a b c", "--target", "c b").out.splitlines()[4:]
    assert [row.split()[0] for row in rows] == ["▁c", "▁b", "</s>"]


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        (["--kind", "encoder"], ["encoder self-attention, layer 1 of 1, mean of 2 heads"]),
        (["--kind", "decoder", "--head", "2"], ["masked self-attention, layer 1 of 1, head 2 of 2"]),
        (["--layer", "1", "--head", "all"], [f"cross-attention, layer 1 of 1, head {i} of 2" for i in (1, 2)]),
    ],
)
def test_kind_layer_and_head(attend, options, titles):
    outcome = attend("a b", *options)
    assert re.findall("^.*attention, .*$", outcome.out, re.MULTILINE) == titles


def test_a_line_in_segments_has_a_picture_of_each(attend):
    assert attend("a b! c d").out.count("cross-attention") == 2


def test_svg_and_page(attend, tmp_path):
    for name, begin in (("a.svg", "<svg "), ("a.html", "<!doctype html>")):
        outcome = attend("a b c", "-o", tmp_path / name)
        assert (outcome.code, outcome.out) == (0, "")
        assert re.fullmatch(rf"wrote {tmp_path / name}: \d+ kB\n", outcome.err)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)


def test_a_page_holds_several_sentences(attend, tmp_path):
    assert attend("a b", "c d", "-o", tmp_path / "a.html").code == 0
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count('"written":') == 2


def test_an_svg_of_all_heads(attend, tmp_path):
    assert attend("a b", "--head", "all", "-o", tmp_path / "a.svg").code == 0
    assert (tmp_path / "a.svg").read_text(encoding="utf-8").count("<g ") == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a", "-o", "x.png"], 2, "-o x.png: the name of a picture ends in .svg or .html; name one, or leave -o out"),
        (["a", "b", "-o", "x.svg"], 2, "an SVG file holds one text; give one TEXT, or write a page: -o FILE.html"),
        (["a", "b", "--target", "c"], 2, "--target is the translation of one text; give one TEXT"),
        (["a"] * 51 + ["-o", "x.html"], 2, "a page holds up to 50 texts; give fewer"),
        (["a", "--layer", "2"], 2, "--layer 2: cross-attention of this model has 1 layer; give 1 or all"),
        (
            ["a", "--head", "0"],
            2,
            "--head 0: cross-attention of this model has 2 heads in each layer; give 1 to 2, or all",
        ),
        (["a", "--head", "x"], 2, "--head x: cross-attention of this model has 2 heads in each layer"),
        (["a", "--kind", "x"], 2, "unknown kind of attention 'x'; give --kind encoder, decoder or cross"),
        (["a! b", "--target", "c"], 65, "the source is divided into 2 segments, but the given translation is not"),
        (["a", "--target", " "], 65, "the given translation is blank; give another one, or let the model translate"),
        ([" "], 65, "there is no text to look at; give a TEXT, or lines on stdin"),
        ([], 65, "there is no text to look at"),
        (["-"], 2, "- is stdin, not a text to translate; leave it out"),
        (["a", "-o", "/none/x.svg"], 74, "/none/x.svg cannot be written: No such file or directory"),
    ],
)
def test_what_is_refused(attend, words, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = attend(*words)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


def test_what_is_refused_of_stdin(attend, tmp_path):
    for options, message in (
        (["-o", tmp_path / "x.svg"], "an SVG file holds one text"),
        (["--target", "b a"], "--target is the translation of one text"),
    ):
        outcome = attend(*options, stdin="a b\nc d\n")
        assert outcome.code == 2
        assert message in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_text_that_is_a_file_is_refused(attend, tmp_path):
    (tmp_path / "in.ab").touch()
    outcome = attend(tmp_path / "in.ab")
    assert outcome.code == 2
    assert f"did you mean < {tmp_path / 'in.ab'}?" in outcome.err


def test_a_file_of_the_run_is_not_overwritten(attend, reverser, tmp_path):
    (tmp_path / "config.svg").symlink_to(reverser / "config.toml")
    outcome = attend("a", "-o", tmp_path / "config.svg")
    assert outcome.code == 2
    assert "is a file that is being read" in outcome.err


def test_a_run_that_is_missing(cli, tmp_path):
    assert cli("attend", tmp_path / "none", "a").code == 66


def test_a_text_that_begins_with_a_dash(attend):
    assert "put -- before a TEXT that begins with a dash" in attend("-a b").err
    assert attend("--", "-a b").code == 0


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_kind_that_an_architecture_lacks_is_refused(attend, monkeypatch, kind):
    from seq2seq.model.transformer.model import Transformer

    whole = Transformer.attention_maps

    def only_cross(self, src, tgt, src_mask=None):
        return {"cross": whole(self, src, tgt, src_mask)["cross"]}

    monkeypatch.setattr(Transformer, "attention_maps", only_cross)
    outcome = attend("a", "--kind", kind)
    assert outcome.code == 2
    assert re.search("this model has no (encoder|masked) self-attention; give --kind cross\n", outcome.err)
    assert attend("a").code == 0
