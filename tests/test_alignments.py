"""Word alignments: what a word is, which words are linked, and ``translate --alignments``."""

import random

import pytest
import torch
from reversal import reversal_lines

from seq2seq.attention import pharaoh, piece_words, words
from seq2seq.attention.alignment import links
from seq2seq.config import parse_langs
from seq2seq.translation import SegmentCounts, Translator, translate_file
from seq2seq.translation.events import Suspended, WindowTranslated

LINES = reversal_lines(60, seed=2)


@pytest.fixture(scope="module")
def translator(reverser):
    return Translator.load(reverser, device="cpu")


def reversed_links(n: int, start: int = 0) -> str:
    """The alignment of n letters with the same read backwards."""
    return " ".join(f"{start + i}-{start + n - 1 - i}" for i in range(n))


# Words ----------------------------------------------------------------------------------------------


def texts(text: str, language: str) -> list[str]:
    return [text[start:stop] for start, stop in words(text, language)]


@pytest.mark.parametrize("text", ["", " ", "a", "  Ein  Hund, \u00a0läuft .\u3000x ", "نعم. \u200fلا", "你好 世界"])
def test_words_are_those_of_split(text):
    assert texts(text, "de") == texts(text, "unknown") == text.split()


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("zh", "我用GPT-4 学习。", ["我", "用", "GPT-4", "学", "习", "。"]),
        ("zho_Hans", "你好", ["你", "好"]),
        ("ja", "か\u3099ギス", ["か\u3099", "ギ", "ス"]),
        ("th", "ที่นี่ 5", ["ที่", "นี่", "5"]),
        ("ko", "안녕 세계", ["안녕", "세계"]),
    ],
)
def test_characters_are_words_if_the_language_has_no_spaces(language, text, expected):
    assert texts(text, language) == expected


def test_a_piece_that_is_a_space_belongs_to_the_word_after_it():
    text = "  ab c  你"
    #                              ▁a  b  ▁c ▁  <E4> <BD> <A0>
    assert piece_words(text, [0, 3, 4, 6, 8, 8, 8], words(text, "de")) == [0, 0, 1, 2, 2, 2, 2]
    assert piece_words("a ", [0, 1], words("a ", "de")) == [0, 0], "or to the last one"


# Links ----------------------------------------------------------------------------------------------


def test_pieces_of_a_word_are_added_up():
    # Two source words of two pieces each; the first piece of the second has the largest weight, the first word the
    # larger sum.
    weights = torch.tensor([[0.3, 0.3, 0.4, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5, 0.0]])
    assert links(weights, [0, 0, 1, 1], [0, 1]) == [(0, 0), (1, 1)]


def test_a_word_that_all_look_at_is_discounted():
    weights = torch.tensor([[0.5, 0.4, 0.1], [0.9, 0.0, 0.1], [0.9, 0.0, 0.1]])
    assert links(weights, [0, 1], [0, 1, 2]) == [(1, 0), (0, 1), (0, 2)]


def test_the_end_of_the_source_is_no_word():
    assert links(torch.tensor([[0.9, 0.1], [0.1, 0.9]]), [0], [0, 1]) == [(0, 0)]


def test_words_keep_their_numbers():
    """Of the line, if the segment is a part of it."""
    assert links(torch.eye(3), [5, 6], [7, 9, 9]) == [(5, 7), (6, 9)]


def test_weights_that_are_not_numbers_break_nothing():
    assert links(torch.full((2, 3), torch.nan), [0, 1], [0, 1]) in ([], [(0, 0), (0, 1)])


def test_pharaohs_format():
    assert (pharaoh([(0, 0), (1, 2)]), pharaoh([])) == ("0-0 1-2", "")


# Translating ----------------------------------------------------------------------------------------


def test_each_letter_is_aligned_with_itself(translator):
    found = translator.align(LINES)
    assert [t.text for t in found] == translator.translate(LINES)
    right = [pharaoh(t.alignment) == reversed_links(len(line.split())) for t, line in zip(found, LINES, strict=True)]
    assert sum(right) > 0.9 * len(LINES)


