"""The HTML page of attention: it is whole, small, and shows hostile text as text; and what a browser makes of it."""

import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256

import pytest
import torch
from support.browser import HOSTILE, Tags, contrast, in_a_browser, layout, opened, seen

from seq2seq.attention import KINDS, AttentionMaps, Place, page
from seq2seq.model import AttentionHead, Positions

SINUSOIDAL = Positions("sinusoidal", torch.linspace(-1, 1, 64 * 16).view(64, 16))


def random_maps(src: list[str], tgt: list[str], *, layers: int = 2, heads: int = 2, seed: int = 0) -> AttentionMaps:
    draw = torch.Generator().manual_seed(seed)

    def weights(n_queries: int, n_keys: int) -> torch.Tensor:
        return (4 * torch.randn(layers, heads, n_queries, n_keys, generator=draw)).softmax(-1)

    s, t = len(src) + 1, len(tgt) + 1
    return AttentionMaps(
        [*src, "</s>"],
        [*tgt, "</s>"],
        ["<s>", *tgt],
        {"encoder": weights(s, s), "decoder": weights(t, t).tril(), "cross": weights(t, s)},
    )


MAPS = random_maps(["▁Zwei", "▁Hunde", "▁rennen"], ["▁Two", "▁dogs", "▁run"])


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


# What is in the file --------------------------------------------------------------------------------


def test_weights_are_those_of_the_maps():
    data = data_of(page([MAPS], SINUSOIDAL, about="a model"))
    for kind, weights in MAPS.weights.items():
        stored = torch.tensor(list(b64decode(data["sentences"][0]["maps"][kind])))
        torch.testing.assert_close((stored / 255) ** 2, weights.flatten(), rtol=0, atol=0.004)
        small = weights.flatten() < 0.01
        torch.testing.assert_close(((stored / 255) ** 2)[small], weights.flatten()[small], rtol=0, atol=0.0005)
    assert data["kinds"] == {kind: {"layers": 2, "heads": 2} for kind in KINDS}
    assert data["sentences"][0]["read"] == ["<s>", "▁Two", "▁dogs", "▁run"]


def test_positions_are_those_of_the_model():
    found = data_of(page([MAPS], SINUSOIDAL, about=""))["positions"]
    stored = torch.tensor(list(b64decode(found["values"]))).view(found["rows"], found["columns"])
    torch.testing.assert_close((stored / 127 - 1) * found["scale"], SINUSOIDAL.table, rtol=0, atol=0.005)


@pytest.mark.parametrize(
    ("name", "says"), [("rotary", "rotated"), ("none", "does not see the order"), ("", "one piece after another")]
)
def test_positions_without_a_table_say_so(name, says):
    found = data_of(page([MAPS], Positions(name), about=""))["positions"]
    assert found["rows"] == 0
    assert says in found["about"]


def test_a_damaged_model_has_a_page():
    nan = replace(MAPS, weights={kind: weights * torch.nan for kind, weights in MAPS.weights.items()})
    text = page([nan], Positions("learned", torch.full((4, 2), torch.nan)), about="")
    assert "NaN" not in re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]


def test_a_source_is_named_by_its_text():
    maps = replace(MAPS, src_pieces=["▁", "<0xD7>", "<0xA9>", "▁a", "<0xFF>", "b", "</s>"])
    assert data_of(page([maps], SINUSOIDAL, about=""))["sentences"][0]["text"] == "ש a\ufffdb"


def test_what_is_shown_first():
    start = data_of(page([MAPS], SINUSOIDAL, about="", kind="encoder", layer=2, head=1))["start"]
    assert start == {"kind": "encoder", "layer": 2, "head": 1}
    assert data_of(page([MAPS], SINUSOIDAL, about=""))["start"] == {"kind": "cross", "layer": 0, "head": 0}


def test_an_architecture_of_one_kind():
    only_cross = AttentionMaps(
        MAPS.src_pieces, MAPS.tgt_pieces, MAPS.tgt_read, {"cross": MAPS.weights["cross"][:1, :1]}
    )
    assert data_of(page([only_cross], Positions(""), about=""))["kinds"] == {"cross": {"layers": 1, "heads": 1}}


