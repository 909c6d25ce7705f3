"""From bytes to lines and back: the ends of lines, compression, properties of input and output."""

import bz2
import errno
import gzip
import io
import lzma
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpora import zstd
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from support.processes import asleep, until

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import atomic_file
from seq2seq.text import (
    LineReader,
    TextCounts,
    is_blank,
    one_line,
    open_input,
    open_line_output,
    open_output,
    read_lines,
    source,
)
from seq2seq.text.first_bytes import refuse_non_text

BOM = b"\xef\xbb\xbf"
COMPRESSIONS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd}

# Name -> bytes of a file, its lines, and how many of them held bytes that are not UTF-8.
FILES = {
    "empty": (b"", [], 0),
    "one newline": (b"\n", [""], 0),
    "last line without newline": (b"a\nb", ["a", "b"], 0),
    "blank lines": (b"\n\n \na\n\n", ["", "", " ", "a", ""], 0),
    "CRLF": (b"a\r\n\r\nb\r\n", ["a", "", "b"], 0),
    "one CR only is stripped": (b"a\r\r\nb", ["a\r", "b"], 0),
    "lone CR": (b"a\rb\n\rc\n", ["a\rb", "\rc"], 0),
    "BOM": (BOM + b"a\n" + BOM + b"b\n", ["a", "\ufeffb"], 0),
    "BOM twice": (BOM + BOM + b"a\n", ["\ufeffa"], 0),
    "BOM alone": (BOM, [], 0),
    "BOM and a newline": (BOM + b"\n", [""], 0),
    "NUL": (b"a\0b\n\0\n", ["a\0b", "\0"], 0),
    "other separators": (
        "a\vb\fc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\n".encode(),
        ["a\vb\fc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"],
        0,
    ),
    "long lines": (b"x" * 200_000 + b"\n" + "ü".encode() * 600_000, ["x" * 200_000, "ü" * 600_000], 0),
    "invalid UTF-8": (b"ok\n\xff\xc3\nfine\n\xed\xa0\x80\n", ["ok", "\ufffd\ufffd", "fine", "\ufffd" * 3], 2),
    "begins like bzip2": (b"BZh9 is how bzip2 begins\n", ["BZh9 is how bzip2 begins"], 0),
    "less than a magic number": (b"BZ", ["BZ"], 0),
}


def lines_of(data: bytes) -> list[str]:
    """The rule for lines, implemented in another way."""
    data = data.removeprefix(BOM)
    pieces = data.split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    return [piece.decode(errors="replace").removesuffix("\r") for piece in pieces]


def is_foreign(data: bytes) -> bool:
    """Whether this is certainly not UTF-8 text: see test_first_bytes.py."""
    try:
        refuse_non_text(data, "input")
    except UserError:
        return True
    return False


def read_by_windows(stream, max_lines=1000, max_bytes=1 << 20, **options) -> list[str]:
    reader = LineReader(stream, "input", **options)
    lines = []
    while window := reader.read_window(max_lines, max_bytes):
        lines += window
    assert reader.read_window(max_lines, max_bytes) == []
    return lines


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize(("data", "lines", "invalid"), FILES.values(), ids=FILES)
def test_lines_of_a_file(tmp_path, data, lines, invalid, compress):
    path = tmp_path / "no-suffix-tells"
    path.write_bytes(compress(data))
    counts = TextCounts()
    assert list(read_lines(path, counts=counts)) == lines
    assert counts == TextCounts(invalid_utf8=invalid)
    counts = TextCounts()
    with open_input(str(path)) as stream:
        assert read_by_windows(stream, counts=counts) == lines
    assert counts == TextCounts(invalid_utf8=invalid)


PIECES = st.sampled_from(
    [b"\n", b"\r", b"\r\n", BOM, b"\xff", b"\0", "\u2028\x85ü€😀".encode(), b"BZh9", b"\x1f", b"word"]
)


