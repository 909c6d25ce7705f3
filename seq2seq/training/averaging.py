"""Averaged weights, which validation and translation use: they are smoother than the trained ones."""

from collections.abc import Mapping

import torch
from torch import Tensor

from seq2seq.config import TrainingConfig
from seq2seq.training.weights import FlatWeights


class Average:
    """A second set of weights: an average of the trained ones.

    ``ema``: exponential moving average over updates. ``last``: mean of the weights at the last few
    validations (Vaswani et al. 2017, section 6.1). ``none``: the trained weights themselves.

    Args:
        weights: that are averaged.
        config: kind and length of the average.
    """

    def __init__(self, weights: FlatWeights, config: TrainingConfig) -> None:
        self._weights = weights
        self._config = config
        self._n_updates = 0
        self._ema = weights.trained.clone() if config.averaging == "ema" else None  # [W]
        self._last: dict[int, Tensor] = {}  # each [W]

    @torch.no_grad()
    def after_update(self) -> None:
        """Include the weights after an update."""
        if self._ema is None:
            return
        self._n_updates += 1
        # The first averages are short: long ones would hold little more than the initialisation.
        decay = min(self._config.ema_decay, (1 + self._n_updates) / (10 + self._n_updates))
        self._ema.lerp_(self._weights.trained, 1 - decay)

    def at_validation(self, update: int) -> None:
        """Add the weights of this update to the mean of the last few; once, even if it is validated twice."""
        if self._config.averaging == "last":
            self._last[update] = self._weights.trained.clone()
            for old in sorted(self._last)[: -self._config.average_last]:
                del self._last[old]

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name; do not write to them."""
        flat = self._weights.trained
        if self._ema is not None:
            flat = self._ema
        elif self._last:
            first, *others = (self._last[update] for update in sorted(self._last))
            flat = first.clone()
            for other in others:  # one after the other: all in one tensor would take their memory again
                flat += other
            flat /= len(self._last)
        return self._weights.views(flat)

    def state(self) -> tuple[dict[str, Tensor], int]:
        """What a resumed run needs: tensors, and the number of averaged updates."""
        averages = {f"last.{update}": flat for update, flat in self._last.items()}
        if self._ema is not None:
            averages["ema"] = self._ema
        views = self._weights.views
        tensors = {f"{kind}.{name}": view for kind, flat in averages.items() for name, view in views(flat).items()}
        return tensors, self._n_updates

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor], n_updates: int) -> None:
        """Resume from what ``state`` returned."""
        self._n_updates = n_updates
        found: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "last":
                update, _, name = name.partition(".")
                kind = f"last.{update}"
            found.setdefault(kind, {})[name] = tensor
        if self._ema is not None:
            self._ema = self._weights.joined(found.pop("ema"))
        self._last = {int(kind.removeprefix("last.")): self._weights.joined(of) for kind, of in found.items()}
