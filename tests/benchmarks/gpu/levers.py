"""What could make training faster: whole updates of prototypes beside the program's own.

Every prototype makes updates of the same size, with dropout, clipping, AdamW and the average. Its gradient is compared
with that of padded pairs in fp32, without dropout: so a prototype that is wrong is seen.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gpu.flat import FlatTraining, gradient_of
from gpu.graphs import Recorded
from gpu.machine import UpdateTimes, difference, time_updates, wait
from gpu.pairs import Case, case_of
from gpu.report import Report, Table
from gpu.rows import RowModel, RowTable, loss_by_autograd, loss_by_hand, table_of
from gpu.today import REPEATED
from seq2seq.batching import collate
from seq2seq.model import build_model
from seq2seq.tokenizer import PAD
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.loss import output_loss
from seq2seq.training.pass_input import PassInput
from seq2seq.training.step import TrainStep

Loss = Callable[..., Tensor]
WIDTH = 128
SPARE_ROWS = 1.02
"""Rows of an update are filled up to a number that all updates have: the most of any, and this factor."""


@dataclass(frozen=True)
class Way:
    """A prototype of an update."""

    label: str
    width: int = WIDTH
    """Of rows; 0: padded pairs, as the program has them."""
    loss: Loss = loss_by_hand
    graph: bool = False
    compiled: bool = False
    alone: bool = False
    """Whether the first update is made again and again: a recorded pass has one shape, and padded updates have many."""


PADDED = Way("padded, the program's flat weights and loss, nothing else", 0)
ROWS = Way("rows of 128")
WAYS = [
    PADDED,
    ROWS,
    replace(ROWS, label="rows of 128, one CUDA graph", graph=True),
    replace(PADDED, label="padded, only the first update", alone=True),
    replace(PADDED, label="padded, only the first update, one CUDA graph", alone=True, graph=True),
    replace(ROWS, label="rows of 64, one CUDA graph", width=64, graph=True),
    replace(PADDED, label="padded, loss by autograd with fp32 logits", loss=loss_by_autograd),
    replace(ROWS, label="rows of 128, loss by autograd with fp32 logits", loss=loss_by_autograd),
    replace(ROWS, label="rows of 64", width=64),
]
"""In order of worth, as the section may be cut off."""
COMPILED = [
    replace(ROWS, label="rows of 128, compiled layers", compiled=True),
    replace(ROWS, label="rows of 128, compiled layers, one CUDA graph", compiled=True, graph=True),
]
COLUMNS = ("an update", "target tokens/s", "ms", "GPU's ms", "Python's ms", "kernels", "GiB", "of the present time")
CHECKS = ("gradient is off by", "weights that differ if repeated")


def small(report: Report) -> None:
    """The levers for the preset small."""
    _whole_updates(report, "small", WAYS)


def base(report: Report) -> None:
    """The levers for the preset base."""
    _whole_updates(report, "base", WAYS)


def compiled(report: Report) -> None:
    """Compiled layers, alone and inside the graph, for the preset base."""
    if not report.on_gpu:
        report.remark("compiled layers: left out, they are for a GPU")
    elif not any(map(shutil.which, ("cc", "gcc", "clang"))):
        report.remark("compiled layers: left out, there is no C compiler")
    else:
        _whole_updates(report, "base", COMPILED)


def _whole_updates(report: Report, name: str, ways: list[Way]) -> None:
    case = case_of(report, name)
    table = report.table(
        f"Training, {name}: what could be built{' (compiled)' if ways is COMPILED else ''}",
        *(*COLUMNS, *CHECKS),
        note=f"Updates of {case.config.training.batch_tokens:,} target tokens. Worth building: 0.90 or less of the "
        "present time of a token. Off by: the distance to the gradient in fp32, relative to its length; of a graph: to "
        f"the same pass, not recorded. Repeated: {REPEATED} updates twice from the same start. GiB leaves out what a "
        "graph keeps for itself. Rows are dealt beforehand; dealing has a row of its own.",
    )
    with report.guarded("the program as it is", table):
        times = report.found.get(f"present {name}") or _present(report, case)
        report.found[f"present {name}"] = times
        _add(report, table, "the program as it is", case.by_length, times, None, None, None)
    if report.on_gpu:
        with report.guarded("rounding", table):
            nothing = [None] * (len(COLUMNS) - 1)
            error = error_of_autocast(report, case)
            report.row(table, "rounding alone: the gradient by autocast in bf16", *nothing, error)
    times = report.found.get(f"present {name}")
    n_tokens = sum(pairs.n_tgt_tokens for pairs in case.by_length) / len(case.by_length)
    present = None if times is None else times.ms / n_tokens
    for way in ways:
        with report.guarded(way.label, table):
            _measure(report, case, way, present, table)
    if ways is not COMPILED:
        with report.guarded("dealing", table):
            began = time.perf_counter()
            table_of(case.mixed[0], WIDTH)
            ms = 1e3 * (time.perf_counter() - began)
            report.row(table, "to deal and fill rows of 128, by a thread that reads ahead", None, None, None, ms)


def _present(report: Report, case: Case) -> UpdateTimes:
    """The program's own update, if an earlier section did not measure it."""
    step = TrainStep(case.config, case.vocab_size, report.device)
    updates = case.by_length
    warm, timed = (1, 2) if report.dry else (8, 20)
    return time_updates(lambda i: step.update(updates[i % len(updates)], i + 1), report.device, warm=warm, timed=timed)


