"""What each update learns from, read from disk while the one before it is made."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from seq2seq.batching import Ids, Rows, epoch_updates, micro_batches
from seq2seq.config import RunConfig
from seq2seq.corpus import IdsStore
from seq2seq.tokenizer import Tokenizer


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


class Loader:
    """Reads updates, each while the one before it is learnt from.

    What an update holds is a function of the run's seed, its epoch and its number in it.

    Args:
        ids: the corpus.
        tokenizer: that made the ids.
        config: how many tokens an update holds, and whether they are divided anew.
    """

    def __init__(self, ids: IdsStore, tokenizer: Tokenizer, config: RunConfig) -> None:
        self._ids, self._tokenizer = ids, tokenizer
        self._training, self._data = config.training, config.data
        self.seconds_waited = 0.0
        """For reading that was not done when its update was due."""

    def updates(self, epoch: int, done: int = 0) -> Iterator[Portion]:
        """The updates of an epoch, but for the ``done`` first."""
        order = epoch_updates(
            self._ids.src_lengths,
            self._ids.tgt_lengths,
            batch_tokens=self._training.batch_tokens,
            seed=self._training.seed,
            epoch=epoch,
        )
        numbered = islice(enumerate(order), done, None)
        with ThreadPoolExecutor(1, "reader") as reader:
            ahead: Future[Portion] | None = None
            for number, rows in numbered:
                following = reader.submit(self._read, rows, epoch, number)
                if ahead is not None:
                    yield self._result(ahead)
                ahead = following
            if ahead is not None:
                yield self._result(ahead)

    def _result(self, portion: "Future[Portion]") -> Portion:
        began = time.monotonic()
        read = portion.result()
        self.seconds_waited += time.monotonic() - began
        return read

    def _read(self, rows: Rows, epoch: int, number: int) -> Portion:
        src, tgt = self._ids.take(rows)
        alpha = self._data.subword_sampling
        if not alpha:
            return Portion(src, tgt)
        seed = int(np.random.SeedSequence((self._training.seed, epoch, number)).generate_state(1)[0]) >> 1
        likeliest = [ids.tolist() for ids in (*src, *tgt)]
        most = self._data.max_length - 1
        # A text in too many pieces stays as it was: a model may have no room for more.
        drawn = [
            new if 0 < len(new) <= most else old
            for old, new in zip(likeliest, self._tokenizer.sample(likeliest, alpha, seed), strict=True)
        ]
        return Portion(drawn[: len(rows)], drawn[len(rows) :])
