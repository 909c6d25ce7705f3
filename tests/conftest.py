"""Fixtures that several test files share."""

import fcntl
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_timeout
from reversal import reversal_recipe
from support.cli import Cli, Outcome

# One thread for each test process and for every process it starts, so that two test processes fill two cores. It is
# set here, before torch is imported, which reads it once. A test of several workers asks for them explicitly.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure() -> None:
    # A process in the background of a shell ignores Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def flushing() -> Iterator[Callable[[int], None]]:
    """The real ``os.fsync``. Tests run without it: no test needs it, and flushing takes minutes."""
    real = os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: os.fstat(file if isinstance(file, int) else file.fileno()) and None)
        yield real


@pytest.fixture
def real_fsync(flushing: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of flushing."""
    monkeypatch.setattr(os, "fsync", flushing)


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """A context with a max file size for this process, which then finds the disk full."""

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


@pytest.fixture(scope="session", autouse=True)
def trained_tokenizers() -> Iterator[None]:
    """Each tokenizer is trained only once, as the same text and settings give the same model.

    Training one starts an interpreter, which takes longer than a tiny model's whole training.
    """
    prepare = sys.modules.get("seq2seq.training.prepare")
    if prepare is None:  # no test of this session trains in this process
        yield
        return
    real = prepare.train_tokenizer
    models: dict[object, tuple[bytes, int]] = {}

    def train(sample: Path, model: Path, **settings: object) -> int:
        key = sha256(sample.read_bytes()).digest(), *sorted(settings.items())
        if key in models:
            with suppress(OSError):  # as a full disk, which the real one reports in its own way
                model.write_bytes(models[key][0])
                return models[key][1]
        size = real(sample, model, **settings)
        models[key] = model.read_bytes(), size
        return size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "train_tokenizer", train)
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch has two threads, as on two cores: for tests of code that distributes threads or keeps their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command line in this process."""
    from seq2seq.cli import main

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["seq2seq", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        return Outcome(int(left.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def reverser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reverses lines of letters. Read it only, or copy it.

    Several test processes share one, which the first that needs it trains.
    """
    from seq2seq.training import Request, train

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reverser"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            for _ in train(Request(folder / "run", [reversal_recipe(folder)], device="cpu")):
                pass
            (folder / "done").touch()
    return folder / "run"


@pytest.fixture(scope="session")
def reverser_with_shortlist(reverser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reverser's run, which learned a shortlist after it was finished. Read it only."""
    from seq2seq.training import Request, train

    folder = tmp_path_factory.mktemp("shortlist")
    shutil.copytree(reverser, folder / "run")
    request = Request(folder / "run", [reversal_recipe(folder), {"decoding": {"shortlist": 8}}], device="cpu")
    for _ in train(request):
        pass
    return folder / "run"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """pytest-timeout puts its clock away where a test fails; what is torn down may hang all the same."""
    item.config.hook.pytest_timeout_set_timer(item=item, settings=pytest_timeout._get_item_settings(item))
    return (yield)
