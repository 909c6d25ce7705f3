"""The training loop: pairs in, better weights out, and nothing lost when it is interrupted."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2seq.checkpoint import (
    Checkpoint,
    append_metrics,
    prune_checkpoints,
    rng_tensors,
    save_checkpoint,
    set_rng_tensors,
)
from seq2seq.config import RunConfig
from seq2seq.errors import Interrupted
from seq2seq.training.budget import Budget
from seq2seq.training.learner import Learner
from seq2seq.training.loader import Loader, Portion
from seq2seq.training.optimizer import learning_rate
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Progress, Report, Sample, Saved, Settled, Validation
from seq2seq.training.validation import Stopped, ValidationSet

_SAVING = 300.0
"""Seconds between checkpoints while nobody knows how long training will be."""

StopSignal = Callable[[], int | None]
"""Says which signal asks training to stop, if any has arrived."""


class Trainer:
    """One run's state between updates, and the loop over it.

    Args:
        run: folder that checkpoints and metrics go to.
        config: complete.
        prepared: the corpus.
        validation: the validation pairs.
        device: where the model lives.
        stop: asked after each update and between validation batches.
        commit: given the weights, their update and scores when they are the best so far.
        budget: keeps the time, where there is a time to end.
        began: when the command did, by the monotonic clock.
    """

    def __init__(
        self,
        run: Path,
        config: RunConfig,
        prepared: Prepared,
        validation: ValidationSet,
        device: torch.device,
        stop: StopSignal,
        commit: Callable[[dict[str, Tensor], int, dict[str, float]], None],
        budget: Budget,
        began: float,
    ) -> None:
        self.run = run
        self.config = config
        self.training = config.training
        self.loader = Loader(prepared.ids, prepared.tokenizer, config, self._check_stop)
        self.remembered: dict[str, Any] = {
            "corpora": [[record.role, record.sha256] for record in prepared.corpora],
            "tokenizer": prepared.tokenizer_sha256,
        }
        """What a command that goes on with the run must know."""
        self.validation = validation
        self.device = device
        self.stop = stop
        self.commit = commit
        self.budget = budget
        self.learner = Learner(config, len(prepared.tokenizer), device)
        self.best_model = copy.deepcopy(self.learner.model).eval()
        """What validation runs: the averaged weights are copied in."""

        self.update = 0
        self.epoch = 0
        self.updates_in_epoch = 0
        self.validated_at = 0
        self.saved_at = 0
        self.best: float | None = None
        self.best_update = 0
        self.bad_validations = 0
        self.scores: dict[str, float] = {}
        self.seconds_before = 0.0
        self.seconds_saved = 0.0
        self.began = began
        self.last_report: Report | None = None
        self.has_checkpoint = False
        self._reset_counters()

    @property
    def seconds(self) -> float:
        """Time the run has taken, from reading the corpus on, in all its parts where it was interrupted."""
        return self.seconds_before + time.monotonic() - self.began

    def _reset_counters(self) -> None:
        """Forget what the last report has told."""
        self.loss_sum = torch.zeros((), device=self.device)
        self.n_tokens = 0
        self.n_padding = 0
        self.n_positions = 0
        self.busy = 0.0

    # ------------------------------------------------------------------ the loop

    def _learn(self, portion: Portion) -> None:
        began = time.monotonic()
        learned = self.learner.update(portion, self.update + 1)
        self.update += 1
        self.loss_sum += learned.loss_sum
        self.n_tokens += learned.n_tokens
        self.n_padding += learned.n_padding
        self.n_positions += learned.n_positions
        self.busy += time.monotonic() - began

    def train(self) -> Iterator[Progress]:
        """Update until a limit is reached; yields what happens.

        Raises:
            Interrupted: a signal arrived; a checkpoint of this very update has been written.
            UserError: training diverged, or memory or disk ran out.
        """
        yield from self._settle()
        # The order is the same each time: what was done before an interruption is passed over.
        updates = self.loader.updates(self.epoch, self.updates_in_epoch)
        with self.learner.replicas, contextlib.closing(updates):
            while self.reason_to_end() is None:
                try:
                    portion, epoch, updates_in_epoch = next(updates)
                except Stopped:
                    yield from self._settle()
                    return
                self._learn(portion)
                self.epoch, self.updates_in_epoch = epoch, updates_in_epoch
                self.budget.learned(self.seconds)
                yield from self._keep_to_budget()
                if self.update % self.training.report_every == 0:
                    yield self._report()
                yield from self._settle()

    def reason_to_end(self) -> str | None:
        """Why training is over, or None; only asked once the last validation is done."""
        if self.training.max_updates is not None and self.update >= self.training.max_updates:
            return f"{self.update:,} updates done"
        if self.training.patience and self.bad_validations >= self.training.patience:
            return f"no better {self.training.best_metric} in {self.bad_validations} validations"
        return None

    def _keep_to_budget(self) -> Iterator[Progress]:
        """Where the run has a time to end, settle how many updates it has."""
        settled = self.budget.settle(self.training, self.update, self.seconds)
        if settled is None:
            return
        self.training = self.learner.training = settled
        self.config = replace(self.config, training=settled)
        assert settled.max_updates is not None
        assert settled.time_budget is not None
        yield Settled(self.update, settled.max_updates, settled.time_budget - self.seconds)
        if not self.validation_is_due():
            yield self.save()  # whoever goes on from here keeps to it

    def _settle(self) -> Iterator[Progress]:
        """After an update: validate and save where it is due, and stop where a signal asks for it."""
        try:
            yield from self._validate_and_save()
        except Stopped:  # a validation broken off is made up for when the run goes on
            if self.last_report is not None and self.last_report.update == self.update:
                self._write_metrics(self.last_report, {})
        signal_number = self.stop()
        if signal_number is not None:
            if self.update and self.saved_at != self.update:
                yield self.save()
            raise Interrupted(signal_number, saved=True)

    def _check_stop(self) -> None:
        if self.stop() is not None:
            raise Stopped

    def _validate_and_save(self) -> Iterator[Progress]:
        """What is due after an update. Both are remembered, so that an interrupted one is made up for."""
        if self.validation_is_due():
            if not self.has_checkpoint:  # whatever holds a model can be gone on with
                yield self.save()
                self.saved_at = 0  # not with this validation in it
            yield from self._validate()
        every = self.training.save_every
        # Before they are settled, it goes by the clock.
        due = self.seconds - self.seconds_saved >= _SAVING if every is None else self.update % every == 0
        due = due or self.reason_to_end() is not None
        if self.update and self.saved_at != self.update and due:
            yield self.save()

    def validation_is_due(self) -> bool:
        """Whether the weights of this very update are still to be validated."""
        most, every = self.training.max_updates, self.training.valid_every
        due = (most is not None and self.update >= most) or (every is not None and self.update % every == 0)
        return bool(self.update) and self.validated_at != self.update and due

    def _report(self) -> Report:
        self.learner.check_finite()
        self.last_report = report = self._peek()
        if not self.validation_is_due():  # which adds its scores to the same line
            self._write_metrics(report, {})
        self._reset_counters()
        return report

    def _write_metrics(self, report: Report, scores: dict[str, float]) -> None:
        left_out = {"padding"}
        if not report.tgt_tokens_per_second:  # nobody knows any more, as of updates before an interruption
            left_out |= {"loss", "tgt_tokens_per_second"}
        line = {key: value for key, value in asdict(report).items() if key not in left_out}
        append_metrics(self.run, {**line, **scores})

    def _peek(self) -> Report:
        return Report(
            update=self.update,
            epoch=self.epoch,
            loss=float(self.loss_sum) / max(1, self.n_tokens),
            lr=learning_rate(max(1, self.update), self.training),
            tgt_tokens_per_second=self.n_tokens / self.busy if self.busy else 0.0,
            seconds=self.seconds,
            padding=self.n_padding / max(1, self.n_positions),
        )

    @torch.no_grad()
    def _load_average(self) -> None:
        self.learner.check_finite()
        self.learner.average.at_validation(self.update)
        weights = self.learner.average.weights()
        for name, parameter in self.best_model.named_parameters():
            parameter.copy_(weights[name])

    def _validate(self) -> Iterator[Progress]:
        began = time.monotonic()
        self._load_average()
        scores = self.validation.run(self.best_model, self.config.decoding, self._check_stop)
        metric = {"bleu": scores.bleu, "chrf": scores.chrf, "loss": -scores.loss}[self.training.best_metric]
        is_best = self.best is None or metric > self.best
        values = {"valid_loss": scores.loss, "bleu": scores.bleu, "chrf": scores.chrf}
        if is_best:
            self.best, self.best_update, self.bad_validations = metric, self.update, 0
            self.scores = values
            self.commit(self._saved_weights(), self.update, values)
        else:
            self.bad_validations += 1
        self.validated_at = self.update
        self.budget.validated(time.monotonic() - began)
        told = self.last_report is not None and self.last_report.update == self.update
        self._write_metrics(self.last_report if told and self.last_report else self._peek(), values)
        yield Validation(
            update=self.update,
            epoch=self.epoch,
            valid_loss=scores.loss,
            bleu=scores.bleu,
            chrf=scores.chrf,
            seconds=time.monotonic() - began,
            is_best=is_best,
            samples=self._samples(scores.hypotheses),
        )

    def _saved_weights(self) -> dict[str, Tensor]:
        """The validated weights as the run folder keeps them: tied matrices once, under their first name."""
        return {name: tensor.detach().cpu() for name, tensor in self.best_model.named_parameters()}

    def _samples(self, hypotheses: list[str]) -> list[Sample]:
        pairs = self.validation.pairs
        n = min(self.training.samples, len(pairs))
        chosen = [i * len(pairs) // n for i in range(n)]
        return [Sample(pairs[i].src, hypotheses[i], pairs[i].tgt) for i in chosen]

    # ------------------------------------------------------------------ going on

    def save(self) -> Saved:
        """Write a checkpoint: everything that the next update depends on."""
        tensors, n_averaged = self.learner.state()
        tensors |= {f"rng.{name}": state for name, state in rng_tensors().items()}
        self.saved_at, self.seconds_saved = self.update, self.seconds
        state = {
            **{key: getattr(self, key) for key in _COUNTERS},
            "micro_batch_tokens": self.learner.micro_batch_tokens,
            "last_report": asdict(self.last_report) if self.last_report else None,
            "seconds": self.seconds,
            "n_averaged": n_averaged,
            "budget": [self.budget.settled, self.budget.updates, self.budget.seconds],
            **self.remembered,
            "config": asdict(self.config),
        }
        self.has_checkpoint = True
        path = save_checkpoint(self.run, self.update, tensors, state)
        prune_checkpoints(self.run, self.training.keep_checkpoints)
        return Saved(self.update, path)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, as if there had been no interruption."""
        for key in _COUNTERS:
            setattr(self, key, checkpoint.state[key])
        self.seconds_before = checkpoint.state["seconds"]
        settled, updates, seconds = checkpoint.state.get("budget", [0, 0, 0.0])
        # With another limit than before the length of training is open again.
        if self.training.max_updates is not None or settled == 0:
            self.budget.settled, self.budget.updates, self.budget.seconds = settled, updates, seconds
        tensors = checkpoint.tensors
        self.has_checkpoint = True
        if self.validation_is_due():
            self.saved_at = 0
        if checkpoint.state["last_report"]:
            self.last_report = Report(**checkpoint.state["last_report"])
        self.learner.micro_batch_tokens = checkpoint.state["micro_batch_tokens"]
        self.learner.load_state(tensors, checkpoint.state["n_averaged"])
        set_rng_tensors({key.removeprefix("rng."): t for key, t in tensors.items() if key.startswith("rng.")})


_COUNTERS = [
    "update",
    "epoch",
    "updates_in_epoch",
    "validated_at",
    "saved_at",
    "best",
    "best_update",
    "bad_validations",
    "scores",
]
