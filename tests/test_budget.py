"""A time budget: the number of updates that fit into it, and that a run ends in time."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from seq2seq.config import TrainingConfig
from seq2seq.training.budget import Budget
from seq2seq.training.schedule import knot_at, learning_rate
from seq2seq.training.state import BudgetState, Knot

TOTAL = 1000.0
BASE = TrainingConfig(time_budget=TOTAL)


def budget(**settings: object) -> Budget:
    return Budget(**({"max_useful_updates": 10**6, "expected_validation": 3.0, "finish": 4.0} | settings))  # type: ignore[arg-type]


@dataclass
class Simulated:
    """The result of a simulated run."""

    training: TrainingConfig
    lengths: list[tuple[int, float, TrainingConfig]] = field(default_factory=list)
    """Update, time, and what was set."""
    rates: list[float] = field(default_factory=list)
    validated: list[int] = field(default_factory=list)
    end: float = 0.0

    @property
    def updates(self) -> int:
        return len(self.rates)


def simulated(
    training: TrainingConfig,
    keeper: Budget,
    seconds_an_update,
    *,
    prepared: float = 10.0,
    validation=lambda update: 2.0,
    last_knot: bool = True,
) -> Simulated:
    """Simulate a run; two functions of the update give the seconds of updates and validations."""
    run, now, update, validated, knot = Simulated(training), prepared, 0, 0, Knot()
    keeper.start(now)

    def correct_length():
        nonlocal knot
        found = keeper.set_length(run.training, update, now, validated)
        if found is not None:
            knot = knot_at(update, run.training, knot) if last_knot else knot
            run.training = found
            run.lengths.append((update, now, found))

    def is_due():
        every, last = run.training.valid_every, run.training.max_updates
        passed = every and (update - validated >= every if keeper.sets_cadence else update % every == 0)
        return update > validated and (passed or (last and update >= last))

    while run.training.max_updates is None or update < run.training.max_updates:
        now += seconds_an_update(update)
        update += 1
        run.rates.append(learning_rate(update, run.training, knot))
        keeper.after_update(now)
        if not is_due():
            correct_length()
        if is_due():
            now += validation(update)
            keeper.after_validation(validation(update))
            run.validated.append(update)
            validated = update
            correct_length()
    total = training.time_budget or TOTAL
    search = min(keeper.seconds_to_search(total, now + keeper.finish), keeper.search_validations * validation(update))
    run.end = now + search + keeper.finish
    return run


SPEEDS = {
    "steady": lambda total, now: 1.0,
    "slower midway": lambda total, now: 1.0 if now < 0.5 * total else 2.0,
    "faster midway": lambda total, now: 1.0 if now < 0.5 * total else 0.5,
    "slower late": lambda total, now: 1.0 if now < 0.8 * total else 2.0,
    "slow at first": lambda total, now: 5.0 if now < 0.1 * total else 1.0,
    "up and down": lambda total, now: 1.0 if (20 * now) // total % 2 else 2.0,
}


def at_speed(name: str, total: float, seconds: float):
    """Seconds of each update, as a function of the time of earlier updates."""
    now = 0.0

    def an_update(_: int) -> float:
        nonlocal now
        took = seconds * SPEEDS[name](total, now)
        now += took
        return took

    return an_update


@pytest.mark.parametrize("valid_every", [None, 100, 333])
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_run_ends_with_its_time_budget(speed, valid_every):
    """Validations take up to a third of it, the first ones perhaps more; the estimate from a part may be wrong."""
    training = replace(BASE, valid_every=valid_every)
    for share, first in ((0.001, 1.0), (0.01, 3.0), (0.1, 1.0), (0.1, 3.0), (0.3, 1.0)):
        for n_updates, guess in ((150, 0.8), (600, 0.8), (600, 2.0)):
            keeper = budget(
                expected_validation=guess * share * TOTAL, finish=0.01 * TOTAL, sets_cadence=not valid_every
            )
            seconds = TOTAL / n_updates
            run = simulated(
                training, keeper, at_speed(speed, TOTAL, seconds), prepared=0.02 * TOTAL,
                validation=lambda update: share * TOTAL * (first if update < 0.15 * n_updates else 1.0),  # noqa: B023
            )  # fmt: skip
            assert 0.85 * TOTAL < run.end <= 1.05 * TOTAL, (share, first, n_updates, guess)
            assert run.validated[-1] == run.updates


@pytest.mark.parametrize("schedule", ["hold_cooldown", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [0, 20, 1000, 4000])
@pytest.mark.parametrize("n_updates", [40, 100, 1000])
def test_the_rate_never_jumps(schedule, warmup, n_updates):
    """With any speed, and any number of corrections: it rises as in a warm-up, and falls once."""
    training = replace(BASE, schedule=schedule, warmup_updates=warmup, learning_rate=1.0)
    for speed in SPEEDS:
        run = simulated(training, budget(), at_speed(speed, TOTAL, TOTAL / n_updates), validation=lambda _: 10.0)
        assert len({found.max_updates for _, _, found in run.lengths}) > 1
        ratios = [after / before for before, after in pairwise(run.rates)]
        assert max(ratios) <= 2.0 + 1e-9, (speed, "as from the first to the second update of any warm-up")
        steepest = max(1 / max(1, min(warmup, (found.max_updates or 5) // 5)) for _, _, found in run.lengths)
        assert max(after - before for before, after in pairwise(run.rates)) < steepest + 1e-9, speed
        top = run.rates.index(max(run.rates))
        assert run.rates[top:] == sorted(run.rates[top:], reverse=True), speed
        assert max(run.rates) > (0.99 if n_updates > 40 else 0.9), speed
        if schedule == "hold_cooldown":
            assert run.rates[-1] < 0.08 * 1000 / max(300, n_updates), speed
            assert all(ratio > 0.45 for ratio in ratios)


def test_the_test_of_jumps_finds_a_jump():
    """So the test above can fail."""
    run = simulated(replace(BASE, warmup_updates=1000, learning_rate=1.0), budget(), lambda _: 5.0, last_knot=False)
    assert max(after / before for before, after in pairwise(run.rates)) > 9


def test_the_first_updates_do_not_count():
    """They are slower than all others: 30 s and 3 s instead of 0.5 s."""
    run = simulated(BASE, budget(), lambda update: (30.0, 3.0)[update] if update < 2 else 0.5)
    assert run.lengths[0][2].max_updates == pytest.approx(run.updates, rel=0.05)


def test_the_number_of_updates_is_set_early_and_corrected_later():
    run = simulated(BASE, budget(), lambda _: 0.5)
    times = [time for _, time, _ in run.lengths]
    assert times[0] < 0.04 * TOTAL
    assert all(0.039 * TOTAL < later - time < 0.06 * TOTAL for time, later in pairwise(times))
    assert TOTAL - times[-1] < 0.1 * TOTAL


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(0.1, 18, 21), (5.0, 8, 12), (60.0, 2, 2), (200.0, 2, 2), (400.0, 1, 1)]
)
def test_validations_take_a_small_fraction_of_the_time(seconds, least, most):
    """They are spread evenly, the last one at the end."""
    run = simulated(BASE, budget(expected_validation=seconds), lambda _: 0.5, validation=lambda _: seconds)
    assert least <= len(run.validated) <= most
    gaps = [b - a for a, b in pairwise([0, *run.validated])]
    if len(gaps) > 2:
        assert max(gaps) < 1.3 * min(gaps)
    assert run.validated[0] <= 0.35 * run.updates or len(gaps) == 1


def test_given_intervals_are_kept():
    keeper = budget(sets_cadence=False)
    run = simulated(replace(BASE, valid_every=100, save_every=7), keeper, lambda _: 0.5)
    assert {(found.valid_every, found.save_every) for _, _, found in run.lengths} == {(100, 7)}
    assert run.validated[:-1] == list(range(100, run.updates, 100))
    assert run.updates > 1500


@pytest.mark.parametrize(("valid_every", "validation"), [(100, 10.0), (100, 0.1), (333, 50.0), (5000, 50.0), (7, 1.0)])
def test_validations_at_a_given_interval_are_included_from_the_start(valid_every, validation):
    """Their time is not available for updates: each is at a multiple of the interval."""
    keeper = budget(sets_cadence=False, expected_validation=validation, search_validations=0, finish=0.0)
    run = simulated(replace(BASE, valid_every=valid_every), keeper, lambda _: 0.5, validation=lambda _: validation)
    n = run.lengths[0][2].max_updates
    assert 10.0 + 0.5 * n + validation * -(-n // valid_every) == pytest.approx(TOTAL, abs=validation + 1)


@pytest.mark.parametrize("most", [50, 300, 1500])
def test_a_run_makes_no_more_updates_than_are_useful(most):
    """It has as many validations, and the learning rate falls as usual."""
    run = simulated(BASE, budget(max_useful_updates=most), lambda _: 0.5)
    assert run.updates == most
    assert {found.max_updates for _, _, found in run.lengths} == {most}
    assert run.end < 1000 * (most + 300) / 1500
    assert 8 <= len(run.validated) <= 21


def test_a_budget_shorter_than_an_update_still_gives_a_model():
    run = simulated(BASE, budget(), lambda _: 0.5, prepared=2000.0)
    assert run.updates == 1
    ((_, _, found),) = run.lengths
    assert found.max_updates == found.valid_every == found.save_every == 1


def test_without_a_budget_nothing_is_set():
    keeper = budget()
    for update in range(1, 100):
        keeper.after_update(update * 0.5)
        assert keeper.set_length(TrainingConfig(), update, update * 0.5) is None
    assert keeper.state.times_set == 0


def test_a_partial_measured_update_has_its_own_duration():
    """Half of one in 200 seconds: 400 seconds each."""
    keeper = budget(state=BudgetState(times_set=1, set_at=0.0, updates=0.5, seconds=200.0, validation=0.0))
    keeper.start(400.0)
    found = keeper.set_length(replace(BASE, max_updates=9, valid_every=100), 5, 400.0, 5)
    assert found.max_updates - 5 == 1


def test_a_resumed_run_continues_with_what_was_set_and_measured():
    """It corrects the number only after some time."""
    first = budget()
    first.start(10.0)
    for update in range(1, 81):
        first.after_update(10.0 + update * 0.5)
    found = first.set_length(BASE, 80, 50.0)
    first.after_validation(7.0)
    again = budget(state=first.state, expected_validation=0.0)
    again.start(60.0)
    assert again.state.validation == 7.0
    for update in range(81, 110):
        again.after_update(60.0 + (update - 80) / 2)
        assert again.set_length(found, update, 60.0 + (update - 80) / 2, 80) is None
    later = again.set_length(found, 110, 91.0, 80)
    assert later.max_updates == pytest.approx(found.max_updates, rel=0.1)
