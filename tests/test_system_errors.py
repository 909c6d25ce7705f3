"""Errors of the system (no permission, long names, loops of links, no memory) are not reported as bugs."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq import cli as command_line
from seq2seq.errors import ExitCode, UserError
from seq2seq.text import exists, is_folder, read_lines

LONG = "x" * 300


@pytest.fixture
def here(tmp_path, monkeypatch, reverser) -> Path:
    """A folder with a run and a corpus, a loop of links, and a folder without permission.

    Root may read everything, so the system's answer is made here.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(reverser, tmp_path / "run")
    (tmp_path / "c.ab").write_text("a b\n" * 30)
    (tmp_path / "c.ba").write_text("b a\n" * 30)
    (tmp_path / "loop").symlink_to("loop")
    for module, name in [(os, name) for name in ("stat", "lstat", "open", "mkdir", "listdir", "scandir")]:
        monkeypatch.setattr(module, name, closed(getattr(module, name)))
    monkeypatch.setattr("builtins.open", closed(open))
    return tmp_path


def closed(real):
    def call(path, *args, **options):
        if isinstance(path, str | Path) and "closed/" in str(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *args, **options)

    return call


COMMANDS = [
    ("train -l ab-ba --train {}/c -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train {}/c.jsonl -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train hf:./{}/c -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train c --valid {}/c -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train c --config {}/c -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train c --set data.tokenizer={}/t -o r", ExitCode.NO_INPUT),
    ("train -l ab-ba --train c -o {}/r", ExitCode.CANNOT_WRITE),
    ("train -l ab-ba --train c -o {}/r --overwrite", ExitCode.CANNOT_WRITE),
    ("translate {}/run -i c.ab", ExitCode.NO_INPUT),
    ("translate run -i {}/c.ab", ExitCode.NO_INPUT),
    ("translate run -i c.ab -o {}/x", ExitCode.CANNOT_WRITE),
    ("translate run -i c.ab -o {}/x.gz --resume", ExitCode.CANNOT_WRITE),
    ("eval {}/run c", ExitCode.NO_INPUT),
    ("eval run {}/c", ExitCode.NO_INPUT),
    ("eval run c -o {}/x", ExitCode.CANNOT_WRITE),
    ("eval --hyp {}/x c.ba", ExitCode.NO_INPUT),
    ("eval --hyp c.ba {}/c.ba", ExitCode.NO_INPUT),
    ("eval --hyp c.ba -l ab-ba {}/c", ExitCode.NO_INPUT),
    ("export {}/run -o x", ExitCode.NO_INPUT),
    ("export run -o {}/x", ExitCode.CANNOT_WRITE),
    ("export run -o {}/x --overwrite", ExitCode.CANNOT_WRITE),
]


@pytest.mark.parametrize("place", ["closed", LONG, "loop"], ids=["closed", "long", "loop"])
@pytest.mark.parametrize(("command", "code"), COMMANDS)
def test_every_command_reports_it_in_one_line(cli, here, command, code, place):
    before = sorted(here.rglob("*"))
    outcome = cli(*command.format(place).split())
    assert (outcome.code, outcome.out) == (code, ""), outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert place in last
    assert place != LONG or "File name too long" in last, "not that it is missing"
    assert sorted(here.rglob("*")) == before, "nothing is left"


