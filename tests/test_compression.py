"""Outputs with the suffix of a compression are compressed."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import open_output, read_lines
from seq2seq.translation.resumable import ResumableFile, partial_path

OPENERS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress, "": bytes, ".gzip": bytes}
LINES = [f"line {i} – schön" for i in range(5000)]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


@pytest.mark.parametrize(("ending", "decompress"), OPENERS.items(), ids=OPENERS)
def test_a_whole_file(tmp_path, ending, decompress):
    path = tmp_path / f"out{ending}"
    written = []
    for _ in range(2):
        with open_output(str(path)) as out:
            for start in range(0, len(TEXT), 70_000):
                out.write(TEXT[start : start + 70_000])
        written.append(path.read_bytes())
        assert decompress(written[-1]) == TEXT
        assert list(read_lines(path)) == LINES
    assert written[0] == written[1], "no time of day in it"
    with pytest.raises(TypeError), open_output(str(path)) as out:
        out.write(None)
    assert path.read_bytes() == written[0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("ending", "decompress"), OPENERS.items(), ids=OPENERS)
def test_a_resumed_compressed_output(tmp_path, ending, decompress):
    path = tmp_path / f"out{ending}"
    half = len(b"".join(TEXT.splitlines(keepends=True)[:2500]))
    first = ResumableFile(path, {}, resume=False)
    first.write(TEXT[:half], lines=2500, src="a")
    assert first.suspend()
    assert partial_path(path).read_bytes() == TEXT[:half], "plain as long as it grows"
    second = ResumableFile(path, {}, resume=True)
    assert second.position.lines == 2500
    second.write(TEXT[half:], lines=5000, src="b")
    second.complete()
    assert not second.suspend()
    assert decompress(path.read_bytes()) == TEXT
    assert list(tmp_path.iterdir()) == [path]


def test_translations_survive_a_full_disk_during_compression(tmp_path, small_files):
    path = tmp_path / "out.gz"
    partial = ResumableFile(path, {}, resume=False)
    partial.write(TEXT, lines=5000, src="a")
    with small_files(100), pytest.raises(UserError, match="cannot be written"):
        partial.complete()
    assert partial.suspend()
    again = ResumableFile(path, {}, resume=True)
    assert again.position.lines == 5000
    again.complete()
    assert gzip.decompress(path.read_bytes()) == TEXT
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_commands(cli, reverser, tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    Path("c.ab").write_text("a b\nc d\n")
    Path("c.ba").write_text("b a\nd c\n")
    out = Path(f"out{ending}")
    assert cli("translate", reverser, "-i", "c.ab", "-o", out).code == 0
    assert OPENERS[ending](out.read_bytes()) == b"b a\nd c\n"
    assert "finished already" in cli("translate", reverser, "-i", "c.ab", "-o", out, "--resume").err
    Path("c.ab").write_text("a b\nc d\ne f\n")
    outcome = cli("translate", reverser, "-i", "c.ab", "-o", out, "--resume")
    assert "finished already" not in outcome.err
    assert OPENERS[ending](out.read_bytes()).count(b"\n") == 3
    Path("c.ba").write_text("b a\nd c\nf e\n")
    hypotheses = Path(f"hyp{ending}")
    assert cli("eval", reverser, "c", "-o", hypotheses).code == 0
    assert hypotheses.read_bytes() == out.read_bytes()
    assert cli("eval", "--hyp", hypotheses, "c.ba").code == 0


@pytest.mark.parametrize("name", ["x.zst", "x.ZIP", "x.7z"])
def test_names_of_unsupported_compressions(cli, reverser, tmp_path, name):
    (tmp_path / "in").write_text("a b\n")
    outcome = cli("translate", reverser, "-i", tmp_path / "in", "-o", tmp_path / name)
    assert (outcome.code, outcome.out) == (ExitCode.USAGE, "")
    assert "cannot be written: this compression is not supported; end the name in .gz, .bz2, .xz" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_suffixes_in_capitals(cli, reverser, tmp_path):
    (tmp_path / "in").write_text("a b\n")
    assert cli("translate", reverser, "-i", tmp_path / "in", "-o", tmp_path / "x.GZ").code == 0
    assert gzip.decompress((tmp_path / "x.GZ").read_bytes()) == b"b a\n"
