"""The learning rate at the updates that matter, and which weights decay."""

import itertools
from dataclasses import replace

import pytest
import torch

from seq2seq.config import ModelConfig, TrainingConfig
from seq2seq.model import build_model
from seq2seq.training.optimizer import Optimizer
from seq2seq.training.schedule import knot_at, learning_rate
from seq2seq.training.state import Knot
from seq2seq.training.weights import FlatWeights


def rates(*updates: int, **settings: object) -> list[float]:
    config = TrainingConfig(**({"learning_rate": 2.0} | settings))
    return [learning_rate(update, config) for update in updates]


def test_inverse_square_root():
    settings = {"schedule": "inverse_sqrt", "warmup_updates": 100}
    found = rates(1, 25, 99, 100, 101, 400, 10_000, **settings)
    assert found == pytest.approx([0.02, 0.5, 1.98, 2.0, 2.0 * (100 / 101) ** 0.5, 1.0, 0.2])


def test_inverse_square_root_is_that_of_the_paper():
    """d_model^-0.5 · min(update^-0.5, update · warmup^-1.5), up to the peak that it implies."""
    warmup, d_model = 4000, 512
    peak = (d_model * warmup) ** -0.5
    for update in (1, 2000, 4000, 4001, 100_000):
        paper = d_model**-0.5 * min(update**-0.5, update * warmup**-1.5)
        assert rates(update, schedule="inverse_sqrt", warmup_updates=warmup, learning_rate=peak) == pytest.approx(
            [paper]
        )


def test_hold_and_cool_down():
    settings = {"schedule": "hold_cooldown", "warmup_updates": 10, "max_updates": 100, "cooldown": 0.4}
    updates = [1, 5, 9, 10, 11, 60, 61, 62, 81, 100, 101, 150]
    expected = [0.2, 1.0, 1.8, 2.0, 2.0, 2.0, 2.0, 1.95, 1.0, 0.05, 0.0, 0.0]
    assert rates(*updates, **settings) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["hold_cooldown", "inverse_sqrt"])
def test_the_rate_rises_once_and_falls_once(schedule):
    found = rates(*range(1, 1001), schedule=schedule, warmup_updates=100, max_updates=1000)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert max(found) == 2.0
    assert min(found) > 0
    assert max(abs(a - b) for a, b in itertools.pairwise(found)) < 0.025  # no jumps


@pytest.mark.parametrize("schedule", ["hold_cooldown", "inverse_sqrt"])
def test_a_short_run_warms_up_over_a_fifth(schedule):
    assert rates(1, 10, 20, schedule=schedule, warmup_updates=4000, max_updates=100) == pytest.approx([0.1, 1.0, 2.0])


@pytest.mark.parametrize("schedule", ["hold_cooldown", "inverse_sqrt"])
@pytest.mark.parametrize(("warmup", "most"), [(0, 100), (1, 100), (0, 1), (4000, 1), (4000, 4)])
def test_the_first_update_of_the_shortest_runs_has_the_full_rate(schedule, warmup, most):
    assert rates(1, schedule=schedule, warmup_updates=warmup, max_updates=most) == [2.0]


def test_without_an_end_there_is_no_cool_down():
    assert rates(3, schedule="hold_cooldown", warmup_updates=6) == [1.0]
    assert rates(6, 7, 10**6, schedule="hold_cooldown", warmup_updates=6) == [2.0, 2.0, 2.0]


