"""Events of training: records that the command line draws and that tests read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import RunConfig
from seq2seq.runs import Spread


@dataclass(frozen=True)
class Notice:
    """A message for the user."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Started:
    """Everything is ready; the first update is next."""

    config: RunConfig
    device: str
    arithmetic: str
    """Precision, and the library of matrix products if it is not PyTorch's default."""
    n_pairs: int
    n_tgt_tokens: int
    vocab_size: int
    n_parameters: int
    update: int
    """Updates already done: more than 0 if a run is resumed."""
    n_shards: int = 0
    """Shards of a stream, whose pairs and tokens are those that were read before training; 0: it is no stream."""


@dataclass(frozen=True)
class LengthSet:
    """The number of updates was set by the time budget."""

    update: int
    """Updates made."""
    max_updates: int
    seconds_left: float
    """Of the time budget."""
    is_news: bool = True
    """Whether to report it: it is the first number, or it differs by a tenth from the last one that was reported."""


@dataclass(frozen=True)
class Report:
    """The updates since the last report."""

    update: int
    epoch: int
    """Epochs finished."""
    loss: float
    """The training loss: label-smoothed cross-entropy, with R-Drop the divergence too, in nats per target token."""
    lr: float
    tgt_tokens_per_second: float
    """Real target tokens, padding not counted, while updating."""
    seconds: float
    """Training time, all parts of an interrupted run together."""
    padding: float
    """Share of the positions that hold no token."""


@dataclass(frozen=True)
class Sample:
    """A validation sentence with its current translation."""

    src: str
    hypothesis: str
    reference: str


@dataclass(frozen=True)
class Validation:
    """Scores of the averaged weights on the validation pairs."""

    update: int
    epoch: int
    valid_loss: float | None
    """Cross-entropy in nats a target token, without smoothing; None: unknown."""
    bleu: float
    chrf: float
    cut_off: int
    """Translations that were cut off near the lengths of their references: the model cannot end them yet."""
    seconds: float
    """Duration of this validation."""
    is_best: bool
    samples: list[Sample]


@dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk: the run can be resumed from here."""

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
    """Whether it was finished before this command."""


@dataclass(frozen=True)
class SeedStarted:
    """The run of one of several seeds is next."""

    seed: int
    folder: Path
    """Of its run."""
    number: int
    """Counted from 1, in the order of training."""
    n_seeds: int


@dataclass(frozen=True)
class SeedsFinished:
    """The runs of all seeds are finished."""

    seeds: tuple[int, ...]
    scores: Mapping[str, Spread]
    """Mean and standard deviation of their validation scores, by name."""


Progress = Notice | Started | LengthSet | Report | Validation | Saved | Finished | SeedStarted | SeedsFinished
