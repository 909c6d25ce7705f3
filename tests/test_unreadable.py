"""Errors for a CORPUS that no reader can read: what it is, and what to do."""

import os
from pathlib import Path

import pytest
from corpora import refusal_of

from seq2seq.corpus.unreadable import FORMATS
from seq2seq.errors import ExitCode


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", FORMATS)
def test_files_of_another_kind(here, kind):
    for name in (f"my pairs.{kind}", f"a.{kind.upper()}", f"a.{kind}.gz"):
        Path(name).write_bytes(b"\x00\x01")
        for word in (name, f"./{name}", f"{name}[1,2]"):
            message = refusal_of(word)
            assert message.startswith(f"{word.removesuffix('[1,2]')} is {FORMATS[kind][0]}; ")
            assert "; decompress it; then " in message or not name.endswith(".gz")
            assert "leave the language out" not in message
            assert "FILE" not in message.replace(name, "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.xlsx", "a spreadsheet; save it as CSV"), ("a b.po", "`po2csv 'a b.po' 'a b.po'.csv`"),
        ("x/a.parquet", "as hf:x"), ("a.parquet", "as hf:."), ("a.tsv.lz4", "`lz4 -d a.tsv.lz4`"),
        ("a.json", "`jq -c '.[]' a.json > a.json.jsonl`"), ("a.tar.gz", "an archive"), ("a.txt.gz", "one text file"),
        ("a.json.gz", "decompress it; then write one object on each line: `jq -c '.[]' a.json >"),
        ("a", "one text file"), ("a.eng", "one text file"), ("a.toml", "give it with `train layers`"),
    ],
)  # fmt: skip
def test_what_to_do_with_a_file(here, name, says):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("x\n")
    assert says in refusal_of(name)


def test_a_json_file_that_holds_lines(here):
    Path("a.json").write_text('{"de": "a", "en": "b"}\n' * 2)
    assert refusal_of("a.json").endswith("rename it, so that its name ends in .jsonl")


@pytest.mark.parametrize(
    ("names", "word", "says"),
    [
        (["quc-es.train.quc", "quc-es.train.es"], "quc-es", "there is a longer prefix: quc-es.train"),
        (["c/train.quc.gz", "c/train.es", "c/train2.quc", "c/train2.es"], "c/tr", "a longer prefix: c/train, c/train2"),
        (["train.quc", "train.spa"], "train", "name the languages as the files do: `data.langs=quc-spa`"),
        (["train.QUC", "train.es-MX"], "train", "as the files do: `data.langs=QUC:es-MX`"),
        (["train.de", "train.en"], "train", "languages than quc and es: name two of theirs with `data.langs`"),
        (["train.quc"], "train", "train.es not found"),
        (["c/x.src", "c/x.trg"], "c/x", "but there is x.src, x.trg; name both files: c/x.src,c/x.trg"),
        (["es.es.txt", "es.quc.txt"], "es", "name both files: es.quc.txt,es.es.txt"),
        (["train.quc", "train.es"], "train.es", "leave the language out of the name: CORPUS is what comes before"),
        (["train.quc.gz", "train.es.xz"], "train.quc.gz", "before .quc and .es, train"),
        (["train.quc"], "train.qu", "train.qu.quc and train.qu.es not found"),
        (["a.quc", "a.es"], "b,c", "b,c.es not found (nor with .gz, .bz2, .xz, .zst), nor the two files b,c"),
    ],
)  # fmt: skip
def test_a_prefix_with_a_missing_file(here, names, word, says):
    for name in names:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("x\n")
    code = ExitCode.BAD_DATA if Path(word).exists() else ExitCode.NO_INPUT
    assert says in refusal_of(word, ("quc", "es"), code=code)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "f is an empty folder; give a prefix"),
        (["train.de", "train.en", "README.md"], "f is a folder; name a corpus in it: f/train"),
        (["data/train-0.parquet"], "f is a folder that looks like a data set; name it as hf:./f"),
        (["train.jsonl", "test.jsonl"], "name it as hf:./f"), (["x.csv", "README.md"], "name it as hf:./f"),
        (["a.tsv", "b.csv", "notes.txt"], "f is a folder; name a file in it: f/a.tsv, f/b.csv"),
        (["source.txt", "target.txt"], "f is a folder; name the two files in it: f/source.txt,f/target.txt"),
        (["deu.txt", "eng.txt.gz", "fra.txt"], "name the two files in it: f/deu.txt,f/eng.txt.gz"),
        (["a.docx"], "f is a folder that holds a.docx"),
        (["README.md", "config.toml", "manifest.json", "metrics.jsonl"], "f is the folder of a run, not a corpus"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", ["f", "f/", "f[1,2]"])
def test_a_folder(here, names, says, word):
    Path("f").mkdir()
    for name in names:
        Path("f", name).parent.mkdir(exist_ok=True)
        Path("f", name).write_text("x\n")
    assert says in refusal_of(word).replace("f/ is", "f is")


@pytest.mark.parametrize(
    ("word", "link"),
    [("a", "a.de"), ("a", "a.en.gz"), ("a.tsv", "a.tsv"), ("a.txt[1,2]", "a.txt"), ("a", "a"), ("a.xlsx", "a.xlsx")],
)
def test_a_broken_link(here, word, link):
    Path(link).symlink_to("gone")
    message = refusal_of(word, code=ExitCode.NO_INPUT)
    assert message == f"{link} is a link to gone, which does not exist; repair the link"


def test_a_pipe(here):
    os.mkfifo("pipe")
    assert refusal_of("pipe").startswith("pipe is a pipe or a device, so the kind of corpus is not known; ")


def test_a_file_without_permission(here, monkeypatch):
    """Root may read everything, so the error of the system is simulated."""

    def refuse(self, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert refusal_of("closed/train", code=ExitCode.NO_INPUT).startswith(
        "closed/train.de cannot be read: Permission denied"
    )
