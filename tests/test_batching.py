"""Batches: every row once in an epoch, an order that depends only on seed and epoch, little padding."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq import batching
from seq2seq.batching import collate, epoch_updates, micro_batches, pad
from seq2seq.tokenizer import BOS, EOS, PAD


def realistic_lengths(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Source and target lengths as in a corpus of sentences: log-normal, correlated, some very long."""
    draw = np.random.default_rng(seed)
    tgt = np.clip(np.exp(draw.normal(3.0, 0.6, n)), 1, 255)
    src = np.clip(tgt * np.exp(draw.normal(0.0, 0.2, n)), 1, 255)
    return src.astype(np.uint16), tgt.astype(np.uint16)


def updates_of(src, tgt, *, batch_tokens=1000, seed=1, epoch=0) -> list[list[int]]:
    return [rows.tolist() for rows in epoch_updates(src, tgt, batch_tokens=batch_tokens, seed=seed, epoch=epoch)]


def order_of(updates: list[list[int]]) -> list[int]:
    return [row for rows in updates for row in rows]


# Rows to tensors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "options", "table"),
    [
        ([[5, 6], [7]], {}, [[5, 6], [7, PAD]]),
        ([[5, 6], [7]], {"first": BOS}, [[BOS, 5, 6], [BOS, 7, PAD]]),
        ([[5, 6], [7]], {"last": EOS}, [[5, 6, EOS], [7, EOS, PAD]]),
        ([[5, 6], [7]], {"first": BOS, "last": EOS}, [[BOS, 5, 6, EOS], [BOS, 7, EOS, PAD]]),
        ([[], [7]], {"last": EOS}, [[EOS, PAD], [7, EOS]]),
        ([[]], {"first": BOS}, [[BOS]]),
        ([np.array([65535], np.uint16), np.array([5, 6], np.uint16)], {}, [[65535, PAD], [5, 6]]),
        ([np.array([2**31 - 1], np.int32)], {"last": EOS}, [[2**31 - 1, EOS]]),
    ],
)
def test_pad(rows, options, table):
    padded = pad(rows, **options)
    assert padded.dtype == torch.int64
    assert padded.tolist() == table


def test_pad_of_nothing():
    assert pad([]).shape == (0, 0)
    assert pad([[], []]).shape == (2, 0)
    assert pad([], last=EOS).shape == (0, 1)


def test_collate():
    batch = collate([[5, 6, 7], [8]], [[9], [10, 11]])
    assert batch.src.tolist() == [[5, 6, 7, EOS], [8, EOS, PAD, PAD]]
    assert batch.tgt_in.tolist() == [[BOS, 9, PAD], [BOS, 10, 11]]
    assert batch.tgt_out.tolist() == [[9, EOS, PAD], [10, 11, EOS]]
    assert batch.n_tgt_tokens == 5 == int(batch.tgt_out.ne(PAD).sum())
    assert batch.n_padding == 3
    assert torch.equal(batch.to(torch.device("cpu")).src, batch.src)


# Updates of an epoch --------------------------------------------------------------------------------


@settings(database=None, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60), st.integers(1, 100), st.integers(0, 3))
def test_every_row_occurs_exactly_once_within_the_budget(lengths, batch_tokens, epoch):
    src, tgt = np.array(lengths, np.uint16).reshape(-1, 2).T
    with pytest.MonkeyPatch.context() as patch:
        for pool in (7, 1000):
            patch.setattr(batching, "POOL", pool)
            updates = updates_of(src, tgt, batch_tokens=batch_tokens, epoch=epoch)
            assert sorted(order_of(updates)) == list(range(len(lengths)))
            for rows in updates:
                assert rows
                assert sum(int(tgt[row]) + 1 for row in rows) <= batch_tokens or len(rows) == 1


def test_the_order_depends_only_on_seed_and_epoch():
    src, tgt = realistic_lengths(2000)
    first = updates_of(src, tgt, seed=1, epoch=0)
    assert updates_of(src.copy(), tgt.copy(), seed=1, epoch=0) == first
    others = [updates_of(src, tgt, seed=seed, epoch=epoch) for seed, epoch in ((1, 1), (2, 0), (0, 1))]
    assert all(a != b for a, b in itertools.combinations([first, *others], 2))