def _add(
    report: Report,
    table: Table,
    label: str,
    updates: list[TokenizedPairs],
    times: UpdateTimes,
    present: float | None,
    error: float | None,
    n_different: int | None,
) -> None:
    n_tokens = sum(pairs.n_tgt_tokens for pairs in updates) / len(updates)
    n_kernels = times.kernels.n if times.kernels else None
    ratio = None if present is None else f"{times.ms / n_tokens / present:.2f}"
    cells = (1e3 * n_tokens / times.ms, times.ms, times.gpu_ms, times.python_ms, n_kernels, times.gib, ratio)
    report.row(table, label, *cells, error, n_different)


def _measure(report: Report, case: Case, way: Way, present: float | None, table: Table) -> None:
    """Measure a way. ``present``: the program's milliseconds a target token."""
    prototype = Prototype(report, case, way)
    error = None if way.compiled or way.graph else prototype.error()
    began = time.perf_counter()
    if way.graph:
        prototype.work.record()
        error = prototype.replay_error()
    prototype.update(0)
    wait(report.device)
    seconds = time.perf_counter() - began
    note = f"; first update {seconds:.0f} s" if seconds > 3 else ""
    if way.graph and prototype.work.problem:
        note += f"; {prototype.work.problem}"
    warm, timed = (1, 2) if report.dry else (6, 20)
    times = time_updates(prototype.update, report.device, warm=warm, timed=timed)
    n_different = prototype.n_different()
    if way.compiled and not way.graph and report.left > 90:  # it compiles again, without dropout
        error = prototype.error()
    _add(report, table, prototype.label + note, prototype.updates, times, present, error, n_different)


