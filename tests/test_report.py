"""The report of `eval`: it is whole, shows hostile text as text, and holds what the tables hold."""

import re
from pathlib import Path

import pytest
from support.browser import HOSTILE, Tags, browse, contrast, in_a_browser, layout, opened
from test_cli import assert_refused

from seq2seq.drawing import letter
from seq2seq.drawing.plots import _ticks, histogram
from seq2seq.errors import ExitCode
from seq2seq.evaluation import CorpusResult, ScoringOptions, score_file
from seq2seq.evaluation.report import _counts, report

LINES = [f"the dog {'ran ' * (i % 30)}home {i}" for i in range(120)]
OTHER = [line.replace("dog", "cat") if i % 4 else "" for i, line in enumerate(LINES)]
PRINTABLE = [text.replace("\ud800", "\ufffd") for text in HOSTILE]  # UTF-8 holds no lone surrogate

TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body main h1 h2 h3 p ol ul li b bdi section div svg text line circle polyline rect "
        "table caption thead tbody tr th td details summary dl dt dd span mark",
    )
)


def result_of(
    folder: Path, *, texts: list[str] = LINES, others: int = 1, metrics: str = "bleu,chrf,ter"
) -> CorpusResult:
    """The result of a file of hypotheses against some others."""
    for name, lines in (("c.de", texts), ("c.en", texts[1:] + texts[:1]), ("hyp", texts)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    against = [folder / f"<img>other{i}" for i in range(others)]
    for path in against:
        path.write_text("".join(f"{line}\n" for line in (OTHER + texts)[: len(texts)]), encoding="utf-8")
    options = ScoringOptions(against=against, report=folder / "report.html")
    return score_file(folder / "hyp", str(folder / "c"), metrics.split(","), langs="de-en", options=options)


@pytest.fixture
def text(tmp_path) -> str:
    result_of(tmp_path)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_and_no_script_runs(text):
    tags = Tags(text).found
    for tag, attributes in tags:
        assert not attributes.keys() & {"src", "href", "action", "data", "srcset", "poster", "background", "style"}, tag
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "img", "image", "use"}
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"@import|url\(", text)
    (policy,) = [a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src 'none'" in policy


def test_figures_of_the_page_are_those_of_the_tests(tmp_path):
    result = result_of(tmp_path, metrics="bleu,chrf,ter")
    text = report([result])
    assert text == (tmp_path / "report.html").read_text(encoding="utf-8")
    for found in result.details.comparisons.values():
        one = found.systems[1]
        assert f"<td>{one.score:.1f}</td>" in text
        assert f"<td>{one.difference:+.2f}</td>" in text
        assert all(f"<td>{p:.4f}</td>" in text for p in one.p_values.values())
        assert all(signature in text for signature in found.signatures.values())
    assert "<td>significant</td>" in text
    assert text.count("<svg") == 3 + 3 + 2
    assert len(re.findall(r'<ol class="lines">', text)) == 2
    assert text.count('<span class="fault">empty</span>') >= 20


def test_one_system_alone(tmp_path):
    text = report([result_of(tmp_path, others=0, metrics="bleu,chrf++")])
    assert "p (bootstrap)" not in text
    assert "<td>chrF2++</td>" not in text
    assert '<th scope="row">chrF2++</th>' in text
    assert text.count("<svg") == 2 + 1
    assert len(re.findall(r'<ol class="lines">', text)) == 1


def test_several_corpora_have_a_table(tmp_path):
    result = result_of(tmp_path, others=2)
    text = report([result, result])
    assert "<h2>By corpus</h2>" in text
    assert text.count("<section>") == 2
    assert "<h2>By corpus</h2>" not in report([result])


def test_hostile_text_is_escaped(tmp_path):
    text = report([result_of(tmp_path, texts=PRINTABLE, others=2)])
    tags = {tag for tag, _ in Tags(text).found}
    assert tags <= TAGS
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\u2028]", text)
    assert "&lt;script&gt;document.title=&#x27;pwned&#x27;&lt;/script&gt;" in text


