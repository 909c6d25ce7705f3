"""What a resumed run trains, what its command may change, and whether the run is finished."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seq2seq.config import DataConfig, Layer, RunConfig, build, difference, merge
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import SHORTLIST, Checkpoint, Limits, Manifest, parse_stored, read_file
from seq2seq.training.best import choose_best_metric
from seq2seq.training.ingest import CorpusRecord, require_same_corpora
from seq2seq.training.length import LIMITS, resolve_length
from seq2seq.training.plan import Setup
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Finished, Notice
from seq2seq.training.run_writer import delete_left_overs
from seq2seq.training.starting import max_useful_updates, own_validation_splits, updates_an_epoch
from seq2seq.training.state import BudgetState, CorpusId, TrainingState
from seq2seq.training.streaming import refuse_unfit_stream
from seq2seq.translation import read_config

_USUAL_EPOCHS = 40.0
"""Of a run whose recipe was not recorded."""
# When to stop, how often to report, whether to learn a shortlist, the paths of the corpora. (Their contents are
# compared.)
_MAY_CHANGE = {
    "data.train",
    "data.valid",
    "data.encoding_errors",
    "data.alarms",
    "data.bad_shards",
    "decoding.shortlist",
    *(
        f"training.{name}"
        for name in (
            *("max_updates", "max_epochs", "time_budget", "patience", "report_every", "valid_every", "save_every"),
            *("keep_checkpoints", "samples"),
        )
    ),
}


@dataclass(frozen=True)
class ResumedRun:
    """A ``Plan`` for a run that has a checkpoint: settings that the command does not give are the run's."""

    folder: Path
    given: Layer
    """What the command requests."""
    config: RunConfig
    """The run's, with what the command changes."""
    limits: Limits
    state: TrainingState
    """Of the checkpoint."""
    tokenizer: bytes | None
    may_grow: bool = False

    @property
    def data(self) -> DataConfig:
        """Of the configuration."""
        return self.config.data

    @property
    def expected(self) -> Sequence[CorpusId]:
        """Those of the checkpoint."""
        return self.state.corpora

    def tokenized(self, corpora: Sequence[CorpusRecord]) -> Generator[Notice, None, DataConfig]:
        """As before the interruption."""
        yield from ()
        return self.config.data

    def setup(self, prepared: Prepared) -> Generator[Notice, None, Setup]:
        """The checkpoint's state, with what the command changes.

        Raises:
            UserError: the text was tokenized by another tokenizer (78).
        """
        state = self.state
        if prepared.tokenizer_sha256 != state.tokenizer_sha256:
            now = self.config.data.tokenizer or "its text makes now"
            raise UserError(
                f"{self.folder} was trained with another tokenizer than {now}",
                mend="restore that tokenizer, or give `overwrite` to start over",
                code=ExitCode.REFUSED,
            )
        an_epoch = updates_an_epoch(self.config, prepared)
        usual_epochs = state.recipe.usual_passes if state.recipe else _USUAL_EPOCHS
        config = resolve_length(self.config, usual_epochs, an_epoch)
        config, validation, notices = choose_best_metric(config, prepared)
        yield from notices
        # With a new limit the number of updates is unknown again.
        is_open = config.training.max_updates is None and state.budget.times_set
        state = replace(
            state,
            config=config,
            limits=self.limits,
            derived=tuple(key for key in state.derived if self.given.get("training", {}).get(key) is None),
            budget=BudgetState() if is_open else state.budget,
            corpora=tuple(corpus.id for corpus in prepared.corpora),
            order="by_similar_length",
        )
        return Setup(state, validation, max_useful_updates(config, usual_epochs, an_epoch))


def plan_resumed_run(
    folder: Path, given: Layer, checkpoint: Checkpoint, manifest: Manifest | None
) -> Generator[Finished, None, ResumedRun | None]:
    """Check what the command changes. If the run is finished, report that; there is no plan then.

    Args:
        folder: of the run.
        given: the command's configuration.
        checkpoint: to resume from.
        manifest: of the run; None before its first validation.

    Raises:
        UserError: the command changes what may not change (78).
    """
    state = TrainingState.from_json(checkpoint.state, checkpoint.path)
    config, limits = resumed_config(folder, given, state.config, state.limits)
    refuse_unfit_stream(config)
    config = open_cadences(config, given, state)
    if manifest is not None and is_finished(manifest, state.update, config, limits):
        refuse_other_corpora(folder, given, config.data, manifest)
        delete_left_overs(folder, config.training.keep_checkpoints, state.update)
        yield finished_already(manifest)
        return None
    if _validates_on_own_splits(state.config.data) and (own := own_validation_splits(config.data, given)):
        config = replace(config, data=replace(config.data, valid=own))  # the data set may have moved
    # A run that has been validated once has its tokenizer.
    tokenizer = None if manifest is None else read_file(folder, manifest, "tokenizer.model")
    return ResumedRun(folder, given, config, limits, state, tokenizer)


def _validates_on_own_splits(data: DataConfig) -> bool:
    """Whether the validation corpora are splits of the data sets that are trained on."""
    names = {word.removesuffix(":train") for word in data.train}
    return bool(data.valid) and all(word.startswith("hf:") and word.rpartition(":")[0] in names for word in data.valid)


