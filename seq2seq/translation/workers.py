"""Threads that search side by side, each doing its arithmetic alone.

A batch's products are too small to be shared out over cores with profit; several batches at once are
not. Threads do, as PyTorch lets go of Python while it computes: they start at once, share the weights,
and end with the program.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from seq2seq.decoding import Model

Input = TypeVar("Input")
Result = TypeVar("Result")


class Stopped(Exception):  # noqa: N818  # it is no error
    """The work of a thread is not wanted any more."""


class Workers:
    """Threads of one core each.

    Args:
        n: how many.
    """

    def __init__(self, n: int) -> None:
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(
            n, thread_name_prefix="search", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, work: Callable[[Model, Input], Result], model: Model, inputs: Sequence[Input]) -> Iterator[Result]:
        """What ``work`` makes of each input, in order; the inputs are begun in order too."""
        stoppable = _Stoppable(model, self._stopped)
        cores = torch.get_num_threads()
        # Some of PyTorch's libraries have one count for all threads of a process, not one for each.
        torch.set_num_threads(1)
        try:
            futures: list[Future[Result]] = [self._pool.submit(work, stoppable, i) for i in inputs]
            for future in futures:
                yield future.result()
        finally:
            torch.set_num_threads(cores)

    def close(self) -> None:
        """End the threads within a step of what they are at."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Stoppable:
    """A model whose next step never comes once its work is not wanted any more."""

    def __init__(self, model: Model, stopped: threading.Event) -> None:
        self._model = model
        self._stopped = stopped
        self.start, self.logits, self.pieces, self.reorder = model.start, model.logits, model.pieces, model.reorder

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """As the model's."""
        if self._stopped.is_set():
            raise Stopped
        return self._model.step(tokens, state)


def cores() -> int:
    """Cores that PyTorch would use and that this process may."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), allowed)
