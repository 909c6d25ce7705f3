"""How fast we train: python tests/benchmarks/train_speed.py CORPUS LANGS [ROUNDS [TOKENS]].

Model R (3+3 layers, width 256, 1024, vocabulary 8,000, dropout 0.3) takes the same updates of TOKENS (3,200) target
tokens by our learner and by the straightforward loop beside this file, in turns of a few updates, ROUNDS times (9).
Beside the median of target tokens a second stands the matmul rate of the same moments: a 1024 x 1024 fp32 product.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from straightforward import Loop

from seq2seq.batching import Rows, collate, epoch_updates
from seq2seq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from seq2seq.training.corpora import read_corpora
from seq2seq.training.learner import Learner
from seq2seq.training.prepare import Prepared, prepare

UPDATES = 6
"""Of each in a turn."""
MFLOP_A_TOKEN = 44.5
"""Of model R, forward and backward: arithmetic of matrix products for a target token and its source."""


def prepared_corpus(folder: Path, corpus: str, langs: str, vocab_size: int) -> Prepared:
    data = DataConfig(langs=langs, train=(corpus,), vocab_size=vocab_size)
    records = read_corpora(folder, data, lambda *_: None)
    return prepare(folder, data, records, lambda *_: None)


def endless(prepared: Prepared, tokens: int) -> Iterator[Rows]:
    lengths = prepared.ids.src_lengths, prepared.ids.tgt_lengths
    epoch = 0
    while True:
        yield from epoch_updates(*lengths, batch_tokens=tokens, seed=1, epoch=epoch)
        epoch += 1


def matmul_rate() -> float:
    """GFLOP/s of a product of two fp32 matrices of 1024 x 1024, all cores."""
    a = torch.randn(1024, 1024)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds) / 1e9


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def main(corpus: str, langs: str, rounds: str = "9", tokens: str = "3200") -> None:
    with tempfile.TemporaryDirectory() as work:
        prepared = prepared_corpus(Path(work), corpus, langs, 8000)
        ids, vocabulary = prepared.ids, len(prepared.tokenizer)
        config = RunConfig(
            model=ModelConfig(d_model=256, d_ff=1024, encoder_layers=3, decoder_layers=3, dropout=0.3),
            training=TrainingConfig(batch_tokens=int(tokens), max_updates=100_000),
        )
        learner, loop = Learner(config, ids, vocabulary, torch.device("cpu")), Loop(vocabulary)
        number = 0

        def ours(rows: Rows) -> None:
            nonlocal number
            number += 1
            learner.update(rows, number)

        def theirs(rows: Rows) -> None:
            src, tgt = ids.take(rows)
            loop.update([row.tolist() for row in src], [row.tolist() for row in tgt])

        tools: dict[str, Callable[[Rows], None]] = {"seq2seq": ours, "straightforward loop": theirs}
        speeds: dict[str, list[float]] = {name: [] for name in tools}
        rates, ratios, updates = [], [], endless(prepared, int(tokens))
        for turn in range(int(rounds) + 1):  # the first one warms up
            rates.append(matmul_rate())
            several = list(islice(updates, UPDATES))
            n_tokens = sum(int(ids.tgt_lengths[rows].astype("int64").sum()) + len(rows) for rows in several)
            for name, update in tools.items():
                began = time.perf_counter()
                for rows in several:
                    update(rows)
                if turn:
                    speeds[name].append(n_tokens / (time.perf_counter() - began))
            if turn:
                ratios.append(speeds["seq2seq"][-1] / speeds["straightforward loop"][-1])
        rate = statistics.median(rates)
        print(f"{corpus}, {tokens} target tokens an update, {torch.get_num_threads()} cores, {torch.__version__}")
        print(f"matmul 1024 x 1024 fp32: {spread(rates)} GFLOP/s\n")
        print("| | target tokens/s, median (spread) | of the matmul rate |\n|---|---|---|")
        for name in tools:
            share = statistics.median(speeds[name]) * MFLOP_A_TOKEN / 1e3 / rate
            print(f"| {name} | {spread(speeds[name])} | {share:.0%} |")
        print(f"\nratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")
        padding, positions, seconds = loading(prepared, int(tokens))
        print(f"padding {padding / positions:.1%} of all positions; loading {seconds * 1e3:.2f} ms an update")


def loading(prepared: Prepared, tokens: int) -> tuple[int, int, float]:
    """Padding and positions of a pass, and the seconds that reading an update takes."""
    n_padding = n_positions = n_updates = 0
    seconds = 0.0
    updates = endless(prepared, tokens)
    for _ in range(200):
        began = time.perf_counter()
        batch = collate(*prepared.ids.take(next(updates)))
        seconds += time.perf_counter() - began
        n_padding += batch.n_padding
        n_positions += batch.src.numel() + batch.tgt_out.numel()
        n_updates += 1
    return n_padding, n_positions, seconds / n_updates


if __name__ == "__main__":
    main(*sys.argv[1:])
