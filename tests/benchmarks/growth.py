"""How training grows with the corpus: python tests/benchmarks/growth.py [PAIRS ...] [--folder FOLDER].

For each number of pairs (10000 100000 1000000) it writes ten shards of made-up text (.jsonl.zst), and trains a tiny
model on them, once as an ordinary corpus and once as a stream. It prints a table: bytes of the shards and of
``RUN/prepared``, seconds of preparation, seconds from the command to its first update, the same of a command that
resumes after update 30, and the peak of anonymous memory (Linux) until the first update and after it.

python tests/benchmarks/growth.py --memory PAIRS UPDATES

makes so many large updates, and prints the peak of anonymous memory in each tenth of them.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pyarrow
from memory import Watch

SHARDS = 10
MIB = 1 << 20
TINY = ["model.d_model=16", "model.d_ff=16", "model.encoder_layers=1", "model.decoder_layers=1", "data.vocab_size=2000"]
TINY += ["training.samples=0"]
SMALL_UPDATES = ["training.batch_tokens=1000", "training.report_every=1"]


def write_shards(folder: Path, n: int, seed: int = 1) -> str:
    """Pairs of made-up words whose frequencies follow Zipf's law; no two are alike.

    Returns:
        The CORPUS word.
    """
    draw = random.Random(seed)
    letters = "aeiounrstlmdkgbp"
    languages = [["".join(draw.choices(letters, k=draw.randint(2, 9))) for _ in range(20_000)] for _ in range(2)]
    weights = list(accumulate(1 / rank for rank in range(1, 20_001)))
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with pyarrow.output_stream(folder / f"{shard:02}.jsonl.zst", compression="zstd") as out:
            for i in range(shard, n, SHARDS):
                places = draw.choices(range(20_000), cum_weights=weights, k=draw.randint(3, 20))
                src, tgt = (" ".join(words[place] for place in places) for words in languages)
                out.write(f"{json.dumps({'de': f'{i} {src}', 'en': f'{tgt} {i}'})}\n".encode())
    return f"{folder}/*.jsonl.zst"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def start(corpus: str, run: Path, max_updates: int, *sets: str) -> "subprocess.Popen[str]":
    words = [word for assignment in (*TINY, *sets) for word in ("--set", assignment)]
    command = [sys.executable, "-m", "seq2seq", "train", "-l", "de-en", "--train", corpus, "--preset", "tiny"]
    command += ["--max-updates", str(max_updates), "-o", str(run), *words]
    # One thread, so that what PyTorch's threads hold does not blur the picture.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@dataclass
class Command:
    """One command until it was stopped; seconds from its start."""

    prepared: float = 0.0
    first_update: float = 0.0
    store: int = 0
    """Bytes of ``RUN/prepared``."""
    memory: tuple[int, int] = (0, 0)
    """Peaks in bytes until the first update, and after it."""


def stopped_at(corpus: str, run: Path, update: int) -> Command:
    """Train until an update, then stop as by ``kill``."""
    found, began, last = Command(), time.monotonic(), ""
    with start(corpus, run, 100_000, *SMALL_UPDATES) as process:
        watch = Watch(process.pid)
        assert process.stderr is not None
        for line in process.stderr:
            last = line
            if line.startswith("training ") and " on " in line and "parameters" in line:
                found.prepared = time.monotonic() - began
            elif line.startswith("update "):
                if not found.first_update:
                    found.first_update = time.monotonic() - began
                    found.store = size_of(run / "prepared")
                    before = watch.next().n_bytes
                number = int(line.split()[1].partition("/")[0].replace(",", ""))
                if number == update:
                    found.memory = before, watch.next().n_bytes
                    process.send_signal(signal.SIGTERM)
    if process.returncode != 128 + signal.SIGTERM:
        raise SystemExit(f"train ended with {process.returncode}: {last}")
    return found


def growth(sizes: list[int], folder: Path) -> None:
    print(f"{'pairs':>11} {'as':>8} {'shards':>9} {'store':>9} {'prepare':>9} {'update 1':>9} {'resume':>8}  memory")
    for n in sizes:
        corpus = write_shards(folder / "shards", n)
        n_bytes = size_of(folder / "shards")
        for kind, suffix in (("ordinary", ""), ("stream", "?streaming")):
            run = folder / kind
            first = stopped_at(corpus + suffix, run, 30)
            resumed = stopped_at(corpus + suffix, run, 40)
            print(
                f"{n:>11,} {kind:>8} {n_bytes / MIB:>5,.0f} MiB {first.store / MIB:>5,.0f} MiB "
                f"{first.prepared:>7.1f} s {first.first_update:>7.1f} s {resumed.first_update:>6.1f} s  "
                f"{first.memory[0] / MIB:,.0f} and {first.memory[1] / MIB:,.0f} MiB",
                flush=True,
            )
            shutil.rmtree(run)
        shutil.rmtree(folder / "shards")


def memory(n: int, updates: int, folder: Path) -> None:
    corpus = write_shards(folder / "shards", n)
    sets = ["training.batch_tokens=20000", f"training.report_every={max(1, updates // 10)}"]
    sets += [f"training.valid_every={updates}", f"training.save_every={updates}", "data.valid=[]"]
    for kind, suffix in (("ordinary", ""), ("stream", "?streaming")):
        peaks, last = [], ""
        with start(corpus + suffix, folder / kind, updates, *sets) as process:
            watch = Watch(process.pid)
            assert process.stderr is not None
            for line in process.stderr:
                last = line
                if line.startswith("update "):
                    peaks.append(f"{watch.next().n_bytes / MIB:,.0f}")
                    if len(peaks) == 10:
                        process.terminate()
        print(f"{kind}: {', '.join(peaks)} MiB", flush=True)
        if len(peaks) < 10:
            raise SystemExit(f"train ended with {process.returncode}: {last}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="with room for the shards and the runs")
    parser.add_argument("--memory", type=int, nargs=2, metavar=("PAIRS", "UPDATES"))
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=words.folder) as folder:
        if words.memory:
            memory(*words.memory, Path(folder))
        else:
            growth(words.pairs, Path(folder))


if __name__ == "__main__":
    main()
