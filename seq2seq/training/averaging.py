"""Averaged weights, which validation and translation use: they are smoother than the trained ones."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seq2seq.config import TrainingConfig


class Average:
    """A second set of weights: an average of the trained ones.

    ``ema``: exponential moving average over updates. ``last``: mean of the weights at the last few
    validations (Vaswani et al. 2017, section 6.1). ``none``: the trained weights themselves.

    Args:
        model: whose weights are averaged.
        config: kind and length of the average.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._model = model
        self._config = config
        self._n_updates = 0
        self._ema = _copy(model) if config.averaging == "ema" else {}
        self._last: dict[int, dict[str, Tensor]] = {}

    @torch.no_grad()
    def after_update(self) -> None:
        """Include the weights after an update."""
        if self._config.averaging != "ema":
            return
        self._n_updates += 1
        # The first averages are short: long ones would hold little more than the initialisation.
        decay = min(self._config.ema_decay, (1 + self._n_updates) / (10 + self._n_updates))
        # All in one call: on a GPU, launching a kernel for each would take longer than the work.
        follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
        follow(list(self._ema.values()), list(self._model.parameters()), self._n_updates)

    def at_validation(self, update: int) -> None:
        """Add the weights of this update to the mean of the last few; once, even if it is validated twice."""
        if self._config.averaging == "last":
            self._last[update] = _copy(self._model)
            for old in sorted(self._last)[: -self._config.average_last]:
                del self._last[old]

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name; do not write to them."""
        if self._config.averaging == "ema":
            return self._ema
        if self._config.averaging == "last" and self._last:
            names = dict(self._model.named_parameters())
            return {
                name: torch.stack([self._last[update][name] for update in sorted(self._last)]).mean(0) for name in names
            }
        return dict(self._model.named_parameters())

    def state(self) -> tuple[dict[str, Tensor], int]:
        """What a resumed run needs: tensors, and the number of averaged updates."""
        tensors = {f"ema.{name}": tensor for name, tensor in self._ema.items()}
        for update, snapshot in self._last.items():
            tensors.update({f"last.{update}.{name}": tensor for name, tensor in snapshot.items()})
        return tensors, self._n_updates

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor], n_updates: int) -> None:
        """Resume from what ``state`` returned."""
        self._n_updates = n_updates
        device = next(self._model.parameters()).device
        for name in self._ema:
            self._ema[name].copy_(tensors[f"ema.{name}"])
        self._last = {}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "last":
                update, _, name = rest.partition(".")
                self._last.setdefault(int(update), {})[name] = tensor.to(device)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
