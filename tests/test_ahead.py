"""Reading ahead: the same items, errors in their place, and a thread that leaves nothing behind."""

import threading
import time
from itertools import count, islice

import pytest

from seq2seq.training.ahead import read_ahead


class Source:
    """Numbers from 0; notes what happens."""

    def __init__(self, stop=None, error_at=None):
        self.made, self.threads, self.is_closed, self.error_at = 0, set(), False, error_at
        self.stop = stop

    def items(self):
        try:
            for i in count() if self.stop is None else range(self.stop):
                if i == self.error_at:
                    raise OSError("gone")
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield i
        finally:
            self.is_closed = True


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def wait_for(made, source):
    """Wait until a number of items is made, and a little longer: no more should be."""
    deadline = time.monotonic() + 30
    while source.made < made and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_up_to_n_items_are_made_before_they_are_requested(n):
    source = Source()
    items = read_ahead(source.items(), n)
    assert (source.made, readers()) == (0, []), "nothing happens before the first request: a process may be forked"
    for i in range(10):
        assert next(items) == i
        wait_for(i + 1 + n, source)
        assert source.made == i + 1 + n
    items.close()
    assert source.is_closed
    assert not readers()
    assert source.made == 10 + n
    assert {name.startswith("reader") for name in source.threads} == {n > 0}


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("stop", [0, 1, 3])
def test_items_end(n, stop):
    source = Source(stop)
    assert list(read_ahead(source.items(), n)) == list(range(stop))
    assert source.is_closed
    assert not readers()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_an_error_comes_after_the_items_before_it(n):
    source = Source(error_at=3)
    items = read_ahead(source.items(), n)
    assert list(islice(items, 3)) == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(items)
    assert source.is_closed
    assert not readers()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_of_the_caller_ends_the_thread(error):
    source = Source()
    items = read_ahead(source.items(), 2)
    next(items)
    with pytest.raises(error):
        items.throw(error)
    assert source.is_closed
    assert not readers()


def test_closing_waits_for_no_more_than_the_item_being_made():
    is_making, go_on = threading.Event(), threading.Event()
    made = []

    def items():
        for i in range(10):
            if i == 2:
                is_making.set()
                go_on.wait(30)
            made.append(i)
            yield i

    ahead = read_ahead(items(), 5)
    next(ahead)
    assert is_making.wait(30)
    threading.Timer(0.05, go_on.set).start()
    ahead.close()
    assert made == [0, 1, 2]
    assert not readers()


def test_nothing_is_left_of_a_generator_that_was_never_read():
    source = Source()
    read_ahead(source.items(), 2).close()
    assert (source.made, readers()) == (0, [])
