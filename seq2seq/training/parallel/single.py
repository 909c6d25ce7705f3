"""One process makes the whole update: on an accelerator, or if an update is too small to divide."""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic

from seq2seq.training.parallel.base import Result, Shard
from seq2seq.training.weights import FlatWeights


class SingleReplica(Generic[Shard, Result]):
    """The model in this process only.

    Args:
        weights: whose gradient ``forward_backward`` adds to.
        forward_backward: makes the passes of a shard.
        n: 1.
    """

    def __init__(self, weights: FlatWeights, forward_backward: Callable[[Shard], Result], n: int = 1) -> None:
        if n != 1:
            raise ValueError(f"{n} replicas need more than one process")
        self._forward_backward = forward_backward

    def __enter__(self) -> "SingleReplica[Shard, Result]":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def __len__(self) -> int:
        return 1

    def one_core_each(self) -> contextlib.AbstractContextManager[None]:
        """Nothing changes: this process may use all cores."""
        return contextlib.nullcontext()

    def forward_backward(self, shards: Sequence[Shard]) -> Result:
        """Make the passes of the only shard."""
        (shard,) = shards
        return self._forward_backward(shard)
