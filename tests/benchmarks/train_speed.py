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
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from straightforward import Loop

from seq2seq.batching import collate
from seq2seq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from seq2seq.training.corpora import read_corpora
from seq2seq.training.learner import Learner
from seq2seq.training.loader import Loader, Portion
from seq2seq.training.memory import keep_freed_memory
from seq2seq.training.prepare import Prepared, prepare

UPDATES = 6
"""Of each in a turn."""
MFLOP_A_TOKEN = 44.5
"""Of model R, forward and backward: arithmetic of matrix products for a target token and its source."""


def prepared_corpus(folder: Path, corpus: str, langs: str, vocab_size: int) -> Prepared:
    data = DataConfig(langs=langs, train=(corpus,), vocab_size=vocab_size)
    records = read_corpora(folder, data, lambda *_: None)
    return prepare(folder, data, records, lambda *_: None)


def endless(loader: Loader) -> Iterator[Portion]:
    return (portion for portion, _ in loader.updates(0))


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
    keep_freed_memory()  # as `seq2seq train` does; the loop beside gains from it too
    with tempfile.TemporaryDirectory() as work:
        prepared = prepared_corpus(Path(work), corpus, langs, 8000)
        vocabulary = len(prepared.tokenizer)
        config = RunConfig(
            model=ModelConfig(d_model=256, d_ff=1024, encoder_layers=3, decoder_layers=3, dropout=0.3),
            training=TrainingConfig(batch_tokens=int(tokens), max_updates=100_000),
        )
        learner, loop = Learner(config, vocabulary, torch.device("cpu")), Loop(vocabulary)
        number = 0

        def ours(portion: Portion) -> None:
            nonlocal number
            number += 1
            learner.update(portion, number)

        def theirs(portion: Portion) -> None:
            loop.update([list(row) for row in portion.src], [list(row) for row in portion.tgt])

        tools: dict[str, Callable[[Portion], None]] = {"seq2seq": ours, "straightforward loop": theirs}
        speeds: dict[str, list[float]] = {name: [] for name in tools}
        rates, ratios, updates = [], [], endless(Loader(prepared.ids, prepared.tokenizer, config))
        for turn in range(int(rounds) + 1):  # the first one warms up
            rates.append(matmul_rate())
            several = list(islice(updates, UPDATES))
            n_tokens = sum(portion.n_tgt_tokens for portion in several)
            for name, update in tools.items():
                began = time.perf_counter()
                for portion in several:
                    update(portion)
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
        print(f"padding {padding(Loader(prepared.ids, prepared.tokenizer, config)):.1%} of all positions")
        for alpha in (0.0, 0.5):
            data = DataConfig(subword_sampling=alpha)
            loader = Loader(prepared.ids, prepared.tokenizer, replace(config, data=data))
            began = time.perf_counter()
            for portion in islice(endless(loader), 4 * UPDATES):
                ours(portion)
            share = loader.seconds_waited / (time.perf_counter() - began)
            print(f"subword_sampling {alpha}: {share:.2%} of the time is waiting for the loader")


def padding(loader: Loader) -> float:
    """Share of the positions of 200 updates."""
    batches = [collate(portion.src, portion.tgt) for portion in islice(endless(loader), 200)]
    return sum(b.n_padding for b in batches) / sum(b.src.numel() + b.tgt_out.numel() for b in batches)


if __name__ == "__main__":
    main(*sys.argv[1:])
