"""The implementations of ``Replicas``, and the choice among them."""

from collections.abc import Callable
from typing import Any

import torch

from seq2seq.training.parallel.base import Replicas, Shard
from seq2seq.training.parallel.forked import ForkedReplicas, n_replicas
from seq2seq.training.parallel.ranks import Ranks
from seq2seq.training.parallel.single import SingleReplica
from seq2seq.training.parallel.torchrun import RankReplicas
from seq2seq.training.step_stats import StepStats
from seq2seq.training.tuning import MAX_WAIT, MAX_WAIT_COMPILED
from seq2seq.training.weights import FlatWeights

PARALLEL: dict[str, Callable[[FlatWeights, Callable[[Any], Any], int], Replicas[Any, Any]]] = {
    "single": SingleReplica,
    "forked": ForkedReplicas,
}
"""By name. Each takes the weights, the function that makes the passes of a shard, and the number of replicas."""


def build_replicas(
    weights: FlatWeights,
    forward_backward: Callable[[Shard], StepStats],
    device: torch.device,
    n_rows: int,
    ranks: Ranks,
    *,
    compiled: bool,
) -> Replicas[Shard, StepStats]:
    """Make as many replicas as are useful for updates of this size.

    Args:
        weights: on ``device``.
        forward_backward: makes the passes of a shard, and adds to the gradient of ``weights``.
        device: where the model is.
        n_rows: target tokens of an update, times the forward passes of each.
        ranks: which share each update; each has replicas of its own.
        compiled: ``forward_backward`` runs ``torch.compile``, whose threads do not survive a fork.
    """
    n = 1 if compiled else n_replicas(device, n_rows // ranks.n)
    own = PARALLEL["single" if n == 1 else "forked"](weights, forward_backward, n)
    if ranks.n == 1:
        return own
    return RankReplicas(own, weights, ranks, MAX_WAIT_COMPILED if compiled else MAX_WAIT)
