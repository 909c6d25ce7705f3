"""The training loss: label-smoothed cross-entropy, and with R-Drop the divergence of two forward passes.

Shapes: N target positions, D model width, V vocabulary, n positions of a block.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from seq2seq.device import is_on_cpu
from seq2seq.model.products import Linear, Products
from seq2seq.training.tuning import LOSS_ROWS, SAFE_EXPONENT


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against a target that gives ``smoothing`` of its mass evenly to all pieces.

    Args:
        logits: only of real target positions. [N, V]
        targets: the piece that follows each. [N]
        smoothing: share of the mass spread out; 0 is plain cross-entropy.

    Returns:
        The sum over the positions, in nats; divide it by the target tokens of the whole update.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; Vaswani et al. 2017, section 5.4.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)


def output_loss(hidden: Tensor, output: Linear, targets: Tensor, smoothing: float) -> Tensor:
    """``smoothed_cross_entropy`` of the output layer's logits, which are never all in memory at once.

    Args:
        hidden: what the logits are made from. [N, D]
        output: weight [V, D] and bias [V].
        targets: [N]
        smoothing: as above.

    Returns:
        The sum over the positions, in nats. The probability of a target counts as at least 1e-38: 87 nats.
    """
    if _gradients_by_hand(hidden):
        by = (hidden, output.weight, output.bias, output.products_or_own)
        return _OutputLoss.apply(*by, targets, smoothing)  # type: ignore[no-any-return,no-untyped-call]
    return smoothed_cross_entropy(output(hidden), targets, smoothing)


def r_drop_loss(hidden: Tensor, output: Linear, targets: Tensor, smoothing: float, r_drop: float) -> Tensor:
    """R-Drop: the loss of positions that went through the model twice, with different dropout.

    The mean of both cross-entropies, plus the divergence of the two predictions p and q: r_drop / 4 · (KL(p, q) +
    KL(q, p)). If predictions do not depend on which units were dropped, the model overfits less.

    Args:
        hidden: of both forward passes. [2, N, D]
        output: weight [V, D] and bias [V].
        targets: [N]
        smoothing: as above.
        r_drop: weight of the divergence, the α of its paper, whose loss is twice this one.

    Returns:
        The sum over the positions, in nats.

    Source: Liang et al. 2021, arXiv:2106.14448, section 2.
    """
    if _gradients_by_hand(hidden) and is_on_cpu(hidden) and hidden.dtype == torch.float32:
        by = (hidden, output.weight, output.bias, output.products_or_own)
        return _RDropLoss.apply(*by, targets, smoothing, r_drop)  # type: ignore[no-any-return,no-untyped-call]
    log_probs = output(hidden).float().log_softmax(dim=-1)  # [2, N, V]
    of_targets = log_probs.gather(2, targets.expand(2, -1).unsqueeze(2)).sum()
    cross_entropy = (smoothing - 1) * of_targets - smoothing * log_probs.mean(dim=2).sum()
    # Computed again in the backward pass: it would hold three times as much memory as the logits.
    divergence: Tensor = checkpoint(_divergence, *log_probs, use_reentrant=False)
    loss: Tensor = cross_entropy / 2 + r_drop / 4 * divergence
    return loss


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p, q) + KL(q, p), summed over the positions. Two of [N, V]"""
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()


def _gradients_by_hand(hidden: Tensor) -> bool:
    # In fp16 gradients must be scaled before they are rounded, as autograd does; torch.compile fuses autograd's own.
    return hidden.dtype != torch.float16 and torch.is_grad_enabled() and not torch.compiler.is_compiling()


class _OutputLoss(torch.autograd.Function):
    """Loss and gradients, block by block, by one softmax and three products in the type of ``hidden``.

    With logits z, p = softmax(z) and smoothing ε, the loss of a position is -log p[target] + ε·(z[target] - mean(z)),
    and its gradient by z is p - (1-ε)·onehot(target) - ε/V. What ε is multiplied by is linear in the hidden state, so
    it needs no pass over the logits. On a CPU a block of logits stays in the cache.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        products: Products,
        targets: Tensor,
        smoothing: float,
    ) -> Tensor:
        n, vocabulary = len(hidden), len(weight)
        exact = torch.promote_types(hidden.dtype, torch.float32)  # of sums over positions
        grad_hidden = torch.empty_like(hidden)  # [N, D]
        grad_weight, grad_bias = (
            torch.zeros_like(weight, dtype=exact),
            torch.zeros_like(bias, dtype=exact),
        )  # [V, D], [V]
        probability = hidden.new_empty(n)  # [N]: of the target
        of_target = hidden.new_empty(n)  # [N]: its logit
        rows = min(LOSS_ROWS[is_on_cpu(hidden)], n)
        logits = hidden.new_empty(rows, vocabulary)
        for start in range(0, n, rows):
            block = slice(start, min(start + rows, n))
            x, target = hidden[block], targets[block].unsqueeze(1)  # [n, D], [n, 1]
            z = products.output(products.operand(x), bias, len(x), out=logits[: len(x)])  # [n, V]
            of_target[block] = z.gather(1, target).squeeze(1)
            p = torch.softmax(z, dim=1, out=z)  # [n, V]
            probability[block] = p.gather(1, target).squeeze(1)
            p.scatter_add_(1, target, p.new_full((len(x), 1), smoothing - 1))
            by_logits = products.operand(p)
            products.add_grad_weight(grad_weight, by_logits, products.operand(x))
            grad_bias += p.sum(dim=0, dtype=exact)
            grad_hidden[block] = products.grad_input(by_logits, len(x))
        mean_weight = weight.mean(dim=0, dtype=exact)  # [D]
        total = hidden.sum(dim=0, dtype=exact)  # [D]
        sum_of_means = total @ mean_weight + n * bias.mean(dtype=exact)  # []: of the logits' means
        grad_hidden -= smoothing * mean_weight
        grad_weight -= smoothing / vocabulary * total
        grad_bias -= smoothing / vocabulary * n
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        least = torch.finfo(hidden.dtype).tiny
        log_probability = probability.to(exact).clamp_min(least).log().sum()
        return smoothing * (of_target.sum(dtype=exact) - sum_of_means) - log_probability

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_hidden * grad, by_weight * grad, by_bias * grad, None, None, None


def _exp_is_safe(hidden: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether no logit can be so large that the row's maximum must be subtracted before exp."""
    largest = hidden.norm(dim=-1).max() * weight.norm(dim=1).max() + bias.abs().max()  # Cauchy-Schwarz
    return bool(largest < SAFE_EXPONENT)


