"""The loop around every search: continuous batching.

Sentences end one by one. A step with few rows takes nearly as long as one with many, because most of the time goes into
reading the weights. So partly finished batches are merged, and the next batch starts when the others have become small.
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
from seq2seq.device import is_on_cpu
from seq2seq.model import Decoder, Logits
from seq2seq.tokenizer import N_CONTROL


class BatchSearch(Protocol):
    """The search of one batch, one step at a time: an object of a class of ``STRATEGIES``."""

    state: Any
    """The decoder's state."""
    tokens: Tensor
    """The newest piece of each row; the beams of a sentence are neighbours. Empty when the search is over. [B·N]"""

    @property
    def size(self) -> int:
        """Source tokens, padding included, of the sentences that are not finished."""

    @staticmethod
    def choose(logits: Logits, searches: Sequence[Any]) -> Iterator[Any]:
        """Choose the next pieces of several searches with the same number of beams.

        Args:
            logits: the rows of all searches, one search after the other.
            searches: of this class.

        Yields:
            For each search, the argument of ``advance``.
        """

    def advance(self, step: Any) -> list[tuple[int, list[Hypothesis]]]:
        """Append the chosen pieces.

        Returns:
            The name of each sentence whose search is over, and its hypotheses, best first.
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
    """Find the best hypotheses of each sentence.

    Args:
        decoder: of a trained model, under ``torch.inference_mode()``.
        batches: are started one after the other.
        config: beams, length penalty, stopping.
        n_control: pieces below this one are control symbols and tags; of these only EOS may be output.
        room: a batch starts when the unfinished sentences of the others have at most this many source tokens; 0: when
            the others are finished.
        scored: whether to compute scores; without them greedy search is faster.
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
        for searches in _group(idle, alone=not in_flight):
            in_flight.append(_InFlight(searches, _next_steps(decoder, searches, strategy_class.choose)))
        if not in_flight:
            return
        searches, steps = in_flight.popleft()
        for one, step in zip(searches, steps, strict=True):
            yield from one.advance(step)
        idle = [one for one in searches if one.tokens.size(0)]


def _group(searches: list[BatchSearch], *, alone: bool) -> list[list[BatchSearch]]:
    """Group searches: those of a group take their next step together.

    On a CPU there is one group. On a GPU there are two: it computes a step of one group while Python reads the results
    of the other.

    Args:
        searches: those that wait for their next step.
        alone: whether no other searches are in flight.
    """
    on_cpu = all(is_on_cpu(one.tokens) for one in searches)
    groups = [searches] if not alone or on_cpu else [searches[0::2], searches[1::2]]
    return [group for group in groups if group]


class _InFlight(NamedTuple):
    """Searches that take a step together, and their chosen pieces."""

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
            n_rows += several[-1].tokens.size(0)
        steps += choose(of_some, several)
    return steps
