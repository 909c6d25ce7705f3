"""Fixtures that several test files share."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import pytest_timeout
from reversal import reversal_recipe


def pytest_configure() -> None:
    # What a shell starts in its background ignores Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file may outgrow a number of bytes: the disk is full, for this process alone."""

    @contextmanager
    def limit(n_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # Without this the kernel would kill the process instead of failing the write.
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)

    return limit


@pytest.fixture(scope="session")
def reverser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that translates lines of letters into the same read backwards; read it only, or copy it."""
    from seq2seq.training import Request, train

    folder = tmp_path_factory.mktemp("reverser")
    for _ in train(Request(folder / "run", [reversal_recipe(folder)], device="cpu")):
        pass
    return folder / "run"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """pytest-timeout puts its clock away where a test fails; what is torn down may hang all the same."""
    item.config.hook.pytest_timeout_set_timer(item=item, settings=pytest_timeout._get_item_settings(item))
    return (yield)