def resumed_config(run: Path, given: Layer, stored: RunConfig, before: Limits) -> tuple[RunConfig, Limits]:
    """The run's configuration with what this command may change, and the limits requested by now.

    Args:
        run: named in errors.
        given: the command's configuration.
        stored: the run's configuration.
        before: limits that earlier commands requested.

    Raises:
        UserError: the command changes something else (78).
    """
    config = build(merge([asdict(stored), given]), where="the configuration")
    changed = [line for line in difference(stored, config) if line.partition(":")[0] not in _MAY_CHANGE]
    if given.get("preset", stored.preset) != stored.preset:
        changed.insert(0, f"preset: {stored.preset} -> {given['preset']}")
    if changed:
        raise UserError(
            f"{run} was trained with another configuration: {', '.join(changed)}",
            mend="give the same command to resume, another folder with `run`, or `overwrite` to start over",
            code=ExitCode.REFUSED,
        )
    limits = Limits(**{name: given.get("training", {}).get(name) for name in LIMITS})
    if limits in (Limits(), before):  # nothing new is requested
        limits, in_force = before, {name: getattr(stored.training, name) for name in LIMITS}
    else:
        in_force = asdict(limits)
    training = replace(config.training, **in_force)
    decoding = replace(stored.decoding, shortlist=config.decoding.shortlist)
    return replace(stored, data=config.data, training=training, decoding=decoding), limits


def open_cadences(config: RunConfig, given: Layer, state: TrainingState) -> RunConfig:
    """Unset the cadences that were derived from the old length of training, unless the command gives them."""
    requested = given.get("training", {})
    # A time budget that became a number of updates has set them too; they no longer change.
    is_set = config.training.time_budget is not None and config.training.max_updates is not None
    opened: dict[str, Any] = {
        key: getattr(state.config.training, key) if is_set else None
        for key in state.derived
        if requested.get(key) is None
    }
    return replace(config, training=replace(config.training, **opened))


def is_finished(manifest: Manifest, update: int, config: RunConfig, limits: Limits) -> bool:
    """Whether a run has ended, and this command does not request more.

    Args:
        manifest: of the run.
        update: that training would be resumed from.
        config: the command's.
        limits: the command's.
    """
    final = manifest.final_update
    if not manifest.finished or final is None or update > final:  # resumed since then, and interrupted
        return False
    if config.decoding.shortlist and SHORTLIST not in manifest.files:
        return False
    training, planned = config.training, max(final, manifest.max_updates or 0)
    reached = [
        training.max_updates is not None and training.max_updates <= planned,
        training.max_epochs is not None and training.max_epochs <= manifest.epochs,
        training.time_budget is not None and training.time_budget <= manifest.seconds,
    ]
    out_of_patience = final < planned and training.patience == manifest.patience
    return (limits == manifest.limits or any(reached)) and (final >= planned or out_of_patience)


def without_checkpoint(run: Path, given: Layer, manifest: Manifest) -> Finished:
    """Check a run that has a model but no checkpoint: it may be finished, but cannot be trained further.

    Raises:
        UserError: the command requests more training, or another configuration (78).
    """
    mend = "give another folder with `run`, or `overwrite` to move this one aside"
    if not manifest.finished:
        what = f"{run} holds a model, but no checkpoint to resume training from"
        raise UserError(what, mend=mend, code=ExitCode.REFUSED)
    stored = read_config(run, manifest)
    if manifest.length_penalty is not None:  # it was chosen, not requested
        stored = replace(stored, decoding=replace(stored.decoding, length_penalty=None))
    config, limits = resumed_config(run, given, stored, manifest.limits)
    if not is_finished(manifest, manifest.update, config, limits):
        raise UserError(
            f"{run} is finished and holds no checkpoint, so it cannot be trained further "
            "(training.keep_checkpoints = 0 deletes it)",
            mend=mend,
            code=ExitCode.REFUSED,
        )
    refuse_other_corpora(run, given, config.data, manifest)
    delete_left_overs(run, keep_checkpoints=0)
    return finished_already(manifest)


def refuse_other_corpora(run: Path, given: Layer, data: DataConfig, manifest: Manifest) -> None:
    """Refuse a command for a finished run that names other corpora than the run was trained on.

    Args:
        run: named in errors.
        given: the command's configuration; corpora that it does not name are the run's.
        data: the command's, with unset keys filled in.
        manifest: of the run.

    Raises:
        UserError: the command names other corpora (78).
    """
    trained_on = [
        parse_stored(CorpusId, corpus, run / "manifest.json")
        for corpus in manifest.corpora
        if "sha256" in corpus  # the last record has the counts of all corpora together
    ]
    named = {"train", "valid"} & given.get("data", {}).keys()
    require_same_corpora(run, data, named, trained_on)


def finished_already(manifest: Manifest) -> Finished:
    """The event of a command for a run that is already finished."""
    assert manifest.final_update is not None
    train, valid = (
        ", ".join(corpus["corpus"] for corpus in manifest.corpora if "sha256" in corpus and corpus["role"] == role)
        for role in ("train", "valid")
    )
    return Finished(
        update=manifest.final_update,
        best_update=manifest.update,
        scores=manifest.scores,
        seconds=manifest.seconds,
        reason="it was finished already",
        trained_on=f"trained on {train}, validated on {valid or 'pairs held out of it'}",
        verdict=manifest.verdict,
        already=True,
    )
