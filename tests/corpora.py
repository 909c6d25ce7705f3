"""Parallel text in every format that CORPUS may name, for tests of readers."""

import bz2
import csv
import gzip
import io
import json
import lzma
import socket
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from seq2seq.corpus import read_pairs
from seq2seq.errors import ExitCode, UserError

LANGS = ("de", "en")


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)


COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def cut_off(monkeypatch, cache: Path) -> list[str]:
    """Take the network away, and give ``datasets`` a cache of its own; the addresses that are then asked for."""
    requested = []

    def refuse(*address, **_):
        requested.append(str(address))
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return requested


def flat(pair):
    return dict(zip(LANGS, pair, strict=True))


def nested(pair):
    return {"id": 7, "translation": flat(pair)}


def lines(texts):
    return "".join(f"{text}\n" for text in texts)


def json_lines(row):
    return lambda pairs: lines(json.dumps(row(pair), ensure_ascii=False) for pair in pairs)


def comma_separated(pairs):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(pairs)
    return text.getvalue()


# Form -> CORPUS, and the text of each file. Every row of READERS has at least one.
FORMS = {
    "prefix": (
        "corpus",
        {"corpus.de": lambda p: lines(a for a, _ in p), "corpus.en": lambda p: lines(b for _, b in p)},
    ),
    "two files": (
        "deu.txt,eng.txt",
        {"deu.txt": lambda p: lines(a for a, _ in p), "eng.txt": lambda p: lines(b for _, b in p)},
    ),
    "tsv": ("corpus.tsv", {"corpus.tsv": lambda p: lines(map("\t".join, p))}),
    "tsv, columns": (
        "corpus.txt[3,2]",
        {"corpus.txt": lambda p: lines(f"{i}\t{b}\t{a}" for i, (a, b) in enumerate(p))},
    ),
    "csv": ("corpus.csv", {"corpus.csv": comma_separated}),
    "jsonl": ("corpus.jsonl", {"corpus.jsonl": json_lines(flat)}),
    "ndjson": ("corpus.ndjson", {"corpus.ndjson": json_lines(flat)}),
    "jsonl, nested": ("corpus.jsonl", {"corpus.jsonl": json_lines(nested)}),
    "*": (
        "corpus-*.tsv",
        {
            "corpus-1.tsv": lambda p: lines(map("\t".join, p[: len(p) // 2])),
            "corpus-2.tsv": lambda p: lines(map("\t".join, p[len(p) // 2 :])),
        },
    ),
    "hf": ("hf:.", {"train.jsonl": json_lines(flat)}),
    "hf, nested": ("hf:.", {"data/train-00000.jsonl": json_lines(nested)}),
}
PARQUETS = {"hf, parquet": flat, "hf, nested parquet": nested}
# Formats that keep separators inside a line. JSON may contain newlines, so there all become spaces.
RAW = {"prefix", "two files", "tsv", "tsv, columns", "*"}


def write(folder: Path, form: str, pairs, suffix="", change=lambda data: data, cut=None) -> str:
    """Write pairs in some form; gives the CORPUS that names them.

    Args:
        suffix: of ``COMPRESSIONS``.
        change: what becomes of the bytes before they are compressed.
        cut: bytes taken off the end after that.
    """
    if form in PARQUETS:
        table = pyarrow.Table.from_pylist([PARQUETS[form](pair) for pair in pairs])
        pyarrow.parquet.write_table(table, folder / "train.parquet")
        return f"hf:{folder}"
    word, contents = FORMS[form]
    for name, text in contents.items():
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(COMPRESSIONS[suffix](change(text(pairs).encode()))[:cut])
    if word == "hf:.":
        return f"hf:{folder}"
    if word == "corpus":
        return str(folder / word)
    path, bracket, columns = word.partition("[")
    return ",".join(f"{folder / name}{suffix}" for name in path.split(",")) + bracket + columns


def refusal_of(corpus, langs=LANGS, *, code=ExitCode.BAD_DATA, **options) -> str:
    """The error of reading a corpus: one line, with this exit code."""
    with pytest.raises(UserError) as caught:
        list(read_pairs(str(corpus), langs, **options))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)
