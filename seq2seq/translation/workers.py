"""Workers that search side by side, each on one core.

A batch's products are too small to be shared out over cores with profit; several searches at once are not.
Workers are processes, forked for one call: they have the model and the sources without copying or reading
them, send back what they find, and are gone. Where processes cannot be forked, they are threads, which wait for
one another whenever Python is at work between two products: that costs an eighth.
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

Work = TypeVar("Work")
Result = TypeVar("Result")
Search = Callable[[Decoder, Iterator[Work]], Iterator[Result]]


def _use_one_thread() -> None:
    # A forked child does not have the threads that OpenMP started, and would wait for them forever.
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)

_EVERY = 0.1
"""Seconds between two messages of a worker."""


class _Message(NamedTuple):
    """What a worker sends."""

    results: list[Any]
    error: Exception | None = None
    ended: bool = False


def shared_out(n: int, search: Search[Work, Result], decoder: Decoder, work: Sequence[Work]) -> Iterator[Result]:
    """What ``search`` yields for all work, in the order in which it is found.

    Args:
        n: workers.
        search: called once in each worker, with the decoder and an iterator over its work.
        decoder: to search with.
        work: begun in order, each piece by the next worker that is free.

    Raises:
        UserError: a worker was killed (75).
    """
    # Elsewhere fork is missing, or what PyTorch builds on does not bear it.
    run = _in_processes if sys.platform == "linux" else _in_threads
    return run(n, search, decoder, work)


def _in_processes(n: int, search: Search[Work, Result], decoder: Decoder, work: Sequence[Work]) -> Iterator[Result]:
    context = multiprocessing.get_context("fork")
    workers: dict[Any, ChildProcess] = {}  # the process behind each connection

    def taken(n_taken: Any) -> Iterator[Work]:
        while True:
            with n_taken.get_lock():
                i = n_taken.value
                n_taken.value += 1
            if i >= len(work):
                return
            yield work[i]

    try:
        # Where the system gives no more processes, or no semaphore, those that are there do the work.
        with suppress(OSError, ImportError):
            n_taken = context.Value("q", 0)
            for _ in range(n):
                with deferred_signals():
                    ours, theirs = context.Pipe(duplex=False)
                    inherited = [*workers, ours]
                    workers[ours] = ChildProcess(
                        partial(_process, inherited, theirs.send, search, decoder, taken(n_taken))
                    )
                    theirs.close()
        if not workers:
            yield from _in_threads(n, search, decoder, work)
        while workers:
            for connection in wait(list(workers)):
                message = _received(connection)
                yield from message.results
                if message.error is not None:
                    raise message.error
                if message.ended:
                    workers.pop(connection).end()
    finally:
        with deferred_signals():  # who presses Ctrl-C twice leaves none behind either
            for process in workers.values():
                process.end()


def _process(inherited: list[Any], *args: Any) -> None:
    """What a worker process does."""
    # While this process itself can read from the pipe, it would never see that nobody else does.
    for connection in inherited:
        connection.close()
    gc.disable()  # its life is short, and looking for cycles costs it 1%
    _worker(*args)


def _received(connection: Any) -> _Message:
    try:
        message: _Message = connection.recv()
    except (EOFError, OSError):  # at the end of a message, or in the middle of one
        what, mend = "a worker process was killed", "free memory, or use fewer `workers`"
        raise UserError(what, mend=mend, code=ExitCode.TRY_LATER) from None
    return message


def _in_threads(n: int, search: Search[Work, Result], decoder: Decoder, work: Sequence[Work]) -> Iterator[Result]:
    messages: SimpleQueue[_Message] = SimpleQueue()
    waiting, lock, stopped = iter(work), threading.Lock(), threading.Event()

    def taken() -> Iterator[Work]:
        while True:
            with lock:
                try:
                    one = next(waiting)
                except StopIteration:
                    return
            yield one

    stoppable = _Stoppable(decoder, stopped.is_set)
    threads = [threading.Thread(target=_worker, args=(messages.put, search, stoppable, taken())) for _ in range(n)]
    cores = torch.get_num_threads()
    # Some of PyTorch's libraries have one count for all threads of a process, not one for each.
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


def _worker(
    send: Callable[[_Message], None], search: Search[Work, Result], decoder: Decoder, work: Iterator[Work]
) -> None:
    """What a worker does."""
    torch.set_num_threads(1)
    results: list[Result] = []
    last = time.monotonic()
    with suppress(_Stopped, BrokenPipeError):  # a parent that is gone hears nothing any more
        try:
            for result in search(decoder, work):
                results.append(result)
                if time.monotonic() - last > _EVERY:
                    send(_Message(results))
                    results, last = [], time.monotonic()
            send(_Message(results, ended=True))
        except Exception as error:
            send(_Message(results, error))


class _Stopped(BaseException):  # it is no error
    """The work of a worker is not wanted any more."""


class _Stoppable:
    """A decoder whose next step fails if its work is not wanted any more."""

    def __init__(self, decoder: Decoder, stopped: Callable[[], bool]) -> None:
        self._decoder = decoder
        self._stopped = stopped
        self.start, self.reorder = decoder.start, decoder.reorder

    def step(self, tokens: Sequence[Tensor], states: Sequence[Any]) -> tuple[Sequence[Logits], Sequence[Any]]:
        """As the decoder's."""
        if self._stopped():
            raise _Stopped
        return self._decoder.step(tokens, states)