class Prototype:
    """Updates in one of the ways."""

    def __init__(self, report: Report, case: Case, way: Way) -> None:
        self.device, self._report, self._case, self._way = report.device, report, case, way
        self._smoothing = case.config.training.label_smoothing
        self.model = fresh_model(report, case)
        dtype = torch.bfloat16 if report.on_gpu else torch.float32
        self.weights = FlatTraining(self.model, dtype, case.config.training)
        self.row_model = RowModel(self.model) if way.width else None
        if way.compiled and self.row_model is not None:
            # Weights are inputs: layers of the same shape share one compilation.
            for layer in (*self.row_model.model.encoder, *self.row_model.decoder):
                layer.compile(dynamic=False)
        self.updates = case.mixed if way.width else case.by_length[: 1 if way.alone else None]
        self.inputs: list[Any] = row_inputs(report, case, way.width) if way.width else self._padded_inputs()
        self.n_tokens = [pairs.n_tgt_tokens for pairs in self.updates]
        # A recorded pass reads the same memory each time.
        self.read: Any = self.inputs[0].to(self.device, copy=True) if way.width else self.inputs[0]
        self.work = Recorded(lambda: self.weights.backward(self.loss_sum()), self.device)

    def _padded_inputs(self) -> list[PassInput]:
        batches = [collate(pairs.src, pairs.tgt) for pairs in self.updates]
        return [PassInput.from_batch(batch, self.device) for batch in batches]

    @property
    def label(self) -> str:
        """The way, and how full its rows are."""
        if not self._way.width:
            return self._way.label
        real = sum(int((table[4] > 0).sum()) for table in self.inputs)
        return f"{self._way.label} ({real / sum(table[4].numel() for table in self.inputs):.0%} full)"

    def loss_sum(self) -> Tensor:
        """The loss of ``read``, summed over its target tokens. []"""
        output = self.model.output
        if self.row_model is None:
            batch: PassInput = self.read
            hidden = batch.at_real(self.model.hidden(batch.src, batch.src_mask, batch.tgt_in))[0]
            real = torch.ones(len(hidden), device=self.device)
            return self._way.loss(hidden, output, batch.targets, real, self._smoothing)
        rows = RowTable(*self.read.unbind())
        hidden = self.row_model.hidden(rows).flatten(0, 1)
        following = rows.following.flatten()
        real = following.ne(PAD).float()
        return self._way.loss(hidden, output, following.long(), real, self._smoothing)

    def update(self, number: int) -> None:
        """Make an update: copy its input, forward and backward pass, step."""
        i = number % len(self.inputs)
        self._read_and_seed(number)
        self.work()
        self.weights.step(self.n_tokens[i])

    def _read_and_seed(self, number: int) -> None:
        i = number % len(self.inputs)
        if self.row_model is None:
            self.read = self.inputs[i]
        else:
            self.read.copy_(self.inputs[i], non_blocking=True)
        # Dropout of a replayed graph follows the seed, too.
        (torch.cuda if self.device.type == "cuda" else torch).manual_seed(1000 + number)

    def error(self) -> float:
        """How far the gradient is from that of padded pairs in fp32, with the same weights and without dropout."""
        wanted = reference_gradient(self._report, self._case, mixed=bool(self._way.width))
        if self.row_model is None:
            self.read = self.inputs[0]
        else:
            self.read.copy_(self.inputs[0])
        self.model.eval()
        _, found = gradient_of(self.model, self.loss_sum)
        self.model.train()
        return difference(found, wanted)

    def replay_error(self) -> float:
        """How far the gradient of a recorded pass is from that of the same pass not recorded, with the same dropout.

        The input is not the one that it was recorded with.
        """
        found = []
        for work in (self.work, self.work.work):
            self.weights.forget()
            self._read_and_seed(len(self.inputs) - 1)
            work()
            found.append(self.weights.flat.gradient.clone())
        self.weights.forget()
        return difference(*found)

    def n_different(self) -> int:
        """Weights that differ if the same updates are made twice from the same start."""
        copies = self.weights.copies()
        ends = []
        for _ in range(2):
            self.weights.restore(copies)
            for number in range(REPEATED):
                self.update(number)
            ends.append(self.weights.flat.trained.clone())
        return int((ends[0] != ends[1]).sum())


def fresh_model(report: Report, case: Case) -> Any:
    """The model of a case with the weights that all prototypes start from."""
    torch.manual_seed(1)
    with report.device:
        return build_model(case.config.model, case.vocab_size).train()


def row_inputs(report: Report, case: Case, width: int) -> list[Tensor]:
    """The tables of the updates, all with the same number of rows, ready to be copied to the GPU. Each [7, R, W]"""
    key = f"rows {case.name} {width}"
    if key not in report.found:
        n_rows = round(SPARE_ROWS * max(table_of(pairs, width).shape[1] for pairs in case.mixed))
        tables = [torch.from_numpy(table_of(pairs, width, n_rows)) for pairs in case.mixed]
        report.found[key] = [table.pin_memory() for table in tables] if report.on_gpu else tables
    return report.found[key]  # type: ignore[no-any-return]


def padded_loss(model: Any, pairs: TokenizedPairs, smoothing: float, device: torch.device) -> Tensor:
    """The program's own sum of losses over padded pairs. []"""
    batch = PassInput.from_batch(collate(pairs.src, pairs.tgt), device)
    hidden = batch.at_real(model.hidden(batch.src, batch.src_mask, batch.tgt_in))[0]
    return output_loss(hidden, model.output, batch.targets, smoothing)


def reference_gradient(report: Report, case: Case, *, mixed: bool) -> Tensor:
    """The gradient of the first update as the program computes it in fp32, padded, without dropout."""
    key = f"gradient {case.name} {mixed}"
    if key not in report.found:
        model = fresh_model(report, case).eval()
        pairs = (case.mixed if mixed else case.by_length)[0]
        smoothing = case.config.training.label_smoothing
        report.found[key] = gradient_of(model, lambda: padded_loss(model, pairs, smoothing, report.device))[1]
    return report.found[key]  # type: ignore[no-any-return]


def error_of_autocast(report: Report, case: Case) -> float:
    """How far the gradient of autocast in bf16 is from that in fp32: what rounding to bf16 costs in any case."""
    model, pairs = fresh_model(report, case).eval(), case.by_length[0]

    def rounded() -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return padded_loss(model, pairs, case.config.training.label_smoothing, report.device)

    return difference(gradient_of(model, rounded)[1], reference_gradient(report, case, mixed=False))
