"""Forked processes: signals that wait, and an end with the parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from seq2seq.forking import end_with, signals_held_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def state_of(pid: int) -> str | None:
    """R, S, Z and so on; None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


TO_END = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def told() -> Iterator[list[int]]:
    """Numbers of the signals that were answered."""
    numbers: list[int] = []
    before = {n: signal.signal(n, lambda number, frame: numbers.append(number)) for n in TO_END}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("n_threads", [0, 1])
@pytest.mark.parametrize("number", TO_END)
def test_a_signal_is_answered_when_all_is_done(told, number, n_threads):
    """The system may choose another thread to hear it."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        with signals_held_back():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert told == []
        assert told == [number]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    os.kill(os.getpid(), number)
    assert told == [number, number]


def test_an_error_takes_no_signal_with_it(told):
    def fail() -> None:
        with signals_held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert told == [signal.SIGTERM]


def test_a_process_forked_meanwhile_hears_none(told):
    with signals_held_back():
        pid = os.fork()
        if not pid:
            for number in TO_END:
                os.kill(os.getpid(), number)
            os._exit(7 + len(told))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert told == []


def test_a_process_that_waits_for_ever_ends_with_its_parent():
    """As one that waits for a lock whose holder was killed: it looks at nothing any more."""
    program = """
import os, signal, time
from seq2seq.forking import end_with
parent = os.getpid()
pid = os.fork()
if not pid:
    end_with(parent)
    print(os.getpid(), flush=True)
    while True:
        time.sleep(1000)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        try:
            child = int(parent.stdout.readline())
            assert state_of(child) in ("R", "S")
        finally:
            parent.kill()
    deadline = time.monotonic() + 20
    while state_of(child) not in (None, "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_whose_parent_is_gone_already_ends_at_once():
    pid = os.fork()
    if not pid:
        end_with(parent=-1)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
