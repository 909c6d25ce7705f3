"""The differences between a new run and a resumed one. ``session.py`` has what they share."""

from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol

from seq2seq.config import DataConfig
from seq2seq.training.budget import Budget
from seq2seq.training.ingest import CorpusRecord
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.state import CorpusId, TrainingState
from seq2seq.training.tuning import FINISH_SECONDS, FINISH_SECONDS_A_PAIR, MAX_LEXICON_PAIRS
from seq2seq.training.validation import ValidationSet, n_searches


class Setup(NamedTuple):
    """What a trainer starts from."""

    state: TrainingState
    """Its configuration is complete."""
    validation: ValidationSet
    max_useful_updates: int
    """More updates would hardly help, even if a time budget has room for them."""


def build_budget(setup: Setup, n_pairs: int) -> Budget:
    """What is planned with the time of a run.

    Args:
        setup: of the run.
        n_pairs: to train on.
    """
    decoding = setup.state.config.decoding
    of_lexicon = bool(decoding.shortlist) * FINISH_SECONDS_A_PAIR * min(n_pairs, MAX_LEXICON_PAIRS)
    return Budget(
        max_useful_updates=setup.max_useful_updates,
        finish=FINISH_SECONDS + of_lexicon,
        # A search takes about as long as one greedy search for each of its beams.
        search_validations=max(1, n_searches(decoding)) * decoding.beam_size,
        sets_cadence="valid_every" in setup.state.derived,
    )


class Plan(Protocol):
    """Decides, step by step, what is read and trained: ``NewRun`` and ``ResumedRun``."""

    @property
    def data(self) -> DataConfig:
        """Which corpora to read, and how."""
        ...

    @property
    def expected(self) -> Sequence[CorpusId] | None:
        """The corpora that the run was started with; None if it starts now."""
        ...

    @property
    def tokenizer(self) -> bytes | None:
        """The run's tokenizer; None if it has none yet."""
        ...

    @property
    def may_grow(self) -> bool:
        """Whether the vocabulary grows if the text has more characters than pieces."""
        ...

    def tokenized(self, corpora: Sequence[CorpusRecord]) -> Generator[Notice, None, DataConfig]:
        """How to tokenize, once the corpora have been read."""
        ...

    def setup(self, prepared: Prepared) -> Generator[Notice, None, Setup]:
        """What to train, once the corpora have been tokenized."""
        ...
