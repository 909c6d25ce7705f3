"""The progress of translating a file: its numbers, and how it is shown."""

import math
import sys
from collections.abc import Callable
from functools import partial

import pytest
from support.clock import Clock

from seq2seq.cli import progress
from seq2seq.cli.progress import show_translating
from seq2seq.translation import SegmentCounts
from seq2seq.translation.events import Completed, InputReady, WindowProgress, WindowTranslated
from seq2seq.translation.windows import WindowSize

COMPLETED = Completed(100, SegmentCounts(), 0)


def window(n_lines: int) -> WindowTranslated:
    """A window that ends with this line."""
    return WindowTranslated([], [], n_lines, 5 * n_lines)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The clock of every ``progress.Pace``."""
    clock = Clock()
    monkeypatch.setattr(progress, "Pace", partial(progress.Pace, clock=clock.monotonic))
    return clock


class TestPace:
    def test_fraction_speed_and_remaining_time(self, clock):
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

    def test_nothing_is_known_at_first(self, clock):
        assert str(progress.Pace(1000)) == "0 lines, 0%, 0.0 lines/s, eta -:--:--"

    def test_one_hundred_percent_only_at_the_end(self, clock):
        pace = progress.Pace(1000)
        clock.now += 1
        pace.reach(999, 999)
        assert "99%" in str(pace)
        pace.reach(1000, 1000)
        assert "100%, 1,000 lines/s, eta 0:00:00" in str(pace)

    def test_a_growing_file_and_a_falling_estimate(self, clock):
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
            size.update(lines, seconds)
            assert size.lines == expected
        size.update(1, 0.0)
        assert size.lines == 8192

    def test_a_gpu_has_larger_ones(self):
        assert WindowSize(math.inf, on_gpu=True).lines == 65_536


class TestOffATerminal:
    @pytest.fixture
    def show(self, clock, capfd) -> Callable[..., list[str]]:
        """Shows events at their times, after ``InputReady`` for an input of 500 bytes, five in each line."""

        def show(*timed: tuple[float, object], n_lines: int = 0, size: int | None = 500, output: str = "out"):
            def events():
                yield InputReady(n_lines, 5 * n_lines, size)
                for seconds, event in timed:
                    clock.now += seconds
                    if isinstance(event, BaseException):
                        raise event
                    yield event

            show_translating(events(), output, resume=False)
            out, err = capfd.readouterr()
            assert out == ""
            return err.splitlines()

        return show

    def test_a_line_from_time_to_time(self, show):
        windows = [(12, window(done)) for done in range(10, 101, 10)]
        assert show(*windows, (0, COMPLETED)) == [
            "30 lines, 30%, 0.8 lines/s, eta 0:01:24",
            "60 lines, 60%, 0.8 lines/s, eta 0:00:48",
            "90 lines, 90%, 0.8 lines/s, eta 0:00:12",
            "100 lines in 0:02:00, 0.8 lines/s",
        ]

    def test_within_a_window(self, show):
        within = [(30, WindowProgress(done, 5 * done)) for done in (20, 40, 70, 90)]
        assert show(*within[:2], (0, window(50)), *within[2:], (0, window(100)), (0, COMPLETED)) == [
            "20 lines, 20%, 0.7 lines/s, eta 0:02:00",
            "40 lines, 40%, 0.7 lines/s, eta 0:01:30",
            "70 lines, 70%, 0.8 lines/s, eta 0:00:39",
            "90 lines, 90%, 0.8 lines/s, eta 0:00:13",
            "100 lines in 0:02:00, 0.8 lines/s",
        ]

    def test_a_resumed_translation_counts_its_own_lines(self, show):
        assert show((40, window(100)), (0, COMPLETED), n_lines=60) == ["40 lines in 0:00:40, 1.0 lines/s"]

    def test_a_short_translation_shows_nothing(self, show):
        assert show((29, window(100)), (0, COMPLETED)) == []

    def test_a_failure_has_no_closing_line(self, show, capfd):
        with pytest.raises(KeyboardInterrupt):
            show((100, KeyboardInterrupt()))
        assert capfd.readouterr() == ("", "")

    def test_a_stream_shows_no_progress(self, show):
        assert show((100, window(10)), (0, COMPLETED), size=None) == []

    @pytest.mark.parametrize(("output", "drawn"), [("-", False), ("out", True)])
    def test_no_progress_on_the_terminal_of_the_translations(self, show, monkeypatch, output, drawn):
        monkeypatch.setattr(progress, "on_terminal", lambda: True)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert bool(show((100, window(10)), (0, COMPLETED), output=output)) == drawn
