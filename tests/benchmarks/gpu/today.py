"""Training as the program does it: speed, where the time goes, and whether the same updates give the same weights."""

import torch
from torch import Tensor

from gpu.machine import CLASSES, time_updates, wait
from gpu.pairs import N_UPDATES, Case, case_of
from gpu.report import Report, Table
from seq2seq.model import ARCHITECTURES, n_parameters
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.step import TrainStep

CASES = ("small", "base", "big")
TIMED = {"small": 40, "base": 25, "big": 15}
REPEATED = 4
"""Updates that are made twice."""


def training(report: Report) -> None:
    """Speed of training, and where an update's time goes."""
    speeds = report.table(
        "Training as it is",
        *("preset", "target tokens/s", "ms an update", "GPU's ms", "Python's ms", "Python's ms, two pairs"),
        *("share of the bf16 rate", "GiB", "first updates, s"),
        note=f"Updates of {_sizes(report)} target tokens. GPU's ms: the sum of its kernels. Python's ms: until "
        "`update` returns if the queue is empty; above a thousand kernels Python waits for the GPU, so it is an upper "
        "limit. Two pairs: Python's ms of an update of two pairs, which faster kernels do not change. If Python's ms "
        "are more than the GPU's, a CUDA graph helps most; if less, faster kernels do.",
    )
    classes = report.table(
        "Where the GPU's time goes",
        *("preset", *CLASSES, "elementwise and the rest", "kernels"),
        note="Milliseconds of an update, by kinds of kernels, and their number.",
    )
    for name in CASES:
        with report.guarded(name, speeds):
            _speed(report, case_of(report, name), speeds, classes)


def _speed(report: Report, case: Case, speeds: Table, classes: Table) -> None:
    step = TrainStep(case.config, case.vocab_size, report.device)
    updates = [*case.by_length]
    few = TokenizedPairs(updates[0].src[:2], updates[0].tgt[:2])
    warm, timed = (1, 2) if report.dry else (12, TIMED[case.name])
    times = time_updates(lambda i: step.update(updates[i % len(updates)], i + 1), report.device, warm=warm, timed=timed)
    floor = time_updates(
        lambda i: step.update(few, i + 1000), report.device, warm=1, timed=min(timed, 8), with_kernels=False
    )
    step.check_finite()
    n_tokens = sum(pairs.n_tgt_tokens for pairs in updates) / len(updates)
    speed = 1e3 * n_tokens / times.ms
    rate = report.found.get("rate bf16")
    share = None if rate is None else f"{flop_an_update(case) / times.ms / 1e9 / rate:.0%}"
    report.found[f"present {case.name}"] = times
    row = (speed, times.ms, times.gpu_ms, times.python_ms, floor.python_ms, share, times.gib, times.first_seconds)
    report.row(speeds, f"{case.name}, {n_parameters(step.model) / 1e6:.0f} M weights", *row)
    if times.kernels is not None:
        by_class = [times.kernels.by_class[kind] for kind in (*CLASSES, "elementwise and the rest")]
        report.row(classes, case.name, *map(float, by_class), times.kernels.n)


def flop_an_update(case: Case) -> float:
    """Floating-point operations in the products with weights, forward and backward, of a mean update."""
    each = ARCHITECTURES[case.config.model.architecture].multiply_adds(case.config.model, case.vocab_size)
    n_src = sum(len(ids) + 1 for pairs in case.by_length for ids in pairs.src)
    n_tgt = sum(pairs.n_tgt_tokens for pairs in case.by_length)
    return 6 * (each.src * n_src + each.tgt * n_tgt) / len(case.by_length)


def _sizes(report: Report) -> str:
    tokens = [case_of(report, name).config.training.batch_tokens for name in CASES]
    return ", ".join(f"{n:,}" for n in tokens)


def exactness(report: Report) -> None:
    """Whether the same updates from the same start give the same weights: exact resuming needs it."""
    table = report.table(
        "The same updates twice",
        *("preset", "weights that differ", "of", "largest difference"),
        note=f"{REPEATED} updates from the same start, made twice. A run that is interrupted and resumed gives the "
        "same weights only if none differ.",
    )
    for name in CASES:
        with report.guarded(name, table):
            case = case_of(report, name)
            one, other = (_weights_after(case, report.device) for _ in range(2))
            report.row(table, name, int((one != other).sum()), one.numel(), float((one - other).abs().max()))


def _weights_after(case: Case, device: torch.device) -> Tensor:
    step = TrainStep(case.config, case.vocab_size, device)
    for number in range(REPEATED):
        step.update(case.by_length[number % N_UPDATES % len(case.by_length)], number + 1)
    wait(device)
    return torch.cat([parameter.detach().flatten().float() for parameter in step.model.parameters()])
