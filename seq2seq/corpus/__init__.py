"""CORPUS -> pairs; READERS; the memory-mapped store that outgrows memory."""

from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import (
    READERS,
    Reader,
    corpus_files,
    find_reader,
    lone_target,
    read_pairs,
    stamp,
    uncompressed_name,
)
from seq2seq.corpus.store import IdsStore, TextStore, write_ids_store, write_text_store

__all__ = [
    "READERS",
    "CorpusCounts",
    "IdsStore",
    "Pair",
    "Reader",
    "TextStore",
    "corpus_files",
    "find_reader",
    "lone_target",
    "read_pairs",
    "stamp",
    "uncompressed_name",
    "write_ids_store",
    "write_text_store",
]
