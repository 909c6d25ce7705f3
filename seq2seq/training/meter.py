"""Loss, speed and padding since the last report."""

import torch

from seq2seq.training.progress import Report
from seq2seq.training.state import TrainingState
from seq2seq.training.step_stats import StepStats


class Meter:
    """Sums the statistics of updates until they are reported.

    Args:
        device: where the model is. Sums of losses stay there, because reading one would wait for a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reset()

    def reset(self) -> None:
        """Start over: the next update is the first one of the next report."""
        self._stats = StepStats(torch.zeros((), device=self._device), 0, 0, 0)
        self._seconds = 0.0

    def add(self, stats: StepStats, seconds: float) -> None:
        """Add an update and the time it took."""
        self._stats += stats
        self._seconds += seconds

    def report(self, state: TrainingState, learning_rate: float, seconds: float) -> Report:
        """The updates so far.

        Args:
            state: names update and epoch.
            learning_rate: of the last update.
            seconds: of the run.
        """
        stats = self._stats
        return Report(
            update=state.update,
            epoch=state.epoch,
            loss=float(stats.loss_sum) / max(1.0, float(stats.n_tokens)),
            lr=learning_rate,
            tgt_tokens_per_second=float(stats.n_tokens) / self._seconds if self._seconds else 0.0,
            seconds=seconds,
            padding=float(stats.n_padding) / max(1.0, float(stats.n_positions)),
        )
