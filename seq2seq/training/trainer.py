"""The training loop: pairs in, better weights out, and nothing lost when it is interrupted."""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.config import RunConfig, TrainingConfig
from seq2seq.errors import Interrupted, counted, duration
from seq2seq.runs import append_metrics, prune_checkpoints, save_checkpoint
from seq2seq.training.arithmetic import Arithmetic, default_arithmetic, is_available
from seq2seq.training.budget import Budget
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.optimizer import knot_at, learning_rate
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice, Progress, Report, Sample, Saved, Settled, Validation
from seq2seq.training.state import Best, Knot, TrainingState
from seq2seq.training.step import StepStats, TrainStep
from seq2seq.training.validation import Scores, Stopped, ValidationSet

_SAVING = 300.0
"""Seconds between checkpoints while nobody knows how long training will be."""
_MUCH = 0.2
"""Share of a time budget that a validation takes, from which on that is reported."""
_NEWS = 0.1
"""Share by which the number of updates must have changed to be reported again."""

StopSignal = Callable[[], int | None]
"""Says which signal asks training to stop, if any has arrived."""


@dataclass
class _SinceReport:
    """What updates added up to since the last report."""

    learned: StepStats
    seconds: float = 0.0
    """Spent in updates."""


class Trainer:
    """One run's state between updates, and the loop over it.

    Args:
        run: folder that checkpoints and metrics go to.
        state: where training starts; its configuration is complete.
        prepared: the corpus.
        validation: the validation pairs.
        device: where the model lives.
        stop: asked after each update and between validation batches.
        commit: makes the weights that were validated last the run's; called when they are the best so far, and after a
            checkpoint of them was saved.
        budget: keeps the time if there is a time budget.
        began: when the command did, by the monotonic clock.
    """

    def __init__(
        self,
        run: Path,
        state: TrainingState,
        prepared: Prepared,
        validation: ValidationSet,
        device: torch.device,
        stop: StopSignal,
        commit: Callable[[dict[str, Tensor]], None],
        budget: Budget,
        began: float,
    ) -> None:
        self.run = run
        self.state = state
        self.loader = Loader(prepared.ids, prepared.tokenizer, state.config)
        self.validation = validation
        self.device = device
        self.stop = stop
        self.commit = commit
        self.budget = budget
        self.step = TrainStep(state.config, len(prepared.tokenizer), device)
        self.step.knot = state.knot
        self._reported_updates = state.config.training.max_updates
        """The number of updates that was last reported."""
        self.best_model = copy.deepcopy(self.step.model).eval()
        """What validation runs: the averaged weights are copied in."""
        self._saved: TrainingState | None = None
        """What the newest checkpoint says, without its time."""
        self.saved_seconds = 0.0
        self.seconds_before = state.seconds
        self.began = began
        self._since_report = self._nothing()

    @property
    def config(self) -> RunConfig:
        """With all that is known by now."""
        return self.state.config

    @property
    def training(self) -> TrainingConfig:
        """Its table ``training``."""
        return self.state.config.training

    @property
    def best_metric(self) -> str:
        """The metric that chooses the best weights, set by ``choose_best_metric``."""
        assert self.training.best_metric is not None
        return self.training.best_metric

    @property
    def seconds(self) -> float:
        """Training time, from reading the corpus on, all parts of an interrupted run together."""
        return self.seconds_before + time.monotonic() - self.began

    # ------------------------------------------------------------------ the loop

    def train(self) -> Iterator[Progress]:
        """Update until a limit is reached; yields what happens.

        Raises:
            Interrupted: a signal arrived; a checkpoint of this very update has been written.
            UserError: training diverged, or memory or disk ran out.
        """
        yield from self._time_a_validation()
        yield from self._after_update()
        # The order is the same each time: what was done before an interruption is passed over.
        updates = self.loader.updates(self.state.epoch, self.state.updates_in_epoch)
        self.budget.begin(self.seconds)
        with self.step.replicas, contextlib.closing(updates):
            while self.reason_to_end() is None:
                portion, epoch, updates_in_epoch = next(updates)
                self._learn(portion)
                self.state = replace(
                    self.state, update=self.state.update + 1, epoch=epoch, updates_in_epoch=updates_in_epoch
                )
                self.budget.learned(self.seconds)
                if self.state.update % self.training.report_every == 0:
                    yield self._report()
                yield from self._after_update()

    def reason_to_end(self) -> str | None:
        """Why training is over, or None; only asked once the last validation is done."""
        if self.training.max_updates is not None and self.state.update >= self.training.max_updates:
            return f"{counted(self.state.update, 'update')} done"
        if self.training.patience and self.state.bad_validations >= self.training.patience:
            return f"no better {self.best_metric} in {counted(self.state.bad_validations, 'validation')}"
        return None

    def _learn(self, portion: TokenizedPairs) -> None:
        began = time.monotonic()
        self._since_report.learned += self.step.update(portion, self.state.update + 1)
        self._since_report.seconds += time.monotonic() - began

    def _keep_to_budget(self) -> Settled | None:
        """If the run has a time budget, set how many updates it has, when it is time to."""
        update = self.state.update
        settled = self.budget.settle(self.training, update, self.seconds, self.state.validated_update)
        if settled is None:
            return None
        self._set_knot(knot_at(update, self.training, self.step.knot))
        self.step.training = settled
        self.state = replace(self.state, config=replace(self.config, training=settled), budget=self.budget.state)
        assert settled.max_updates is not None
        assert settled.time_budget is not None
        before = self._reported_updates
        is_news = before is None or abs(settled.max_updates - before) > _NEWS * before
        if is_news:
            self._reported_updates = settled.max_updates
        return Settled(update, settled.max_updates, settled.time_budget - self.seconds, is_news)

    def _time_a_validation(self) -> Iterator[Notice]:
        """Find out how long a validation takes, if a time budget depends on it and there was none yet."""
        total = self.training.time_budget
        if total is None or self.budget.state.validation is not None:
            return
        began = time.monotonic()
        sample = self.validation.sample(self.device)
        sample.run(self.best_model, self.config.decoding, lambda: None)
        n_pairs = len(self.validation.pairs)
        expected = (time.monotonic() - began) * n_pairs / len(sample.pairs)
        self.budget.expected_validation = expected
        if expected > _MUCH * total:
            takes = f"to validate {counted(n_pairs, 'pair')} takes about {duration(expected)} at first"
            yield Notice(
                f"{takes}, much of {duration(total)}; name fewer with --valid, or give more time", warning=True
            )

    def _set_knot(self, knot: Knot) -> None:
        """Continue the learning rate from here."""
        self.step.knot = knot
        self.state = replace(self.state, knot=knot)

    # ------------------------------------------------------------------ what is due after an update

    def _after_update(self) -> Iterator[Progress]:
        """Validate, keep to a time budget and save if it is due, and stop if a signal asks for it."""
        validation = settled = None
        if not self.validation_is_due():
            settled = self._keep_to_budget()  # which may have ended the run
        if self.validation_is_due():
            try:
                validation = self._validate()
            except Stopped:  # the resumed run makes up for a validation that was broken off
                self._write_pending_report()
            else:
                settled = self._keep_to_budget() or settled
        # What is committed has been saved before: a run with a model can always be resumed.
        is_best = validation is not None and validation.is_best
        saved = self.save() if is_best or self._save_is_due() else None
        if is_best:
            self.commit(self.averaged_weights())
        yield from (event for event in (validation, settled, saved) if event is not None)
        signal_number = self.stop()
        if signal_number is not None:
            if (saved := self.save()) is not None:
                yield saved
            raise Interrupted(signal_number, saved=True, update=self.state.update)

    def validation_is_due(self) -> bool:
        """Whether the weights of this very update are still to be validated."""
        update, last, every = self.state.update, self.training.max_updates, self.training.valid_every
        since = update - self.state.validated_update
        if self.budget.sets_cadence and self.training.time_budget is not None:
            passed = every is not None and since >= every  # so that they are spread evenly when the cadence changes
        else:
            passed = every is not None and update % every == 0
        return since > 0 and (passed or (last is not None and update >= last))

    def _save_is_due(self) -> bool:
        if self.reason_to_end() is not None or self._budget_was_set():
            return True
        every = self.training.save_every
        if every is None:  # before the time budget is turned into updates, it goes by the clock
            return self.seconds - self.saved_seconds >= _SAVING
        return self.state.update % every == 0

    def _budget_was_set(self) -> bool:
        """Whether the time budget became a number of updates just now, which a resumed run must keep."""
        return self.budget.last_set_at == self.state.update

    def _check_stop(self) -> None:
        if self.stop() is not None:
            raise Stopped

    # ------------------------------------------------------------------ reports and validations

    def _nothing(self) -> _SinceReport:
        # The sum of losses stays on a GPU: fetching it would wait for the GPU.
        return _SinceReport(StepStats(torch.zeros((), device=self.device), 0, 0, 0))

    def _report(self) -> Report:
        self.step.check_finite()
        report = self._current_report()
        self.state = replace(self.state, last_report=report)
        if not self.validation_is_due():  # which adds its scores to the same line
            self._write_metrics(report, {})
        self._since_report = self._nothing()
        return report

    def _write_pending_report(self) -> None:
        """Write the report that would have been written with the scores of a validation."""
        report = self.state.last_report
        if report is not None and report.update == self.state.update:
            self._write_metrics(report, {})

    def _write_metrics(self, report: Report, scores: Mapping[str, float | None]) -> None:
        left_out = {"padding"}
        if not report.tgt_tokens_per_second:  # not known, as of updates before an interruption
            left_out |= {"loss", "tgt_tokens_per_second"}
        line = {key: value for key, value in asdict(report).items() if key not in left_out}
        append_metrics(self.run, {**line, **scores})

    def _current_report(self) -> Report:
        learned, seconds = self._since_report.learned, self._since_report.seconds
        return Report(
            update=self.state.update,
            epoch=self.state.epoch,
            loss=float(learned.loss_sum) / max(1, learned.n_tokens),
            lr=learning_rate(max(1, self.state.update), self.training, self.step.knot),
            tgt_tokens_per_second=learned.n_tokens / seconds if seconds else 0.0,
            seconds=self.seconds,
            padding=learned.n_padding / max(1, learned.n_positions),
        )

    @torch.no_grad()
    def _load_average(self) -> None:
        self.step.check_finite()
        self.step.average.at_validation(self.state.update)
        weights = self.step.average.weights()
        for name, parameter in self.best_model.named_parameters():
            parameter.copy_(weights[name])

    def _validate(self) -> Validation:
        began = time.monotonic()
        self._load_average()
        scores = self.validation.run(self.best_model, self.config.decoding, self._check_stop)
        update, is_best = self.state.update, self._note_validation(scores)
        self.budget.validated(time.monotonic() - began)
        report = self.state.last_report
        if report is None or report.update != update:
            report = self._current_report()
        cut_off = {"cut_off": scores.cut_off} if scores.cut_off else {}
        self._write_metrics(report, scores.figures() | cut_off)
        return Validation(
            update=update,
            epoch=self.state.epoch,
            valid_loss=scores.loss,
            bleu=scores.bleu.value,
            chrf=scores.chrf.value,
            cut_off=scores.cut_off,
            seconds=time.monotonic() - began,
            is_best=is_best,
            samples=self._samples(scores.hypotheses),
        )

    def _note_validation(self, scores: Scores) -> bool:
        """Take a validation into the state; whether it is the best one so far."""
        loss = None if scores.loss is None else -scores.loss
        metric = {"bleu": scores.bleu.proven, "chrf": scores.chrf.value, "loss": loss}[self.best_metric]
        best = self.state.best
        found = Best(update=self.state.update, metric=metric, scores=scores.figures(), cut_off=scores.cut_off)
        is_best = best is None or found.rank() > best.rank()
        self.state = replace(
            self.state,
            validated_update=found.update,
            best=found if is_best else best,
            bad_validations=0 if is_best else self.state.bad_validations + 1,
        )
        return is_best

    def averaged_weights(self) -> dict[str, Tensor]:
        """The averaged weights as the run folder keeps them: tied matrices once, under their first name."""
        return {name: tensor.detach().cpu() for name, tensor in self.best_model.named_parameters()}

    def _samples(self, hypotheses: list[str]) -> list[Sample]:
        pairs = self.validation.pairs
        n = min(self.training.samples, len(pairs))
        chosen = [i * len(pairs) // n for i in range(n)]
        return [Sample(pairs[i].src, hypotheses[i], pairs[i].tgt) for i in chosen]

    # ------------------------------------------------------------------ checkpoints

    def save(self) -> Saved | None:
        """Write a checkpoint: all that the next update depends on. None if the newest one says so, or none was made."""
        tensors, n_averaged = self.step.state()
        self.state = replace(
            self.state,
            micro_batch_tokens=self.step.micro_batch_tokens,
            arithmetic=self.step.arithmetic,
            n_averaged=n_averaged,
            seconds=self.seconds,
            budget=self.budget.state,
        )
        timeless = replace(self.state, seconds=0.0)
        if self.state.update == 0 or timeless == self._saved:
            return None
        path = save_checkpoint(self.run, self.state.update, tensors, self.state.to_json())
        self._saved, self.saved_seconds = timeless, self.seconds
        prune_checkpoints(self.run, max(1, self.training.keep_checkpoints))
        return Saved(self.state.update, path)

    def load(self, tensors: Mapping[str, Tensor], saved: TrainingState) -> Arithmetic:
        """Resume from a checkpoint, as if there had been no interruption.

        Args:
            tensors: the checkpoint's.
            saved: its state, of which the command may have changed limits and cadences.

        Returns:
            The checkpoint's arithmetic, which is used if it is available here.
        """
        self._saved, self.saved_seconds = replace(saved, seconds=0.0), self.seconds
        self.budget.state = self.state.budget
        if self.training.max_updates != saved.config.training.max_updates:
            # The command changed the length: where the schedule has an end, the rate rises again, if it has to, but
            # from where it stands.
            at = knot_at(self.state.update, saved.config.training, saved.knot)
            self._set_knot(replace(at, falling=at.falling and self.training.schedule == "inverse_sqrt"))
        stored = saved.arithmetic or default_arithmetic(self.training, self.device)
        if is_available(stored, self.device):
            self.step.arithmetic = stored
        if self.state.micro_batch_tokens is not None:
            self.step.micro_batch_tokens = self.state.micro_batch_tokens
        self.step.load_state(tensors, self.state.n_averaged)
        return stored

    def load_best(self) -> bool:
        """Whether the weights of this update are the best so far; they are then ready to be committed."""
        best = self.state.best
        if best is None or best.update != self.state.update:
            return False
        self._load_average()
        return True
