"""A time budget: how many updates there is time for, and that a run keeps to it."""

from dataclasses import replace

import pytest

from seq2seq.config import TrainingConfig
from seq2seq.training.budget import Budget

BASE = TrainingConfig(time_budget=1000.0)


def budget(**settings: float) -> Budget:
    return Budget(**({"most_updates": 10**6, "validation_updates": 10.0, "finish": 4.0} | settings))


def simulated(
    training: TrainingConfig, keeper: Budget, seconds_an_update, *, prepared: float = 10.0, validation: float = 2.0
) -> tuple[list[TrainingConfig], int, float]:
    """A run by the clock alone: what was settled, the updates made, and when all was over."""
    now, update, settled = prepared, 0, []
    while training.max_updates is None or update < training.max_updates:
        seconds = seconds_an_update(update)
        now += seconds
        update += 1
        keeper.learned(now)
        found = keeper.settle(training, update, now)
        if found is not None:
            training = found
            settled.append(found)
        if (training.valid_every and update % training.valid_every == 0) or update == training.max_updates:
            now += validation
            keeper.validated(validation)
    return settled, update, now + keeper.finish + 4 * validation


@pytest.mark.parametrize("seconds", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("total", [200.0, 1000.0, 10_000.0])
def test_a_run_ends_when_its_time_is_over(seconds, total):
    _, _, end = simulated(replace(BASE, time_budget=total), budget(), lambda _: seconds)
    assert (0.95 if total > 200 else 0.75) * total - 2 * seconds < end <= 1.002 * total + seconds + 2


def test_the_first_updates_and_validations_do_not_count():
    """They are slower than all others: 30 s and 3 s in place of 0.5 s."""
    settled, _, end = simulated(BASE, budget(), lambda update: (30.0, 3.0)[update] if update < 2 else 0.5)
    assert 950 < end <= 1001
    assert settled[0].max_updates == pytest.approx(settled[1].max_updates, rel=0.05)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_machine_that_changes_its_speed_early_is_followed(factor):
    """By half of the updates there is still time to mend it."""
    _, _, end = simulated(BASE, budget(), lambda update: 0.5 if update < 200 else 0.5 * factor)
    assert 850 < end <= 1100


def test_it_is_settled_early_and_once_more_where_the_rate_begins_to_fall():
    asked = []

    class Watched(Budget):
        def settle(self, training, update, elapsed):
            found = super().settle(training, update, elapsed)
            if found is not None:
                asked.append((update, elapsed))
            return found

    training = replace(BASE, cooldown=0.25)
    keeper = Watched(most_updates=10**6, validation_updates=10.0, finish=4.0)
    _, updates, _ = simulated(training, keeper, lambda _: 0.5)
    (first, early), (second, _) = asked
    assert early < 0.07 * 1000
    assert first < 0.07 * updates
    assert second == pytest.approx(0.75 * updates, rel=0.05)


def test_validations_take_a_small_share_but_there_are_some():
    for validation, least, most in ((0.1, 18, 20), (5.0, 5, 12), (60.0, 1, 3)):
        settled, updates, _ = simulated(
            BASE, budget(validation_updates=validation / 0.5), lambda _: 0.5, validation=validation
        )
        assert least <= updates // settled[-1].valid_every <= most + 1


def test_cadences_that_are_given_are_kept():
    settled, updates, end = simulated(replace(BASE, valid_every=100, save_every=7), budget(), lambda _: 0.5)
    assert {(s.valid_every, s.save_every) for s in settled} == {(100, 7)}
    assert 950 < end <= 1001
    assert updates > 1500


@pytest.mark.parametrize("most", [50, 300, 1500])
def test_more_passes_than_pay_are_not_made(most):
    """Nor fewer validations, and the rate falls as it would have."""
    settled, updates, end = simulated(BASE, budget(most_updates=most), lambda _: 0.5)
    assert updates == most == settled[0].max_updates
    assert end < 1000 * (most + 300) / 1500
    assert 8 <= updates // settled[0].valid_every <= 20


def test_time_that_is_over_before_the_first_update_still_leaves_a_model():
    settled, updates, _ = simulated(BASE, budget(), lambda _: 0.5, prepared=2000.0)
    assert updates == 1
    assert settled[0].max_updates == settled[0].valid_every == settled[0].save_every == 1


def test_without_a_budget_nothing_is_settled():
    keeper = budget()
    for update in range(1, 100):
        keeper.learned(update * 0.5)
        assert keeper.settle(TrainingConfig(), update, update * 0.5) is None
    assert keeper.state.times_set == 0


def test_a_run_that_goes_on_keeps_to_what_was_settled():
    """Only the speed is measured anew, for the second time."""
    first = budget()
    for update in range(1, 121):
        first.learned(10.0 + update * 0.5)
    settled = first.settle(BASE, 120, 70.0)
    again = budget(state=first.state)
    again.validated(2.0)
    for update in range(121, 140):
        again.learned(80.0 + update)
        assert again.settle(settled, update, 80.0 + update) is None
    assert again.settle(settled, settled.max_updates // 2 + 1, 500.0) is not None
    assert again.settle(settled, settled.max_updates // 2 + 2, 501.0) is None