def test_ticks_and_bins():
    assert _ticks(25.7, 31.2) == [26, 28, 30]
    assert _ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert _ticks(0, 131) == [0, 50, 100]
    assert _counts([0, 4.9, 5, 99, 100], [0, 50, 100]) == [3, 2]
    assert _counts([-100, 0, 0.1, 100], [-100, 0, 100]) == [1, 3]
    assert [letter(i) for i in (0, 1, 25, 26, 27)] == ["A", "B", "Z", "AA", "AB"]
    svg = histogram("t", "told", [-1, 0, 1], [[3, 1]], signs=True)
    assert re.findall(r'class="(worse|better)"', svg) == ["worse", "better"]


class TestCommand:
    def test_a_page_is_written(self, cli, tmp_path):
        result_of(tmp_path)
        words = ("eval", "--hyp", tmp_path / "hyp", "-l", "de-en", tmp_path / "c", "-m", "chrf")
        outcome = cli(*words, "--report", tmp_path / "page.html")
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith("chrF2 ")
        assert "<h1>Evaluation of" in (tmp_path / "page.html").read_text(encoding="utf-8")
        assert f"wrote {tmp_path / 'page.html'}" in outcome.err

    def test_a_page_of_a_run_and_two_corpora(self, cli, reverser, tmp_path):
        for name in "cd":
            (tmp_path / f"{name}.ab").write_text("a b\nb c d\n")
            (tmp_path / f"{name}.ba").write_text("b a\nd c b\n")
        words = ("eval", reverser, tmp_path / "c", tmp_path / "d", "--device", "cpu", "-m", "chrf")
        outcome = cli(*words, "--report", tmp_path / "page.html")
        assert outcome.code == 0, outcome.err
        text = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "<h2>By corpus</h2>" in text
        assert str(tmp_path / "d") in text

    def test_what_is_refused(self, cli, tmp_path):
        result_of(tmp_path)
        words = ("eval", "--hyp", tmp_path / "hyp", "-l", "de-en", tmp_path / "c", "-m", "chrf", "--report")
        assert_refused(cli(*words, "-"), ExitCode.USAGE, "--report - must name a file")
        assert_refused(cli(*words, tmp_path / "c.en"), ExitCode.USAGE, "is a file that is being read", "--report")
        assert_refused(cli(*words, tmp_path / "none" / "page.html"), ExitCode.CANNOT_WRITE, "page.html")
        assert (tmp_path / "c.en").read_text().startswith(LINES[1])

    def test_one_name_for_two_files(self, cli, reverser, tmp_path):
        (tmp_path / "c.ab").write_text("a b\n")
        (tmp_path / "c.ba").write_text("b a\n")
        words = ("eval", reverser, tmp_path / "c", "--device", "cpu", "-m", "chrf")
        outcome = cli(*words, "--report", tmp_path / "x", "-o", tmp_path / "x")
        assert_refused(outcome, ExitCode.USAGE, "--report", "-o", "are the same file")


@pytest.mark.slow
@in_a_browser
class TestInABrowser:
    @pytest.mark.parametrize("others", [0, 1, 3])
    @pytest.mark.parametrize("width", [320, 360, 1200])
    def test_nothing_reaches_beyond_the_window(self, tmp_path, width, others):
        texts = [*LINES[:100], *PRINTABLE, "w" * 400, "سلام دنیا"]
        assert layout(tmp_path, report([result_of(tmp_path, texts=texts, others=others)]), width) == ["", True, []]

    @pytest.mark.parametrize("is_dark", [True, False])
    def test_texts_have_contrast(self, tmp_path, is_dark):
        assert contrast(tmp_path, report([result_of(tmp_path, others=5, metrics="chrf")]), is_dark=is_dark) >= 4.5

    def test_hostile_text_is_shown_and_not_run(self, tmp_path):
        dom = opened(tmp_path, report([result_of(tmp_path, texts=PRINTABLE)]))
        assert "<title>Evaluation of" in dom
        assert "pwned" in dom, "as text"
        assert not re.search("<(img|script)", dom)

    def test_it_can_be_printed(self, tmp_path, text):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        browse(tmp_path / "page.html", f"--print-to-pdf={tmp_path / 'page.pdf'}")
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