class _RDropLoss(torch.autograd.Function):
    """On a CPU: as ``_OutputLoss``, with two rows for each position; the logits of both are in the cache together.

    With logits z and y, p = softmax(z), q = softmax(y) and d = log p - log q, the divergence is Σ p·d - Σ q·d, and its
    gradient by z is p·(d - Σ p·d) + p - q. By y it is the same with p and q exchanged and the sign of d turned.

    log p is z less its log-sum: d = z - y - r, where r is the difference of the log-sums. With half of the
    cross-entropy's p, the whole gradient by z is p·(z - y)·α/4 + p·(1/2 + α/4·(1 - r - Σ p·d)) - q·α/4, less what the
    target and the smoothing take away.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        products: Products,
        targets: Tensor,
        smoothing: float,
        r_drop: float,
    ) -> Tensor:
        n, vocabulary = hidden.size(1), len(weight)
        grad_hidden = torch.empty_like(hidden)  # [2, N, D]
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)  # [V, D], [V]
        log_sums, of_target = hidden.new_empty(2, n, 1), hidden.new_empty(2, n, 1)
        divergence = hidden.new_zeros(())
        safe = _exp_is_safe(hidden, weight, bias)
        rows = min(LOSS_ROWS[True] // 2, n)
        of_logits, of_gradients = hidden.new_empty(2 * rows * vocabulary), hidden.new_empty(2 * rows * vocabulary)
        of_differences = hidden.new_empty(rows, vocabulary)
        for start in range(0, n, rows):
            block = slice(start, min(start + rows, n))
            x = hidden[:, block].flatten(0, 1)  # [2n, D]: n rows of one forward pass, then n of the other
            target = targets[block].repeat(2).unsqueeze(1)  # [2n, 1]
            operand = products.operand(x)
            out = of_logits[: len(x) * vocabulary].view(len(x), vocabulary)
            z = products.output(operand, bias, len(x), out=out)
            of_target[:, block] = z.gather(1, target).view(2, -1, 1)
            differences = torch.sub(*z.chunk(2), out=of_differences[: len(x) // 2])  # [n, V]: z - y
            highest = torch.zeros(len(x), 1) if safe else z.amax(dim=1, keepdim=True)  # [2n, 1]
            exponentials = (z if safe else z.sub_(highest)).exp_()  # [2n, V]
            sums = exponentials.sum(dim=1, keepdim=True)  # [2n, 1]
            log_sums[:, block] = (sums.log() + highest).view(2, -1, 1)
            r = log_sums[0, block] - log_sums[1, block]  # [n, 1]
            e = exponentials.view(2, -1, vocabulary)
            scale = sums.reciprocal().view(2, -1, 1)
            by_logits = torch.mul(e, differences, out=of_gradients[: len(x) * vocabulary].view(2, -1, vocabulary))
            expected = by_logits.sum(dim=2, keepdim=True) * scale - r  # [2, n, 1]: Σ p·d, Σ q·d
            divergence += (expected[0] - expected[1]).sum()
            for one, other, sign in ((0, 1, 1.0), (1, 0, -1.0)):
                even = 0.5 + r_drop / 4 * (1 - sign * (r + expected[one]))  # [n, 1]: the factor of p
                by_one = by_logits[one].mul_(sign * r_drop / 4 * scale[one])
                by_one.addcmul_(e[one], even * scale[one]).addcmul_(e[other], -r_drop / 4 * scale[other])
            gradients = by_logits.flatten(0, 1).scatter_add_(
                1, target, hidden.new_full((len(x), 1), (smoothing - 1) / 2)
            )
            grad_bias.add_(gradients.sum(dim=0))
            gradients = products.operand(gradients)
            products.add_grad_weight(grad_weight, gradients, operand)
            grad_hidden[:, block] = products.grad_input(gradients, len(x)).view(2, -1, x.size(1))
        mean_weight = weight.mean(dim=0)  # [D]
        mean_logits = hidden.flatten(0, 1) @ mean_weight + bias.mean()  # [2N]
        grad_hidden.sub_(smoothing / 2 * mean_weight)
        grad_weight.sub_(smoothing / 2 / vocabulary * hidden.sum(dim=(0, 1)))
        grad_bias.sub_(smoothing / vocabulary * n)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        cross_entropy = (log_sums - (1 - smoothing) * of_target).sum() - smoothing * mean_logits.sum()
        return cross_entropy / 2 + r_drop / 4 * divergence

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias = ctx.saved_tensors  # type: ignore[attr-defined]
        return by_hidden * grad, by_weight * grad, by_bias * grad, None, None, None, None
