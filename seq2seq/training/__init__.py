"""Training from CORPUS words to a run folder; ``train`` is the one call that the command line makes."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.checkpoint import (
    Checkpoint,
    commit,
    load_checkpoint,
    lock,
    model_name,
    move_aside,
    read_manifest,
    read_tensors,
    truncate_metrics,
    write_atomic,
)
from seq2seq.config import PRESETS, Layer, RunConfig, build, difference, merge, parse_langs, to_toml
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.evaluation import build_metric
from seq2seq.model.transformer import n_parameters
from seq2seq.training.advice import advise, complete
from seq2seq.training.card import model_card
from seq2seq.training.loop import StopSignal, Trainer
from seq2seq.training.prepare import Prepared, prepare, read_corpora
from seq2seq.training.progress import Finished, Notice, Progress, Started
from seq2seq.training.validation import ValidationSet
from seq2seq.translation import load_weights, pick_device

__all__ = ["Request", "train"]

# A command may change these when it goes on with a run: when to stop, how often to tell, where the
# corpora lie by now. (That they are the same corpora is compared by content.)
_MAY_CHANGE = {
    "data.train",
    "data.valid",
    *(
        f"training.{name}"
        for name in (
            *("max_updates", "max_epochs", "patience", "report_every", "valid_every", "save_every"),
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
    device = pick_device(request.device)
    asked = build(merge(request.layers), where="the configuration")
    if asked.preset != "auto" and asked.preset not in PRESETS:
        raise UserError(
            f"preset {asked.preset} is unknown",
            mend=f"choose among auto, {', '.join(PRESETS)}",
            code=ExitCode.USAGE,
        )
    folder = request.run
    _refuse_foreign_folder(folder)
    if request.overwrite and folder.exists():
        yield Notice(f"the old run is now {move_aside(folder)}")
    with lock(folder):
        notices: list[Notice] = []
        checkpoint = load_checkpoint(folder, warn=lambda text: notices.append(Notice(text, warning=True)))
        yield from notices
        if checkpoint is None:
            _refuse_lost_checkpoints(folder)
            yield from _start(request, asked, device, stop)
        else:
            yield from _go_on(request, checkpoint, device, stop)


def _refuse_foreign_folder(folder: Path) -> None:
    """A folder with somebody's own files in it is not trained into."""
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
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


def _start(request: Request, asked: RunConfig, device: torch.device, stop: StopSignal) -> Iterator[Progress]:
    """A new run: read the corpora, settle the configuration, train."""
    _require_data(asked)
    # Found here rather than at the first validation.
    build_metric("bleu", parse_langs(asked.data.langs)[1])
    told: list[str] = []
    corpora = read_corpora(request.run / "prepared", asked.data, told.append)
    yield from _drain(told)
    n_pairs = sum(c.pairs - c.dropped_empty for c in corpora if c.role == "train")
    if asked.preset == "auto":
        advice = advise(n_pairs, device.type)
        preset, below = advice.preset, [PRESETS[advice.preset], advice.layer]
        told += advice.reasons
    else:
        preset, below = asked.preset, [PRESETS[asked.preset]]
    config = build(merge([*below, *request.layers]), where="the configuration")
    yield from _drain(told)
    prepared = prepare(request.run / "prepared", config.data, corpora, told.append)
    config, reasons = complete(config, preset, prepared.n_tgt_tokens, device.type)
    yield from _drain([*told, *reasons])
    yield from _Run(request.run, config, prepared, device, stop).train(None)


def _go_on(request: Request, checkpoint: Checkpoint, device: torch.device, stop: StopSignal) -> Iterator[Progress]:
    """A run that has a checkpoint: what the command leaves open is taken from the run."""
    stored_layer: Layer = checkpoint.state["config"]
    stored = build(stored_layer, where=str(checkpoint.path))
    config = build(merge([stored_layer, *request.layers]), where="the configuration")
    changed = [line for line in difference(stored, config) if line.partition(":")[0] not in _MAY_CHANGE]
    if changed:
        raise UserError(
            f"{request.run} was trained with another configuration: {', '.join(changed)}",
            mend="give the same command to go on, another -o for another run, or --overwrite to start anew",
            code=ExitCode.REFUSED,
        )
    config = _new_limits(config, request.layers)
    told: list[str] = []
    if _is_finished(request.run, checkpoint, config):
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
    corpora = read_corpora(request.run / "prepared", config.data, told.append)
    _refuse_other_corpora(checkpoint.state["corpora"], [c.sha256 for c in corpora])
    prepared = prepare(request.run / "prepared", config.data, corpora, told.append)
    config, reasons = complete(config, "small", prepared.n_tgt_tokens, device.type)
    yield from _drain([*told, *reasons])
    yield from _Run(request.run, config, prepared, device, stop).train(checkpoint)