def test_other_random_numbers_do_not_change_the_order():
    src, tgt = realistic_lengths(200)
    before = np.random.get_state()[1].tolist()
    expected = updates_of(src, tgt)
    assert np.random.get_state()[1].tolist() == before
    np.random.seed(7)
    torch.manual_seed(7)
    assert updates_of(src, tgt) == expected


def test_updates_are_nearly_full():
    src, tgt = realistic_lengths(20_000)
    updates = updates_of(src, tgt, batch_tokens=2000)
    tokens = [sum(int(tgt[row]) + 1 for row in rows) for rows in updates]
    assert len(updates) <= math.ceil(sum(tokens) / 2000) * 1.05
    assert sum(t < 1800 for t in tokens) <= 2


def test_a_target_longer_than_the_budget_is_an_update_of_its_own():
    tgt = np.array([3, 500, 3, 600], np.uint16)
    updates = updates_of(tgt, tgt, batch_tokens=100)
    assert sorted(map(sorted, updates)) == [[0, 2], [1], [3]]


def test_an_empty_corpus_has_no_updates():
    empty = np.empty(0, np.uint16)
    assert updates_of(empty, empty) == []


def test_long_and_short_updates_are_mixed():
    """Otherwise the optimizer would see all short sentences first."""
    src, tgt = realistic_lengths(20_000)
    means = np.array([tgt[rows].mean() for rows in updates_of(src, tgt)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2


def test_there_is_little_padding():
    src, tgt = (lengths.astype(np.int64) for lengths in realistic_lengths(50_000))

    def share_of_padding(updates: list[list[int]]) -> tuple[float, float]:
        shares = []
        for lengths in (src + 1, tgt + 1):
            padded = sum(len(rows) * int(lengths[rows].max()) for rows in updates)
            shares.append(1 - int(lengths.sum()) / padded)
        return shares[0], shares[1]

    of_src, of_tgt = share_of_padding(updates_of(src, tgt, batch_tokens=4096))
    assert of_tgt < 0.1
    assert of_src < 0.22
    # For comparison: the padding in the order of the corpus.
    blind = [list(range(start, min(start + 180, 50_000))) for start in range(0, 50_000, 180)]
    assert min(share_of_padding(blind)) > 0.6


def test_pools_are_shuffled_parts_of_the_corpus(monkeypatch):
    monkeypatch.setattr(batching, "POOL", 100)
    src, tgt = realistic_lengths(250)
    order = order_of(updates_of(src, tgt, batch_tokens=300))
    pools = [set(order[:100]), set(order[100:200]), set(order[200:])]
    assert [len(pool) for pool in pools] == [100, 100, 50]
    assert set.union(*pools) == set(range(250))
    assert all(max(pool) - min(pool) > 150 for pool in pools), "a pool is drawn from the whole corpus"
    # No update crosses the end of a pool.
    for rows in updates_of(src, tgt, batch_tokens=300):
        assert any(pool.issuperset(rows) for pool in pools)


def test_a_pool_that_the_corpus_fills_exactly(monkeypatch):
    src, tgt = realistic_lengths(100)
    monkeypatch.setattr(batching, "POOL", 100)
    exactly = updates_of(src, tgt)
    monkeypatch.setattr(batching, "POOL", 1000)
    assert updates_of(src, tgt) == exactly


def test_equal_lengths_stay_shuffled():
    lengths = np.full(1000, 5, np.uint16)
    updates = updates_of(lengths, lengths, batch_tokens=60)
    assert {len(rows) for rows in updates} == {10}
    assert sum(rows == sorted(rows) for rows in updates) <= 2
    # Not only the order of updates changes with the epoch, but also their pairs.
    again = updates_of(lengths, lengths, batch_tokens=60, epoch=1)
    assert not set(map(frozenset, updates)) & set(map(frozenset, again))


@pytest.mark.parametrize(("n", "before", "share"), [(500, 0.95, 0.8), (7000, 0.75, 0.5), (29_000, 0.4, 0.35)])
def test_a_pair_is_with_other_pairs_in_the_next_epoch(n, before, share, monkeypatch):
    """Few pairs of an update are together again. Without noise it would be more, and in small corpora all."""
    src, tgt = realistic_lengths(n)

    def together_again() -> float:
        first, second = (updates_of(src, tgt, batch_tokens=1024, epoch=epoch) for epoch in (0, 1))
        update_of = {row: i for i, rows in enumerate(second) for row in rows}
        counts = [(len(rows), Counter(update_of[row] for row in rows)) for rows in first]
        again = sum(k * (k - 1) for _, count in counts for k in count.values())
        return again / sum(k * (k - 1) for k, _ in counts)

    with_noise = together_again()
    monkeypatch.setattr(batching, "_NOISE", 0.0)
    monkeypatch.setattr(batching, "_cut_updates", lambda tokens, most, _: batching._cut_full_updates(tokens, most))
    assert together_again() > before
    assert with_noise < share


def test_the_update_that_is_not_full_holds_pairs_of_any_length():
    """It would have the longest pairs in each epoch if updates were cut from the short end."""
    src, tgt = realistic_lengths(3000)
    ranks = []
    for epoch in range(30):
        updates = updates_of(src, tgt, batch_tokens=2000, epoch=epoch)
        assert sum(sum(int(tgt[row]) + 1 for row in rows) < 1700 for rows in updates) <= 2
        smallest = min(updates, key=lambda rows: sum(int(tgt[row]) + 1 for row in rows))
        ranks.append(float(np.mean(tgt[smallest].mean() > tgt)))
    assert min(ranks) < 0.3
    assert max(ranks) > 0.7
    assert sum(rank > 0.9 for rank in ranks) < 10


def test_pairs_of_an_update_are_sorted_by_length():
    src, tgt = realistic_lengths(3000)
    for rows in updates_of(src, tgt):
        lengths = [(max(src[row], tgt[row]), src[row]) for row in rows]
        assert lengths == sorted(lengths)


# Parts of an update ---------------------------------------------------------------------------------


@settings(database=None, deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=60), st.integers(1, 300))
def test_micro_batches_cover_every_row_in_order_within_the_limit(lengths, most):
    src, tgt = np.array(lengths, np.uint16).reshape(-1, 2).T
    rows = np.arange(len(lengths), dtype=np.uint32)[::-1]
    parts = [part.tolist() for part in micro_batches(rows, src, tgt, max_tokens=most)]
    assert order_of(parts) == rows.tolist()
    for part in parts:
        batch = collate([[9] * int(src[row]) for row in part], [[9] * int(tgt[row]) for row in part])
        assert max(batch.src.numel(), batch.tgt_out.numel()) <= most or len(part) == 1


def test_micro_batches_are_as_few_as_the_limit_allows():
    lengths = np.array([3, 3, 3, 3, 3, 9, 1], np.uint16)
    rows = np.arange(7, dtype=np.uint32)

    def parts(most: int) -> list[list[int]]:
        return [part.tolist() for part in micro_batches(rows, lengths, lengths, max_tokens=most)]

    assert parts(70) == [[0, 1, 2, 3, 4, 5, 6]]
    assert parts(69) == [[0, 1, 2, 3, 4], [5, 6]], "of much the same size"
    assert parts(16) == [[0, 1, 2], [3, 4], [5], [6]]
    assert parts(1) == [[i] for i in range(7)]
    assert list(micro_batches(rows[:0], lengths, lengths, max_tokens=10)) == []
    lengths[:] = [9, 1, 1, 1, 1, 1, 1]
    assert parts(10) == [[0], [1, 2, 3, 4], [5, 6]], "a long row costs only its own part"


def test_the_longer_side_counts():
    long, short = np.array([9, 9], np.uint16), np.array([1, 1], np.uint16)
    rows = np.array([0, 1], np.uint32)
    for src, tgt in ((long, short), (short, long)):
        assert [len(part) for part in micro_batches(rows, src, tgt, max_tokens=20)] == [2]
        assert [len(part) for part in micro_batches(rows, src, tgt, max_tokens=19)] == [1, 1]
