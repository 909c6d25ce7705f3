"""Speed of several versions of seq2seq: python tests/benchmarks/compare_versions.py ROUNDS CORPUS WHAT TREE[:RUN] ...

A TREE is a checkout (`git worktree add`), a RUN a run folder in that version's format. WHAT is `translate`: two copies
of CORPUS (a prefix of .de and .en) from a file to a file, greedy and with beam 4, and 60 single sentences; or `train`
or `train-r-drop`: updates of model R on it. Each version works in its own process, in turn: A B C A B C. Ratios compare
times of the same round: with the version before, and with the first one.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

REST = 0.7
"""Seconds between two turns: threads and replicas stay awake for a while."""
UPDATES, SINGLES = 6, 60


class Version:
    """A checkout that works in its own process."""

    def __init__(self, word: str, what: str, corpus: str, work: str) -> None:
        tree, _, self.run = word.partition(":")
        self.name = subprocess.run(
            ["git", "-C", tree, "log", "-1", "--format=%h %s"], capture_output=True, text=True, check=True
        ).stdout.strip()[:60]
        command = [sys.executable, __file__, "--serve", what, corpus, self.run, tempfile.mkdtemp(dir=work)]
        env = {**os.environ, "PYTHONPATH": tree}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.ask("ready")

    def ask(self, task: str) -> float:
        """Seconds that a task took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{task}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        return float(json.loads(answer))


def translating(corpus: str, run: str, work: Path) -> dict[str, Callable[[], Any]]:
    import seq2seq.translation
    from seq2seq.corpus import read_pairs
    from seq2seq.translation import Translator

    lines = [pair.src for pair in read_pairs(corpus, ("de", "en"))]
    source = work / "source"
    source.write_text("".join(f"{line}\n" for line in lines * 2), encoding="utf-8")
    if hasattr(seq2seq.translation, "translate_file"):

        def translate(translator: Translator, source: str, output: str) -> None:
            for _ in seq2seq.translation.translate_file(translator, source, output):
                pass
    else:  # a version that showed progress itself
        from seq2seq.cli.stream import translate_stream as translate
    by_beam = {beams: Translator.load(run, decoding={"beam_size": beams}, device="cpu") for beams in (1, 4)}

    def file(beams: int) -> None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # its progress
        translate(by_beam[beams], str(source), str(work / f"out{beams}"))

    def singles(beams: int) -> None:
        for line in lines[:SINGLES]:
            by_beam[beams].translate([line])

    return {
        "file, greedy": lambda: file(1),
        "file, beam 4": lambda: file(4),
        "one by one, greedy": lambda: singles(1),
        "one by one, beam 4": lambda: singles(4),
    }


def training(corpus: str, work: Path, r_drop: float) -> dict[str, Callable[[], Any]]:
    import torch

    from seq2seq.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
    from seq2seq.training.loader import Loader
    from seq2seq.training.prepare import prepare

    try:
        from seq2seq.system.allocator import keep_freed_memory
        from seq2seq.training.ingest import read_corpora
        from seq2seq.training.step import TrainStep
    except ImportError:  # the names of versions before the rooms were divided so
        from seq2seq.training.corpora import read_corpora
        from seq2seq.training.learner import Learner as TrainStep
        from seq2seq.training.memory import keep_freed_memory

    data = DataConfig(langs="de-en", train=(corpus,), vocab_size=8000)
    prepared = prepare(work, data, read_corpora(work, data, lambda *_: None), lambda *_: None)
    config = RunConfig(
        model=ModelConfig(d_model=256, d_ff=1024, encoder_layers=3, decoder_layers=3, dropout=0.3),
        training=TrainingConfig(batch_tokens=3200, max_updates=100_000, r_drop=r_drop),
    )
    keep_freed_memory()  # as `seq2seq train` does
    train_step = TrainStep(config, len(prepared.tokenizer), torch.device("cpu"))
    train_step.replicas.__enter__()  # until the process ends
    updates = Loader(prepared.ids, prepared.tokenizer, config).updates(0)
    numbers = iter(range(1, 100_000))

    def some() -> None:
        for pairs, *_ in islice(updates, UPDATES):
            train_step.update(pairs, next(numbers))

    return {f"{UPDATES} updates": some}


def serve(what: str, corpus: str, run: str, work: str) -> None:
    """Do the task that each line of stdin names, and print the seconds that it took."""
    answers, sys.stdout = sys.stdout, sys.stderr
    place = Path(work)
    tasks = (
        translating(corpus, run, place)
        if what == "translate"
        else training(corpus, place, 5.0 if what.endswith("r-drop") else 0.0)
    )
    for line in sys.stdin:
        began = time.perf_counter()
        tasks.get(line.strip(), lambda: None)()
        answers.write(json.dumps(time.perf_counter() - began) + "\n")
        answers.flush()


def spread(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main(rounds: str, corpus: str, what: str, *words: str) -> None:
    tasks = [f"{UPDATES} updates"]
    if what == "translate":
        tasks = [f"{how}, {search}" for how in ("file", "one by one") for search in ("greedy", "beam 4")]
    with tempfile.TemporaryDirectory() as work:
        versions = [Version(word, what, corpus, work) for word in words]
        seconds: dict[tuple[int, str], list[float]] = {}
        for turn in range(int(rounds) + 1):  # the first one warms up
            for i, version in enumerate(versions):
                for task in tasks:
                    took = version.ask(task)
                    if turn:
                        seconds.setdefault((i, task), []).append(took)
                time.sleep(REST)
            print(f"round {turn}", file=sys.stderr, flush=True)
        for task in tasks:
            print(f"\n| {task} | seconds | to the one before | to the first |\n|---|---|---|---|")
            for i, version in enumerate(versions):
                mine, before, first = (seconds[j, task] for j in (i, max(0, i - 1), 0))
                ratios = [[a / b for a, b in zip(mine, other, strict=True)] for other in (before, first)]
                print(f"| {version.name} | {spread(mine)} | {spread(ratios[0])} | {spread(ratios[1])} |", flush=True)
        for version in versions:
            version.process.kill()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
