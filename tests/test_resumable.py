"""A resumable output file: what is kept after an interruption, what is resumed, what is refused."""

import errno
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from seq2seq.errors import ExitCode, UserError
from seq2seq.system import lock
from seq2seq.translation import resumable
from seq2seq.translation.resumable import ResumableFile, partial_path

SETTINGS = {"model": "abc", "decoding.beam_size": 4, "decoding.length_penalty": 0.6}
ANSWERS = [b"one\n", b"two\nzwei\n", b"", "drei \u2028 三\n".encode(), b"x" * 3_000_000 + b"\n"]


def src_of(n: int) -> str:
    return f"checksum of {n} lines"


def begin(path: Path, *, resume: bool = False, settings: dict[str, object] | None = None) -> ResumableFile:
    return ResumableFile(path, SETTINGS if settings is None else settings, resume=resume)


def write(file: ResumableFile, answers: list[bytes]) -> None:
    for answer in answers:
        n = file.position.lines + 1
        file.write(answer, lines=n, src=src_of(n))


def end_of(path: Path) -> int:
    """The number of lines after which it would resume."""
    file = begin(path, resume=True)
    file.suspend()
    return file.position.lines


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


@pytest.fixture(autouse=True)
def every_position(monkeypatch):
    """Every position is written to the journal."""
    monkeypatch.setattr(resumable, "SECONDS_PER_POSITION", 0.0)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


class TestComplete:
    def test_it_appears_when_it_is_complete(self, out, tmp_path, real_fsync):
        file = begin(out)
        write(file, ANSWERS)
        assert names(tmp_path) == {".out.partial", ".out.partial.jsonl"}
        assert partial_path(out).read_bytes() == b"".join(ANSWERS)
        file.complete()
        assert out.read_bytes() == b"".join(ANSWERS)
        assert names(tmp_path) == {"out"}

    def test_an_empty_output(self, out, tmp_path):
        begin(out).complete()
        assert out.read_bytes() == b""
        assert names(tmp_path) == {"out"}

    def test_mode_and_link_are_kept(self, tmp_path):
        (tmp_path / "there").mkdir()
        path, link = tmp_path / "there/file", tmp_path / "link"
        path.write_text("secret")
        path.chmod(0o440)
        link.symlink_to(path)
        file = begin(link)
        write(file, ANSWERS)
        assert stat.S_IMODE(partial_path(path).stat().st_mode) == 0o640  # we must be able to resume it
        file.complete()
        assert link.is_symlink()
        assert path.read_bytes() == b"".join(ANSWERS)
        assert stat.S_IMODE(path.stat().st_mode) == 0o440
        assert names(tmp_path) == {"link", "there"}
        assert names(tmp_path / "there") == {"file"}

    def test_new_file_has_the_usual_mode(self, out, tmp_path):
        (tmp_path / "usual").touch()
        begin(out).complete()
        assert out.stat().st_mode == (tmp_path / "usual").stat().st_mode

    def test_the_longest_name(self, tmp_path):
        path = tmp_path / ("ü" * 127)
        file = begin(path)
        write(file, ANSWERS)
        file.complete()
        assert names(tmp_path) == {path.name}

    def test_an_interruption_in_the_last_steps_leaves_no_journal(self, out, tmp_path, monkeypatch):
        """Nothing would ever delete a journal without its translations."""
        replace = Path.replace

        def interrupted(self: Path, target: Path) -> Path:
            replaced = replace(self, target)
            os.kill(os.getpid(), signal.SIGINT)
            return replaced

        file = begin(out)
        write(file, ANSWERS)
        monkeypatch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            file.complete()
        file.suspend()
        assert names(tmp_path) == {"out"}
        assert out.read_bytes() == b"".join(ANSWERS)


