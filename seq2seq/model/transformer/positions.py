"""Position encodings. Attention is a sum over a set of tokens: without positions it would not see their order.

Shapes: B sentences, T tokens, D model width, H heads, K width of a head.
"""

import math

import torch
from torch import Tensor, nn


def sinusoidal_table(length: int, d_model: int) -> Tensor:
    """Sinusoidal positions: fixed vectors, not learned. Each pair of channels turns at its own speed, as a clock hand.

    PE(pos, 2i) = sin(pos / 10000^(2i/D)) and PE(pos, 2i+1) = cos of the same angle. So a step from any position to one
    at a fixed distance is always the same rotation of each pair.

    Args:
        length: number of positions, counted from 0.
        d_model: width D; even.

    Returns:
        One row for each position. [length, D]

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)  # [length, 1]
    speed = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float32) * (-math.log(10_000.0) / d_model))  # [D/2]
    table = torch.empty(length, d_model)
    table[:, 0::2] = torch.sin(position * speed)
    table[:, 1::2] = torch.cos(position * speed)
    return table


class SinusoidalPositions(nn.Module):
    """Adds sinusoidal positions to the embeddings. The table grows if a text is longer."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.d_model = d_model
        # It is not a weight: it is not saved, but computed again when a model is loaded.
        self.register_buffer("table", sinusoidal_table(max_positions, d_model), persistent=False)
        self.table: Tensor

    def forward(self, embedded: Tensor, offset: int = 0) -> Tensor:
        """Embeddings with their positions, ``offset`` tokens into the text. [B, T, D] -> [B, T, D]"""
        end = offset + embedded.size(1)
        if end > self.table.size(0):
            self.table = sinusoidal_table(2 * end, self.d_model).to(self.table.device)
        return embedded + self.table[offset:end].to(embedded.dtype)


class LearnedPositions(nn.Module):
    """Learned positions: adds a trained vector for each position. There are ``max_positions`` of them."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_positions, d_model))
        nn.init.normal_(self.weight, std=d_model**-0.5)

    def forward(self, embedded: Tensor, offset: int = 0) -> Tensor:
        """Embeddings with their positions, ``offset`` tokens into the text. [B, T, D] -> [B, T, D]

        Raises:
            ValueError: the text reaches beyond the table.
        """
        end = offset + embedded.size(1)
        if end > self.weight.size(0):
            raise ValueError(f"position {end} is beyond the {self.weight.size(0)} learned positions")
        return embedded + self.weight[offset:end]


class NoPositions(nn.Module):
    """Adds nothing: for ``none``, and for ``rotary``, which rotates queries and keys in attention instead."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()

    def forward(self, embedded: Tensor, offset: int = 0) -> Tensor:
        """The embeddings, unchanged. [B, T, D] -> [B, T, D]"""
        return embedded


POSITIONS: dict[str, type[nn.Module]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
    "rotary": NoPositions,
    "none": NoPositions,
}


def rotate(x: Tensor, offset: int = 0) -> Tensor:
    """Rotary positions: each pair of channels of a query or key is rotated by an angle proportional to its position.

    So the score of a query and a key depends on the distance of their positions, not on the positions themselves.

    Args:
        x: queries or keys of self-attention; K even. [..., T, K]
        offset: position of the first token.

    Returns:
        The same, rotated. [..., T, K]

    Source: Su et al. 2021, arXiv:2104.09864, section 3.4.
    """
    length, width = x.size(-2), x.size(-1)
    position = torch.arange(offset, offset + length, dtype=torch.float32, device=x.device).unsqueeze(1)  # [T, 1]
    speed = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float32, device=x.device) / width)  # [K/2]
    cos, sin = torch.cos(position * speed).to(x.dtype), torch.sin(position * speed).to(x.dtype)  # [T, K/2]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
