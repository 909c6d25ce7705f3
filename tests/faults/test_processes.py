"""The program as a process: signals, pipes, terminals, full disks. Nothing is lost, and the exit code says what was."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reversal import reversal_lines, reversal_recipe

from seq2seq.config import build, merge, to_toml

SEQ2SEQ = [sys.executable, "-m", "seq2seq"]
PATIENCE = 180.0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A training run of a few seconds that writes a line of metrics at each update."""
    folder = tmp_path_factory.mktemp("recipe")
    quick = {
        "model": {"d_model": 16, "d_ff": 16},
        "training": {"max_updates": 60, "warmup_updates": 5, "report_every": 1, "save_every": 20, "valid_every": 30},
    }
    path = folder / "recipe.toml"
    path.write_text(to_toml(build(merge([reversal_recipe(folder), quick]), where="the test")), encoding="utf-8")
    return path


def training(recipe: Path, run: Path) -> list[str]:
    return [*SEQ2SEQ, "train", "--config", str(recipe), "-o", str(run), "--device", "cpu"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def updates_done(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def weights(run: Path) -> bytes:
    (path,) = run.glob("model-*.safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(recipe) -> bytes:
    """The weights that the recipe ends with."""
    run = recipe.parent / "whole"
    subprocess.run(training(recipe, run), check=True, capture_output=True, timeout=PATIENCE)
    return weights(run)


class TestTraining:
    @pytest.mark.parametrize(
        ("number", "at", "code", "says"),
        [
            (
                signal.SIGTERM,
                7,
                143,
                "interrupted by signal 15; the same command goes on from here",
            ),
            (
                signal.SIGINT,
                25,
                130,
                "interrupted by signal 2; the same command goes on from here",
            ),
            (signal.SIGKILL, 34, -9, ""),
        ],
    )
    def test_stopped_and_gone_on_ends_with_the_same_weights(
        self, recipe, tmp_path, uninterrupted, number, at, code, says
    ):
        run = tmp_path / "run"
        with subprocess.Popen(training(recipe, run), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: updates_done(run) >= at)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        assert says in stderr
        again = subprocess.run(training(recipe, run), capture_output=True, text=True, timeout=PATIENCE)
        assert (again.returncode, again.stdout) == (0, ""), again.stderr
        if number != signal.SIGKILL or at >= 20:
            assert "going on after update" in again.stderr
        assert weights(run) == uninterrupted

    def test_killed_as_the_first_model_appears(self, recipe, tmp_path):
        """Which is long before the first checkpoint is due."""
        run = tmp_path / "run"
        command = [*training(recipe, run), "--set", "training.valid_every=20", "--set", "training.save_every=60"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            until((run / "manifest.json").exists)
            process.kill()
        again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert again.returncode == 0, again.stderr
        assert "going on after update 20" in again.stderr

    def test_a_reader_of_stderr_that_leaves(self, recipe, tmp_path, uninterrupted):
        run = tmp_path / "run"
        with subprocess.Popen(training(recipe, run), stderr=subprocess.PIPE) as process:
            process.stderr.readline()
            process.stderr.close()
            assert process.wait(PATIENCE) == 0
        assert weights(run) == uninterrupted

    def test_without_stderr(self, recipe, tmp_path, uninterrupted):
        command = " ".join([*training(recipe, tmp_path / "run"), "2>&-"])
        assert subprocess.run(command, shell=True, timeout=PATIENCE).returncode == 0
        assert weights(tmp_path / "run") == uninterrupted

    def test_a_folder_in_use_is_left_alone(self, recipe, tmp_path):
        run = tmp_path / "run"
        endless = [*training(recipe, run), "--max-updates", "1000000"]
        with subprocess.Popen(endless, stderr=subprocess.DEVNULL) as process:
            until(lambda: updates_done(run) >= 1)
            second = subprocess.run(endless, capture_output=True, text=True, timeout=PATIENCE)
            process.kill()
        assert (second.returncode, second.stdout) == (75, "")
        assert re.fullmatch(r"error: .*in use.*; .*\n", second.stderr)

    def test_a_terminal_gets_a_bar(self, recipe, tmp_path):
        code, shown = on_terminal(training(recipe, tmp_path / "run"))
        assert code == 0
        assert re.search(r"update \d+/60", shown)
        assert "eta" in shown
        assert re.search(r"tok/s", shown)
        assert "\x1b[3" in shown  # colours

    def test_no_color_is_honoured(self, recipe, tmp_path):
        code, shown = on_terminal(training(recipe, tmp_path / "run"), NO_COLOR="1")
        assert code == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def on_terminal(words: list[str], **environment: str) -> tuple[int, str]:
    """Run with a terminal of 100 columns as stderr; exit code and all that was written to it."""
    ours, theirs = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment}
    with subprocess.Popen(words, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:
            pass  # Linux's way to say that the other end has closed
        finally:
            os.close(ours)
    return process.returncode, shown.decode()


@pytest.fixture
def translating(reverser) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts ``translate`` with pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object, **streams: object) -> "subprocess.Popen[bytes]":
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
        command = [*SEQ2SEQ, "translate", str(reverser), "--device", "cpu", *map(str, words)]
        started.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_line(process: "subprocess.Popen[bytes]") -> bytes:
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    assert ready, "no answer"
    return process.stdout.readline()


def alive(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class TestTranslating:
    def test_each_line_is_answered_before_the_next_is_asked(self, translating):
        process = translating()
        for line in reversal_lines(5, seed=4):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            assert read_line(process).decode() == f"{line[::-1]}\n"
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, b"", b"")

    def test_a_reader_that_leaves(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 40_000)
        process = translating("-i", tmp_path / "in", "-b", 1)
        assert read_line(process) == b"c b a\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""

    def test_a_pipe_that_does_not_block_loses_nothing(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 30_000)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        translating("-i", tmp_path / "in", "-b", 1, stdout=writer)
        os.close(writer)
        time.sleep(5)  # by now the pipe is full
        with open(reader, "rb") as stream:
            assert stream.read() == b"c b a\n" * 30_000

    def test_an_interruption_does_not_wait_for_a_reader_that_stalls(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 200_000)
        process = translating("-i", tmp_path / "in", "-b", 1)
        assert read_line(process) == b"c b a\n"
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143

    def test_workers_do_not_outlive_a_parent_that_is_killed(self, translating):
        process = translating("--workers", 2, start_new_session=True)
        process.stdin.write(b"a b c\n")
        process.stdin.flush()
        assert read_line(process) == b"c b a\n"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        until(lambda: not alive(process.pid))

    @pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full")
    def test_a_full_disk_behind_stdout(self, translating):
        with open("/dev/full", "wb") as full:
            process = translating(stdout=full)
            _, err = process.communicate(b"a b c\n", timeout=PATIENCE)
        assert process.returncode == 74
        assert re.fullmatch(rb"error: .*stdout.*; .*\n", err)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted_leaves_whole_lines_and_no_worker(self, translating, tmp_path, number, code):
        process = translating("--workers", 2, start_new_session=True)
        process.stdin.write(b"a b c\n")
        process.stdin.flush()
        assert read_line(process) == b"c b a\n"
        os.killpg(process.pid, number)
        assert process.wait(PATIENCE) == code
        assert process.stdout.read() == b""
        assert process.stderr.read() == b""
        until(lambda: not alive(process.pid))

    def test_interrupted_leaves_no_file_half_done(self, translating, tmp_path):
        process = translating("-o", tmp_path / "out")
        process.stdin.write(b"a b c\n")
        process.stdin.flush()
        until(lambda: any(tmp_path.iterdir()))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        assert list(tmp_path.iterdir()) == []
