"""A run folder while it is trained in: what is put into it, and when."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2seq.checkpoint import (
    SHORTLIST,
    Checkpoint,
    commit,
    model_name,
    read_manifest,
    read_tensors,
    truncate_metrics,
)
from seq2seq.config import RunConfig, parse_langs, to_toml
from seq2seq.errors import Interrupted, UserError
from seq2seq.model.transformer import n_parameters
from seq2seq.training.budget import Budget
from seq2seq.training.card import model_card
from seq2seq.training.corpora import discard
from seq2seq.training.lexicon import MOST_PAIRS, build_lexicon, byte_pieces
from seq2seq.training.loop import StopSignal, Trainer
from seq2seq.training.memory import keep_freed_memory
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Finished, Notice, Progress, Started
from seq2seq.training.validation import ValidationSet
from seq2seq.translation import load_weights

MANY_PAIRS = 100_000
"""Steps that take a while from here on are told of."""

_SAVING, _LEARNING_A_PAIR = 2.0, 1e-4
"""Seconds that the end of a run takes, at a guess; a time budget is kept to by them."""


class Run:
    """A run folder while it is trained in."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        prepared: Prepared,
        device: torch.device,
        stop: StopSignal,
        asked_for: dict[str, Any],
        most_updates: int,
        began: float,
    ) -> None:
        self.folder = folder
        self.prepared = prepared
        self.stop = stop
        self.validation = ValidationSet(
            prepared.valid,
            prepared.tokenizer,
            config.data.max_length,
            prepared.max_src_length,
            parse_langs(config.data.langs)[1],
        )
        budget = Budget(
            most_updates=most_updates,
            # Searching greedily takes about as long as learning.
            validation_updates=self.validation.n_tgt_tokens() / config.training.batch_tokens,
            finish=_SAVING + _LEARNING_A_PAIR * min(prepared.n_pairs, MOST_PAIRS),
        )
        self.trainer = Trainer(
            folder, config, prepared, self.validation, device, stop, self._commit_best, budget, began
        )
        self.trainer.remembered |= asked_for

    def train(self, checkpoint: Checkpoint | None) -> Iterator[Progress]:
        """Train from the beginning or from a checkpoint, then settle the length penalty and finish."""
        trainer = self.trainer
        if trainer.device.type == "cpu":
            keep_freed_memory()  # not before: what preparing has done with is not wanted again
        if checkpoint is not None:
            trainer.restore(checkpoint)
        # The line of a validation that is still to be made up for is written with it.
        truncate_metrics(self.folder, trainer.update - trainer.validation_is_due())
        yield Started(
            config=trainer.config,
            device=str(trainer.learner.device),
            precision=trainer.learner.precision,
            n_pairs=self.prepared.n_pairs,
            n_tgt_tokens=self.prepared.n_tgt_tokens,
            vocab_size=len(self.prepared.tokenizer),
            n_parameters=n_parameters(trainer.learner.model),
            update=trainer.update,
        )
        yield from trainer.train()
        if self.prepared.n_pairs > MANY_PAIRS:
            yield Notice("learning which pieces translate which")
        tokenizer = self.prepared.tokenizer
        shortlist = build_lexicon(
            self.prepared.ids, len(tokenizer), byte_pieces(tokenizer), check=self._check_interrupted
        )
        if trainer.config.decoding.length_penalty is None:
            yield Notice("choosing the length penalty on the validation pairs")
        yield self._finish(shortlist)

    def _finish(self, shortlist: dict[str, Tensor]) -> Finished:
        """Choose the length penalty with the best weights, and mark the run as finished."""
        trainer = self.trainer
        reason = trainer.reason_to_end()
        assert reason is not None
        manifest = read_manifest(self.folder)
        weights = read_tensors(self.folder, manifest, manifest.weights)
        load_weights(trainer.best_model, weights)
        # The manifest's, not the trainer's: one that went on from an older checkpoint may have met another best.
        best_update, scores = manifest.update, dict(manifest.scores)
        config = trainer.config
        if config.decoding.length_penalty is None:
            alpha, bleu = self.validation.choose_alpha(trainer.best_model, config.decoding, self._check_interrupted)
            config = replace(config, decoding=replace(config.decoding, length_penalty=alpha))
            if bleu is not None:
                scores["bleu_beam"] = bleu
        self._commit(weights, best_update, scores, config, shortlist)
        discard(self.folder / "prepared")
        return Finished(trainer.update, best_update, scores, trainer.seconds, reason)

    def _check_interrupted(self) -> None:
        """Everything is saved by now: an interrupted finish is made up for by the same command."""
        signal_number = self.stop()
        if signal_number is not None:
            raise Interrupted(signal_number, saved=True)

    def _commit_best(self, weights: dict[str, Tensor], update: int, scores: dict[str, float]) -> None:
        self._commit(weights, update, scores, self.trainer.config)

    def _commit(
        self,
        weights: dict[str, Tensor],
        update: int,
        scores: dict[str, float],
        config: RunConfig,
        shortlist: dict[str, Tensor] | None = None,
    ) -> None:
        """Put the weights to translate with, and all that belongs to them, into the folder.

        The last commit brings the shortlist and says that the run is finished.
        """
        finished = shortlist is not None
        if config.training.max_updates is not None:
            # Whoever repeats the run wants its updates, not its minutes.
            config = replace(config, training=replace(config.training, time_budget=None))
        commit(
            self.folder,
            {
                "config.toml": to_toml(config).encode(),
                "tokenizer.model": self.prepared.tokenizer.model,
                model_name(update): weights,
                **({SHORTLIST: shortlist} if shortlist is not None else {}),
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
                **({"ended_at": self.trainer.update} if finished else {}),
            },
        )
        card = self.folder / "README.md"
        if not card.exists() or finished:
            with contextlib.suppress(UserError):  # a full disk is reported where it costs something
                model_card(card, config, scores, self.prepared.record())
