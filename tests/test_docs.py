"""Documentation: links work, and commands, options and keys that it names exist."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType

import pytest
import typer.main
from reversal import reversal_lines, reversal_recipe, write_reversal
from test_house import HOUSE, PACKAGE, ROOT

from seq2seq.cli import app
from seq2seq.config import PRESETS
from seq2seq.config.keys import known_keys
from seq2seq.config.tables import TABLES
from seq2seq.evaluation.verdict import VERDICTS
from seq2seq.runs import Manifest, read_metrics
from seq2seq.training import Request, train
from seq2seq.training.tensorboard import TAGS

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md")
}
PRESENT = {name: page for name, page in PAGES.items() if name not in ("CHANGELOG.md", "docs/lab-notes.md")}
"""Pages about the program as it is; the others also tell what it was."""
COMMANDS = typer.main.get_command(app).commands


def anchors(page: str) -> set[str]:
    """Anchors of a page: GitHub's names of its headings."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    broken = []
    for name, page in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", page):
            path, _, anchor = target.partition("#")
            place = (ROOT / name).parent / path if path else ROOT / name
            is_web = target.startswith("https://")
            found = is_web or place.exists()
            if not found or (anchor and not is_web and anchor not in anchors(place.read_text(encoding="utf-8"))):
                broken.append(f"{name}: {target}")
    assert not broken


def commands_of(page: str) -> Iterator[tuple[str, list[str]]]:
    """The commands that a page shows, each with the options that it is given."""
    for command, rest in re.findall(r"\bseq2seq (\w+)\b((?:[^`\n|]|\\\n)*)", page):
        if command in COMMANDS:
            yield command, re.findall(r"(?<=\s)--?[a-z][a-z-]*", re.sub(r"\s# .*", "", rest))


def test_options_exist():
    unknown, n = [], 0
    for name, page in PRESENT.items():
        for command, options in commands_of(page):
            known = {"--help", "-h", *(o for param in COMMANDS[command].params for o in param.opts)}
            unknown += [f"{name}: seq2seq {command} {option}" for option in options if option not in known]
            n += len(options)
    assert not unknown
    assert n > 50


def test_configuration_keys_exist():
    known = {*known_keys(), *TABLES}
    unknown, n = [], 0
    for name, page in PRESENT.items():
        for key in re.findall(r"(?<![/\w])(?:data|model|training|decoding)(?:\.[a-z]\w*)+\b(?!\.)(?=[`= ,)])", page):
            unknown += [f"{name}: {key}"] * (key not in known)
            n += 1
    assert not unknown
    assert n > 20


