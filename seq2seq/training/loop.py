"""The training loop: batches in, better weights out, and nothing lost when it is interrupted.

Shapes: B sentences, S source length, T target length, N real target positions, V vocabulary.
"""

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2seq.batching import Batch, Rows, collate, epoch_updates, micro_batches
from seq2seq.checkpoint import (
    Checkpoint,
    append_metrics,
    prune_checkpoints,
    rng_tensors,
    save_checkpoint,
    set_rng_tensors,
)
from seq2seq.config import RunConfig
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.model import build_model
from seq2seq.model.transformer import padding_mask
from seq2seq.tokenizer import PAD
from seq2seq.training.averaging import Average
from seq2seq.training.loss import smoothed_cross_entropy
from seq2seq.training.optimizer import build_optimizer, learning_rate
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Progress, Report, Sample, Saved, Validation
from seq2seq.training.validation import Stopped, ValidationSet
from seq2seq.translation import is_out_of_memory

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
    ) -> None:
        self.run = run
        self.config = config
        self.training = config.training
        self.ids = prepared.ids
        self.corpora = [record.sha256 for record in prepared.corpora]
        self.validation = validation
        self.device = device
        self.stop = stop
        self.commit = commit
        torch.manual_seed(self.training.seed)
        self.model = build_model(config.model, len(prepared.tokenizer)).to(device).train()
        self.best_model = copy.deepcopy(self.model).eval()
        """What validation runs: the averaged weights are copied in."""
        self.optimizer = build_optimizer(self.model, self.training)
        self.average = Average(self.model, self.training)
        self.precision = pick_precision(self.training.precision, device)
        self.sum_of_losses = torch.compile(self._sum_of_losses) if self.training.compile else self._sum_of_losses
        self.micro_batch_tokens = self.training.micro_batch_tokens

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
        self.started = time.monotonic()
        self._reset_counters()

    @property
    def seconds(self) -> float:
        """Time the run has taken in all its sessions."""
        return self.seconds_before + time.monotonic() - self.started

    def _reset_counters(self) -> None:
        """Forget what the last report has told."""
        self.loss_sum = torch.zeros((), device=self.device)
        self.n_tokens = 0
        self.n_padding = 0
        self.n_positions = 0
        self.busy = 0.0

    # ------------------------------------------------------------------ one update

    def _sum_of_losses(self, batch: Batch) -> Tensor:
        """Teacher forcing: every target position is predicted at once from the real tokens to its left."""
        model = self.model
        src_mask = padding_mask(batch.src, PAD)  # [B, 1, 1, S]
        hidden = model.decode(batch.tgt_in, model.encode(batch.src, src_mask), src_mask)  # [B, T, D]
        # The vocabulary is by far the widest layer: padding never reaches it.
        real = batch.tgt_out.ne(PAD)  # [B, T]
        logits = model.logits(hidden[real])  # [N, V]
        return smoothed_cross_entropy(logits, batch.tgt_out[real], self.training.label_smoothing)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _gradient(self, rows: Rows) -> tuple[Tensor, int, int, int]:
        """Accumulate the gradient of the mean loss over an update's target tokens.

        Returns:
            Summed loss, target tokens, padding of both sides, positions of both sides.
        """
        self.optimizer.zero_grad(set_to_none=True)
        n_tokens = int(self.ids.tgt_lengths[rows].astype("int64").sum()) + len(rows)
        total = torch.zeros((), device=self.device)
        n_padding = n_positions = 0
        for part in micro_batches(rows, self.ids.src_lengths, self.ids.tgt_lengths, most=self.micro_batch_tokens):
            batch = collate(*self.ids.take(part))
            n_padding += batch.n_padding
            n_positions += batch.src.numel() + batch.tgt_out.numel()
            with self._autocast():
                loss_sum = self.sum_of_losses(batch.to(self.device))
            # Divide by the tokens of the whole update: averaging each micro-batch first would make a
            # token weigh more where its micro-batch is small.
            (loss_sum / n_tokens).backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            total += loss_sum.detach()
        return total, n_tokens, n_padding, n_positions

    def _step(self, rows: Rows) -> None:
        """One update of the weights.

        Raises:
            UserError: loss or gradient is not finite (79), or memory is out (75); the weights are untouched.
        """
        began = time.monotonic()
        while True:
            try:
                total, n_tokens, n_padding, n_positions = self._gradient(rows)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._use_less_memory()
        parameters = list(self.model.parameters())
        limit = self.training.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if not bool(torch.isfinite(norm + total)):
            raise UserError(
                f"training diverged at update {self.update + 1}: loss {float(total) / n_tokens:.4g}, "
                f"gradient norm {float(norm):.4g}",
                mend="lower training.learning_rate or raise training.warmup_updates, and start anew with --overwrite",
                code=ExitCode.DIVERGED,
            )
        rate = learning_rate(self.update + 1, self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.update += 1
        self.updates_in_epoch += 1
        self.average.after_update()
        self.loss_sum += total
        self.n_tokens += n_tokens
        self.n_padding += n_padding
        self.n_positions += n_positions
        self.busy += time.monotonic() - began

    def _use_less_memory(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        longest = int(max(self.ids.src_lengths.max(), self.ids.tgt_lengths.max())) + 1
        if self.micro_batch_tokens <= longest:
            raise UserError(
                "memory ran out on a single sentence pair",
                mend="free memory, or lower data.max_length or the size of the model",
                code=ExitCode.TRY_LATER,
            )
        self.micro_batch_tokens //= 2

    # ------------------------------------------------------------------ the loop

    def train(self) -> Iterator[Progress]:
        """Update until a limit is reached; yields what happens.

        Raises:
            Interrupted: a signal arrived; a checkpoint of this very update has been written.
            UserError: training diverged, or memory or disk ran out.
        """
        yield from self._settle()
        while self.reason_to_end() is None:
            updates = epoch_updates(
                self.ids.src_lengths,
                self.ids.tgt_lengths,
                batch_tokens=self.training.batch_tokens,
                seed=self.training.seed,
                epoch=self.epoch,
            )
            # The order is the same each time: what was done before an interruption is passed over.
            for rows in islice(updates, self.updates_in_epoch, None):
                self._step(rows)
                if self.update % self.training.report_every == 0:
                    yield self._report()
                yield from self._settle()
                if self.reason_to_end() is not None:
                    return
            self.epoch += 1
            self.updates_in_epoch = 0

    def reason_to_end(self) -> str | None:
        """Why training is over, or None; only asked once the last validation is done."""
        assert self.training.max_updates is not None
        if self.update >= self.training.max_updates:
            return f"{self.update:,} updates done"
        if self.training.patience and self.bad_validations >= self.training.patience:
            return f"no better {self.training.best_metric} in {self.bad_validations} validations"
        return None

    def _settle(self) -> Iterator[Progress]:
        """After an update: validate and save where it is due, and stop where a signal asks for it."""
        with contextlib.suppress(Stopped):  # a validation broken off is made up for when the run goes on
            yield from self._validate_and_save()
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
        assert self.training.max_updates is not None
        assert self.training.valid_every is not None
        assert self.training.save_every is not None
        last = self.update >= self.training.max_updates
        if self.update and self.validated_at != self.update and (last or self.update % self.training.valid_every == 0):
            yield from self._validate()
        due = last or self.update % self.training.save_every == 0 or self.reason_to_end() is not None
        if self.update and self.saved_at != self.update and due:
            yield self.save()

    def _report(self) -> Report:
        report = self._peek()
        append_metrics(self.run, {key: value for key, value in asdict(report).items() if key != "padding"})
        self._reset_counters()
        return report

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
        self.average.at_validation(self.update)
        weights = self.average.weights()
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
        report = {key: value for key, value in asdict(self._peek()).items() if key != "padding"}
        append_metrics(self.run, {**report, **values})
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
        average, n_averaged = self.average.state()
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
        tensors |= {f"rng.{name}": state for name, state in rng_tensors().items()}
        self.saved_at = self.update
        state = {
            **{key: getattr(self, key) for key in _COUNTERS},
            "seconds": self.seconds,
            "n_averaged": n_averaged,
            "corpora": self.corpora,
            "config": asdict(self.config),
        }
        path = save_checkpoint(self.run, self.update, tensors, state)
        prune_checkpoints(self.run, self.training.keep_checkpoints)
        return Saved(self.update, path)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint, as if there had been no interruption."""
        for key in _COUNTERS:
            setattr(self, key, checkpoint.state[key])
        self.seconds_before = checkpoint.state["seconds"]
        tensors = checkpoint.tensors
        for name, parameter in self.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            # AdamW makes its moments with the first update; here they are made by hand.
            if f"optimizer.step.{name}" in tensors:
                self.optimizer.state[parameter] = {
                    key: tensors[f"optimizer.{key}.{name}"].to(parameter.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        average = {key.removeprefix("average."): t for key, t in tensors.items() if key.startswith("average.")}
        self.average.load_state(average, checkpoint.state["n_averaged"])
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
    "micro_batch_tokens",
]


def pick_precision(wanted: str, device: torch.device) -> str:
    """``auto`` takes bf16 autocast on CUDA, where matrix products gain most, and fp32 elsewhere."""
    if wanted != "auto":
        return wanted
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
