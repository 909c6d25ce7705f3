"""Worker processes that search beside each other, one thread each."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.transformer import Transformer
from seq2seq.translation.batches import Ids, search_batch
from seq2seq.translation.loading import load_model, read_run

# What a worker process searches with, loaded when the process starts.
_model: Transformer | None = None
_config: DecodingConfig | None = None


def start_pool(workers: int, run: Path, config: DecodingConfig) -> ProcessPoolExecutor:
    """Processes that each load the model of ``run``, once they are needed."""
    # A file pickle.py in the folder the user is in must not be taken for the library's.
    os.environ["PYTHONSAFEPATH"] = "1"
    # Not fork: a forked child inherits PyTorch's threads as locks that nobody holds.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(run, config))


def end_pool(pool: ProcessPoolExecutor) -> None:
    """End the processes at once, whatever they are at."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def search_in_pool(pool: ProcessPoolExecutor, inputs: list[list[Ids]]) -> Iterator[list[list[Hypothesis]]]:
    """The hypotheses of each batch, in order.

    Raises:
        UserError: a worker was killed (75).
    """
    try:
        yield from _map(pool, inputs)
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed",
            mend="free memory or use fewer --workers",
            code=ExitCode.TRY_LATER,
        ) from None


def _map(pool: ProcessPoolExecutor, inputs: list[list[Ids]]) -> Iterator[list[list[Hypothesis]]]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        return pool.map(_search, inputs)
    # Ctrl-C reaches the whole process group: a worker is born deaf to it, as the parent decides what
    # becomes of the work.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.map(_search, inputs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _start_worker(run: Path, config: DecodingConfig) -> None:
    global _model, _config
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _model, _config = load_model(run, *read_run(run)), config


def _search(units: list[Ids]) -> list[list[Hypothesis]]:
    assert _model is not None
    assert _config is not None
    return search_batch(_model, units, _config)
