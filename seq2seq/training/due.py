"""What is due after an update: the end of training, or a validation. It depends only on the state."""

from seq2seq.errors import counted
from seq2seq.training.state import TrainingState


def reason_to_end(state: TrainingState) -> str | None:
    """Why training is over, or None. If a validation is due, make it before you call this."""
    training = state.config.training
    if training.max_updates is not None and state.update >= training.max_updates:
        return f"{counted(state.update, 'update')} done"
    if training.patience and state.bad_validations >= training.patience:
        return f"no better {training.best_metric} in {counted(state.bad_validations, 'validation')}"
    return None


def is_validation_due(state: TrainingState, *, cadence_follows_budget: bool) -> bool:
    """Whether the weights of this very update are still to be validated.

    Args:
        state: of the run.
        cadence_follows_budget: ``valid_every`` changes during the run, as the time budget is kept.
    """
    training = state.config.training
    every, since = training.valid_every, state.update - state.validated_update
    if cadence_follows_budget and training.time_budget is not None:
        # Counted from the last validation, so that they are evenly spread when the cadence changes.
        passed = every is not None and since >= every
    else:
        passed = every is not None and state.update % every == 0
    return since > 0 and (passed or (training.max_updates is not None and state.update >= training.max_updates))
