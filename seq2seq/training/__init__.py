"""Training from CORPUS words to a run folder; ``train`` is the one call that the command line makes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from seq2seq.batching import epoch_updates
from seq2seq.checkpoint import Checkpoint, load_checkpoint, lock, move_aside, read_file, read_manifest
from seq2seq.config import PRESETS, Layer, RunConfig, build, difference, merge, parse_langs, parse_toml
from seq2seq.corpus import read_pairs
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import build_metric
from seq2seq.lines import cannot_read
from seq2seq.training.advice import (
    LIMITS,
    WHEN_TIME_IS_SHORT,
    Advice,
    advise,
    complete,
    explain_choice,
    explain_length,
    most_epochs,
    one_limit,
    with_masks_for,
    with_vocabulary,
)
from seq2seq.training.corpora import read_corpora
from seq2seq.training.loop import StopSignal
from seq2seq.training.prepare import Prepared, prepare
from seq2seq.training.progress import Finished, Notice, Progress
from seq2seq.training.run import MANY_PAIRS, Run
from seq2seq.translation import pick_device

__all__ = ["Request", "train"]

# A command may change these when it goes on with a run: when to stop, how often to tell, where the
# corpora lie by now. (That they are the same corpora is compared by content.)
_MAY_CHANGE = {
    "data.train",
    "data.valid",
    *(
        f"training.{name}"
        for name in (
            *("max_updates", "max_epochs", "time_budget", "patience", "report_every", "valid_every", "save_every"),
            *("keep_checkpoints", "samples"),
        )
    ),
}


@dataclass(frozen=True)
class Request:
    """What one ``train`` command asks for."""

    run: Path
    layers: list[Layer] = field(default_factory=list)
    """Configuration above the preset: file, flags, ``--set``; later ones win."""
    device: str = "auto"
    overwrite: bool = False
    """Move an existing run aside and start anew."""


def train(request: Request, stop: StopSignal = lambda: None) -> Iterator[Progress]:
    """Train, or go on with training, until a limit is reached; yields what happens.

    Args:
        request: run folder, configuration, device.
        stop: the signal that asks training to stop, once one has arrived.

    Raises:
        UserError: as the table of exit codes says.
        Interrupted: a signal arrived, and all that was done is saved.
    """
    began = time.monotonic()
    device = pick_device(request.device)
    request = replace(request, layers=one_limit(request.layers))
    of_preset = PRESETS.get(str(merge(request.layers).get("preset")), {})
    asked = build(merge([of_preset, *request.layers]), where="the configuration")
    if asked.preset != "auto" and asked.preset not in PRESETS:
        raise UserError(
            f"preset {asked.preset} is unknown",
            mend=f"choose among auto, {', '.join(PRESETS)}",
            code=ExitCode.USAGE,
        )
    folder = request.run
    _refuse_foreign_folder(folder)
    if request.overwrite and folder.exists():
        _require_data(asked)
        for word in (*asked.data.train, *asked.data.valid):  # a slip of the pen moves nothing
            next(read_pairs(word, parse_langs(asked.data.langs), strict=asked.data.strict), None)
        yield Notice(f"the old run is now {move_aside(folder)}")
    with lock(folder):
        notices: list[Notice] = []
        checkpoint = load_checkpoint(folder, warn=lambda text: notices.append(Notice(text, warning=True)))
        yield from notices
        if checkpoint is None:
            _refuse_lost_checkpoints(folder)
            yield from _start(request, asked, device, stop, began)
        else:
            yield from _go_on(request, checkpoint, device, stop, began)


def _refuse_foreign_folder(folder: Path) -> None:
    """A folder with somebody's own files in it is not trained into."""
    if folder.is_dir():
        try:
            names = {path.name for path in folder.iterdir()}
        except OSError as error:
            raise cannot_read(str(folder), error) from None
        if names and not names & {"manifest.json", "checkpoints", "prepared", ".lock"}:
            raise UserError(
                f"{folder} is a folder with other files in it ({sorted(names)[0]}, …)",
                mend="name a new folder after -o",
                code=ExitCode.REFUSED,
            )


def _refuse_lost_checkpoints(folder: Path) -> None:
    if (folder / "manifest.json").exists():
        raise UserError(
            f"{folder} holds a model, but no checkpoint that training could go on from",
            mend="name a new folder after -o, or give --overwrite to move this one aside",
            code=ExitCode.REFUSED,
        )


