"""Deferred signals, and forked processes that end with their parent."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from support.processes import is_running, state_of, until

from seq2seq.system.processes import ChildProcess, deferred_signals

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def wait() -> None:
    while True:
        time.sleep(1000)


TERMINATION_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Numbers of the handled signals."""
    numbers: list[int] = []
    before = {n: signal.signal(n, lambda number, frame: numbers.append(number)) for n in TERMINATION_SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("n_threads", [0, 1])
@pytest.mark.parametrize("number", TERMINATION_SIGNALS)
def test_a_signal_is_handled_after_the_body(handled, number, n_threads):
    """The system may deliver it to another thread."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    try:
        with deferred_signals():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert handled == []
        assert handled == [number]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    os.kill(os.getpid(), number)
    assert handled == [number, number]


def test_an_error_loses_no_signal(handled):
    def fail() -> None:
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        fail()
    assert handled == [signal.SIGTERM]


def test_all_handlers_are_restored_even_if_another_signal_raises(handled, monkeypatch):
    """Before Python changes a handler, it runs handlers of other signals."""
    set_handler, n_calls = signal.signal, 0

    def interrupted(number: int, handler: object) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == len(TERMINATION_SIGNALS) + 1:  # the first that is set back
            raise InterruptedError
        set_handler(number, handler)

    def nothing() -> None:
        with deferred_signals():
            pass

    before = [signal.getsignal(number) for number in TERMINATION_SIGNALS]
    monkeypatch.setattr(signal, "signal", interrupted)
    with pytest.raises(InterruptedError):
        nothing()
    monkeypatch.undo()
    assert [signal.getsignal(number) for number in TERMINATION_SIGNALS] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_a_process_ends_with_its_function(tmp_path):
    one = ChildProcess(lambda: (tmp_path / "here").touch())
    until(lambda: not is_running(one.pid))
    assert (tmp_path / "here").exists()
    one.end()
    assert state_of(one.pid) is None
    one.end()


def test_an_error_is_shown_and_ends_only_the_child(capfd):
    one = ChildProcess(lambda: 1 / 0)
    until(lambda: not is_running(one.pid))
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_it_ignores_signals_but_can_be_ended():
    one = ChildProcess(wait)
    for number in TERMINATION_SIGNALS:
        os.kill(one.pid, number)
    time.sleep(0.1)
    assert state_of(one.pid) in ("R", "S")
    one.end()
    assert state_of(one.pid) is None


def test_it_ends_with_its_object():
    one = ChildProcess(wait)
    pid = one.pid
    del one
    gc.collect()
    assert state_of(pid) is None


def test_another_ending_process_does_not_end_it():
    one = ChildProcess(wait)
    other = os.fork()
    if not other:
        one.end()
        os._exit(0)
    os.waitpid(other, 0)
    assert state_of(one.pid) in ("R", "S")
    one.end()


def test_a_signal_during_the_fork_is_not_lost(handled):
    """Python would lose a signal that it handles in logging's callback after a fork."""
    fork, forked = os.fork, []

    def interrupted() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        forked.append(fork())
        answered_meanwhile.extend(handled)
        return forked[0]

    answered_meanwhile: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fork", interrupted)
        one = ChildProcess(wait)
    assert answered_meanwhile == []
    assert handled == [signal.SIGTERM]
    assert state_of(one.pid) in ("R", "S")
    one.end()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit()", "os._exit(0)"])
def test_a_waiting_child_ends_with_its_parent(end):
    """Such as one that waits for a lock whose holder was killed."""
    program = f"""
import os, signal, sys, threading
from seq2seq.system.processes import ChildProcess
one = ChildProcess(lambda: threading.Lock().acquire() and signal.pause())
print(one.pid, flush=True)
{end}
"""
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    until(lambda: not is_running(int(ran.stdout)))
