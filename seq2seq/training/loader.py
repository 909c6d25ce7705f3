"""What each update learns from: pairs as the store has their ids, or their text divided anew."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from seq2seq.batching import Ids, Pool, derived_seed, epoch_pools, micro_batches
from seq2seq.config import RunConfig
from seq2seq.corpus import IdsStore
from seq2seq.tokenizer import UNK, Tokenizer

_DRAWN_AT_ONCE = 1024
"""Pairs that are divided anew in one call, which returns Python's own numbers."""
_HEARING = 0.2
"""Seconds between two checks while text is waited for."""


@dataclass(frozen=True)
class Portion:
    """The pairs of one update, as piece ids without BOS and EOS."""

    src: Sequence[Ids]
    tgt: Sequence[Ids]

    def __len__(self) -> int:
        """Pairs."""
        return len(self.tgt)

    @property
    def n_tgt_tokens(self) -> int:
        """Target tokens, EOS included."""
        return sum(map(len, self.tgt)) + len(self.tgt)

    def parts(self, *, most: int) -> "Iterator[Portion]":
        """The same in parts whose padded side holds at most ``most`` tokens, one pair at least."""
        src, tgt = (np.fromiter(map(len, side), np.int32, len(self)) for side in (self.src, self.tgt))
        for part in micro_batches(np.arange(len(self), dtype=np.uint32), src, tgt, most=most):
            yield Portion([self.src[i] for i in part], [self.tgt[i] for i in part])

    def shares(self, n: int) -> "list[Portion]":
        """Every n-th pair each, so that they have like lengths; fewer shares where there are not as many pairs."""
        return [Portion(self.src[i::n], self.tgt[i::n]) for i in range(min(n, len(self)))]


@dataclass(frozen=True)
class _Place:
    """Where in the training a pool stands."""

    epoch: int
    before: int
    """Updates of the epoch before this pool's."""
    pool: Pool
    done: int
    """Updates of the pool that are passed over."""


@dataclass(frozen=True)
class _Stored:
    """A pool in the likeliest pieces, as they lie on disk."""

    pool: Pool
    ids: IdsStore

    def portion(self, i: int) -> Portion:
        return Portion(*self.ids.take(self.pool.rows[self.pool.cuts[i] : self.pool.cuts[i + 1]]))


class _Drawn:
    """A pool in pieces drawn at random; sorted and cut into updates by the lengths that came of it."""

    def __init__(self, pool: Pool, src: "_Side", tgt: "_Side") -> None:
        self._src, self._tgt = src, tgt
        self._places, self._cuts = pool.redivided(src.lengths, tgt.lengths)

    def portion(self, i: int) -> Portion:
        places = self._places[self._cuts[i] : self._cuts[i + 1]]
        return Portion(self._src.take(places), self._tgt.take(places))


