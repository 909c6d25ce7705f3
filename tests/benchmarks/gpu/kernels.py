"""Single kernels: attention and the loss, each alternative beside what the program calls.

Times are the GPU's alone. They say which alternative is worth a prototype of a whole update.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu.machine import gpu_ms
from gpu.report import Report, Table
from gpu.rows import loss_by_autograd, loss_by_hand, visible
from seq2seq.device import is_out_of_memory

SENTENCE = 14
HEADS, HEAD_WIDTH = 8, 64
PER_UPDATE = 18
"""Attentions of an update of base: six of the encoder, twelve of the decoder."""
SHAPES = {
    "1,900 sentences of 14 places": (1900, SENTENCE),
    "200 rows of 128 places, mask": (200, 128),
    "400 rows of 64 places, mask": (400, 64),
}
BACKENDS = {
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "math": SDPBackend.MATH,
}


def attention(report: Report) -> None:
    """Attention of about 26,000 positions by each of PyTorch's kernels."""
    table = report.table(
        "Attention kernels",
        *("positions, kernel", "forward, ms", "both ways, ms", "an update of base, ms", "of the present", "off by"),
        note="26,000 positions in bf16, 8 heads of width 64. Present: sentences of 14 places by the efficient kernel. "
        "Off by: the largest difference of the output from fp32's. A dash: the kernel refuses such inputs.",
    )
    present: list[float] = []
    for shape, (n, length) in SHAPES.items():
        inputs = _inputs(report, max(2, n // 100) if report.dry else n, length)
        q, k, v, bias = (None if part is None else part.detach().float() for part in inputs)
        with sdpa_kernel(SDPBackend.MATH):
            wanted = F.scaled_dot_product_attention(q, k, v, bias)
        for name, backend in BACKENDS.items():
            if report.dry and name in ("efficient", "cuDNN"):
                continue  # a CPU has neither
            with report.guarded(f"{shape}: {name}", table), sdpa_kernel(backend):
                _measure(report, table, f"{shape}: {name}", inputs, wanted, present)


def _measure(
    report: Report, table: Table, label: str, inputs: tuple[Any, ...], wanted: Tensor, present: list[float]
) -> None:
    q, k, v, bias = inputs

    def attend() -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, bias)

    try:
        error = float((attend().detach().float() - wanted).abs().max())
    except RuntimeError as refusal:
        if "CUDA error" in str(refusal) or is_out_of_memory(refusal):
            raise
        report.row(table, f"{label} ({str(refusal).splitlines()[0][:40]})")
        return
    upstream = torch.randn_like(q)
    forward = gpu_ms(attend, report.device)
    both = gpu_ms(lambda: torch.autograd.grad(attend(), (q, k, v), upstream), report.device)
    present.append(both)
    report.row(table, label, forward, both, PER_UPDATE * both, f"{both / present[0]:.2f}", error)


def _inputs(report: Report, n: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Queries, keys and values of heads as the model makes them, and the mask of rows."""
    dtype = torch.bfloat16 if report.on_gpu else torch.float32
    shape = (n, length, HEADS, HEAD_WIDTH)
    q, k, v = (torch.randn(shape, device=report.device, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3))
    if length == SENTENCE:
        return q, k, v, None
    sentence = (1 + torch.arange(length, device=report.device) // SENTENCE).expand(n, -1)
    return q, k, v, visible(sentence, sentence, dtype)


def loss(report: Report) -> None:
    """The output layer and its loss, and other small things."""
    table = report.table(
        "The output layer and its loss",
        *("what", "ms", "of the present", "loss a token", "gradient is off by"),
        note="25,600 positions of width 512, 32,000 pieces, forward and backward in bf16. Off by: the distance of the "
        "gradient by the hidden vectors from fp32's, relative to its length.",
    )
    n, width, vocabulary = (256, 32, 512) if report.dry else (25_600, 512, 32_000)
    device, dtype = report.device, torch.bfloat16 if report.on_gpu else torch.float32
    torch.manual_seed(1)
    output = nn.Linear(width, vocabulary, device=device, dtype=dtype)
    hidden = torch.randn(n, width, device=device, dtype=dtype, requires_grad=True)
    targets, real = torch.randint(vocabulary, (n,), device=device), torch.ones(n, device=device)
    leaves = (hidden, output.weight, output.bias)

    def in_bf16(x: Tensor, layer: nn.Linear, following: Tensor, weight: Tensor, smoothing: float) -> Tensor:
        return F.cross_entropy(layer(x), following, reduction="sum", label_smoothing=smoothing)

    wanted = _exact_gradient(hidden, output, targets, real)
    ways: dict[str, Callable[..., Tensor]] = {
        "by hand, one softmax in bf16 (the program)": loss_by_hand,
        "autograd, logits in fp32": loss_by_autograd,
        "autograd, logits in bf16": in_bf16,
    }
    present = None
    for name, way in ways.items():
        with report.guarded(name, table):

            def both(way=way) -> tuple[Tensor, ...]:
                return torch.autograd.grad(way(hidden, output, targets, real, 0.1), leaves)

            ms = gpu_ms(both, device)
            present = present or ms
            value = float(way(hidden, output, targets, real, 0.1).detach()) / n
            error = float((both()[0].float() - wanted).norm() / wanted.norm())
            report.row(table, name, ms, f"{ms / present:.2f}", value, error)
    with report.guarded("sums of a bias's gradient", table):
        upstream = torch.randn(n, 4 * width, device=device, dtype=dtype)
        ones = torch.ones(n, device=device, dtype=dtype)
        sums = gpu_ms(lambda: upstream.sum(0), device)
        product = gpu_ms(lambda: torch.mv(upstream.t(), ones), device)
        report.row(table, "gradient of a bias: sums (the program)", sums, "1.00")
        report.row(table, "gradient of a bias: product with ones", product, f"{product / sums:.2f}")
    with report.guarded("LayerNorm", table):
        times = {kind: _norm_ms(report, n, width, kind) for kind in (torch.float32, dtype)}
        of_bf16 = times[dtype]
        report.row(table, "LayerNorm both ways: bf16 (the program)", of_bf16, "1.00")
        report.row(table, "LayerNorm both ways: fp32", times[torch.float32], f"{times[torch.float32] / of_bf16:.2f}")


def _exact_gradient(hidden: Tensor, output: nn.Linear, targets: Tensor, real: Tensor) -> Tensor:
    """The gradient by the hidden vectors, in fp32. [n, D]"""
    x = hidden.detach().float().requires_grad_()
    exact = nn.Linear(output.in_features, output.out_features, device=x.device)
    with torch.no_grad():
        exact.weight.copy_(output.weight)
        exact.bias.copy_(output.bias)
    return torch.autograd.grad(loss_by_autograd(x, exact, targets, real, 0.1), x)[0]


def _norm_ms(report: Report, n: int, width: int, dtype: torch.dtype) -> float:
    x = torch.randn(n, width, device=report.device, dtype=dtype, requires_grad=True)
    weight, bias = (torch.ones(width, device=report.device, dtype=dtype, requires_grad=True) for _ in range(2))
    upstream = torch.randn_like(x)
    norm = F.layer_norm
    return gpu_ms(
        lambda: torch.autograd.grad(norm(x, (width,), weight, bias), (x, weight, bias), upstream), report.device
    )
