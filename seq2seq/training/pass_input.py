"""What one forward pass of training reads.

Shapes: B sentences, S source length, T target length, M forward passes of each pair, N real target positions, D model
width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.batching import Batch
from seq2seq.device import to_device
from seq2seq.model import padding_mask
from seq2seq.tokenizer import PAD


class PassInput(NamedTuple):
    """What one forward pass reads, on the model's device."""

    src: Tensor
    """Source pieces and EOS, padded. [B, S]"""
    src_mask: Tensor | None
    """True at real source tokens; None if nothing is padding. [B, S]"""
    tgt_in: Tensor
    """BOS and target pieces, padded. [B, T]"""
    real: Tensor
    """Real target positions: on a CPU a mask [B·T], elsewhere their indices [N]."""
    targets: Tensor
    """Target pieces and EOS at these. [N]"""

    @classmethod
    def from_batch(cls, batch: Batch, device: torch.device) -> "PassInput":
        """Prepare a padded batch and copy it to the model's device."""
        # What depends on the number of padded positions is computed on the CPU: on a GPU this would wait for it.
        real = batch.tgt_out.ne(PAD).flatten()
        targets, mask = batch.tgt_out.flatten()[real], padding_mask(batch.src, PAD)
        if device.type == "cpu":
            return cls(batch.src, mask, batch.tgt_in, real, targets)
        src, tgt_in, indices, targets = (
            to_device(part, device) for part in (batch.src, batch.tgt_in, real.nonzero().squeeze(1), targets)
        )
        return cls(src, None if mask is None else to_device(mask, device), tgt_in, indices, targets)

    def at_real(self, hidden: Tensor) -> Tensor:
        """Hidden states at real target positions. [M·B, T, D] -> [M, N, D]"""
        rows = hidden.view(-1, self.tgt_in.numel(), hidden.size(-1))  # [M, B·T, D]
        return rows[:, self.real] if self.real.dtype == torch.bool else rows.index_select(1, self.real)
