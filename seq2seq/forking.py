"""Forked processes: none is left when its parent is gone, and none heeds the signals that are its parent's to answer.

For Linux, the one system on which processes that PyTorch works in are forked.
"""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
"""Linux's name, from its prctl.h."""


_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """A signal that asks to end is answered when all in here is done, and a process forked meanwhile never hears one.

    Between a fork and the line that notes whom to end, an interruption would leave a process to itself.
    """
    arrived: list[int] = []
    with contextlib.ExitStack() as leaving:
        leaving.callback(_raise, arrived)
        leaving.callback(signal.pthread_sigmask, signal.SIG_SETMASK, signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END))
        # The mask is enough for a child, which has one thread. Here the system may choose another thread, PyTorch's for
        # one, and Python answers in the main thread all the same.
        if threading.current_thread() is threading.main_thread():
            for number in _TO_END:
                if (handler := signal.getsignal(number)) is not None:  # None: not Python's
                    leaving.callback(signal.signal, number, handler)
                    signal.signal(number, lambda number, _: arrived.append(number))
        yield


def _raise(signals: list[int]) -> None:
    for number in signals:
        signal.raise_signal(number)


def end_with(parent: int) -> None:
    """From now on the system ends this process when its parent is gone, whatever it waits for.

    Args:
        parent: the process that forked this one, from the thread that it belongs to.
    """
    with contextlib.suppress(OSError, AttributeError):  # a C library without it: pipes tell of the parent's end, too
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # too late for the system to tell
        os._exit(1)
