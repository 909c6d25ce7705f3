"""Maps of attention, and pictures of them in characters and as SVG."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from rich.cells import cell_len

from seq2seq.attention import KINDS, AttentionMap, draw, map_sizes, read_maps, svg
from seq2seq.drawing.labels import clusters, is_right_to_left, isolated, label, n_cells, padded, shortened
from seq2seq.errors import ExitCode, UserError
from seq2seq.tokenizer import BOS, EOS
from seq2seq.translation import Translator

SCRIPTS = ["▁Hund", "你好", "e\u0301te\u0301", "ก็ที่", "שלום", "नमस्ते", "한국", "ﾊﾝｶｸ", "½²", "🙂", "</s>", "▁"]
HOSTILE = [
    "<script>",
    "</title>",
    "\x1b[31m",
    "\u202egnirts",
    "a\u2066b",
    "\x00",
    "\ud800",
    "&amp;",
    '"',
    "]]>",
    "\u2028",
]


def picture(queries: list[str], keys: list[str]) -> AttentionMap:
    """Each row looks at the column of its number, and a little at the next."""
    weights = [[0.0] * len(keys) for _ in queries]
    for i, row in enumerate(weights):
        row[i % len(keys)] = 0.8
        row[(i + 1) % len(keys)] += 0.2
    return AttentionMap("cross-attention, layer 1 of 2, head 2 of 2", queries, keys, weights)


# Maps -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def translator(reverser):
    return Translator.load(reverser, device="cpu")


@pytest.fixture(scope="module")
def maps(translator):
    (found,) = translator.attention_maps("a b c d e")
    return found


def letters(pieces: list[str]) -> list[str]:
    return [piece.strip("\u2581") for piece in pieces]


def test_maps_are_those_of_the_translation(maps):
    assert letters(maps.src_pieces) == [*"abcde", "</s>"]
    assert letters(maps.tgt_pieces) == [*"edcba", "</s>"]
    assert letters(maps.tgt_read) == ["<s>", *"edcba"]
    assert {kind: tuple(weights.shape) for kind, weights in maps.weights.items()} == dict.fromkeys(KINDS, (1, 2, 6, 6))


def test_each_written_letter_looks_where_it_stands(maps):
    found = maps.map("cross")
    assert [found.keys[row.index(max(row))] for row in found.weights[:5]] == found.queries[:5]


def test_a_given_translation_is_read_in_place_of_the_models_own(translator):
    (given,) = translator.attention_maps("a b c", "c b")
    assert letters(given.tgt_pieces) == ["c", "b", "</s>"]


def test_a_mean_is_that_of_its_parts(maps):
    weights = torch.rand(3, 4, 5, 6)
    several = replace(maps, weights={"cross": weights})
    assert (several.n_layers("cross"), several.n_heads("cross"), several.n_layers("encoder")) == (3, 4, 0)
    for layer, head, expected in [
        (None, None, weights.mean((0, 1))),
        (2, None, weights[1].mean(0)),
        (None, 4, weights[:, 3].mean(0)),
        (3, 1, weights[2, 0]),
    ]:
        torch.testing.assert_close(torch.tensor(several.map("cross", layer, head).weights), expected)
    assert several.map("cross", 2).title == "cross-attention, layer 2 of 3, mean of 4 heads"


@pytest.mark.parametrize(("layer", "head"), [(0, 1), (2, 1), (1, 3), (-1, None), (None, 0)])
def test_layers_and_heads_are_counted_from_one(maps, layer, head):
    with pytest.raises(IndexError):
        maps.map("cross", layer, head)


def test_a_segment_has_maps_of_its_own(translator):
    found = translator.attention_maps("a b! c d")
    assert [letters(maps.src_pieces)[0] for maps in found] == ["a", "c"]
    assert translator.attention_maps(" ") == []


@pytest.mark.parametrize(("line", "translation"), [("a b! c d", "d c"), ("a b", " ")])
def test_a_translation_that_cannot_be_read_is_refused(translator, line, translation):
    with pytest.raises(UserError) as caught:
        translator.attention_maps(line, translation)
    assert caught.value.code == ExitCode.BAD_DATA


def test_sizes_are_those_of_the_maps(translator, maps):
    expected = {kind: (maps.n_layers(kind), maps.n_heads(kind)) for kind in KINDS}
    assert map_sizes(translator.model) == expected


def test_maps_of_pieces_need_no_text(translator):
    ids = translator.tokenizer.encode(["a b"])[0]
    found = read_maps(translator.model, translator.tokenizer, ids, [])
    assert found.tgt_pieces == translator.tokenizer.pieces([EOS])
    assert found.tgt_read == translator.tokenizer.pieces([BOS])


# Labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", SCRIPTS)
def test_cells_are_those_of_a_terminal(text):
    assert n_cells(text) == cell_len(text)


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("room", [1, 2, 3, 4, 10])
def test_a_shortened_text_fits(text, room):
    short = shortened(text, room)
    assert n_cells(short) <= room
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
    assert n_cells(padded(short, 12)) == 12


def test_a_letter_keeps_its_marks():
    assert clusters("e\u0301a") == ["e\u0301", "a"]
    assert shortened("e\u0301e\u0301e\u0301", 2) == "e\u0301…"


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_label_controls_a_terminal_or_turns_a_line(text):
    assert not re.search(
        "[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", label(text)
    )
    assert label("नमस्\u200dते") == "नमस्\u200dते", "which needs its joiner"


def test_what_follows_a_right_to_left_text_stays_to_its_right():
    assert [is_right_to_left(text) for text in ("▁שלום", "سلام", "▁Hund 5")] == [True, True, False]
    assert isolated("שלום") == "שלום\u200e"
    assert isolated("Hund") == "Hund"


# In characters --------------------------------------------------------------------------------------


def grid(text: str) -> list[str]:
    """The lines without the marks of direction."""
    return [line.replace("\u200e", "") for line in text.splitlines()]


def test_a_picture_in_characters():
    text = draw(picture(["▁A", "▁dog"], ["▁Ein", "▁Hund", "</s>"]), 80)
    assert text == (
        "cross-attention, layer 1 of 2, head 2 of 2\n"
        "     ▁Ein ▁Hund </s>\n"
        "▁A   ████ ░░░░░       ▁Ein 0.80\n"
        "▁dog      █████ ░░░░  ▁Hund 0.80\n"
    )


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("pieces", [SCRIPTS, SCRIPTS * 3, ["▁" + "lang" * 9] * 5, ["x"] * 200, ["你"] * 60, HOSTILE])
def test_lines_are_no_wider_than_the_terminal(width, pieces):
    _title, *lines = grid(draw(picture(pieces, pieces), width))
    assert max(map(n_cells, lines)) <= max(width, 40)
    marks = sum(line.count("█") for line in lines)
    assert marks >= len(pieces)


@pytest.mark.parametrize("keys", [SCRIPTS, SCRIPTS * 5, ["שלום", "עולם"] * 12, ["你好"] * 30])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_mark_of_a_row_stands_below_its_column(keys, width):
    """Whatever the script, by cells: row i has its mark below name i."""
    lines = grid(draw(picture(["q"] * len(keys), keys), width))
    rows = [line for line in lines if line.startswith("q ")]
    starts = [n_cells(line[: line.index("█")]) for line in rows if "█" in line]
    assert len(starts) == len(keys)
    # From left to right; a new band begins at the margin again.
    assert all(a < b or b == 2 for a, b in pairwise(starts))


def test_the_name_of_a_column_stands_above_it():
    """By cells: a Chinese name takes two for each letter, an accent none."""
    (_, head, *rows) = grid(draw(picture(["q"] * len(SCRIPTS), SCRIPTS), 200))
    at = 0
    for key, row in zip(SCRIPTS, rows, strict=True):
        at = head.index(key, at)
        assert n_cells(head[:at]) == n_cells(row[: row.index("█")]), key
        at += len(key)


def test_names_are_cut_then_turned_then_come_in_bands():
    keys = [f"▁piece{i}" for i in range(10)]
    assert "▁piece9" in draw(picture(["q"], keys), 100)
    assert "▁pie…" in draw(picture(["q"], keys), 66)
    turned = grid(draw(picture(["q"], keys * 2), 60))
    assert "".join(line[2] for line in turned[1:8]).strip() == "▁piece0"
    bands = draw(picture(["q"], ["x"] * 200), 80)
    assert re.findall(r"columns \d+ to \d+ of 200", bands) == [
        "columns 1 to 67 of 200",
        "columns 68 to 134 of 200",
        "columns 135 to 200 of 200",
    ]


def test_weights_that_are_not_numbers_are_left_white():
    nan = AttentionMap("t", ["a"], ["b", "c"], [[float("nan")] * 2])
    assert "█" not in draw(nan, 80)
    ET.fromstring(svg([nan], "t"))


# As SVG ---------------------------------------------------------------------------------------------

NAMESPACE = "{http://www.w3.org/2000/svg}"


def test_an_svg_has_a_title_a_description_names_and_cells():
    tree = ET.fromstring(svg([picture(["▁A", "▁dog"], ["▁Ein", "▁Hund", "</s>"])], "Where it looks"))
    assert tree.find(f"{NAMESPACE}title").text == "Where it looks"
    assert "▁dog at ▁Hund (0.80)" in tree.find(f"{NAMESPACE}desc").text
    texts = [text.text for text in tree.iter(f"{NAMESPACE}text")]
    assert texts == ["cross-attention, layer 1 of 2, head 2 of 2", "▁A", "▁dog", "▁Ein", "▁Hund", "</s>"]
    assert sum(path.get("d").count("M") for path in tree.iter(f"{NAMESPACE}path")) == 4
    assert {path.get("opacity") for path in tree.iter(f"{NAMESPACE}path")} == {"0.8", "0.2"}


@pytest.mark.parametrize("pieces", [HOSTILE, SCRIPTS])
def test_an_svg_is_data(pieces):
    text = svg([picture(pieces, pieces)], "<b>")
    tree = ET.fromstring(text)
    assert {element.tag.removeprefix(NAMESPACE) for element in tree.iter()} <= {
        *("svg", "title", "desc", "style", "rect", "g", "text", "path")
    }
    assert not re.search(r"(?i)<script|href|@import|url\(|\bon\w+=|<image|<foreignObject", text.replace("&lt;", ""))
    assert text.count("http") == 1, "the name of the format"


def test_maps_side_by_side_do_not_overlap_and_stay_inside():
    of_twelve = [str(i) for i in range(12)]
    tree = ET.fromstring(svg([picture(of_twelve, of_twelve)] * 9, "t"))
    width, height = float(tree.get("width")), float(tree.get("height"))
    boxes = []
    for group, frame in zip(tree.iter(f"{NAMESPACE}g"), tree.iterfind(f".//{NAMESPACE}rect[@class='f']"), strict=True):
        x, y = map(float, re.findall(r"[\d.]+", group.get("transform")))
        boxes.append(
            (
                x,
                y,
                x + float(frame.get("x")) + float(frame.get("width")),
                y + float(frame.get("y")) + float(frame.get("height")),
            )
        )
    assert len({box[1] for box in boxes}) > 1, "several rows"
    assert all(right <= width and bottom <= height for _, _, right, bottom in boxes)
    for i, (x, y, right, bottom) in enumerate(boxes):
        assert all(right <= a or c <= x or bottom <= b or d <= y for a, b, c, d in boxes[:i])


def test_an_svg_of_a_sentence_is_small():
    of_sixty = [f"▁piece{i}" for i in range(60)]
    flat = replace(picture(of_sixty, of_sixty), weights=[[0.05] * 60] * 60)
    assert len(svg([flat], "t").encode()) < 100_000
