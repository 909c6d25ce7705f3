"""Deferred signals, and forked child processes that never outlive their parent.

Processes that use PyTorch are forked only on Linux.
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

TERMINATION_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals of Ctrl-C, of ``kill``, and of a closed terminal (Windows has no signal for it)."""
_PR_SET_PDEATHSIG = 1
"""An option of ``prctl``, from Linux's prctl.h."""


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Defer termination signals until the body ends. Children that are forked inside keep them blocked.

    Use it for steps that must not be separated. Without it, Python would lose a signal that it handles during a fork.
    """
    arrived: list[int] = []
    with contextlib.ExitStack() as leaving:
        leaving.callback(_raise, arrived)
        if hasattr(signal, "pthread_sigmask"):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            leaving.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
            signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
        # For a child, which has one thread, the mask is enough. In this process the system may deliver the signal to
        # another thread, such as PyTorch's; then Python would still run the handler in the main thread.
        if threading.current_thread() is threading.main_thread():
            for number in TERMINATION_SIGNALS:
                if (handler := signal.getsignal(number)) is not None:  # None: a handler that Python did not set
                    leaving.callback(_restore, number, handler)
                    signal.signal(number, lambda number, _: arrived.append(number))
        yield


def _restore(number: int, handler: Any) -> None:
    try:
        signal.signal(number, handler)
    except BaseException:  # from the handler of another signal, which Python runs before it sets this one
        signal.signal(number, handler)
        raise


def _raise(signals: list[int]) -> None:
    """Raise each signal, even if the handler of the previous one raises an exception."""
    if signals:
        try:
            signal.raise_signal(signals.pop(0))
        finally:
            _raise(signals)


class ChildProcess:
    """A forked process that runs a function. Termination signals do not reach it.

    It ends when the function returns, at a call of ``end``, when this object is deleted, or when its parent ends (in
    any way, and even while the child waits). It also ends when the thread that made this object ends.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        parent = os.getpid()
        # os.fork is used: at exit, multiprocessing would send a signal that does not reach the child, and wait forever.
        with deferred_signals():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about PyTorch's threads, which the child does not need
                self.pid = os.fork()
            if not self.pid:
                _run_child(parent, run)
            self._end = weakref.finalize(self, _end, self.pid, parent)
            self._exit_code: int | None = None

    def exit_code(self) -> int | None:
        """The exit code, or minus the number of the signal that ended the process; None if it still runs."""
        if self._exit_code is None:
            with deferred_signals():  # once the system has forgotten the process, its number must not be killed
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._end.detach()
                    self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code

    def end(self) -> None:
        """Kill the process if it still runs, and wait until it has ended."""
        self._end()


def _run_child(parent: int, run: Callable[[], None]) -> None:
    """Run the function in the child process. This never returns."""
    try:
        # A pipe would also report that the parent has ended, but only to a child that reads it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        if os.getppid() == parent:  # otherwise the parent ended before the call
            run()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _end(pid: int, parent: int) -> None:
    if os.getpid() != parent:  # in another fork of the parent, which is ending
        return
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