def _require_data(config: RunConfig) -> None:
    if not config.data.langs:
        raise UserError("no languages are given", mend="name them with -l, as in -l de-en", code=ExitCode.USAGE)
    parse_langs(config.data.langs)
    if not config.data.train:
        raise UserError("no corpus is given", mend="name one with --train", code=ExitCode.USAGE)


def _start(
    request: Request, asked: RunConfig, device: torch.device, stop: StopSignal, began: float
) -> Iterator[Progress]:
    """A new run: read the corpora, settle the configuration, train."""
    _require_data(asked)
    # Found here rather than at the first validation.
    build_metric("bleu", parse_langs(asked.data.langs)[1])
    told: list[str] = []
    corpora = read_corpora(request.run / "prepared", asked.data, told.append)
    yield from _drain(told)
    n_pairs = sum(c.pairs - c.dropped_empty for c in corpora if c.role == "train")
    advice = advise(n_pairs, device.type) if asked.preset == "auto" else Advice(asked.preset)
    config = _configuration(advice, request.layers)
    if n_pairs > MANY_PAIRS and not config.data.tokenizer:
        yield Notice("learning the vocabulary")
    may_grow = "vocab_size" not in merge(request.layers).get("data", {})
    prepared = prepare(request.run / "prepared", config.data, corpora, told.append, may_grow=may_grow)
    if not config.data.tokenizer and len(prepared.tokenizer) > config.data.vocab_size:
        advice = with_vocabulary(advice, len(prepared.tokenizer))
        config = _configuration(advice, request.layers)
    an_epoch = _updates_an_epoch(config, prepared)
    if (other := with_masks_for(advice, merge(request.layers), config, prepared, an_epoch, device)) != advice:
        advice = other
        config = _configuration(advice, request.layers)
        an_epoch = _updates_an_epoch(config, prepared)
    yield from _drain([*told, *explain_choice(config, advice, n_pairs, len(prepared.tokenizer), device.type)])
    asked_for = {
        "limits": [getattr(config.training, name) for name in LIMITS],
        "derived": [key for key in _CADENCES if getattr(config.training, key) is None],
    }
    config = complete(config, advice.preset, prepared.n_tgt_tokens, an_epoch, device.type)
    yield Notice(explain_length(config, prepared, an_epoch, device))
    run = Run(request.run, config, prepared, device, stop, asked_for, most_epochs(config) * an_epoch, began)
    yield from run.train(None)


def _configuration(advice: Advice, layers: list[Layer]) -> RunConfig:
    below = [PRESETS[advice.preset], advice.layer]
    if merge(layers).get("training", {}).get("time_budget") is not None:
        below.append(WHEN_TIME_IS_SHORT)
    return build(merge([*below, *layers]), where="the configuration")


_CADENCES = ("valid_every", "save_every")
"""Keys of ``training`` that follow from the length of training where they are left open."""


def _updates_an_epoch(config: RunConfig, prepared: Prepared) -> int:
    training, ids = config.training, prepared.ids
    order = epoch_updates(
        ids.src_lengths, ids.tgt_lengths, batch_tokens=training.batch_tokens, seed=training.seed, epoch=0
    )
    return sum(1 for _ in order)


