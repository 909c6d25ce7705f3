"""What the pairs of an update cost in Python: reading, dividing, padding; and what of it training waits for.

    python tests/benchmarks/reading_speed.py RUN [ROUNDS]

RUN: a folder that ``train`` has written; its ``prepared`` pairs are read. Process time on one core, median and
quartiles, of the update in the middle of an epoch. Then a device is played by a sleep: training waits for it as for a
GPU, with a reader that is 0 or 2 updates ahead, in turn.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from seq2seq.batching import collate, epoch_updates
from seq2seq.corpus import IdsStore
from seq2seq.runs.loading import read_run
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.pass_input import PassInput

UPDATES = {4096: (0.0025, 300), 25_000: (0.035, 50)}
"""Target tokens of an update; the seconds that a GPU might take for it, and the updates timed."""


def summary(milliseconds: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(milliseconds, n=4)
    return f"{middle:7.3f} ms ({low:.3f}-{high:.3f})"


def timed(work: Callable[[], object], rounds: int) -> str:
    """The process time of some work."""
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time_ns()
        work()
        found.append((time.process_time_ns() - began) / 1e6)
    return summary(found)


def parts(ids: IdsStore, tokens: int) -> dict[str, Callable[[], object]]:
    """Each part of the work for one update, by its name."""
    options = {"batch_tokens": tokens, "seed": 1, "epoch": 0}
    updates = list(epoch_updates(ids.src_lengths, ids.tgt_lengths, **options))
    rows = updates[len(updates) // 2]
    pairs, cpu = TokenizedPairs(*ids.take(rows)), torch.device("cpu")
    batch = collate(pairs.src, pairs.tgt)

    def whole() -> None:
        read = TokenizedPairs(*ids.take(rows))
        for shard in read.shards(1):
            for part in shard.micro_batches(max_tokens=1 << 30):
                padded = collate(part.src, part.tgt)
                PassInput.from_batch(padded, cpu)
        assert read.n_tgt_tokens
        assert padded.n_padding >= 0

    return {
        f"{tokens:,} tokens, {len(rows):,} pairs: read": lambda: TokenizedPairs(*ids.take(rows)),
        "target tokens": lambda: pairs.n_tgt_tokens,
        "two shards": lambda: pairs.shards(2),
        "one micro-batch": lambda: list(pairs.micro_batches(max_tokens=1 << 30)),
        "micro-batches of 3,072": lambda: list(pairs.micro_batches(max_tokens=3072)),
        "... that save padding": lambda: list(pairs.micro_batches(max_tokens=3072, min_saved=100)),
        "collate": lambda: collate(pairs.src, pairs.tgt),
        "count padding": lambda: batch.n_padding,
        "input of the pass": lambda: PassInput.from_batch(batch, cpu),
        "all for one micro-batch": whole,
    }


def main(run: Path, rounds: int) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    _, config, tokenizer = read_run(run)
    ids = IdsStore(run / "prepared" / "train.ids.arrow")
    for tokens in UPDATES:
        for name, work in parts(ids, tokens).items():
            print(f"{name:45} {timed(work, rounds)}")
    for tokens, (seconds, n) in UPDATES.items():
        reading = replace(config, training=replace(config.training, batch_tokens=tokens))
        waited: dict[int, list[float]] = {0: [], 2: []}
        for _ in range(5):
            for n_ahead, found in waited.items():
                loader = Loader(ids, tokenizer, reading, n_ahead=n_ahead)
                updates = loader.updates(0)
                next(updates)
                loader.seconds_waited = 0.0
                for _ in islice(updates, n):
                    time.sleep(seconds)
                updates.close()
                found.append(loader.seconds_waited / n * 1e3)
        for n_ahead, found in waited.items():
            print(f"{tokens:,} tokens, {seconds * 1e3:g} ms an update, {n_ahead} ahead: waits {summary(found)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30)
