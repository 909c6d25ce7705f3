"""How many updates there is time for, where a run has been given a time to end."""

from dataclasses import dataclass, field, replace

from seq2seq.config import TrainingConfig
from seq2seq.training.state import BudgetState

_EARLY = 0.05
"""Share of the time that updates have taken when their number is settled."""
_FEW = 3
"""Updates whose speed says something."""
_WARMING_UP = 2
"""Updates that are not counted, being slower than all others."""
_VALIDATING = 0.05
"""Share of the time that validations may take, but for the fewest."""
_FEWEST, _MOST = 2, 20
"""Validations of a run."""
_ENDING = 0.2
"""Share of the time that is kept for the end at most: a model that knows little yet is searched with for long."""
_FINISHING = 4.0
"""Choosing the length penalty and saving, in validations: one beam search beside greedy ones."""


@dataclass
class Budget:
    """Settles the number of updates by the speed that is measured, early in a run; and once more at half of it.

    What was settled goes into the checkpoint, so that a run that goes on ends as it would have. The second time
    is for machines that grow slower or faster meanwhile: from there on the learning rate falls.
    """

    most_updates: int
    """More of them would only overfit."""
    validation_updates: float
    """Updates that take as long as a validation, at a guess before one is measured."""
    finish: float
    """Seconds that the end takes apart from validating."""
    state: BudgetState = field(default_factory=BudgetState)
    """What a resumed run goes by."""
    last_set_at: int | None = None
    """Update after which this command last set the number of updates."""
    _warming_up: int = _WARMING_UP
    _last: float = 0.0
    """When the last update had been made, or a validation after it."""
    _validation: float | None = None
    """Seconds of the last one: the first ones search long for what is not there yet."""

    def learned(self, elapsed: float) -> None:
        """An update has been made by now, in seconds of the run."""
        if self._warming_up:
            self._warming_up -= 1
        else:
            seconds = self.state.seconds + elapsed - self._last
            self.state = replace(self.state, updates=self.state.updates + 1, seconds=seconds)
        self._last = elapsed

    def validated(self, seconds: float) -> None:
        """A validation took so long."""
        self._validation = seconds
        self._last += seconds

    def settle(self, training: TrainingConfig, update: int, elapsed: float) -> TrainingConfig | None:
        """Settle ``max_updates`` and the cadences, when it is time to.

        Args:
            training: as it is.
            update: the last one made.
            elapsed: seconds of the run.

        Returns:
            The configuration from here on; None where it stays.
        """
        if training.time_budget is None or not self._is_due(training, update, elapsed):
            return None
        seconds = self.state.seconds / max(1, self.state.updates)
        # The machine may be a faster or slower one from here on.
        self.state, self.last_set_at = BudgetState(times_set=self.state.times_set + 1), update
        validation = self.validation_updates * seconds if self._validation is None else self._validation
        end = (1 + _FINISHING) * validation + self.finish  # with the last validation
        left = training.time_budget - elapsed - min(end, _ENDING * training.time_budget)
        valid_every = training.valid_every
        if left <= 0 or not seconds:
            n_updates = 0
        elif valid_every is None:
            n_validations = min(max(int(_VALIDATING * left / max(validation, 1e-9)), _FEWEST), _MOST)
            n_updates = int(max(0.0, left - (n_validations - 1) * validation) / seconds)
        else:
            n_updates = int(left / (seconds + validation / valid_every))
        max_updates = max(1, update, min(update + n_updates, self.most_updates))
        if valid_every is None:
            valid_every = -(-max_updates // (n_validations if n_updates else 1))
        return replace(
            training,
            max_updates=max_updates,
            valid_every=valid_every,
            save_every=training.save_every or valid_every,
        )

    def _is_due(self, training: TrainingConfig, update: int, elapsed: float) -> bool:
        assert training.time_budget is not None
        known = self.state.updates >= _FEW
        if self.state.times_set == 0:
            some = self.state.seconds >= _EARLY * training.time_budget or update >= _EARLY * self.most_updates
            return (known and some) or elapsed >= training.time_budget
        if self.state.times_set > 1 or training.max_updates is None or training.valid_every is None:
            return False
        # Not before a validation has shown what it takes, if there is one.
        validated = self._validation is not None or training.valid_every > update
        falling = training.cooldown if training.schedule == "hold_cooldown" else 0.5
        return known and validated and training.max_updates * (1 - falling) <= update < training.max_updates
