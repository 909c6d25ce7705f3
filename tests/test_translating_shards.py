"""Several processes that translate one file: the same output as of one, and never a wrong or a short one."""

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reversal import reversal_lines
from support.cli import Cli
from support.processes import until

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.processes import ChildProcess
from seq2seq.text import LineReader, open_input
from seq2seq.translation import Translator, translate_file, translate_lines
from seq2seq.translation.events import Completed, WindowTranslated
from seq2seq.translation.ranks import Rank, rank_of
from seq2seq.translation.resumable import last_position
from seq2seq.translation.shards import ShardLines, find_shard


@pytest.fixture(scope="module")
def translator(reverser) -> Translator:
    return Translator.load(reverser, device="cpu", workers=1)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """And windows of a few lines, each with a position in the journal."""
    monkeypatch.setattr("seq2seq.translation.shards.SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr("seq2seq.translation.shards.MAX_SILENCE", 0.3)
    monkeypatch.setattr("seq2seq.translation.windows.MIN_LINES", 4)
    monkeypatch.setattr("seq2seq.translation.windows.MAX_LINES", 4)
    monkeypatch.setattr("seq2seq.translation.resumable.SECONDS_PER_POSITION", 0.0)


@pytest.fixture
def source(tmp_path) -> Path:
    lines = [line.encode() for line in reversal_lines(30, seed=5)]
    lines[20:20] = [b"", b" \t", b"a\r", b"\xff b", "\u2028 d".encode(), b"a " * 30]
    (tmp_path / "in").write_bytes(b"\n".join(lines))  # the last line has no end
    return tmp_path / "in"


def events_of(translator: Translator, source: Path, output: Path, rank: Rank, *, form: str = "text", resume: bool):
    """The events of one process."""
    shard = find_shard(str(source), rank)
    with open_input(str(source)) as stream:
        reader = ShardLines(LineReader(stream, str(source)), shard)
        yield from translate_lines(translator, reader, str(output), form=form, resume=resume, shard=shard)


def translate(translator: Translator, source: Path, output: Path, n: int, *, form: str = "text", resume: bool = False):
    """Let n processes, here one after the other, translate a file. Returns what they report at the end."""
    return [
        list(events_of(translator, source, output, Rank(number, n), form=form, resume=resume))[-1]
        for number in reversed(range(n))
    ]


def alone(translator: Translator, source: Path, output: Path, form: str = "text") -> bytes:
    for _ in translate_file(translator, str(source), str(output), form=form):
        pass
    return output.read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestOutput:
    @pytest.mark.parametrize(("n", "form"), [(2, "n-best"), (3, "text"), (50, "text")])
    def test_it_is_that_of_one_process(self, translator, source, tmp_path, n, form):
        expected = alone(translator, source, tmp_path / "one", form)
        ends = translate(translator, source, tmp_path / "out", n, form=form)
        assert (tmp_path / "out").read_bytes() == expected
        assert names(tmp_path) == {"in", "one", "out"}
        assert all(isinstance(end, Completed) for end in ends)
        assert sum(end.n_invalid_utf8 for end in ends) == 1
        assert sum(end.segments.n for end in ends) == 1

    @pytest.mark.parametrize("text", ["", "a b", "a b\n", "a\nb", "\n\n\n", "a\nb\nc\nd"])
    def test_fewer_lines_than_processes(self, translator, tmp_path, text):
        (tmp_path / "in").write_text(text)
        expected = alone(translator, tmp_path / "in", tmp_path / "one")
        translate(translator, tmp_path / "in", tmp_path / "out", 3)
        assert (tmp_path / "out").read_bytes() == expected
        assert names(tmp_path) == {"in", "one", "out"}

    def test_compressed_files(self, translator, source, tmp_path):
        (tmp_path / "in.gz").write_bytes(gzip.compress(source.read_bytes()))
        translate(translator, tmp_path / "in.gz", tmp_path / "out.gz", 2)
        assert gzip.decompress((tmp_path / "out.gz").read_bytes()) == alone(translator, source, tmp_path / "one")

    def test_messages_name_lines_of_the_whole_input(self, translator, source, tmp_path):
        events = list(events_of(translator, source, tmp_path / "out", Rank(1, 2), resume=False))
        assert events[-1].segments.first.startswith("line 26 has ")


class TestResume:
    def test_each_process_resumes_its_own_lines(self, translator, source, tmp_path):
        out = tmp_path / "out"
        for number in (0, 1):
            events = events_of(translator, source, out, Rank(number, 2), resume=False)
            next(event for event in events if isinstance(event, WindowTranslated))
            events.close()
        assert names(tmp_path) == {
            "in", ".out.partial", ".out.partial.jsonl", ".out.shard-2.partial", ".out.shard-2.partial.jsonl"
        }  # fmt: skip
        opened = [next(events_of(translator, source, out, Rank(number, 2), resume=True)) for number in (0, 1)]
        assert all(0 < event.n_lines < 18 for event in opened)
        translate(translator, source, out, 2, resume=True)
        assert out.read_bytes() == alone(translator, source, tmp_path / "one")

    @pytest.mark.parametrize("n", [1, 3])
    def test_another_number_of_processes_is_refused(self, translator, source, tmp_path, n):
        events = events_of(translator, source, tmp_path / "out", Rank(0, 2), resume=False)
        next(event for event in events if isinstance(event, WindowTranslated))
        events.close()
        out = tmp_path / "out"
        again = (
            translate_file(translator, str(source), str(out), resume=True)
            if n == 1
            else events_of(translator, source, out, Rank(0, 3), resume=True)
        )
        with pytest.raises(UserError, match=r"other settings \(shard: 1 of 2 -> ") as caught:
            list(again)
        assert caught.value.code == ExitCode.REFUSED

    def test_another_input_is_refused(self, translator, source, tmp_path):
        list(events_of(translator, source, tmp_path / "out", Rank(1, 2), resume=False))
        source.write_bytes(source.read_bytes().replace(b"\n", b"\nx", 1))  # in a line of the other process
        with pytest.raises(UserError, match="other settings") as caught:
            list(events_of(translator, source, tmp_path / "out", Rank(1, 2), resume=True))
        assert caught.value.code == ExitCode.REFUSED


class TestWaiting:
    def test_without_the_others_there_is_no_output(self, translator, source, tmp_path):
        first = events_of(translator, source, tmp_path / "out", Rank(0, 2), resume=False)
        with pytest.raises(UserError, match="shard 2 of 2 has written nothing") as caught:
            list(first)
        assert caught.value.code == ExitCode.TRY_LATER
        assert last_position(tmp_path / "out").lines == 18
        assert not (tmp_path / "out").exists()
        translate(translator, source, tmp_path / "out", 2, resume=True)
        assert (tmp_path / "out").read_bytes() == alone(translator, source, tmp_path / "one")

    def test_an_incomplete_file_is_not_taken(self, translator, source, tmp_path):
        events = events_of(translator, source, tmp_path / "out", Rank(1, 2), resume=False)
        next(event for event in events if isinstance(event, WindowTranslated))
        events.close()
        with pytest.raises(UserError, match="shard 2 of 2 has written nothing"):
            list(events_of(translator, source, tmp_path / "out", Rank(0, 2), resume=False))
        assert not (tmp_path / "out").exists()

    def test_a_file_with_other_settings_is_not_taken(self, translator, source, tmp_path):
        list(events_of(translator, source, tmp_path / "out", Rank(1, 2), form="scores", resume=False))
        with pytest.raises(UserError, match="answer: scores -> text") as caught:
            list(events_of(translator, source, tmp_path / "out", Rank(0, 2), resume=False))
        assert caught.value.code == ExitCode.REFUSED
        assert not (tmp_path / "out").exists()

    def test_a_damaged_file_is_not_taken(self, translator, source, tmp_path):
        list(events_of(translator, source, tmp_path / "out", Rank(1, 2), resume=False))
        partial = tmp_path / ".out.shard-2.partial"
        partial.write_bytes(partial.read_bytes()[:-3] + b"?!\n")
        with pytest.raises(UserError, match="shard 2 of 2 has written nothing"):
            list(events_of(translator, source, tmp_path / "out", Rank(0, 2), resume=False))
        assert not (tmp_path / "out").exists()

    def test_an_input_that_becomes_shorter_is_noticed(self, translator, source, tmp_path):
        shard = find_shard(str(source), Rank(1, 2))
        source.write_bytes(b"\n".join(source.read_bytes().split(b"\n")[:25]))
        with open_input(str(source)) as stream, pytest.raises(UserError, match="became shorter") as caught:
            list(translate_lines(
                translator, ShardLines(LineReader(stream, "in"), shard), str(tmp_path / "out"), shard=shard
            ))  # fmt: skip
        assert caught.value.code == ExitCode.BAD_DATA


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch is forked on Linux alone")
class TestDevices:
    @pytest.fixture
    def on_two(self, cli, reverser, source, tmp_path) -> Cli:
        return lambda *words: cli(
            "translate", reverser, "-i", source, "-o", tmp_path / "out", "--device", "cpu,cpu", *words
        )

    def test_two_processes(self, on_two, translator, source, tmp_path):
        done = on_two("--n-best", 2)
        assert done.code == 0
        assert done.err.count("warning:") == 2  # each from one process: not UTF-8, and a line in segments
        two = Translator.load(translator._load_again.args[0], device="cpu", decoding={"n_best": 2})
        assert (tmp_path / "out").read_bytes() == alone(two, source, tmp_path / "one", "n-best")

    def test_an_error_of_a_process_is_the_commands(self, on_two, tmp_path):
        refused = on_two("--precision", "int8")
        assert refused.code == ExitCode.USAGE
        assert "--precision int8 needs CTranslate2" in refused.err
        assert names(tmp_path) == {"in"}

    def test_a_process_that_is_killed_ends_the_other(self, on_two, monkeypatch, tmp_path):
        load = Translator.load

        def killed(*args, **options):
            if rank_of(os.environ).number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return load(*args, **options)

        monkeypatch.setattr(Translator, "load", killed)
        monkeypatch.setattr("seq2seq.translation.shards.MAX_SILENCE", 60)
        done = on_two()
        assert done.code == 128 + signal.SIGKILL
        assert "error: a process was killed; free memory; the same command with --resume continues" in done.err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["-o", "x"], "several processes cannot read stdin"),
            (["-i", "in"], "several processes cannot write stdout"),
            (["-i", "in", "-o", "x", "--attention"], "--attention cannot be used with several processes"),
            (["a b", "-o", "x"], "several processes cannot read stdin"),
        ],
    )
    def test_what_cannot_be_shared_is_refused(self, cli, reverser, source, monkeypatch, words, says):
        monkeypatch.chdir(source.parent)
        refused = cli("translate", reverser, "--device", "cpu,cpu", *words)
        assert refused.code == ExitCode.USAGE
        assert says in refused.err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestExitCode:
    def test_of_a_process(self):
        code, killed = ChildProcess(lambda: os._exit(7)), ChildProcess(lambda: os.kill(os.getpid(), signal.SIGKILL))
        until(lambda: (code.exit_code(), killed.exit_code()) == (7, -signal.SIGKILL))

    def test_a_process_that_still_runs_has_none(self):
        process = ChildProcess(lambda: signal.pause())
        assert process.exit_code() is None
        process.end()


class TestRank:
    def test_it_is_that_of_torchrun(self):
        rank = Rank(3, 8, 1)
        assert rank_of(rank.environment()) == rank
        assert rank_of({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Rank(), "of another launcher"


@pytest.mark.slow
def test_torchrun(reverser, translator, source, tmp_path):
    words = ["translate", str(reverser), "-i", str(source), "-o", str(tmp_path / "out"), "--device", "cpu"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "seq2seq"]
    done = subprocess.run([*run, *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == alone(translator, source, tmp_path / "one")
    assert names(tmp_path) == {"in", "one", "out"}
