"""Matrix products with weights: the choice of a library, and that all libraries give the same results."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.device import Processor, has_bf16, parse_processor, this_processor
from seq2seq.model import products as products_file
from seq2seq.model.products import (
    MEASURED,
    Linear,
    can_multiply,
    nearest,
    pick_library,
    use_products,
)
from seq2seq.model.transformer.layers import FeedForward
from seq2seq.training import arithmetic
from seq2seq.training.arithmetic import Arithmetic, change_of, choose_arithmetic, is_available, unmet_requests
from seq2seq.training.loss import output_loss, r_drop_loss

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(not can_multiply("fp32"), reason="this PyTorch cannot be asked for oneDNN")
needs_bf16 = pytest.mark.skipif(not can_multiply("bf16"), reason="oneDNN has no bf16 here")
BY = [
    pytest.param("mkl", "fp32", id="mkl"),
    pytest.param("onednn", "fp32", id="onednn", marks=needs_onednn),
    pytest.param("onednn", "bf16", id="bf16", marks=needs_bf16),
]
CLOSE = {"fp32": 2e-6, "bf16": 2e-2}
"""Relative to the largest."""


# The choice -----------------------------------------------------------------------------------------


def processor(vendor: str, instructions: str) -> Processor:
    return Processor(vendor, frozenset(instructions.split()))


ZEN_3, ZEN_4 = processor("AMD", "avx2"), processor("AMD", "avx2 avx512 avx512_bf16")
ZEN_5 = processor("AMD", "avx2 avx512 avx512_bf16 avx_vnni")
SAPPHIRE_RAPIDS = processor("Intel", "avx2 avx512 avx512_bf16 avx_vnni amx")


def test_rows_are_of_different_processors():
    assert len({row.processor for row in MEASURED}) == len(MEASURED)
    for row in MEASURED:
        assert nearest(row.processor) is row


@pytest.mark.parametrize(
    ("given", "gets"),
    [
        (ZEN_3, ZEN_3),
        (processor("AMD", ""), ZEN_3),
        (processor("Intel", "avx2 avx512 avx512_bf16"), processor("Intel", "avx2 avx512")),
        (processor("AMD", "avx2 avx512 avx512_bf16 avx_vnni amx"), ZEN_5),
        (processor("Intel", "avx2 avx_vnni"), processor("Intel", "avx2")),
        (processor("Intel", "avx2 avx512 avx512_bf16 avx_vnni"), SAPPHIRE_RAPIDS),
    ],
    ids=str,
)
def test_a_processor_that_was_not_measured_gets_the_nearest_row(given, gets):
    assert nearest(given).processor == gets


@pytest.mark.parametrize("instructions", ["", "avx2", "avx2 avx512 avx512_bf16 avx_vnni amx"])
def test_an_unknown_vendor_gets_pytorchs_own_products(instructions):
    row = nearest(processor("", instructions))
    assert (row.training, row.bf16, row.packed, row.packed_output) == ("mkl", False, range(0), range(0))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("wanted", ["auto", "mkl", "onednn"])
def test_onednn_is_used_only_if_available(monkeypatch, there, wanted):
    monkeypatch.setattr(products_file, "HAS_ONEDNN", there)
    takes = {"auto": "onednn", "mkl": "mkl", "onednn": "onednn"}[wanted] if there else "mkl"
    assert pick_library(wanted, ZEN_5) == takes
    assert pick_library(wanted, SAPPHIRE_RAPIDS) == (takes if wanted == "onednn" else "mkl")


CPUINFO = """processor\t: 0
vendor_id\t: {vendor}
model name\t: {vendor} Inside
flags\t\t: fpu sse4_2 {flags} xsave
"""


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", "avx avx2", ZEN_3),
        ("HygonGenuine", "avx avx2", ZEN_3),
        ("AuthenticAMD", "avx avx2 avx512f avx512_bf16", ZEN_4),
        ("AuthenticAMD", "avx avx2 avx512f avx512_bf16 avx_vnni", ZEN_5),
        ("GenuineIntel", "avx avx2 avx512f", processor("Intel", "avx2 avx512")),
        ("GenuineIntel", "avx avx2 avx512f avx_vnni avx512_bf16 amx_bf16 amx_tile", SAPPHIRE_RAPIDS),
        ("CentaurHauls", "avx2", processor("", "avx2")),
        ("GenuineIntel", "", processor("", "")),
    ],
)
def test_a_processor_is_recognised_by_what_linux_says(vendor, flags, expected):
    assert parse_processor(CPUINFO.format(vendor=vendor, flags=flags), "x86_64", {}) == expected


def test_elsewhere_a_processor_is_recognised_by_what_pytorch_says():
    known = {"avx2": True, "avx512_f": True, "avx512_bf16": True, "avx_vnni": False, "cpu_name": "AMD EPYC"}
    windows = "AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD"
    assert parse_processor("", windows, known) == ZEN_4
    assert parse_processor("", windows, {}) == processor("", ""), "older PyTorch: nothing is known"
    assert parse_processor("", "arm", {"sve": True}) == processor("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_this_processor_is_recognised():
    found = this_processor()
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    assert (found.vendor == "AMD") == ("AuthenticAMD" in cpuinfo or "HygonGenuine" in cpuinfo)
    assert (found.vendor == "Intel") == ("GenuineIntel" in cpuinfo)
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert {"avx2", "avx512"} <= found.instructions


@pytest.mark.parametrize(
    ("instructions", "expected"), [("amx", True), ("avx512_bf16", True), ("avx2 avx512 avx_vnni", False)]
)
def test_bf16_instructions(instructions, expected):
    assert has_bf16(processor("Intel", instructions)) == expected


@pytest.mark.parametrize(
    ("precision", "products", "expected"),
    [
        ("fp32", "mkl", Arithmetic(precision="fp32", products="mkl")),
        pytest.param("fp32", "onednn", Arithmetic(precision="fp32", products="onednn"), marks=needs_onednn),
        pytest.param("bf16", "mkl", Arithmetic(precision="bf16", products="onednn"), marks=needs_bf16),
    ],
)
def test_requested_arithmetic_is_used(precision, products, expected):
    training = TrainingConfig(precision=precision, products=products)
    assert choose_arithmetic(training, CPU) == expected
    assert list(unmet_requests(training, expected)) == []


GPU_BF16 = Arithmetic(precision="bf16", device="cuda")


@pytest.mark.parametrize(
    ("stored", "device", "gpu_has_bf16", "expected"),
    [
        (Arithmetic(precision="fp32"), "cpu", True, True),
        (Arithmetic(precision="bf16"), "cpu", True, True),
        (Arithmetic(precision="fp16"), "cpu", True, True),
        (Arithmetic(precision="fp16", device="cuda"), "cuda", False, True),
        (Arithmetic(precision="fp32"), "cuda", True, False),  # there auto would be bf16
        (GPU_BF16, "cpu", True, False),
        (GPU_BF16, "cuda", True, True),
        (GPU_BF16, "cuda", False, False),  # it would be emulated
        (Arithmetic(precision="fp32", device="cuda"), "cuda", False, True),
        (GPU_BF16, "mps", True, False),
    ],
    ids=str,
)
def test_arithmetic_is_kept_on_devices_of_its_kind(monkeypatch, stored, device, gpu_has_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: gpu_has_bf16)
    assert is_available(stored, torch.device(device)) == expected


@pytest.mark.parametrize(("precision", "there"), [("fp32", True), ("bf16", True), ("bf16", False)])
def test_arithmetic_by_onednn_is_kept_if_it_is_fast(monkeypatch, precision, there):
    monkeypatch.setattr(arithmetic, "can_multiply", lambda _: True)
    monkeypatch.setattr(arithmetic, "has_bf16", lambda: there)
    assert is_available(Arithmetic(precision=precision, products="onednn"), CPU) == there
    monkeypatch.setattr(arithmetic, "can_multiply", lambda _: False)
    assert not is_available(Arithmetic(precision=precision, products="onednn"), CPU)


def test_a_change_of_arithmetic_is_described():
    fp32, by_onednn = Arithmetic(precision="fp32"), Arithmetic(precision="bf16", products="onednn")
    assert change_of(fp32, fp32) is None
    assert change_of(Arithmetic(precision="fp32", device="cuda"), fp32) is None
    assert "in bf16 by oneDNN, which is not available here; it continues in fp32, so" in change_of(by_onednn, fp32)
    assert "in bf16 on cuda; it continues in bf16 by oneDNN on cpu, so" in change_of(GPU_BF16, by_onednn)


def test_compiled_models_and_gpus_use_pytorchs_products(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_arithmetic(TrainingConfig(compile=True), CPU, ZEN_5) == Arithmetic(precision="fp32")
    assert choose_arithmetic(TrainingConfig(products="onednn"), torch.device("cuda"), ZEN_5) == GPU_BF16


def test_unsupported_requests_are_reported(monkeypatch):
    monkeypatch.setattr(arithmetic, "has_bf16", lambda: False)
    (text,) = unmet_requests(TrainingConfig(products="onednn"), Arithmetic(precision="fp32"))
    assert "does not offer" in text
    (text,) = unmet_requests(TrainingConfig(precision="bf16"), Arithmetic(precision="bf16", products="onednn"))
    assert "is slow" in text
    assert list(unmet_requests(TrainingConfig(products="onednn"), GPU_BF16)) == []


@pytest.mark.parametrize("lacking", ["has_bf16", "can_multiply"])
def test_auto_does_not_use_missing_or_slow_bf16(monkeypatch, lacking):
    monkeypatch.setattr(arithmetic, "has_bf16", lambda _: True)
    monkeypatch.setattr(arithmetic, "can_multiply", lambda _: True)
    assert choose_arithmetic(TrainingConfig(), CPU, ZEN_4).precision == "bf16"
    monkeypatch.setattr(arithmetic, lacking, lambda _: False)
    assert choose_arithmetic(TrainingConfig(), CPU, ZEN_4).precision == "fp32"


@needs_bf16
def test_auto_uses_bf16_if_it_was_measured_to_be_faster_unless_mkl_is_requested():
    for faster in (ZEN_4, SAPPHIRE_RAPIDS):
        assert choose_arithmetic(TrainingConfig(), CPU, faster) == Arithmetic(precision="bf16", products="onednn")
        assert choose_arithmetic(TrainingConfig(products="mkl"), CPU, faster) == Arithmetic(precision="fp32")
    for other in (ZEN_3, ZEN_5, processor("", "avx2 avx512 avx512_bf16")):
        assert choose_arithmetic(TrainingConfig(), CPU, other).precision == "fp32"


def test_without_onednn_there_is_still_pytorchs_own(monkeypatch):
    monkeypatch.setattr(products_file, "HAS_ONEDNN", False)
    assert choose_arithmetic(TrainingConfig(products="onednn"), CPU, ZEN_5) == Arithmetic(precision="fp32")
    assert choose_arithmetic(TrainingConfig(precision="bf16"), CPU, ZEN_5) == Arithmetic(precision="bf16")
    assert not is_available(Arithmetic(precision="fp32", products="onednn"), CPU)
    weight = torch.randn(8, 4)
    assert products_file.pack(weight) is None
    assert products_file.pack(weight.bfloat16()) is None


def test_a_pytorch_without_the_calls_is_detected():
    """The calls have no public names, so a later version may remove them."""
    program = """