def test_what_is_at_a_path(here):
    for place in (f"{LONG}/x", "loop/x", "a\0b", "closed/x"):
        for ask in (exists, is_folder, lambda path: next(read_lines(Path(path)))):
            with pytest.raises(UserError, match="cannot be read") as caught:
                ask(place)
            assert caught.value.code == ExitCode.NO_INPUT
    assert (exists("run"), is_folder("run")) == (True, True)
    assert (exists("c.ab"), is_folder("c.ab")) == (True, False)
    assert not any(ask(place) for ask in (exists, is_folder) for place in ("missing", "c.ab/x"))


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), ExitCode.NO_INPUT, "a/b: Permission denied"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a"), ExitCode.NO_INPUT, "a: File name too long"),
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.CANNOT_WRITE, "the system: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "a"), ExitCode.CANNOT_WRITE, "a: Read-only file system"),
        (OSError(errno.EMFILE, "Too many open files"), ExitCode.TRY_LATER, "Too many open files"),
        (MemoryError(), ExitCode.TRY_LATER, "memory ran out"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), ExitCode.TRY_LATER, "memory ran"),
        (RuntimeError("can't start new thread"), ExitCode.TRY_LATER, "memory ran out"),
        (RuntimeError("Resource temporarily unavailable"), ExitCode.TRY_LATER, "memory ran out"),
        (FileNotFoundError(errno.ENOENT, "No such file", "ours"), ExitCode.BUG, "bug: FileNotFoundError"),
        (ValueError("ours"), ExitCode.BUG, "bug: ValueError: ours"),
    ],
)
def test_errors_without_a_message(cli, monkeypatch, error, code, says):
    def fail(standalone_mode):
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    outcome = cli("translate", "run")
    assert (outcome.code, outcome.err.count("\n")) == (code, 1)
    assert says in outcome.err


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v binds on Linux alone")
def test_too_little_memory_to_start():
    program = "import resource as r; r.setrlimit(r.RLIMIT_AS, (300 << 20,) * 2)\nfrom seq2seq.cli import main; main()"
    ran = subprocess.run([sys.executable, "-c", program, "translate", "run"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (ExitCode.TRY_LATER, "")
    assert ran.stderr.startswith("error: memory ran out; ")
    assert ran.stderr.count("\n") == 1


# A failed start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("train --train c", ExitCode.USAGE),
        ("train -l ab-ba", ExitCode.USAGE),
        ("train -l ab-ba --train missing", ExitCode.NO_INPUT),
        ("train -l ab-ba --train c --valid missing", ExitCode.NO_INPUT),
        ("train -l ab-ba --train c --valid utf16", ExitCode.BAD_DATA),
        ("train -l ab-ba --train c --set data.max_length=2", ExitCode.BAD_DATA),
        ("train -l ab-ba --train c --set data.tokenizer=c.ab", ExitCode.REFUSED),
        ("train -l ab-ba --train c --set model.d_model=7", ExitCode.REFUSED),
        ("export run --quantization int4", ExitCode.USAGE),
    ],
)
def test_a_failed_start_leaves_no_folder(cli, here, words, code):
    (here / "utf16.ab").write_bytes("schön\n".encode("utf-16"))
    (here / "utf16.ba").write_text("nöhcs\n")
    (here / "mine").mkdir()
    before = sorted(here.rglob("*"))
    for place in ("a/b/c", "mine"):
        outcome = cli(*words.split(), "-o", place)
        assert outcome.code == code, outcome.err
        assert sorted(here.rglob("*")) == before, place


def test_a_failed_export_leaves_no_folder(cli, here, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("seq2seq.interop.ctranslate2.folder.readme", fail)
    before = sorted(here.rglob("*"))
    assert cli("export", "run", "-o", "a/b/c").code == ExitCode.CANNOT_WRITE
    assert sorted(here.rglob("*")) == before


def test_an_old_run_is_back_after_a_failed_start(cli, here):
    files = [path for path in here.rglob("*") if path.is_file() and path.name != ".lock"]
    before = [path.read_bytes() for path in files]
    outcome = cli("train", "-l", "ab-ba", "--train", "c", "--set", "data.max_length=2", "-o", "run", "--overwrite")
    assert outcome.code == ExitCode.BAD_DATA
    assert "the old run is now run.old-1" in outcome.err
    assert "the old run is run again" in outcome.err
    assert [path.read_bytes() for path in files] == before
    assert not (here / "run.old-1").exists()


def test_prepared_files_of_an_interrupted_command_are_kept(cli, here):
    (here / "r" / "prepared").mkdir(parents=True)
    (here / "r" / "prepared" / "text").write_text("hours of work")
    command = ("train", "-l", "ab-ba", "--train", "missing", "-o", "r")
    assert cli(*command).code == ExitCode.NO_INPUT
    assert (here / "r" / "prepared").exists()