def test_lines_are_wrapped():
    """All except tables. (The lab notes keep their form.)"""
    long = []
    for name, page in PAGES.items():
        lines = () if name == "docs/lab-notes.md" else page.splitlines()
        long += [f"{name}:{i}" for i, line in enumerate(lines, 1) if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_each_page_begins_with_its_purpose():
    """Its first paragraph, right below its title."""
    for name, page in PAGES.items():
        title, blank, first = page.splitlines()[:3]
        assert (title[:2], blank) == ("# ", ""), name
        assert re.match(r"[A-Z`]", first), name


# Facts in two places ---------------------------------------------------------------------------


def test_the_table_for_newcomers_is_the_same_on_both_pages():
    tables = [
        re.findall(r"^\| To add \|.*\n(?:\|.*\n)+", PAGES[name], re.MULTILINE)
        for name in ("CONTRIBUTING.md", "docs/architecture.md")
    ]
    assert len(tables[0]) == 1
    assert tables[0] == tables[1]


def test_the_house_is_that_of_the_code():
    tree = PAGES["README.md"].partition("## The house\n")[2].split("```")[1]
    names = {name.rstrip("/") for line in tree.splitlines() for name in line[:34].split()}
    assert set(HOUSE) - {"__main__"} <= names
    page = PAGES["docs/architecture.md"]
    paths = {path for path in re.findall(r"`([\w/]+(?:\.py|/))`", page) if "/" in path}
    paths |= set(re.findall(r"\(\.\./seq2seq/([\w/.]+)\)", page))
    gone = [path for path in paths if not (PACKAGE / path).exists() and not (ROOT / path).exists()]
    assert len(paths) > 30
    assert not gone


def test_fields_of_the_manifest_are_documented():
    table = PAGES["docs/run-folder.md"].partition("## `manifest.json`\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == {field.name for field in fields(Manifest)} | {"checksum"}


def test_fields_of_the_metrics_are_documented(tmp_path):
    """Those that a run writes which can hardly translate: some of its translations are cut off."""
    quick = {"model": {"d_model": 16, "d_ff": 16}, "training": {"max_updates": 2, "valid_every": 2, "report_every": 1}}
    recipe = reversal_recipe(tmp_path)
    write_reversal(tmp_path / "train", reversal_lines(200, seed=1))
    for _ in train(Request(tmp_path / "run", [recipe, quick], "cpu")):
        pass
    written = {name for record in read_metrics(tmp_path / "run") for name in record}
    table = PAGES["docs/run-folder.md"].partition("## `metrics.jsonl`\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE)
    documented = [name for names, _ in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(documented) == sorted(written), "each once"
    assert all(unit for _, unit in rows)


def test_curves_of_tensorboard_are_documented():
    page = PAGES["docs/run-folder.md"].partition("## `tensorboard/`\n")[2].partition("\n##")[0]
    assert set(re.findall(r"`((?:train|valid)/\w+)`", page)) == set(TAGS.values())


def test_presets_and_verdicts_are_those_of_the_code():
    rows = re.findall(r"^\| (`.*?) \|", PAGES["docs/train.md"].partition("| Preset |")[2], re.MULTILINE)
    assert set(PRESETS) <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    for bleu, chrf, words in VERDICTS:
        assert f"| {bleu:g} | {chrf:g} | {words} |\n" in PAGES["docs/eval.md"]


# The picture -----------------------------------------------------------------------------------------


def test_the_picture_is_small_and_loads_nothing():
    svg = (ROOT / "docs" / "terminal.svg").read_text(encoding="utf-8")
    assert len(svg.encode()) < 60_000
    ET.fromstring(svg)
    assert not re.search(r"@font-face|@import|<image|<script|href|src:", svg)


@pytest.mark.parametrize("name", ["attention-1-head.svg", "attention-4-heads.svg"])
def test_pictures_of_attention_are_small(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert len(text.encode()) < 100_000
    ET.fromstring(text)


LOG = """\
python3 -m venv .venv
.venv/bin/seq2seq train -o demo
corpus: 5 pairs
update 1/9  epoch 0
validation at update 1: BLEU 0.10  best
  source    Hallo
  model     Hat
  reference Hello
  source    Eins
update 2/9  epoch 0
validation at update 2: BLEU 0.20  best
update 3/9  epoch 0
validation at update 3: BLEU 0.30
finished after 0:00:09
BLEU 0.3: not usable yet
printf Hallo \\
  | .venv/bin/seq2seq translate demo
Hello
.venv/bin/seq2seq eval demo test
data/test: 5 sentences
BLEU 0.3  nrefs:1
real 9s
"""


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_lines_of_the_log(picture):
    svg = ET.fromstring(picture.picture(LOG))
    text = "\n".join(svg.itertext()).replace("\xa0", " ")
    for line in ("seq2seq train -o demo", "corpus: 5 pairs", "Hello", "BLEU 0.3  nrefs:1", " at update 3: BLEU 0.30"):
        assert line in text
    for line in (".venv", "Eins", "update 2/9", "real"):
        assert line not in text


def test_half_a_log_is_refused(picture):
    with pytest.raises(ValueError, match="3 of `make demo`"):
        picture.picture(LOG.partition("printf")[0])
