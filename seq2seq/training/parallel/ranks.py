"""Ranks: the processes that ``torchrun`` starts, on one machine or on several, to train one model together.

Every rank runs the whole program and has the same state after each update. What may differ between ranks is agreed on
here: rank 0 alone works on the disk (``first``) and has the clock (``now``), and a signal at one rank counts for all
(``stop``). Ranks exchange words as JSON by torchrun's own store, which needs no network but torchrun's. Gradients have
their own way (``torchrun.py``), and take signals and clock with them.
"""

import contextlib
import functools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from torch.distributed.distributed_c10d import PrefixStore, is_torchelastic_launched
from torch.distributed.rendezvous import rendezvous

from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.system.processes import TERMINATION_SIGNALS
from seq2seq.training.tuning import BEAT_SECONDS, JOIN_SECONDS, MAX_SILENCE

Value = TypeVar("Value")
StopSignal = Callable[[], int | None]
"""The number of the signal that requests this process to stop, if one has arrived."""
_LAST_PAUSE = 0.05
"""Seconds between two looks for the words of other ranks; the first ones are shorter."""


class Stopped(Exception):  # noqa: N818  # it is not an error
    """A signal interrupted work whose result is no longer needed."""


class RankEnded(SystemExit):
    """Another rank has ended and has reported why: this one ends with the same exit code, and reports nothing."""


