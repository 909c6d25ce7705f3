"""Ranks share an update: data parallelism over processes that ``torchrun`` started, on one machine or on several.

Each rank makes the passes of its own pairs. Then one message sums over all ranks: the gradient, the loss, the number of
tokens, and what the ranks agree on. So an update is the same whatever the number of ranks, except for rounding, and
all ranks make the same step of the optimizer.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Generic

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore

from seq2seq.device import HostCopy, to_device
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.parallel.base import Replicas, Shard
from seq2seq.training.parallel.ranks import Ranks, lost
from seq2seq.training.step_stats import StepStats
from seq2seq.training.weights import FlatWeights

_N_STATS = len(StepStats(0.0, 0.0, 0.0, 0.0).numbers())


class RankReplicas(Generic[Shard]):
    """The replicas of this rank, whose gradients are summed with those of all ranks.

    Args:
        inner: the replicas of this rank.
        weights: of this rank; they are those of all ranks.
        ranks: more than one.
        seconds: how long a rank may wait for the message of another one.
    """

    def __init__(self, inner: Replicas[Shard, StepStats], weights: FlatWeights, ranks: Ranks, seconds: float) -> None:
        self._inner, self._ranks, self._seconds = inner, ranks, seconds
        self._weights = weights
        self._message = self._sums = torch.zeros(0)
        """The gradient and other sums; these alone."""
        self._unheard: HostCopy | None = None
        """Sums of the last update that are still on a GPU."""

    def __enter__(self) -> "RankReplicas[Shard]":
        self._inner.__enter__()
        n, device = len(self._weights), self._weights.gradient.device
        self._message = torch.zeros(n + _N_STATS + len(self._ranks.numbers()), device=device)
        self._sums = self._message[n:]
        self._weights.use_gradient(self._message[:n])
        self._ranks.gather(lambda: None)  # ranks that are still loading have as much time as they need
        on_gpu = device.type == "cuda"
        try:
            dist.init_process_group(
                "nccl" if on_gpu else "gloo",
                store=PrefixStore("gradients", self._ranks.store),
                rank=self._ranks.rank,
                world_size=self._ranks.n,
                timeout=timedelta(seconds=self._seconds),
                device_id=device if on_gpu else None,
            )
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"the processes of this training cannot reach each other: {reason}",
                mend=f"name the network that joins them, as in {'NCCL' if on_gpu else 'GLOO'}_SOCKET_IFNAME=eth0",
                code=ExitCode.TRY_LATER,
            ) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._ranks.fail(error)  # as soon as the connections are closed, the others fail too
        self._inner.__exit__(kind, error, at)
        if dist.is_initialized():
            if error is not None and dist.get_backend() == "nccl" and dist.group.WORLD is not None:
                dist.group.WORLD.abort()  # otherwise it would wait for ranks that have ended
            dist.destroy_process_group()

    def __len__(self) -> int:
        return len(self._inner)

    def one_core_each(self) -> AbstractContextManager[None]:
        """As this rank's replicas."""
        return self._inner.one_core_each()

    def forward_backward(self, shards: Sequence[Shard]) -> StepStats:
        """Make the passes of this rank's shards, and set the gradient to that of all ranks' pairs.

        Args:
            shards: this rank's; none if the update has fewer pairs than there are ranks.

        Returns:
            The sum of all ranks' results.

        Raises:
            UserError: another rank has ended (75).
            Exception: what a pass of this rank raised; nothing was sent, so that it can be tried again.
        """
        stats = self._inner.forward_backward(shards) if shards else StepStats(0.0, 0, 0, 0)
        if self._unheard is not None:  # a GPU is busy with this update, and has finished the one before
            self._ranks.hear(self._unheard.values()[0][0].tolist())
        loss_sum, *counts = stats.numbers()
        self._sums.copy_(to_device(torch.tensor([0.0, *counts, *self._ranks.numbers()]), self._sums.device))
        self._sums[0] = loss_sum
        try:
            dist.all_reduce(self._message)
        except RuntimeError as error:
            raise lost() from error
        words = self._sums[_N_STATS:]
        if words.device.type == "cuda":
            self._unheard = HostCopy(words.unsqueeze(0))
            return StepStats(*self._sums[:_N_STATS].clone())
        self._ranks.hear(words.tolist())
        return StepStats(*self._sums[:_N_STATS].tolist())
