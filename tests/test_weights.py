"""Flat weights: five updates are those of PyTorch's AdamW on separate parameters, in each precision."""

import sys
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from seq2seq.batching import collate
from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import ARCHITECTURES, build_model
from seq2seq.training import loss_scale
from seq2seq.training.arithmetic import Arithmetic
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.loss import smoothed_cross_entropy
from seq2seq.training.loss_scale import LossScale
from seq2seq.training.optimizer import Optimizer
from seq2seq.training.parallel import Ranks
from seq2seq.training.parallel.forked import ForkedReplicas
from seq2seq.training.pass_input import PassInput
from seq2seq.training.step import TrainStep
from seq2seq.training.weights import FlatWeights

CPU = torch.device("cpu")
V = 60
MODEL = ModelConfig(d_model=16, d_ff=24, n_heads=2, encoder_layers=1, decoder_layers=2, dropout=0.0)
TRAINING = TrainingConfig(
    batch_tokens=64,
    max_updates=9,
    warmup_updates=2,
    learning_rate=1e-2,
    weight_decay=0.1,
    clip_norm=0.5,
    precision="fp32",
)
PRECISIONS = {p: Arithmetic(precision=p) for p in ("fp32", "bf16", "fp16")}


def pairs_of(number: int, n: int = 12) -> TokenizedPairs:
    random = torch.Generator().manual_seed(number)

    def side() -> list[list[int]]:
        return [
            torch.randint(4, V, (length,), generator=random).tolist()
            for length in torch.randint(1, 9, (n,), generator=random)
        ]

    return TokenizedPairs(side(), side())


def make_step(precision: str = "fp32", model: ModelConfig = MODEL, **training: object) -> TrainStep:
    config = RunConfig(model=model, training=replace(TRAINING, **training))
    return TrainStep(config, V, CPU, arithmetic=PRECISIONS[precision])


