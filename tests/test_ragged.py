"""Sentences in one array behave as a list of sentences does."""

import pickle

import numpy as np
import pytest

from seq2seq.ragged import RaggedIds

ROWS = [[5, 6, 7], [], [8], [9, 10], []]


def listed(rows):
    return [row.tolist() for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        [np.array(row, np.uint16) for row in ROWS],
        [[5, 6, 7], [], np.array([8], np.int32), np.array([9, 10], np.int32), np.array([], np.int32)],
        RaggedIds.of(ROWS),
    ],
)
def test_sentences_of_any_kind(rows):
    ragged = RaggedIds.of(rows)
    assert listed(ragged) == ROWS
    assert len(ragged) == len(ROWS)
    assert ragged.lengths.tolist() == [3, 0, 1, 2, 0]
    assert ragged.values.tolist() == [5, 6, 7, 8, 9, 10]
    assert ragged.values.dtype.kind in "iu"
    assert [ragged[i].tolist() for i in range(-5, 5)] == ROWS + ROWS
    with pytest.raises(IndexError):
        ragged[5]


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [np.array([], np.int32)]])
def test_no_ids(rows):
    ragged = RaggedIds.of(rows)
    assert listed(ragged) == [list(row) for row in rows]
    assert ragged.values.dtype.kind in "iu"
    assert ragged.padded(3).shape == (len(rows), 0)
    assert listed(ragged[::2]) == listed(ragged[:1])


SLICES = [
    slice(*bounds) for bounds in [(None,), (1, 3), (1, None), (3, 1), (0, 0), (4, 9), (1, None, 2), (None, None, -1)]
]


@pytest.mark.parametrize("where", SLICES, ids=str)
def test_slices(where):
    part = RaggedIds.of(ROWS)[where]
    assert listed(part) == ROWS[where]
    assert [part[i].tolist() for i in range(len(part))] == ROWS[where]
    assert part.values.tolist() == [i for row in ROWS[where] for i in row]
    assert listed(part[1:]) == ROWS[where][1:]


def test_taking_sentences_in_any_order():
    assert listed(RaggedIds.of(ROWS).take(np.array([3, 0, 3, 1], np.uint32))) == [ROWS[i] for i in (3, 0, 3, 1)]
    assert listed(RaggedIds.of(ROWS)[1:].take(np.array([2]))) == [ROWS[3]]
    assert listed(RaggedIds.gather(np.arange(9), np.array([7, 0, 4]), np.array([2, 3, 0]))) == [[7, 8], [0, 1, 2], []]


def test_a_part_is_sent_without_the_rest():
    """Shards go to other processes."""
    whole = RaggedIds.of([[4] * 10] * 1000)
    sent = pickle.dumps(whole[5:7])
    assert listed(pickle.loads(sent)) == [[4] * 10] * 2
    assert len(sent) < 1000


@pytest.mark.parametrize("first", [None, 1])
@pytest.mark.parametrize("last", [None, 2])
def test_padded_as_by_hand(first, last):
    random = np.random.default_rng(0)
    for n in (1, 2, 30):
        rows = [random.integers(5, 99, length).tolist() for length in random.integers(0, 12, n)]
        full = [[first] * (first is not None) + row + [last] * (last is not None) for row in rows]
        width = max(map(len, full))
        assert RaggedIds.of(rows).padded(3, first=first, last=last).tolist() == [
            row + [3] * (width - len(row)) for row in full
        ]