def _new_limits(config: RunConfig, layers: list[Layer]) -> RunConfig:
    """A new --max-epochs takes the place of the updates that were derived from the old one."""
    given = merge(layers).get("training", {})
    if given.get("max_epochs") is not None and given.get("max_updates") is None:
        return replace(config, training=replace(config.training, max_updates=None))
    if given.get("max_updates") is not None and given.get("max_epochs") is None:
        return replace(config, training=replace(config.training, max_epochs=None))
    return config


def _is_finished(folder: Path, checkpoint: Checkpoint, config: RunConfig) -> bool:
    """Whether this run has ended, and this command does not ask for more."""
    if not (folder / "manifest.json").exists() or not read_manifest(folder).finished:
        return False
    before = checkpoint.state["config"]["training"]
    now = config.training
    more = (now.max_updates or checkpoint.update + 1) > max(checkpoint.update, before["max_updates"] or 0)
    return not more and now.patience == before["patience"]


def _refuse_other_corpora(before: list[str], now: list[str]) -> None:
    if before != now:
        raise UserError(
            "the corpora do not hold the pairs that this run was trained on",
            mend="give the same corpora to go on, another -o for another run, or --overwrite to start anew",
            code=ExitCode.REFUSED,
        )


def _drain(told: list[str]) -> Iterator[Notice]:
    """Pass on what was told."""
    while told:
        yield Notice(told.pop(0))


class _Run:
    """A run folder while it is trained in."""

    def __init__(
        self, folder: Path, config: RunConfig, prepared: Prepared, device: torch.device, stop: StopSignal
    ) -> None:
        self.folder = folder
        self.config = config
        self.prepared = prepared
        self.stop = stop
        self.validation = ValidationSet(
            prepared.valid,
            prepared.tokenizer,
            config.data.max_length,
            prepared.max_src_length,
            parse_langs(config.data.langs)[1],
        )
        self.trainer = Trainer(folder, config, prepared, self.validation, device, stop, self._commit_best)

    def train(self, checkpoint: Checkpoint | None) -> Iterator[Progress]:
        """Train from the beginning or from a checkpoint, then settle the length penalty and finish."""
        trainer, config = self.trainer, self.config
        if checkpoint is not None:
            trainer.restore(checkpoint)
        truncate_metrics(self.folder, trainer.update)
        write_atomic(self.folder / "prepared" / "config.toml", to_toml(config).encode())
        yield Started(
            config=config,
            device=str(trainer.device),
            precision=trainer.precision,
            n_pairs=self.prepared.n_pairs,
            n_tgt_tokens=self.prepared.n_tgt_tokens,
            vocab_size=len(self.prepared.tokenizer),
            n_parameters=n_parameters(trainer.model),
            update=trainer.update,
        )
        yield from trainer.train()
        yield self._finish()

    def _finish(self) -> Finished:
        """Choose the length penalty with the best weights, and mark the run as finished."""
        trainer = self.trainer
        reason = trainer.reason_to_end()
        assert reason is not None
        manifest = read_manifest(self.folder)
        weights = read_tensors(self.folder, manifest, manifest.weights)
        load_weights(trainer.best_model, weights)
        scores = dict(trainer.scores)
        config = self.config
        if config.decoding.length_penalty is None:
            alpha, bleu = self.validation.choose_alpha(trainer.best_model, config.decoding, self._check_interrupted)
            config = replace(config, decoding=replace(config.decoding, length_penalty=alpha))
            scores["bleu_beam"] = bleu
        self._commit(weights, trainer.best_update, scores, config, finished=True)
        shutil.rmtree(self.folder / "prepared", ignore_errors=True)
        return Finished(trainer.update, trainer.best_update, scores, trainer.seconds, reason)

    def _check_interrupted(self) -> None:
        """Everything is saved by now: an interrupted finish is made up for by the same command."""
        signal_number = self.stop()
        if signal_number is not None:
            raise Interrupted(signal_number, saved=True)

    def _commit_best(self, weights: dict[str, Tensor], update: int, scores: dict[str, float]) -> None:
        self._commit(weights, update, scores, self.config, finished=False)

    def _commit(
        self, weights: dict[str, Tensor], update: int, scores: dict[str, float], config: RunConfig, *, finished: bool
    ) -> None:
        """Put the weights to translate with, and all that belongs to them, into the folder."""
        commit(
            self.folder,
            {
                "config.toml": to_toml(config).encode(),
                "tokenizer.model": self.prepared.tokenizer.model,
                model_name(update): weights,
            },
            update=update,
            finished=finished,
            scores=scores,
            corpora=self.prepared.record(),
            versions={name: version(name) for name in ("seq2seq", "torch", "sentencepiece", "sacrebleu")},
            info={
                "max_src_length": self.prepared.max_src_length,
                "vocab_size": len(self.prepared.tokenizer),
                "seconds": round(self.trainer.seconds, 1),
            },
        )
        card = self.folder / "README.md"
        if not card.exists() or finished:
            with contextlib.suppress(UserError):  # a full disk is reported where it costs something
                model_card(card, config, scores, self.prepared.record())