class Plain:
    """The same updates in a straightforward way: a gradient for each parameter, PyTorch's loss, clipping and AdamW."""

    def __init__(self, training: TrainingConfig) -> None:
        torch.manual_seed(training.seed)
        self.model = build_model(MODEL, V).train()
        self.training = training
        groups = [
            {"params": [p for p in self.model.parameters() if p.dim() > 1], "weight_decay": training.weight_decay},
            {"params": [p for p in self.model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=0.0, betas=training.betas, eps=1e-9)

    def update(self, pairs: TokenizedPairs, rate: float) -> float:
        batch = PassInput.from_batch(collate(pairs.src, pairs.tgt), CPU)
        logits = self.model.output(batch.at_real(self.model.hidden(batch.src, batch.src_mask, batch.tgt_in))[0])
        loss = smoothed_cross_entropy(logits, batch.targets, self.training.label_smoothing) / len(batch.targets)
        self.adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        return loss.item()


def weights_after(step: TrainStep, updates: range) -> torch.Tensor:
    for number in updates:
        step.update(pairs_of(number), number)
    step.check_finite()
    return step.weights.trained.clone()


def without_key_biases(named: Iterable[tuple[str, torch.Tensor]]) -> torch.Tensor:
    """Weights in a row. The gradient of a bias of keys is 0, and Adam moves it by rounding errors."""
    d = MODEL.d_model
    found = []
    for name, tensor in named:
        if name.endswith("in_proj.bias"):
            found += [tensor[:d], tensor[2 * d :]]
        elif name.endswith("kv_proj.bias"):
            found += [tensor[d:]]
        else:
            found += [tensor.flatten()]
    return torch.cat(found).detach()


def test_five_updates_are_those_of_separate_parameters():
    step, plain = make_step(), Plain(TRAINING)
    for number in range(1, 6):
        stats = step.update(pairs_of(number), number)
        rate = step.optimizer.adamw.param_groups[0]["lr"]
        assert rate > 0
        assert stats.loss_sum / stats.n_tokens == pytest.approx(plain.update(pairs_of(number), rate), rel=1e-6)
    found, expected = (without_key_biases(model.named_parameters()) for model in (step.model, plain.model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_resumed_updates_are_the_same_bits(precision):
    whole = weights_after(make_step(precision), range(1, 6))
    first = make_step(precision)
    weights_after(first, range(1, 4))
    tensors, n_averaged = first.state()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = make_step(precision, seed=2)
    resumed.load_state(saved, n_averaged)
    assert torch.equal(weights_after(resumed, range(4, 6)), whole)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_gradient_in_half_of_the_bits_is_nearly_that_in_fp32(architecture, precision):
    model = replace(MODEL, architecture=architecture)
    exact, rounded = make_step(model=model), make_step(precision, model)
    assert {p.dtype for p in rounded.model.parameters()} == {rounded.arithmetic.dtype}
    assert rounded.weights.trained.dtype == torch.float32
    gradients = []
    for step in (exact, rounded):
        stats = step._gradient(pairs_of(1), 1)
        scale = 1.0 if step.loss_scale is None else step.loss_scale.value
        gradients.append(step.weights.gradient / scale / stats.n_tokens)
        assert torch.equal(step.weights.computed, step.weights.trained.to(step.arithmetic.dtype))
    assert 0 < (gradients[1] - gradients[0]).norm() < 0.05 * gradients[0].norm()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_small_changes_are_not_lost_to_rounding(precision):
    """A hundred steps that bf16 could not tell from none."""
    weights = FlatWeights(nn.Linear(1, 1, bias=False), PRECISIONS[precision].dtype)
    weights.trained.fill_(1.0)
    optimizer = Optimizer(weights, TrainingConfig(weight_decay=0.0))
    for _ in range(100):
        weights.gradient.fill_(-1.0)
        optimizer.step(1e-3, optimizer.gradient_norm(1.0), 1.0)
    assert weights.trained.item() == pytest.approx(1.1, rel=1e-3)
    assert weights.parameters[0].item() == pytest.approx(1.1, rel=1e-2)


def test_an_update_is_skipped_by_the_device():
    step = make_step()
    before = step.weights.trained.clone()
    step.weights.gradient.fill_(1.0)
    step.optimizer.step(0.1, torch.tensor(1.0), 1.0, torch.tensor(1.0))
    assert torch.equal(step.weights.trained, before)
    step.weights.gradient.fill_(1.0)
    step.optimizer.step(0.1, torch.tensor(1.0), 1.0, torch.tensor(0.0))
    assert not torch.equal(step.weights.trained, before)


def test_unfused_steps_are_the_same():
    """As on MPS, which has no kernel that divides and skips."""
    found = []
    for is_fused in (True, False):
        step = make_step()
        if not is_fused:
            step.optimizer._is_fused = False
            for group in step.optimizer.adamw.param_groups:
                group["fused"] = False
        after = weights_after(step, range(1, 6))
        found.append(without_key_biases(step.model.named_parameters()))
        step.optimizer.step(0.1, torch.tensor(1.0), 1.0, torch.tensor(1.0))
        assert torch.equal(step.weights.trained, after)
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_matrices_lie_in_front_and_are_aligned():
    model = build_model(MODEL, V)
    weights = FlatWeights(model)
    assert weights.matrices.numel() == sum(p.numel() for p in model.parameters() if p.dim() > 1)
    start = weights.trained.data_ptr()
    for parameter in model.parameters():
        assert start <= parameter.data_ptr() < start + weights.trained.nbytes
        if parameter.numel() % 16 == 0 and parameter.dim() > 1:
            assert (parameter.data_ptr() - start) % 64 == 0
    assert len(weights) == sum(p.numel() for p in model.parameters())  # tied matrices once


# Memory and precision at the size of large models ---------------------------------------------------


class Largest(TorchDispatchMode):
    """A context that knows the largest tensor that was made inside of it."""

    n_bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not operation.is_view:
            self.n_bytes = max(self.n_bytes, result.nbytes)
        return result


def test_a_checkpoint_copies_neither_the_weights_nor_their_averages():
    step = make_step()
    weights_after(step, range(1, 3))
    with Largest() as made:
        tensors, _ = step.state()
    assert made.n_bytes <= 4  # the number of steps
    exp_avg = step.optimizer.adamw.state[step.weights.vectors]["exp_avg"]
    name = step.weights.names[-1]
    assert tensors[f"optimizer.exp_avg.{name}"].data_ptr() == exp_avg[-tensors[f"model.{name}"].numel() :].data_ptr()


def test_ranks_compare_their_weights_without_a_copy_of_all():
    class TwoRanks(Ranks):
        def gather(self, make):
            return [make(), make()]

    step = make_step()
    step._ranks = TwoRanks()
    step._ranks.n = 2
    with Largest() as made:
        step.agree()
    largest = max(parameter.numel() for parameter in step.weights.parameters)
    assert made.n_bytes == 8 * largest < step.weights.trained.nbytes


def test_the_mean_of_the_last_weights_takes_the_memory_of_one():
    step = make_step(averaging="last")
    for update in range(4):
        step.weights.trained.fill_(float(update))
        step.average.at_validation(update)
    with Largest() as made:
        found = step.average.weights()
    assert {tensor.unique().item() for tensor in found.values()} == {1.5}
    assert made.n_bytes == step.weights.trained.nbytes


def test_the_norm_of_ten_million_values_is_exact():
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(10_000_000))
    weights = FlatWeights(module)
    weights.gradient.normal_(generator=torch.Generator().manual_seed(1))
    norm = Optimizer(weights, TrainingConfig()).gradient_norm(2.0)
    assert norm.item() == pytest.approx(weights.gradient.double().norm().item() / 2, rel=1e-5)


# The loss scale -------------------------------------------------------------------------------------


def test_the_loss_scale_is_halved_by_an_overflow_and_doubled_after_many_updates(monkeypatch):
    monkeypatch.setattr(loss_scale, "UPDATES_TO_DOUBLE", 3)
    scale = LossScale(4096, CPU)
    assert scale.value == 16.0
    values = []
    for overflowed in (0, 0, 1, 0, 0, 0, 0, 0, 0, 1):
        scale.after_update(torch.tensor(float(overflowed)))
        values.append(scale.value.item())
    assert values == [16, 16, 8, 8, 8, 16, 16, 16, 32, 16]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one replica")
def test_other_processes_know_the_loss_scale_of_each_update():
    gradients = []
    for n in (1, 2):
        step = make_step("fp16")
        with ForkedReplicas(step.weights, step._forward_backward, n) as step.replicas:
            assert len(step.replicas) == n
            step.update(pairs_of(1), 1)
            step.loss_scale.value /= 4.0
            step._gradient(pairs_of(2), 2)
            gradients.append(step.weights.gradient.clone())
    torch.testing.assert_close(*gradients, rtol=0, atol=0.02 * gradients[0].abs().max().item())


def test_a_resumed_run_in_fp16_has_the_loss_scale_of_its_checkpoint():
    first, resumed = make_step("fp16"), make_step("fp16")
    first.loss_scale.after_update(torch.tensor(1.0))
    first.loss_scale.after_update(torch.tensor(0.0))
    resumed.load_state(*first.state())
    assert resumed.loss_scale.state() == first.loss_scale.state() == {"value": 512.0, "n_finite": 1.0}


def test_an_overflow_in_fp16_skips_the_update_and_training_goes_on():
    step = make_step("fp16", max_updates=100)
    step.loss_scale.value.fill_(2.0**30)
    before = step.weights.trained.clone()
    for number in range(1, 31):
        step.update(pairs_of(1), number)
        if not torch.equal(step.weights.trained, before):
            break
    assert 5 < number < 29
    assert step.loss_scale.value == 2.0 ** (31 - number)
    assert step.weights.trained.isfinite().all()


def test_overflows_without_end_are_a_divergence(monkeypatch):
    step = make_step("fp16")
    real = step.weights.add_gradient

    def overflow(loss_sum: torch.Tensor) -> None:
        real(loss_sum)
        step.weights.gradient[3] = torch.inf

    monkeypatch.setattr(step.weights, "add_gradient", overflow)
    before = step.weights.trained.clone()
    with pytest.raises(UserError, match="diverged at update 25: loss 4") as caught:  # noqa: PT012
        for number in range(1, 40):
            step.update(pairs_of(1), number)
    assert caught.value.code == ExitCode.DIVERGED
    assert torch.equal(step.weights.trained, before)


def test_a_loss_that_is_not_finite_is_a_divergence_at_once_in_fp16(monkeypatch):
    step = make_step("fp16")
    real = step.sum_of_losses
    monkeypatch.setattr(step, "sum_of_losses", lambda batch: real(batch) * torch.nan)
    with pytest.raises(UserError, match="diverged at update 1: loss nan"):
        step.update(pairs_of(1), 1)
