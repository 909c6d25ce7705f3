"""The program as a process: signals, pipes, terminals, full disks. No data is lost, and exit codes are right."""

import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
from reversal import reversal_lines, reversal_recipe
from support.processes import asleep, children

from seq2seq.config import build, merge, to_toml

SEQ2SEQ = [sys.executable, "-m", "seq2seq"]
PATIENCE = 180.0
# Two threads: training runs in two replicas, whatever the number of test processes.
TELLING = os.environ | {"PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "2"}


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


def start(words: list[str], **streams: Any) -> "subprocess.Popen[Any]":
    """A process in its own session. After SIGABRT it prints its tracebacks."""
    return subprocess.Popen(words, **{"env": TELLING, "start_new_session": True, **streams})


@contextmanager
def started(words: list[str], **streams: Any) -> Iterator["subprocess.Popen[Any]"]:
    """It ends at the latest with the body."""
    with start(words, **streams) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def finished(process: "subprocess.Popen[Any]", data: bytes | None = None) -> tuple[Any, Any]:
    """The rest of stdout and stderr of a process, which must have ended."""
    try:
        return process.communicate(data, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return pytest.fail(f"it does not end: {where(process)}")


def where(process: "subprocess.Popen[Any]") -> str:
    """The tracebacks of a process and its children, which then end."""
    tracebacks = []
    for pid in [*children(process.pid), process.pid]:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/status").read_text().splitlines()[2]
            tracebacks.append(f"{pid}: {state}, {Path(f'/proc/{pid}/wchan').read_text()}")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
            time.sleep(1)
    process.kill()
    with suppress(subprocess.TimeoutExpired, ValueError):  # ValueError: a stream that the test has closed
        tracebacks.append(str(process.communicate(timeout=10)[1]))
    return "\n".join(tracebacks)


def run_to_its_end(words: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, env=TELLING, capture_output=True, text=True, timeout=PATIENCE, **options)


def training(recipe: Path, run: Path) -> list[str]:
    return [*SEQ2SEQ, "train", "--config", str(recipe), "-o", str(run), "--device", "cpu"]


def until(condition: Callable[[], bool], process: "subprocess.Popen[Any] | None" = None) -> None:
    """Wait for a condition that a process fulfils."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("nothing happened" if process is None else f"nothing happened: {where(process)}")
        time.sleep(0.01)


def updates_done(run: Path) -> int:
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def weights(run: Path) -> bytes:
    (path,) = run.glob("model-*.safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(recipe) -> bytes:
    """The final weights of the recipe."""
    run = recipe.parent / "whole"
    run_to_its_end(training(recipe, run), check=True)
    return weights(run)


class TestTraining:
    @pytest.mark.parametrize(
        ("number", "at", "code", "says"),
        [
            pytest.param(
                signal.SIGTERM,
                7,
                143,
                "Stopped by SIGTERM at update ",
                marks=pytest.mark.slow,
            ),
            (
                signal.SIGINT,
                25,
                130,
                "Stopped by Ctrl-C at update ",
            ),
            pytest.param(signal.SIGKILL, 34, -9, "", marks=pytest.mark.slow),
        ],
    )
    def test_an_interrupted_and_resumed_run_ends_with_the_same_weights(
        self, recipe, tmp_path, uninterrupted, number, at, code, says
    ):
        run = tmp_path / "run"
        with started(training(recipe, run), stderr=subprocess.PIPE, text=True) as process:
            until(lambda: updates_done(run) >= at, process)
            process.send_signal(number)
            _, stderr = finished(process)
        assert process.returncode == code
        assert says in stderr
        assert (", saved; the same command resumes.\n" in stderr) == bool(says)
        again = run_to_its_end(training(recipe, run))
        assert (again.returncode, again.stdout) == (0, ""), again.stderr
        if number != signal.SIGKILL or at >= 20:
            assert "resuming after update" in again.stderr
        assert weights(run) == uninterrupted

    @pytest.mark.slow
    def test_killed_as_the_first_model_appears(self, recipe, tmp_path):
        """This is long before the first checkpoint is due."""
        run = tmp_path / "run"
        command = [*training(recipe, run), "--set", "training.valid_every=20", "--set", "training.save_every=60"]
        with started(command, stderr=subprocess.DEVNULL) as process:
            until((run / "manifest.json").exists, process)
            process.kill()
        again = run_to_its_end(command)
        assert again.returncode == 0, again.stderr
        assert "resuming after update 20" in again.stderr

    @pytest.mark.slow
    def test_a_closed_stderr_pipe_does_not_stop_training(self, recipe, tmp_path, uninterrupted):
        run = tmp_path / "run"
        with started(training(recipe, run), stderr=subprocess.PIPE) as process:
            process.stderr.readline()
            process.stderr.close()
            assert process.wait(PATIENCE) == 0
        assert weights(run) == uninterrupted

    @pytest.mark.slow
    def test_without_stderr(self, recipe, tmp_path, uninterrupted):
        command = " ".join([*training(recipe, tmp_path / "run"), "2>&-"])
        assert subprocess.run(command, shell=True, env=TELLING, timeout=PATIENCE).returncode == 0
        assert weights(tmp_path / "run") == uninterrupted

    @pytest.mark.slow
    def test_a_folder_in_use_is_not_changed(self, recipe, tmp_path):
        run = tmp_path / "run"
        endless = [*training(recipe, run), "--max-updates", "1000000"]
        with started(endless, stderr=subprocess.DEVNULL) as process:
            until(lambda: updates_done(run) >= 1, process)
            second = run_to_its_end(endless)
            process.kill()
        assert (second.returncode, second.stdout) == (75, "")
        assert re.fullmatch(r"error: .*in use.*; .*\n", second.stderr)

    @pytest.mark.slow
    def test_a_terminal_gets_a_bar(self, recipe, tmp_path):
        code, shown = on_terminal(training(recipe, tmp_path / "run"), subprocess.DEVNULL)
        assert code == 0
        assert re.search(r"update \d+/60", shown)
        assert "eta" in shown
        assert re.search(r"tok/s", shown)
        assert "\x1b[3" in shown  # colours

    @pytest.mark.slow
    def test_no_color_is_honoured(self, recipe, tmp_path):
        code, shown = on_terminal(training(recipe, tmp_path / "run"), subprocess.DEVNULL, NO_COLOR="1")
        assert code == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def on_terminal(words: list[str], stdout: int | IO[bytes] | None = None, **environment: str) -> tuple[int, str]:
    """Run with a terminal of 100 columns as stderr. Returns the exit code and all that was written to it.

    Without any other stdout that is the terminal, too.
    """
    ours, theirs = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment = {**plain, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30", **environment}
    with started(words, stderr=theirs, stdout=theirs if stdout is None else stdout, env=environment) as process:
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


@pytest.mark.slow
def test_ctrl_c_at_the_prompt_ends_without_a_message(reverser):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    words = [*SEQ2SEQ, "translate", str(reverser), "--device", "cpu"]
    with started(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        shown = b""
        for typed in (b"a b\n", b"c d e\n"):
            n_prompts = shown.count(b"> ")
            while shown.count(b"> ") == n_prompts:
                shown += os.read(ours, 65536)
            os.write(ours, typed)
        while shown.count(b"> ") < 3:
            shown += os.read(ours, 65536)
        # A signal just before the read would wait for its end; no person is so fast.
        until(lambda: "(sleeping)" in Path(f"/proc/{process.pid}/status").read_text(), process)
        process.send_signal(signal.SIGINT)
        finished(process)
    shown += os.read(ours, 65536)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 130
    hint, *lines = shown.decode().replace("\r", "").split("\n")
    assert "Ctrl-D ends." in hint
    assert lines == ["> a b", "b a", "> c d e", "e d c", "> ", ""]


@pytest.fixture
def translating(reverser) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Starts ``translate`` with pipes. None of its processes is left when it is killed."""
    all_of_them: list[subprocess.Popen[bytes]] = []

    def translate(*words: object, **streams: object) -> "subprocess.Popen[bytes]":
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
        command = [*SEQ2SEQ, "translate", str(reverser), "--device", "cpu", *map(str, words)]
        all_of_them.append(start(command, **pipes))
        return all_of_them[-1]

    yield translate
    for process in all_of_them:
        process.kill()
        finished(process)
        until(lambda: not alive(process.pid))  # noqa: B023


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
    def test_each_line_is_translated_before_the_next_is_read(self, translating):
        process = translating()
        for line in reversal_lines(5, seed=4):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            assert read_line(process).decode() == f"{line[::-1]}\n"
        out, err = finished(process)
        assert (process.returncode, out, err) == (0, b"", b"")

    def test_a_reader_that_closes_the_pipe(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 40_000)
        process = translating("-i", tmp_path / "in", "-b", 1)
        assert read_line(process) == b"c b a\n"
        process.stdout.close()
        assert process.wait(PATIENCE) == 141
        assert process.stderr.read() == b""

    @pytest.mark.slow
    def test_a_non_blocking_pipe_loses_nothing(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 30_000)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        process = translating("-i", tmp_path / "in", "-b", 1, stdout=writer)
        until(asleep(process.pid, lambda: not select.select([], [writer], [], 0)[1]), process)  # the pipe is full
        os.close(writer)
        with open(reader, "rb") as stream:
            assert stream.read() == b"c b a\n" * 30_000

    @pytest.mark.slow
    def test_an_interruption_does_not_wait_for_a_reader_that_stalls(self, translating, tmp_path):
        (tmp_path / "in").write_text("a b c\n" * 200_000)
        process = translating("-i", tmp_path / "in", "-b", 1)
        assert read_line(process) == b"c b a\n"
        until(asleep(process.pid), process)  # the pipe is full
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        data = process.stdout.read()
        assert data == b"c b a\n" * (len(data) // 6)
        assert len(data) > 10_000

    @pytest.mark.slow
    def test_a_stalled_reader_stops_reading(self, translating):
        """Text that cannot be written is not kept in memory: its source has to wait."""
        process = translating("-b", 1)
        process.stdin.write(b"a b c\n")
        process.stdin.flush()
        assert read_line(process) == b"c b a\n"
        os.set_blocking(process.stdin.fileno(), False)
        n_taken = 0

        def takes_no_more() -> bool:
            nonlocal n_taken
            try:
                n_taken += os.write(process.stdin.fileno(), b"a b c\n" * 100)
            except BlockingIOError:
                return True
            assert n_taken < 4_000_000
            return False

        until(asleep(process.pid, takes_no_more), process)
        assert n_taken > 100_000

    def test_workers_do_not_outlive_a_parent_that_is_killed(self, translating, source, tmp_path):
        process = translating("--workers", 2, "-i", source, "-o", tmp_path / "out")
        until(lambda: len(children(process.pid)) == 2, process)
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not alive(process.pid))

    @pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full")
    def test_stdout_on_a_full_disk(self, translating):
        with open("/dev/full", "wb") as full:
            process = translating(stdout=full)
            _, err = finished(process, b"a b c\n")
        assert process.returncode == 74
        assert re.fullmatch(rb"error: .*stdout.*; .*\n", err)

    @pytest.mark.slow
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_interrupted_leaves_whole_lines_and_no_worker(self, translating, source, whole, tmp_path, number, code):
        written = tmp_path / "written"
        with written.open("wb") as out:
            process = translating("--workers", 2, "-b", 1, "-i", source, stdout=out)
        until(lambda: lines_in(written) > 0 and len(children(process.pid)) == 2, process)
        os.killpg(process.pid, number)
        _, err = finished(process)
        assert (process.returncode, err) == (code, b"")
        assert written.read_bytes().endswith(b"\n")
        assert whole.startswith(written.read_bytes())
        until(lambda: not alive(process.pid))


def lines_in(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:  # not yet, or not any more
        return 0


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Enough lines for an interruption, some of them unusual."""
    path = tmp_path_factory.mktemp("source") / "in"
    lines = [line.encode() for line in reversal_lines(30_000, seed=8)]
    for i, odd in enumerate([b"", b" \t ", b"\xfe a", b"a\rb", b"c d\r", "a\u2028b".encode(), b"a " * 200]):
        lines[i * 4001 + 5] = odd
    path.write_bytes(b"\n".join(lines))  # no final newline
    return path


@pytest.fixture(scope="module")
def whole(reverser, source) -> bytes:
    """The output of an uninterrupted run for ``source``."""
    command = [*SEQ2SEQ, "translate", str(reverser), "--device", "cpu", "-b", "1", "-i", str(source)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout


class TestResuming:
    """``-o FILE`` after an interruption."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=str
    )
    def test_after_an_interruption_anywhere_the_output_is_the_same(
        self, translating, source, whole, tmp_path, number, code
    ):
        draw = random.Random(number)
        out, partial = tmp_path / "out", tmp_path / ".out.partial"
        words = ("--workers", 2, "-b", 1, "-i", source, "-o", out, "--resume")
        n_before, n_interrupted, n_too_late = 0, 0, 0
        while n_interrupted < 3:
            process = translating(*words)
            until(lambda: lines_in(partial) > n_before or process.poll() is not None, process)  # noqa: B023
            time.sleep(draw.uniform(0, 0.3 / 2**n_too_late))
            process.send_signal(number)
            _, err = finished(process)
            assert b"ignored" not in err  # "Exception ignored in": Python has forgotten the signal
            if out.exists():  # too late
                if n_interrupted:
                    break
                out.unlink()
                n_too_late += 1
                assert n_too_late < 10
                continue
            assert process.returncode == code
            n_interrupted += 1
            assert whole.startswith(partial.read_bytes()[: partial.read_bytes().rfind(b"\n") + 1])
            n_before = lines_in(partial)
            if number != signal.SIGKILL:
                assert f" after {n_before:,} lines, saved in {partial}; ".encode() in err
                assert partial.read_bytes().endswith(b"\n")
        if not out.exists():
            process = translating(*words)
            _, err = finished(process)
            assert process.returncode == 0, err
            assert re.search(rb"resuming after line [1-9]", err)
        assert (out.read_bytes() == whole) is True  # without a diff by pytest, which takes minutes
        assert os.listdir(tmp_path) == ["out"]

    def test_a_resumed_stream(self, translating, tmp_path):
        lines = [f"{line}\n".encode() for line in reversal_lines(30, seed=4)]
        out, partial = tmp_path / "out", tmp_path / ".out.partial"
        first = translating("-o", out)
        first.stdin.write(b"".join(lines[:20]) + b"a b c")  # its end has not come
        first.stdin.flush()
        until(lambda: lines_in(partial) == 20, first)
        first.send_signal(signal.SIGTERM)
        _, err = finished(first)
        assert first.returncode == 143
        assert re.fullmatch(
            rb"Stopped by SIGTERM after 20 lines, saved in .*/\.out\.partial; "
            rb"the same command with --resume continues there\.\n",
            err,
        )
        second = translating("-o", out, "--resume")
        _, err = finished(second, b"".join(lines))
        assert (second.returncode, err) == (0, b"resuming after line 20\n")
        assert out.read_bytes().decode().splitlines() == [line.decode().rstrip("\n")[::-1] for line in lines]
        assert os.listdir(tmp_path) == ["out"]

    @pytest.mark.slow
    def test_an_interruption_before_the_first_translation_leaves_nothing(self, translating, tmp_path):
        process = translating("-o", tmp_path / "out")
        until(lambda: any(tmp_path.iterdir()), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
        assert process.stderr.read() == b""
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.slow
    def test_one_process_at_a_time(self, translating, tmp_path):
        first = translating("-o", tmp_path / "out")
        first.stdin.write(b"a b c\n")
        first.stdin.flush()
        until(lambda: lines_in(tmp_path / ".out.partial") == 1, first)
        for words in ((), ("--resume",)):
            second = translating("-o", tmp_path / "out", *words)
            out, err = finished(second, b"d e f\n")
            assert (second.returncode, out) == (75, b"")
            assert re.fullmatch(rb"error: .*/out is being written by another process; .*\n", err)
        assert finished(first, b"d e f\n") == (b"", b"")
        assert (tmp_path / "out").read_bytes() == b"c b a\nf e d\n"


class TestProgress:
    @pytest.fixture
    def command(self, reverser, tmp_path) -> list[str]:
        lines = [*reversal_lines(3000, seed=3), "a " * 300]  # the last one has its warning
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in lines))
        return [*SEQ2SEQ, "translate", str(reverser), "--device", "cpu", "-b", "1", "-i", str(tmp_path / "in")]

    @pytest.fixture
    def plain(self, command) -> bytes:
        ran = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE)
        assert re.fullmatch(rb"warning: line 3,001 has .*\n", ran.stderr)  # without a terminal, no progress so early
        return ran.stdout

    def test_a_terminal_gets_a_bar_and_the_data_none_of_it(self, command, plain, tmp_path):
        with (tmp_path / "out").open("wb") as out:
            code, shown = on_terminal(command, out)
        assert (code, (tmp_path / "out").read_bytes()) == (0, plain)
        assert "  0 lines  0%  0.0 lines/s  eta -:--:--" in shown
        assert re.search(r"  3,001 lines  100%  [\d.,]+ lines/s  eta 0:00:00", shown)
        assert "\x1b[3" in shown  # colours
        # A warning stands on lines of its own, and the bar is wiped out at the end.
        assert re.search(r"\x1b\[2K(\x1b\[\d*m)*warning:(\x1b\[\d*m)* line 3,001 has 300 tokens[^\r\n]*\r\n", shown)
        assert shown.endswith("\x1b[2K")

    @pytest.mark.slow
    def test_a_redirected_output_also_shows_the_bar(self, command, plain, tmp_path):
        words = f"exec {' '.join(command[:-2])} <{command[-1]} >{tmp_path}/out"
        code, shown = on_terminal(["sh", "-c", words], subprocess.DEVNULL)
        assert code == 0
        assert "3,001 lines  100%" in shown
        assert (tmp_path / "out").read_bytes() == plain

    @pytest.mark.slow
    def test_no_color_is_honoured(self, command, tmp_path):
        code, shown = on_terminal([*command, "-o", str(tmp_path / "out")], NO_COLOR="1")
        assert code == 0
        assert "3,001 lines  100%" in shown
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)

    @pytest.mark.slow
    def test_no_bar_if_translations_go_to_the_terminal(self, command, plain):
        code, shown = on_terminal(command)
        assert code == 0
        assert "eta" not in shown
        # The warning is before the window of its line.
        lines = [line for line in shown.replace("\r\n", "\n").splitlines(keepends=True) if "warning" not in line]
        assert plain.decode() in "".join(lines)

    @pytest.mark.slow
    def test_a_pipe_has_no_bar(self, command, plain, tmp_path):
        words = f"cat {command[-1]} | {' '.join(command[:-2])} >{tmp_path}/out"
        code, shown = on_terminal(["sh", "-c", words], subprocess.DEVNULL)
        assert code == 0
        assert "eta" not in shown
        assert (tmp_path / "out").read_bytes() == plain
