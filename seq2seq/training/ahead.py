"""Reading ahead: a thread makes the next items of a generator while the caller uses the last one."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Final, TypeVar

Item = TypeVar("Item")

_END: Final = object()


def read_ahead(items: Generator[Item, None, None], n: int) -> Generator[Item, None, None]:
    """The same items in the same order, of which up to ``n`` are made before they are requested.

    An exception comes after the items before it. The thread starts with the first request, so a process may be forked
    before that. It ends with the items, with an exception, and when this generator is closed, which waits only for the
    item that is being made. Then ``items`` is closed, too.

    Args:
        items: is used by the thread alone.
        n: 0: no thread, each item is made when it is requested.
    """
    with closing(items):
        if not n:
            yield from items
            return
        reader = ThreadPoolExecutor(1, "reader")
        try:
            ahead: deque[Future[Item | object]] = deque(reader.submit(next, items, _END) for _ in range(n))
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(reader.submit(next, items, _END))
                yield item  # type: ignore[misc]  # it is not the end
        finally:
            reader.shutdown(cancel_futures=True)