def _go_on(
    request: Request, checkpoint: Checkpoint, device: torch.device, stop: StopSignal, began: float
) -> Iterator[Progress]:
    """A run that has a checkpoint: what the command leaves open is taken from the run."""
    stored_layer: Layer = checkpoint.state["config"]
    stored = build(stored_layer, where=str(checkpoint.path))
    given = merge(request.layers)
    config = build(merge([stored_layer, given]), where="the configuration")
    changed = [line for line in difference(stored, config) if line.partition(":")[0] not in _MAY_CHANGE]
    # The run's own config.toml names the length penalty that was chosen at its end.
    changed = [line for line in changed if line != f"decoding.length_penalty: None -> {_chosen_alpha(request.run)}"]
    if given.get("preset", stored.preset) != stored.preset:
        changed.insert(0, f"preset: {stored.preset} -> {given['preset']}")
    if changed:
        raise UserError(
            f"{request.run} was trained with another configuration: {', '.join(changed)}",
            mend="give the same command to go on, another -o for another run, or --overwrite to start anew",
            code=ExitCode.REFUSED,
        )
    config = replace(stored, data=config.data, training=config.training)  # of all the rest nothing has changed
    config, limits = _with_limits(config, given, stored, checkpoint.state["limits"])
    config = _open_cadences(config, given, stored, checkpoint.state["derived"])
    told: list[str] = []
    if _is_finished(request.run, checkpoint, config, new_limits=limits != checkpoint.state["limits"]):
        manifest = read_manifest(request.run)
        yield Finished(
            update=checkpoint.update,
            best_update=manifest.update,
            scores=manifest.scores,
            seconds=checkpoint.state["seconds"],
            reason="it was finished already",
            already=True,
        )
        return
    folder = request.run / "prepared"
    corpora = read_corpora(folder, config.data, told.append, expected=checkpoint.state["corpora"])
    prepared = prepare(folder, config.data, corpora, told.append, model=_own_tokenizer(request.run))
    if prepared.tokenizer_sha256 != checkpoint.state["tokenizer"]:
        raise UserError(
            f"{request.run} was trained with another tokenizer than {config.data.tokenizer or 'its text makes now'}",
            mend="restore that tokenizer, or give --overwrite to start anew",
            code=ExitCode.REFUSED,
        )
    an_epoch = _updates_an_epoch(config, prepared)
    config = complete(config, "small", prepared.n_tgt_tokens, an_epoch, device.type)
    yield from _drain(told)
    asked_for = {"limits": limits, "derived": checkpoint.state["derived"]}
    run = Run(request.run, config, prepared, device, stop, asked_for, most_epochs(config) * an_epoch, began)
    yield from run.train(checkpoint)


def _chosen_alpha(folder: Path) -> float | None:
    if not (folder / "manifest.json").exists():
        return None
    config = read_file(folder, read_manifest(folder), "config.toml")
    return build(parse_toml(config, folder / "config.toml"), where=str(folder)).decoding.length_penalty


def _own_tokenizer(folder: Path) -> bytes | None:
    """The tokenizer of a run that has been validated once."""
    if not (folder / "manifest.json").exists():
        return None
    return read_file(folder, read_manifest(folder), "tokenizer.model")


def _with_limits(
    config: RunConfig, given: Layer, stored: RunConfig, before: list[float | None]
) -> tuple[RunConfig, list[float | None]]:
    """New limits take the place of the old ones, with all that was derived from them; the limits asked for."""
    before = [*before, None][: len(LIMITS)]  # older runs know of no time budget
    limits = [given.get("training", {}).get(name) for name in LIMITS]
    if not any(limits) or limits == before:
        of_run = {name: getattr(stored.training, name) for name in LIMITS}
        return replace(config, training=replace(config.training, **of_run)), before
    of_command: dict[str, Any] = dict(zip(LIMITS, limits, strict=True))
    return replace(config, training=replace(config.training, **of_command)), limits


def _open_cadences(config: RunConfig, given: Layer, stored: RunConfig, derived: list[str]) -> RunConfig:
    """What followed from the old length of training follows from the new one, unless it is given now."""
    asked = given.get("training", {})
    # A time budget has settled them with the length, for good.
    settled = config.training.time_budget is not None and config.training.max_updates is not None
    opened: dict[str, Any] = {
        key: getattr(stored.training, key) if settled else None for key in derived if asked.get(key) is None
    }
    return replace(config, training=replace(config.training, **opened))


def _is_finished(folder: Path, checkpoint: Checkpoint, config: RunConfig, *, new_limits: bool) -> bool:
    """Whether this run has ended, and this command does not ask for more."""
    if not (folder / "manifest.json").exists():
        return False
    manifest = read_manifest(folder)
    if not manifest.finished or checkpoint.update > manifest.info["ended_at"]:  # gone on with since, and interrupted
        return False
    before = checkpoint.state["config"]["training"]
    now = config.training
    more = (now.max_updates or checkpoint.update + 1) > max(checkpoint.update, before["max_updates"] or 0)
    return not (new_limits and more) and now.patience == before["patience"]


def _drain(told: list[str]) -> Iterator[Notice]:
    """Pass on what was told."""
    while told:
        yield Notice(told.pop(0))
