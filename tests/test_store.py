"""The stores of corpus/store.py: writing, reading in any order, and refusal of damaged files."""

import os

import numpy as np
import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.corpus import IdsStore, Pair, TextStore, store, write_ids_store, write_text_store
from seq2seq.errors import ExitCode, UserError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=20)


def ids_below(vocab_size):
    side = st.lists(st.integers(0, vocab_size - 1), max_size=12)
    return st.tuples(st.just(vocab_size), st.lists(st.tuples(side, side), max_size=20))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Batches of a few rows, so that small stores have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "BATCH_ROWS", 3)
        patch.setattr(store, "BATCH_VALUES", 20)
        yield


def as_lists(taken):
    src, tgt = taken
    return [(a.tolist(), b.tolist()) for a, b in zip(src, tgt, strict=True)]


# Writing and reading ---------------------------------------------------------------------------


@settings(database=None, deadline=None, max_examples=150)
@given(PAIRS, st.data())
@example([("", "")] * 7, None)
@example([("a\0\n\u2028", "😀" * 30), ("", "ü")] * 4, None)
def test_text(folder, pairs, data):
    path = folder / "text.arrow"
    assert write_text_store(path, iter([Pair(*pair) for pair in pairs])) == len(pairs)
    text = TextStore(path)
    assert len(text) == len(pairs)
    assert text.slice(0, None) == pairs
    assert [text[i] for i in range(-len(pairs), len(pairs))] == pairs * 2
    if data and pairs:
        rows = data.draw(st.lists(st.integers(0, len(pairs) - 1)))
        assert text.take(rows) == text.take(np.array(rows, np.uint32)) == [pairs[row] for row in rows]
        start, stop = data.draw(st.tuples(st.integers(-25, 25), st.none() | st.integers(-25, 25)))
        assert text.slice(start, stop) == pairs[start:stop]


@settings(database=None, deadline=None, max_examples=150)
@given(st.one_of(map(ids_below, (1, 300, 65_536, 65_537, 2**31 - 1))), st.data())
@example((65_536, [([65_535], [])] * 7), None)
@example((65_537, [([65_536], [0] * 30), ([], [])] * 4), None)
def test_ids(folder, vocabulary, data):
    vocab_size, rows = vocabulary
    path = folder / "ids.arrow"
    assert write_ids_store(path, iter(rows), vocab_size) == len(rows)
    ids = IdsStore(path)
    assert len(ids) == len(rows)
    assert as_lists(ids.take(range(len(rows)))) == rows
    assert ids.src_lengths.tolist() == [len(src) for src, _ in rows]
    assert ids.tgt_lengths.tolist() == [len(tgt) for _, tgt in rows]
    assert {part.dtype for side in ids.take(range(len(rows))) for part in side} <= {
        np.dtype(np.uint16 if vocab_size <= 65_536 else np.int32)
    }
    if data and rows:
        some = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        assert as_lists(ids.take(some)) == as_lists(ids.take(np.array(some, np.uint32))) == [rows[i] for i in some]


def test_lengths_use_the_smallest_type(folder):
    path = folder / "long.arrow"
    write_ids_store(path, [([1] * 65_535, [1] * 65_536), ([2], [])], 300)
    ids = IdsStore(path)
    assert (ids.src_lengths.dtype, ids.tgt_lengths.dtype) == (np.uint16, np.int32)
    assert ids.src_lengths.tolist() == [65_535, 1]
    assert ids.tgt_lengths.tolist() == [65_536, 0]


def test_batches_close_at_either_limit(folder):
    path = folder / "batches.arrow"

    def rows_of_batches():
        reader = pyarrow.ipc.open_file(str(path))
        return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]

    write_text_store(path, [Pair("a", "b")] * 7)
    assert rows_of_batches() == [3, 3, 1]
    write_text_store(path, [Pair("a" * 10, "b" * 10)] * 2 + [Pair("a", "")] * 2)
    assert rows_of_batches() == [1, 1, 2]
    write_ids_store(path, [([1] * 19, []), ([], [1]), ([1], [1])], 300)
    assert rows_of_batches() == [2, 1]


def test_any_arrow_tool_opens_them(folder):
    path = folder / "plain.arrow"
    write_text_store(path, [Pair("Ja.", "Yes."), Pair("ü", "")])
    assert pyarrow.ipc.open_file(str(path)).read_all().to_pydict() == {"src": ["Ja.", "ü"], "tgt": ["Yes.", ""]}
    write_ids_store(path, [([1, 2], [3]), ([], [4])], 300)
    assert pyarrow.ipc.open_file(str(path)).read_all().to_pydict() == {"src": [[1, 2], []], "tgt": [[3], [4]]}


