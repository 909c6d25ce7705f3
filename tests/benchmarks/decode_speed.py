"""Our decoder against CTranslate2: python tests/benchmarks/decode_speed.py RUN CORPUS [ROUNDS].

Both have the same weights, by `seq2seq export`. They translate three copies of the corpus, from a text file to a text
file, and 100 single sentences. First CTranslate2's best setting of threads and batch size is searched. Then all take
turns, ROUNDS times (5), each in its own process. Speeds are compared only within one run of this program, as the speed
of machines changes. Loading is not measured.
"""

import contextlib
import multiprocessing
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ctranslate2
import sentencepiece
import torch

from seq2seq.corpus import read_pairs
from seq2seq.errors import UserError
from seq2seq.evaluation import score
from seq2seq.interop.ctranslate2 import export_run
from seq2seq.translation import Translator, read_langs, translate_file

COPIES, SINGLES, SCANNED, LONGEST = 3, 100, 1000, 100
_REST = 0.5
"""Seconds between two tools' turns: threads of OpenMP, and for 0.2 s CTranslate2's, stay awake when all is done."""


class Timed:
    """The tasks of both tools."""

    def file(self, source: Path, output: Path) -> float:
        """Translate one file to another: seconds."""
        began = time.perf_counter()
        self.translate_file(source, output)
        return time.perf_counter() - began

    def singles(self, lines: list[str]) -> list[float]:
        """Translate lines one by one: milliseconds of each."""
        found = []
        for line in lines:
            began = time.perf_counter()
            self.one(line)
            found.append(1e3 * (time.perf_counter() - began))
        return found

    def translate_file(self, source: Path, output: Path) -> None:
        raise NotImplementedError

    def one(self, line: str) -> str:
        raise NotImplementedError


class Ours(Timed):
    def __init__(self, run: Path, beam_size: int, precision: str, engine: str = "own") -> None:
        decoding: dict[str, object] = {"beam_size": beam_size, "precision": precision}
        self.translator = Translator.load(run, decoding=decoding, engine=engine)

    def alpha(self) -> float:
        return self.translator.config.alpha

    def translate_file(self, source: Path, output: Path) -> None:
        for _ in translate_file(self.translator, str(source), str(output)):
            pass

    def one(self, line: str) -> str:
        return self.translator.translate([line])[0]


class Theirs(Timed):
    def __init__(self, folder: Path, beam_size: int, alpha: float, compute: str, tokenizer: Path | None = None) -> None:
        model = tokenizer or folder / "tokenizer.model"
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model))
        self.folder, self.compute = folder, compute
        # Ours ends a loop after twice the source plus 50 tokens; by default CTranslate2's continues to 256.
        limits = {"min_decoding_length": 0, "max_decoding_length": LONGEST}
        self.options = {"beam_size": beam_size, "length_penalty": alpha, **limits}
        self.name = f"CTranslate2 {compute}"
        self.batch = {"max_batch_size": 8192, "batch_type": "tokens"}
        self.load(2, 1)

    def load(self, inter_threads: int, intra_threads: int) -> None:
        self.threads = (inter_threads, intra_threads)
        self.translator = ctranslate2.Translator(
            str(self.folder), compute_type=self.compute, inter_threads=inter_threads, intra_threads=intra_threads
        )

    def translate(self, lines: list[str]) -> list[str]:
        pieces = self.tokenizer.encode(lines, out_type=str)
        found = self.translator.translate_batch(pieces, **self.options, **self.batch)
        texts: list[str] = self.tokenizer.decode([result.hypotheses[0] for result in found])
        return texts

    def translate_file(self, source: Path, output: Path) -> None:
        lines = source.read_text(encoding="utf-8").split("\n")[:-1]
        output.write_text("".join(f"{line}\n" for line in self.translate(lines)), encoding="utf-8")

    def one(self, line: str) -> str:
        pieces = self.tokenizer.encode(line, out_type=str)
        found: str = self.tokenizer.decode(self.translator.translate_batch([pieces], **self.options)[0].hypotheses[0])
        return found

    def find_best(self, lines: list[str]) -> None:
        """The fastest of the usual settings of threads and batch size."""
        cores = torch.get_num_threads()
        best = (0.0, self.threads, self.batch)
        for threads in {(cores, 1), (1, cores)}:
            self.load(*threads)
            for size in (1024, 2048, 4096, 8192, 16384):
                self.batch = {"max_batch_size": size, "batch_type": "tokens"}
                self.translate(lines[:50])
                began = time.perf_counter()
                self.translate(lines)
                best = max(best, (len(lines) / (time.perf_counter() - began), threads, self.batch), key=lambda b: b[0])
        self.load(*best[1])
        self.batch = best[2]
        print(f"{self.name}, beam {self.options['beam_size']}: best with {self.settings()}", flush=True)

    def settings(self) -> str:
        return (
            f"{self.threads[0]} workers of {self.threads[1]} threads, batches of {self.batch['max_batch_size']} tokens"
        )

    def find_best_for_one(self, lines: list[str]) -> None:
        medians = {}
        for threads in (1, CORES):
            self.load(1, threads)
            medians[threads] = statistics.median(self.singles(lines))
        self.load(1, min(medians, key=lambda n: medians[n]))


class UnavailableError(Exception):
    """A setting that this machine does not support."""


