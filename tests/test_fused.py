"""Fused layers for decoding: norms, several linear layers in one product, the output layer."""

import pytest
import torch
from torch import nn

from seq2seq.device import Processor
from seq2seq.model import products
from seq2seq.model.base import IMPOSSIBLE
from seq2seq.model.products import pack
from seq2seq.model.transformer.fast.linear import FusedLinear, Norm, NormedLinear
from seq2seq.model.transformer.fast.output import OutputLayer

D = 64


def some_norm(kind: type[nn.Module] = nn.LayerNorm, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A norm whose weight and bias are far from 1 and 0."""
    torch.manual_seed(1)
    norm = kind(D)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(1 + torch.randn(D))
    return norm.to(dtype)


def some_linear(out: int) -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(D, out)


def exact(norm: nn.Module, linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return linear.double()(norm.double()(x.double())).float()


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_norm_and_fused_linear_layers_are_unchanged(kind, offset):
    norm, several = some_norm(kind), [some_linear(96), some_linear(32)]
    reading = NormedLinear(Norm(norm), [one.weight for one in several], [one.bias for one in several])
    x = offset + 3 * torch.randn(200, D)
    expected = torch.cat([exact(norm, one, x) for one in several], dim=1)
    torch.testing.assert_close(reading(x), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(reading(x, relu=True), expected.relu(), rtol=1e-5, atol=1e-4)
    for rows in (1, 2, 7, 16, 17):  # by packed weights or others
        torch.testing.assert_close(reading(x[:rows]), expected[:rows], rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(reading(x[:rows], relu=True), expected[:rows].relu(), rtol=1e-5, atol=1e-4)


PACKED = [range(0), range(2, 17), range(2**31)]
"""Numbers of rows that a processor multiplies by packed weights."""


@torch.no_grad()
@pytest.mark.parametrize("packed", PACKED, ids=str)
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 16, 17, 70])
@pytest.mark.parametrize("n_in", [D, 200])
def test_outputs_are_added(rows, packed, n_in, monkeypatch):
    monkeypatch.setattr("seq2seq.model.transformer.fast.linear.rows_packed", lambda *_, **__: packed)
    torch.manual_seed(2)
    linear, x, total = nn.Linear(n_in, 96), torch.randn(rows, n_in), torch.randn(rows, 96)
    side_by_side, expected = FusedLinear([linear.weight], [linear.bias]), total + linear(x)
    torch.testing.assert_close(side_by_side(x, relu=True), linear(x).relu(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(side_by_side(x), linear(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(side_by_side.add_to(total, x), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_products_without_a_norm():
    linear, x = some_linear(96), torch.randn(10, D)
    torch.testing.assert_close(NormedLinear(None, [linear.weight], [linear.bias])(x), linear(x))


@torch.no_grad()
@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("packed", PACKED, ids=str)
def test_the_output_layer_after_the_last_norm(kind, packed, monkeypatch):
    """With any number of rows for which this processor uses packed weights."""
    monkeypatch.setattr("seq2seq.model.transformer.fast.output.rows_packed", lambda *_, **__: packed)
    norm, linear = Norm(some_norm(kind)), some_linear(1000)
    output = OutputLayer.padded(linear, 64)
    x = torch.randn(50, D)
    hidden = norm(x)
    logits, expected = output(hidden), exact(some_norm(kind), linear, x)
    assert logits.shape == (50, 1024)
    torch.testing.assert_close(logits[:, :1000], expected, rtol=1e-5, atol=1e-4)
    assert logits[:, 1000:].max() < IMPOSSIBLE / 2  # what fills up
    pieces = torch.tensor([7, 1010, 999, 0])
    torch.testing.assert_close(output.select(pieces)(hidden), logits[:, pieces], rtol=1e-4, atol=1e-4)
    for rows in (1, 3, 16, 17):
        torch.testing.assert_close(output(hidden[:rows]), logits[:rows], rtol=1e-5, atol=1e-4)


@pytest.mark.skipif(pack(torch.zeros(8, 8)) is None, reason="this PyTorch does not offer oneDNN")
@pytest.mark.parametrize(
    ("processor", "wanted", "layer", "output"),
    [
        ("AMD avx2", "auto", [], [2, 3, 64, 300]),
        ("AMD avx2 avx512 avx512_bf16", "auto", [64, 300], [2, 3, 64, 300]),
        ("AMD avx2 avx512 avx512_bf16 avx_vnni", "auto", [2, 3, 64, 300], [2, 3, 64, 300]),
        ("Intel avx2 avx512 avx512_bf16 avx_vnni amx", "auto", [], []),
        ("AMD avx2", "mkl", [], []),
        ("Intel avx2 avx512", "onednn", [1, 2, 3, 64, 300], [1, 2, 3, 64, 300]),
    ],
)
def test_rows_that_are_multiplied_by_packed_weights(processor, wanted, layer, output, monkeypatch):
    vendor, *instructions = processor.split()
    monkeypatch.setattr(products, "this_processor", lambda: Processor(vendor, frozenset(instructions)))
    counts, weight = [1, 2, 3, 64, 300], torch.zeros(8, 8)
    assert [n for n in counts if n in products.rows_packed(weight, wanted)] == layer
    assert [n for n in counts if n in products.rows_packed(weight, wanted, many_columns=True)] == output
    assert all(n in products.rows_packed(weight.bfloat16(), wanted) for n in [0, *counts])


def test_a_processor_without_bf16_does_not_pack_in_bf16(monkeypatch):
    """oneDNN would raise."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert pack(torch.zeros(64, D).bfloat16()) is None


@torch.no_grad()
def test_norm_and_products_in_bf16():
    linear, norm = some_linear(96).bfloat16(), some_norm(dtype=torch.bfloat16)
    x = torch.randn(20, D, dtype=torch.bfloat16)
    found = NormedLinear(Norm(norm), [linear.weight], [linear.bias])(x)
    torch.testing.assert_close(found, linear(norm(x)), rtol=0.02, atol=0.1)
