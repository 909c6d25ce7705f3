"""The length of training, and which of several limits decides."""

import itertools
from dataclasses import replace

import pytest
import torch

from seq2seq.config import Layer, RunConfig, build, merge
from seq2seq.errors import ExitCode, UserError, duration
from seq2seq.training import length
from seq2seq.training.arithmetic import Arithmetic
from seq2seq.training.length import keep_one_limit, kind_of, measured_rate, resolve_length
from seq2seq.training.recipe import Statistics, speed

CPU = torch.device("cpu")


def configured(**training: object) -> RunConfig:
    return build({"training": training}, where="here")


@pytest.mark.parametrize(
    ("limits", "updates"),
    [
        ({}, 21),  # 7 usual passes of 3 updates
        ({"max_epochs": 2}, 6),
        ({"max_updates": 5}, 5),
        ({"max_updates": 100}, 100),
        ({"max_updates": 100, "max_epochs": 2}, 6),
    ],
)
def test_the_usual_number_of_epochs_is_used_without_a_limit(limits, updates):
    training = resolve_length(configured(**limits), 7.0, 3).training
    assert (training.max_updates, training.valid_every, training.save_every) == (updates, updates, updates)


@pytest.mark.parametrize(
    ("an_epoch", "passes", "every"),
    [
        (16, 30, 100),  # not more often than each 100 updates
        (16, 500, 200),  # nor than 40 times
        (700, 40, 700),  # once an epoch
        (5000, 10, 2000),
    ],
)
def test_validations_come_about_once_an_epoch(an_epoch, passes, every):
    assert resolve_length(RunConfig(), passes, an_epoch).training.valid_every == every
    assert resolve_length(configured(valid_every=7), passes, an_epoch).training.valid_every == 7


def test_the_speed_is_a_fraction_of_that_of_matrix_products():
    assert 1e8 < measured_rate(RunConfig(), CPU) < 1e13


def test_bf16_makes_the_guess_higher_by_what_was_measured(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(length.time, "perf_counter", lambda: float(next(ticks)))
    rates = {}
    for precision in ("fp32", "bf16"):
        monkeypatch.setattr(length, "choose_arithmetic", lambda *_, p=precision: Arithmetic(precision=p))
        rates[precision] = measured_rate(RunConfig(), CPU)
    assert rates["fp32"] == pytest.approx(0.4 * 2 * 1024**3)
    assert rates["bf16"] == pytest.approx(1.4 * rates["fp32"])


def test_the_speed_follows_the_arithmetic():
    """Model R costs 44.5 MFLOP a target token if a source is as long as its target."""
    config, even = RunConfig(), Statistics(50, 1000, 1000)
    of_r = speed(config, even, 8000, "cpu", 80e9)
    assert of_r == pytest.approx(80e9 / 44.5e6, rel=0.05)
    assert speed(configured(r_drop=1.0), even, 8000, "cpu", 80e9) == pytest.approx(of_r / 2)
    wide = replace(config, model=replace(config.model, d_model=512, d_ff=2048))
    assert 2 < of_r / speed(wide, even, 8000, "cpu", 80e9) < 4
    assert speed(config, even, 8000, "gpu", 1e18) == pytest.approx(4096 / 0.024)


def test_the_kind_of_device_is_cuda_or_not():
    assert [kind_of(torch.device(name)) for name in ("cpu", "cuda", "cuda:1", "mps")] == ["cpu", "gpu", "gpu", "cpu"]


def test_with_a_time_budget_the_length_stays_open():
    timed = replace(RunConfig(), training=replace(RunConfig().training, time_budget=60.0))
    assert resolve_length(timed, 7.0, 3) == timed
    with_updates = replace(timed, training=replace(timed.training, max_updates=9))
    assert resolve_length(with_updates, 7.0, 3).training.valid_every == 9


TIME: Layer = {"training": {"time_budget": 60.0}}
UPDATES: Layer = {"training": {"max_updates": 5}}
EPOCHS: Layer = {"training": {"max_epochs": 2}}
SEED: Layer = {"training": {"seed": 3}, "model": {"d_model": 64}}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([TIME], (None, None, 60.0)),
        ([UPDATES, EPOCHS], (5, 2, None)),
        ([UPDATES, TIME], (None, None, 60.0)),
        ([EPOCHS, SEED, TIME], (None, None, 60.0)),
        ([TIME, UPDATES], (5, None, None)),
        ([TIME, SEED, EPOCHS], (None, 2, None)),
        ([UPDATES, TIME, EPOCHS], (5, 2, None)),
        ([], (None, None, None)),
    ],
)
def test_the_later_layer_decides_between_time_and_updates(layers, expected):
    config = build(merge(keep_one_limit(layers)), where="here")
    assert (config.training.max_updates, config.training.max_epochs, config.training.time_budget) == expected
    if SEED in layers:
        assert (config.training.seed, config.model.d_model) == (3, 64)


def test_time_and_updates_in_one_layer_are_refused():
    with pytest.raises(UserError, match="a time budget sets the number of updates") as caught:
        keep_one_limit([SEED, {"training": {"time_budget": 60.0, "max_epochs": 2}}])
    assert caught.value.code == ExitCode.USAGE


def test_durations_in_words():
    assert [duration(s) for s in (45, 91, 2700, 5399, 5400, 12_600)] == [
        "45 s", "2 min", "45 min", "90 min", "1.5 h", "3.5 h",
    ]  # fmt: skip
