"""The program's flat weights for prototypes of an update: its optimizer and average, without what else it does."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seq2seq.config import TrainingConfig
from seq2seq.training.averaging import Average
from seq2seq.training.optimizer import Optimizer
from seq2seq.training.weights import FlatWeights


class FlatTraining:
    """Weights end to end, and what an update does with them.

    Args:
        model: on its device; its parameters are replaced by views.
        dtype: in which the model computes. With fp32 there is no second copy.
        config: of the optimizer and of the average.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, config: TrainingConfig) -> None:
        self.flat = FlatWeights(model, dtype)
        self.optimizer = Optimizer(self.flat, config)
        self.average = Average(self.flat, config)
        self.loss_sum = torch.zeros((), device=self.flat.trained.device)

    def backward(self, loss_sum: Tensor) -> None:
        """Add a pass's gradient of the sum of losses. In bf16 a CUDA graph may record it: no node has a stream."""
        self.flat.add_gradient(loss_sum)
        self.loss_sum.add_(loss_sum.detach())

    @torch.no_grad()
    def step(self, n_tokens: int, rate: float = 1e-4) -> None:
        """Clip, step and average."""
        norm = self.optimizer.gradient_norm(n_tokens)
        skip = (~torch.isfinite(norm + self.loss_sum)).float()
        self.optimizer.step(rate, norm, n_tokens, skip)
        self.average.after_update()
        self.forget()

    def forget(self) -> None:
        """Forget the passes since the last step."""
        self.flat.gradient.zero_()
        self.loss_sum.zero_()

    def copies(self) -> list[Tensor]:
        """Copies of all that the next update depends on."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, copies: list[Tensor]) -> None:
        """Start again from ``copies``."""
        for tensor, copied in zip(self._tensors(), copies, strict=True):
            tensor.copy_(copied)
        self.flat.round()
        self.forget()

    def _tensors(self) -> list[Tensor]:
        moments = (tensor for of_half in self.optimizer.adamw.state.values() for tensor in of_half.values())
        return [self.flat.trained, *self.average.state()[0].values(), *moments]


def gradient_of(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """A loss, and its gradient by all parameters, end to end, in fp32."""
    parameters = list(model.parameters())
    found = loss()
    gradients = torch.autograd.grad(found, parameters)
    return float(found.detach()), torch.cat([gradient.detach().float().flatten() for gradient in gradients])
