"""``Translator.stream`` and the events of ``translate_file``: results while lines are still being read."""

import itertools
import threading
import time
import traceback

import pytest
from reversal import reversal_lines

from seq2seq.errors import Interrupted, UserError
from seq2seq.text import read_lines
from seq2seq.translation import Translator, translate_file, windows
from seq2seq.translation.events import (
    Completed,
    InputReady,
    OutputOpened,
    Suspended,
    WindowProgress,
    WindowTranslated,
)
from seq2seq.translation.windows import IterableReader

LINES = reversal_lines(60, seed=4)
LINES[5:5] = ["", " \t"]


@pytest.fixture(scope="module")
def translator(reverser) -> Translator:
    return Translator.load(reverser, device="cpu", decoding={"beam_size": 1}, workers=1)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "MAX_LINES", 7)


class TestOrder:
    @pytest.fixture(autouse=True)
    def windows(self, small_windows):
        """Several windows."""

    def test_one_translation_for_each_line(self, translator):
        expected = [line[::-1] if line.strip() else "" for line in LINES]
        assert list(translator.stream(LINES)) == expected
        assert list(translator.stream(line for line in LINES)) == expected

    def test_an_open_file(self, translator, tmp_path):
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES))
        with (tmp_path / "in").open() as file:
            assert list(translator.stream(file)) == list(translator.stream(LINES))

    def test_no_lines(self, translator):
        assert list(translator.stream([])) == []

    def test_two_streams_at_once(self, translator):
        pairs = zip(translator.stream(LINES), translator.stream(reversed(LINES)), strict=True)
        assert [a for a, _ in pairs] == list(translator.stream(LINES))


class TestLaziness:
    def test_nothing_is_read_before_a_translation_is_requested(self, translator):
        read = []
        stream = translator.stream(read.append(line) or line for line in LINES)
        assert read == []
        next(stream)
        assert read

    def test_only_one_window_is_held(self, translator, small_windows):
        """So memory does not grow for an endless generator."""
        read = []
        endless = (read.append(i) or "a b" for i in itertools.count())
        for n_given, text in enumerate(itertools.islice(translator.stream(endless), 100), start=1):
            assert text == "b a"
            assert len(read) - n_given <= 7

    def test_a_window_has_a_limit_of_bytes(self, translator, monkeypatch):
        monkeypatch.setattr("seq2seq.translation.translator.MAX_BYTES", 40)
        n_read = []
        stream = translator.stream(n_read.append(line) or line for line in ["a b c d e f"] * 50)
        next(stream)
        assert len(n_read) <= 4  # of 12 bytes each

    def test_each_line_is_translated_before_the_next_is_requested(self, translator):
        """As in a chat: the generator waits for the translation of its line."""
        answered = threading.Semaphore(0)

        def asks():
            for line in LINES[:5]:
                yield line
                assert answered.acquire(timeout=60), "no answer came"

        texts = []
        for text in translator.stream(asks()):
            texts.append(text)
            answered.release()
        assert texts == [line[::-1] if line.strip() else "" for line in LINES[:5]]

    def test_several_lines_are_translated_before_more_are_requested(self, translator):
        answered = threading.Semaphore(0)

        def asks():
            for start in (0, 10, 20):
                yield from LINES[start : start + 10]
                for _ in range(10):
                    assert answered.acquire(timeout=60), "no answer came"

        for _ in translator.stream(asks()):
            answered.release()

    def test_a_slow_generator_gets_translations_before_its_end(self, translator):
        read = []

        def trickles():
            for _ in range(5000):
                read.append("a b")
                yield "a b"
                time.sleep(0.002)

        stream = translator.stream(trickles())
        next(stream)
        assert len(read) < 1000
        stream.close()

    def test_an_abandoned_stream_ends_its_thread(self, translator, small_windows):
        before = threading.active_count()
        stream = translator.stream(itertools.repeat("a b"))
        assert next(stream) == "b a"
        assert threading.active_count() == before + 1
        stream.close()
        deadline = time.monotonic() + 60
        while threading.active_count() > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert threading.active_count() == before


