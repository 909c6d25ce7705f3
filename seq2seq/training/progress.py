"""What training says while it runs: records that the command line draws and tests read."""

from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import RunConfig


@dataclass(frozen=True)
class Notice:
    """Something a person should know once."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Started:
    """All is ready and the first update comes next."""

    config: RunConfig
    device: str
    arithmetic: str
    """Precision, and the library that makes products if it is not PyTorch's own choice."""
    n_pairs: int
    n_tgt_tokens: int
    vocab_size: int
    n_parameters: int
    update: int
    """Updates already done: more than 0 if a run is resumed."""


@dataclass(frozen=True)
class Settled:
    """How many updates a time budget has room for."""

    update: int
    """The last one made."""
    max_updates: int
    seconds_left: float
    """Of the time budget."""
    is_news: bool = True
    """It is the first number, or one that differs by a tenth from the last that was news."""


@dataclass(frozen=True)
class Report:
    """The updates since the last report."""

    update: int
    epoch: int
    """Passes over the corpus finished."""
    loss: float
    """What is made small: label-smoothed cross-entropy, with R-Drop the divergence too, in nats a target token."""
    lr: float
    tgt_tokens_per_second: float
    """Real target tokens, padding not counted, while updating."""
    seconds: float
    """Since the run began, all its parts together, where it was interrupted."""
    padding: float
    """Share of positions that held no token."""


@dataclass(frozen=True)
class Sample:
    """A validation sentence with its translation of the moment."""

    src: str
    hypothesis: str
    reference: str


@dataclass(frozen=True)
class Validation:
    """How good the averaged weights are on the validation pairs."""

    update: int
    epoch: int
    valid_loss: float | None
    """Cross-entropy in nats a target token, without smoothing; None: unknown."""
    bleu: float
    chrf: float
    cut_off: int
    """Translations that were cut off near the lengths of their references: the model cannot end them yet."""
    seconds: float
    """This validation took."""
    is_best: bool
    samples: list[Sample]


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk: the run can be resumed from here whatever happens."""

    update: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """Training is over and the folder is complete."""

    update: int
    best_update: int
    scores: dict[str, float | None]
    seconds: float
    reason: str
    trained_on: str = ""
    """The run's corpora, for a message, if the run was finished before this command."""
    verdict: str = ""
    """The scores in plain words; empty if they say too little."""
    already: bool = False
    """It was finished before this command."""


Progress = Notice | Started | Settled | Report | Validation | Saved | Finished
