"""CORPUS -> pairs; READERS; the memory-mapped store that outgrows memory."""

from seq2seq.corpus.hub import own_validation
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import (
    READERS,
    Reader,
    corpus_files,
    find_reader,
    lone_target,
    names_its_sides,
    read_pairs,
    stamp,
)
from seq2seq.corpus.store import IdsStore, TextStore, write_ids_store, write_text_store
from seq2seq.corpus.words import uncompressed_name

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
    "names_its_sides",
    "own_validation",
    "read_pairs",
    "stamp",
    "uncompressed_name",
    "write_ids_store",
    "write_text_store",
]
