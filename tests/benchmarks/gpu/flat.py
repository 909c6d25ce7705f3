"""Prototype: all weights in one tensor. Trained in fp32, used in bf16, with one gradient, one average and one step.

The program's model keeps its modules: their parameters become views of the tensor that is used.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from seq2seq.config import TrainingConfig


class FlatTraining:
    """Weights end to end, and what an update does with them.

    Args:
        model: on its device; its parameters are replaced by views.
        dtype: in which the model computes. With fp32 there is no second copy.
        config: of the optimizer and of the average.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, config: TrainingConfig) -> None:
        # Matrices first, which decay. Odd sizes last, so that all others start at a multiple of 16 bytes.
        self.parameters = sorted(model.parameters(), key=lambda p: (p.dim() < 2, p.numel() % 8 > 0))
        sizes = [p.numel() for p in self.parameters]
        n_decaying = sum(p.numel() for p in self.parameters if p.dim() > 1)
        self.trained = torch.cat([p.detach().float().flatten() for p in self.parameters])
        self.used = self.trained if dtype == torch.float32 else self.trained.to(dtype)
        self.gradient = torch.zeros_like(self.trained)
        self.average = self.trained.clone()
        self.loss_sum = torch.zeros((), device=self.trained.device)
        for parameter, piece in zip(self.parameters, self.used.split(sizes), strict=True):
            parameter.data = piece.view_as(parameter)
        halves = [nn.Parameter(half) for half in (self.trained[:n_decaying], self.trained[n_decaying:])]
        for half, of_half in zip(halves, (self.gradient[:n_decaying], self.gradient[n_decaying:]), strict=True):
            half.grad = of_half
        groups = [
            {"params": halves[:1], "weight_decay": config.weight_decay},
            {"params": halves[1:], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=config.betas, eps=1e-9, fused=True)
        self._clip = config.clip_norm or math.inf
        self._ema_decay = config.ema_decay

    def backward(self, loss_sum: Tensor) -> None:
        """Add a pass's gradient of the sum of losses. A CUDA graph may record it: nothing remembers a stream."""
        gradients = torch.autograd.grad(loss_sum, self.parameters)
        self.gradient.add_(torch.cat([gradient.flatten() for gradient in gradients]))
        self.loss_sum.add_(loss_sum.detach())

    @torch.no_grad()
    def step(self, n_tokens: int) -> None:
        """Clip, step and average: the gradient is divided by the tokens within the optimizer's own kernel."""
        norm = self.gradient.norm() / n_tokens
        self.optimizer.grad_scale = n_tokens * (norm / self._clip).clamp(min=1.0)  # type: ignore[attr-defined]
        self.optimizer.found_inf = (~torch.isfinite(norm + self.loss_sum)).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        if self.used is not self.trained:
            self.used.copy_(self.trained)
        self.average.lerp_(self.trained, 1 - self._ema_decay)
        self.forget()

    def forget(self) -> None:
        """Forget the passes since the last step."""
        self.gradient.zero_()
        self.loss_sum.zero_()

    def copies(self) -> list[Tensor]:
        """Copies of all that the next update depends on."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, copies: list[Tensor]) -> None:
        """Start again from ``copies``."""
        for tensor, copied in zip(self._tensors(), copies, strict=True):
            tensor.copy_(copied)
        self.used.copy_(self.trained)
        self.forget()

    def _tensors(self) -> list[Tensor]:
        moments = (tensor for of_half in self.optimizer.state.values() for tensor in of_half.values())
        return [self.trained, self.average, *moments]


def gradient_of(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """A loss, and its gradient by all parameters, end to end, in fp32."""
    parameters = list(model.parameters())
    found = loss()
    gradients = torch.autograd.grad(found, parameters)
    return float(found.detach()), torch.cat([gradient.detach().float().flatten() for gradient in gradients])
