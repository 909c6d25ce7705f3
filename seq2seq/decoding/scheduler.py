"""The loop of every search: batches side by side, the next one begun where others have grown small.

Sentences end one by one, and a step with few rows costs nearly as much as one with many: most of it is
reading the weights. So what remains of several batches takes its steps together.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.beam import BeamSearch
from seq2seq.decoding.greedy import GreedySearch
from seq2seq.decoding.hypotheses import Batch, Hypothesis, Model


class BatchSearch(Protocol):
    """The search of one batch, a step at a time; what a row of ``STRATEGIES`` makes."""

    state: Any
    """The model's."""
    tokens: Tensor
    """The newest piece of each row, the beams of a sentence side by side; empty at the end. [B·N]"""

    @property
    def n_beams(self) -> int:
        """N"""

    @property
    def size(self) -> int:
        """Padded source tokens of the sentences that are still searched."""

    @staticmethod
    def choose(model: Model, hidden: Tensor, searches: Sequence[Any]) -> Iterator[Any]:
        """Look for the next pieces of several searches at once: for each, what ``advance`` takes."""

    def advance(self, step: Any) -> list[tuple[int, list[Hypothesis]]]:
        """Go on with what was chosen.

        Returns:
            The names of the sentences whose search is over, each with its hypotheses, best first.
        """


STRATEGIES: dict[str, type[GreedySearch] | type[BeamSearch]] = {"greedy": GreedySearch, "beam": BeamSearch}


def search(
    model: Model,
    batches: Iterable[Batch],
    config: DecodingConfig,
    *,
    room: int = 0,
    scored: bool = True,
    strategy: str | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """The best hypotheses of each sentence.

    Args:
        model: laid out for translating, under ``torch.inference_mode()``.
        batches: begun one after the other.
        config: beams, length penalty, stopping.
        room: a batch is begun when the others are down to so many source tokens; 0: when they are over.
        scored: whether the hypotheses' scores are wanted; greedy search is faster without.
        strategy: of ``STRATEGIES``; None: greedy with one beam, beam search with more.

    Yields:
        The name of a sentence and its hypotheses, best first; a sentence that ends early comes early.
    """
    begin: Any = STRATEGIES[strategy or ("greedy" if config.beam_size == 1 else "beam")]
    waiting = iter(batches)
    idle: list[BatchSearch] = []
    asked: deque[_Asked] = deque()
    while True:
        while sum(one.size for one in chain(idle, *(one.searches for one in asked))) <= room:
            if (batch := next(waiting, None)) is None:
                break
            idle.append(begin(model, batch, config, scored=scored))
        for searches in _together(idle, alone=not asked):
            asked.append(_Asked(searches, _next_steps(model, searches, begin.choose)))
        if not asked:
            return
        searches, steps = asked.popleft()
        for one, step in zip(searches, steps, strict=True):
            yield from one.advance(step)
        idle = [one for one in searches if len(one.tokens)]


def _together(searches: list[BatchSearch], *, alone: bool) -> list[list[BatchSearch]]:
    """Which searches take their next steps together.

    On a CPU all. A GPU is asked for the steps of some while it takes those of others: while there are two batches or
    more it need not wait for the search, nor the search for it.

    Args:
        searches: that wait for their steps.
        alone: no others are under way.
    """
    groups = [searches] if not alone or _is_on_cpu(searches) else [searches[0::2], searches[1::2]]
    return [group for group in groups if group]


def _is_on_cpu(searches: list[BatchSearch]) -> bool:
    return all(one.tokens.device.type == "cpu" for one in searches)


class _Asked(NamedTuple):
    """Searches that step together, and what has been found for each."""

    searches: list[BatchSearch]
    steps: list[Any]


def _next_steps(model: Model, searches: list[BatchSearch], choose: Callable[..., Iterator[Any]]) -> list[Any]:
    hidden, states = model.step([one.tokens for one in searches], [one.state for one in searches])
    for one, state in zip(searches, states, strict=True):
        one.state = state
    steps: list[Any] = []
    first = 0
    for _, alike in groupby(searches, key=lambda one: (model.output_of(one.state), one.n_beams)):
        several = list(alike)
        last = first + sum(len(one.tokens) for one in several)
        steps += choose(model, hidden[first:last], several)
        first = last
    return steps
