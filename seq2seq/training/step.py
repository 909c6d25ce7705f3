"""One update: the gradient of many pairs, and a step of the weights along it.

Shapes: B sentences, S source length, T target length, N real target positions, V vocabulary.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.batching import Batch, collate, derived_seed
from seq2seq.config import RunConfig
from seq2seq.device import HostCopy, is_out_of_memory, to_device
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import build_model
from seq2seq.model.products import products_by
from seq2seq.model.transformer.model import padding_mask
from seq2seq.tokenizer import PAD
from seq2seq.training.arithmetic import choose_arithmetic
from seq2seq.training.averaging import Average
from seq2seq.training.loader import Portion
from seq2seq.training.loss import output_loss, two_masks_loss
from seq2seq.training.optimizer import build_optimizer, learning_rate
from seq2seq.training.parallel.forked import Replicas, n_replicas
from seq2seq.training.state import Knot

_MICRO_BATCH_TOKENS = {"cpu": 3072, "small GPU": 16_384, "GPU": 32_768}
"""What a CPU writes in one pass should still be near when the way back reads it. A GPU has to be asked for as much in a
short pass as in a long one, which takes longer than the work of a short one."""
_WORTH_A_PASS = 100
"""Padded tokens of a side that cost a CPU more than another pass does. Only subword sampling makes so much padding, as
its pairs are grouped by their stored lengths."""
_SMALL_GPU = 32 << 30
"""Bytes of memory, fewer than which a GPU is a small one."""


def _micro_batch_tokens(device: torch.device) -> int:
    if device.type == "cpu":
        return _MICRO_BATCH_TOKENS["cpu"]
    large = device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory >= _SMALL_GPU
    return _MICRO_BATCH_TOKENS["GPU" if large else "small GPU"]


def _seed_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout on this device draws from."""
    # torch.manual_seed would queue a call for each kind of accelerator that is not in use, every time.
    generator = torch.default_generator if device.type == "cpu" else torch.get_device_module(device)
    generator.manual_seed(seed)


class _Pass(NamedTuple):
    """What one pass through the model reads, where the model is."""

    src: Tensor
    """Source pieces and EOS, padded. [B, S]"""
    src_mask: Tensor | None
    """Real source tokens; None where nothing is padding. [B, 1, 1, S]"""
    tgt_in: Tensor
    """BOS and target pieces, padded. [B, T]"""
    real: Tensor
    """Which target positions are real, row by row: on a CPU as a mask [B·T], elsewhere as their numbers [N]."""
    targets: Tensor
    """Target pieces and EOS at these. [N]"""

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "_Pass":
        # All that hangs on what is padding is found out here: a GPU would have to be waited for.
        real = batch.tgt_out.ne(PAD).flatten()
        targets, mask = batch.tgt_out.flatten()[real], padding_mask(batch.src, PAD)
        if device.type == "cpu":
            return cls(batch.src, mask, batch.tgt_in, real, targets)
        src, tgt_in, numbers, targets = (
            to_device(part, device) for part in (batch.src, batch.tgt_in, real.nonzero().squeeze(1), targets)
        )
        return cls(src, None if mask is None else to_device(mask, device), tgt_in, numbers, targets)

    def at_real(self, hidden: Tensor) -> Tensor:
        """What stands at real target positions. [M·B, T, D] -> [M, N, D]"""
        rows = hidden.view(-1, self.tgt_in.numel(), hidden.size(-1))  # [M, B·T, D]
        return rows[:, self.real] if self.real.dtype == torch.bool else rows.index_select(1, self.real)


class _Task(NamedTuple):
    """What one replica does for an update."""

    parts: list[Portion]
    """One forward pass each."""
    n_tokens: int
    """Target tokens of the whole update."""
    seeds: list[int]
    """Of the dropout masks of each part."""


@dataclass(frozen=True)
class Learned:
    """What one update was made of."""

    loss_sum: Tensor | float
    """Label-smoothed cross-entropy, with R-Drop the divergence too, summed over target tokens, in nats; left on a
    GPU. []"""
    n_tokens: int
    """Target tokens, EOS included."""
    n_padding: int
    """Positions of both sides that hold no token."""
    n_positions: int
    """Positions of both sides."""

    def __add__(self, other: "Learned") -> "Learned":
        return Learned(
            self.loss_sum + other.loss_sum,
            self.n_tokens + other.n_tokens,
            self.n_padding + other.n_padding,
            self.n_positions + other.n_positions,
        )


