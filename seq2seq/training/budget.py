"""A time budget: sets the number of updates by their measured speed."""

import math
from dataclasses import dataclass, field, replace

from seq2seq.config import TrainingConfig
from seq2seq.training.state import BudgetState
from seq2seq.training.tuning import (
    BUDGET_VALIDATIONS,
    FIRST_SET,
    FIRST_VALIDATION,
    MAX_END_SHARE,
    MAX_VALIDATION_SHARE,
    MIN_TIMED,
    SEARCH_SHARE,
    SET_AGAIN,
    SLOW_UPDATES,
    VALIDATION_SHARE,
    WARM_UP_UPDATES,
)


@dataclass
class Budget:
    """Sets the number of updates by their measured speed: early in a run, and again as time passes.

    The learning rate never jumps, so it costs nothing to follow a machine that becomes slower or faster. The number is
    saved in the checkpoint, and a resumed run keeps it.
    """

    max_useful_updates: int
    """More updates would hardly help."""
    finish: float
    """Seconds that the end of the run takes, without its validation and search."""
    search_validations: float = 4.0
    """Time for choosing the length penalty on all pairs, as a number of validations; 0 if it is given."""
    sets_cadence: bool = True
    """Whether ``valid_every`` is set here too; otherwise the user has set it."""
    state: BudgetState = field(default_factory=BudgetState)
    """What a resumed run needs."""
    expected_validation: float = 0.0
    """Seconds of a validation, estimated from a part of one until a whole one is measured."""
    last_set_at: int | None = None
    """Update after which this command last set the number of updates."""
    _warming_up: int = WARM_UP_UPDATES
    _slow: tuple[int, float] = (0, 0.0)
    """The warm-up updates, which are not counted, and their seconds."""
    _last: float = 0.0
    """When the last update ended, or the validation after it."""

    def start(self, elapsed: float) -> None:
        """The next update starts now, in seconds of the run."""
        self._last = elapsed

    def after_update(self, elapsed: float) -> None:
        """An update ended now, in seconds of the run."""
        seconds, self._last = elapsed - self._last, elapsed
        if self._warming_up:
            self._warming_up -= 1
            self._slow = self._slow[0] + 1, self._slow[1] + seconds
        else:
            state = self.state
            self.state = replace(state, updates=state.updates + 1, seconds=state.seconds + seconds)

    def after_validation(self, seconds: float) -> None:
        """A validation ended, after this number of seconds."""
        self.state = replace(self.state, validation=seconds)
        self._last += seconds

    def set_length(
        self, training: TrainingConfig, update: int, elapsed: float, validated_update: int = 0
    ) -> TrainingConfig | None:
        """Set ``max_updates`` and the cadences, if it is time to.

        Args:
            training: the current configuration.
            update: updates made.
            elapsed: seconds of the run.
            validated_update: update of the last validation.

        Returns:
            The new configuration; None if it stays.
        """
        if training.time_budget is None or not self._is_due(training, update, elapsed):
            return None
        timed, in_seconds = (self.state.updates, self.state.seconds) if self.state.updates else self._slow
        seconds = in_seconds / timed if timed else 0.0
        measured = self.state.validation
        validation = self.expected_validation if measured is None else measured
        left = training.time_budget - elapsed - self._end(validation, training.time_budget)
        # The machine may become faster or slower: recent updates count more.
        self.state = BudgetState(
            times_set=self.state.times_set + 1,
            set_at=elapsed,
            updates=self.state.updates / 2,
            seconds=self.state.seconds / 2,
            validation=measured,
        )
        self.last_set_at = update
        max_left = max(0, self.max_useful_updates - update)
        if left <= 0 or not seconds:
            n_updates, valid_every = 0, training.valid_every
        elif self.sets_cadence or training.valid_every is None:
            since = update - validated_update
            n_updates, valid_every = self._with_own_validations(update, since, left, seconds, validation, max_left)
        else:
            valid_every = training.valid_every
            n_updates = min(max_left, _between_validations(left, seconds, validation, valid_every, update))
        max_updates = max(1, update + n_updates)
        valid_every = valid_every or max_updates
        return replace(
            training,
            max_updates=max_updates,
            valid_every=valid_every,
            save_every=training.save_every or valid_every,
        )

    def seconds_to_search(self, total: float, elapsed: float) -> float:
        """Seconds for choosing the length penalty: what is left, or a little of the time if nothing is."""
        return max(total - elapsed, SEARCH_SHARE / 2 * total)

    def _end(self, validation: float, total: float) -> float:
        """Seconds from the last update to the end of the run."""
        search = min(self.search_validations * validation, SEARCH_SHARE * total)
        return min(validation + search + self.finish, MAX_END_SHARE * total)

    def _with_own_validations(
        self, update: int, since: int, left: float, seconds: float, validation: float, max_left: int
    ) -> tuple[int, int]:
        """The number of updates that are left, and of those between validations; the last validation ends the run.

        Args:
            update: updates made.
            since: updates made since the last validation.
            left: seconds for updates and for all validations except the last.
            seconds: of an update.
            validation: seconds of a validation.
            max_left: useful updates that are left.
        """
        n_updates = min(max_left, int(left / seconds))
        span = since + n_updates  # from the last validation to the end
        affordable = VALIDATION_SHARE * left * span / max(1, n_updates) / max(validation, 1e-9)
        n_validations = max(
            1, min(round(affordable), math.ceil(BUDGET_VALIDATIONS * span / max(1, update + n_updates)))
        )
        if self.state.validation is None:
            n_validations = max(2, n_validations)
        while n_validations > 1 and (n_validations - 1) * validation > MAX_VALIDATION_SHARE * left:
            n_validations -= 1
        n_updates = min(max_left, max(0, int((left - (n_validations - 1) * validation) / seconds)))
        valid_every = -(-(since + n_updates) // n_validations)
        if self.state.validation is None and n_validations > 1:
            valid_every = min(valid_every, math.ceil(FIRST_VALIDATION * (update + n_updates)))
        return n_updates, max(1, valid_every)

    def _is_due(self, training: TrainingConfig, update: int, elapsed: float) -> bool:
        assert training.time_budget is not None
        if not update or (training.max_updates is not None and update >= training.max_updates):
            return False
        seconds = self.state.seconds + self._slow[1]
        is_known = self.state.updates >= MIN_TIMED or seconds >= SLOW_UPDATES * training.time_budget
        if self.state.times_set:
            return is_known and elapsed - self.state.set_at >= SET_AGAIN * training.time_budget
        is_enough = seconds >= FIRST_SET * training.time_budget or update >= FIRST_SET * self.max_useful_updates
        return (is_known and is_enough) or elapsed >= training.time_budget


def _between_validations(left: float, seconds: float, validation: float, valid_every: int, update: int) -> int:
    """Updates for which there is time, with a validation at each multiple of ``valid_every`` before the last update.

    Arguments as for ``Budget._with_own_validations``.
    """
    until_next = valid_every - update % valid_every
    left -= until_next * seconds
    if left <= 0:
        return until_next + math.floor(left / seconds)
    n_updates = until_next
    round_seconds = valid_every * seconds + validation
    n_rounds = int(left / round_seconds)
    n_updates += n_rounds * valid_every
    left -= n_rounds * round_seconds + validation
    return n_updates + max(0, min(valid_every, int(left / seconds)))
