"""Several forked processes share an update: data parallelism over the cores of one machine.

If threads share every operation, they wait for each other thousands of times an update, and only one of them works in
parts that cannot be divided. Here each core makes the passes of its own pairs. They synchronize once an update, to sum
their gradients in shared memory.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from multiprocessing.connection import Connection, Pipe
from operator import add
from types import TracebackType
from typing import Generic

import torch
from torch import Tensor

from seq2seq.device import cores
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.system.processes import ChildProcess
from seq2seq.training.parallel.base import Result, Shard
from seq2seq.training.tuning import MIN_REPLICA_TOKENS, SPIN_SECONDS
from seq2seq.training.weights import FlatWeights, shared_zeros


def n_replicas(device: torch.device, n_rows: int) -> int:
    """The number of replicas for an update: one for each core of a CPU, if each has enough to do; elsewhere one.

    Args:
        device: where the model is.
        n_rows: target tokens of an update, times the forward passes of each.
    """
    # A process in which PyTorch works can be forked on Linux only, and only if it holds no accelerator.
    if device.type != "cpu" or sys.platform != "linux" or torch.accelerator.is_available():
        return 1
    return max(1, min(cores(), n_rows // MIN_REPLICA_TOKENS))


class ForkedReplicas(Generic[Shard, Result]):
    """A model in this process, and in others that see its weights and have gradients of their own.

    Entering the context forks them. Leaving it ends them, and so does the end of the thread that entered. Outside of
    it there is one replica, and inside too if the system has no room for more.

    Args:
        weights: on a CPU if ``n`` is more than 1. They are moved to memory that processes share.
        forward_backward: makes the passes of a shard, and adds to the gradient of ``weights``. Other processes know
            what it knew when they were forked. Shards and results should hold no tensors: each would be sent as a file.
        n: how many replicas in all.
    """

    def __init__(self, weights: FlatWeights, forward_backward: Callable[[Shard], Result], n: int) -> None:
        self._weights = weights
        self._forward_backward = forward_backward
        self._n = n
        self._others: list[_Process[Shard, Result]] = []

    def __enter__(self) -> "ForkedReplicas[Shard, Result]":
        with contextlib.suppress(OSError):
            if self._n > 1:
                self._weights.share()
            while len(self) < self._n:
                self._others.append(_Process(self._weights, self._forward_backward, self._others))
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
        """A context in which this process uses one core, as the others always do; all cores if there is no other."""
        if not self._others:
            yield
            return
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)

    def forward_backward(self, shards: Sequence[Shard]) -> Result:
        """Give each replica a shard, and add the gradients of all to that of the weights.

        Args:
            shards: up to as many as there are replicas.

        Returns:
            The sum of the results.

        Raises:
            UserError: a process was killed (75); one replica is left.
            Exception: what ``forward_backward`` raised in the first replica that failed, once all are done.
        """
        if len(shards) == 1:
            return self._forward_backward(shards[0])
        busy = self._others[: len(shards) - 1]
        try:
            for other, shard in zip(busy, shards[1:], strict=True):
                other.send(shard)
            own = _attempt(self._forward_backward, shards[0])
            answers = [own, *(other.receive() for other in busy)]
        except BaseException:
            self.close()  # otherwise their answers would be read as those of the next update
            raise
        results = []
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            results.append(answer)
        for other in busy:
            self._weights.gradient += other.gradient
        return reduce(add, results)


class _Process(Generic[Shard, Result]):
    """A replica in another process."""

    def __init__(
        self,
        weights: FlatWeights,
        forward_backward: Callable[[Shard], Result],
        earlier: "Sequence[_Process[Shard, Result]]",
    ) -> None:
        self.gradient = shared_zeros(len(weights), weights.gradient.dtype)
        self._connection, theirs = Pipe()
        # The child closes our ends: while it holds them, it would not notice that its parent is gone.
        ours = [*(other._connection for other in earlier), self._connection]
        # The parent decides when to stop, and needs the answer of this update until then.
        self._process = ChildProcess(partial(_serve, theirs, ours, weights, self.gradient, forward_backward))
        self.pid, self.end = self._process.pid, self._process.end
        theirs.close()

    def send(self, shard: Shard) -> None:
        """Start the passes of a shard."""
        with contextlib.suppress(OSError):  # noticed when no answer comes
            self._connection.send(shard)

    def receive(self) -> Result | Exception:
        """Wait for the result, or the error.

        Raises:
            UserError: it was killed (75).
        """
        try:
            answer: Result | Exception = _wait(self._connection).recv()
        except (EOFError, OSError):
            what = "a process that trains was killed"
            mend = "free memory, or set OMP_NUM_THREADS=1 to train in one, and give the same command again"
            raise UserError(what, mend=mend, code=ExitCode.TRY_LATER) from None
        return answer


def _serve(
    connection: Connection,
    ours: Sequence[Connection],
    weights: FlatWeights,
    gradient: Tensor,
    forward_backward: Callable[[Shard], Result],
) -> None:
    """The main function of the process, until its parent closes the connection."""
    for other in ours:
        other.close()
    torch.set_num_threads(1)
    keep_freed_memory()
    weights.use_gradient(gradient)
    with contextlib.suppress(EOFError, OSError):
        while True:
            shard = _wait(connection).recv()
            gradient.zero_()
            connection.send(_attempt(forward_backward, shard))


def _attempt(forward_backward: Callable[[Shard], Result], shard: Shard) -> Result | Exception:
    """The result of a shard, or its error.

    The error holds no frame of the failed call, so that its tensors are freed: memory may have run out.
    """
    try:
        return forward_backward(shard)
    except Exception as error:
        error.add_note(traceback.format_exc())
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)


def _wait(connection: Connection) -> Connection:
    """Wait for a message, at first without sleeping: waking a core can cost more than waiting."""
    deadline = time.monotonic() + SPIN_SECONDS
    while not connection.poll(0) and time.monotonic() < deadline:
        os.sched_yield()  # lets a process that has work go first
    return connection