class Learner:
    """The model while it learns, with all that an update depends on.

    Args:
        config: complete.
        vocab_size: pieces of the joint vocabulary.
        device: where the model lives.
    """

    def __init__(self, config: RunConfig, vocab_size: int, device: torch.device) -> None:
        self.training = config.training
        self.knot = Knot()
        """From where the learning rate continues."""
        self.n_forward_passes = config.n_forward_passes
        self.device = device
        torch.manual_seed(self.training.seed)
        self.model = build_model(config.model, vocab_size).to(device).train()
        self.optimizer = build_optimizer(self.model, self.training)
        self.average = Average(self.model, self.training)
        self.arithmetic = choose_arithmetic(self.training, device)
        n = 1 if self.training.compile else n_replicas(device, self.n_forward_passes * self.training.batch_tokens)
        self.sum_of_losses = (
            torch.compile(self._sum_of_losses, dynamic=True) if self.training.compile else self._sum_of_losses
        )
        self.replicas = Replicas(self.model, self._learn, n)
        """To be entered by whoever makes many updates."""
        self.checks_late = device.type == "cuda"
        """Whether the next update is under way before anybody knows how the last one went: a GPU does not wait."""
        self._unchecked: tuple[int, HostCopy] | None = None
        """Number, loss and norm of the gradient of the last update, until it is known whether they are finite."""
        self.micro_batch_tokens = self.training.micro_batch_tokens or _micro_batch_tokens(device)
        """Lowered where memory runs out, and remembered: sums in other portions round otherwise."""
        is_ragged = bool(config.data.subword_sampling) and device.type == "cpu"
        self._worth_a_pass = _WORTH_A_PASS if is_ragged else math.inf

    def update(self, portion: Portion, number: int) -> Learned:
        """Make the ``number``-th update, counted from 1, from some pairs.

        Raises:
            UserError: loss or gradient is not finite (79), with ``checks_late`` those of the update before; or memory
                is out (75). The weights are untouched.
        """
        # The step too: waking other threads for it would cost small models more than they save large ones.
        with self.replicas.one_core_each():
            return self._update(portion, number)

    def _update(self, portion: Portion, number: int) -> Learned:
        while True:
            try:
                learned = self._gradient(portion, number)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._use_less_memory(portion)
        self.check_finite()  # of the update before: this one's passes are under way already
        parameters = list(self.model.parameters())
        limit = self.training.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        loss = torch.as_tensor(learned.loss_sum, device=norm.device) / learned.n_tokens
        self._unchecked = number, HostCopy(torch.stack((loss, norm)).unsqueeze(0))
        if self.checks_late:
            # The step is left out on the GPU's own account; what came of it is asked after the next update's passes.
            self.optimizer.found_inf = (~torch.isfinite(loss + norm)).float()  # type: ignore[attr-defined]
        else:
            self.check_finite()
        rate = learning_rate(number, self.training, self.knot)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.average.after_update()
        return learned

    def check_finite(self) -> None:
        """Wait for the last update, of which nobody knows yet whether it went well.

        Raises:
            UserError: loss or gradient was not finite (79); the weights are as they were before it.
        """
        if self._unchecked is None:
            return
        (number, fetched), self._unchecked = self._unchecked, None
        loss, norm = fetched.values()[0][0].tolist()
        if not math.isfinite(loss + norm):
            raise UserError(
                f"training diverged at update {number}: loss {loss:.4g}, gradient norm {norm:.4g}",
                mend="lower training.learning_rate or raise training.warmup_updates, and start over with --overwrite",
                code=ExitCode.DIVERGED,
            )

    def _sum_of_losses(self, batch: _Pass) -> Tensor:
        """Teacher forcing: every target position is predicted at once from the real tokens to its left."""
        model, n = self.model, self.n_forward_passes
        # Dropout differs from row to row; M masks make M·B rows.
        src, tgt_in = batch.src.repeat(n, 1), batch.tgt_in.repeat(n, 1)
        src_mask = None if batch.src_mask is None else batch.src_mask.repeat(n, 1, 1, 1)  # [M·B, 1, 1, S]
        hidden = model.decode(tgt_in, model.encode(src, src_mask), src_mask)  # [M·B, T, D]
        # The vocabulary is by far the widest layer: padding never reaches it.
        real, smoothing = batch.at_real(hidden), self.training.label_smoothing  # [M, N, D]
        if n == 1:
            return output_loss(real[0], model.output, batch.targets, smoothing)
        return two_masks_loss(real, model.output, batch.targets, smoothing, self.training.r_drop)

    def _products(self) -> contextlib.AbstractContextManager[None]:
        """The library of an update's matrix products."""
        if self.arithmetic.products == "mkl":
            return contextlib.nullcontext()
        return products_by(self.arithmetic.products, self.arithmetic.precision, self.model)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.arithmetic.precision == "bf16" and self.arithmetic.products == "mkl":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _gradient(self, portion: Portion, number: int) -> Learned:
        """Accumulate the gradient of the mean loss over an update's target tokens."""
        self.optimizer.zero_grad(set_to_none=True)
        tasks = []
        for nth, share in enumerate(portion.shares(len(self.replicas))):
            parts = self._passes(share)
            # Dropout depends on nothing that came before: a resumed run needs no generator's state.
            seeds = [derived_seed(self.training.seed, number, nth, part) for part in range(len(parts))]
            tasks.append(_Task(parts, portion.n_tgt_tokens, seeds))
        learned = self.replicas.run(tasks)
        return sum(learned[1:], learned[0])

    def _passes(self, share: Portion) -> list[Portion]:
        most = max(1, self.micro_batch_tokens // self.n_forward_passes)
        return list(share.parts(most=most, saved=self._worth_a_pass / self.n_forward_passes))

    def _learn(self, task: _Task) -> Learned:
        with self._products():
            return self._learn_parts(task)

    def _learn_parts(self, task: _Task) -> Learned:
        learned = Learned(0.0, 0, 0, 0)
        for part, seed in zip(task.parts, task.seeds, strict=True):
            batch = collate(part.src, part.tgt)
            _seed_generator(self.device, seed)
            with self._autocast():
                loss_sum = self.sum_of_losses(_Pass.of(batch, self.device))
            # Divide by the tokens of the whole update: averaging each micro-batch first would make a
            # token weigh more where its micro-batch is small.
            (loss_sum / task.n_tokens).backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            n_positions = batch.src.numel() + batch.tgt_out.numel()
            loss_sum = loss_sum.detach()
            known = float(loss_sum) if self.device.type == "cpu" else loss_sum
            learned += Learned(known, batch.n_tgt_tokens, batch.n_padding, n_positions)
        return learned

    def _use_less_memory(self, portion: Portion) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        shares = portion.shares(len(self.replicas))
        if len(portion) == sum(len(self._passes(share)) for share in shares):
            raise UserError(
                "memory ran out on a single sentence pair",
                mend="free memory, or lower data.max_length or the size of the model",
                code=ExitCode.TRY_LATER,
            )
        self.micro_batch_tokens //= 2

    def state(self) -> tuple[dict[str, Tensor], int]:
        """All tensors that the next update depends on, and how much is averaged.

        Returns:
            Tensors by name, and a count for ``load_state``.
        """
        self.check_finite()
        average, n_averaged = self.average.state()
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for parameter, moments in self.optimizer.state.items():
            for key, value in moments.items():
                tensors[f"optimizer.{key}.{names[id(parameter)]}"] = value
        return tensors, n_averaged

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor], n_averaged: int) -> None:
        """Take over what ``state`` returned."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            # AdamW makes its moments with the first update; here they are made by hand.
            if f"optimizer.step.{name}" in tensors:
                moments = {key: tensors[f"optimizer.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
                # Unfused, AdamW reads the step in Python: on a GPU it would wait for it at every update.
                step_device = parameter.device if self.optimizer.defaults["fused"] else torch.device("cpu")
                self.optimizer.state[parameter] = {
                    key: tensor.to(step_device if key == "step" else parameter.device)
                    for key, tensor in moments.items()
                }
        average = {key.removeprefix("average."): t for key, t in tensors.items() if key.startswith("average.")}
        self.average.load_state(average, n_averaged)
