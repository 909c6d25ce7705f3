"""Memory of ``train`` and ``translate``. ``make bench`` prints the figures; no test fails because of them.

pytest -m benchmark -s tests/benchmarks/test_memory_use.py
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.memory import Watch, held_by_all

from seq2seq.corpus import read_pairs
from seq2seq.translation import Translator

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

SEQ2SEQ = [sys.executable, "-m", "seq2seq"]
PHRASEBOOK = Path(__file__).parents[2] / "data" / "phrasebook"
MIB = 1 << 20


def write_pairs(prefix: Path, n: int) -> None:
    """The phrasebook's training pairs, repeated, each with another number in front."""
    pairs = list(read_pairs(str(PHRASEBOOK / "train"), ("de", "en")))
    with open(f"{prefix}.de", "w") as src, open(f"{prefix}.en", "w") as tgt:
        for i in range(n):
            pair = pairs[i % len(pairs)]
            src.write(f"{i}: {pair.src}\n")
            tgt.write(f"{i}: {pair.tgt}\n")


def anonymous_memory(folder: Path, n: int) -> tuple[int, int, float]:
    """Peak anonymous memory of ``train`` on n pairs: preparing, training; and seconds of preparing."""
    write_pairs(folder / f"c{n}", n)
    small = ["model.d_model=16", "model.d_ff=16", "model.encoder_layers=1", "model.decoder_layers=1"]
    small += ["training.batch_tokens=1000", "training.report_every=10", "data.vocab_size=2000"]
    sets = [word for assignment in small for word in ("--set", assignment)]
    command = [*SEQ2SEQ, "train", "-l", "de-en", "--train", str(folder / f"c{n}"), "--preset", "tiny"]
    command += ["--valid", str(PHRASEBOOK / "valid"), "--max-updates", "200", "-o", str(folder / f"run{n}"), *sets]
    began = time.monotonic()
    # One thread, so that what PyTorch's threads hold does not blur the picture.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        watch = Watch(process.pid)
        preparing, seconds = watch.current, 0.0
        for line in process.stderr:
            if line.startswith("training "):
                seconds = time.monotonic() - began
                preparing = watch.next()
            if line.startswith("update 200/"):  # what follows is validation, the same for every n
                training = watch.next()
    assert process.returncode == 0
    return preparing.n_bytes, training.n_bytes, seconds


def test_memory_of_training(tmp_path):
    """A few hundred updates of a tiny model, so that most of the memory is that of the corpus."""
    base: tuple[int, int] | None = None
    n_base = 10_000
    print()
    for n in (n_base, 100_000, 1_000_000):
        preparing, training, seconds = anonymous_memory(tmp_path, n)
        if base is None:
            base = preparing, training
        more = [(held - before) / (n - n_base) if n > n_base else 0.0
                for held, before in zip((preparing, training), base, strict=True)]  # fmt: skip
        print(
            f"{n:>9,} pairs: preparing {preparing / MIB:,.0f} MiB anonymous in {seconds:.0f} s, "
            f"training {training / MIB:,.0f} MiB; more than {n_base:,} pairs, a pair: "
            f"{more[0]:.1f} and {more[1]:.1f} bytes"
        )
        assert training > 0


def in_letters(number: int) -> str:
    """A number below 8^6 as the reverser's six letters."""
    return " ".join("abcdefgh"[number >> 3 * place & 7] for place in range(6))


def test_translating_a_million_lines(reverser):
    """Through a pipe: memory of all processes early and later, and every line in its place.

    The source is numbered: each line is its number in letters, which the model reads backwards.
    """
    n = int(os.environ.get("SEQ2SEQ_N_LINES", 1_000_000))
    write = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from benchmarks.test_memory_use import in_letters
for i in range({n}):
    print(in_letters(i % 8**6))
"""
    with (
        subprocess.Popen([sys.executable, "-c", write], stdout=subprocess.PIPE) as writer,
        subprocess.Popen(
            [*SEQ2SEQ, "translate", str(reverser)], stdin=writer.stdout, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        watch, early, began, n_lines = Watch(process.pid, held_by_all, 0.2), 0, time.monotonic(), 0
        wrong: dict[int, str] = {}
        for n_lines, answer in enumerate(process.stdout, start=1):
            if answer.rstrip("\n") != in_letters((n_lines - 1) % 8**6)[::-1]:
                wrong[n_lines - 1] = answer.rstrip("\n")
            if n_lines == 10_000:
                watch.next()
            elif n_lines == 30_000:  # some windows later, during and between them
                early = watch.next().n_bytes
        latest = watch.next().n_bytes
        seconds = time.monotonic() - began
    # Wrong translations are the model's own errors: none is that of a neighbour.
    translator = Translator.load(reverser)
    alone = translator.translate([in_letters(i % 8**6) for i in wrong])
    strays = sum(a != b for a, b in zip(alone, wrong.values(), strict=True))
    print(
        f"\n{n_lines:,} lines in {seconds:.0f} s, {n_lines / seconds:,.0f} lines/s; all processes held "
        f"{early / MIB:,.1f} MiB at most from line 10,000 to 30,000, {latest / MIB:,.1f} MiB after it; "
        f"{len(wrong)} lines mistranslated, {strays} of them out of place"
    )
    assert n_lines == n
    assert strays == 0
