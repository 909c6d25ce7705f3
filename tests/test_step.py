"""An update that diverges: detected at once on a CPU, and one update late on a GPU."""

import pytest
import torch

from seq2seq.config import ModelConfig, RunConfig, TrainingConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.pass_input import PassInput
from seq2seq.training.step import TrainStep

PAIRS = TokenizedPairs([[7, 8, 9], [5]], [[7, 8], [9, 9, 9]])


@pytest.fixture
def step(monkeypatch):
    model = ModelConfig(d_model=16, d_ff=16, n_heads=2, encoder_layers=1, decoder_layers=1)
    config = RunConfig(model=model, training=TrainingConfig(max_updates=9, warmup_updates=1, averaging="none"))
    one = TrainStep(config, 20, torch.device("cpu"))
    one.checks_late = True
    return one


def weights(step: TrainStep) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in step.model.parameters()]).clone()


def goes_wrong(monkeypatch: pytest.MonkeyPatch, step: TrainStep, factor: float) -> None:
    sum_of_losses = step.sum_of_losses
    monkeypatch.setattr(step, "sum_of_losses", lambda batch: factor * sum_of_losses(batch))


@pytest.mark.parametrize("factor", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "find_out", [lambda one: one.update(PAIRS, 3), lambda one: one.state(), lambda one: one.check_finite()]
)
def test_weights_are_unchanged_until_divergence_is_detected(step, monkeypatch, factor, find_out):
    step.update(PAIRS, 1)
    before = weights(step)
    with monkeypatch.context() as patch:
        goes_wrong(patch, step, factor)
        step.update(PAIRS, 2)
    assert torch.equal(weights(step), before)
    with pytest.raises(UserError, match=r"diverged at update 2: loss (nan|inf)") as caught:
        find_out(step)
    assert caught.value.code == ExitCode.DIVERGED
    assert torch.equal(weights(step), before)


def test_late_checks_do_not_change_training(step):
    at_once = TrainStep(RunConfig(model=step.model.config, training=step.training), 20, torch.device("cpu"))
    assert not at_once.checks_late
    for number in range(1, 5):
        for one in (step, at_once):
            torch.manual_seed(number)
            one.update(PAIRS, number)
    step.check_finite()
    step.check_finite()  # nothing is left to find out
    assert torch.equal(weights(step), weights(at_once))


@pytest.mark.parametrize("n_passes", [1, 2])
def test_real_positions_by_number_are_those_by_mask(n_passes):
    """As on a GPU: counting a mask would wait for it."""
    tgt_out = torch.tensor([[5, 6, 2], [7, 2, 3]])  # 3 is padding
    hidden = torch.arange(n_passes * 6.0).view(n_passes * 2, 3, 1)
    real = tgt_out.ne(3).flatten()
    by_mask = PassInput(tgt_out, None, tgt_out, real, tgt_out.flatten()[real]).at_real(hidden)
    by_number = PassInput(tgt_out, None, tgt_out, real.nonzero().squeeze(1), tgt_out.flatten()[real]).at_real(hidden)
    assert by_mask.shape == (n_passes, 5, 1)
    assert by_mask[0].flatten().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(by_mask, by_number)
