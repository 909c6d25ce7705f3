"""The implementations of ``Replicas``, and the choice among them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from seq2seq.training.parallel.base import Replicas, Result, Shard
from seq2seq.training.parallel.forked import ForkedReplicas, n_replicas
from seq2seq.training.parallel.single import SingleReplica

PARALLEL: dict[str, Callable[[nn.Module, Callable[[Any], Any], int], Replicas[Any, Any]]] = {
    "single": SingleReplica,
    "forked": ForkedReplicas,
}
"""By name. Each takes the model, the function that makes the passes of a shard, and the number of replicas."""


def build_replicas(
    model: nn.Module, forward_backward: Callable[[Shard], Result], device: torch.device, n_rows: int, *, compiled: bool
) -> Replicas[Shard, Result]:
    """Make as many replicas as are useful for updates of this size.

    Args:
        model: on ``device``.
        forward_backward: makes the passes of a shard, and adds to the gradients of ``model``.
        device: where the model is.
        n_rows: target tokens of an update, times the forward passes of each.
        compiled: ``forward_backward`` runs ``torch.compile``, whose threads do not survive a fork.
    """
    n = 1 if compiled else n_replicas(device, n_rows)
    return PARALLEL["single" if n == 1 else "forked"](model, forward_backward, n)