class TestGoingOn:
    @pytest.mark.parametrize("n", range(1, len(ANSWERS) + 1))
    def test_it_resumes_at_its_end(self, out, tmp_path, n):
        first = begin(out)
        write(first, ANSWERS[:n])
        assert first.suspend()
        assert not out.exists()
        again = begin(out, resume=True)
        assert (again.has_leftover, again.position.lines, again.position.src) == (True, n, src_of(n))
        write(again, ANSWERS[n:])
        again.complete()
        assert out.read_bytes() == b"".join(ANSWERS)
        assert names(tmp_path) == {"out"}

    def test_again_and_again(self, out):
        for n, answer in enumerate(ANSWERS):
            file = begin(out, resume=True)
            assert file.position.lines == n
            write(file, [answer])
            file.suspend()
        begin(out, resume=True).complete()
        assert out.read_bytes() == b"".join(ANSWERS)

    def test_a_partial_line_is_removed(self, out):
        file = begin(out)
        write(file, ANSWERS[:2])
        with partial_path(out).open("ab") as stream:
            stream.write(b"half an ans")
        file.suspend()
        assert partial_path(out).read_bytes() == b"".join(ANSWERS[:2])

    def test_killed_anywhere(self, out, tmp_path):
        """With any prefix of the journal and of the translations on the disk after a kill or a power cut."""
        file = begin(out)
        write(file, ANSWERS[:4])
        file.suspend()
        answers, journal = partial_path(out), tmp_path / ".out.partial.jsonl"
        whole, marks = answers.read_bytes(), journal.read_bytes()
        draw = random.Random(1)
        went_on_at = set()
        for _ in range(60):
            journal.write_bytes(marks[: draw.randint(0, 2 * len(marks))])
            cut = min(len(whole), draw.randint(0, 2 * len(whole)))
            answers.write_bytes(whole[:cut] + draw.choice([b"", b"\0" * (len(whole) - cut), b"half"]))
            file = begin(out, resume=True)
            n = file.position.lines
            went_on_at.add(n)
            write(file, ANSWERS[n:])
            file.complete()
            assert out.read_bytes() == b"".join(ANSWERS)
            assert names(tmp_path) == {"out"}
        assert went_on_at == {0, 1, 2, 3, 4}

    def test_a_kill_while_it_is_resumed(self, out, tmp_path):
        first = begin(out)
        write(first, ANSWERS[:2])
        first.suspend()
        with (tmp_path / ".out.partial.jsonl").open("ab") as journal:
            journal.write(b'{"lines": 3, "n_by')  # torn
        second = begin(out, resume=True)
        write(second, ANSWERS[2:4])  # its records must not be lost after the partial one
        second.suspend()
        assert end_of(out) == 4

    @pytest.mark.parametrize(
        "journal",
        [
            b"", b"\n", b"null\n", b"{}\n", b"\xff\n", b"[" * 100_000, b'{"format": 99, "made_with": {}}\n',
            b'{"format": 1, "made_with": 3}\n',
        ],
    )  # fmt: skip
    def test_a_damaged_journal(self, out, tmp_path, journal):
        partial_path(out).write_bytes(b"one\n")
        (tmp_path / ".out.partial.jsonl").write_bytes(journal)
        file = begin(out, resume=True)
        assert (file.has_leftover, file.position.lines) == (True, 0)
        write(file, ANSWERS)
        file.complete()
        assert out.read_bytes() == b"".join(ANSWERS)

    @pytest.mark.parametrize(
        "change", [{"lines": -1}, {"lines": True}, {"lines": None}, {"n_bytes": "8"}, {"answers": ""}, {"more": 1}]
    )
    def test_a_damaged_record_of_the_journal(self, out, tmp_path, change):
        file = begin(out)
        write(file, ANSWERS[:1])
        file.suspend()
        path = tmp_path / ".out.partial.jsonl"
        header, mark = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(header + json.dumps({**json.loads(mark), **change}).encode() + b"\n")
        assert end_of(out) == 0

    def test_translations_that_were_edited(self, out):
        file = begin(out)
        write(file, ANSWERS[:4])
        file.suspend()
        data = bytearray(partial_path(out).read_bytes())
        data[5] ^= 1  # within the second
        partial_path(out).write_bytes(data)
        assert end_of(out) == 1

    def test_a_stream_of_lines_writes_few_records(self, out, tmp_path, monkeypatch):
        monkeypatch.setattr(resumable, "SECONDS_PER_POSITION", 1000.0)
        file = begin(out)
        write(file, [b"x\n"] * 500)
        assert (tmp_path / ".out.partial.jsonl").read_bytes().count(b"\n") == 2
        file.suspend()
        again = begin(out, resume=True)
        assert again.position.lines == 500  # an orderly end leaves a last one
        again.suspend()
        assert again.position.answers == hashlib.sha256(b"x\n" * 500).hexdigest()


