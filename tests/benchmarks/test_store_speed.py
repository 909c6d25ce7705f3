"""The store of pairs against ``datasets``, which reads the same Arrow files: a batch of random rows.

    pytest -m benchmark -s tests/benchmarks/test_store_speed.py

Why ``corpus/store.py`` maps the files itself: see docs/lab-notes.md.
"""

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seq2seq.corpus import IdsStore, write_ids_store

pytestmark = pytest.mark.benchmark

ROWS, BATCH, ROUNDS, BATCHES = 200_000, 128, 7, 50


def seconds_a_batch(take: Callable[[np.ndarray], object], seed: int) -> float:
    draw = np.random.default_rng(seed)
    began = time.perf_counter()
    for _ in range(BATCHES):
        take(draw.integers(0, ROWS, BATCH))
    return (time.perf_counter() - began) / BATCHES


def test_random_batches(tmp_path: Path):
    import datasets

    draw = random.Random(0)
    rows = [([draw.randrange(8000) for _ in range(draw.randint(5, 40))] for _ in range(2)) for _ in range(ROWS)]
    pairs = [(src, tgt) for src, tgt in rows]
    write_ids_store(tmp_path / "ids.arrow", pairs, vocab_size=8000)
    ours = IdsStore(tmp_path / "ids.arrow")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"src": [p[0] for p in pairs], "tgt": [p[1] for p in pairs]})
    made.save_to_disk(tmp_path / "datasets")
    theirs = datasets.load_from_disk(tmp_path / "datasets").with_format("numpy")
    a, b = [], []
    for round_ in range(ROUNDS):  # in turn, so that changes of the machine's speed affect both
        a.append(seconds_a_batch(ours.take, round_))
        b.append(seconds_a_batch(lambda index: theirs[index.tolist()], round_))
    ratio = statistics.median(y / x for x, y in zip(a, b, strict=True))
    print(
        f"\na batch of {BATCH} random pairs of ids: ours {statistics.median(a) * 1e6:,.0f} µs, "
        f"datasets {statistics.median(b) * 1e6:,.0f} µs; ratio {ratio:.0f}"
    )
    src, tgt = ours.take([5, 3])
    assert [list(src[0]), list(tgt[1])] == [pairs[5][0], pairs[3][1]]
