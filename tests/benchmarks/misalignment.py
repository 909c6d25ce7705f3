"""How reliably misaligned text is detected, and the time of that and of the search for leaks and copies.

    python tests/benchmarks/misalignment.py CORPUS LANGS [REPEATS]

Subsets of a corpus, half of them in its order and half shuffled, are checked unchanged and after several kinds of
damage. It prints in per cent how many raise an alarm; with 20% of pairs misaligned at random there should be none. Then
it prints the seconds of the check, and of the search for leaks and copies.
"""

import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from seq2seq.corpus import TextStore, find_misalignment, read_pairs, write_text_store
from seq2seq.training.overlap import find_overlap

SIZES = 100, 300, 500, 1000, 3000, 29_000


def damaged(src: np.ndarray, tgt: np.ndarray, random: np.random.Generator) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lengths of both sides after each kind of damage."""

    def inserted(at: int, n: int, into: np.ndarray = tgt) -> np.ndarray:
        return np.insert(into, at, random.choice(tgt, n))

    n, middle = len(src), int(random.integers(len(src) // 4, len(src) // 2))
    noisy, is_noise = tgt.copy(), random.random(n) < 0.2
    noisy[is_noise] = random.permutation(noisy[is_noise])
    found = {"as it is": tgt, "20% noise": noisy, "permuted": random.permutation(tgt)}
    found |= {f"{k} added": inserted(0, k) for k in (1, 2, 3)}
    found |= {f"{k} missing": tgt[k:] for k in (1, 10)}
    found["1 missing midway"] = np.delete(tgt, middle)
    found["and made up for"] = inserted(n * 3 // 4, 1, np.delete(tgt, middle))
    return {kind: (src[: len(side)], side[: len(src)]) for kind, side in found.items()}


def main() -> None:
    corpus, langs, repeats = sys.argv[1], sys.argv[2].split("-"), int((sys.argv[3:] or ["20"])[0])
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        n = write_text_store(Path(folder) / "text", read_pairs(corpus, (langs[0], langs[1])))
        text = TextStore(Path(folder) / "text")
        reading = time.process_time() - started
        started = time.process_time()
        lengths = [text.lengths(side) for side in (0, 1)]
        find_misalignment(*lengths)
        alarm = time.process_time() - started
        started = time.process_time()
        find_overlap(text, text.slice(0, 1000), drop=True)
        overlap = time.process_time() - started
    random = np.random.default_rng(1)
    for size in (size for size in SIZES if size <= n):
        called = defaultdict(list)
        for i in range(repeats):
            start = int(random.integers(0, n - size + 1))
            rows = np.arange(start, start + size) if i % 2 else random.permutation(n)[:size]
            for kind, sides in damaged(lengths[0][rows], lengths[1][rows], random).items():
                called[kind].append(find_misalignment(*sides) is not None)
        if size == SIZES[0]:
            print(f"| pairs | {' | '.join(called)} |\n|{'---|' * (1 + len(called))}")
        print(f"| {size:,} | {' | '.join(f'{100 * np.mean(times):.0f}' for times in called.values())} |", flush=True)
    print(f"{n:,} pairs: reading {reading:.2f} s, alarm {alarm:.3f} s, leaks and copies {overlap:.3f} s (CPU)")


if __name__ == "__main__":
    main()
