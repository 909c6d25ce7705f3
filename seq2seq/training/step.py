"""One update: forward passes, loss, backward passes, and a step of the optimizer.

Shapes: B sentences, S source length, T target length, M forward passes of each pair (R-Drop: 2), N real target
positions, D model width, V vocabulary.
"""

import contextlib
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.batching import collate, derived_seed
from seq2seq.config import RunConfig
from seq2seq.device import HostCopy, is_out_of_memory
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import Seq2SeqModel, build_model
from seq2seq.model.products import use_products
from seq2seq.training.arithmetic import Arithmetic, choose_arithmetic
from seq2seq.training.averaging import Average
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.loss import output_loss, r_drop_loss
from seq2seq.training.loss_scale import LossScale
from seq2seq.training.optimizer import Optimizer
from seq2seq.training.parallel import Ranks, Replicas, build_replicas
from seq2seq.training.pass_input import PassInput
from seq2seq.training.schedule import learning_rate
from seq2seq.training.state import Knot
from seq2seq.training.step_stats import StepStats
from seq2seq.training.tuning import MICRO_BATCH_TOKENS, MIN_PADDING_SAVED, SMALL_GPU
from seq2seq.training.weights import FlatWeights


class _Shard(NamedTuple):
    """One replica's part of an update."""

    micro_batches: list[TokenizedPairs]
    """One forward and backward pass each."""
    seeds: list[int]
    """Of dropout, for each micro-batch."""
    loss_scale: Tensor | float
    """The loss is multiplied by it. On a CPU a number, as other processes do not see how it changes."""