class Ranks:
    """This process and the others that train the same model; or this one alone.

    A method that exchanges words must be called by all ranks, in the same order. Enter the context before the first
    call: if one rank fails, the others end too.

    Args:
        stop: returns the signal that this process has received.
        rank: number of this process, from 0.
        n: number of all.
        store: holds the words; None if there is one rank.
    """

    def __init__(self, stop: StopSignal = lambda: None, rank: int = 0, n: int = 1, store: Any = None) -> None:
        self.rank, self.n, self.store = rank, n, store
        self._own_signal = stop
        self._signal: int | None = None
        self._began = self._now = 0.0
        self._n_exchanges = 0
        self._leaving = threading.Event()
        self._is_first_to_fail: bool | None = None
        """None: this rank has not failed."""

    def __enter__(self) -> Self:
        if self.n > 1:
            self._began = time.monotonic()
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leaving.set()
        if self.n == 1 or error is None or isinstance(error, RankEnded):
            return
        first_code = self.fail(error)
        # One error often makes others: only the first is reported.
        if first_code is not None and isinstance(error, Exception | Interrupted):
            raise RankEnded(first_code) from None

    def fail(self, error: BaseException) -> int | None:
        """Tell the other ranks that this one ends. Call it before they can notice that by themselves.

        Returns:
            The exit code of the rank that failed before this one; None: this one is the first.
        """
        with contextlib.suppress(RuntimeError):  # torchrun has ended
            if self._is_first_to_fail is None:
                self._is_first_to_fail = self.store.add("errors", 1) == 1
                if self._is_first_to_fail:
                    self.store.set("ended", str(_exit_code(error)))
            if not self._is_first_to_fail:
                return int(self.store.get("ended"))
        return None

    # ------------------------------------------------------------------ what all ranks agree on

    @property
    def part(self) -> slice:
        """This rank's part of a sequence: every n-th item."""
        return slice(self.rank, None, self.n)

    def now(self) -> float:
        """Rank 0's clock in seconds, when the ranks last exchanged something; if there is one rank, just now."""
        return time.monotonic() if self.n == 1 else self._now

    def stop(self) -> int | None:
        """The signal that requests all ranks to stop, if any has received one. The same for all."""
        return self._own_signal() if self.n == 1 else self._signal

    def stop_here(self) -> int | None:
        """The signal that this rank has received; to give up work inside ``gather``."""
        return self._own_signal()

    def numbers(self) -> list[float]:
        """What ``hear`` needs, to be summed over all ranks: which signals have arrived, and rank 0's clock."""
        signal = self._own_signal()
        # Two numbers for the clock: the message may be fp32.
        whole, part = divmod(time.monotonic() - self._began, 1.0) if self.rank == 0 else (0.0, 0.0)
        return [*(float(signal == number) for number in TERMINATION_SIGNALS), whole, part]

    def hear(self, numbers: Sequence[float]) -> None:
        """Learn what all ranks have received, and the time: the sums of all ranks' ``numbers``."""
        *signals, whole, part = numbers
        for number, times in zip(TERMINATION_SIGNALS, signals, strict=True):
            if times and self._signal is None:
                self._signal = number
        self._now = max(self._now, whole + part)

    # ------------------------------------------------------------------ exchange of words

    def gather(self, work: Callable[[], Any]) -> list[Any]:
        """Each rank does some work; all get the results of all, in the order of ranks, as JSON returns them.

        It waits for the others as long as they work, and not for ranks that have ended. If there is one rank, its
        result is returned as it is.

        Raises:
            Stopped: the work of a rank raised this.
            RankEnded: another rank has failed.
            UserError: another rank does not answer (75).
        """
        if self.n == 1:
            return [work()]
        result, is_stopped = None, False
        try:
            result = work()
        except Stopped:
            is_stopped = True
        self._n_exchanges += 1
        name = f"words-{self._n_exchanges}"
        try:
            self.store.set(f"{name}/{self.rank}", json.dumps([result, is_stopped, self.numbers()], default=str))
            keys = [f"{name}/{rank}" for rank in range(self.n)]
            self._wait(keys)
            answers = [json.loads(words) for words in self.store.multi_get(keys)]
            # All have answered, so all have read the exchange before.
            self.store.delete_key(f"words-{self._n_exchanges - 1}/{self.rank}")
        except RuntimeError as error:
            raise lost() from error
        self.hear([sum(column) for column in zip(*(numbers for _, _, numbers in answers), strict=True)])
        if any(was_stopped for _, was_stopped, _ in answers):
            raise Stopped
        return [result for result, _, _ in answers]

    def first(self, work: Callable[[], Any]) -> Any:
        """Rank 0 does some work, such as writing to the disk; all wait for it and get its result, as ``gather``."""
        return self.gather(lambda: work() if self.rank == 0 else None)[0]

    def together(self, work: Callable[[], Value]) -> Value:
        """Each rank does some work and gets its own result, if no rank has failed. Raises as ``gather``."""
        results: list[Value] = []
        self.gather(lambda: results.append(work()))
        return results[0]

    def require_alike(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Refuse to train if ranks disagree.

        Args:
            facts: returns this rank's by name; not called if there is one. None: it does not know, and accepts any.

        Raises:
            UserError: a rank has another value than rank 0 (78). On the other ranks it is a ``RankEnded``.
        """
        if self.n == 1:
            return
        of_first, *others = self.gather(facts)
        for rank, others_facts in enumerate(others, 1):
            for name, value in of_first.items():
                other = others_facts.get(name)
                if None not in (value, other) and value != other:
                    if self.rank:
                        raise RankEnded(ExitCode.REFUSED)
                    raise UserError(
                        f"rank {rank} has another {name} than rank 0: {_short(other)} instead of {_short(value)}",
                        mend="start all ranks with the same command, the same versions and one run folder that all see",
                        code=ExitCode.REFUSED,
                    )

    def _wait(self, keys: list[str]) -> None:
        """Wait until all ranks have answered, as long as they live."""
        pause, looked = 0.001, time.monotonic()
        beats: list[int] = []
        changed = [looked] * self.n
        while not self.store.check(keys):
            if self.store.check(["ended"]):
                raise RankEnded(int(self.store.get("ended")))
            if time.monotonic() - looked > BEAT_SECONDS:
                looked = time.monotonic()
                before, beats = beats, [self.store.add(f"beats/{rank}", 0) for rank in range(self.n)]
                changed = [looked if [n] != before[i : i + 1] else changed[i] for i, n in enumerate(beats)]
                # If one was killed, torchrun sends the others a signal, and soon kills them too.
                limit = MAX_SILENCE if self._own_signal() is None else MAX_SILENCE / 5
                silent = [rank for rank in range(self.n) if looked - changed[rank] > limit]
                if silent:
                    raise lost(f"rank {silent[0]} has not answered for {limit:.0f} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _LAST_PAUSE)

    def _beat(self) -> None:
        """The heartbeat, by which the others know that this process lives. If torchrun dies, this process ends too."""
        while not self._leaving.wait(BEAT_SECONDS):
            try:
                self.store.add(f"beats/{self.rank}", 1)
            except RuntimeError:
                if not self._leaving.is_set():
                    os.kill(os.getpid(), TERMINATION_SIGNALS[1])  # as torchrun itself ends its processes
                return


def lost(who: str = "another process of this training has ended") -> UserError:
    """The error of a rank that others have left."""
    return UserError(
        who,
        mend="give the same command again, which resumes; torchrun does so itself with --max-restarts",
        code=ExitCode.TRY_LATER,
    )


def _exit_code(error: BaseException) -> int:
    if isinstance(error, Interrupted):
        return 128 + error.signal_number
    return error.code if isinstance(error, UserError) else ExitCode.BUG


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


# torchrun ---------------------------------------------------------------------------------------------------------


def rank_of_environment() -> int:
    """The number of this process among those that torchrun started; 0 if it did not start it."""
    return int(os.environ.get("RANK", "0")) if is_torchelastic_launched() else 0


def join_ranks(stop: StopSignal) -> Ranks:
    """The ranks that torchrun started this process with; or this one alone.

    Args:
        stop: returns the signal that this process has received.

    Raises:
        UserError: torchrun does not answer (75).
    """
    if not is_torchelastic_launched() or os.environ.get("WORLD_SIZE", "1") == "1":
        return Ranks(stop)
    try:
        store, rank, n = _store()
        return Ranks(stop, rank, n, PrefixStore(_agreed_name(store, rank, n), store))
    except RuntimeError as error:
        raise lost() from error


def _agreed_name(store: Any, rank: int, n: int) -> str:
    """The name of this training, new for all ranks: if torchrun restarts them, its store still has their old words.

    Rank 0 makes the name, and publishes it with the random words by which all others have introduced themselves. A rank
    that finds its own word there knows that the name is of this start.
    """
    own, words = secrets.token_hex(8), [f"word/{other}" for other in range(1, n)]
    joined = [f"{own}/joined/{other}" for other in range(1, n)]
    if rank:
        store.set(f"word/{rank}", own)
    deadline = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < deadline:
        if not rank and store.check(words):
            store.set("name", " ".join([own, *(word.decode() for word in store.multi_get(words))]))
            if store.check(joined):
                return own
        elif rank and store.check(["name"]):
            name, *others = store.get("name").decode().split()
            if own in others:
                store.set(f"{name}/joined/{rank}", "")
                return str(name)
        time.sleep(_LAST_PAUSE / 5)
    raise lost(f"not all {n} processes of this training have started within {JOIN_SECONDS:.0f} s")


@functools.cache
def _store() -> tuple[Any, int, int]:
    """torchrun's store, rank, and number of ranks."""
    store, rank, n = next(rendezvous("env://", timeout=timedelta(seconds=MAX_SILENCE)))
    return store, rank, n
