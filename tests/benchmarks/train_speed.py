"""Training speed: python tests/benchmarks/train_speed.py CORPUS LANGS [ROUNDS [TOKENS]].

Model R (3+3 layers, width 256, 1024, vocabulary 8,000, dropout 0.3) makes the same updates of TOKENS (3,200) target
tokens: by our training step in the arithmetic that it chooses and in fp32 by each library, and by the straightforward
loop in this folder. They take turns of a few updates, ROUNDS times (9), each in its own process. With the median of
target tokens a second it prints the fraction of the matmul rate at that time: of a 1024 x 1024 fp32 product by the
faster library.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from straightforward import Loop

from seq2seq.batching import collate
from seq2seq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from seq2seq.device import has_bf16, this_processor
from seq2seq.model.products import Library, Products, can_multiply
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.training.arithmetic import choose_arithmetic
from seq2seq.training.ingest import read_corpora
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.prepare import Prepared, prepare
from seq2seq.training.step import TrainStep

OURS, MKL, ONEDNN, BF16 = "seq2seq", "seq2seq, fp32 by MKL", "seq2seq, fp32 by oneDNN", "seq2seq, bf16"
LOOP, SAMPLING = "straightforward loop", "seq2seq with subword sampling"
ARITHMETIC: dict[str, dict[str, Any]] = {
    MKL: {"precision": "fp32", "products": "mkl"},
    ONEDNN: {"precision": "fp32", "products": "onednn"},
    BF16: {"precision": "bf16"},
}
UPDATES = 6
"""Of each in a turn."""
MFLOP_A_TOKEN = 44.5
"""Of model R, forward and backward: arithmetic of matrix products for a target token and its source."""


def prepared_corpus(folder: Path, corpus: str, langs: str, vocab_size: int) -> Prepared:
    data = DataConfig(langs=langs, train=(corpus,), vocab_size=vocab_size)
    records = read_corpora(folder, data, lambda *_: None)
    return prepare(folder, data, records, lambda *_: None)


def endless(loader: Loader) -> Iterator[TokenizedPairs]:
    return (pairs for pairs, *_ in loader.updates(0))


def matmul_rate() -> float:
    """GFLOP/s of a product of two fp32 matrices of 1024 x 1024, all cores, by the faster library."""
    a, seconds = torch.randn(1024, 1024), []
    libraries: list[Library] = ["mkl", "onednn"] if can_multiply("fp32") else ["mkl"]
    for library in libraries * 8:
        began = time.perf_counter()
        Products(a, library).grad_input(a, len(a))
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds) / 1e9


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def learn(tool: str, folder: Path, corpus: str, langs: str, tokens: int, pipe: Connection) -> None:
    """The work of a process: make the requested number of updates, and print the seconds that they took."""
    prepared = prepared_corpus(folder, corpus, langs, 8000)
    config = RunConfig(
        data=DataConfig(subword_sampling=0.5 if tool == SAMPLING else 0.0),
        model=ModelConfig(d_model=256, d_ff=1024, encoder_layers=3, decoder_layers=3, dropout=0.3),
        training=TrainingConfig(batch_tokens=tokens, max_updates=100_000, **ARITHMETIC.get(tool, {})),
    )
    loader = Loader(prepared.ids, prepared.tokenizer, config)
    if tool == LOOP:
        loop = Loop(len(prepared.tokenizer))
    else:
        keep_freed_memory()  # as `seq2seq train` does
        step = TrainStep(config, len(prepared.tokenizer), torch.device("cpu"))
        step.replicas.__enter__()  # until the process ends
    updates, number = endless(loader), 0
    pipe.send((len(prepared.tokenizer), padding(Loader(prepared.ids, prepared.tokenizer, config))))
    while n := pipe.recv():
        began, n_tokens = time.perf_counter(), 0
        for pairs in islice(updates, n):
            number += 1
            n_tokens += pairs.n_tgt_tokens
            if tool == LOOP:
                loop.update(*([np.asarray(row).tolist() for row in side] for side in (pairs.src, pairs.tgt)))
            else:
                step.update(pairs, number)
        pipe.send((n_tokens, time.perf_counter() - began, loader.seconds_waited))


class Tool:
    """A process that trains when it is its turn."""

    def __init__(self, name: str, *words: object) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=learn, args=(name, *words, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that its end is noticed
        self.vocabulary, self.padding = self.pipe.recv()

    def updates(self, n: int) -> tuple[int, float, float]:
        """Target tokens, seconds, and seconds waited for the loader so far."""
        self.pipe.send(n)
        return self.pipe.recv()  # type: ignore[no-any-return]

    def end(self) -> None:
        self.pipe.send(0)
        self.process.join()


def main(corpus: str, langs: str, rounds: str = "9", tokens: str = "3200") -> None:
    with tempfile.TemporaryDirectory() as work:
        words = (Path(work), corpus, langs, int(tokens))
        prepared = prepared_corpus(*words[:3], 8000)
        names = [OURS, MKL, *([ONEDNN] if can_multiply("fp32") else []), *([BF16] if has_bf16() else []), LOOP]
        tools = {name: Tool(name, *words) for name in names}
        speeds: dict[str, list[float]] = {name: [] for name in tools}
        rates = []
        for turn in range(int(rounds) + 1):  # the first one warms up
            rates.append(matmul_rate())
            for name, tool in tools.items():
                n_tokens, seconds, _ = tool.updates(UPDATES)
                time.sleep(1)  # its replicas stay busy for a while
                if turn:
                    speeds[name].append(n_tokens / seconds)
        rate = statistics.median(rates)
        print(f"{corpus}, {tokens} target tokens an update, {torch.get_num_threads()} cores, {torch.__version__}")
        print(f"{this_processor()}, which trains in {choose_arithmetic(TrainingConfig(), torch.device('cpu'))}")
        print(f"matmul 1024 x 1024 fp32: {spread(rates)} GFLOP/s\n")
        print("| | target tokens/s, median (spread) | of the matmul rate | ratio to the loop in each turn |")
        print("|---|---|---|---|")
        for name in tools:
            share = statistics.median(speeds[name]) * MFLOP_A_TOKEN / 1e3 / rate
            ratios = [one / other for one, other in zip(speeds[name], speeds[LOOP], strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"| {name} | {spread(speeds[name])} | {share:.0%} | {ratio} |")
        print(f"\npadding {tools[OURS].padding:.1%} of all positions", flush=True)
        for tool in tools.values():
            tool.end()
        sampling = Tool(SAMPLING, *words)
        n_tokens, seconds, waited = sampling.updates(1 + prepared.n_tgt_tokens // int(tokens))  # an epoch
        print(
            f"{SAMPLING}: {n_tokens / seconds:,.0f} target tokens/s over an epoch, {waited / seconds:.2%} of the time "
            f"waiting for the loader, padding {sampling.padding:.1%}"
        )
        sampling.end()


def padding(loader: Loader) -> float:
    """Fraction of padding in 200 updates."""
    batches = [collate(pairs.src, pairs.tgt) for pairs in islice(endless(loader), 200)]
    return sum(b.n_padding for b in batches) / sum(b.src.numel() + b.tgt_out.numel() for b in batches)


if __name__ == "__main__":
    main(*sys.argv[1:])