@settings(database=None, deadline=None)
@given(st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=20).map(b"".join)), st.integers(1, 9))
@example(BOM + b"\r\n", 2)
@example(b"\xe2\x82", 1)
def test_chunks_of_any_size_give_the_same_lines(data, portion):
    if data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")) or is_foreign(data):
        data = b"word" + data
        assume(not is_foreign(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_CHUNK", portion)
        for compress in COMPRESSIONS.values():
            assert read_by_windows(io.BytesIO(compress(data))) == lines_of(data)


@pytest.mark.parametrize("name", [n for n in COMPRESSIONS if n != "plain"])
class TestCompression:
    def test_several_members(self, tmp_path, name):
        compress = COMPRESSIONS[name]
        path = tmp_path / "file"
        zeros = b"" if name == "zstd" else b"\0" * 8  # the program `zstd` refuses them too
        path.write_bytes(compress(b"a\nb") + compress(b"") + compress(b"c\n") + zeros)
        assert list(read_lines(path)) == ["a", "bc"]

    @pytest.mark.parametrize("left", [0.999, 0.5])
    def test_cut_short(self, tmp_path, name, left):
        whole = COMPRESSIONS[name](b"".join(b"%d\n" % i for i in range(100_000)))
        path = tmp_path / "file"
        path.write_bytes(whole[: int(len(whole) * left)])
        with pytest.raises(UserError, match=r"file ends before its compressed data does; .* again$") as caught:
            list(read_lines(path))
        assert caught.value.code == ExitCode.BAD_DATA

    def test_every_cut_is_noticed(self, tmp_path, name):
        whole = COMPRESSIONS[name](b"one\ntwo\n")
        for n in range(10, len(whole)):
            with pytest.raises(UserError) as caught:
                read_by_windows(io.BytesIO(whole[:n]))
            assert caught.value.code == ExitCode.BAD_DATA

    def test_damaged(self, tmp_path, name):
        whole = bytearray(COMPRESSIONS[name](os.urandom(1000).hex().encode()))
        whole[7 if name == "zstd" else len(whole) // 2] ^= 0xFF  # pyarrow writes no checksum
        path = tmp_path / "file"
        path.write_bytes(whole)
        with pytest.raises(UserError, match="file holds damaged compressed data") as caught:
            list(read_lines(path))
        assert caught.value.code == ExitCode.BAD_DATA

    def test_a_damaged_second_member_is_not_the_end_of_the_file(self, tmp_path, name):
        path = tmp_path / "file"
        path.write_bytes(COMPRESSIONS[name](b"a\n") + b"garbage that no decompressor likes")
        with pytest.raises(UserError, match="damaged"):
            list(read_lines(path))

    def test_memory_stays_constant(self, tmp_path, name):
        path = tmp_path / "file"
        path.write_bytes(COMPRESSIONS[name](b"\n" * 99 * 50_000 + (b"y" * 99 + b"\n") * 150_000))
        tracemalloc.start()
        assert sum(1 for _ in read_lines(path)) == 99 * 50_000 + 150_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12e6  # of 20 MB; bzip2's own state is 4 MB


def test_strict_names_the_line_after_returning_those_before(tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(b"a\nb\n\xc3(\nd\n")
    lines = read_lines(path, encoding_errors="strict")
    assert [next(lines), next(lines)] == ["a", "b"]
    with pytest.raises(UserError, match=r"file\.txt, line 3: not UTF-8") as caught:
        next(lines)
    assert caught.value.code == ExitCode.BAD_DATA
    with open_input(str(path)) as stream:
        reader = LineReader(stream, "stdin", strict=True)
        assert reader.read_window(100, 1000) == ["a", "b"]
        for _ in range(2):
            with pytest.raises(UserError, match="stdin, line 3"):
                reader.read_window(100, 1000)
    path.write_bytes(b"a\n\xff")
    with pytest.raises(UserError, match=r"line 2.* or leave out `data\.encoding_errors=strict`"):
        list(read_lines(path, encoding_errors="strict"))


def test_lines_before_damage_are_returned(tmp_path):
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(200_000)))
    reader = LineReader(io.BytesIO(whole[:-4]), "stdin")
    assert len(reader.read_window(300_000, 1 << 30)) == 200_000
    with pytest.raises(UserError, match="stdin ends before"):
        reader.read_window(1, 1)


@pytest.mark.parametrize(
    "open_it", [lambda p: list(read_lines(p)), lambda p: open_input(str(p))], ids=["lines", "input"]
)
class TestMissingInput:
    def test_missing(self, tmp_path, open_it):
        with pytest.raises(UserError, match=r"nothing\.txt cannot be read: No such file") as caught:
            open_it(tmp_path / "nothing.txt")
        assert caught.value.code == ExitCode.NO_INPUT

    def test_folder(self, tmp_path, open_it):
        with pytest.raises(UserError, match="Is a directory") as caught:
            open_it(tmp_path)
        assert caught.value.code == ExitCode.NO_INPUT

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything")
    def test_not_permitted(self, tmp_path, open_it):
        path = tmp_path / "secret"
        path.touch(mode=0)
        with pytest.raises(UserError, match="Permission denied") as caught:
            open_it(path)
        assert caught.value.code == ExitCode.NO_INPUT


def test_an_error_of_reading_is_unreadable_input():
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(UserError, match="disk cannot be read: Input/output error") as caught:
        LineReader(Broken(), "disk").read_window(1, 1)
    assert caught.value.code == ExitCode.NO_INPUT


def test_stdin_is_read_without_a_buffer(monkeypatch, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"a\r\nb\xff\n")
    with path.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with open_input("-") as stream:
            assert read_by_windows(stream) == ["a", "b\ufffd"]
        os.fstat(stdin.fileno())  # still open
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"c\n")))
    with open_input("-") as stream:
        assert read_by_windows(stream) == ["c"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UserError, match="stdin cannot be read") as caught:
        open_input("-")
    assert caught.value.code == ExitCode.NO_INPUT