def test_a_page_of_sixty_pieces_is_at_most_two_megabytes():
    """6 layers and 8 heads of all kinds. Random weights: these do not get smaller."""
    pieces = [f"▁piece{i}" for i in range(59)]
    big = Positions("sinusoidal", torch.rand(64, 512))
    assert len(page([random_maps(pieces, pieces, layers=6, heads=8)], big, about="").encode()) < 1_000_000


def test_nothing_is_loaded_from_outside():
    text = page([MAPS], SINUSOIDAL, about="a model")
    for tag, attributes in Tags(text).found:
        assert not attributes.keys() & {"src", "href", "action", "data", "srcset", "poster", "background", "style"}, tag
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in {"link", "iframe", "object", "embed", "base", "img", "svg"}
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|WebSocket|sendBeacon|eval\(|innerHTML", text)


def test_the_policy_allows_this_style_and_this_script_alone():
    text = page([MAPS], SINUSOIDAL, about="")
    policy = next(a["content"] for tag, a in Tags(text).found if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, pattern in (("style-src", "<style>(.*?)</style>"), ("script-src", "<script>(.*?)</script>")):
        (inside,) = re.findall(pattern, text, re.DOTALL)
        assert rules[rule] == f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"


def test_hostile_text_is_data():
    text = page([random_maps(HOSTILE, HOSTILE)], SINUSOIDAL, about="</script><script>document.title='pwned'</script>")
    text.encode()  # no lone surrogate
    scripts = [attributes for tag, attributes in Tags(text).found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in Tags(text).found if tag == "img"]
    block = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    assert not re.search(r"[<>&\x00-\x1f\u2028\u202e]", block)
    assert data_of(text)["sentences"][0]["src"][0] == HOSTILE[0], "and nothing of it is lost"


# In a browser ---------------------------------------------------------------------------------------


@pytest.mark.slow
@in_a_browser
class TestInABrowser:
    def test_everything_is_drawn(self, tmp_path):
        dom = opened(tmp_path, page([MAPS], SINUSOIDAL, about="a model"))
        assert 'data-drawn="true"' in dom
        for text in (
            "cross-attention",
            "▁Zwei",
            "▁dogs",
            "While it writes \u2068▁Two\u2069",
            "layer 2, head 2",
            "Sines and cosines",
        ):
            assert text in dom
        assert dom.count("<canvas") == 2 + 4
        names = re.findall(r'aria-label="([^"]*)"', dom)
        assert any("▁Two\u2069, the model looks at" in name for name in names)

    def test_hostile_text_is_shown_and_not_run(self, tmp_path):
        dom = opened(tmp_path, page([random_maps(HOSTILE, HOSTILE)], SINUSOIDAL, about=HOSTILE[1]))
        assert 'data-drawn="true"' in dom
        assert "<title>Where the model looks" in dom
        assert "pwned" in dom, "as text"
        assert "<img" not in dom
        assert len(re.findall("<script", dom)) == 2

    def test_choosing_kind_layer_head_and_piece(self, tmp_path):
        then = """
        const pick = (id, text) => [...document.querySelectorAll(`#${id} label`)].find((l) => l.textContent === text)
          .querySelector("input").click();
        const status = () => document.getElementById("status").textContent;
        const key = (id, name) => document.getElementById(id).dispatchEvent(new KeyboardEvent("keydown", {key: name}));
        const seen = {};
        pick("kind", "encoder self-attention"); pick("layer", "2"); pick("head", "1");
        seen.chosen = status();
        document.querySelectorAll("#queries button")[1].dispatchEvent(new MouseEvent("mouseenter"));
        seen.hover = status();
        key("queries", "ArrowRight"); seen.right = status();
        key("queries", "End"); seen.end = status();
        key("map", "ArrowUp"); seen.up = status();
        document.querySelectorAll("#heads button")[1].click(); seen.head = status();
        pick("kind", "masked self-attention");
        seen.keys = document.querySelectorAll("#keys > span").length;
        document.querySelectorAll("details").forEach((d) => { d.open = true; });
        setTimeout(() => {
          seen.rows = document.querySelectorAll("#map-table tbody tr").length;
          seen.heads = document.querySelectorAll("#heads-table tbody tr").length;
          seen.positions = document.querySelectorAll("#positions-table tbody tr").length;
          document.documentElement.dataset.seen = JSON.stringify(seen);
        }, 50);
        """
        found = seen(opened(tmp_path, page([MAPS], SINUSOIDAL, about=""), then=then))
        assert found["chosen"].startswith("encoder self-attention, layer 2, head 1. ▁Zwei looks at ")
        assert "▁Hunde looks at" in found["hover"]
        assert "▁rennen looks at" in found["right"]
        assert "</s> looks at" in found["end"]
        assert "▁rennen looks at" in found["up"]
        assert "layer 1, head 2" in found["head"]
        assert (found["keys"], found["rows"], found["heads"], found["positions"]) == (4, 4, 4, 64)

    def test_numbers_shown_are_the_weights(self, tmp_path):
        then = """
        document.getElementById("map-table").open = true;
        setTimeout(() => {
          const rows = [...document.querySelectorAll("#map-table tbody tr")];
          document.documentElement.dataset.seen = JSON.stringify(
            rows.map((row) => [...row.cells].slice(1).map((cell) => Number(cell.textContent))));
        }, 50);
        """
        found = seen(opened(tmp_path, page([MAPS], SINUSOIDAL, about=""), then=then))
        torch.testing.assert_close(torch.tensor(found), MAPS.weights["cross"].mean((0, 1)), rtol=0, atol=0.008)

    @pytest.mark.parametrize("kind", ["cross", "decoder"])
    def test_the_steps_of_one_head_end_at_its_weights(self, tmp_path, kind):
        draw = torch.Generator().manual_seed(1)
        q, k, v = torch.randn(3, 4, 5, generator=draw)
        scores = q @ k.t()
        if kind == "decoder":
            scores = scores.masked_fill(~torch.ones(4, 4, dtype=torch.bool).tril(), -torch.inf)
        weights = scores.softmax(-1)
        maps = replace(MAPS, place=Place(kind, 2, 1), numbers=AttentionHead(q, k, v))
        then = """
        document.querySelectorAll("#queries button")[2].click();
        const rows = [...document.querySelectorAll("#steps tbody tr")];
        const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent));
        document.documentElement.dataset.seen = JSON.stringify(texts);
        """
        *rows, last = seen(opened(tmp_path, page([maps], SINUSOIDAL, about="", kind=kind), then=then))
        assert len(rows) == (3 if kind == "decoder" else 4)
        found = torch.tensor([float(row[4]) for row in rows])
        torch.testing.assert_close(found, weights[2, : len(rows)], rtol=0, atol=6e-4)
        assert last[0] == "sum"
        expected = ", ".join(f"{value:.2f}" for value in (weights[2] @ v)[:4].tolist())
        assert last[5].replace("-0.00", "0.00") == f"({expected}, …)".replace("-0.00", "0.00")

    @pytest.mark.parametrize("width", [320, 360, 1200])
    @pytest.mark.parametrize("n", [3, 200])
    def test_nothing_reaches_beyond_the_window(self, tmp_path, width, n):
        pieces = [f"▁piece{i}" for i in range(n)]
        text = page([random_maps(pieces, pieces)], SINUSOIDAL, about="")
        assert layout(tmp_path, text, width) == ["true", True, []]

    def test_a_dark_page_and_a_light_one_have_contrast(self, tmp_path):
        """All text against what lies behind it, by WCAG's formula: 4.5 or more."""
        text = page([MAPS], SINUSOIDAL, about="a model")
        for is_dark in (True, False):
            assert contrast(tmp_path, text, is_dark=is_dark) >= 4.5
