"""All weights of a model end to end in one tensor, and their gradient in another.

What reads or changes all weights (the optimizer, the average, the sum over replicas and ranks) then has one tensor to
work on instead of a hundred: on a GPU it queues one kernel, and ranks send one message.

Shapes: W weights of the model, tied matrices counted once.
"""

from collections.abc import Iterator, Mapping
from mmap import mmap

import torch
from torch import Tensor, nn

from seq2seq.training.tuning import ALIGNMENT


class FlatWeights:
    """The weights of a model as they are trained, in fp32, and as the model computes with them.

    Both are the same memory, unless the model computes in bf16 or fp16: then it has a copy in that type, which
    ``round`` renews. So nothing is cast in the passes.

    Args:
        model: its parameters become views of the flat tensors: change them in place only.
        dtype: in which the model computes from now on.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        # Matrices first, as only they decay; tensors of odd sizes last, so that the others stay aligned.
        per_line = ALIGNMENT // torch.float32.itemsize
        named = sorted(model.named_parameters(), key=lambda one: (one[1].dim() <= 1, one[1].numel() % per_line > 0))
        self.names = [name for name, _ in named]
        """Of the parameters, in the order of the flat tensors."""
        self.parameters = [parameter for _, parameter in named]
        self._shapes = [parameter.shape for parameter in self.parameters]
        self._sizes = [parameter.numel() for parameter in self.parameters]
        self._n_matrices = sum(parameter.dim() > 1 for parameter in self.parameters)
        self._n_in_matrices = sum(self._sizes[: self._n_matrices])
        self.trained = torch.cat([parameter.detach().float().flatten() for parameter in self.parameters])  # [W]
        self.computed = self.trained if dtype == torch.float32 else self.trained.to(dtype)  # [W]
        self.matrices, self.vectors = (nn.Parameter(half) for half in self.halves_of(self.trained))
        """The same memory as ``trained``, for the optimizer."""
        self.gradient = torch.zeros_like(self.trained)  # [W]
        """Of the sum of losses. Passes add to it."""
        model.to(dtype)  # for tensors that are not weights
        self._point_to(self.trained, self.computed)
        self.use_gradient(self.gradient)

    def __len__(self) -> int:
        """The number of weights W."""
        return len(self.trained)

    @property
    def is_rounded(self) -> bool:
        """Whether the model computes with a copy of the weights."""
        return self.computed.dtype != torch.float32

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat tensor as one view for each parameter, by name. [W]"""
        return dict(zip(self.names, self._cut(flat), strict=True))

    def views_of_halves(self, matrices: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """As ``views``, of what ``halves_of`` returned or of tensors like these; nothing is copied."""
        n = self._n_matrices
        parts = [*torch.split(matrices, self._sizes[:n]), *torch.split(vectors, self._sizes[n:])]
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self._shapes, strict=True)}

    def _cut(self, flat: Tensor) -> Iterator[Tensor]:
        return (part.view(shape) for part, shape in zip(torch.split(flat, self._sizes), self._shapes, strict=True))

    def joined(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """What ``views`` returned as a new flat tensor, in fp32 on the device of the weights. [W]"""
        device = self.trained.device
        return torch.cat([tensors[name].to(device, torch.float32).flatten() for name in self.names])

    def halves_of(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """The parts of a flat tensor that belong to ``matrices`` and to ``vectors``. [W]"""
        return flat[: self._n_in_matrices], flat[self._n_in_matrices :]

    # ------------------------------------------------------------------ memory

    def _point_to(self, trained: Tensor, computed: Tensor) -> None:
        self.trained, self.computed = trained, computed
        for half, part in zip((self.matrices, self.vectors), self.halves_of(trained), strict=True):
            half.data = part
        for parameter, view in zip(self.parameters, self._cut(computed), strict=True):
            parameter.data = view

    def use_gradient(self, gradient: Tensor) -> None:
        """Add the gradients of passes to this tensor from now on. [W]"""
        self.gradient = gradient
        for half, part in zip((self.matrices, self.vectors), self.halves_of(gradient), strict=True):
            half.grad = part
        if not self.is_rounded:  # then a backward pass adds to these views
            for parameter, view in zip(self.parameters, self._cut(gradient), strict=True):
                parameter.grad = view

    def share(self) -> None:
        """Move the weights to memory that forked processes share.

        Raises:
            OSError: the system has no room.
        """
        trained = shared_zeros(len(self), torch.float32).copy_(self.trained)
        computed = shared_zeros(len(self), self.computed.dtype).copy_(self.computed) if self.is_rounded else trained
        self._point_to(trained, computed)

    # ------------------------------------------------------------------ an update

    def add_gradient(self, loss_sum: Tensor) -> None:
        """Make the backward pass of a sum of losses. []"""
        if not self.is_rounded:
            loss_sum.backward()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
            return
        gradients = torch.autograd.grad(loss_sum, self.parameters, materialize_grads=True)
        self.gradient += torch.cat([gradient.flatten() for gradient in gradients])

    @torch.no_grad()
    def round(self) -> None:
        """Let the model compute with the weights as they are now: call it whenever ``trained`` has changed."""
        if self.is_rounded:
            self.computed.copy_(self.trained)


def shared_zeros(n: int, dtype: torch.dtype) -> Tensor:
    """Zeros in memory that forked processes share. [n]

    Raises:
        OSError: the system has no room.
    """
    return torch.frombuffer(mmap(-1, max(1, n * dtype.itemsize)), dtype=dtype, count=n)
