"""The loop of every search: batches side by side, the next one begun where others have grown small.

Sentences end one by one, and a step with few rows costs nearly as much as one with many: most of it is
reading the weights. So what remains of several batches takes its steps together.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol

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
    def choose(model: Model, hidden: Tensor, searches: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Look for the next pieces of several searches at once: for each, what ``advance`` takes."""

    def advance(self, *found: Any) -> list[tuple[int, list[Hypothesis]]]:
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
    running: list[BatchSearch] = []
    while True:
        while sum(one.size for one in running) <= room and (batch := next(waiting, None)) is not None:
            running.append(begin(model, batch, config, scored=scored))
        if not running:
            return
        hidden, states = model.step([one.tokens for one in running], [one.state for one in running])
        for one, state in zip(running, states, strict=True):
            one.state = state
        first = 0
        for _, alike in groupby(running, key=lambda one: (model.output_of(one.state), one.n_beams)):
            searches = list(alike)
            last = first + sum(len(one.tokens) for one in searches)
            for one, found in zip(searches, begin.choose(model, hidden[first:last], searches), strict=True):
                yield from one.advance(*found)
            first = last
        running = [one for one in running if len(one.tokens)]
