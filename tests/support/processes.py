"""Processes as the system reports them: their states, their children, and waiting for conditions."""

import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
"""Seconds until ``until`` gives up: only a test that fails takes so long."""


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def state_of(pid: int) -> str | None:
    """R, S, Z and so on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_running(pid: int) -> bool:
    return state_of(pid) not in (None, "Z")


def asleep(pid: int, also: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """A condition for ``until``: in twenty checks in a row a process slept and ``also`` was true.

    A process that has something to do sleeps for an instant at most, so that this one waits for its reader.
    """
    n_looks = 0

    def look() -> bool:
        nonlocal n_looks
        n_looks = n_looks + 1 if also() and state_of(pid) == "S" else 0
        return n_looks >= 20

    return look


def children(pid: int, thread: int | None = None) -> list[int]:
    """Processes that a thread of a process has started (its main thread, unless one is named); none where the system
    does not say."""
    known = Path(f"/proc/{pid}/task/{thread or pid}/children")
    return [int(word) for word in known.read_text().split()] if known.exists() else []