class TestEndingEarly:
    def test_without_a_translation_nothing_is_left(self, out, tmp_path):
        assert not begin(out).suspend()
        assert names(tmp_path) == set()

    def test_an_older_partial_output_is_kept(self, out, tmp_path):
        """A user who forgets --resume, and stops before the first translation, loses nothing."""
        first = begin(out)
        write(first, ANSWERS[:3])
        first.suspend()
        before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
        second = begin(out)
        assert second.has_leftover
        assert not second.suspend()
        third = begin(out, resume=True)
        assert third.suspend()
        assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before

    def test_without_resume_it_is_overwritten(self, out):
        first = begin(out)
        write(first, ANSWERS)
        first.suspend()
        second = begin(out)
        assert second.position.lines == 0
        write(second, [b"new\n"])
        journal = partial_path(out).with_name(".out.partial.jsonl")
        assert journal.read_bytes().count(b"\n") == 2  # nothing of the first one's
        second.complete()
        assert out.read_bytes() == b"new\n"

    def test_a_full_disk_keeps_the_translations(self, out, tmp_path, small_files):
        with small_files(2000):
            file = begin(out)
            with pytest.raises(UserError, match=r"out cannot be written: File too large; raise the limit") as caught:
                write(file, [b"x" * 900 + b"\n"] * 3)
            assert file.suspend()
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert partial_path(out).read_bytes() == (b"x" * 900 + b"\n") * 2
        assert end_of(out) == 2

    def test_a_full_disk_before_the_first_translation(self, out, tmp_path, small_files):
        with small_files(1000):
            file = begin(out)
            with pytest.raises(UserError):
                write(file, [b"x" * 2000])
            assert not file.suspend()
        assert names(tmp_path) == set()

    def test_a_journal_that_the_disk_cuts_short(self, out, tmp_path, small_files):
        first = begin(out)
        write(first, [b"\n"])
        first.suspend()
        per_mark = len((tmp_path / ".out.partial.jsonl").read_bytes().splitlines(keepends=True)[1])
        file = begin(tmp_path / "other")
        with small_files(4 * per_mark):
            with pytest.raises(UserError):
                write(file, [b"x\n"] * 100)
            n = file.position.lines
            file.suspend()
        again = begin(tmp_path / "other", resume=True)
        assert 2 <= again.position.lines < n + 1
        write(again, [b"x\n"] * (100 - again.position.lines))
        again.suspend()
        assert end_of(tmp_path / "other") == 100

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_a_disk_that_fails_at_the_end(self, out, tmp_path, monkeypatch, step):
        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        file = begin(out)
        write(file, ANSWERS)
        with monkeypatch.context() as patch:
            patch.setattr(os if step == "fsync" else Path, step, fail)
            with pytest.raises(UserError, match="free some space") as caught:
                file.complete()
        assert file.suspend()
        assert caught.value.code == ExitCode.CANNOT_WRITE
        begin(out, resume=True).complete()
        assert out.read_bytes() == b"".join(ANSWERS)

    def test_a_failure_after_the_last_step_deletes_nothing(self, out, tmp_path, monkeypatch):
        def fail(_):
            raise OSError(errno.EIO, "Input/output error")

        file = begin(out)
        write(file, ANSWERS)
        monkeypatch.setattr(resumable, "sync_folder", fail)
        with pytest.raises(UserError, match="Input/output error"):
            file.complete()
        assert not file.suspend()
        assert out.read_bytes() == b"".join(ANSWERS)

    def test_files_of_another_process_after_the_last_step_are_kept(self, out, monkeypatch):
        rename = Path.replace

        def replace(path, target):
            rename(path, target)
            partial_path(out).write_bytes(b"theirs")
            raise KeyboardInterrupt

        file = begin(out)
        write(file, [b"ours\n"])
        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            file.complete()
        assert not file.suspend()
        assert (out.read_bytes(), partial_path(out).read_bytes()) == (b"ours\n", b"theirs")


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"model": "xyz"}, "model: abc -> xyz"),
            ({"decoding.length_penalty": None}, "decoding.length_penalty: 0.6 -> None"),
            ({"more": 1}, "more: None -> 1"),
        ],
    )
    def test_translations_with_other_settings(self, out, tmp_path, change, says):
        file = begin(out)
        write(file, ANSWERS[:2])
        file.suspend()
        before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
        with pytest.raises(UserError, match=says) as caught:
            begin(out, resume=True, settings={**SETTINGS, **change})
        assert caught.value.code == ExitCode.REFUSED
        assert "leave `resume` out" in caught.value.mend
        assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
        assert end_of(out) == 2

    def test_while_another_process_writes(self, out, tmp_path):
        program = (
            "import sys, pathlib\nfrom seq2seq.translation.resumable import ResumableFile\n"
            "file = ResumableFile(pathlib.Path(sys.argv[1]), {}, resume=False)\n"
            "file.write(b'theirs\\n', lines=1, src='')\nprint('ready', flush=True)\nsys.stdin.read()\nfile.complete()\n"
        )
        words = [sys.executable, "-c", program, str(out)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            for resume in (False, True):
                with pytest.raises(UserError, match="out is being written by another process") as caught:
                    begin(out, resume=resume)
                assert caught.value.code == ExitCode.TRY_LATER
            assert partial_path(out).read_bytes() == b"theirs\n"
        assert out.read_bytes() == b"theirs\n"
        begin(out).complete()  # free again

    def test_the_lock_is_on_the_current_file(self, out, monkeypatch):
        """Another process may complete the file between opening and locking."""
        first = begin(out)
        write(first, [b"first\n"])
        calls = []

        def try_lock(_):
            calls.append(1)
            if len(calls) == 1:
                first.complete()
            return True

        monkeypatch.setattr(lock, "try_lock", try_lock)
        second = begin(out)
        write(second, [b"second\n"])
        assert out.read_bytes() == b"first\n"
        second.complete()
        assert out.read_bytes() == b"second\n"
        assert len(calls) == 2

    def test_it_works_without_locks(self, out, monkeypatch):
        def try_lock(_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(lock, "try_lock", try_lock)
        file = begin(out)
        write(file, ANSWERS)
        file.complete()
        assert out.read_bytes() == b"".join(ANSWERS)

    @pytest.mark.parametrize("name", [".out.partial", ".out.partial.jsonl"])
    @pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
    def test_links_pipes_and_folders_are_refused(self, out, tmp_path, name, kind):
        victim = tmp_path / "victim"
        victim.write_text("precious")
        planted = tmp_path / name
        match kind:
            case "link":
                planted.symlink_to(victim)
            case "pipe":
                os.mkfifo(planted)
            case "folder":
                planted.mkdir()

        def use():
            file = begin(out)
            try:
                write(file, ANSWERS)
            finally:
                file.suspend()

        with pytest.raises(UserError, match=f"{name} is in the way") as caught:
            use()
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert victim.read_text() == "precious"

    @pytest.mark.parametrize(("name", "says"), [("no/such/out", "No such file"), ("file/out", "Not a directory")])
    def test_folder_missing(self, tmp_path, name, says):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=f"{says}.*; make its folder first") as caught:
            begin(tmp_path / name)
        assert caught.value.code == ExitCode.CANNOT_WRITE
