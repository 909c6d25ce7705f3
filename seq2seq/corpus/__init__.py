"""Parallel text: readers, which turn a CORPUS word into sentence pairs, and memory-mapped stores for large corpora."""

from seq2seq.corpus.alignment import describe_misalignment, find_misalignment
from seq2seq.corpus.hub import local_folder, own_validation
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import (
    READERS,
    Reader,
    corpus_files,
    find_reader,
    has_ordered_sides,
    lone_target,
    read_pairs,
    stamp,
)
from seq2seq.corpus.shards import Shard, or_skip
from seq2seq.corpus.store import IdsStore, TextStore, text_hash, write_ids_store, write_text_store
from seq2seq.corpus.stream import ReadPair, Stream, shards_of
from seq2seq.corpus.words import STREAMED, uncompressed_name

__all__ = [
    "READERS",
    "STREAMED",
    "CorpusCounts",
    "IdsStore",
    "Pair",
    "ReadPair",
    "Reader",
    "Shard",
    "Stream",
    "TextStore",
    "corpus_files",
    "describe_misalignment",
    "find_misalignment",
    "find_reader",
    "has_ordered_sides",
    "local_folder",
    "lone_target",
    "or_skip",
    "own_validation",
    "read_pairs",
    "shards_of",
    "stamp",
    "text_hash",
    "uncompressed_name",
    "write_ids_store",
    "write_text_store",
]
