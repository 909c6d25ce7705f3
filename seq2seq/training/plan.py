"""The differences between a new run and a resumed one. ``session.py`` has what they share."""

from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol

from seq2seq.config import DataConfig
from seq2seq.training.ingest import CorpusRecord
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.state import CorpusId, TrainingState
from seq2seq.training.validation import ValidationSet


class Setup(NamedTuple):
    """What a trainer starts from."""

    state: TrainingState
    """Its configuration is complete."""
    validation: ValidationSet
    max_useful_updates: int
    """More updates would hardly help, even if a time budget has room for them."""


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