class TestErrors:
    def test_an_error_of_the_generator_is_raised_after_the_translations_before_it(self, translator):
        error = KeyError("gone")

        def breaks():
            yield from LINES[:9]
            raise error

        stream, texts = translator.stream(breaks()), []
        with pytest.raises(KeyError) as caught:
            texts += stream  # adds one after the other
        assert texts == list(translator.stream(LINES[:9]))
        assert caught.value is error
        assert "breaks" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]

    @pytest.mark.parametrize(
        ("line", "error", "says"),
        [(None, TypeError, "line 9 .* is NoneType"), ("\ud83d", ValueError, "line 9 .* surrogate")],
    )
    def test_an_invalid_line(self, translator, small_windows, line, error, says):
        stream, texts = translator.stream([*LINES[:9], line, *LINES]), []
        with pytest.raises(error, match=says):
            texts += stream
        assert len(texts) == 9

    @pytest.mark.parametrize("lines", ["Guten Morgen!", b"x", None, {"a": 1}])
    def test_an_argument_without_lines_is_refused_at_once(self, translator, lines):
        with pytest.raises(TypeError, match="lines must be a list of strings"):
            translator.stream(lines)

    def test_an_interrupted_wait_can_be_repeated(self, monkeypatch):
        """As after Ctrl-C in a notebook."""
        ready, requested = threading.Event(), []

        def waits():
            for i in range(3):
                requested.append(i)
                ready.wait(60)
                yield "a"

        def interrupted(timeout=None):
            raise KeyboardInterrupt

        reader = IterableReader(waits())
        with monkeypatch.context() as patch:
            patch.setattr(reader._changed, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                reader.read_window(10, 1000)
        ready.set()
        while not reader._lines:
            time.sleep(0.001)
        time.sleep(0.05)
        assert requested == [0]  # nobody is reading a window
        assert [line for window in iter(lambda: reader.read_window(10, 1000), []) for line in window] == ["a"] * 3


class TestEvents:
    @pytest.fixture(autouse=True)
    def windows(self, small_windows):
        """Several windows."""

    @pytest.fixture
    def source(self, tmp_path) -> str:
        (tmp_path / "in").write_text("".join(f"{line}\n" for line in LINES[:20]))
        return str(tmp_path / "in")

    def test_a_file(self, translator, source, tmp_path):
        events = list(translate_file(translator, source, str(tmp_path / "out.gz")))
        assert list(read_lines(tmp_path / "out.gz")) == list(translator.stream(LINES[:20]))
        size = (tmp_path / "in").stat().st_size
        assert events[:2] == [OutputOpened(tmp_path / ".out.gz.partial", False, 0), InputReady(0, 0, size)]
        assert isinstance(events[-1], Completed)
        windows = [event for event in events if isinstance(event, WindowTranslated)]
        assert [event.n_lines for event in windows] == [7, 14, 20]
        assert [line for event in windows for line in event.lines] == LINES[:20]
        assert [best[0].text for event in windows for best in event.translations] == list(translator.stream(LINES[:20]))
        assert windows[-1].n_bytes == size
        within = [event for event in events if isinstance(event, WindowProgress)]
        assert [event.n_lines for event in within] == sorted(event.n_lines for event in within)
        assert len(within) == sum(bool(line.strip()) for line in LINES[:20])

    def test_a_caller_that_stops_reading_events_can_resume(self, translator, source, tmp_path):
        out = str(tmp_path / "out")
        for event in translate_file(translator, source, out):
            if isinstance(event, WindowTranslated):
                break  # the generator is closed
        assert (tmp_path / ".out.partial").read_text().count("\n") == 7
        opened, ready, *_, done = translate_file(translator, source, out, resume=True)
        assert (opened.has_leftover, opened.n_lines, ready.n_lines, done.n_lines) == (True, 7, 7, 20)
        assert list(read_lines(tmp_path / "out")) == list(translator.stream(LINES[:20]))

    def test_an_error_of_the_caller_suspends_it(self, translator, source, tmp_path):
        events = translate_file(translator, source, str(tmp_path / "out"))
        for event in events:
            if isinstance(event, WindowTranslated) and event.n_lines == 14:
                break
        error = Interrupted(2, saved=False)
        assert events.throw(error) == Suspended(14, tmp_path / ".out.partial")
        with pytest.raises(Interrupted) as caught:
            next(events)
        assert caught.value is error

    def test_another_input_is_not_suspended(self, translator, source, tmp_path):
        out = str(tmp_path / "out")
        events = translate_file(translator, source, out)
        while not isinstance(next(events), WindowTranslated):
            pass
        events.close()
        (tmp_path / "in").write_text("x\n" * 20)
        seen = []
        with pytest.raises(UserError, match="7 lines of another input"):
            seen += translate_file(translator, source, out, resume=True)
        assert [type(event) for event in seen] == [OutputOpened]
