"""What the Transformer changed: python tests/benchmarks/ancestors.py TRAIN VALID LANGS [MINUTES ...].

Four tables, of an RNN, a CNN and a Transformer with 3+3 layers of width 256, all in fp32:

1. target tokens a second in training against the length of sentences, and the steps that must follow one another;
2. width of view: how much of the gradient of one encoder output reaches inputs at a distance, by the number of layers;
3. training speed beside a plain loop of PyTorch's own LSTM and Conv1d, on the corpus;
4. BLEU and chrF on the validation corpus after so many MINUTES (10 and 30) of training on it, by `seq2seq train`.
   Without minutes (``-``) this table is left out.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from straightforward import Loop
from straightforward_ancestors import AncestorLoop
from train_speed import endless, prepared_corpus, spread

from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.device import this_processor
from seq2seq.model import build_model
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.tokenizer import N_CONTROL
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.step import TrainStep

ARCHITECTURES = ("transformer", "cnn", "rnn")
V = 8000
LENGTHS = (8, 16, 32, 64, 128, 256, 512)
UPDATES = 4
"""Of each in a turn."""


def config_of(architecture: str, *, batch_tokens: int = 4096, layers: int = 3) -> RunConfig:
    return RunConfig(
        model=ModelConfig(
            architecture=architecture, d_model=256, d_ff=1024, encoder_layers=layers, decoder_layers=layers, dropout=0.3
        ),
        training=TrainingConfig(batch_tokens=batch_tokens, max_updates=100_000, precision="fp32"),
    )


# Speed ------------------------------------------------------------------------------------------------------------


def train_lengths(architecture: str, pipe: Connection) -> None:
    """The work of a process: updates of sentences of a requested length."""
    keep_freed_memory()
    step = TrainStep(config_of(architecture), V, torch.device("cpu"))
    step.replicas.__enter__()  # until the process ends
    draw, number = np.random.default_rng(0), 0
    pipe.send(None)
    while length := pipe.recv():
        n = 4096 // length
        sides = [[draw.integers(N_CONTROL, V, length - 1).tolist() for _ in range(n)] for _ in range(2)]
        pairs = TokenizedPairs(*sides)
        began = time.perf_counter()
        number += 1
        step.update(pairs, number)
        pipe.send(n * length / (time.perf_counter() - began))


def train_corpus(tool: str, folder: Path, corpus: str, langs: str, pipe: Connection) -> None:
    """The work of a process: updates on a corpus, by our training or by a plain loop."""
    architecture, _, is_plain = tool.partition(" ")
    prepared = prepared_corpus(folder, corpus, langs, V)
    config = config_of(architecture, batch_tokens=3200)
    updates, number = endless(Loader(prepared.ids, prepared.tokenizer, config)), 0
    vocabulary = len(prepared.tokenizer)
    if is_plain:
        loop = Loop(vocabulary) if architecture == "transformer" else AncestorLoop(architecture, vocabulary)
    else:
        keep_freed_memory()
        step = TrainStep(config, vocabulary, torch.device("cpu"))
        step.replicas.__enter__()  # until the process ends
    pipe.send(None)
    while n := pipe.recv():
        began, n_tokens = time.perf_counter(), 0
        for pairs in islice(updates, n):
            number += 1
            n_tokens += pairs.n_tgt_tokens
            if is_plain:
                loop.update(*([np.asarray(row).tolist() for row in side] for side in (pairs.src, pairs.tgt)))
            else:
                step.update(pairs, number)
        pipe.send(n_tokens / (time.perf_counter() - began))


class Process:
    """A process that works when it is its turn."""

    def __init__(self, target: object, *words: object) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=target, args=(*words, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.recv()

    def ask(self, task: int) -> float:
        """Target tokens a second."""
        self.pipe.send(task)
        speed: float = self.pipe.recv()
        time.sleep(0.3)  # its replicas stay busy for a while
        return speed

    def end(self) -> None:
        self.pipe.send(0)
        self.process.join()


def lengths_table(rounds: int = 5) -> None:
    processes = {name: Process(train_lengths, name) for name in ARCHITECTURES}
    print("| tokens of a sentence | " + " | ".join(ARCHITECTURES) + " | steps in a row: transformer, cnn; rnn |")
    print("|---" * (len(ARCHITECTURES) + 2) + "|")
    for length in LENGTHS:
        speeds: dict[str, list[float]] = {name: [] for name in ARCHITECTURES}
        for turn in range(rounds + 1):
            for name, process in processes.items():
                speed = process.ask(length)
                if turn:
                    speeds[name].append(speed)
        # Layers that must be computed one after the other; in an RNN each position of them, too.
        steps = f"6, 6; {2 * length + 4}"
        print(
            f"| {length} | " + " | ".join(spread(speeds[name]) for name in ARCHITECTURES) + f" | {steps} |", flush=True
        )
    for process in processes.values():
        process.end()


def plain_table(train: str, langs: str, rounds: int = 5) -> None:
    with tempfile.TemporaryDirectory() as work:
        prepared_corpus(Path(work), train, langs, V)
        names = [f"{name}{which}" for name in ARCHITECTURES for which in ("", " plain")]
        processes = {name: Process(train_corpus, name, Path(work), train, langs) for name in names}
        speeds: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds + 1):
            for name, process in processes.items():
                speed = process.ask(UPDATES)
                if turn:
                    speeds[name].append(speed)
        print("| | ours | plain loop | ratio in each turn |\n|---|---|---|---|")
        for name in ARCHITECTURES:
            ours, plain = speeds[name], speeds[f"{name} plain"]
            ratios = [a / b for a, b in zip(ours, plain, strict=True)]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"| {name} | {spread(ours)} | {spread(plain)} | {ratio} |", flush=True)
        for process in processes.values():
            process.end()


# Width of view ----------------------------------------------------------------------------------------------------


def view(architecture: str, layers: int, n: int = 129) -> list[float]:
    """Gradient of the encoder's output in the middle with respect to each input, in shares of the largest. [n]"""
    torch.manual_seed(0)
    model = build_model(config_of(architecture, layers=layers).model, V).eval()
    inputs: list[torch.Tensor] = []

    def remember(_module: object, _args: object, output: torch.Tensor) -> None:
        output.retain_grad()
        inputs.append(output)

    model.src_embedding.register_forward_hook(remember)
    encoded = model.encode(torch.arange(N_CONTROL, N_CONTROL + n).unsqueeze(0))
    memory = {"transformer": lambda: encoded, "cnn": lambda: encoded.keys, "rnn": lambda: encoded[0]}[architecture]()
    draw = torch.randn(memory.size(2), generator=torch.Generator().manual_seed(1))
    (memory[0, n // 2] @ draw).backward()
    norms = inputs[0].grad[0].norm(dim=1)
    return (norms / norms.max()).tolist()


def view_table() -> None:
    distances = (1, 2, 4, 8, 16, 32, 64)
    print("| | layers | inputs seen of 129 | " + " | ".join(f"at {d}" for d in distances) + " |")
    print("|---" * (3 + len(distances)) + "|")
    for name in ARCHITECTURES:
        for layers in (1, 2, 4, 8):
            shares = view(name, layers)
            middle, seen = len(shares) // 2, sum(share > 0 for share in shares)
            at = " | ".join(f"{shares[middle - d]:.2g}" if shares[middle - d] else "0" for d in distances)
            print(f"| {name} | {layers} | {seen} | {at} |", flush=True)


# Quality ----------------------------------------------------------------------------------------------------------


def bleu_table(train: str, valid: str, langs: str, minutes: list[int]) -> None:
    print("| | minutes | updates | target tokens/s | BLEU | chrF | loss |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for limit in minutes:
            for name in ARCHITECTURES:
                run = Path(work) / f"{name}-{limit}"
                words = ["train", "-l", langs, "--train", train, "--valid", valid, "-o", run, "--seed", "1"]
                sets = [f"model.architecture={name}", "training.precision=fp32", "training.samples=0"]
                words += ["--preset", "small", "--time-budget", f"{limit}m", "--device", "cpu"]
                words += [word for one in sets for word in ("--set", one)]
                subprocess.run([sys.executable, "-m", "seq2seq", *map(str, words)], check=True, capture_output=True)
                manifest = json.loads((run / "manifest.json").read_text())
                lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                scores = manifest["scores"]
                speed = statistics.median(line["tgt_tokens_per_second"] for line in lines)
                print(
                    f"| {name} | {limit} | {lines[-1]['update']:,} | {speed:,.0f} | {scores['bleu']:.1f} | "
                    f"{scores['chrf']:.1f} | {scores['valid_loss']:.2f} |",
                    flush=True,
                )


def main(train: str, valid: str, langs: str, *minutes: str) -> None:
    print(f"{torch.get_num_threads()} cores, {this_processor()}, PyTorch {torch.__version__}\n")
    lengths_table()
    print()
    view_table()
    print()
    plain_table(train, langs)
    if minutes != ("-",):
        print()
        bleu_table(train, valid, langs, [int(limit) for limit in minutes] or [10, 30])


if __name__ == "__main__":
    main(*sys.argv[1:])