# ------------------------------------------------------------------------------- windows of lines


@pytest.fixture
def pipe():
    """A reader of one end of a pipe, and a function that writes to the other end (None closes it)."""
    read_end, write_end = os.pipe()
    is_open = True

    def write(data: bytes | None) -> None:
        nonlocal is_open
        if data is None:
            os.close(write_end)
            is_open = False
        else:
            os.write(write_end, data)

    with io.FileIO(read_end, "rb") as stream:
        yield stream, write
    if is_open:
        os.close(write_end)


@pytest.mark.timeout(20)
def test_lines_of_a_pipe_are_returned_before_its_end(pipe):
    stream, write = pipe
    reader = LineReader(stream, "stdin")
    write(b"one\n")
    assert reader.read_window(100, 10_000) == ["one"]
    write(b"two\nthree\nhal")
    assert reader.read_window(100, 10_000) == ["two", "three"]
    write(b"f\n")
    assert reader.read_window(100, 10_000) == ["half"]
    write(b"last")
    write(None)
    assert reader.read_window(100, 10_000) == ["last"]
    assert reader.read_window(100, 10_000) == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("first", [b"B\n", b"BZh\n", b"\xfd7z\n", b"x"])
def test_a_first_line_that_looks_like_compression_is_returned(pipe, first):
    stream, write = pipe
    write(first + b"\n")
    assert LineReader(stream, "stdin").read_window(100, 10_000)[0] == first.rstrip(b"\n").decode(errors="replace")


@pytest.mark.timeout(20)
def test_a_fast_writer_fills_the_window(pipe):
    stream, write = pipe

    def produce():
        for i in range(50):
            write(b"%d\n" % i * 100)
            time.sleep(0.0005)

    thread = threading.Thread(target=produce)
    thread.start()
    window = LineReader(stream, "stdin").read_window(1000, 1 << 20)
    thread.join()
    assert len(window) == 1000


@pytest.mark.timeout(20)
def test_a_slow_writer_does_not_delay_the_window(pipe):
    stream, write = pipe
    stop = threading.Event()

    def produce():
        while not stop.wait(0.003):
            write(b"drop\n")

    thread = threading.Thread(target=produce)
    thread.start()
    window = LineReader(stream, "stdin").read_window(10_000, 1 << 20)
    stop.set()
    thread.join()
    assert 1 <= len(window) < 1000


