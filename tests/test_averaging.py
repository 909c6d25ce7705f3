"""Averaged weights: computed by hand, and resumed."""

import pytest
import torch
from torch import nn

from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.model import build_model
from seq2seq.training.averaging import Average as AverageOfWeights
from seq2seq.training.weights import FlatWeights


def Average(model: nn.Module, config: TrainingConfig) -> AverageOfWeights:  # noqa: N802  # as the class
    """The average of a model's weights."""
    return AverageOfWeights(FlatWeights(model), config)


class One(nn.Module):
    """A single weight."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([value]))

    def become(self, value: float) -> None:
        with torch.no_grad():
            self.w.fill_(value)


def averaged(average: Average) -> float:
    return average.weights()["w"].item()


def test_ema_by_hand():
    """It starts from the initial weights, with a decay of (1 + n) / (10 + n) until that is the larger one."""
    model = One(1.0)
    average = Average(model, TrainingConfig(averaging="ema", ema_decay=0.2))
    assert averaged(average) == 1.0
    expected = 1.0
    for value, decay in ((3.0, 2 / 11), (-1.0, 0.2), (5.0, 0.2)):
        model.become(value)
        average.after_update()
        expected = decay * expected + (1 - decay) * value
        assert averaged(average) == pytest.approx(expected)
    assert model.w.item() == 5.0


def test_ema_with_a_long_decay_is_short_at_first():
    model = One(0.0)
    average = Average(model, TrainingConfig(averaging="ema", ema_decay=0.999))
    model.become(1.0)
    left = 1.0
    for n in range(1, 21):
        average.after_update()
        left *= (1 + n) / (10 + n)
        assert averaged(average) == pytest.approx(1 - left)


def test_ema_does_not_depend_on_validations():
    average = Average(One(1.0), TrainingConfig(averaging="ema"))
    average.at_validation(5)
    tensors, n_updates = average.state()
    assert set(tensors) == {"ema.w"}
    assert n_updates == 0


def test_the_mean_of_the_last_few_by_hand():
    model = One(7.0)
    average = Average(model, TrainingConfig(averaging="last", average_last=3))
    assert averaged(average) == 7.0  # none yet: as trained
    for update, value, expected in ((10, 1.0, 1.0), (20, 2.0, 1.5), (30, 6.0, 3.0), (40, 4.0, 4.0), (50, 8.0, 6.0)):
        model.become(value)
        average.after_update()
        average.at_validation(update)
        assert averaged(average) == pytest.approx(expected)
    model.become(100.0)  # between validations nothing is taken
    average.after_update()
    assert averaged(average) == pytest.approx(6.0)


def test_a_repeated_validation_is_averaged_once():
    """A run that is interrupted during a validation repeats it."""
    model = One(1.0)
    average = Average(model, TrainingConfig(averaging="last", average_last=2))
    average.at_validation(10)
    model.become(3.0)
    average.at_validation(20)
    average.at_validation(20)
    assert averaged(average) == pytest.approx(2.0)


def test_none_is_the_weights_themselves():
    model = One(1.0)
    average = Average(model, TrainingConfig(averaging="none"))
    model.become(4.0)
    average.after_update()
    average.at_validation(1)
    assert average.weights()["w"].data_ptr() == model.w.data_ptr()
    assert average.state() == ({}, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_the_mean_does_not_depend_on_the_order_of_tensors_in_a_file(order):
    """Sums of floating-point numbers do."""
    config = TrainingConfig(averaging="last", average_last=4)
    model = One(0.0)
    whole = Average(model, config)
    for update, value in enumerate((1e8, 1.0, -1e8, 2.0)):
        model.become(value)
        whole.at_validation(update)
    tensors, n_updates = whole.state()
    resumed = Average(One(2.0), config)
    resumed.load_state(dict(list(tensors.items())[::order]), n_updates)
    assert averaged(resumed) == averaged(whole)


@pytest.mark.parametrize("averaging", ["ema", "last", "none"])
def test_a_resumed_average_equals_an_uninterrupted_one(averaging):
    config = TrainingConfig(averaging=averaging, ema_decay=0.9, average_last=2)

    def live(model: One, average: Average, updates: range) -> None:
        for update in updates:
            model.become(float(update**2))
            average.after_update()
            if update % 2 == 0:
                average.at_validation(update)

    whole_model = One(-1.0)
    whole = Average(whole_model, config)
    live(whole_model, whole, range(1, 12))

    model = One(-1.0)
    before = Average(model, config)
    live(model, before, range(1, 8))
    tensors, n_updates = before.state()
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    model = One(float(7**2))
    after = Average(model, config)
    after.load_state(saved, n_updates)
    assert averaged(after) == averaged(before)
    live(model, after, range(8, 12))
    assert averaged(after) == averaged(whole)
    assert after.state()[1] == whole.state()[1]
    assert after.state()[0].keys() == whole.state()[0].keys()


@pytest.mark.parametrize("averaging", ["ema", "last", "none"])
def test_the_averages_of_a_model_fit_it(averaging):
    """Tied matrices are averaged once, and the result can replace the model's own weights."""
    shape = {"d_model": 8, "d_ff": 8, "n_heads": 1, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    torch.manual_seed(0)
    model = build_model(ModelConfig(**shape), 9)
    average = Average(model, TrainingConfig(averaging=averaging))
    average.at_validation(1)
    before = {name: tensor.clone() for name, tensor in average.weights().items()}
    assert before.keys() == dict(model.named_parameters()).keys()
    other = build_model(ModelConfig(**shape), 9)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(average.weights()[name])
    inputs = torch.tensor([[5, 6, 2]]), None, torch.tensor([[1, 7]])
    torch.testing.assert_close(other(*inputs), model(*inputs))
    # Further training changes the model but not the average, which shares no memory with it.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    unchanged = all(torch.equal(tensor, before[name]) for name, tensor in average.weights().items())
    assert unchanged == (averaging != "none")
