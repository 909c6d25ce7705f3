"""The building blocks of the Transformer: dropout, feed-forward network, residuals, encoder and decoder layer.

Each layer is a stack of sublayers (attention, feed-forward network); a residual connection goes around each of them.

Shapes: B sentences, T target length, S source length, D model width, F feed-forward width.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model.products import Linear
from seq2seq.model.transformer.attention import MultiHeadAttention


def _draw_mask(shape: torch.Size, dtype: torch.dtype, threshold: int) -> Tensor:
    """A dropout mask: 0 with probability threshold/256, else the factor that scales the other activations up.

    It takes one random byte for each element. On a CPU this is several times faster than PyTorch's own dropout, which
    takes a float.
    """
    # Each 64-bit number of the seeded default generator gives eight independent bytes. The full range is given:
    # random_() alone leaves the sign bit zero, so every eighth byte would be below 128.
    words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    drawn = words.view(torch.uint8)[: shape.numel()].view(shape)
    # The mask is in floats, as products of floats with booleans take twice as long.
    return torch.ge(drawn, threshold, out=torch.empty(shape, dtype=dtype)).mul_(256 / (256 - threshold))


class Dropout(nn.Module):
    """Dropout: training sets each activation to zero with probability p, and divides the others by 1 - p.

    So the expected value of each activation does not change. On a CPU p is rounded to a multiple of 1/256, and the
    scale fits the rounded p. On other devices it is PyTorch's own dropout.

    Source: Srivastava et al. 2014, "Dropout".
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; the same shape."""
        threshold = round(self.p * 256)
        if self.training and x.device.type == "cpu" and threshold not in (0, 256):
            return x * _draw_mask(x.shape, x.dtype, threshold)
        return F.dropout(x, self.p, training=self.training)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu_, "gelu": F.gelu, "swiglu": F.silu}


class FeedForward(nn.Module):
    """The feed-forward network: two linear layers with a nonlinearity between them, applied to each position by itself.

    SwiGLU adds a gate: a third linear layer, whose output is multiplied with the hidden layer.

    Source: Vaswani et al. 2017, section 3.3; the gate: Shazeer 2020, arXiv:2002.05202.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inner = Linear(config.d_model, config.d_ff)
        self.gate = Linear(config.d_model, config.d_ff) if config.activation == "swiglu" else None
        self.activation = ACTIVATIONS[config.activation]
        self.out_proj = Linear(config.d_ff, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        # ReLU works in place. If its input were a view, the backward pass would make three copies.
        rows = x.flatten(0, -2)  # [B·T, D]
        # ReLU and rounding commute, so with ReLU the hidden layer may stay in bf16 and padded.
        hidden = self.activation(self.inner(rows, as_operand=self.activation is torch.relu_))  # [B·T, F]
        if self.gate is not None:
            hidden = hidden * self.gate(rows)
        output = self.out_proj(hidden)  # [≥B·T, D]
        n = rows.size(0)
        return (output if output.size(0) == n else output[:n]).view_as(x)  # type: ignore[no-any-return]


def build_norm(config: ModelConfig) -> nn.Module:
    """LayerNorm, or RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467), which does not subtract the mean."""
    return nn.LayerNorm(config.d_model) if config.norm == "layer" else nn.RMSNorm(config.d_model, eps=1e-6)


class Residual(nn.Module):
    """A residual connection around a sublayer, with normalization.

    Pre-norm: x + sublayer(norm(x)). The sums are a direct path from the loss to the embeddings, so training is stable.
    Post-norm: norm(x + sublayer(x)), as in Vaswani et al. 2017. Dropout is applied to the sublayer's output.

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = build_norm(config)
        self.dropout = Dropout(config.dropout)
        self.pre = config.norm_order == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """[B, T, D] -> [B, T, D]"""
        if self.pre:
            return x + self.dropout(sublayer(self.norm(x)))  # type: ignore[no-any-return]
        return self.norm(x + self.dropout(sublayer(x)))  # type: ignore[no-any-return]


def _attention(config: ModelConfig, *, cross: bool) -> MultiHeadAttention:
    # Rotary positions encode distances within one text. Between a target and its source there is no distance.
    rotary = not cross and config.positions == "rotary"
    return MultiHeadAttention(config.d_model, config.n_heads, attention=config.attention, rotary=rotary, cross=cross)


class EncoderLayer(nn.Module):
    """A layer of the encoder: self-attention over the whole source, then the feed-forward network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = _attention(config, cross=False)
        self.self_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, src_mask: Tensor | None) -> Tensor:
        """[B, S, D] -> [B, S, D]; src_mask is [B, 1, 1, S], or None if nothing is padding."""
        x = self.self_attention_residual(x, lambda y: self.self_attention(y, y, src_mask))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """A layer of the decoder: masked self-attention over the target, cross-attention to the source, then the
    feed-forward network."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attention = _attention(config, cross=False)
        self.self_attention_residual = Residual(config)
        self.cross_attention = _attention(config, cross=True)
        self.cross_attention_residual = Residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config)

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor | None) -> Tensor:
        """All target positions at once, as in training.

        Args:
            x: hidden vectors of the target. [B, T, D]
            memory: the encoder's output. [B, S, D]
            src_mask: True at real source tokens; None if nothing is padding. [B, 1, 1, S]

        Returns:
            [B, T, D]
        """
        x = self.self_attention_residual(x, lambda y: self.self_attention(y, y, causal=True))
        x = self.cross_attention_residual(x, lambda y: self.cross_attention(y, memory, src_mask))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]
