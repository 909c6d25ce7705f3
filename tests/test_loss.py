"""Label-smoothed cross-entropy: computed by hand, and against PyTorch's with padding."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq.model.products import Linear
from seq2seq.training import loss
from seq2seq.training.loss import output_loss, r_drop_loss, smoothed_cross_entropy

B, T, V, PAD = 3, 5, 11, 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_by_hand(smoothing):
    """-Σ_v q(v) log p(v), where q gives 1 - ε to the target and ε/V to every piece."""
    torch.manual_seed(0)
    logits, targets = torch.randn(4, V) * 2, torch.tensor([0, 5, 10, 5])
    expected = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        log_total = math.log(sum(math.exp(x) for x in row))
        for piece, logit in enumerate(row):
            mass = smoothing / V + (1 - smoothing) * (piece == target)
            expected -= mass * (logit - log_total)
    assert smoothed_cross_entropy(logits, targets, smoothing).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_only_real_positions_count_as_with_padding(smoothing):
    torch.manual_seed(0)
    logits = torch.randn(B, T, V, requires_grad=True)
    targets = torch.randint(4, V, (B, T))
    for row, length in enumerate((5, 2, 3)):
        targets[row, length:] = PAD
    real = targets != PAD
    ours = smoothed_cross_entropy(logits[real], targets[real], smoothing)
    theirs = F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(ours, theirs)
    (found,), (expected,) = torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(found, expected)
    assert (found[~real] == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_probabilities_less_targets(smoothing):
    torch.manual_seed(0)
    logits, targets = torch.randn(6, V, requires_grad=True), torch.randint(0, V, (6,))
    (gradient,) = torch.autograd.grad(smoothed_cross_entropy(logits, targets, smoothing), logits)
    wanted = F.one_hot(targets, V) * (1 - smoothing) + smoothing / V
    torch.testing.assert_close(gradient, torch.softmax(logits, -1) - wanted)


def test_it_is_a_sum_over_positions():
    """It is not a mean: the training loop divides by the tokens of the whole update."""
    torch.manual_seed(0)
    logits, targets = torch.randn(7, V), torch.randint(0, V, (7,))
    parts = [smoothed_cross_entropy(logits[a:b], targets[a:b], 0.1) for a, b in ((0, 2), (2, 7))]
    torch.testing.assert_close(sum(parts), smoothed_cross_entropy(logits, targets, 0.1))
    torch.testing.assert_close(
        smoothed_cross_entropy(torch.zeros(7, V), targets, 0.1), torch.tensor(7 * math.log(V), dtype=torch.float32)
    )


def test_half_precision_is_summed_in_full():
    """10,000 sums of bfloat16 would round to a few digits."""
    logits = torch.zeros(10_000, V, dtype=torch.bfloat16)
    loss = smoothed_cross_entropy(logits, torch.zeros(10_000, dtype=torch.long), 0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(10_000 * math.log(V), rel=1e-4)


LIKE_FLOAT64 = {torch.float64: 1e-12, torch.float32: 5e-5, torch.bfloat16: 5e-2}
"""Largest difference from autograd in fp64, as a share of the largest number."""


@pytest.mark.parametrize("dtype", LIKE_FLOAT64, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 8.0], ids=["small", "large"])
@pytest.mark.parametrize("n", [1, 256, 700])
def test_gradients_by_hand_are_those_of_autograd_in_float64(monkeypatch, dtype, smoothing, scale, n):
    monkeypatch.setattr(loss, "LOSS_ROWS", {True: 256})
    torch.manual_seed(n)
    output = Linear(16, 50).to(dtype)
    nn.init.normal_(output.bias)
    hidden, targets = (scale * torch.randn(n, 16)).to(dtype).requires_grad_(), torch.randint(0, 50, (n,))
    exact = [tensor.detach().double().requires_grad_() for tensor in (hidden, output.weight, output.bias)]
    theirs = F.cross_entropy(F.linear(*exact), targets, reduction="sum", label_smoothing=smoothing)
    ours = output_loss(hidden, output, targets, smoothing)
    assert ours.dtype == torch.promote_types(dtype, torch.float32)
    assert ours.item() == pytest.approx(theirs.item(), rel=LIKE_FLOAT64[dtype])
    # An update divides by its tokens.
    found = torch.autograd.grad(ours / 7, (hidden, output.weight, output.bias))
    for mine, expected in zip(found, torch.autograd.grad(theirs / 7, exact), strict=True):
        assert mine.dtype == dtype
        assert (mine - expected).abs().max() <= LIKE_FLOAT64[dtype] * expected.abs().max()
    with torch.no_grad():
        plain = output_loss(hidden, output, targets, smoothing)
    torch.testing.assert_close(plain.double(), theirs, rtol=max(1e-5, LIKE_FLOAT64[dtype]), atol=0.0)


def test_a_target_that_seems_impossible_adds_a_finite_loss():
    """exp cannot hold its probability; the gradient is that of any wrong piece."""
    output = Linear(1, 2)
    nn.init.zeros_(output.bias)
    with torch.no_grad():
        output.weight.copy_(torch.tensor([[200.0], [0.0]]))
    ours = output_loss(torch.ones(1, 1), output, torch.tensor([1]), 0.0)
    assert ours.item() == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    assert torch.autograd.grad(ours, output.bias)[0].tolist() == [1.0, -1.0]


def test_in_fp16_it_is_pytorchs_own_loss():
    """Its gradients by hand would be rounded to zero before the loss scale multiplies them."""
    torch.manual_seed(0)
    output = Linear(16, 50).half()
    hidden, targets = torch.randn(30, 16, dtype=torch.half, requires_grad=True), torch.randint(0, 50, (30,))
    ours = output_loss(hidden, output, targets, 0.1)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, smoothed_cross_entropy(output(hidden), targets, 0.1))


class TestTwoMasks:
    """R-Drop."""

    def test_by_hand(self):
        """Half of both cross-entropies, and α/4 of Σ p·log(p/q) + Σ q·log(q/p)."""
        torch.manual_seed(0)
        output = Linear(4, V)
        hidden, targets = torch.randn(2, 3, 4), torch.tensor([0, 5, 10])
        expected = 0.0
        for at, target in enumerate(targets.tolist()):
            p, q = (output(hidden[k, at]).softmax(-1).tolist() for k in (0, 1))
            expected -= (math.log(p[target]) + math.log(q[target])) / 2
            expected += 5 / 4 * sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(p, q, strict=True))
        assert r_drop_loss(hidden, output, targets, 0.0, 5.0).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    @pytest.mark.parametrize("scale", [1.0, 40.0], ids=["small", "too large for exp"])
    @pytest.mark.parametrize("n", [1, 128, 300])
    def test_blocks_give_the_same_loss_and_gradients(self, smoothing, scale, n, monkeypatch):
        torch.manual_seed(n)
        output = Linear(16, 50)
        nn.init.normal_(output.bias)
        hidden, targets = (scale * torch.randn(2, n, 16)).requires_grad_(), torch.randint(0, 50, (n,))
        by = (hidden, output.weight, output.bias)
        ours = r_drop_loss(hidden, output, targets, smoothing, 3.0)
        found = torch.autograd.grad(ours / 7, by)
        monkeypatch.setattr(loss, "_gradients_by_hand", lambda hidden: False)
        theirs = r_drop_loss(hidden, output, targets, smoothing, 3.0)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
        for one, other in zip(found, torch.autograd.grad(theirs / 7, by), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * scale)

    def test_if_both_masks_agree_it_is_the_loss_of_one(self):
        torch.manual_seed(0)
        output = Linear(16, 50)
        hidden, targets = torch.randn(30, 16, requires_grad=True), torch.randint(0, 50, (30,))
        twice = r_drop_loss(hidden.expand(2, -1, -1), output, targets, 0.1, 5.0)
        once = output_loss(hidden, output, targets, 0.1)
        torch.testing.assert_close(twice, once)
        (found,), (expected,) = torch.autograd.grad(twice, hidden), torch.autograd.grad(once, hidden)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    def test_the_divergence_keeps_nothing_for_the_backward_pass(self, monkeypatch):
        """If PyTorch computes the gradients: one number for each logit, as with one mask."""
        monkeypatch.setattr(loss, "_gradients_by_hand", lambda hidden: False)
        output, targets = Linear(4, 500), torch.randint(0, 500, (40,))
        hidden = torch.randn(2, 40, 4, requires_grad=True)
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            r_drop_loss(hidden, output, targets, 0.1, 5.0)
        assert 1 <= sum(kept.values()) / (2 * 40 * 500) < 1.1
