"""The training loop: updates, and between them validations, checkpoints and the end."""

import contextlib
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

from seq2seq.config import RunConfig, TrainingConfig
from seq2seq.errors import Interrupted, UserError, counted, duration
from seq2seq.model import n_parameters
from seq2seq.runs import Checkpoint, Manifest, parse_stored, read_manifest
from seq2seq.system.allocator import keep_freed_memory
from seq2seq.training.arithmetic import Arithmetic, change_of, default_arithmetic, is_available, unmet_requests
from seq2seq.training.best import after_validation
from seq2seq.training.due import is_validation_due, reason_to_end
from seq2seq.training.ending import find_ending
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.meter import Meter
from seq2seq.training.parallel import Ranks, Stopped
from seq2seq.training.plan import Setup, build_budget
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Finished, LengthSet, Notice, Progress, Report, Saved, Started, Validation
from seq2seq.training.run_writer import RunWriter
from seq2seq.training.schedule import knot_at, learning_rate
from seq2seq.training.state import Knot, TrainingState
from seq2seq.training.step import TrainStep
from seq2seq.training.stream_loader import StreamLoader, build_loader
from seq2seq.training.tuning import FINISH_SECONDS, MIN_CHANGE, SAVE_SECONDS, SLOW_VALIDATION, UPDATES_AHEAD


