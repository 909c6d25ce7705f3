"""The engine ctranslate2 beside CTranslate2 alone: python tests/benchmarks/engine_speed.py RUN CORPUS [ROUNDS [COPIES]]

Both use the same converted model, the same threads and the same batch size. Our own engine is beside them. They
translate COPIES (3) of the corpus, from a text file to a text file, and 100 single sentences. All take turns, ROUNDS
times (5), each in its own process, so that speeds are compared only within one run of this program. Loading is not
measured.

It also counts the lines that differ: from our own engine, from CTranslate2 alone, and without their neighbours.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from decode_speed import (
    _REST,
    CORES,
    LONGEST,
    SINGLES,
    Alone,
    Ours,
    Theirs,
    matmul_rate,
    paired,
    single_sentences,
    spread,
)

from seq2seq.corpus import read_pairs
from seq2seq.evaluation import score
from seq2seq.translation import Translator, read_langs
from seq2seq.translation.engines.ctranslate2 import CTranslate2Engine

COMPUTE_TYPES = {"fp32": "float32", "int8": "int8"}


class OurEngine(Ours):
    """One of our engines; its longest translation is that of CTranslate2 alone: loops make much of the work."""

    def __init__(self, run: Path, beam_size: int, precision: str, engine: str = "own") -> None:
        decoding: dict[str, object] = {"beam_size": beam_size, "precision": precision, "max_length": LONGEST}
        self.translator = Translator.load(run, decoding=decoding, engine=engine)

    def alone(self, lines: list[str]) -> list[str]:
        """Translate lines one by one, without neighbours."""
        return [self.one(line) for line in lines]


class SameSettings(Theirs):
    """CTranslate2 alone, with the settings that the engine has."""

    def use(self, batch_tokens: int, inter_threads: int, intra_threads: int) -> None:
        self.batch = {"max_batch_size": batch_tokens, "batch_type": "tokens"}
        self.load(inter_threads, intra_threads)

    def find_best_for_one(self, lines: list[str]) -> None:
        """For single sentences, the engine uses all cores for one batch."""
        self.load(1, CORES)


def main(run: str, corpus: str, rounds: str = "5", copies: str = "3") -> None:
    langs = read_langs(Path(run))
    pairs = list(read_pairs(corpus, langs))
    lines, references = [pair.src for pair in pairs], [pair.tgt for pair in pairs]
    rates: list[float] = []
    print(f"{run}, {corpus}: {copies} x {len(lines):,} lines, {CORES} cores", flush=True)
    with tempfile.TemporaryDirectory() as work:
        source, output = Path(work) / "source", Path(work) / "output"
        source.write_text("".join(f"{line}\n" for line in lines * int(copies)), encoding="utf-8")
        for beam_size in (1, 4):
            tools = make_tools(Path(run), beam_size)
            speeds: dict[str, list[float]] = {tool.name: [] for tool in tools}
            texts: dict[str, list[str]] = {}
            for tool in tools:
                tool("file", source, output)  # warm
                texts[tool.name] = output.read_text(encoding="utf-8").split("\n")[: len(lines)]
            for _ in range(int(rounds)):
                rates.append(matmul_rate())
                for tool in tools:
                    time.sleep(_REST)
                    speeds[tool.name].append(len(lines) * int(copies) / tool("file", source, output))
            report(beam_size, speeds, single_sentences(tools, lines[:SINGLES]), texts, references, langs[1])
            for tool in (tool for tool in tools if tool.kind is OurEngine):
                n = sum(a != b for a, b in zip(tool("alone", lines[:SINGLES]), texts[tool.name], strict=False))
                print(f"{tool.name}: {n} of {SINGLES} lines differ without their neighbours", flush=True)
            for tool in tools:
                tool.end()
    print(f"matmul 1024 x 1024 fp32, {CORES} cores: {spread(rates)} GFLOP/s")


def make_tools(run: Path, beam_size: int) -> list[Alone]:
    """Our own engine; then, for each precision, the engine and CTranslate2 alone."""
    translator = Translator.load(run, engine="ctranslate2", decoding={"beam_size": beam_size})
    engine = translator.engine
    assert isinstance(engine, CTranslate2Engine)
    tools = [Alone("own fp32", OurEngine, run, beam_size, "fp32")]
    for precision, compute in COMPUTE_TYPES.items():
        tools.append(Alone(f"engine ctranslate2 {precision}", OurEngine, run, beam_size, precision, "ctranslate2"))
        words = engine.folder, beam_size, translator.config.alpha, compute, run / "tokenizer.model"
        tools.append(Alone(f"CTranslate2 alone {precision}", SameSettings, *words))
        tools[-1]("use", engine.batch_tokens, CORES, 1)
    return tools


def report(
    beam_size: int,
    speeds: dict[str, list[float]],
    latencies: dict[str, list[float]],
    texts: dict[str, list[str]],
    references: list[str],
    tgt: str,
) -> None:
    print(f"\n| beam {beam_size} | sentences/s, median (spread) | one sentence, ms | BLEU | lines as own fp32 |")
    print("|---|---|---|---|---|")
    for name, found in texts.items():
        same = sum(a == b for a, b in zip(texts["own fp32"], found, strict=True))
        print(
            f"| {name} | {spread(speeds[name])} | {statistics.median(latencies[name]):.1f} | "
            f"{score('bleu', found, references, tgt).value:.2f} | {same} of {len(found)} |"
        )
    for precision in COMPUTE_TYPES:
        ours, theirs = (f"{tool} {precision}" for tool in ("engine ctranslate2", "CTranslate2 alone"))
        of_rounds = [a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True)]
        differ = [(a, b) for a, b in zip(texts[ours], texts[theirs], strict=True) if a != b]
        ratio = f"{statistics.median(of_rounds):.3f} ({min(of_rounds):.3f}-{max(of_rounds):.3f})"
        print(
            f"{precision}: the engine has {ratio} times the speed of CTranslate2 alone; one sentence takes "
            f"{paired(latencies, ours, theirs):.3f} times as long; {len(differ)} lines differ",
            flush=True,
        )
        for a, b in differ[:5]:
            print(f"    {a}\n    {b}")


if __name__ == "__main__":
    main(*sys.argv[1:])
