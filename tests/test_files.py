"""Files on disk: advice in errors, names of temporary files, folders that appear when they are complete."""

import errno
import os
from pathlib import Path

import pytest

from seq2seq.errors import ExitCode
from seq2seq.runs.manifest import _LEFTOVER
from seq2seq.system.files import atomic_folder, cannot_read, cannot_write, temporary_path


def answer(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device; free some space or name another folder"),
        (errno.EDQUOT, "Disk quota exceeded; free some space or name another folder"),
        (errno.EFBIG, "File too large; raise the limit on file sizes (ulimit -f) or name another folder"),
        (errno.ENOENT, "No such file or directory; make its folder first"),
        (errno.ENOTDIR, "Not a directory; make its folder first"),
        (errno.EACCES, "Permission denied; make that place writable, or name another one"),
        (errno.EROFS, "Read-only file system; make that place writable, or name another one"),
    ],
)
def test_advice_for_errors_of_writing(number, says):
    error = cannot_write("out", answer(number))
    assert (error.code, str(error)) == (ExitCode.CANNOT_WRITE, f"out cannot be written: {says}")


def test_a_caller_continues_the_advice():
    error = cannot_write(Path("run"), answer(errno.ENOSPC), then="; the same command then resumes")
    assert error.mend == "free some space; the same command then resumes"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (answer(errno.ENOENT), "No such file or directory; name an existing file that you may read"),
        (answer(errno.EACCES), "Permission denied; make it readable, or name another one"),
        (answer(errno.EISDIR), "Is a directory; name an existing file that you may read"),
        (ValueError("embedded null byte"), "embedded null byte; name an existing file that you may read"),
    ],
)
def test_advice_for_errors_of_reading(error, says):
    refusal = cannot_read("in", error)
    assert (refusal.code, str(refusal)) == (ExitCode.NO_INPUT, f"in cannot be read: {says}")


def test_only_temporary_files_of_one_writer_are_recognized():
    """If several processes may write a file, a commit must not delete the temporary file of another one."""
    path = Path("run", "README.md")
    assert _LEFTOVER.fullmatch(temporary_path(path, one_writer=True).name)
    assert not _LEFTOVER.fullmatch(temporary_path(path, one_writer=False).name)
    assert temporary_path(path, one_writer=True) == temporary_path(path, one_writer=True)
    assert temporary_path(path, one_writer=False) != temporary_path(path, one_writer=False)


@pytest.mark.parametrize("one_writer", [False, True])
def test_a_folder_appears_when_it_is_complete(tmp_path, one_writer):
    place = tmp_path / "a" / "folder"
    with atomic_folder(place, one_writer=one_writer) as new:
        (new / "file").write_bytes(b"x")
        assert not place.exists()
    assert (place / "file").read_bytes() == b"x"
    assert os.listdir(place.parent) == ["folder"]

    def fail():
        with atomic_folder(tmp_path / "b", one_writer=one_writer) as new:
            (new / "file").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(tmp_path) == ["a"]
