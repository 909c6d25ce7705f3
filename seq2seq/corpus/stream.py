"""An endless stream of pairs from the shards of several sources, mixed by weight. It can be resumed at any pair.

A source reads its shards in an order that is drawn again for each of its epochs, several of them in turns: pairs of one
shard are similar. When all of them have ended, its next epoch begins. Which source gives the next pair is drawn too.
Everything that is drawn follows from the seed, so the state of a stream is only the place in each open shard.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from seq2seq.corpus.hub_stream import hub_shards
from seq2seq.corpus.pairs import Pair
from seq2seq.corpus.readers import corpus_files, require_matches
from seq2seq.corpus.shards import FileShard, OpenShard, Shard, or_skip
from seq2seq.corpus.tuning import MAX_OPEN_SHARDS
from seq2seq.corpus.words import is_pattern
from seq2seq.errors import UserError
from seq2seq.text import EncodingErrors


def shards_of(corpus: str, langs: tuple[str, str]) -> list[Shard]:
    """The shards of a corpus: the files that a pattern matches, those of a data set, or the one file of another word.

    Raises:
        UserError: no file matches the pattern (66), or as ``read_pairs`` for a data set.
    """
    if corpus.startswith("hf:"):
        return [*hub_shards(corpus, langs)]
    words = require_matches(corpus, langs) if is_pattern(corpus) else [corpus]
    return [FileShard(word, corpus_files(word, langs)) for word in words]


class ReadPair(NamedTuple):
    """A pair of a stream."""

    pair: Pair
    shard: str
    """Name of its shard."""
    number: int
    """Of the pair in its shard, counted from 1."""


class _Source:
    """An endless stream from the shards of one source.

    Args:
        shards: one or more.
        seed: of the orders.
        stream: what it is a part of.
        state: from ``state``; None: its beginning.
    """

    def __init__(self, shards: Sequence[Shard], seed: str, stream: "Stream", state: dict[str, Any] | None) -> None:
        self._shards, self._seed, self._stream = shards, seed, stream
        self.epoch: int = state["epoch"] if state else 0
        self._n_started: int = state["started"] if state else 0
        self._order = self._draw_order()
        self._is_empty = not state  # whether this epoch has given no pair yet
        self._open: deque[tuple[int, OpenShard, list[int]]] = deque()
        for index, place, n_invalid in state["open"] if state else ():
            self._open.append((index, self._opened(index, place), [n_invalid]))

    def state(self) -> dict[str, Any]:
        """Its state between two pairs, as JSON can hold it."""
        places = [[index, shard.place(), counted[0]] for index, shard, counted in self._open]
        return {"epoch": self.epoch, "started": self._n_started, "open": places}

    def read(self) -> ReadPair:
        """The next pair.

        Raises:
            UserError: a shard cannot be read, and bad shards are not skipped; or there is no pair at all.
        """
        while True:
            while len(self._open) < MAX_OPEN_SHARDS and self._n_started < len(self._order):
                index = self._order[self._n_started]
                self._n_started += 1
                self._open.append((index, self._opened(index), [0]))
            if not self._open:
                self._next_epoch()
                continue
            index, shard, counted = self._open.popleft()
            name = self._shards[index].name
            try:
                pair = next(shard.pairs, None)
            except UserError as error:
                self._stream.found_bad(name, shard.counts.pairs, error)
                continue
            self._stream.invalid_utf8 += shard.counts.invalid_utf8 - counted[0]
            counted[0] = shard.counts.invalid_utf8
            if shard.counts.notes:
                self._stream.add_notes(name, shard.counts.notes)
            if pair is not None:
                self._open.append((index, shard, counted))
                self._is_empty = False
                return ReadPair(pair, name, shard.counts.pairs)

    def _opened(self, index: int, place: Any = None) -> OpenShard:
        return self._shards[index].open(self._stream.langs, self._stream.encoding_errors, place)

    def _draw_order(self) -> list[int]:
        order = list(range(len(self._shards)))
        Random(f"{self._seed} {self.epoch}").shuffle(order)
        return order

    def _next_epoch(self) -> None:
        if self._is_empty:
            raise UserError(
                f"no pair can be read from {', '.join(shard.name for shard in self._shards[:3])}"
                + (", …" if len(self._shards) > 3 else ""),
                mend="give shards with text in both languages",
            )
        self.epoch, self._n_started, self._is_empty = self.epoch + 1, 0, True
        self._order = self._draw_order()


class Stream:
    """An endless stream of pairs.

    Args:
        sources: the shards of each.
        weights: how often each source gives the next pair; any positive numbers.
        seed: of everything that is drawn.
        langs: source and target language.
        encoding_errors: as for ``read_pairs``, for each shard.
        skip_bad: skip the rest of a shard that cannot be read.
        state: from ``state``; None: the beginning.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Shard]],
        weights: Sequence[float],
        *,
        seed: int,
        langs: tuple[str, str],
        encoding_errors: EncodingErrors = "refuse",
        skip_bad: bool = False,
        state: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        self.langs, self.encoding_errors = langs, encoding_errors
        self.invalid_utf8 = 0
        """Lines in which bytes were replaced, since this object was made."""
        self.notes: list[str] = []
        """How shards are read, for the user; the caller takes them out."""
        self.warnings: list[str] = []
        """Which shards are skipped, and why; the caller takes them out."""
        self.bad_shards: list[str] = []
        """Names of skipped shards; the caller may add those of an earlier command."""
        self._seed, self._weights, self._skip_bad = seed, list(weights), skip_bad
        self._known_notes: set[str] = set()
        self._sources = [
            _Source(shards, f"{seed} {number}", self, state[number] if state else None)
            for number, shards in enumerate(sources)
        ]

    @property
    def epoch(self) -> int:
        """Epochs that all sources have finished."""
        return min(source.epoch for source in self._sources)

    def state(self) -> list[dict[str, Any]]:
        """The state between two pairs, as JSON can hold it."""
        return [source.state() for source in self._sources]

    def read(self, n: int, number: int) -> Iterator[ReadPair]:
        """The next pairs.

        Args:
            n: how many.
            number: of this call since the beginning of the stream: the mixture of its pairs is drawn with it.

        Raises:
            UserError: as ``read_pairs``, unless bad shards are skipped; or no pair is left.
        """
        draw = Random(f"{self._seed} mixture {number}")
        for source in draw.choices(self._sources, self._weights, k=n):
            yield source.read()

    def found_bad(self, name: str, n_read: int, error: UserError) -> None:
        """Count and report a shard that cannot be read; raise its error if it must not be skipped."""
        if not self._skip_bad:
            raise or_skip(error) from None
        if name not in self.bad_shards:
            self.bad_shards.append(name)
            self.warnings.append(f"{name} is skipped after {n_read:,} of its pairs: {error.what}")

    def add_notes(self, name: str, notes: list[str]) -> None:
        """Report the notes of a shard; one that another shard has too is reported once."""
        for note in notes:
            if note not in self._known_notes:
                self._known_notes.add(note)
                self.notes.append(f"{name}: {note}")
        notes.clear()
