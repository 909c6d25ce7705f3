"""Label-smoothed cross-entropy: what training makes small.

Shapes: N target positions, D model width, V vocabulary, n rows of a block.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS = 256
"""Logits that are made at once: enough for the products to be efficient, few enough for a processor's cache."""
_SAFE = 60.0
"""exp of numbers this large, and sums of them, neither overflow nor lose precision."""


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against a target that gives ``smoothing`` of its mass evenly to all pieces.

    Args:
        logits: of real target positions alone. [N, V]
        targets: the piece that follows each. [N]
        smoothing: share of the mass spread out; 0 is plain cross-entropy.

    Returns:
        The sum over the positions, in nats; divide it by the target tokens of the whole update.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; Vaswani et al. 2017, section 5.4.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)


def output_loss(hidden: Tensor, output: nn.Linear, targets: Tensor, smoothing: float) -> Tensor:
    """``smoothed_cross_entropy`` of the output layer's logits, which on a CPU never stand in memory all at once.

    Args:
        hidden: what the logits are made from. [N, D]
        output: weight [V, D] and bias [V].
        targets: [N]
        smoothing: as above.

    Returns:
        The sum over the positions, in nats.
    """
    fp32 = hidden.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if hidden.device.type == "cpu" and fp32 and torch.is_grad_enabled():
        return _OutputLoss.apply(hidden, output.weight, output.bias, targets, smoothing)  # type: ignore[no-any-return,no-untyped-call]
    return smoothed_cross_entropy(output(hidden), targets, smoothing)


class _OutputLoss(torch.autograd.Function):
    """Loss and gradients of one block of positions after the other, each while its logits are in the cache.

    With logits z, p = softmax(z) and smoothing ε, the loss of a position is logsumexp(z) - (1-ε)·z[target] -
    ε·mean(z), and its gradient by z is p - (1-ε)·onehot(target) - ε/V. Means over the vocabulary are linear in the
    hidden state, and so their part needs no pass over the logits; nor does dividing by sum exp(z), which is left to
    the narrow side of each product.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
    ) -> Tensor:
        n, vocabulary = len(hidden), len(weight)
        grad_hidden = torch.empty_like(hidden)  # [N, D]
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)  # [V, D], [V]
        log_sums, of_target = hidden.new_empty(n), hidden.new_empty(n)  # [N]
        largest = hidden.norm(dim=1).max() * weight.norm(dim=1).max() + bias.abs().max()  # no logit is larger
        safe = bool(largest < _SAFE)
        logits = hidden.new_empty(min(_ROWS, n), vocabulary)
        for first in range(0, n, _ROWS):
            block = slice(first, min(first + _ROWS, n))
            x, target = hidden[block], targets[block].unsqueeze(1)  # [n, D], [n, 1]
            z = torch.addmm(bias, x, weight.t(), out=logits[: len(x)])  # [n, V]
            of_target[block] = z.gather(1, target).squeeze(1)
            highest = torch.zeros(len(x), 1) if safe else z.amax(dim=1, keepdim=True)  # [n, 1]
            exponentials = (z if safe else z.sub_(highest)).exp_()  # [n, V]
            sums = exponentials.sum(dim=1, keepdim=True)  # [n, 1]
            log_sums[block] = (sums.log() + highest).squeeze(1)
            # From here on: sums times the gradient by z, but for the ε/V of every piece.
            exponentials.scatter_add_(1, target, (smoothing - 1) * sums)
            grad_weight.addmm_(exponentials.t(), x / sums)
            grad_bias.addmv_(exponentials.t(), sums.reciprocal().squeeze(1))
            grad_hidden[block] = (exponentials @ weight).div_(sums)
        mean_weight = weight.mean(dim=0)  # [D]
        means = hidden @ mean_weight + bias.mean()  # [N]
        grad_hidden.sub_(smoothing * mean_weight)
        grad_weight.sub_(smoothing / vocabulary * hidden.sum(dim=0))
        grad_bias.sub_(smoothing / vocabulary * n)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return (log_sums - (1 - smoothing) * of_target - smoothing * means).sum()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_hidden * grad, by_weight * grad, by_bias * grad, None, None
