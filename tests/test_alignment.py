"""Misaligned corpora are detected by lengths alone, and no aligned corpus raises an alarm."""

import bz2
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from seq2seq.corpus import find_misalignment
from seq2seq.corpus.alignment import Misalignment

PHRASEBOOK = Path(__file__).parent.parent / "data" / "phrasebook"
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ZEHNER = ["", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
ONES = ["", "-one", "-two", "-three", "-four", "-five", "-six", "-seven", "-eight", "-nine"]
EINER = ["", "einund", "zweiund", "dreiund", "vierund", "fünfund", "sechsund", "siebenund", "achtund", "neunund"]


def lengths_of(lines):
    return np.array([len(line.encode()) for line in lines])


@pytest.fixture(scope="module")
def book():
    """Lengths of the phrasebook's sources and targets."""
    packed = ((PHRASEBOOK / f"train.{lang}.bz2").read_bytes() for lang in ("de", "en"))
    return [lengths_of(bz2.decompress(text).decode().splitlines()) for text in packed]


def drawn(n, *, correlation=0.9):
    """Log-normal lengths and those of translations."""
    noise = np.random.default_rng(0).normal(size=(2, n))
    logs = [noise[0], correlation * noise[0] + np.sqrt(1 - correlation**2) * noise[1]]
    return [np.round(np.exp(4 + 0.4 * log)).astype(int) for log in logs]


def without(lengths, start, n=1):
    """A side with missing lines, and other lines at the end instead."""
    return np.concatenate([lengths[:start], lengths[start + n :], lengths[:n]])


def with_more(lengths, start, n=1):
    """A side with additional lines, cut to the same length."""
    return np.concatenate([lengths[:start], lengths[-n:], lengths[start:-n]])


# Found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffled", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize(("n", "start"), [(500, 0), (1000, 0), (1000, 512), (20_000, 0), (20_000, 12_345)])
@pytest.mark.parametrize("lag", [1, -1, 3, -10])
def test_a_shift_is_found_where_it_begins(book, lag, n, start, shuffled):
    rows = np.random.default_rng(n + lag).permutation(20_000)[:n] if shuffled else slice(0, n)
    src, tgt = (side[rows] for side in book)
    tgt = with_more(tgt, start, lag) if lag > 0 else without(tgt, start, -lag)
    for one, other, expected in ((src, tgt, lag), (tgt, src, -lag)):
        found = find_misalignment(one, other)
        assert found is not None
        assert found.lag == expected
        assert abs(found.start - start) <= 100


def test_a_shift_that_is_repaired_later_is_found(book):
    src, tgt = book
    assert find_misalignment(without(src, 5000), without(tgt, 9000)) == Misalignment(5000, 1)


def test_a_shift_is_found_among_noise_and_lines_that_say_nothing(book):
    src, tgt = (side.copy() for side in book)
    noise = np.random.default_rng(0).random(len(tgt)) < 0.2
    tgt[noise] = np.random.default_rng(1).permutation(tgt[noise])
    for side in (src, tgt):
        side[2000:6000] = 40
    found = find_misalignment(src, without(tgt, 1500))
    assert found is not None
    assert found.lag == -1
    assert abs(found.start - 1500) <= 100


@pytest.mark.parametrize("start", [0, 6000])
@pytest.mark.parametrize("how", ["another order", "lines missing"])
def test_unrelated_sides_are_found(book, how, start):
    src, tgt = book
    if how == "another order":
        other = np.concatenate([tgt[:start], np.random.default_rng(0).permutation(tgt[start:])])
    else:
        other = without(tgt, start, 40)
    found = find_misalignment(src, other)
    assert found is not None
    assert found.lag is None
    assert abs(found.start - start) <= 250


# No alarm ----------------------------------------------------------------------------------------

ORDERS = {
    "as it is": lambda src, tgt: np.arange(len(src)),
    "backwards": lambda src, tgt: np.arange(len(src))[::-1],
    "shuffled": lambda src, tgt: np.random.default_rng(0).permutation(len(src)),
    "by source length": lambda src, tgt: np.argsort(src, kind="stable"),
    "by target length": lambda src, tgt: np.argsort(tgt, kind="stable"),
    "by both lengths": lambda src, tgt: np.argsort(src + tgt, kind="stable"),  # what is longer here is shorter there
    "by both, in buckets": lambda src, tgt: np.argsort((src + tgt) // 48, kind="stable"),
    "by the longer, in buckets": lambda src, tgt: np.argsort(np.maximum(src, tgt) // 24, kind="stable"),
    "by ratio": lambda src, tgt: np.argsort(src / tgt, kind="stable"),
    "each five times": lambda src, tgt: np.repeat(np.arange(len(src)), 5),
}


@pytest.mark.parametrize("correlation", [0.95, 0.8, 0.5, 0.3])
@pytest.mark.parametrize("order", ORDERS)
def test_no_order_of_aligned_text_raises_an_alarm(order, correlation):
    src, tgt = drawn(10_000, correlation=correlation)
    rows = ORDERS[order](src, tgt)
    assert find_misalignment(src[rows], tgt[rows]) is None


@pytest.mark.parametrize("order", ORDERS)
def test_the_phrasebook_raises_no_alarm_in_any_order(book, order):
    rows = ORDERS[order](*book)
    assert find_misalignment(*(side[rows] for side in book)) is None


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_noise_spread_over_the_corpus_raises_no_alarm(book, share):
    src, tgt = book[0], book[1].copy()
    noise = np.random.default_rng(0).random(len(tgt)) < share
    tgt[noise] = np.random.default_rng(1).permutation(tgt[noise])
    assert find_misalignment(src, tgt) is None


def test_short_misaligned_parts_raise_no_alarm(book):
    """As when a crawled document is divided into other sentences."""
    src, tgt = book[0], book[1].copy()
    for start in range(0, 19_000, 400):
        tgt[start : start + 40] = np.roll(tgt[start : start + 40], 1)
    assert find_misalignment(src, tgt) is None


def test_an_unrelated_part_of_a_large_corpus_raises_no_alarm(book):
    src, tgt = book[0], book[1].copy()
    tgt[3000:4500] = np.random.default_rng(0).permutation(tgt[3000:4500])
    assert find_misalignment(src, tgt) is None
    assert find_misalignment(src[:9000], tgt[:9000]) is not None


def test_many_pairs_raise_no_alarm():
    assert find_misalignment(*drawn(300_000, correlation=0.4)) is None


def lists():
    """Lines without sentences, whose lengths are unrelated to their translations'."""
    draw = np.random.default_rng(3)
    nouns = draw.integers(3, 20, (2, 37))
    frames = draw.integers(10, 40, 60)
    de = [f"{EINER[i % 10]}{ZEHNER[i // 10]}" for i in range(20, 100)]
    en = [f"{TENS[i // 10]}{ONES[i % 10]}" for i in range(20, 100)]
    yield "constant", [7] * 5000, [9] * 5000
    yield "blank", [0] * 5000, [0] * 5000
    yield "one long line", [10] * 500 + [900] + [10] * 500, [12] * 501 + [900] + [12] * 499
    yield "counting", lengths_of(map(str, range(5000))), lengths_of(f"no. {i}" for i in range(5000))
    yield "numbers in words", list(islice(cycle(lengths_of(de)), 4000)), list(islice(cycle(lengths_of(en)), 4000))
    yield "nouns again and again", np.tile(nouns[0], 60), np.tile(nouns[1], 60)
    yield "nouns in frames", *((frames[:, None] + side).ravel() for side in nouns)
    yield "frames of nouns", *((side[:, None] + frames).ravel() for side in nouns)
    yield "slots in a template", *(50 + draw.integers(0, 5, 5000) for _ in range(2))
    yield "words", draw.integers(3, 14, 5000), draw.integers(3, 14, 5000)
    yield "copies", *([draw.integers(3, 200, 5000)] * 2)
    yield "two lines", [3, 90] * 2000, [4, 70] * 2000
    yield "questions and answers", [60, 9] * 2000, [50, 8] * 2000


@pytest.mark.parametrize(("src", "tgt"), [row[1:] for row in lists()], ids=[row[0] for row in lists()])
def test_lists_and_templates_raise_no_alarm(src, tgt):
    assert find_misalignment(src, tgt) is None


@pytest.mark.parametrize("n", [0, 1, 49, 50, 51, 100, 149])
def test_a_few_pairs_raise_no_alarm(n):
    src, tgt = drawn(n + 1)
    assert find_misalignment(src[:-1], tgt[1:]) is None


@pytest.mark.parametrize("seed", range(10))
def test_small_aligned_corpora_raise_no_alarm(book, seed):
    draw = np.random.default_rng(seed)
    for n in (150, 300, 1000):
        rows = draw.permutation(20_000)[:n]
        assert find_misalignment(*(side[rows] for side in book)) is None
