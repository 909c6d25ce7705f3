"""Parallel search: workers, each on one core.

The matrix products of a batch are too small to be divided over cores; several searches at once are faster. Workers are
processes, forked for one call: they share the model and the sources with their parent without a copy, send back their
results, and end. If processes cannot be forked, workers are threads. Threads wait for one another while Python works
between two products, which costs an eighth.
"""

import gc
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import wait
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from seq2seq.errors import ExitCode, UserError
from seq2seq.model import Decoder, Logits
from seq2seq.system.processes import ChildProcess, deferred_signals
from seq2seq.translation.tuning import MESSAGE_SECONDS

Item = TypeVar("Item")
Result = TypeVar("Result")
AnyDecoder = TypeVar("AnyDecoder", Decoder, None)
Search = Callable[[AnyDecoder, Iterator[Item]], Iterator[Result]]


def _use_one_thread() -> None:
    # A forked child does not have the threads that OpenMP started, and would wait for them forever.
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


class _Message(NamedTuple):
    """What a worker sends."""

    results: list[Any]
    error: Exception | None = None
    ended: bool = False


def map_parallel(
    n: int, search: Search[AnyDecoder, Item, Result], decoder: AnyDecoder, items: Sequence[Item]
) -> Iterator[Result]:
    """Run ``search`` over all items in parallel, and yield its results in the order in which they are found.

    Args:
        n: number of workers.
        search: called once in each worker, with the decoder and an iterator over the items of that worker.
        decoder: to search with; None: the work needs none.
        items: taken in order, each by the next worker that is free.

    Raises:
        UserError: a worker was killed (75).
    """
    # On other systems fork is missing, or libraries that PyTorch uses do not work after it.
    run = _in_processes if sys.platform == "linux" else _in_threads
    return run(n, search, decoder, items)


def _in_processes(
    n: int, search: Search[AnyDecoder, Item, Result], decoder: AnyDecoder, items: Sequence[Item]
) -> Iterator[Result]:
    context = multiprocessing.get_context("fork")
    workers: dict[Any, ChildProcess] = {}  # the process behind each connection

    def take(n_taken: Any) -> Iterator[Item]:
        while True:
            with n_taken.get_lock():
                i = n_taken.value
                n_taken.value += 1
            if i >= len(items):
                return
            yield items[i]

    try:
        # If the system has no room for more processes, or for a semaphore, those that have started do the work.
        with suppress(OSError, ImportError):
            n_taken = context.Value("q", 0)
            for _ in range(n):
                with deferred_signals():
                    ours, theirs = context.Pipe(duplex=False)
                    inherited = [*workers, ours]
                    workers[ours] = ChildProcess(
                        partial(_run_process, inherited, theirs.send, search, decoder, take(n_taken))
                    )
                    theirs.close()
        if not workers:
            yield from _in_threads(n, search, decoder, items)
        while workers:
            for connection in wait(list(workers)):
                message = _receive(connection)
                yield from message.results
                if message.error is not None:
                    raise message.error
                if message.ended:
                    workers.pop(connection).end()
    finally:
        with deferred_signals():  # a second Ctrl-C leaves no process behind either
            for process in workers.values():
                process.end()


def _run_process(inherited: list[Any], *args: Any) -> None:
    """The main function of a worker process."""
    # While this process holds the reading end of a pipe, it cannot notice that the parent is gone.
    for connection in inherited:
        connection.close()
    gc.disable()  # the process is short, and garbage collection costs 1%
    _run_worker(*args)


def _receive(connection: Any) -> _Message:
    try:
        message: _Message = connection.recv()
    except (EOFError, OSError):  # at the end of a message, or in the middle of one
        what, mend = "a worker process was killed", "free memory, or use fewer `workers`"
        raise UserError(what, mend=mend, code=ExitCode.TRY_LATER) from None
    return message


def _in_threads(
    n: int, search: Search[AnyDecoder, Item, Result], decoder: AnyDecoder, items: Sequence[Item]
) -> Iterator[Result]:
    messages: SimpleQueue[_Message] = SimpleQueue()
    waiting, lock, stopped = iter(items), threading.Lock(), threading.Event()

    def take() -> Iterator[Item]:
        while True:
            with lock:
                try:
                    one = next(waiting)
                except StopIteration:
                    return
            yield one

    stoppable = None if decoder is None else _Stoppable(decoder, stopped.is_set)
    threads = [threading.Thread(target=_run_worker, args=(messages.put, search, stoppable, take())) for _ in range(n)]
    cores = torch.get_num_threads()
    # Some of PyTorch's libraries have one setting for all threads of a process, not one for each.
    torch.set_num_threads(1)
    try:
        for thread in threads:
            thread.start()
        while n:
            message = messages.get()
            yield from message.results
            if message.error is not None:
                raise message.error
            n -= message.ended
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        torch.set_num_threads(cores)


def _run_worker(
    send: Callable[[_Message], None],
    search: Search[AnyDecoder, Item, Result],
    decoder: AnyDecoder,
    items: Iterator[Item],
) -> None:
    """Search until no item is left, and send results now and then."""
    torch.set_num_threads(1)
    results: list[Result] = []
    last = time.monotonic()
    with suppress(_Stopped, BrokenPipeError):  # the parent is gone
        try:
            for result in search(decoder, items):
                results.append(result)
                if time.monotonic() - last > MESSAGE_SECONDS:
                    send(_Message(results))
                    results, last = [], time.monotonic()
            send(_Message(results, ended=True))
        except Exception as error:
            send(_Message(results, error))


class _Stopped(BaseException):  # it is not an error
    """The results of a worker are no longer needed."""


class _Stoppable:
    """A decoder whose next step fails if its results are no longer needed."""

    def __init__(self, decoder: Decoder, stopped: Callable[[], bool]) -> None:
        self._decoder = decoder
        self._stopped = stopped
        self.start, self.reorder = decoder.start, decoder.reorder

    def step(self, tokens: Sequence[Tensor], states: Sequence[Any]) -> tuple[Sequence[Logits], Sequence[Any]]:
        """As the decoder's."""
        if self._stopped():
            raise _Stopped
        return self._decoder.step(tokens, states)