def test_an_empty_store(folder):
    path = folder / "empty.arrow"
    assert write_text_store(path, []) == 0
    assert (len(TextStore(path)), TextStore(path).slice(0, None), TextStore(path).take([])) == (0, [], [])
    assert write_ids_store(path, [], 300) == 0
    ids = IdsStore(path)
    assert (len(ids), len(ids.src_lengths), *map(len, ids.take([]))) == (0, 0, 0, 0)


@pytest.mark.parametrize("rows", [[4], [-1], [0, 5], [0, -2, 1]])
def test_rows_outside_the_store(folder, rows):
    path = folder / "four.arrow"
    write_text_store(path, [Pair("a", "b")] * 4)
    with pytest.raises(IndexError, match="which has 4 rows"):
        TextStore(path).take(rows)
    with pytest.raises(IndexError):
        TextStore(path)[-5]
    write_ids_store(path, [([1], [2])] * 4, 300)
    with pytest.raises(IndexError, match="which has 4 rows"):
        IdsStore(path).take(rows)


def test_ids_are_copies(folder):
    """The file may be replaced, and the system may drop its pages."""
    path = folder / "copies.arrow"
    write_ids_store(path, [([1, 2], [3])], 300)
    ids = IdsStore(path)
    src, tgt = ids.take([0])
    for row in (*src, *tgt):
        row[0] = 9
    assert as_lists(ids.take([0])) == [([1, 2], [3])]


@pytest.mark.parametrize(("token", "vocab_size"), [(65_536, 65_536), (-1, 300), (2**31, 2**31)])
def test_an_id_that_does_not_fit(tmp_path, token, vocab_size):
    with pytest.raises(OverflowError):
        write_ids_store(tmp_path / "ids.arrow", [([1], [2]), ([token], [1])], vocab_size)
    assert os.listdir(tmp_path) == []


# Damaged files ---------------------------------------------------------------------------

STORES = {
    "text": (lambda path, n: write_text_store(path, [Pair(f"src {i}", "tgt") for i in range(n)]), TextStore),
    "ids": (lambda path, n: write_ids_store(path, [([i % 300], [1, 2]) for i in range(n)], 300), IdsStore),
}


@pytest.fixture(params=STORES.values(), ids=STORES)
def kind(request):
    return request.param


@pytest.mark.parametrize("n_rows", [0, 8])
def test_a_truncated_file_is_detected(tmp_path, kind, n_rows):
    write, read = kind
    path = tmp_path / "store.arrow"
    write(path, n_rows)
    whole = path.read_bytes()
    for n in (*range(0, len(whole), 13), *range(len(whole) - 12, len(whole))):
        path.write_bytes(whole[:n])
        with pytest.raises(
            UserError, match=r"store\.arrow is not a store of pairs, or is cut short; delete it"
        ) as caught:
            read(path)
        assert caught.value.code == ExitCode.BAD_DATA


def test_a_file_that_is_not_a_store(tmp_path, kind):
    _, read = kind
    path = tmp_path / "store.arrow"
    other = pyarrow.table({"a": [1]})
    with pyarrow.ipc.new_file(str(path), other.schema) as writer:
        writer.write_table(other)
    with pytest.raises(UserError, match="not a store of pairs"):
        read(path)
    path.write_text("nothing of the kind")
    with pytest.raises(UserError, match="not a store of pairs"):
        read(path)
    for missing, says in ((tmp_path / "missing", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=says) as caught:
            read(missing)
        assert caught.value.code == ExitCode.NO_INPUT


def test_a_full_disk_leaves_nothing_behind(tmp_path, kind, small_files):
    write, _ = kind
    with small_files(10_000), pytest.raises(UserError, match=r"store\.arrow cannot be written: .*; raise") as caught:
        write(tmp_path / "store.arrow", 5000)
    assert caught.value.code == ExitCode.CANNOT_WRITE
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_the_old_store(tmp_path, kind, monkeypatch):
    write, read = kind
    path = tmp_path / "store.arrow"
    write(path, 8)
    before = path.read_bytes()
    batched = store._batched

    def failing(rows):
        yield next(batched(rows))
        raise UserError("the corpus ends early", mend="mend it")

    monkeypatch.setattr(store, "_batched", failing)
    with pytest.raises(UserError, match="ends early"):
        write(path, 9)
    assert path.read_bytes() == before
    assert len(read(path)) == 8
    assert os.listdir(tmp_path) == ["store.arrow"]
