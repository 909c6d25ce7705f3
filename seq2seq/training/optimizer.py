"""The optimizer: AdamW over all weights at once."""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from seq2seq.config import TrainingConfig
from seq2seq.device import is_on_cpu
from seq2seq.training.tuning import NORM_BLOCK
from seq2seq.training.weights import FlatWeights

_MOMENTS: Final = "exp_avg", "exp_avg_sq"
"""PyTorch's names of the averages of the gradient and of its square."""


class Optimizer:
    """AdamW, in one fused kernel where there is one; matrices decay, biases and norms do not.

    Args:
        weights: whose gradient it follows.
        config: decay, averages of the gradient, and the norm above which a gradient is clipped.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    def __init__(self, weights: FlatWeights, config: TrainingConfig) -> None:
        self._weights = weights
        self._limit = config.clip_norm or float("inf")
        self._is_fused = weights.trained.device.type != "mps"
        groups = [
            {"params": [weights.matrices], "weight_decay": config.weight_decay},
            {"params": [weights.vectors], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=1e-9, fused=self._is_fused)

    def gradient_norm(self, divisor: Tensor | float) -> Tensor:
        """Euclidean norm of the gradient divided by a number. []"""
        return _norm(self._weights.gradient) / divisor

    @torch.no_grad()
    def step(self, rate: float, norm: Tensor, divisor: Tensor | float, skip: Tensor | None = None) -> None:
        """Change the weights. The gradient is left divided.

        Args:
            rate: the learning rate.
            norm: from ``gradient_norm``.
            divisor: the gradient is divided by it: the target tokens of the update.
            skip: 1.0: change nothing; 0.0 or None: make the step. A GPU decides by it without waiting for Python.
        """
        # Clipped: a norm above the limit becomes the limit.
        divisor = divisor * (norm / self._limit).clamp(min=1.0)
        if self._is_fused:  # its kernel divides and skips
            self.adamw.grad_scale, self.adamw.found_inf = divisor, skip  # type: ignore[attr-defined]
        elif skip is not None and bool(skip):
            return
        else:
            self._weights.gradient /= divisor
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self._weights.round()

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Tensor]:
        """Both averages of the gradient, and the number of steps, of each parameter by name; empty before a step."""
        halves = [self.adamw.state[half] for half in (self._weights.matrices, self._weights.vectors)]
        if not all(halves):
            return {}
        tensors: dict[str, Tensor] = {}
        for key in _MOMENTS:
            views = self._weights.views_of_halves(halves[0][key], halves[1][key])
            tensors |= {f"{key}.{name}": view for name, view in views.items()}
        return tensors | {f"step.{name}": halves[0]["step"].clone() for name in self._weights.names}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what ``state`` returned."""
        weights = self._weights
        if not tensors:  # AdamW makes its averages with the first step
            return
        device = weights.trained.device
        # Unfused, AdamW reads the number of steps in Python: on a GPU it would wait for it.
        step = tensors[f"step.{weights.names[0]}"].to(device if self._is_fused else "cpu")
        moments = {key: weights.joined({name: tensors[f"{key}.{name}"] for name in weights.names}) for key in _MOMENTS}
        of_halves = {key: weights.halves_of(flat) for key, flat in moments.items()}
        for i, half in enumerate((weights.matrices, weights.vectors)):
            self.adamw.state[half] = {"step": step.clone()} | {key: parts[i] for key, parts in of_halves.items()}


def _norm(flat: Tensor) -> Tensor:
    """Euclidean norm of a flat tensor. []"""
    if not is_on_cpu(flat):
        return torch.linalg.vector_norm(flat)  # type: ignore[no-any-return]
    # On a CPU PyTorch adds millions of squares in turn, in fp32: that of 60 million would be 0.5% too small.
    norms = [torch.linalg.vector_norm(block) for block in torch.split(flat, NORM_BLOCK)]
    return torch.linalg.vector_norm(torch.stack(norms))  # type: ignore[no-any-return]
