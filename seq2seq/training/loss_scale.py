"""The loss scale of training in fp16."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from seq2seq.training.tuning import MAX_HALVINGS, MEAN_LOSS_SCALE, UPDATES_TO_DOUBLE


class LossScale:
    """A number that the loss is multiplied by before the backward pass, and the gradient divided by after it.

    Without it, most gradients would be too small for fp16. It is halved if a gradient overflows (this update is
    skipped), and doubled after many updates without. It stays on the device: nobody waits for it.

    Args:
        batch_tokens: target tokens of an update: the loss is a sum over them.
        device: of the model.

    Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2.
    """

    def __init__(self, batch_tokens: int, device: torch.device) -> None:
        first = 2.0 ** round(math.log2(MEAN_LOSS_SCALE / batch_tokens))
        self._least = first * 2.0**-MAX_HALVINGS
        self.value = torch.tensor(first, device=device)  # []
        self._n_finite = torch.tensor(0.0, device=device)  # []: updates since it last changed

    def is_exhausted(self) -> Tensor:
        """1.0 if it was halved so often that another overflow is an error of training; else 0.0. []"""
        return (self.value <= self._least).float()

    def after_update(self, overflowed: Tensor) -> None:
        """Change the scale.

        Args:
            overflowed: 1.0 if the gradient was not finite, else 0.0. []
        """
        self._n_finite = (self._n_finite + 1.0) * (1.0 - overflowed)
        doubles = (self._n_finite >= UPDATES_TO_DOUBLE).float()
        self.value = self.value * (1.0 + doubles) * (1.0 - 0.5 * overflowed)
        self._n_finite = self._n_finite * (1.0 - doubles)

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        return {"value": self.value, "n_finite": self._n_finite}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what ``state`` returned."""
        self.value = tensors["value"].to(self.value.device)
        self._n_finite = tensors["n_finite"].to(self.value.device)
