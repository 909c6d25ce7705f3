"""Ranks for tests: forked processes with the environment that torchrun gives its own; this process holds the store."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed import TCPStore


@contextmanager
def started_ranks(n: int, work: Callable[[int], int], log: Path) -> Iterator[list[int]]:
    """Fork ranks that train together. They are killed at the end of the context, if they have not ended.

    Args:
        n: how many.
        work: called in each with its rank; returns its exit code.
        log: gets what they print.

    Yields:
        Their process ids.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(n)}
    environment |= {"LOCAL_WORLD_SIZE": str(n), "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": "test"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"}
    pids: list[int] = []
    try:
        for rank in range(n):
            pid = os.fork()
            if not pid:
                _run(rank, environment, work, log)
            pids.append(pid)
        yield pids
    finally:
        for pid in pids:
            ended(pid, kill=True)


def _run(rank: int, environment: dict[str, str], work: Callable[[int], int], log: Path) -> None:
    """The forked process."""
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        torch.set_num_threads(1)
        code = work(rank)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


_codes: dict[int, int] = {}


def ended(pid: int, *, kill: bool = False) -> int:
    """The exit code of a rank, once it has ended; negative: the signal that killed it."""
    if pid not in _codes:
        if kill:
            os.kill(pid, 9)
        _codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return _codes[pid]
