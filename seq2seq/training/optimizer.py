"""The optimizer: AdamW."""

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
