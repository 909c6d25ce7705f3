"""The interface of the processes that make an update: one, or several (data parallelism).

An update is divided into shards, one for each replica of the model. Each replica makes the forward and backward passes
of its shard. Then they synchronize once: gradients, losses and token counts are summed, and the optimizer makes one
step.

The training loop knows these processes only by ``Replicas``. ``single.py`` and ``forked.py`` are the replicas of one
process that the user started, and ``choose.py`` has a table of them. ``torchrun.py`` is around one of these if the user
started several processes (ranks): every rank computes the same order of updates and makes the passes of its own pairs;
one message sums gradients and results, so that all ranks make the same step.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self, TypeVar


class Summable(Protocol):
    """A result that can be added to that of another replica."""

    def __add__(self, other: Self, /) -> Self:
        """The sum of both."""
        ...


Shard = TypeVar("Shard")
"""One replica's part of an update."""
Result = TypeVar("Result", bound=Summable)
"""What its passes return."""
Shard_contra = TypeVar("Shard_contra", contravariant=True)
Result_co = TypeVar("Result_co", bound=Summable, covariant=True)


class Replicas(Protocol[Shard_contra, Result_co]):
    """The replicas of a model: enter the context before many updates, and leave it when they are done."""

    def __enter__(self) -> Self:
        """Start the other processes, if there are any."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End them."""
        ...

    def __len__(self) -> int:
        """The number of replicas now, and so of the shards that an update should be divided into."""
        ...

    def one_core_each(self) -> AbstractContextManager[None]:
        """A context in which this process leaves the cores of the other replicas to them."""
        ...

    def forward_backward(self, shards: Sequence[Shard_contra]) -> Result_co:
        """Make the passes of all shards, and add the gradients of all to that of this process.

        Args:
            shards: up to as many as there are replicas.

        Returns:
            The sum of the results.

        Raises:
            UserError: a process was killed (75).
            Exception: what a pass raised, for example if memory ran out; the gradients are then of no use.
        """
        ...
