"""This process and those forked from it: signals that wait a moment, and none left when its parent is gone.

Processes that PyTorch works in are forked on Linux alone.
"""

import contextlib
import ctypes
import os
import signal
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

TO_END = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, a polite kill, a terminal that was closed (which Windows does not tell)."""
_PR_SET_PDEATHSIG = 1
"""Linux's name, from its prctl.h."""


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """A signal that asks to end is answered when all in here is done, and a process forked meanwhile never hears one.

    For steps of which none may be done without the next. Python would even forget a signal that it answers in the
    middle of a fork.
    """
    arrived: list[int] = []
    with contextlib.ExitStack() as leaving:
        leaving.callback(_raise, arrived)
        if hasattr(signal, "pthread_sigmask"):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            leaving.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
            signal.pthread_sigmask(signal.SIG_BLOCK, TO_END)
        # The mask is enough for a child, which has one thread. Here the system may choose another thread, PyTorch's for
        # one, and Python answers in the main thread all the same.
        if threading.current_thread() is threading.main_thread():
            for number in TO_END:
                if (handler := signal.getsignal(number)) is not None:  # None: not Python's
                    leaving.callback(_set_back, number, handler)
                    signal.signal(number, lambda number, _: arrived.append(number))
        yield


def _set_back(number: int, handler: Any) -> None:
    try:
        signal.signal(number, handler)
    except BaseException:  # of another signal, which Python answers before it changes anything
        signal.signal(number, handler)
        raise


def _raise(signals: list[int]) -> None:
    """Each of them, also where the answer to the one before is an exception."""
    if signals:
        try:
            signal.raise_signal(signals.pop(0))
        finally:
            _raise(signals)


class Forked:
    """A process forked to run a function, which hears no signal that asks to end.

    It ends with the function, by ``end``, with this object, or with its parent, however that ends and whatever it
    waits for itself; also with the thread that made this object, should that end before the process does.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        parent = os.getpid()
        # By hand: at exit multiprocessing would ask it to end by a signal that it does not hear, and wait for ever.
        with signals_held_back():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of PyTorch's threads, which the child has no need of
                self.pid = os.fork()
            if not self.pid:
                _be_a_child(parent, run)
            self._end = weakref.finalize(self, _end, self.pid, parent)

    def end(self) -> None:
        """End it, if it has not ended yet, and wait for that."""
        self._end()


def _be_a_child(parent: int, run: Callable[[], None]) -> None:
    """Does not return."""
    try:
        # Pipes tell of a parent that is gone, too, but only those who look at them.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() == parent:  # else it was too late to ask for that
            run()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _end(pid: int, parent: int) -> None:
    if os.getpid() != parent:  # a process forked by others, that ends
        return
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
