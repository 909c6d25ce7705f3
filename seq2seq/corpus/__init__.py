"""CORPUS -> pairs; READERS; the memory-mapped store that outgrows memory."""

from seq2seq.corpus.alignment import describe_misalignment, find_misalignment
from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.readers import READERS, Reader, find_reader, read_pairs, stamp
from seq2seq.corpus.store import IdsStore, TextStore, text_hash, write_ids_store, write_text_store

__all__ = [
    "READERS",
    "CorpusCounts",
    "IdsStore",
    "Pair",
    "Reader",
    "TextStore",
    "describe_misalignment",
    "find_misalignment",
    "find_reader",
    "read_pairs",
    "stamp",
    "text_hash",
    "write_ids_store",
    "write_text_store",
]