import torch
class None_:
    def __getattr__(self, name): raise AttributeError(name)
torch.ops.mkldnn = None_()
from seq2seq.device import this_processor
from seq2seq.model.products import HAS_ONEDNN, Linear, can_multiply, pick_library
print(HAS_ONEDNN, can_multiply("fp32"), can_multiply("bf16"), pick_library("onednn", this_processor()))
print(Linear(3, 2)(torch.ones(1, 3)).shape)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False False mkl", "torch.Size([1, 2])"]


# The products ---------------------------------------------------------------------------------------


def passes(linear: nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of input, weight and bias."""
    linear.zero_grad()
    x = x.clone().requires_grad_()
    output = linear(x)
    output.backward(upstream)
    return [output.detach(), x.grad, linear.weight.grad.clone(), linear.bias.grad.clone()]


@pytest.mark.parametrize(("library", "precision"), BY)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (1, 64), (5, 13), (7, 100)], ids=str)
@pytest.mark.parametrize(("n_in", "n_out"), [(16, 40), (40, 16), (5, 3)])
def test_a_linear_layer_is_the_same_with_every_library(library, precision, shape, n_in, n_out):
    torch.manual_seed(1)
    linear, x, upstream = Linear(n_in, n_out), torch.randn(*shape, n_in), torch.randn(*shape, n_out)
    expected = passes(linear, x, upstream)
    with use_products(library, precision, nn.Sequential(linear)):
        found = passes(linear, x, upstream)
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, torch.float32)
        assert (one - other).abs().max() <= CLOSE[precision] * max(1.0, float(other.abs().max())) * 4
    after = passes(linear, x, upstream)
    assert all(torch.equal(one, other) for one, other in zip(after, expected, strict=True)), "and PyTorch's afterwards"


@needs_bf16
def test_the_gradient_in_bf16_is_that_of_rounded_operands():
    """Sums are in fp32: with operands that bf16 can represent, gradients differ from fp32 only by rounding."""
    torch.manual_seed(1)
    linear = Linear(64, 64)
    with torch.no_grad():
        linear.weight.copy_(linear.weight.bfloat16())
    x, upstream = torch.randn(500, 64).bfloat16().float(), torch.randn(500, 64).bfloat16().float()
    expected = passes(linear, x, upstream)
    with use_products("onednn", "bf16", linear):
        found = passes(linear, x, upstream)
    for one, other in zip(found[1:3], expected[1:3], strict=True):
        assert torch.allclose(one, other, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize(("library", "precision"), BY)
def test_the_activation_may_change_the_output_in_place(library, precision):
    linear, x = Linear(8, 8), torch.randn(5, 8)
    with use_products(library, precision, linear):
        torch.relu_(linear(x)).sum().backward()
    assert linear.weight.grad is not None


@pytest.mark.parametrize(("library", "precision"), BY)
@pytest.mark.parametrize("activation", ["relu", "gelu", "swiglu"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 64), (7, 100)], ids=str)
def test_a_feed_forward_network_is_the_same_with_every_library(library, precision, activation, shape):
    """Its hidden layer stays in bf16 and padded."""
    torch.manual_seed(1)
    network = FeedForward(ModelConfig(d_model=16, d_ff=40, n_heads=2, activation=activation))
    torch.nn.init.normal_(network.inner.bias)  # so that rows of zeros have an output
    x, upstream = torch.randn(*shape, 16), torch.randn(*shape, 16)

    def output_and_gradients() -> list[torch.Tensor]:
        network.zero_grad()
        read = x.clone().requires_grad_()
        output = network(read)
        output.backward(upstream)
        return [output.detach(), read.grad, *(parameter.grad.clone() for parameter in network.parameters())]

    expected = output_and_gradients()
    with use_products(library, precision, network):
        found = output_and_gradients()
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, torch.float32)
        # If a number is rounded to the other side of 0, ReLU changes its whole gradient.
        assert (one - other).norm() <= 5 * CLOSE[precision] * other.norm()


@pytest.mark.parametrize(("library", "precision"), BY)
@pytest.mark.parametrize("n", [1, 255, 600])
@pytest.mark.parametrize("n_passes", [1, 2])
def test_the_loss_is_the_same_with_every_library(library, precision, n, n_passes):
    torch.manual_seed(1)
    output, targets = Linear(16, 300), torch.randint(0, 300, (n,))
    hidden = torch.randn(2, n, 16)

    def loss_and_gradients() -> list[torch.Tensor]:
        output.zero_grad()
        h = hidden.clone().requires_grad_()
        loss = output_loss(h[0], output, targets, 0.1) if n_passes == 1 else r_drop_loss(h, output, targets, 0.1, 5.0)
        loss.backward()
        return [loss.detach() / n, h.grad, output.weight.grad.clone(), output.bias.grad.clone()]

    expected = loss_and_gradients()
    with use_products(library, precision, output):
        found = loss_and_gradients()
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= CLOSE[precision] * max(0.5, float(other.abs().max())) * 2


@needs_bf16
def test_weights_are_rounded_once_an_update(monkeypatch):
    model = nn.Sequential(Linear(4, 4), nn.ReLU(), Linear(4, 4))
    with use_products("onednn", "bf16", model):
        first = model[0].products.weight
        for _ in range(3):
            model(torch.randn(2, 4)).sum().backward()
        assert model[0].products.weight is first
    assert model[0].products is None
    with torch.no_grad():
        model[0].weight.add_(1.0)
    with use_products("onednn", "bf16", model):
        assert torch.equal(model[0].products.weight, model[0].weight.bfloat16())


@pytest.mark.parametrize(("library", "precision"), BY)
def test_no_rows_at_all(library, precision):
    linear = Linear(4, 6)
    with use_products(library, precision, linear):
        assert linear(torch.zeros(0, 3, 4)).shape == (0, 3, 6)


def test_contexts_may_be_nested():
    linear = Linear(4, 4)
    with use_products("mkl", "fp32", linear):
        outer = linear.products
        with use_products("mkl", "fp32", linear):
            assert linear.products is not outer
        assert linear.products is outer
    assert linear.products is None
    with pytest.raises(ValueError, match="oneDNN"), use_products("mkl", "bf16", linear):
        pass


def test_an_error_leaves_the_model_as_it_was():
    linear = Linear(4, 4)
    with pytest.raises(RuntimeError), use_products("mkl", "fp32", linear):
        linear(torch.randn(2, 5))
    assert linear.products is None


def test_every_linear_layer_of_a_model_is_ours():
    from seq2seq.model import build_model

    for activation in ("relu", "swiglu"):
        model = build_model(ModelConfig(d_model=8, d_ff=8, n_heads=2, activation=activation), 40)
        assert all(isinstance(module, Linear) for module in model.modules() if isinstance(module, nn.Linear))
