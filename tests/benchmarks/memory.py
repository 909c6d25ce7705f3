"""Memory of a process, from /proc (only on Linux)."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def own_memory(pid: int) -> int:
    """Bytes of a process that are resident, its own and not of a file."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended, but its parent has not waited for it yet


def held_by_all(pid: int) -> int:
    """Bytes of a process and its children: proportional set sizes, so that what they share counts once."""
    total = 0
    for one in (pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())):
        with suppress(OSError):  # it has ended
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


@dataclass
class Peak:
    """The most anonymous memory that a process held while it was watched, in bytes."""

    n_bytes: int = 0


class Watch:
    """Watches a process in a thread of its own, into the ``Peak`` that is current.

    Args:
        pid: of the process.
        held: gives the bytes that are watched; OSError ends it.
        every: seconds between two looks.
    """

    def __init__(self, pid: int, held: Callable[[int], int] = own_memory, every: float = 0.02) -> None:
        self.pid, self._held, self._every = pid, held, every
        self.current = Peak()
        threading.Thread(target=self._watch, daemon=True).start()

    def next(self) -> Peak:
        """End the current peak and start another; the one that has ended."""
        ended, self.current = self.current, Peak()
        return ended

    def _watch(self) -> None:
        while True:
            try:
                held = self._held(self.pid)
            except OSError:
                return
            self.current.n_bytes = max(self.current.n_bytes, held)
            time.sleep(self._every)