class Trainer:
    """One run, from its first update or from a checkpoint to its end.

    If several ranks train it, all do the same here, except inside ``ranks.first``: rank 0 alone writes. What depends on
    time or on signals follows ``ranks.now`` and ``ranks.stop``, which are the same for all.

    Args:
        folder: of the run. Rank 0 holds its lock.
        setup: state, validation pairs and length of the run.
        prepared: the corpus.
        device: where the model is.
        ranks: which train together; the signals that they have received.
        began: when the command began, by the ranks' clock.
    """

    def __init__(
        self, folder: Path, setup: Setup, prepared: Prepared, device: torch.device, ranks: Ranks, began: float
    ) -> None:
        self.folder = folder
        self.state, self.validation = setup.state, replace(setup.validation, ranks=ranks)
        self.prepared = prepared
        self.device = device
        self.ranks = ranks
        self.began, self.seconds_before = began, self.state.seconds
        self.writer = RunWriter(folder, prepared, self.validation)
        n_ahead = UPDATES_AHEAD["cpu" if device.type == "cpu" else "GPU"]
        self.loader = build_loader(prepared, self.config, self.state.stream, ranks, n_ahead, self._raise_if_stopped)
        stored = self._stored_arithmetic()
        kept = stored if stored is not None and is_available(stored, device) else None
        self.step = TrainStep(self.config, len(prepared.tokenizer), device, ranks, kept)
        self.step.knot = self.state.knot
        self.best_model = copy.deepcopy(self.step.model).eval()
        """What is validated, in the type that training computes with: the averaged weights are copied into it."""
        self.budget = build_budget(setup, prepared.n_pairs)
        self._meter = Meter(device)
        self._reported_updates = self.training.max_updates
        """The number of updates that was reported last."""
        self._saved_seconds = 0.0
        """Of the run, when the newest checkpoint was written."""

    @property
    def config(self) -> RunConfig:
        """The configuration as it is known now."""
        return self.state.config

    @property
    def training(self) -> TrainingConfig:
        """Its table ``training``."""
        return self.state.config.training

    @property
    def seconds(self) -> float:
        """Training time since the corpus was read, all parts of an interrupted run together."""
        return self.seconds_before + self.ranks.now() - self.began

    @property
    def current_state(self) -> TrainingState:
        """The state with its time."""
        return replace(self.state, seconds=self.seconds, arithmetic=self.step.arithmetic)

    # ------------------------------------------------------------------ the run

    def train(self, checkpoint: Checkpoint | None = None) -> Iterator[Progress]:
        """Train from the start or from a checkpoint to the end; yields what happens.

        Raises:
            Interrupted: a signal arrived; a checkpoint of this very update has been written.
            UserError: training diverged (79), or memory (75) or disk (74) ran out.
        """
        if self.device.type == "cpu":
            keep_freed_memory()  # not before: training does not need the memory that preparation has freed
        if checkpoint is not None:
            yield from self._resume(checkpoint)
        for unmet in unmet_requests(self.training, self.step.arithmetic):
            yield Notice(unmet, warning=True)
        update = self.state.update
        # A validation that was interrupted is made again, and writes its line again.
        self.ranks.first(lambda: self.writer.truncate_metrics(update - 1 if self._is_validation_due() else update))
        yield Started(
            config=self.config,
            device=str(self.device) if self.ranks.n == 1 else f"{self.ranks.n} x {self.device.type}",
            arithmetic=str(self.step.arithmetic),
            n_pairs=self.prepared.n_pairs,
            n_tgt_tokens=self.prepared.n_tgt_tokens,
            vocab_size=self.prepared.tokenizer.n_pieces,
            n_parameters=n_parameters(self.step.model),
            update=update,
            n_shards=self.prepared.n_shards,
        )
        yield from self._time_a_validation()
        yield from self._after_update()
        yield from self._updates()
        yield from self._finish()

    def _updates(self) -> Iterator[Progress]:
        """The loop."""
        # The order is the same each time: updates made before an interruption are skipped.
        updates = self.loader.updates(self.state.epoch, self.state.updates_in_epoch)
        self.budget.start(self.seconds)
        is_first = True
        with self.step.replicas, contextlib.closing(updates):
            while reason_to_end(self.state) is None:
                try:
                    if isinstance(self.loader, StreamLoader):  # reading may fail or be interrupted at one rank
                        pairs, epoch, updates_in_epoch = self.ranks.together(lambda: next(updates))
                    else:
                        pairs, epoch, updates_in_epoch = next(updates)
                except UserError:  # a shard cannot be read: the same command resumes here once it can
                    if self.ranks.n == 1:
                        self._save()
                    raise
                except Stopped:  # by a signal, while the next pairs of a stream were awaited
                    yield from self._after_update()
                    raise
                if is_first:  # the first pool of a stream takes a while
                    self.budget.start(self.seconds)
                    is_first = False
                self._update(pairs)
                self.state = replace(
                    self.state, update=self.state.update + 1, epoch=epoch, updates_in_epoch=updates_in_epoch
                )
                if isinstance(self.loader, StreamLoader):
                    self.state = replace(self.state, stream=self.loader.state)
                    yield from self.loader.take_notices()
                self.budget.after_update(self.seconds)
                if self.state.update % self.training.report_every == 0:
                    yield self._report()
                yield from self._after_update()

    def _update(self, pairs: TokenizedPairs) -> None:
        began = time.monotonic()
        stats = self.step.update(pairs, self.state.update + 1)
        self._meter.add(stats, time.monotonic() - began)

    def _after_update(self) -> Iterator[Progress]:
        """Validate, keep the time budget and save if it is due; stop if a signal requests it."""
        validation = length = None
        if not self._is_validation_due():
            length = self._keep_budget()  # this may end the run
        if self._is_validation_due():
            try:
                validation = self._validate()
            except Stopped:  # the resumed run makes the validation again
                self._write_pending_report()
            else:
                length = self._keep_budget() or length
        # What is committed has been saved before: a run with a model can always be resumed.
        is_best = validation is not None and validation.is_best
        saved = self._save() if is_best or self._is_save_due() else None
        if is_best:
            self.ranks.first(lambda: self.writer.commit_best(self.current_state, self.step.averaged_weights()))
        yield from (event for event in (validation, length, saved) if event is not None)
        signal_number = self.ranks.stop()
        if signal_number is not None:
            if (saved := self._save()) is not None:
                yield saved
            raise Interrupted(signal_number, saved=True, update=self.state.update)

    def _finish(self) -> Iterator[Progress]:
        """Learn the shortlist, choose the length penalty, and mark the run as finished."""
        reason = reason_to_end(self.state)
        assert reason is not None
        manifest = self._committed()
        try:
            ending = yield from find_ending(
                self.folder,
                manifest,
                self.config,
                self.prepared,
                self.validation,
                self.best_model,
                self._raise_if_stopped,
                self._seconds_to_search,
            )
        except Stopped:  # everything is saved: the same command makes the end again
            signal_number = self.ranks.stop()
            assert signal_number is not None
            raise Interrupted(signal_number, saved=True, update=self.state.update) from None
        verdict = self.ranks.first(lambda: self.writer.commit_finished(self.current_state, ending).verdict)
        yield Finished(self.state.update, manifest.update, ending.scores, self.seconds, reason, verdict=verdict)

    def _committed(self) -> Manifest:
        """The manifest as rank 0 reads it: a network file system may show an older one to others."""
        stored = self.ranks.first(lambda: asdict(read_manifest(self.folder)))
        return parse_stored(Manifest, stored, self.folder)

    def _seconds_to_search(self) -> float:
        total = self.training.time_budget
        return math.inf if total is None else self.budget.seconds_to_search(total, self.seconds + FINISH_SECONDS)

    # ------------------------------------------------------------------ the time budget

    def _keep_budget(self) -> LengthSet | None:
        """Set the number of updates, if the run has a time budget and it is time to."""
        update = self.state.update
        training = self.budget.set_length(self.training, update, self.seconds, self.state.validated_update)
        if training is None:
            return None
        self._set_knot(knot_at(update, self.training, self.step.knot))
        self.step.training = training
        self.state = replace(self.state, config=replace(self.config, training=training), budget=self.budget.state)
        assert training.max_updates is not None
        assert training.time_budget is not None
        before = self._reported_updates
        is_news = before is None or abs(training.max_updates - before) > MIN_CHANGE * before
        if is_news:
            self._reported_updates = training.max_updates
        return LengthSet(update, training.max_updates, training.time_budget - self.seconds, is_news)

    def _time_a_validation(self) -> Iterator[Notice]:
        """Estimate how long a validation takes, if a time budget depends on it and none was made yet."""
        total = self.training.time_budget
        if total is None or self.budget.state.validation is not None:
            return
        began = self.ranks.now()
        sample = self.validation.sample(self.device)
        sample.run(self.best_model, self.config.decoding, lambda: None)
        n_pairs = len(self.validation.pairs)
        expected = (self.ranks.now() - began) * n_pairs / len(sample.pairs)
        self.budget.expected_validation = expected
        if expected > SLOW_VALIDATION * total:
            takes = f"validating {counted(n_pairs, 'pair')} takes about {duration(expected)} at first"
            yield Notice(
                f"{takes}, much of {duration(total)}; name fewer with `data.valid`, or give more time", warning=True
            )

    def _set_knot(self, knot: Knot) -> None:
        """Continue the learning rate from here."""
        self.step.knot = knot
        self.state = replace(self.state, knot=knot)

    # ------------------------------------------------------------------ reports and validations

    def _report(self) -> Report:
        self.step.check_finite()
        report = self._current_report()
        self.state = replace(self.state, last_report=report)
        if not self._is_validation_due():  # a validation adds its scores to the same line
            self.ranks.first(lambda: self.writer.write_metrics(report, {}))
        self._meter.reset()
        return report

    def _current_report(self) -> Report:
        rate = learning_rate(max(1, self.state.update), self.training, self.step.knot)
        return self._meter.report(self.state, rate, self.seconds)

    def _write_pending_report(self) -> None:
        """Write the report that would have been written with the scores of a validation."""
        report = self.state.last_report
        if report is not None and report.update == self.state.update:
            self.ranks.first(lambda: self.writer.write_metrics(report, {}))

    def _is_validation_due(self) -> bool:
        return is_validation_due(self.state, cadence_follows_budget=self.budget.sets_cadence)

    def _validate(self) -> Validation:
        """Validate the averaged weights.

        Raises:
            Stopped: a signal arrived meanwhile; nothing has changed.
        """
        began = self.ranks.now()
        self.step.copy_average(self.best_model, self.state.update)
        scores = self.validation.run(self.best_model, self.config.decoding, self._raise_if_stopped)
        update = self.state.update
        self.state = after_validation(self.state, scores)
        assert self.state.best is not None
        self.budget.after_validation(self.ranks.now() - began)
        report = self.state.last_report
        if report is None or report.update != update:
            report = self._current_report()
        cut_off = {"cut_off": scores.cut_off} if scores.cut_off else {}
        self.ranks.first(lambda: self.writer.write_metrics(report, scores.figures() | cut_off))
        return Validation(
            update=update,
            epoch=self.state.epoch,
            valid_loss=scores.loss,
            bleu=scores.bleu.value,
            chrf=scores.chrf.value,
            cut_off=scores.cut_off,
            seconds=self.ranks.now() - began,
            is_best=self.state.best.update == update,
            samples=self.validation.samples(scores, self.training.samples),
        )

    def _raise_if_stopped(self) -> None:
        if self.ranks.stop_here() is not None:
            raise Stopped

    # ------------------------------------------------------------------ checkpoints

    def _is_save_due(self) -> bool:
        if reason_to_end(self.state) is not None:
            return True
        if self.budget.last_set_at == self.state.update:  # a resumed run must keep this number of updates
            return True
        every = self.training.save_every
        if every is None:  # the number of updates is not known yet
            return self.seconds - self._saved_seconds >= SAVE_SECONDS
        return self.state.update % every == 0

    def _save(self) -> Saved | None:
        """Write a checkpoint: all that the next update depends on. None if there is nothing new to save."""
        self.step.agree()
        tensors, n_averaged = self.step.state()
        self.state = replace(
            self.current_state,
            micro_batch_tokens=self.step.micro_batch_tokens,
            n_averaged=n_averaged,
            budget=self.budget.state,
        )
        path = self.ranks.first(lambda: self.writer.save_checkpoint(self.state, tensors))
        if path is None:
            return None
        self._saved_seconds = self.seconds
        return Saved(self.state.update, Path(path))

    def _resume(self, checkpoint: Checkpoint) -> Iterator[Notice]:
        """Continue from a checkpoint, as if there had been no interruption.

        The command may have changed limits and cadences; the trainer's own state has them already.
        """
        saved = TrainingState.from_json(checkpoint.state, checkpoint.path)
        self.writer.resume_from(saved)
        self._saved_seconds = self.seconds
        self.budget.state = self.state.budget
        if self.training.max_updates != saved.config.training.max_updates:
            # The command changed the length. If the schedule has an end, the rate may have to rise again, but it
            # continues from where it stands.
            knot = knot_at(self.state.update, saved.config.training, saved.knot)
            self._set_knot(replace(knot, falling=knot.falling and self.training.schedule == "inverse_sqrt"))
        if self.state.micro_batch_tokens is not None:
            self.step.micro_batch_tokens = self.state.micro_batch_tokens
        self.step.load_state(checkpoint.tensors, self.state.n_averaged)
        stored = self._stored_arithmetic()
        if stored is not None and (change := change_of(stored, self.step.arithmetic)) is not None:
            yield Notice(change, warning=True)
        self._commit_interrupted_best()

    def _stored_arithmetic(self) -> Arithmetic | None:
        """That of the checkpoint which is resumed; None for a new run."""
        if not self.state.update:
            return None
        return self.state.arithmetic or default_arithmetic(self.training, self.device)

    def _commit_interrupted_best(self) -> None:
        """Commit the best weights if a crash came between their checkpoint and their commit."""
        best = self.state.best
        if best is None or best.update != self.state.update:
            return
        self.step.copy_average(self.best_model, self.state.update)
        self.ranks.first(self._commit_best_if_missing)

    def _commit_best_if_missing(self) -> None:
        manifest = self.writer.read_manifest()
        if manifest is None or manifest.update < self.state.update:
            self.writer.commit_best(self.current_state, self.step.averaged_weights())