@pytest.mark.timeout(20)
def test_a_terminal_is_read_once_after_its_end():
    pty = pytest.importorskip("pty")
    keyboard, terminal = pty.openpty()
    try:
        with io.FileIO(terminal, "rb") as stream:
            reader = LineReader(stream, "stdin")
            os.write(keyboard, b"Hallo\n")
            assert reader.read_window(100, 10_000) == ["Hallo"]
            os.write(keyboard, b"\x04")
            assert reader.read_window(100, 10_000) == []
            assert reader.read_window(100, 10_000) == []
    finally:
        os.close(keyboard)


@pytest.mark.timeout(20)
def test_a_non_blocking_descriptor_is_waited_for(pipe):
    stream, write = pipe
    os.set_blocking(stream.fileno(), False)
    timer = threading.Timer(0.05, write, [b"late\n"])
    timer.start()
    assert LineReader(stream, "stdin").read_window(100, 10_000) == ["late"]
    timer.join()


@pytest.mark.timeout(20)
def test_without_select_a_window_is_one_read(pipe, monkeypatch):
    stream, write = pipe

    def refuse(*_):
        raise OSError(errno.EINVAL, "not a socket")

    monkeypatch.setattr(select, "select", refuse)
    write(b"one\ntwo\n")
    assert LineReader(stream, "stdin").read_window(100, 10_000) == ["one", "two"]


@pytest.mark.timeout(20)
def test_compressed_pipe(pipe):
    stream, write = pipe
    write(gzip.compress(b"a\nb\n"))
    write(None)
    assert read_by_windows(stream) == ["a", "b"]


@pytest.mark.timeout(20)
def test_no_line_stays_in_the_buffer_of_a_pipe(pipe):
    stream, write = pipe
    write(b"one\ntwo\nthree\n")
    with io.BufferedReader(stream) as buffered:
        reader = LineReader(buffered, "stdin")
        assert reader.read_window(2, 10_000) == ["one", "two"]
        assert reader.read_window(2, 10_000) == ["three"]


def test_windows_are_within_their_limits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"four\n" * 10 + "ä".encode() * 50 + b"\nfour\nfour\n")
    with open_input(str(path)) as stream:
        reader = LineReader(stream, "file")
        assert reader.read_window(3, 1000) == ["four"] * 3
        assert reader.read_window(100, 21) == ["four"] * 4
        assert reader.read_window(100, 100) == ["four"] * 3
        assert reader.read_window(100, 100) == ["ä" * 50]
        assert reader.read_window(100, 1) == ["four"]
        assert reader.read_window(100, 100) == ["four"]
        assert reader.read_window(100, 100) == []


def test_a_window_does_not_read_the_whole_input():
    stream = io.BytesIO(b"four\n" * 1_000_000)
    reader = LineReader(stream, "memory")
    assert len(reader.read_window(100, 1 << 20)) == 100
    assert stream.tell() < 1 << 20


