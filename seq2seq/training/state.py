"""What a checkpoint holds in JSON: the state of a run, and what the next command must know about it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import Any, Literal, Self

from seq2seq.config import RunConfig, known_layer
from seq2seq.config.records import Count, Flag, Real, record
from seq2seq.errors import counted
from seq2seq.runs import Limits, RecipeRecord, parse_stored
from seq2seq.training.arithmetic import Arithmetic
from seq2seq.training.progress import Report

Cadence = Literal["valid_every", "save_every"]
"""Keys of ``training`` that follow from the length of training if they are unset."""


@record
class Best:
    """The best validation so far."""

    update: Count
    metric: Real | None
    """What ``training.best_metric`` compares; larger is better. None: unknown, which is worse than any number."""
    scores: dict[str, float | None]
    """By the names of ``metrics.jsonl``."""
    cut_off: Count = 0
    """Translations that were cut off near the lengths of their references, because the model cannot end them yet."""

    def rank(self) -> tuple[bool, float, float, float]:
        """The order of validations: first whether translations end, then the metric, then chrF, then the loss.

        Cutting off endless translations raises scores, so a model that needs it never ranks above one that does not.
        Between two that need it the loss decides, because their repetitions score by chance.
        """
        loss = self.scores.get("valid_loss")
        of_loss = _or_worst(None if loss is None else -loss)
        metric, chrf = _or_worst(self.metric), _or_worst(self.scores.get("chrf"))
        return (False, of_loss, metric, chrf) if self.cut_off else (True, metric, chrf, of_loss)


def _or_worst(value: float | None) -> float:
    return -math.inf if value is None else value


@record
class BudgetState:
    """How far a time budget has been turned into a number of updates."""

    times_set: Count = 0
    """How often the number of updates has been set: early in the run, and again as time passes."""
    set_at: Real = 0.0
    """Seconds of the run when it was last set."""
    updates: Real = 0.0
    """Timed updates; each time the number is set, those before count half."""
    seconds: Real = 0.0
    """Duration of these, without validations."""
    validation: Real | None = None
    """Duration of the last validation; None: there was none."""


@record
class Knot:
    """The learning rate when the number of updates was set or changed: it continues from there."""

    update: Count = 0
    share: Real = 0.0
    """The rate at that update, as a share of the peak rate."""
    falling: Flag = False
    """Whether the rate had started to fall; it does not rise again."""


@record
class CorpusId:
    """A corpus of the run, recognised by its content."""

    role: str
    """``train`` or ``valid``."""
    sha256: str
    """Hash of its pairs, in order."""
    corpus: str = ""
    """The CORPUS word when the run last read it."""
    pairs: Count | None = None
    stamp: list[list[int]] | None = None
    """Sizes and modification times of its files then; None if files cannot show a change."""

    def __str__(self) -> str:
        """Name and size, for a message."""
        return self.corpus if self.pairs is None else f"{self.corpus} ({counted(self.pairs, 'pair')})"


@record
class StreamState:
    """How far a stream has been read, at the beginning of a pool: the updates of the pool follow from it."""

    pool: Count = 0
    """Number of the pool, from 0."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """The place in each open shard, by source; empty: the beginning of the stream."""
    epoch: Count = 0
    """Epochs that all sources have finished."""
    counts: dict[str, int] = field(default_factory=dict)
    """Pairs that were read before this pool, and why some were dropped (``StreamLoader`` names them)."""
    in_pool: dict[str, int] = field(default_factory=dict)
    """The same for this pool, once it has been read."""
    bad_shards: list[str] = field(default_factory=list)
    """Names of the shards that were skipped."""

    def total(self) -> dict[str, int]:
        """The counts, this pool included."""
        return {name: self.counts.get(name, 0) + n for name, n in self.in_pool.items()}


@record
class TrainingState:
    """One run between two updates. Its tensors (weights, averages, optimizer) are beside it in the checkpoint.

    It has no state of a random generator: random numbers follow from the seed, the update and the part of the update.
    """

    config: RunConfig
    """Keys that were unset are filled in as soon as they are known."""
    limits: Limits
    derived: tuple[Cadence, ...] = ()
    """Those of these keys that were unset."""
    corpora: tuple[CorpusId, ...]
    tokenizer_sha256: str
    order: Literal["by_similar_length", "by_length"] = "by_similar_length"
    """The order of an epoch: pairs of similar length share an update, other pairs in each epoch; updates are shuffled.

    Earlier versions had ``by_length``. Such a run is resumed in the new order: in the epoch that was interrupted, some
    pairs come twice and others not at all.
    """
    update: Count = 0
    """Updates made."""
    epoch: Count = 0
    """Epochs finished."""
    updates_in_epoch: Count = 0
    """Updates made of the current epoch; of a stream, those of the current pool."""
    stream: StreamState | None = None
    """None: the corpora are not streamed."""
    validated_update: Count = 0
    """Update of the last validation."""
    best: Best | None = None
    bad_validations: Count = 0
    """Validations since the best one."""
    micro_batch_tokens: Count | None = None
    """Max padded tokens of a forward pass, lowered when memory ran out; None: not chosen yet."""
    n_averaged: Count = 0
    """Updates in the average of the weights."""
    seconds: Real = 0.0
    """Training time, all parts of an interrupted run together."""
    last_report: Report | None = None
    recipe: RecipeRecord | None = None
    """The recipe of the run."""
    arithmetic: Arithmetic | None = None
    """Of the last update; None: saved by a version without this choice."""
    budget: BudgetState = field(default_factory=BudgetState)
    knot: Knot = field(default_factory=Knot)

    def to_json(self) -> dict[str, Any]:
        """The state as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], where: Path) -> Self:
        """Read what ``to_json`` returned, in this version or in another one of the same format.

        Args:
            stored: parsed JSON.
            where: named in errors.

        Raises:
            UserError: a key without a default is missing, or a value is not one that this version knows (78).
        """
        config = stored.get("config")
        return parse_stored(
            cls, {**stored, "config": known_layer(config) if isinstance(config, dict) else config}, where
        )
