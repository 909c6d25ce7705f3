"""Data sets of the Hugging Face Hub as streams: ``datasets`` reads their files one by one, and keeps no copy.

Only its reading is used. Its ``shuffle`` loses pairs when a stream is resumed (it says so itself), and its
``interleave_datasets`` would forget which file is damaged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.corpus.hub import (
    as_user_error,
    builder_of_text,
    find_keys,
    local_folder,
    not_utf8,
    pair_of_row,
    parse_hub_name,
)
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import count_pairs
from seq2seq.corpus.shards import OpenShard
from seq2seq.corpus.words import split_columns
from seq2seq.errors import UserError
from seq2seq.text import EncodingErrors


@dataclass(frozen=True)
class HubShard:
    """One file of a data set."""

    name: str
    identity: str
    number: int
    """Counted from 0."""
    dataset: Any
    """The whole stream, an ``IterableDataset``."""
    nested: str | None
    """The column that holds all languages, if there is one."""
    keys: tuple[str, str]

    def open(
        self, langs: tuple[str, str], encoding_errors: EncodingErrors, place: dict[str, Any] | None = None
    ) -> OpenShard:
        """Read on from a place: the number of pairs before it, and the state of the ``IterableDataset``."""
        rows = self.dataset.shard(self.dataset.num_shards, self.number)  # a new object, with a state of its own
        start = 0
        if place is not None:
            start = place["pairs"]
            rows.load_state_dict(place["state"])
        counts = CorpusCounts(pairs=start)

        def here() -> dict[str, Any] | None:
            return {"pairs": counts.pairs, "state": rows.state_dict()} if counts.pairs > start else place

        return OpenShard(count_pairs(self._pairs(rows, langs, counts), langs, counts), counts, here)

    def _pairs(self, rows: Any, langs: tuple[str, str], counts: CorpusCounts) -> Iterator[Pair]:
        try:
            for row in rows:
                yield pair_of_row(row, self.nested, self.keys, langs, f"{self.name}, row {counts.pairs + 1}")
        except UserError:
            raise
        except UnicodeDecodeError:
            raise not_utf8(self.name) from None
        except Exception as error:  # of many kinds: the network, a damaged file, the library's own
            raise as_user_error(self.name, error) from None


def hub_shards(corpus: str, langs: tuple[str, str]) -> Iterator[HubShard]:
    """The files of a data set.

    Raises:
        UserError: as ``read_hub``.
    """
    word, columns = split_columns(corpus)
    wanted = parse_hub_name(word)
    builder = builder_of_text(word, wanted, columns or langs)
    try:
        dataset = builder.as_streaming_dataset(split=wanted.split)
        features = dataset.features or next(iter(dataset), None)
    except Exception as error:  # as above
        raise as_user_error(word, error) from None
    if features is None:
        raise UserError(f"{word} holds no pair", mend="give a corpus with text in both languages")
    nested, keys = find_keys(word, features, columns, langs, CorpusCounts())
    if nested is None and hasattr(builder.config, "converters"):  # CSV whose columns are not named by the languages
        dataset = builder_of_text(word, wanted, keys).as_streaming_dataset(split=wanted.split)
    files = [str(path) for path in (builder.config.data_files or {}).get(wanted.split, ())]
    is_local = local_folder(word) is not None
    for number in range(dataset.num_shards):
        if len(files) == dataset.num_shards:  # with the commit, if it is on the hub
            name = f"{word}, {Path(files[number]).name}"
            identity = f"{Path(files[number]).name} {Path(files[number]).stat().st_size}" if is_local else files[number]
        else:
            name = identity = f"{word}, file {number + 1} of {dataset.num_shards}"
        yield HubShard(name, identity, number, dataset, nested, keys)
