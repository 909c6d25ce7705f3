"""A run folder while it is trained in: what is put into it, and when."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2seq.config import RunConfig, to_toml
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.model.transformer.model import n_parameters
from seq2seq.runs import (
    CONFIG,
    NEXT_CONFIG,
    SHORTLIST,
    Checkpoint,
    Manifest,
    commit,
    model_name,
    prune_checkpoints,
    read_file,
    read_manifest,
    read_tensors,
    tidy_run,
    truncate_metrics,
)
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.training.arithmetic import change_of, unmet_requests
from seq2seq.training.budget import Budget
from seq2seq.training.card import model_card
from seq2seq.training.ingest import discard
from seq2seq.training.lexicon import build_lexicon, byte_pieces
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Finished, Notice, Progress, Started
from seq2seq.training.state import TrainingState
from seq2seq.training.trainer import StopSignal, Trainer
from seq2seq.training.tuning import MAX_LEXICON_PAIRS
from seq2seq.training.validation import ValidationSet, n_searches
from seq2seq.translation import load_weights
from seq2seq.version import VERSION

MANY_PAIRS = 100_000
"""With more pairs, steps that take a while are announced."""

_SAVING, _LEARNING_A_PAIR = 2.0, 1e-4
"""Seconds that the end of a run takes, at a guess; a time budget is kept to by them."""

_TOKENIZER = "tokenizer.model"


class Run:
    """A run folder while it is trained in."""

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        prepared: Prepared,
        validation: ValidationSet,
        device: torch.device,
        stop: StopSignal,
        most_updates: int,
        began: float,
    ) -> None:
        self.folder = folder
        self.prepared = prepared
        self.stop = stop
        config = state.config
        self.validation = validation
        budget = Budget(
            most_updates=most_updates,
            finish=_SAVING + _LEARNING_A_PAIR * min(prepared.n_pairs, MAX_LEXICON_PAIRS),
            # A search takes about as many greedy ones as it has beams.
            search_validations=n_searches(config.decoding) * config.decoding.beam_size,
            sets_cadence="valid_every" in state.derived,
        )
        self.trainer = Trainer(folder, state, prepared, self.validation, device, stop, self._commit_best, budget, began)

    def train(self, checkpoint: Checkpoint | None = None) -> Iterator[Progress]:
        """Train from the start or from a checkpoint, then choose the length penalty and finish."""
        trainer = self.trainer
        if trainer.device.type == "cpu":
            keep_freed_memory()  # not before: what preparing has done with is not wanted again
        if checkpoint is not None:
            stored = trainer.load(checkpoint.tensors, TrainingState.from_json(checkpoint.state, checkpoint.path))
            if (change := change_of(stored, trainer.step.arithmetic)) is not None:
                yield Notice(change, warning=True)
            in_place = self._manifest()
            # A crash may have come between the save and the commit of the best weights.
            if trainer.load_best() and (in_place is None or in_place.update < trainer.state.update):
                self._commit_best(trainer.averaged_weights())
        for unmet in unmet_requests(trainer.training, trainer.step.arithmetic):
            yield Notice(unmet, warning=True)
        update = trainer.state.update
        # A validation that was broken off is made up for, and writes its line again.
        truncate_metrics(self.folder, update - 1 if trainer.validation_is_due() else update)
        yield Started(
            config=trainer.config,
            device=str(trainer.step.device),
            arithmetic=str(trainer.step.arithmetic),
            n_pairs=self.prepared.n_pairs,
            n_tgt_tokens=self.prepared.n_tgt_tokens,
            vocab_size=self.prepared.tokenizer.n_pieces,
            n_parameters=n_parameters(trainer.step.model),
            update=update,
        )
        yield from trainer.train()
        yield from self._finish()

    def _finish(self) -> Iterator[Progress]:
        """Choose the length penalty with the best weights, and mark the run as finished."""
        trainer = self.trainer
        reason = trainer.reason_to_end()
        assert reason is not None
        manifest = read_manifest(self.folder)
        new: dict[str, bytes | Mapping[str, Tensor]] = {}
        if SHORTLIST not in manifest.files:
            if self.prepared.n_pairs > MANY_PAIRS:
                yield Notice("learning which pieces translate which")
            tokenizer = self.prepared.tokenizer
            new[SHORTLIST] = build_lexicon(
                self.prepared.ids, len(tokenizer), byte_pieces(tokenizer), check=self._check_interrupted
            )
        config, scores = trainer.config, dict(manifest.scores)
        alpha = n_searched = None
        if config.decoding.length_penalty is None:
            yield Notice("choosing the length penalty on the validation pairs")
            scores.pop("bleu_beam", None)  # of an earlier finish, with another length penalty
            load_weights(trainer.best_model, read_tensors(self.folder, manifest, manifest.weights))
            alpha, bleu, n_searched = self.validation.choose_alpha(
                trainer.best_model, config.decoding, trainer.best_metric, self._check_interrupted, self._search_time()
            )
            if n_searched == len(self.validation.pairs):  # that of some pairs could not be compared with other scores
                scores["bleu_beam"] = bleu
        # Update and scores are the manifest's: a run resumed from an older checkpoint may have met another best.
        finished = replace(
            self._new_manifest(manifest.update, scores),
            finished=True,
            final_update=trainer.state.update,
            epochs=trainer.state.epoch,
            length_penalty=alpha,
            length_penalty_pairs=n_searched,
            cut_off=manifest.cut_off,
            verdict=self.validation.verdict(scores, manifest.cut_off),
        )
        toml = _repeating(config)
        if manifest.config == CONFIG and not self._holds(manifest, toml):
            # Limits changed since the first commit. No file changes under its name: the new one comes by another first.
            unfinished = replace(manifest, finished=False, final_update=None)
            manifest = commit(self.folder, unfinished, {NEXT_CONFIG: toml}, manifest.files.keys() - {CONFIG})
        if manifest.config == NEXT_CONFIG:
            new[CONFIG] = toml
        self._write_card(config, scores, manifest.cut_off, rewrite=True)
        commit(self.folder, finished, new, manifest.files.keys() - {NEXT_CONFIG})
        shed(self.folder, trainer.training.keep_checkpoints, trainer.state.update)
        yield Finished(trainer.state.update, manifest.update, scores, trainer.seconds, reason, verdict=finished.verdict)

    def _search_time(self) -> float:
        """Seconds for choosing the length penalty."""
        total = self.trainer.training.time_budget
        if total is None:
            return math.inf
        return self.trainer.budget.seconds_to_search(total, self.trainer.seconds + _SAVING)

    def _holds(self, manifest: Manifest, toml: bytes) -> bool:
        """Whether the folder's configuration is this one; not if somebody edited it."""
        try:
            return read_file(self.folder, manifest, CONFIG) == toml
        except UserError as error:
            if error.code != ExitCode.REFUSED:
                raise
            return False

    def _check_interrupted(self) -> None:
        """Everything is saved by now: an interrupted finish is made up for by the same command."""
        signal_number = self.stop()
        if signal_number is not None:
            raise Interrupted(signal_number, saved=True, update=self.trainer.state.update)

    def _commit_best(self, weights: dict[str, Tensor]) -> None:
        """Put the best weights into the folder, with all that belongs to them if it is not there yet."""
        best = self.trainer.state.best
        assert best is not None
        manifest = self._manifest()
        old = manifest.files if manifest is not None else {}
        files: dict[str, bytes | Mapping[str, Tensor]] = {model_name(best.update, old): weights}
        if manifest is None:
            files |= {CONFIG: _repeating(self.trainer.config), _TOKENIZER: self.prepared.tokenizer.model}
        kept = [name for name in old if manifest is None or name != manifest.weights]
        # Until another one is chosen, the length penalty of the weights before serves these too.
        new = replace(self._new_manifest(best.update, best.scores), cut_off=best.cut_off)
        if manifest is not None:
            new = replace(
                new, length_penalty=manifest.length_penalty, length_penalty_pairs=manifest.length_penalty_pairs
            )
        commit(self.folder, new, files, kept)
        self._write_card(self.trainer.config, best.scores, best.cut_off)

    def _manifest(self) -> Manifest | None:
        return read_manifest(self.folder) if (self.folder / "manifest.json").exists() else None

    def _new_manifest(self, update: int, scores: dict[str, Any]) -> Manifest:
        """The manifest of a run that is not finished."""
        state = self.trainer.state
        return Manifest(
            files={},
            update=update,
            finished=False,
            max_src_length=self.prepared.max_src_length,
            max_src_sentences=self.prepared.max_src_sentences,
            vocab_size=self.prepared.tokenizer.n_pieces,
            limits=state.limits,
            max_updates=state.config.training.max_updates,
            patience=state.config.training.patience,
            seconds=round(self.trainer.seconds, 1),
            arithmetic=str(self.trainer.step.arithmetic),
            versions={"seq2seq": VERSION} | {name: version(name) for name in ("torch", "sentencepiece", "sacrebleu")},
            corpora=self.prepared.record(),
            scores=scores,
            signatures=self.validation.signatures(),
            recipe=state.recipe,
        )

    def _write_card(self, config: RunConfig, scores: dict[str, Any], cut_off: int, *, rewrite: bool = False) -> None:
        card = self.folder / "README.md"
        if rewrite or not card.exists():
            with contextlib.suppress(UserError):  # a full disk is reported where it costs something
                model_card(
                    card,
                    config,
                    scores,
                    self.validation.signatures(),
                    self.prepared.record(),
                    self.trainer.state.recipe,
                    verdict=self.validation.verdict(scores, cut_off),
                )


def shed(folder: Path, keep_checkpoints: int, newest: int | None = None) -> None:
    """Delete what a finished run needs no more; the same command again makes up for a crash in here.

    Args:
        folder: the run. The caller holds its lock.
        keep_checkpoints: of the configuration; 0 keeps none.
        newest: update of the newest whole checkpoint; None: there is none, and damaged ones stay.
    """
    discard(folder / "prepared")
    tidy_run(folder)
    if newest is not None:
        prune_checkpoints(folder, min(1, keep_checkpoints), newest=newest)


def _repeating(config: RunConfig) -> bytes:
    """The configuration that repeats a run, as TOML: its updates and not its minutes, once they are known."""
    if config.training.max_updates is not None:
        config = replace(config, training=replace(config.training, time_budget=None))
    return to_toml(config).encode()
