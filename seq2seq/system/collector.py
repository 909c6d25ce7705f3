"""Python's garbage collector: it runs rarely while many objects are made that stay for a while.

It starts after every 700 new objects by default, and now and then it visits all that are alive. If thousands of
hypotheses are made, this takes a third of Python's time, and finds nothing: they hold no reference cycles.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Final

NEW_OBJECTS: Final = 100_000
"""New objects after which the collector starts in ``rare_collections``. What cycles of other code hold until then is
little, and a fifteenth of the collector's time is left. Lab notes, "The collector"."""

_lock = threading.Lock()
_n_inside = 0
_before = gc.get_threshold()


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """A context, or a decorator of a function, in which the garbage collector runs rarely, in all threads.

    Contexts may be nested or overlap; the caller's thresholds come back with the end of the last one. It does not
    switch the collector off, so a generator that is suspended inside of it does no harm: garbage is still found.
    Nothing changes if the caller's thresholds are higher, or if the collector is off.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _n_inside, _before  # the collector has one setting for the process
    with _lock:
        if not _n_inside:
            _before = gc.get_threshold()
            if 0 < _before[0] < NEW_OBJECTS:
                gc.set_threshold(NEW_OBJECTS, *_before[1:])
        _n_inside += 1


def _leave() -> None:
    global _n_inside
    with _lock:
        _n_inside -= 1
        # If somebody has set other thresholds meanwhile, they stay.
        if not _n_inside and gc.get_threshold() == (NEW_OBJECTS, *_before[1:]):
            gc.set_threshold(*_before)
