"""The loop of every search: continuous batching.

Sentences end one by one, and a step with few rows costs nearly as much as one with many, because most of it is reading
the weights. So partly finished batches are merged, and the next batch starts when the others have become small.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.beam import BeamSearch
from seq2seq.decoding.greedy import GreedySearch
from seq2seq.decoding.hypotheses import Hypothesis, SourceBatch
from seq2seq.model import Decoder, Logits
from seq2seq.tokenizer import N_CONTROL


class BatchSearch(Protocol):
    """The search of one batch, one step at a time: an object of a class of ``STRATEGIES``."""

    state: Any
    """The decoder's."""
    tokens: Tensor
    """The newest piece of each row; the beams of a sentence are neighbours. Empty at the end. [B·N]"""

    @property
    def size(self) -> int:
        """Source tokens, with padding, of the sentences that are still searched."""

    @staticmethod
    def choose(logits: Logits, searches: Sequence[Any]) -> Iterator[Any]:
        """Choose the next pieces of several searches with the same number of beams: for each, what ``advance`` takes.

        The logits have the rows of one search after the other.
        """

    def advance(self, step: Any) -> list[tuple[int, list[Hypothesis]]]:
        """Continue with the chosen pieces.

        Returns:
            The names of the sentences whose search is over, each with its hypotheses, best first.
        """


STRATEGIES: dict[str, type[GreedySearch] | type[BeamSearch]] = {"greedy": GreedySearch, "beam": BeamSearch}


def search(
    decoder: Decoder,
    batches: Iterable[SourceBatch],
    config: DecodingConfig,
    *,
    n_control: int = N_CONTROL,
    room: int = 0,
    scored: bool = True,
    strategy: str | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """The best hypotheses of each sentence.

    Args:
        decoder: of a trained model, under ``torch.inference_mode()``.
        batches: started one after the other.
        config: beams, length penalty, stopping.
        n_control: pieces below this one are control symbols and tags; of these only EOS may be output.
        room: a batch starts when the others have no more source tokens than this left; 0: when they are finished.
        scored: whether the hypotheses' scores are wanted; greedy search is faster without.
        strategy: of ``STRATEGIES``; None: greedy with one beam, beam search with more.

    Yields:
        The name of each sentence and its hypotheses, best first, as soon as its search is over.
    """
    strategy_class: Any = STRATEGIES[strategy or ("greedy" if config.beam_size == 1 else "beam")]
    waiting = iter(batches)
    idle: list[BatchSearch] = []
    in_flight: deque[_InFlight] = deque()
    while True:
        while sum(one.size for one in chain(idle, *(one.searches for one in in_flight))) <= room:
            if (batch := next(waiting, None)) is None:
                break
            idle.append(strategy_class(decoder, batch, config, n_control=n_control, scored=scored))
        for searches in _together(idle, alone=not in_flight):
            in_flight.append(_InFlight(searches, _next_steps(decoder, searches, strategy_class.choose)))
        if not in_flight:
            return
        searches, steps = in_flight.popleft()
        for one, step in zip(searches, steps, strict=True):
            yield from one.advance(step)
        idle = [one for one in searches if len(one.tokens)]


def _together(searches: list[BatchSearch], *, alone: bool) -> list[list[BatchSearch]]:
    """Group the searches that take their next step together.

    On a CPU all do. On a GPU there are two groups: it computes the step of one while the other's results are read.

    Args:
        searches: those that wait for their next step.
        alone: whether no others are in flight.
    """
    groups = [searches] if not alone or _is_on_cpu(searches) else [searches[0::2], searches[1::2]]
    return [group for group in groups if group]


def _is_on_cpu(searches: list[BatchSearch]) -> bool:
    return all(one.tokens.device.type == "cpu" for one in searches)


class _InFlight(NamedTuple):
    """Searches that step together, and the results of each."""

    searches: list[BatchSearch]
    steps: list[Any]


def _next_steps(decoder: Decoder, searches: list[BatchSearch], choose: Callable[..., Iterator[Any]]) -> list[Any]:
    logits, states = decoder.step([one.tokens for one in searches], [one.state for one in searches])
    for one, state in zip(searches, states, strict=True):
        one.state = state
    steps: list[Any] = []
    waiting = iter(searches)
    for of_some in logits:
        several: list[BatchSearch] = []
        n_rows = 0
        while n_rows < len(of_some):
            several.append(next(waiting))
            n_rows += len(several[-1].tokens)
        steps += choose(of_some, several)
    return steps
