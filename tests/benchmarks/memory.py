"""What a process holds in memory, from /proc (Linux alone)."""

import threading
import time
from dataclasses import dataclass
from pathlib import Path


def resident(pid: int, kind: str = "VmRSS") -> int:
    """Bytes of a process: ``VmRSS`` all that is resident, ``RssAnon`` what is its own and not of a file."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended, and is not yet waited for


@dataclass
class Peak:
    """The most anonymous memory that a process held while it was watched, in bytes."""

    n_bytes: int = 0


class Watch:
    """Watches a process in a thread of its own, into the ``Peak`` that is current."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.current = Peak()
        threading.Thread(target=self._watch, daemon=True).start()

    def next(self) -> Peak:
        """End the current peak and start another; the one that has ended."""
        ended, self.current = self.current, Peak()
        return ended

    def _watch(self) -> None:
        while True:
            try:
                held = resident(self.pid, "RssAnon")
            except OSError:
                return
            self.current.n_bytes = max(self.current.n_bytes, held)
            time.sleep(0.02)
