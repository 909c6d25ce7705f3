"""How far the translation of a file has come, by the numbers and as it is shown."""

import io
import math
import sys
from functools import partial

import pytest
from support.clock import Clock

from seq2seq.cli import progress
from seq2seq.cli.answers import WindowSize
from seq2seq.cli.progress import show_progress
from seq2seq.text import LineReader


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of every ``progress.Pace``."""
    clock = Clock()
    monkeypatch.setattr(progress, "Pace", partial(progress.Pace, clock=clock.monotonic))
    return clock


class TestPace:
    def test_share_speed_and_time_to_go(self, clock):
        pace = progress.Pace(10_000)
        clock.now += 24
        pace.reach(12_288, 3456)
        assert pace.lines_per_second == 512
        assert pace.left == pytest.approx(24 * 6544 / 3456)
        assert str(pace) == "12,288 lines, 34%, 512 lines/s, eta 0:00:45"

    def test_the_mean_is_over_the_whole_run(self, clock):
        pace = progress.Pace(1000)
        clock.now += 90  # slow at first
        pace.reach(10, 100)
        clock.now += 10
        pace.reach(50, 500)
        assert (pace.lines_per_second, pace.left) == (0.5, 100)

    def test_after_an_interruption_only_this_run_counts(self, clock):
        pace = progress.Pace(1000, lines=800, taken=800)
        assert (str(pace), pace.left) == ("800 lines, 80%, 0.0 lines/s, eta -:--:--", None)
        clock.now += 10
        pace.reach(900, 900)
        assert (pace.lines_per_second, pace.left) == (10, 10)

    def test_before_anything_is_known(self, clock):
        assert str(progress.Pace(1000)) == "0 lines, 0%, 0.0 lines/s, eta -:--:--"

    def test_all_of_it_is_when_it_is_done(self, clock):
        pace = progress.Pace(1000)
        clock.now += 1
        pace.reach(999, 999)
        assert "99%" in str(pace)
        pace.reach(1000, 1000)
        assert "100%, 1,000 lines/s, eta 0:00:00" in str(pace)

    def test_a_file_that_grows_and_an_estimate_that_falls_back(self, clock):
        pace = progress.Pace(1000)
        clock.now += 1
        pace.reach(10, 1010)
        assert (pace.taken, pace.left) == (1000, 0)
        pace.reach(20, 900)
        assert pace.taken == 1000


class TestWindowSize:
    def test_a_window_takes_some_seconds(self):
        for pace, lines in ((100.0, 500), (0.0, 64), (1e6, 8192), (math.inf, 8192)):
            assert WindowSize(pace).lines == lines
        size = WindowSize(100.0)
        for lines, seconds, expected in ((512, 76.8, 100), (100, 1.0, 1500), (1000, 0.1, 8192), (64, 640.0, 64)):
            size.took(lines, seconds)
            assert size.lines == expected
        size.took(1, 0.0)
        assert size.lines == 8192

    def test_a_gpu_has_larger_ones(self):
        assert WindowSize(math.inf, on_gpu=True).lines == 65_536


class TestOffATerminal:
    @pytest.fixture
    def reader(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"four\n" * 100)
        with path.open("rb", buffering=0) as stream:
            yield LineReader(stream, "file")

    def test_now_and_then_a_line(self, clock, reader, capfd):
        with show_progress(reader, 0, "out") as reached:
            for done in range(10, 101, 10):
                reader.read_window(10, 1000)
                clock.now += 12
                reached(done)
        out, err = capfd.readouterr()
        assert out == ""
        assert err.splitlines() == [
            "30 lines, 30%, 0.8 lines/s, eta 0:01:24",
            "60 lines, 60%, 0.8 lines/s, eta 0:00:48",
            "90 lines, 90%, 0.8 lines/s, eta 0:00:12",
            "100 lines in 0:02:00, 0.8 lines/s",
        ]

    def test_within_a_window(self, clock, reader, capfd):
        with show_progress(reader, 0, "out") as reached:
            for done in (0, 50):
                reader.read_window(50, 1000)
                for share in (0.4, 0.8):
                    clock.now += 30
                    reached(done, 50, share)
                reached(done + 50)
        assert capfd.readouterr().err.splitlines() == [
            "20 lines, 20%, 0.7 lines/s, eta 0:02:00",
            "40 lines, 40%, 0.7 lines/s, eta 0:01:30",
            "70 lines, 70%, 0.8 lines/s, eta 0:00:39",
            "90 lines, 90%, 0.8 lines/s, eta 0:00:13",
            "100 lines in 0:02:00, 0.8 lines/s",
        ]

    def test_what_went_on_counts_its_own_lines(self, clock, reader, capfd):
        reader.read_window(60, 1000)
        with show_progress(reader, 60, "out") as reached:
            reader.read_window(40, 1000)
            clock.now += 40
            reached(100)
        assert capfd.readouterr().err == "40 lines in 0:00:40, 1.0 lines/s\n"

    def test_what_is_quick_is_silent(self, clock, reader, capfd):
        with show_progress(reader, 0, "-") as reached:
            clock.now += 29
            reader.read_window(100, 1000)
            reached(100)
        assert capfd.readouterr() == ("", "")

    def test_a_failure_has_no_closing_line(self, clock, reader, capfd):
        def fail():
            with show_progress(reader, 0, "-"):
                clock.now += 100
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert capfd.readouterr() == ("", "")

    def test_a_stream_has_none(self, clock, capfd):
        with show_progress(LineReader(io.BytesIO(b"x\n" * 10), "stdin"), 0, "-") as reached:
            clock.now += 100
            reached(10)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(("output", "drawn"), [("-", False), ("out", True)])
    def test_on_the_terminal_that_shows_the_translations_there_is_none(
        self, clock, reader, capfd, monkeypatch, output, drawn
    ):
        monkeypatch.setattr(progress, "on_terminal", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with show_progress(reader, 0, output) as reached:
            clock.now += 100
            reached(10)
        assert bool(capfd.readouterr().err) == drawn