class TrainStep:
    """Makes updates: the model, the optimizer, and all else that the next update depends on.

    Args:
        config: complete.
        vocab_size: pieces of the joint vocabulary.
        device: where the model is.
        ranks: which share each update; by default there is one.
        arithmetic: of a resumed run; by default what this machine is best at.
    """

    def __init__(
        self,
        config: RunConfig,
        vocab_size: int,
        device: torch.device,
        ranks: Ranks | None = None,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self.training = config.training
        self._ranks = ranks or Ranks()
        self.knot = Knot()
        """From where the learning rate continues."""
        self.n_passes = config.n_forward_passes
        """Forward passes of each pair: 2 with R-Drop."""
        self.device = device
        torch.manual_seed(self.training.seed)
        self.model = build_model(config.model, vocab_size).to(device).train()
        self.arithmetic = arithmetic or choose_arithmetic(self.training, device)
        self.weights = FlatWeights(self.model, self.arithmetic.dtype)
        self.optimizer = Optimizer(self.weights, self.training)
        self.average = Average(self.weights, self.training)
        is_fp16 = self.arithmetic.dtype == torch.float16
        self.loss_scale = LossScale(self.training.batch_tokens, device) if is_fp16 else None
        compiled = self.training.compile
        self.sum_of_losses = torch.compile(self._sum_of_losses, dynamic=True) if compiled else self._sum_of_losses
        n_rows = self.n_passes * self.training.batch_tokens
        self.replicas: Replicas[_Shard, StepStats] = build_replicas(
            self.weights, self._forward_backward, device, n_rows, self._ranks, compiled=compiled
        )
        """Enter it before many updates."""
        self.checks_late = device.type == "cuda"
        """Whether an update is checked during the next one, so that the CPU does not wait for a GPU."""
        self._unchecked: tuple[int, HostCopy] | None = None
        """Number, loss and gradient norm of the last update, until they have been checked."""
        self.micro_batch_tokens = self.training.micro_batch_tokens or _micro_batch_tokens(device)
        """Lowered if memory runs out, and saved: other micro-batches give sums that are rounded differently."""
        samples_on_cpu = bool(config.data.subword_sampling) and device.type == "cpu"
        self._min_padding_saved = MIN_PADDING_SAVED if samples_on_cpu else math.inf

    def update(self, pairs: TokenizedPairs, number: int) -> StepStats:
        """Make the ``number``-th update, counted from 1.

        Raises:
            UserError: loss or gradient is not finite (79), with ``checks_late`` those of the update before; or memory
                is out (75). The weights are untouched.
        """
        # Also for the optimizer's step: waking other threads costs small models more than it saves large ones.
        with self.replicas.one_core_each():
            return self._update(pairs, number)

    def _update(self, pairs: TokenizedPairs, number: int) -> StepStats:
        while True:
            try:
                stats = self._gradient(pairs, number)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._use_less_memory(pairs)
        self.check_finite()  # of the update before: a GPU is already busy with this one
        divisor = stats.n_tokens if self.loss_scale is None else stats.n_tokens * self.loss_scale.value
        norm = self.optimizer.gradient_norm(divisor)
        loss = torch.as_tensor(stats.loss_sum, device=norm.device) / stats.n_tokens
        # In fp16 a gradient that overflows is no error, until the loss scale has been lowered in vain.
        may_end = torch.ones_like(norm) if self.loss_scale is None else self.loss_scale.is_exhausted()
        self._unchecked = number, HostCopy(torch.stack((loss, norm, may_end)).unsqueeze(0))
        if not self.checks_late:
            self.check_finite()
        # The device itself skips the step; on a GPU the result is read after the passes of the next update.
        skip = (~torch.isfinite(loss + norm)).float()
        self.optimizer.step(learning_rate(number, self.training, self.knot), norm, divisor, skip)
        if self.loss_scale is not None:
            self.loss_scale.after_update(skip)
        self.average.after_update()
        return stats

    def check_finite(self) -> None:
        """Wait for the last update, and check it if it has not been checked.

        Raises:
            UserError: loss or gradient was not finite (79); the weights are as they were before it.
        """
        if self._unchecked is None:
            return
        (number, fetched), self._unchecked = self._unchecked, None
        loss, norm, may_end = fetched.values()[0][0].tolist()
        if not math.isfinite(loss) or (may_end and not math.isfinite(norm)):
            raise UserError(
                f"training diverged at update {number}: loss {loss:.4g}, gradient norm {norm:.4g}",
                mend="lower training.learning_rate or raise training.warmup_updates, and start over with `overwrite`",
                code=ExitCode.DIVERGED,
            )

    # ------------------------------------------------------------------ forward and backward passes

    def _gradient(self, pairs: TokenizedPairs, number: int) -> StepStats:
        """Accumulate the gradient of the sum of losses over an update's target tokens."""
        self.weights.gradient.zero_()
        scale: Tensor | float = 1.0
        if self.loss_scale is not None:
            scale = float(self.loss_scale.value) if self.device.type == "cpu" else self.loss_scale.value
        shards = []
        for nth, shard in enumerate(pairs.shards(len(self.replicas))):
            micro_batches = self._micro_batches(shard)
            # Dropout depends on nothing that came before: a resumed run needs no generator's state.
            of_all = nth * self._ranks.n + self._ranks.rank
            seeds = [derived_seed(self.training.seed, number, of_all, part) for part in range(len(micro_batches))]
            shards.append(_Shard(micro_batches, seeds, scale))
        return self.replicas.forward_backward(shards)

    def _micro_batches(self, shard: TokenizedPairs) -> list[TokenizedPairs]:
        max_tokens = max(1, self.micro_batch_tokens // self.n_passes)
        min_saved = self._min_padding_saved / self.n_passes
        return list(shard.micro_batches(max_tokens=max_tokens, min_saved=min_saved))

    def _forward_backward(self, shard: _Shard) -> StepStats:
        """Make the forward and backward passes of a shard, and add to the gradients."""
        stats = StepStats(0.0, 0, 0, 0)
        with self._products():
            for pairs, seed in zip(shard.micro_batches, shard.seeds, strict=True):
                batch = collate(pairs.src, pairs.tgt)
                _seed_generator(self.device, seed)
                loss_sum = self.sum_of_losses(PassInput.from_batch(batch, self.device))
                # A sum: a mean of each micro-batch would make a token weigh more if its micro-batch is small. The
                # optimizer divides by the tokens of the whole update.
                self.weights.add_gradient(loss_sum * shard.loss_scale)
                n_positions = batch.src.numel() + batch.tgt_out.numel()
                loss_sum = loss_sum.detach()
                known = float(loss_sum) if self.device.type == "cpu" else loss_sum
                stats += StepStats(known, batch.n_tgt_tokens, batch.n_padding, n_positions)
        return stats

    def _sum_of_losses(self, batch: PassInput) -> Tensor:
        """Teacher forcing: every target position is predicted at once from the real tokens to its left. []"""
        model, n = self.model, self.n_passes
        # Dropout differs from row to row, so that copies of the rows are forward passes of their own.
        src, tgt_in = batch.src.repeat(n, 1), batch.tgt_in.repeat(n, 1)  # [M·B, S], [M·B, T]
        src_mask = None if batch.src_mask is None else batch.src_mask.repeat(n, 1)  # [M·B, S]
        hidden = model.hidden(src, src_mask, tgt_in)  # [M·B, T, D]
        # The vocabulary is by far the widest layer: padding never reaches it.
        real, smoothing = batch.at_real(hidden), self.training.label_smoothing  # [M, N, D]
        if n == 1:
            return output_loss(real[0], model.output, batch.targets, smoothing)
        return r_drop_loss(real, model.output, batch.targets, smoothing, self.training.r_drop)

    def _products(self) -> contextlib.AbstractContextManager[None]:
        """The library of an update's matrix products."""
        if self.arithmetic.products == "mkl":
            return contextlib.nullcontext()
        return use_products(self.arithmetic.products, self.arithmetic.precision, self.model)

    def _use_less_memory(self, pairs: TokenizedPairs) -> None:
        """After memory ran out: halve the micro-batches.

        Raises:
            UserError: they hold one pair each already (75).
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        shards = pairs.shards(len(self.replicas))
        if len(pairs) == sum(len(self._micro_batches(shard)) for shard in shards):
            raise UserError(
                "memory ran out on a single sentence pair",
                mend="free memory, or lower data.max_length or the size of the model",
                code=ExitCode.TRY_LATER,
            )
        self.micro_batch_tokens //= 2

    # ------------------------------------------------------------------ weights and checkpoints

    @torch.no_grad()
    def copy_average(self, model: Seq2SeqModel, update: int) -> None:
        """Copy the averaged weights into another model, which is validated then.

        Args:
            model: of the same shape.
            update: the last one made.

        Raises:
            UserError: as ``check_finite``.
        """
        self.check_finite()
        self.average.at_validation(update)
        weights = self.average.weights()
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])

    def averaged_weights(self) -> dict[str, Tensor]:
        """The averaged weights on the CPU, in fp32, by name: tied matrices once, under their first name."""
        return {name: tensor.cpu() for name, tensor in self.average.weights().items()}

    def agree(self) -> None:
        """Make sure that all ranks would resume as they continue: with the same weights and the same micro-batches.

        Raises:
            UserError: the ranks have different weights (79).
        """
        if self._ranks.n == 1:
            return
        # One matrix after the other: a copy of all weights in fp64 may not fit beside them.
        squares = sum(float(view.double().square().sum()) for view in self.weights.views(self.weights.trained).values())
        answers = self._ranks.gather(lambda: [self.micro_batch_tokens, squares])
        self.micro_batch_tokens = min(tokens for tokens, _ in answers)
        if not all(math.isclose(squares, other, rel_tol=1e-5) for _, other in answers):
            raise UserError(
                "the ranks no longer have the same weights",
                mend="train on machines of one kind; the same command resumes from the last checkpoint",
                code=ExitCode.DIVERGED,
            )

    def state(self) -> tuple[dict[str, Tensor], int]:
        """All tensors that the next update depends on, and the number of averaged updates.

        Returns:
            Tensors by name, and a count for ``load_state``.
        """
        self.check_finite()
        average, n_averaged = self.average.state()
        parts = {
            "model": self.weights.views(self.weights.trained),
            "average": average,
            "optimizer": self.optimizer.state(),
            "loss_scale": {} if self.loss_scale is None else self.loss_scale.state(),
        }
        return {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}, n_averaged

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor], n_averaged: int) -> None:
        """Resume from what ``state`` returned."""
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}, "loss_scale": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.weights.trained.copy_(self.weights.joined(parts["model"]))
        self.weights.round()
        self.optimizer.load_state(parts["optimizer"])
        self.average.load_state(parts["average"], n_averaged)
        if self.loss_scale is not None and parts["loss_scale"]:  # a run may continue in another precision
            self.loss_scale.load_state(parts["loss_scale"])


def _micro_batch_tokens(device: torch.device) -> int:
    if device.type == "cpu":
        return MICRO_BATCH_TOKENS["cpu"]
    large = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= SMALL_GPU
    return MICRO_BATCH_TOKENS["GPU" if large else "small GPU"]


def _seed_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout on this device uses."""
    # torch.manual_seed would queue a call for each kind of accelerator that is not in use, every time.
    generator = torch.default_generator if device.type == "cpu" else torch.get_device_module(device)
    generator.manual_seed(seed)