def serve(kind: type[Timed], words: tuple[Any, ...], pipe: Connection) -> None:
    try:
        tool = kind(*words)
    except UserError as error:
        pipe.send(error.args[0])
        return
    pipe.send(None)
    while call := pipe.recv():
        pipe.send(getattr(tool, call[0])(*call[1:]))


class Alone:
    """A tool in its own process."""

    def __init__(self, name: str, kind: type[Timed], *words: Any) -> None:
        self.name, self.kind = name, kind
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(kind, words, theirs), daemon=True)
        self.process.start()
        theirs.close()
        if (why := self.pipe.recv()) is not None:
            raise UnavailableError(why)

    def __call__(self, *call: Any) -> Any:
        self.pipe.send(call)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join()


def matmul_rate() -> float:
    """GFLOP/s of a product of two fp32 matrices of 1024 x 1024, all cores."""
    a, seconds = torch.randn(1024, 1024), []
    for _ in range(8):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds) / 1e9


CORES = torch.get_num_threads()


def main(run: str, corpus: str, rounds: str = "5") -> None:
    langs = read_langs(Path(run))
    pairs = list(read_pairs(corpus, langs))
    sources, references = [pair.src for pair in pairs], [pair.tgt for pair in pairs]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        source, output = folder / "source", folder / "output"
        source.write_text("".join(f"{line}\n" for line in sources * COPIES), encoding="utf-8")
        exports = {"float32": folder / "float32", "int8": folder / "int8"}
        for quantization, place in exports.items():
            export_run(Path(run), place, quantization=quantization)
        rates: list[float] = []
        print(f"{run}, {corpus}: {COPIES} x {len(sources):,} lines, {CORES} cores, {torch.__version__}", flush=True)
        for beam_size in (1, 4):
            tools = [Alone("seq2seq fp32", Ours, Path(run), beam_size, "fp32")]
            with contextlib.suppress(UnavailableError):  # a processor without bf16
                tools.append(Alone("seq2seq bf16", Ours, Path(run), beam_size, "bf16"))
            alpha = tools[0]("alpha")
            for compute, place in exports.items():
                tools.append(Alone(f"CTranslate2 {compute}", Theirs, place, beam_size, alpha, compute))
                tools[-1]("find_best", sources[:SCANNED])
            speeds: dict[str, list[float]] = {tool.name: [] for tool in tools}
            texts: dict[str, list[str]] = {}
            for tool in tools:
                tool("file", source, output)  # warm
            for _ in range(int(rounds)):
                rates.append(matmul_rate())
                for tool in tools:
                    speeds[tool.name].append(len(sources) * COPIES / tool("file", source, output))
                    texts[tool.name] = output.read_text(encoding="utf-8").split("\n")[: len(sources)]
            latencies = single_sentences(tools, sources[:SINGLES])
            report(beam_size, tools, speeds, latencies, texts, references, langs[1])
            for tool in tools:
                tool.end()
        print(f"matmul 1024 x 1024 fp32, {CORES} cores: {spread(rates)} GFLOP/s")


def single_sentences(tools: list[Alone], lines: list[str]) -> dict[str, list[float]]:
    """Milliseconds of each line; CTranslate2's threads once more its best.

    The tools take turns, ten lines each: line by line none would find its weights in the caches, as it does in use.
    """
    for tool in tools:
        if issubclass(tool.kind, Theirs):
            tool("find_best_for_one", lines[:30])
        tool("singles", lines[:5])
    found: dict[str, list[float]] = {tool.name: [] for tool in tools}
    for first in range(0, len(lines), 10):
        for tool in tools:
            time.sleep(_REST)
            found[tool.name] += tool("singles", lines[first : first + 10])
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def report(
    beam_size: int,
    tools: list[Alone],
    speeds: dict[str, list[float]],
    latencies: dict[str, list[float]],
    texts: dict[str, list[str]],
    references: list[str],
    tgt: str,
) -> None:
    print(f"\n| beam {beam_size} | sentences/s, median (spread) | one sentence, ms | BLEU | lines as our fp32 |")
    print("|---|---|---|---|---|")
    first = texts[tools[0].name]
    for tool in tools:
        same = sum(a == b for a, b in zip(first, texts[tool.name], strict=True))
        print(
            f"| {tool.name} | {spread(speeds[tool.name])} | {statistics.median(latencies[tool.name]):.1f} | "
            f"{score('bleu', texts[tool.name], references, tgt).value:.2f} | {same} of {len(first)} |",
            flush=True,
        )
    best = {c: statistics.median(speeds[f"CTranslate2 {c}"]) for c in ("float32", "int8")}
    for tool in tools:
        if tool.kind is Ours:
            ours = statistics.median(speeds[tool.name])
            faster = ", ".join(f"{ours / best[compute]:.2f} times CTranslate2 {compute}" for compute in best)
            slower = ", ".join(f"{paired(latencies, tool.name, f'CTranslate2 {compute}'):.2f}" for compute in best)
            print(f"{tool.name}: {faster}; one sentence takes, line by line, {slower} times as long", flush=True)


def paired(latencies: dict[str, list[float]], one: str, other: str) -> float:
    """How many times as long the one takes as the other for the same line, in the median."""
    return statistics.median(a / b for a, b in zip(latencies[one], latencies[other], strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
