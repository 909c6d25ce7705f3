"""An update's pairs learnt by several processes at once: data parallelism on one machine's cores.

Splitting every operation among the cores makes them wait for each other thousands of times an update, and leaves all
but one idle in what cannot be split. Here each core works alone, on pairs of its own, and they meet once an update, to
add up their gradients.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from mmap import mmap
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from seq2seq.device import cores
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.system.processes import ChildProcess

_FEWEST_TOKENS = 256
"""Target tokens of an update for each replica: the products of fewer are slow."""
_ALIGNED = 64
"""Bytes: where vector instructions like their numbers to begin."""
_PATIENCE = 0.5
"""Seconds of asking for a message before sleeping until it comes."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def n_replicas(device: torch.device, n_rows: int) -> int:
    """How many replicas an update is worth: one a core on a CPU, if each has enough to do; elsewhere one.

    Args:
        device: that learns.
        n_rows: target tokens of an update, under each mask.
    """
    # Processes that PyTorch works in can be forked on Linux alone, and not where it holds an accelerator.
    if device.type != "cpu" or sys.platform != "linux" or torch.accelerator.is_available():
        return 1
    return max(1, min(cores(), n_rows // _FEWEST_TOKENS))


class Replicas(Generic[Task, Result]):
    """A model in this process, and in others that see its weights and have gradients of their own.

    Entering the context forks them, leaving it ends them, as does the end of the thread that entered. Outside of it
    there is one, and inside, too, where the system has no room for more.

    Args:
        model: on a CPU if ``n`` is more than 1. Its weights are moved to memory that processes share, where they must
            stay: change them in place.
        learn: adds to the gradients of ``model``. Other processes know what it knew when they were forked. Tasks and
            results should hold no tensors, each of which would be laid in a file of its own.
        n: how many in all.
    """

    def __init__(self, model: nn.Module, learn: Callable[[Task], Result], n: int) -> None:
        self._parameters = list(model.parameters())
        self._learn = learn
        self._n = n
        self._others: list[_Process[Task, Result]] = []

    def __enter__(self) -> "Replicas[Task, Result]":
        with contextlib.suppress(OSError):
            if self._n > 1:
                for parameter, shared in zip(self._parameters, _shared_like(self._parameters), strict=True):
                    parameter.data = shared.copy_(parameter.data)
            while len(self) < self._n:
                self._others.append(_Process(self._parameters, self._learn, self._others))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the other processes; one replica is left."""
        while self._others:
            self._others.pop().end()

    def __len__(self) -> int:
        return 1 + len(self._others)

    @contextlib.contextmanager
    def one_core_each(self) -> Iterator[None]:
        """While it lasts, this process uses one core, as the others always do; all of them if there is no other."""
        if not self._others:
            yield
            return
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)

    def run(self, tasks: Sequence[Task]) -> list[Result]:
        """Have each task learnt by another replica, all at once, and add their gradients to the model's own.

        Args:
            tasks: as many as there are replicas, or fewer.

        Raises:
            UserError: a process was killed (75); one replica is left.
            Exception: what ``learn`` raised in the first of them that failed, once all are done.
        """
        if len(tasks) == 1:
            return [self._learn(tasks[0])]
        busy = self._others[: len(tasks) - 1]
        try:
            for other, task in zip(busy, tasks[1:], strict=True):
                other.begin(task)
            mine = _attempt(self._learn, tasks[0])
            answers = [mine, *(other.answer() for other in busy)]
        except BaseException:
            self.close()  # their answers would be taken for those to the next update
            raise
        results = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            results.append(answer)
        for other in busy:
            for parameter, gradient in zip(self._parameters, other.gradients, strict=True):
                parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.add_(gradient)
        return results


class _Process(Generic[Task, Result]):
    """A replica in a process of its own."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        learn: Callable[[Task], Result],
        elder: "Sequence[_Process[Task, Result]]",
    ) -> None:
        self.gradients = _shared_like(parameters)
        self._connection, theirs = Pipe()
        # While the child itself has our ends, it would never see that its parent is gone.
        ours = [*(other._connection for other in elder), self._connection]
        # It is the parent that decides when to stop, and needs the answer of this update until then.
        self._process = ChildProcess(partial(_serve, theirs, ours, parameters, self.gradients, learn))
        self.pid, self.end = self._process.pid, self._process.end
        theirs.close()

    def begin(self, task: Task) -> None:
        """Set it to work."""
        with contextlib.suppress(OSError):  # found out when no answer comes
            self._connection.send(task)

    def answer(self) -> Result | Exception:
        """What came of it: a result, or an error.

        Raises:
            UserError: it was killed (75).
        """
        try:
            answer: Result | Exception = _awake(self._connection).recv()
        except (EOFError, OSError):
            what = "a process that trains was killed"
            mend = "free memory, or set OMP_NUM_THREADS=1 to train in one, and give the same command again"
            raise UserError(what, mend=mend, code=ExitCode.TRY_LATER) from None
        return answer


def _serve(
    connection: Connection,
    ours: Sequence[Connection],
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor],
    learn: Callable[[Task], Result],
) -> None:
    """What the process does until its parent closes the connection."""
    for other in ours:
        other.close()
    torch.set_num_threads(1)
    keep_freed_memory()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    with contextlib.suppress(EOFError, OSError):
        while True:
            task = _awake(connection).recv()
            for gradient in gradients:
                gradient.zero_()
            connection.send(_attempt(learn, task))


def _attempt(learn: Callable[[Task], Result], task: Task) -> Result | Exception:
    """What comes of a task; of an error without what it held, which may be all that memory ran out for."""
    try:
        return learn(task)
    except Exception as error:
        error.add_note(traceback.format_exc())
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


def _awake(connection: Connection) -> Connection:
    """Wait for a message without going to sleep, unless it takes long: waking up a core can cost more than waiting."""
    patience = time.monotonic() + _PATIENCE
    while not connection.poll(0) and time.monotonic() < patience:
        os.sched_yield()  # whoever has work to do goes first
    return connection


def _shared_like(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Zeros of the same shapes in memory that forked processes share."""
    starts, size = [], 0
    for parameter in parameters:
        starts.append(size)
        size += -(-parameter.nbytes // _ALIGNED) * _ALIGNED
    memory = mmap(-1, size)
    return [
        torch.frombuffer(memory, dtype=p.dtype, count=p.numel(), offset=start).view(p.shape)
        for p, start in zip(parameters, starts, strict=True)
    ]
