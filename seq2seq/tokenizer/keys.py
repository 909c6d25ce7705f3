"""Counter-based random numbers. They depend only on (seed, epoch, row), not on earlier draws."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]


def row_keys(seed: int, epoch: int, rows: NDArray[np.integer], side: int) -> Keys:
    """A key for each row of a corpus.

    Args:
        seed: of the run.
        epoch: counted from 0.
        rows: rows of the corpus. [R]
        side: 0 for sources, 1 for targets.
    """
    start = np.random.SeedSequence((seed, epoch, side)).generate_state(1, np.uint64).astype(np.uint64)
    return random_numbers(start, rows)


def random_numbers(keys: Keys, n: NDArray[np.integer] | int) -> Keys:
    """The n-th random number of each key: SplitMix64 (Steele, Lea and Flood 2014)."""
    mixed: Keys = keys + (np.atleast_1d(n).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
