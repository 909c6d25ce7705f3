"""Held-out pairs, leaks and copies: the overlap of training and validation."""

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seq2seq.config import DataConfig
from seq2seq.corpus import Pair, TextStore, text_hash, write_text_store
from seq2seq.errors import UserError
from seq2seq.tokenizer import train_tokenizer
from seq2seq.training import overlap
from seq2seq.training.ingest import CorpusRecord
from seq2seq.training.overlap import Overlap, find_overlap, held_out_rows, n_held_out
from seq2seq.training.prepare import prepare
from seq2seq.training.progress import Notice


def store(folder: Path, pairs, name="train") -> TextStore:
    path = folder / f"{name}.text.arrow"
    write_text_store(path, [Pair(*pair) for pair in pairs])
    return TextStore(path)


def held_out(folder, sources) -> list[int]:
    text = store(folder, [(source, "x") for source in sources])
    return held_out_rows(text, np.sort(text.hashes(0)))


def numbered(n):
    return [f"line {i}" for i in range(n)]


# Held out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        *((2, 1), (5, 1), (9, 1), (10, 2), (100, 20), (300, 60), (499, 99), (500, 100), (720, 100), (1000, 100)),
        *((1001, 100), (5000, 500), (10_000, 1000), (29_000, 1000), (1_000_000, 1000)),
    ],
)
def test_the_number_of_held_out_pairs(n, expected):
    assert n_held_out(n) == expected


