"""Termination signals: training saves and stops; other commands stop at once."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self

from seq2seq.errors import Interrupted
from seq2seq.system.processes import TERMINATION_SIGNALS

_ALWAYS = (signal.SIGINT, signal.SIGTERM)


def stopped_by(error: Interrupted) -> str:
    """The signal that ended the program, for a message: ``Stopped by Ctrl-C``, ``Stopped by SIGTERM``."""
    name = "Ctrl-C" if error.signal_number == signal.SIGINT else signal.Signals(error.signal_number).name
    return f"Stopped by {name}"


class StopFlag:
    """Keeps the first termination signal. A call returns its number; None if none has arrived.

    Until ``patient`` is set, a signal raises ``Interrupted`` at once: nothing can be lost then. After that, training
    checks this flag, saves, and raises ``Interrupted`` itself. A second signal raises it at once.
    """

    def __init__(self) -> None:
        self.patient = False
        self._arrived: int | None = None
        self._before: dict[int, Any] = {}

    def __call__(self) -> int | None:
        return self._arrived

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.patient or self._arrived is not None:
            raise Interrupted(number, saved=False)
        self._arrived = number

    def __enter__(self) -> Self:
        # Under nohup, training continues when its terminal is closed.
        handled = [n for n in TERMINATION_SIGNALS if n in _ALWAYS or signal.getsignal(n) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