class _Side:
    """Sources or targets laid end to end in one array: as lists they would be fifteen times as large."""

    def __init__(self, blocks: Sequence[tuple[NDArray[np.int32], NDArray[np.int64]]]) -> None:
        ids, lengths = zip(*blocks, strict=True)
        self._ids, self.lengths = np.concatenate(ids), np.concatenate(lengths)
        self._ends = np.cumsum(self.lengths)

    @staticmethod
    def block(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids and lengths of some rows."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths

    def take(self, rows: NDArray[np.int64]) -> list[Ids]:
        """Some rows, in the order asked for."""
        ends = self._ends[rows]
        return [self._ids[a:b] for a, b in zip((ends - self.lengths[rows]).tolist(), ends.tolist(), strict=True)]


class Loader:
    """Reads updates, epoch after epoch.

    What an update holds is a function of the run's seed, its epoch and its number in it. Where text is divided
    anew, that happens a pool ahead of what is learnt from.

    Args:
        ids: the corpus.
        tokenizer: that made the ids.
        config: how many tokens an update holds, and whether text is divided anew.
        check: called while text is waited for; may raise.

    Raises:
        UserError: text is to be divided anew, and the tokenizer knows one way alone (78).
    """

    def __init__(
        self, ids: IdsStore, tokenizer: Tokenizer, config: RunConfig, check: Callable[[], None] = lambda: None
    ) -> None:
        self._ids, self._tokenizer = ids, tokenizer
        self._training, self._data = config.training, config.data
        self._check = check
        if self._data.subword_sampling:
            tokenizer.sample(tokenizer.encode(["a"]), self._data.subword_sampling, 0)
        self.seconds_waited = 0.0
        """For text that was not divided yet when its update was due."""

    def updates(self, epoch: int, done: int = 0) -> Generator[tuple[Portion, int, int], None, None]:
        """The updates from an epoch on, without end.

        Args:
            epoch: counted from 0.
            done: updates of it that are passed over; those of later epochs too, where it has fewer.

        Yields:
            What an update is made from, and the epoch and the updates done in it by then.
        """
        for at, readable in self._readable(self._pools(epoch, done)):
            for nth in range(at.done, len(at.pool.order)):
                ends_epoch = at.pool.is_last and nth == len(at.pool.order) - 1
                portion = readable.portion(int(at.pool.order[nth]))
                yield (portion, at.epoch + 1, 0) if ends_epoch else (portion, at.epoch, at.before + nth + 1)

    def _pools(self, epoch: int, done: int) -> "Iterator[_Place]":
        for later in count(epoch):
            before = 0
            for pool in epoch_pools(
                self._ids.src_lengths,
                self._ids.tgt_lengths,
                batch_tokens=self._training.batch_tokens,
                seed=self._training.seed,
                epoch=later,
            ):
                if done < len(pool.order):
                    yield _Place(later, before, pool, done)
                done = max(0, done - len(pool.order))
                before += len(pool.order)

    def _readable(self, places: "Iterator[_Place]") -> "Iterator[tuple[_Place, _Stored | _Drawn]]":
        if not self._data.subword_sampling:
            for place in places:
                yield place, _Stored(place.pool, self._ids)
            return
        is_over = threading.Event()
        with ThreadPoolExecutor(1, "reader") as reader:
            try:
                place = next(places)
                ahead = reader.submit(self._draw, place, is_over)
                for following in places:
                    drawn = self._waited_for(ahead)
                    ahead = reader.submit(self._draw, following, is_over)
                    yield place, drawn
                    place = following
            finally:
                is_over.set()  # nobody waits for a pool that nobody wants

    def _waited_for(self, ahead: "Future[_Drawn | None]") -> _Drawn:
        began = time.monotonic()
        while not wait([ahead], timeout=_HEARING).done:
            self._check()
        self.seconds_waited += time.monotonic() - began
        drawn = ahead.result()
        assert drawn is not None  # only one that is not waited for is broken off
        return drawn

    def _draw(self, place: "_Place", is_over: threading.Event) -> _Drawn | None:
        """Divide the text of a pool anew; None where it is not wanted any more."""
        pool, most = place.pool, self._data.max_length - 1
        blocks = []
        for start in range(0, len(pool.rows), _DRAWN_AT_ONCE):
            if is_over.is_set():
                return None
            src, tgt = self._ids.take(pool.rows[start : start + _DRAWN_AT_ONCE])
            likeliest = [ids.tolist() for ids in (*src, *tgt)]
            seed = derived_seed(self._training.seed, place.epoch, place.before, start)
            drawn = self._tokenizer.sample(likeliest, self._data.subword_sampling, seed >> 32)
            # A text in too many pieces stays as it was: a model may have no room for more. So does one with
            # characters that the tokenizer does not know: decoding has lost them.
            rows = [
                new if 0 < len(new) <= most and UNK not in old else old
                for old, new in zip(likeliest, drawn, strict=True)
            ]
            blocks.append((_Side.block(rows[: len(src)]), _Side.block(rows[len(src) :])))
        src_blocks, tgt_blocks = zip(*blocks, strict=True)
        return _Drawn(pool, _Side(src_blocks), _Side(tgt_blocks))
