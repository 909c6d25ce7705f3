"""The updates of a stream: pools of pairs are read and tokenized ahead of training.

A pool holds the next 131,072 pairs of the stream. Its pairs are shuffled, sorted by length and cut into updates exactly
as an epoch of an ordinary corpus is: by ``Loader``, with the number of the pool in place of the epoch. A checkpoint has
the state of the stream at the beginning of the pool and the number of updates done in it, so a resumed run reads that
pool again and skips these updates.

If several ranks train a run, each reads the whole stream by itself, and takes its part of the same updates.
"""

import contextlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np

from seq2seq import batching
from seq2seq.batching import Rows
from seq2seq.config import RunConfig, parse_langs
from seq2seq.corpus import Pair, ReadPair, Stream, text_hash
from seq2seq.errors import UserError, counted
from seq2seq.ragged import RaggedIds
from seq2seq.text import is_blank
from seq2seq.training.encode import ENCODED, encode_pairs
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.parallel import Ranks
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.state import StreamState
from seq2seq.training.streaming import check_alignment, sources
from seq2seq.training.tuning import PREPARE_PAIRS


class PoolIds:
    """The ids of a pool's pairs in memory."""

    def __init__(self, rows: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        values, lengths = (array("i"), array("i")), (array("q"), array("q"))
        for row in rows:
            for side, ids in enumerate(row):
                values[side].extend(ids)
                lengths[side].append(len(ids))
        self._src, self._tgt = (
            RaggedIds(np.frombuffer(of_side, np.int32), np.frombuffer(of_rows, np.int64))
            for of_side, of_rows in zip(values, lengths, strict=True)
        )
        self.src_lengths, self.tgt_lengths = (side.lengths.astype(np.int32) for side in (self._src, self._tgt))

    def __len__(self) -> int:
        """Pairs."""
        return len(self.tgt_lengths)

    def take(self, rows: Rows) -> tuple[RaggedIds, RaggedIds]:
        """Sources and targets of some rows, in the requested order."""
        return self._src.take(rows), self._tgt.take(rows)


@dataclass(frozen=True)
class _Pool:
    """Pairs of a stream that are shuffled together."""

    start: StreamState
    """The state at its beginning; with its counts."""
    stop: StreamState
    """The state at the beginning of the next pool."""
    ids: PoolIds
    notices: list[Notice]


class StreamLoader:
    """Reads the updates of a stream, without end.

    Args:
        prepared: the tokenizer, the pairs that are held out, and what was decided about leaks.
        config: of the run.
        state: at the beginning of the pool to start with; None: the beginning of the stream.
        ranks: each rank reads the whole stream and takes every n-th pair of an update. By default there is one.
        n_ahead: updates of a pool that a thread prepares ahead of training; 0: training prepares them itself.
        check: called now and then while training waits for a pool; may raise ``Stopped``.
    """

    def __init__(
        self,
        prepared: Prepared,
        config: RunConfig,
        state: StreamState | None,
        ranks: Ranks | None = None,
        n_ahead: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._tokenizer, self._config, self._ranks, self._check = prepared.tokenizer, config, ranks, check
        self._n_ahead = n_ahead
        self.state = state or StreamState()
        """The state that belongs to the update that was returned last."""
        self._notices: list[Notice] = []
        self._validated = set(prepared.valid)
        is_dropping = config.data.leaks == "drop" and not prepared.overlap.kept_leaks
        self._leaks = {text_hash(pair.src) for pair in prepared.valid} if is_dropping else set()
        self._is_closed = False

    def take_notices(self) -> list[Notice]:
        """What was found in the stream since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def updates(self, epoch: int, done: int = 0) -> Generator[tuple[TokenizedPairs, int, int], None, None]:
        """The updates from ``state`` on, without end.

        Args:
            epoch: that the state is in.
            done: updates of the pool that are skipped.

        Yields:
            The pairs of an update; the epochs finished and the number of updates done in the pool, after this one.

        Raises:
            UserError: a shard cannot be read, or is misaligned (65, 66).
        """
        data = self._config.data
        shards, weights = sources(data)
        stream = Stream(
            shards,
            weights,
            seed=self._config.training.seed,
            langs=parse_langs(data.langs),
            encoding_errors=data.encoding_errors,
            skip_bad=data.bad_shards == "skip",
            state=self.state.sources or None,
        )
        stream.bad_shards += self.state.bad_shards
        with ThreadPoolExecutor(1, "stream") as reader:
            try:
                ahead = reader.submit(self._read, stream, self.state)
                while True:
                    while not wait([ahead], timeout=0.2).done:
                        self._check()
                    pool = ahead.result()
                    ahead = reader.submit(self._read, stream, pool.stop)
                    self._notices += pool.notices
                    loader = Loader(pool.ids, self._tokenizer, self._config, self._ranks, self._n_ahead)
                    with contextlib.closing(loader.updates(pool.start.pool, done, n_epochs=1)) as updates:
                        for pairs, _, nth in updates:
                            self.state = pool.start if nth else pool.stop
                            yield pairs, self.state.epoch, nth
                    done = 0
            finally:
                self._is_closed = True  # so that closing does not wait for a whole pool

    def _read(self, stream: Stream, start: StreamState) -> _Pool:
        """Read and tokenize the next pool."""
        read: list[ReadPair] = []
        for one in stream.read(batching.POOL, start.pool):
            read.append(one)
            if self._is_closed:
                break
        notices: list[Notice] = []
        of_shards: defaultdict[str, list[ReadPair]] = defaultdict(list)
        for one in read:
            of_shards[one.shard].append(one)
        for shard, ones in of_shards.items():
            check_alignment(shard, ones[0].number, [one.pair for one in ones], self._config.data, notices.append)
        pairs = [one.pair for one in read if not is_blank(one.pair.src) and not is_blank(one.pair.tgt)]
        counts = dict.fromkeys((*ENCODED, "left_out"), 0)

        def is_left_out(row: int, pair: Pair) -> bool:
            """Held out for validation, or a leak."""
            left_out = pair in self._validated or (bool(self._leaks) and text_hash(pair.src) in self._leaks)
            counts["left_out"] += left_out
            return left_out

        ids = PoolIds(
            encode_pairs(
                self._chunks(pairs), self._tokenizer, is_left_out, self._config.data.max_length, counts, Counter()
            )
        )
        if not len(ids) and not self._is_closed:
            raise UserError(
                f"no pair is left to train on among {counted(len(read), 'pair')} of the stream: "
                f"{len(read) - len(pairs):,} with a blank side, {counts['left_out']:,} also in the "
                "validation pairs, the others too long or empty after normalisation",
                mend="give other shards, or raise data.max_length",
            )
        counts |= {"read": len(read), "blank": len(read) - len(pairs), "kept": len(ids)}
        counts["invalid_utf8"] = stream.invalid_utf8
        notices += map(Notice, stream.notes)
        notices += (Notice(text, warning=True) for text in stream.warnings)
        stream.invalid_utf8, stream.notes, stream.warnings = 0, [], []
        bad_shards = list(stream.bad_shards)
        start = replace(start, in_pool=counts, bad_shards=bad_shards)
        if (start.pool + 1).bit_count() == 1 and (summary := _summary(start.total())):
            notices.append(Notice(summary))  # of 1, 2, 4, 8 … pools
        stop = StreamState(
            pool=start.pool + 1,
            sources=stream.state(),
            epoch=stream.epoch,
            counts=start.total(),
            bad_shards=bad_shards,
        )
        return _Pool(start, stop, ids, notices)

    def _chunks(self, pairs: Sequence[Pair]) -> Iterable[Sequence[Pair]]:
        for i in range(0, len(pairs), PREPARE_PAIRS):
            if self._is_closed:
                return
            yield pairs[i : i + PREPARE_PAIRS]


def _summary(counts: dict[str, int]) -> str:
    """What was dropped and why; empty: nothing."""
    drops = {
        "a side is blank": counts["blank"],
        "a side is too long": counts["too_long"],
        "a side is empty after normalisation": counts["nothing_left"],
        "held out, or the source is also in the validation pairs": counts["left_out"],
    }
    listed = [f"{n:,} dropped: {why}" for why, n in drops.items() if n]
    if counts["respelt"]:
        listed.append(f"{counted(counts['respelt'], 'target')} spelt differently after normalisation")
    if counts["invalid_utf8"]:
        listed.append(f"bytes that are not UTF-8 replaced in {counted(counts['invalid_utf8'], 'line')}")
    return f"the first {counted(counts['read'], 'pair')} of the stream: {'; '.join(listed)}" if listed else ""


def build_loader(
    prepared: Prepared,
    config: RunConfig,
    state: StreamState | None,
    ranks: Ranks,
    n_ahead: int,
    check: Callable[[], None],
) -> Loader | StreamLoader:
    """The loader of a run. Arguments as for ``StreamLoader``."""
    if config.data.streaming:
        return StreamLoader(prepared, config, state, ranks, n_ahead, check)
    return Loader(prepared.ids, prepared.tokenizer, config, ranks, n_ahead)