@pytest.mark.parametrize("n", [2, 3, 10, 100, 720, 29_000])
def test_rows_are_spread_in_blocks_of_neighbours(tmp_path, n):
    rows = held_out(tmp_path, numbered(n))
    assert rows == sorted(set(rows))
    assert len(rows) == n_held_out(n)
    assert all(0 <= row < n for row in rows)
    runs = 1 + sum(b - a > 1 for a, b in pairwise(rows))
    assert runs <= max(50, len(rows) // 20)
    if n >= 100:
        assert runs >= 8
        assert rows[0] < n / 2 < rows[-1]


def test_sources_that_come_often_stay(tmp_path):
    """As in a table of interface strings: frequent texts must be learned."""
    sources = ["no"] * 40 + ["cancel"] * 40 + ["thank you"] * 40 + numbered(600)
    random.Random(1).shuffle(sources)
    counts = Counter(sources)
    assert {counts[sources[row]] for row in held_out(tmp_path, sources)} == {1}


def test_if_few_sources_occur_once_the_rarest_are_next(tmp_path):
    sources = numbered(20) + [f"twice {i}" for i in range(30)] * 2 + [f"thrice {i}" for i in range(300)] * 3
    random.Random(1).shuffle(sources)
    rows = held_out(tmp_path, sources)
    chosen = Counter(sources[row].split()[0] for row in rows)
    assert chosen == {"line": 20, "twice": 60, "thrice": n_held_out(len(sources)) - 80}
    thrice = {sources[row] for row in rows if sources[row].startswith("thrice")}
    assert len(thrice) == -(-chosen["thrice"] // 3), "whole sources: others lose nothing"


@pytest.mark.parametrize("n_sources", [1, 2, 10])
def test_few_sources(tmp_path, n_sources):
    sources = [f"source {i % n_sources}" for i in range(300)]
    rows = held_out(tmp_path, sources)
    assert len({sources[row] for row in rows}) == -(-60 * n_sources // 300)


def test_held_out_pairs_do_not_depend_on_hashes(tmp_path, monkeypatch):
    """Hashes differ between processes."""
    sources = numbered(50) + [f"twice {i}" for i in range(300)] * 2
    text = store(tmp_path, [(source, "x") for source in sources])
    rows = held_out_rows(text, np.sort(text.hashes(0)))
    monkeypatch.setattr(overlap, "text_hash", lambda line: ~text_hash(line))
    assert held_out_rows(text, np.sort(~text.hashes(0))) == rows


# Leaks and copies -----------------------------------------------------------------------------------


def counted(folder, train, valid, drop=True):
    found = find_overlap(store(folder, train), [Pair(*pair) for pair in valid], drop=drop)
    return found.dropped_leaks, found.kept_leaks, found.copies


A, B, C = ("a", "1"), ("b", "2"), ("c", "3")


@pytest.mark.parametrize(
    ("train", "valid", "expected"),
    [
        ([A, B, C], [("d", "4")], (0, 0, 0)),
        ([A, B, C], [A], (1, 0, 0)),
        ([A, B, C], [("a", "another")], (1, 0, 0)),  # the source is enough
        ([A, B, C], [("x", "1")], (0, 0, 0)),  # the target is not
        ([A, B, C], [(" a\t", "1 ")], (1, 0, 0)),  # spaces around do not count
        ([A, B, C], [("A", "1")], (0, 0, 0)),  # case does
        ([A, A, B, B], [A], (2, 0, 2)),  # half remains
        ([A, A, A, B, C], [A], (0, 3, 2)),  # less would
        ([A, B], [A, B], (0, 2, 0)),
        ([A, ("a", "2"), ("b", "1")], [C], (0, 0, 0)),
        ([A] * 5, [C], (0, 0, 4)),
        ([("ab", "c"), ("a", "bc")], [C], (0, 0, 0)),
        ([("a", "b"), ("b", "a")], [C], (0, 0, 0)),
        ([("ไทย", "中文"), ("ไทย", "中文"), ("\u200b", "y"), B], [("ไทย", "z")], (2, 0, 1)),
    ],
)
def test_leaks_and_copies_are_counted(tmp_path, train, valid, expected):
    assert counted(tmp_path, train, valid) == expected
    assert counted(tmp_path, train, valid, drop=False) == (0, sum(expected[:2]), expected[2])


def test_copies_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "COMPARED_HASHES", 3)
    draw = random.Random(0)
    pairs = [(str(draw.randint(0, 9)), str(draw.randint(0, 9))) for _ in range(200)]
    assert counted(tmp_path, pairs, [C])[2] == 200 - len(set(pairs))


# Prepared -------------------------------------------------------------------------------------------

WORDS = [
    f"{a} {b}" for a in ("red", "blue", "green", "old", "new") for b in ("house", "dog", "tree", "car", "sun", "day")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tokenizer, trained once: each training starts an interpreter."""
    sample = tmp_path_factory.mktemp("tokenizer") / "sample"
    sample.write_text("".join(f"{word}\n{word.upper()}\n" for word in WORDS))
    target = sample.with_name("model")
    train_tokenizer(sample, target, vocab_size=300, tokenizer_type="unigram", normalization="nfkc")
    return target.read_bytes()


@pytest.fixture
def prepared(tmp_path, model):
    """Prepares pairs as ``train`` does. Returns the result, its counts, and the notices."""

    def make(train, valid=None, **data):
        store(tmp_path, train)
        if valid is not None:
            store(tmp_path, valid, "valid")
        notices: list[str | Notice] = []
        records = [CorpusRecord("corpus", "train", len(train), "", 0, 0)]
        config = DataConfig(langs="de-en", train=("corpus",), valid=("v",) if valid else (), **data)
        made = prepare(tmp_path, config, records, notices.append, model=model)
        return made, made.record()[-1], notices

    return make


def test_leaks_leave_training(prepared):
    train = [(word, word.upper()) for word in WORDS * 2]
    valid = [(f" {WORDS[3]}", "x"), ("unseen", "y"), (WORDS[5], WORDS[5].upper())]
    made, record, notices = prepared(train, valid)
    assert (record["dropped_leaks"], record["kept_leaks"], record["copies"], record["kept"]) == (4, 0, 30, 56)
    assert (record["held_out"], made.n_pairs) == (0, 56)
    trained = {made.tokenizer.decode([made.ids.take([row])[0][0].tolist()])[0] for row in range(made.n_pairs)}
    assert trained == {*WORDS} - {WORDS[3], WORDS[5]}
    assert notices == [
        "4 pairs dropped: the source is also in the validation pairs",
        "copies among the training pairs: 30, all kept",
    ]
    assert prepared(train, valid)[1:] == (record, notices), "the same is said of what was prepared before"
    made, record, notices = prepared(train, valid, leaks="keep")
    assert (record["dropped_leaks"], record["kept_leaks"], record["kept"]) == (0, 4, 60)
    assert notices[0] == "kept: 4 training pairs whose source is also in the validation pairs (data.leaks = keep)"


def test_a_corpus_validated_by_itself_is_kept_with_a_warning(prepared):
    train = [(word, word.upper()) for word in WORDS]
    _, record, notices = prepared(train, train)
    assert (record["dropped_leaks"], record["kept_leaks"], record["kept"]) == (0, 30, 30)
    assert isinstance(notices[0], Notice)
    assert notices[0].warning


@pytest.mark.parametrize(
    ("sources", "held_out", "kept_leaks", "kept"),
    [
        (["same"] * 300, 60, 240, 240),
        (["same"] * 2, 1, 1, 1),
        (["one", "other"], 1, 0, 1),
        (["one", "other"] * 150, 60, 0, 150),
        (WORDS * 10, 60, 0, 240),
    ],
)
def test_extremes(prepared, sources, held_out, kept_leaks, kept):
    made, record, _ = prepared([(source, source.upper()) for source in sources])
    assert (record["held_out"], record["kept_leaks"], record["kept"]) == (held_out, kept_leaks, kept)
    assert record["dropped_leaks"] == len(sources) - held_out - kept
    assert len(made.valid) == held_out


def test_held_out_pairs_are_remembered(prepared, tmp_path):
    train = [(word, word.upper()) for word in WORDS * 3]
    first, record, notices = prepared(train)
    again, *same = prepared(train)
    assert (again.valid, *same) == (first.valid, record, notices)
    (tmp_path / "prepared.json").unlink()
    again, *same = prepared(train)
    assert (again.valid, *same) == (first.valid, record, notices)
    assert isinstance(first.overlap, Overlap)


@pytest.mark.parametrize(
    ("train", "valid", "what", "mend"),
    [
        ([("a", "b")], None, "one pair is not enough", "`data.valid`"),
        ([("word " * 300, "b")] * 3, [("x", "y")], "of 3, 3 longer than 256 tokens", "raise data.max_length"),
        ([("\u200b", "b")] * 3, [("x", "y")], "of 3, 3 empty after normalisation", "data.normalization=identity"),
        (
            [("word " * 300, "b")] * 4,
            None,
            "of 4, 1 held out for validation, 3 longer",
            "raise data.max_length",
        ),
    ],
)
def test_the_cause_is_named_if_nothing_is_left(prepared, train, valid, what, mend):
    with pytest.raises(UserError) as caught:
        prepared(train, valid)
    assert what in caught.value.what
    assert mend in caught.value.mend