def test_a_file_fills_its_window(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"four\n" * 500_000)
    with open_input(str(path)) as stream:
        assert len(LineReader(stream, "file").read_window(400_000, 1 << 30)) == 400_000


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_the_bytes_of_the_returned_lines(tmp_path, compress):
    path = tmp_path / "file"
    n = 50_000
    path.write_bytes(compress("".join(f"{i * 2654435761 % 10**9:09}\n" for i in range(n)).encode()))
    with open_input(str(path)) as stream:
        reader = LineReader(stream, "file")
        size = path.stat().st_size
        assert (reader.size, reader.n_bytes_taken) == (size, 0)
        for i in range(1, 21):
            assert len(reader.read_window(n // 20, 1 << 20)) == n // 20
            # Neither what was read ahead counts nor, by much, what waits to be decompressed (bzip2's blocks are long).
            slack = {bytes: 10, bz2.compress: 0.6 * size}.get(compress, 0.15 * size)
            assert abs(reader.n_bytes_taken - size * i // 20) <= slack
        assert reader.n_bytes_taken == size


def test_the_size_of_the_rest_of_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"header\nfour\n")
    with path.open("rb", buffering=0) as stream:
        stream.seek(7)
        assert LineReader(stream, "file").size == 5


def test_a_pipe_has_no_size(pipe):
    stream, _ = pipe
    assert LineReader(stream, "pipe").size is None
    assert LineReader(io.BytesIO(b"x\n"), "memory").size is None


# ----------------------------------------------------------------------------------------- output


@pytest.mark.parametrize("c", list("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
def test_line_separators_become_spaces(c):
    assert one_line(f"a{c}b{c}") == "a b "


@settings(database=None)
@given(st.text(st.characters(exclude_categories=())))
def test_one_line_is_one_line_of_utf8(text):
    safe = one_line(text)
    assert len(safe) == len(text)
    # Simple readers of our output split lines in this way.
    assert len(safe.splitlines()) <= 1
    assert safe == safe.encode().decode()
    assert one_line(safe) == safe


def test_one_line_replaces_only_surrogates():
    assert one_line("a\ud83d\ude00\udfff\ue000😀\0\t") == "a\ufffd\ufffd\ufffd\ue000😀\0\t"


@pytest.mark.parametrize("line", ["", " ", "\t\r", "\u3000\u2028", "\x1f", "\xa0"])
def test_blank(line):
    assert not line.strip()
    assert is_blank(line)


@pytest.mark.parametrize("line", ["a", " . ", "\u200b", "\0", "\ufeff"])
def test_not_blank(line):
    assert line.strip()
    assert not is_blank(line)


class TestOutput:
    def test_a_file_appears_when_it_is_complete(self, tmp_path):
        path = tmp_path / "out.txt"
        with open_output(str(path)) as output:
            output.write(b"one\n")
            output.flush()
            assert not path.exists()
        assert path.read_bytes() == b"one\n"
        assert os.listdir(tmp_path) == ["out.txt"]

    def test_a_failure_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "out.txt"
        path.write_bytes(b"before")

        def fail():
            with open_output(str(path)) as output:
                output.write(b"after")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert path.read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["out.txt"]

    def test_mode_and_link_are_kept(self, tmp_path):
        path, link = tmp_path / "out.txt", tmp_path / "link"
        path.touch()
        path.chmod(0o640)
        link.symlink_to(path)
        with atomic_file(link) as output:
            output.write(b"x")
        assert link.is_symlink()
        assert path.read_bytes() == b"x"
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_new_file_has_the_usual_mode(self, tmp_path):
        (tmp_path / "usual").touch()
        with atomic_file(tmp_path / "new"):
            pass
        assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode

    @pytest.mark.parametrize(("name", "says"), [("no/such/out", "No such file"), ("file/out", "Not a directory")])
    def test_folder_missing(self, tmp_path, name, says):
        (tmp_path / "file").touch()
        with (
            pytest.raises(UserError, match=f"{says}.*; make its folder first") as caught,
            open_output(str(tmp_path / name)),
        ):
            pass
        assert caught.value.code == ExitCode.CANNOT_WRITE

    def test_folder_in_its_place(self, tmp_path):
        with pytest.raises(UserError, match="Is a directory") as caught, open_output(str(tmp_path)):
            pass
        assert caught.value.code == ExitCode.CANNOT_WRITE

    def test_disk_full(self, tmp_path, small_files):
        def fill():
            with open_output(str(tmp_path / "out")) as output:
                for _ in range(100):
                    output.write(b"x" * 1000)

        with (
            small_files(10_000),
            pytest.raises(UserError, match=r"out cannot be written: File too large; raise the limit") as caught,
        ):
            fill()
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_disk_that_fails_at_the_end(self, tmp_path, monkeypatch, step):
        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
        with pytest.raises(UserError, match="free some space") as caught, open_output(str(tmp_path / "out")) as output:
            output.write(b"x")
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert os.listdir(tmp_path) == []

    def test_errors_of_others_pass_through(self, tmp_path):
        def fail():
            with open_output(str(tmp_path / "out")):
                raise OSError(errno.EIO, "another file's")

        with pytest.raises(OSError, match="another file's"):
            fail()

    def test_a_pipe_is_written_directly_and_may_close(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

        def write():
            with open_output(str(path)) as output:
                output.write(b"one\n")
                output.flush()
                assert os.read(reader, 100) == b"one\n"
                os.close(reader)
                output.write(b"two\n")

        with pytest.raises(BrokenPipeError):
            write()
        assert stat.S_ISFIFO(path.stat().st_mode)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
    def test_full_stdout_ends_with_its_own_exit_code(self):
        program = (
            "import sys\nfrom seq2seq.errors import UserError\nfrom seq2seq.text import open_output\n"
            "try:\n    with open_output('-') as output:\n        output.write(b'x')\n"
            "except UserError as error:\n    sys.exit(f'{int(error.code)} {error}')\n"
        )
        with open("/dev/full", "wb") as full:
            ran = subprocess.run([sys.executable, "-X", "dev", "-c", program], stdout=full, stderr=subprocess.PIPE)
        # 120 would be the interpreter's failure to flush at exit.
        assert ran.returncode == 1
        assert ran.stderr.startswith(b"74 stdout cannot be written: No space left on device; free some space")
        assert ran.stderr.count(b"\n") == 1

    def test_lines_are_written_directly_to_stdout(self, capfdbinary):
        text = b"one\xff\n" + b"x" * 10_000 + b"\n" + b"two\n" * 5000
        with open_line_output("-") as output:
            output.write(b"")
            output.write(text)
            assert capfdbinary.readouterr().out == text
            output.write(b"three\n")
        assert capfdbinary.readouterr().out == b"three\n"

    def test_lines_go_to_a_replacement_of_stdout(self, capsysbinary):
        with open_line_output("-") as output:
            output.write(b"one\n")
        assert capsysbinary.readouterr().out == b"one\n"

    def test_stdout(self, capfdbinary):
        with open_output("-") as output:
            output.write(b"one\xff\n")
        with open_output("-") as output:
            output.write(b"two\n")
        assert capfdbinary.readouterr().out == b"one\xff\ntwo\n"

    def test_a_replacement_of_stdout(self, capsysbinary):
        with open_output("-") as output:
            output.write(b"one\n")
        assert capsysbinary.readouterr().out == b"one\n"

    @pytest.mark.parametrize("opening", [open_output, open_line_output])
    def test_stdout_closed(self, monkeypatch, opening):
        monkeypatch.setattr(sys, "stdout", None)
        with pytest.raises(UserError, match="stdout") as caught, opening("-"):
            pass
        assert caught.value.code == ExitCode.CANNOT_WRITE


class TestInterruptedPipe:
    """A signal during a write to a full pipe with a slow reader."""

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("line", [b"abcde\n", b"x" * 999 + b"\n"], ids=["short lines", "longer lines"])
    def test_leaves_whole_lines(self, tmp_path, line):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        with stuck_writer(path, line * 100_000) as (process, reader):
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 3  # without waiting for the reader
            data = reader.read()
        assert data == line * (len(data) // len(line))
        assert len(data) > 10 * len(line)

    @pytest.mark.timeout(60)
    def test_finishes_a_long_line_for_a_reader_that_reads(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        line = b"x" * 3_000_000 + b"\n"
        with stuck_writer(path, line * 3) as (process, reader):
            process.send_signal(signal.SIGTERM)
            data = reader.read()
            assert process.wait() == 3
        assert data == line


@contextmanager
def stuck_writer(path, lines):
    """A process that writes lines to a full named pipe, and our end of the pipe."""
    program = (
        "import signal, sys\nfrom seq2seq.text import open_line_output\n"
        "class Interrupted(BaseException): pass\n"
        "def handle(*_): raise Interrupted\n"
        "signal.signal(signal.SIGTERM, handle)\n"
        "lines = sys.stdin.buffer.read()\n"
        "try:\n    with open_line_output(sys.argv[1]) as out: out.write(lines)\n"
        "except Interrupted: sys.exit(3)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE) as process:
        try:
            process.stdin.write(lines)
            process.stdin.close()
            with path.open("rb", buffering=0) as reader:
                assert select.select([reader], [], [], 30)[0]
                until(asleep(process.pid))  # the pipe is full
                yield process, reader
        finally:
            process.kill()