FROM_HERE = [
    # Hold: the plan continues, at 30 of 100 updates or of 200.
    (("hold_cooldown", 10), (30, 100, 200), [30, 31, 100, 150, 200], [1.0, 1.0, 1.0, 51 / 100, 0.01]),
    # Falling: in a straight line to the new end, earlier or later, and never up again.
    (("hold_cooldown", 10), (76, 100, 151), [76, 77, 114, 151], [0.5, 0.5 * 75 / 76, 0.25, 0.5 / 76]),
    (("hold_cooldown", 10), (76, 100, 80), [76, 77, 80], [0.5, 0.4, 0.1]),
    # The new end is so near that the fall begins at once.
    (("hold_cooldown", 10), (30, 100, 33), [30, 31, 33], [1.0, 0.75, 0.25]),
    # Warming up: from the current rate with the slope of the new length.
    (("hold_cooldown", 100), (40, 1000, 250), [40, 41, 70, 100], [0.4, 0.42, 1.0, 1.0]),
    (("hold_cooldown", 1000), (4, 10_000, 100), [4, 5, 8, 9, 10], [0.004, 0.008, 0.064, 0.064 + 1 / 20, 0.164]),
    (("inverse_sqrt", 100), (40, 1000, 250), [40, 41, 70, 280], [0.4, 0.42, 1.0, 0.5]),
    (("inverse_sqrt", 100), (400, 1000, 250), [400, 401, 1600], [0.5, 0.5 * (400 / 401) ** 0.5, 0.25]),
]


@pytest.mark.parametrize(("kind", "change", "updates", "expected"), FROM_HERE)
def test_another_length_changes_the_rate_without_a_jump(kind, change, updates, expected):
    """An update, the number of updates that was planned before, and the new number."""
    schedule, warmup = kind
    at, before, after = change
    config = TrainingConfig(schedule=schedule, warmup_updates=warmup, learning_rate=1.0, max_updates=before)
    knot = knot_at(at, config, Knot())
    changed = replace(config, max_updates=after)
    assert [learning_rate(update, changed, knot) for update in updates] == pytest.approx(expected)
    again = knot_at(updates[1], changed, knot)
    assert [learning_rate(update, changed, again) for update in updates[1:]] == pytest.approx(expected[1:])


def test_a_rate_that_may_rise_again_does_so_without_a_jump():
    """If a user extends the run after its end, it reaches the peak again."""
    config = TrainingConfig(warmup_updates=20, learning_rate=1.0, max_updates=100, cooldown=0.5)
    knot = replace(knot_at(100, config, Knot()), falling=False)
    found = [learning_rate(update, replace(config, max_updates=300), knot) for update in range(100, 301)]
    assert found[0] == learning_rate(100, config)
    assert max(b / a for a, b in itertools.pairwise(found)) <= 2.0
    assert (max(found), found.index(1.0) < 30) == (1.0, True)
    assert found[-1] < 0.01


SHAPE = {"d_model": 8, "d_ff": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1}


def step(gradient: float, **settings: object) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """All parameters before and after one update with equal gradients."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(attention="bilinear", positions="learned", max_positions=4, **SHAPE), 12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    weights = FlatWeights(model)
    optimizer = Optimizer(weights, TrainingConfig(clip_norm=0.0, **settings))
    weights.gradient.fill_(2 * gradient)
    optimizer.step(0.1, optimizer.gradient_norm(2.0), 2.0)
    return {name: (before[name], p.detach()) for name, p in model.named_parameters()}


def test_matrices_decay_and_vectors_do_not():
    shrunk = set()
    for name, (before, after) in step(0.0, weight_decay=0.5).items():
        if torch.equal(before, after):
            assert name.endswith(("bias", "norm.weight")), name
        else:
            torch.testing.assert_close(after, before * (1 - 0.1 * 0.5))
            shrunk.add(name)
    names = step(0.0, weight_decay=0.5).keys()
    assert shrunk == {n for n in names if not n.endswith(("bias", "norm.weight"))}
    assert {"src_embedding.weight", "src_positions.weight", "encoder.0.self_attention.score.weight"} <= shrunk


def test_every_parameter_is_updated_once():
    """Adam's first step has the size of the learning rate. A tied matrix is updated once."""
    for gradient in (1e-3, 5.0):
        for before, after in step(gradient, weight_decay=0.0).values():
            torch.testing.assert_close(after, before - 0.1, rtol=1e-4, atol=1e-4)


def test_betas_are_those_of_the_configuration():
    model = torch.nn.Linear(2, 2)
    optimizer = Optimizer(FlatWeights(model), TrainingConfig(betas=(0.5, 0.75)))
    assert [group["betas"] for group in optimizer.adamw.param_groups] == [(0.5, 0.75)] * 2
