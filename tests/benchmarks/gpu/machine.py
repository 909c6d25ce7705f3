"""The card, and the clocks of all other sections.

Python queues kernels and does not wait for the GPU. So three times are measured: the whole, with the GPU's answer
awaited; Python's, until a call returns; and the GPU's, the sum of its kernels.
"""

import contextlib
import os
import platform
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gpu.report import Report

CLASSES = {
    "products": ("gemm", "nvjet", "cutlass_80", "gemv", "dot_kernel", "splitK"),
    "attention": ("fmha", "flash", "cudnn", "attention"),
    "norms": ("layer_norm", "LayerNorm", "GammaBeta"),
    "softmax and loss": ("SoftMax", "softmax", "nll_loss"),
    "sums": ("reduce_kernel",),
    "casts and copies": ("copy", "Cat", "Memcpy", "Memset"),
    "dropout": ("dropout",),
    "optimizer": ("adam", "Adam", "lerp", "multi_tensor"),
}
"""Classes of kernels, by a part of their names; the first that fits counts."""


def wait(device: torch.device) -> None:
    """Wait until the GPU has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Kernels(NamedTuple):
    """What ran on the GPU."""

    ms: float
    by_class: Counter[str]
    """Milliseconds of each class."""
    n: int


def profiled(work: Callable[[], object], times: int, device: torch.device) -> Kernels | None:
    """The kernels of some work, of one of ``times`` repetitions; None on a CPU, or if the profiler sees none."""
    if device.type != "cuda":
        return None
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    # The profiler's library may crash if it is started again after a CUDA graph ran. So it is never taken down.
    os.environ |= {"TEARDOWN_CUPTI": "0", "DISABLE_CUPTI_LAZY_REINIT": "1"}
    wait(device)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(times):
            work()
        wait(device)
    by_class: Counter[str] = Counter()
    n = 0
    for event in found.key_averages():
        # Calls of CUDA by the CPU, and marked regions, are events, too.
        if event.device_type != DeviceType.CUDA or getattr(event, "is_user_annotation", False):
            continue
        ms = event.self_device_time_total / 1e3 / times
        kinds = (kind for kind, words in CLASSES.items() if any(word in event.key for word in words))
        by_class[next(kinds, "elementwise and the rest")] += ms  # type: ignore[assignment]  # milliseconds are floats
        n += event.count
    return Kernels(sum(by_class.values()), by_class, n // times) if by_class else None


def gpu_ms(work: Callable[[], object], device: torch.device, times: int = 10, rounds: int = 5) -> float:
    """Milliseconds of some work on the GPU, without Python's share: it is replayed as a CUDA graph between two events.

    If it cannot be recorded, the queued calls are timed: then Python's share may be in it. On a CPU it is plain time.
    """
    if device.type != "cuda":
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)
    from gpu.graphs import Recorded

    recorded = Recorded(work, device)
    recorded.record()
    for _ in range(2):
        recorded()
    found = []
    for _ in range(rounds):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(times):
            recorded()
        stop.record()
        stop.synchronize()
        found.append(start.elapsed_time(stop) / times)
    return statistics.median(found)


class UpdateTimes(NamedTuple):
    """The times of an update."""

    ms: float
    """Of the whole: many updates in a row, then the GPU's answer is awaited."""
    python_ms: float
    """Until an update returns that found the GPU's queue empty. A queue holds about a thousand kernels: of more, Python
    waits for the GPU, so for large updates it is an upper limit."""
    kernels: Kernels | None
    gib: float
    """Most memory."""
    first_seconds: float
    """The updates that warm up."""

    @property
    def gpu_ms(self) -> float | None:
        """The sum of the kernels' times."""
        return self.kernels.ms if self.kernels else None


def time_updates(
    update: Callable[[int], object], device: torch.device, *, warm: int, timed: int, with_kernels: bool = True
) -> UpdateTimes:
    """Measure updates. ``update`` gets their number, counted from 0."""
    began = time.perf_counter()
    for i in range(warm):
        update(i)
    wait(device)
    first = time.perf_counter() - began
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    for i in range(timed):
        update(warm + i)
    wait(device)
    ms = 1e3 * (time.perf_counter() - began) / timed
    of_python = []
    for i in range(min(timed, 8)):
        wait(device)
        began = time.perf_counter()
        update(warm + timed + i)
        of_python.append(1e3 * (time.perf_counter() - began))
    number = iter(range(warm + timed + 8, 10**9))
    kernels = profiled(lambda: update(next(number)), 3, device) if with_kernels else None
    gib = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return UpdateTimes(ms, statistics.median(of_python), kernels, gib, first)


# The first section ------------------------------------------------------------------------------------------------


def card(report: Report) -> None:
    """Name, versions, and the rates that everything else is compared with."""
    table = report.table(
        "The card",
        *("what", "value"),
        note="Rates of products of two matrices of 8192 x 8192, and of a copy (bytes read and written).",
    )
    report.row(table, "device", torch.cuda.get_device_name() if report.on_gpu else platform.processor() or "a CPU")
    report.row(table, "PyTorch", torch.__version__)
    if report.on_gpu:
        report.row(table, "CUDA, cuDNN", f"{torch.version.cuda}, {torch.backends.cudnn.version()}")
        report.row(table, "driver", driver())
        properties = torch.cuda.get_device_properties(report.device)
        report.row(table, "memory, GiB", properties.total_memory / 2**30)
        report.row(table, "multiprocessors", properties.multi_processor_count)
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("fp16", torch.float16, False),
        ("tf32", torch.float32, True),
        ("fp32", torch.float32, False),
    ):
        if report.dry and dtype != torch.float32:
            continue
        with report.guarded(f"product rate {name}", table):
            rate = product_rate(report, dtype, tf32)
            report.found[f"rate {name}"] = rate
            report.row(table, f"{name} product, TFLOP/s", rate)
    with report.guarded("copy rate", table):
        source = torch.ones(1 << (18 if report.dry else 29), device=report.device)  # 2 GiB
        target = torch.empty_like(source)
        ms = gpu_ms(lambda: target.copy_(source), report.device)
        report.row(table, "copy, TB/s", 8 * source.numel() / ms / 1e9)


def product_rate(report: Report, dtype: torch.dtype, tf32: bool) -> float:
    """TFLOP/s of a product of two square matrices."""
    n = 256 if report.dry else 8192
    a, b = (torch.randn(n, n, device=report.device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        ms = gpu_ms(lambda: torch.mm(a, b, out=out), report.device, times=5, rounds=3)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * n**3 / ms / 1e9


def driver() -> str:
    """The version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()[0]
    return "unknown"


def difference(one: Tensor, other: Tensor) -> float:
    """The distance of two tensors, relative to the length of the second."""
    return float((one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-30))
