"""CUDA graphs: work of fixed shape is recorded once, and replayed without Python."""

from collections.abc import Callable
from typing import Any

import torch


class Recorded:
    """Work that uses the same memory at each call: recorded once, then replayed. On a CPU it is just called.

    Args:
        work: waits for nobody, and changes only tensors that exist before it is recorded.
        device: where its tensors are.
        pool: of another recording, whose memory is used again; the two must not run at the same time.
    """

    def __init__(self, work: Callable[[], object], device: torch.device, pool: "Recorded | None" = None) -> None:
        self.work, self.device = work, device
        self._pool = pool
        self.graph: Any = None
        self.problem = "" if device.type == "cuda" else "no graphs on a CPU: called directly"
        """Why it is not replayed; empty: it is, or it has not been recorded yet."""

    def record(self, warm: int = 2) -> None:
        """Do the work ``warm`` times, which it needs, and record it. If it cannot be recorded, ``problem`` says why."""
        if self.device.type != "cuda":
            return
        # Libraries allocate at their first call, and autograd remembers streams: warm up on the stream that records.
        stream = side_stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(warm):
                self.work()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        torch.cuda.synchronize(self.device)
        graph = torch.cuda.CUDAGraph()
        pool = None if self._pool is None or self._pool.graph is None else self._pool.graph.pool()
        before = torch.cuda.current_stream(self.device)
        try:
            with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                self.work()
        except Exception as error:
            self.problem = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:120]}"
            return
        finally:
            torch.cuda.set_stream(before)  # a recording that fails leaves its own stream the current one
            torch.cuda.synchronize(self.device)
        self.graph = graph

    def __call__(self) -> None:
        """Do the work."""
        if self.graph is None:
            self.work()
        else:
            self.graph.replay()


_SIDE: dict[torch.device, Any] = {}


def side_stream(device: torch.device) -> Any:
    """The stream on which everything is recorded: recordings that share memory must share their stream."""
    if device not in _SIDE:
        _SIDE[device] = torch.cuda.Stream(device)
    return _SIDE[device]
