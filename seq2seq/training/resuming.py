"""What a command may change when it resumes a run, and whether the run is finished."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from seq2seq.config import DataConfig, Layer, RunConfig, build, difference, merge
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import SHORTLIST, Limits, Manifest, parse_stored
from seq2seq.training.ingest import require_same_corpora
from seq2seq.training.length import LIMITS
from seq2seq.training.progress import Finished
from seq2seq.training.run import shed
from seq2seq.training.state import CorpusId, TrainingState
from seq2seq.translation import read_config

# When to stop, how often to report, whether to learn a shortlist, where the corpora are now. (That they are the same
# corpora is compared by content.)
_MAY_CHANGE = {
    "data.train",
    "data.valid",
    "data.encoding_errors",
    "data.alarms",
    "decoding.shortlist",
    *(
        f"training.{name}"
        for name in (
            *("max_updates", "max_epochs", "time_budget", "patience", "report_every", "valid_every", "save_every"),
            *("keep_checkpoints", "samples"),
        )
    ),
}


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
            mend="give the same command to resume, another -o for another run, or --overwrite to start over",
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
    asked = given.get("training", {})
    # A time budget that became a number of updates has set them too; they no longer change.
    is_set = config.training.time_budget is not None and config.training.max_updates is not None
    opened: dict[str, Any] = {
        key: getattr(state.config.training, key) if is_set else None for key in state.derived if asked.get(key) is None
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
    mend = "give another -o for another run, or --overwrite to move this one aside"
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
    shed(run, keep_checkpoints=0)
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
    """What a command reports that finds nothing left to do."""
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
