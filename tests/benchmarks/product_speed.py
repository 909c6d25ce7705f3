"""The fastest library for matrix products on this processor: python tests/benchmarks/product_speed.py [ROUNDS].

It uses one thread. All libraries take turns, ROUNDS times (9); it prints medians in GFLOP/s. They give the row of
``seq2seq/model/products.py`` for a processor: ``training`` is the fastest library for the three products of many rows;
``packed`` and ``packed_output`` are the numbers of rows for which packed weights are faster than PyTorch's own products
of a layer and of the output layer. ``bf16`` is decided by ``compare_versions.py`` and a score, not by this table, as
conversions and the rest of an update also take time.
"""

import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.device import this_processor
from seq2seq.model.products import Products, can_multiply, nearest, pack, packed_linear
from seq2seq.model.transformer.fast.output import OutputLayer

MANY = [(3072, 128, 512), (3072, 512, 128), (3072, 256, 768), (3072, 256, 1024), (3072, 1024, 256), (256, 256, 8000)]
"""Rows, in, out: of training."""
FEW = [1, 2, 4, 8, 16, 32, 64, 128, 512, 2048]
"""Rows: of translating."""
LAYERS, OUTPUT = [(256, 768), (256, 1024), (1024, 256)], [(256, 8000)]
"""In, out."""
AT_LEAST = 0.02
"""Seconds of a turn."""


def seconds_of(way: Callable[[], object]) -> float:
    """Seconds of one call: the mean over one turn."""
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < AT_LEAST:
        way()
        n += 1
    return (time.perf_counter() - began) / n


def rates(ways: dict[str, Callable[[], object]], gflop: float, rounds: int) -> dict[str, float]:
    """GFLOP/s of each way, the median of the rounds."""
    for way in ways.values():
        way()  # which makes oneDNN's kernel
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(seconds_of(way))
    return {name: gflop / statistics.median(found) for name, found in seconds.items()}


def of_training(rows: int, n_in: int, n_out: int, rounds: int) -> dict[str, dict[str, float]]:
    x, gradient, bias = torch.randn(rows, n_in), torch.randn(rows, n_out), torch.randn(n_out)
    weight = torch.randn(n_out, n_in)
    by = {"MKL": Products(weight, "mkl")}
    if can_multiply("fp32"):
        by["oneDNN"] = Products(weight, "onednn")
    if can_multiply("bf16"):
        by["oneDNN bf16, casts included"] = Products(weight.bfloat16(), "onednn")

    def output(products: Products) -> Tensor:
        return products.output(products.operand(x), bias, rows)

    def by_input(products: Products) -> Tensor:
        return products.grad_input(products.operand(gradient), rows).float()

    def by_weight(products: Products) -> Tensor:
        return products.grad_weight(products.operand(gradient), products.operand(x)).float()

    gflop = 2 * rows * n_in * n_out / 1e9
    kinds = {"output": output, "gradient of the input": by_input, "gradient of the weight": by_weight}
    return {
        kind: rates({name: partial(make, products) for name, products in by.items()}, gflop, rounds)
        for kind, make in kinds.items()
    }


def of_translating(rows: int, n_in: int, n_out: int, rounds: int, *, output: bool) -> dict[str, float]:
    x, weight, bias = torch.randn(rows, n_in), torch.randn(n_out, n_in), torch.randn(n_out)
    laid_out = weight.t().contiguous() if n_out >= n_in else weight.t()
    ways: dict[str, Callable[[], object]] = {"MKL": partial(torch.addmm, bias, x, laid_out)}
    if output:
        ways["MKL"] = partial(OutputLayer(weight, bias, None), x)
    if (packed := pack(weight)) is not None:
        ways["packed"] = partial(packed_linear, x, packed, bias)
    if (rounded := pack(weight.bfloat16())) is not None:
        ways["packed bf16"] = partial(packed_linear, x.bfloat16(), rounded, bias.bfloat16())
    return rates(ways, 2 * rows * n_in * n_out / 1e9, rounds)


def table(head: list[str], rows: list[list[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def model_name() -> str:
    """The processor as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    known = dict(line.split("\t", 1) for line in lines if line.startswith(("model name", "cpu family", "model\t")))
    return ", ".join(f"{key} {value.strip(' :')}" for key, value in known.items())


def main(rounds: str = "9") -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    print(f"{model_name()}; {this_processor()}; PyTorch {torch.__version__}, one thread, {rounds} rounds in turn")
    print(f"the row that it gets: {nearest(this_processor())}\n")
    found = {shape: of_training(*shape, int(rounds)) for shape in MANY}
    names = list(next(iter(found[MANY[0]].values())))
    rows = [
        [f"{n:,} × {n_in:,} × {n_out:,}", kind, *(f"{speeds[name]:.0f}" for name in names)]
        for (n, n_in, n_out), kinds in found.items()
        for kind, speeds in kinds.items()
    ]
    print("Training, GFLOP/s:\n")
    table(["rows × in × out", "product", *names], rows)
    for title, shapes in (("A layer", LAYERS), ("The output layer", OUTPUT)):
        print(f"{title}, translating, GFLOP/s:\n")
        rows = []
        for n_in, n_out in shapes:
            for n in FEW:
                speeds = of_translating(n, n_in, n_out, int(rounds), output=title != "A layer")
                rows.append([f"{n:,} × {n_in:,} × {n_out:,}", *(f"{speed:.0f}" for speed in speeds.values())])
        table(["rows × in × out", *speeds], rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
