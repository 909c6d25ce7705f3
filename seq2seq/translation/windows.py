"""Windows: the lines that are translated together. They hold what is ready, up to some seconds of work."""

import contextvars
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from seq2seq.text import TextCounts
from seq2seq.text.tuning import MAX_WAIT, QUIET
from seq2seq.translation.arguments import checked_iterable, checked_line
from seq2seq.translation.tuning import FIRST_SECONDS, MAX_LINES, MAX_LINES_ON_GPU, MIN_LINES, SLOW, WINDOW_SECONDS


class Lines(Protocol):
    """A reader of lines, in windows of what is ready, such as ``LineReader``."""

    size: int | None
    """Bytes of the input; None if it is not an ordinary file."""
    counts: TextCounts
    """Counts of what the text holds, such as lines that are not UTF-8."""

    @property
    def n_bytes_taken(self) -> int:
        """About how many bytes of the input the lines read so far take up."""

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """The next lines: at least one, or none at the end."""


class WindowSize:
    """The number of lines to translate together: some seconds of work, at the speed of the window before.

    Args:
        lines_per_second: a guess, for the first window.
        on_gpu: whether a GPU translates.
    """

    def __init__(self, lines_per_second: float, *, on_gpu: bool = False) -> None:
        self._max_lines = MAX_LINES_ON_GPU if on_gpu else MAX_LINES
        self.lines = self._within_limits(FIRST_SECONDS * lines_per_second)

    def update(self, lines: int, seconds: float) -> None:
        """Set the size of the next window, from the lines and the seconds of the last one."""
        self.lines = self._within_limits(WINDOW_SECONDS * lines / max(seconds, 1e-3))

    def _within_limits(self, lines: float) -> int:
        return int(min(max(lines, MIN_LINES), self._max_lines))


class IterableReader:
    """Reads the lines of any iterable in windows of what is ready, as ``LineReader`` does those of a stream.

    A thread iterates over them, so that a window can be translated while the next line is not ready. The thread
    requests a line only while a window is being read. If that line is slow, the thread waits for it while the window is
    translated.

    Args:
        lines: strings; see ``Translator.translate``.

    Raises:
        TypeError: a single string, or a mapping.
    """

    size: int | None = None
    n_bytes_taken = 0

    def __init__(self, lines: Iterable[str]) -> None:
        self.counts = TextCounts()
        self._iterable = checked_iterable(lines)
        self._changed = threading.Condition()  # guards all below
        self._lines: deque[str] = deque()  # read, but not handed out
        self._n_bytes = 0
        self._max_lines = self._max_bytes = 0  # of the window that is being read; 0: none is
        self._at_end = self._closed = False
        self._failure: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._iterate,), daemon=True)

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """Wait for a line, then take all further ones that are ready, up to the limits.

        Args:
            max_lines: at least 1.
            max_bytes: newlines included; the line that exceeds it is the last one.

        Returns:
            At least one line; none at the end.

        Raises:
            TypeError: a line that is not a string.
            ValueError: a string that UTF-8 cannot hold.
            BaseException: whatever the iterable raised. Each of these comes after the lines before it.
        """
        with self._changed:
            self._max_lines, self._max_bytes = max_lines, max_bytes
            self._changed.notify()
            if not self._thread.ident:
                self._thread.start()
            try:
                self._wait()
            finally:
                self._max_lines = self._max_bytes = 0
            window = list(self._lines)
            self._lines.clear()
            self._n_bytes = 0
            if self._failure and not window:
                raise self._failure
        return window

    def close(self) -> None:
        """Request no further line. If the thread waits for one, it ends when the line comes."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _wait(self) -> None:
        """Wait until the window is full, or the iterable is quiet or slow."""
        left = MAX_WAIT
        while left > 0 and not self._at_end and not self._is_full():
            n = len(self._lines)
            if not n:
                self._changed.wait()
                continue
            began = time.monotonic()
            self._changed.wait(QUIET)
            seconds, n_new = time.monotonic() - began, len(self._lines) - n
            if not n_new:
                break
            if n_new < SLOW * seconds:
                left -= seconds

    def _is_full(self) -> bool:
        return len(self._lines) >= self._max_lines or self._n_bytes >= self._max_bytes

    # In the thread ----------------------------------------------------------------------------------

    def _iterate(self) -> None:
        try:
            for index, line in enumerate(self._iterable):
                self._add(checked_line(index, line))
                if self._closed:
                    break
        except BaseException as error:
            self._failure = error
        finally:
            with self._changed:
                self._at_end = True
                self._changed.notify()

    def _add(self, line: str) -> None:
        """Add a line, then wait until there is room for another."""
        with self._changed:
            self._lines.append(line)
            self._n_bytes += len(line.encode()) + 1
            if len(self._lines) == 1 or self._is_full():
                self._changed.notify()
            while self._is_full() and not self._closed:
                self._changed.wait()
