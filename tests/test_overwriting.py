"""No output overwrites an input: by another name, a link, a redirection, or a file of the run."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import refuse_overwriting


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "in").write_text("a b\n")
    (tmp_path / "other").write_text("a b\n")
    (tmp_path / "link").symlink_to("in")
    os.link("in", "hard")
    os.mkfifo("pipe")
    return tmp_path


@pytest.mark.parametrize("name", ["in", "./in", "d/../in", "link", "hard"])
def test_one_file_by_every_name(here, name):
    for output, read in ((name, "in"), ("in", name), (here / name, "in")):
        with pytest.raises(
            UserError, match=r"is a file that is being read.*; name another file with `output`"
        ) as caught:
            refuse_overwriting(output, ["missing", "other", read])
        assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize("name", ["other", "missing", "/dev/null", "pipe", "d", "x" * 300, "a\0b", "in/x"])
def test_allowed_outputs(here, name):
    refuse_overwriting(name, ["in", "-"])
    refuse_overwriting("in", [name])


@pytest.mark.parametrize("name", ["/dev/null", "pipe"])
def test_a_terminal_or_pipe_may_be_both(here, name):
    refuse_overwriting(name, [name])


def test_redirected(here, monkeypatch):
    with open("in") as stdin, open("in", "a") as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        for output in ("in", "link"):
            with pytest.raises(UserError, match="is a file that is being read: stdin"):
                refuse_overwriting(output, ["-"])
        monkeypatch.setattr(sys, "stdout", stdout)
        for read in ("-", "in", "hard"):
            with pytest.raises(UserError, match=r"the output stdout is .*: (stdin|in|hard); redirect it"):
                refuse_overwriting("-", [read])
        refuse_overwriting("-", ["other"])
    for stand_in in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stdin", stand_in)
        monkeypatch.setattr(sys, "stdout", stand_in)
        refuse_overwriting("-", ["-", "in"])
        refuse_overwriting("in", ["-"])


# Every command -------------------------------------------------------------------------------------


@pytest.fixture
def files(here, reverser) -> dict[Path, bytes]:
    """The files of a run and of corpora, with their content."""
    shutil.copytree(reverser, here / "run")
    (here / "c.ab").write_text("a b\n")
    (here / "c.ba").write_text("b a\n")
    (here / "c.tsv").write_text("a b\tb a\n")
    (here / "recipe.toml").write_text("")
    os.link("c.ba", "linked.ba")
    (here / ".part.partial").write_text("a b\n")
    (here / "hub").mkdir()
    (here / "hub" / "train.jsonl").write_text('{"ab": "a b", "ba": "b a"}\n')
    return {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}


REFUSED = [
    "translate run -i c.ab -o c.ab",
    "translate run -i c.ab -o ./c.ab --resume",
    "translate run -i .part.partial -o part",
    *(f"translate run -i c.ab -o run/{name}" for name in ("manifest.json", "config.toml", "tokenizer.model")),
    "translate run -i c.ab -o run/README.md",
    "eval run c -o c.ba",
    "eval run c -o c.ab",
    "eval run c -o linked.ba",
    "eval run c.tsv -o c.tsv",
    "eval run hf:./hub -o hub/train.jsonl",
    "eval run c -o run/manifest.json",
    "train -l ab-ba --train c -o c.ab",
    "train -l ab-ba --train c --valid c.tsv -o c.tsv",
    "train -l ab-ba --train c --config recipe.toml -o recipe.toml",
    "train -l ab-ba --train run/own -o run --overwrite",
    "train -l ab-ba --train c --set data.tokenizer=run/tokenizer.model -o run --overwrite",
    "export run -o run/checkpoints --overwrite",
    "export run -o run/manifest.json --overwrite",
]


@pytest.mark.parametrize("command", REFUSED)
def test_every_command_refuses(cli, files, command):
    shutil.copy("c.ab", "run/own.ab")
    shutil.copy("c.ba", "run/own.ba")
    names = {path for path in Path().rglob("*") if path.name != "own"}
    outcome = cli(*command.split())
    assert (outcome.code, outcome.out) == (ExitCode.USAGE, ""), outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert {path: path.read_bytes() for path in files} == files
    assert set(Path().rglob("*")) == names, "nothing is left"


@pytest.mark.parametrize(
    ("words", "redirected"),
    [
        ("translate run -i c.ab", "c.ab"),
        ("translate run -i c.ab", "run/manifest.json"),
        ("eval run c", "c.ab"),
        ("eval run c --json", "linked.ba"),
        ("eval --hyp c.ba -l ab-ba c", "c.ba"),
        ("eval --hyp c.ab c.ba", "c.ab"),
        ("eval --hyp c.ab c.ba --json", "c.ba"),
    ],
)
def test_stdout_of_a_shell(cli, files, monkeypatch, words, redirected):
    with open(redirected, "a") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        outcome = cli(*words.split())
    assert outcome.code == ExitCode.USAGE, outcome.err
    assert "the output stdout is a file that is being read" in outcome.err
    assert {path: path.read_bytes() for path in files} == files


def test_a_file_of_ones_own_in_a_run_folder(cli, files):
    for _ in range(2):
        assert cli("translate", "run", "-i", "c.ab", "-o", "run/mine").code == 0
        assert cli("eval", "run", "c", "-o", "run/mine").code == 0
    assert Path("run/mine").read_text() == "b a\n"
