"""AdamW, and the learning rate as a function of the update."""

import torch
from torch import nn

from seq2seq.config import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in one fused kernel; matrices decay, biases and norms do not.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    on_mps = next(model.parameters()).device.type == "mps"
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=1e-9, fused=not on_mps)


def learning_rate(update: int, config: TrainingConfig) -> float:
    """The rate of the ``update``-th update, counted from 1.

    Linear warm-up to the peak, over a fifth of a short run at most; then either the inverse square
    root of Vaswani et al. 2017, section 5.3, or a hold and a linear cool-down that would reach zero
    with one update more (Hägele et al. 2024, arXiv:2405.18392). While nobody knows how many updates
    there will be, the peak is held.
    """
    warmup = max(1, min(config.warmup_updates, (config.max_updates or config.warmup_updates * 5) // 5))
    if update < warmup:
        return config.learning_rate * update / warmup
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * float((warmup / update) ** 0.5)
    if config.max_updates is None:
        return config.learning_rate
    left = config.max_updates + 1 - update
    # Not before the peak has been reached.
    length = max(1.0, min(config.cooldown * config.max_updates, config.max_updates + 1 - warmup))
    return config.learning_rate * min(1.0, max(0.0, left / length))