def test_neighbours_and_workers_change_nothing(reverser, translator):
    alone = [translator.align([line])[0] for line in LINES]
    for workers in (1, 2):
        several = Translator.load(reverser, device="cpu", workers=workers, decoding={"batch_tokens": 40})
        shuffled = random.Random(1).sample(range(len(LINES)), len(LINES))
        found = several.align([LINES[i] for i in shuffled])
        assert [t.alignment for t in found] == [alone[i].alignment for i in shuffled]


@pytest.mark.parametrize("line", ["a b c!  d e", "  a b! c\td. e f ", "a b c d e f g h " * 5])
def test_words_are_counted_over_segments(translator, line):
    """Over those of the line and of the whole translation."""
    segments = translator._segments([line], 1, SegmentCounts())[0]
    assert len(segments) > 1
    found, *parts = translator.align([line, *(segment.text for segment in segments)])
    assert found.text == " ".join(part.text for part in parts)
    expected, n_src, n_tgt = [], 0, 0
    for segment, part in zip(segments, parts, strict=True):
        expected += [(n_src + i, n_tgt + j) for i, j in part.alignment]
        n_src, n_tgt = n_src + len(segment.text.split()), n_tgt + len(part.text.split())
    assert list(found.alignment) == sorted(expected)
    assert n_src == len(line.split())
    aligned = {i for i, _ in expected}  # words of the first and of the last segment
    assert min(aligned) < len(segments[0].text.split())
    assert max(aligned) >= n_src - len(segments[-1].text.split())


def test_a_blank_line_has_no_alignment(translator):
    assert [(t.text, t.alignment) for t in translator.align(["", " \t"])] == [("", ()), ("", ())]


def test_langs_of_the_run_say_what_a_word_is(translator, monkeypatch):
    monkeypatch.setattr(translator._aligner, "_langs", parse_langs("zh-ja"))
    (found,) = translator.align(["a b"])
    assert found.alignment == ((0, 1), (1, 0)), "a run of ASCII characters is a word there, too"


# The command ----------------------------------------------------------------------------------------


def test_the_command_prints_text_and_alignment(cli, reverser, tmp_path):
    source = tmp_path / "in"
    source.write_text("a b c\n\n \nd e\n")
    outcome = cli("translate", reverser, "-i", source, "--alignments", "--device", "cpu")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "c b a ||| 0-2 1-1 2-0\n\n\ne d ||| 0-1 1-0\n"


def interrupt(translator, source, output, *, form):
    """Translate a file, and stop after its first window."""
    events = translate_file(translator, str(source), str(output), form=form)
    assert any(isinstance(event, WindowTranslated) for event in events)
    assert isinstance(events.throw(KeyboardInterrupt), Suspended)
    with pytest.raises(KeyboardInterrupt):
        next(events)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A file of several windows."""
    monkeypatch.setattr("seq2seq.translation.windows.MAX_LINES", 16)
    monkeypatch.setattr("seq2seq.translation.windows.MIN_LINES", 16)
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
    return tmp_path / "in"


def test_a_file_of_alignments_is_resumed(cli, reverser, translator, source, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    assert cli("translate", reverser, "-i", source, "-o", whole, "--alignments", "--device", "cpu").code == 0
    interrupt(translator, source, part, form="alignments")
    outcome = cli("translate", reverser, "-i", source, "-o", part, "--alignments", "--device", "cpu", "--resume")
    assert (outcome.code, outcome.err) == (0, "resuming after line 16\n")
    assert part.read_text() == whole.read_text()
    assert whole.read_text().count(" ||| ") == len(LINES)


def test_a_file_of_texts_is_not_resumed_with_alignments(cli, reverser, translator, source, tmp_path):
    interrupt(translator, source, tmp_path / "out", form="text")
    outcome = cli("translate", reverser, "-i", source, "-o", tmp_path / "out", "--alignments", "--resume")
    assert outcome.code == 78
    assert "answer: text -> alignments" in outcome.err


@pytest.mark.parametrize("other", [["--scores"], ["--n-best", "2"]])
def test_one_form_at_a_time(cli, reverser, other):
    outcome = cli("translate", reverser, "a b", "--alignments", *other)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: --alignments cannot be used with {other[0]}; give one of the two\n"
