"""Shards: the parts of a corpus that is streamed. A shard can be read from any place in it, again and again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import read_pairs
from seq2seq.errors import UserError
from seq2seq.text import EncodingErrors, exists


def or_skip(error: UserError) -> UserError:
    """The error of a shard, which also says how to skip such shards."""
    return UserError(error.what, mend=f"{error.mend}; or skip such shards: `data.bad_shards=skip`", code=error.code)


@dataclass
class OpenShard:
    """A shard that is being read."""

    pairs: Iterator[Pair]
    """Those that are left; errors as those of ``read_pairs``."""
    counts: CorpusCounts
    """Of the shard from its beginning, as far as it has been read."""
    place: Callable[[], Any]
    """Where reading is now: JSON that ``Shard.open`` takes."""


class Shard(Protocol):
    """A part of a corpus."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def identity(self) -> str:
        """Changes if the shard does: name and size of its files, without their folder, or their place on the hub."""
        ...

    def open(self, langs: tuple[str, str], encoding_errors: EncodingErrors, place: Any = None) -> OpenShard:
        """Read on from a place; None: from the beginning. Nothing is read yet, so no error is raised."""
        ...


@dataclass(frozen=True)
class FileShard:
    """A CORPUS word for one file, or for the two files of a prefix. A place in it is the number of pairs before it."""

    name: str
    files: list[Path] = field(compare=False)

    @property
    def identity(self) -> str:
        """Names and sizes; a file that is missing has no size."""
        sizes = (f"{path.name} {path.stat().st_size if exists(path) else '?'}" for path in self.files)
        return ", ".join(sizes) or Path(self.name).name

    def open(self, langs: tuple[str, str], encoding_errors: EncodingErrors, place: int | None = None) -> OpenShard:
        """Read on from a place; what stands before it is read again and skipped."""
        counts, start = CorpusCounts(), place or 0
        pairs = islice(read_pairs(self.name, langs, encoding_errors=encoding_errors, counts=counts), start, None)
        return OpenShard(pairs, counts, lambda: max(start, counts.pairs))
