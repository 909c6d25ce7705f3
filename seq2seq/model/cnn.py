"""The convolutional network with attention: convolutional sequence-to-sequence learning.

A convolution computes all positions at once, as attention does, but one layer sees only a few neighbours. Two tokens
that are n positions apart meet after about n / (kernel_size - 1) layers; in the Transformer they meet in each layer.

Each layer reads windows of neighbouring tokens through one linear layer, and a gate decides how much of it passes on
(GLU). The decoder's windows end at their own token, so nothing to the right is seen. Each of its layers looks back at
the source by attention.

Source: Gehring et al. 2017, arXiv:1705.03122. Its weight normalization and its scaling of gradients are left out: with
AdamW they are not needed.

Shapes: B sentences, N beams, R = B·N rows (the beams of a sentence are neighbours), S source length, T target length,
D model width, W tokens of a window, V vocabulary. Masks are boolean, True = may attend.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.errors import counted
from seq2seq.model.base import AttentionHead, AttentionKind, MaxLengths, PerToken, Positions, Seq2SeqModel, TensorLogits
from seq2seq.model.products import Linear
from seq2seq.model.transformer.attention import ATTENTIONS, fused_attention, key_mask, reference_attention
from seq2seq.model.transformer.layers import Dropout
from seq2seq.model.transformer.positions import LearnedPositions

_HALF = math.sqrt(0.5)
"""Halves the variance of a sum of two vectors, which then is that of either."""


class GatedConvolution(nn.Module):
    """A linear layer over windows of W tokens; one half of its output is a gate for the other (GLU)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.cnn.kernel_size
        self.linear = Linear(self.width * config.d_model, 2 * config.d_model)
        self.dropout = Dropout(config.dropout)
        # The gate lets half of it pass, so that a quarter of the variance would remain.
        nn.init.normal_(self.linear.weight, std=math.sqrt(4 * (1 - config.dropout) / self.linear.in_features))
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, left: int) -> Tensor:
        """All positions at once; beyond the text there are zeros. [B, T, D] -> [B, T, D]

        Args:
            x: [B, T, D]
            left: tokens of a window to the left of its own; W - 1: none is to the right.
        """
        padded = F.pad(self.dropout(x), (0, 0, left, self.width - 1 - left))  # [B, T + W - 1, D]
        return self.of_windows(torch.cat([padded[:, i : i + x.size(1)] for i in range(self.width)], dim=2))

    def of_windows(self, windows: Tensor) -> Tensor:
        """[B, T, W·D] -> [B, T, D]"""
        return F.glu(self.linear(windows), dim=2)


class ConvolutionalDecoderLayer(nn.Module):
    """A convolution of the target so far, then attention to the source."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.convolution = GatedConvolution(config)
        self.q_proj = Linear(config.d_model, config.d_model)
        self.score = ATTENTIONS[config.cnn.attention](1, config.d_model)
        self.out_proj = Linear(config.d_model, config.d_model)
        for linear in (self.q_proj, self.out_proj):
            nn.init.normal_(linear.weight, std=config.d_model**-0.5)
            nn.init.zeros_(linear.bias)

    def queries(self, x: Tensor, embedded: Tensor) -> Tensor:
        """Made from the convolution's output and the token itself, transformed by the score.

        [B, T, D], [B, T, D] -> [B, 1, T, D]
        """
        return self.score(((self.q_proj(x) + embedded) * _HALF).unsqueeze(1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, embedded: Tensor, source: "EncodedSource") -> Tensor:
        """All target positions at once. [B, T, D] -> [B, T, D]

        Args:
            x: [B, T, D]
            embedded: input of the first layer. [B, T, D]
            source: to attend to.
        """
        y = self.convolution(x, left=self.convolution.width - 1)
        return self.after_convolution(x, y, source.attend(self.queries(y, embedded)))

    def after_convolution(self, x: Tensor, y: Tensor, context: Tensor) -> Tensor:
        """Input, convolution and what attention found, added up. Three of [B, T, D] -> [B, T, D]"""
        return ((self.out_proj(context) + y) * _HALF + x) * _HALF  # type: ignore[no-any-return]


@dataclass
class EncodedSource:
    """What the decoder attends to."""

    keys: Tensor
    """Outputs of the encoder. [B, S, D]"""
    values: Tensor
    """The same with the embeddings, which say which token it is. [B, S, D]"""
    mask: Tensor | None
    """True at real tokens; None if nothing is padding. [B, S]"""

    def attend(self, queries: Tensor) -> Tensor:
        """[B, 1, T, D] -> [B, T, D]"""
        mean = fused_attention(queries, self.keys.unsqueeze(1), self.values.unsqueeze(1), key_mask(self.mask))
        return mean.squeeze(1) * self._scale(mean)

    def weights(self, queries: Tensor) -> Tensor:
        """The weights that ``attend`` uses. [B, 1, T, D] -> [B, 1, T, S]"""
        keys = self.keys.unsqueeze(1)
        return reference_attention(queries, keys, keys, key_mask(self.mask))[1]

    def _scale(self, mean: Tensor) -> Tensor | float:
        # The mean of S vectors has an S-th of their variance.
        if self.mask is None:
            return math.sqrt(self.keys.size(1))
        return self.mask.sum(dim=1).to(mean.dtype).sqrt()[:, None, None]

    def select(self, sentences: Tensor) -> "EncodedSource":
        """Those of some sentences. [B']"""
        mask = None if self.mask is None else self.mask.index_select(0, sentences)
        return EncodedSource(self.keys.index_select(0, sentences), self.values.index_select(0, sentences), mask)


class ConvolutionalModel(Seq2SeqModel):
    """Encoder, decoder and the embeddings they share.

    Args:
        config: the shape.
        vocab_size: pieces of the joint vocabulary V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.src_embedding = nn.Embedding(vocab_size, width)
        self.tgt_embedding = self.src_embedding if config.tied_embeddings else nn.Embedding(vocab_size, width)
        self.src_positions = LearnedPositions(width, config.max_positions)
        self.tgt_positions = LearnedPositions(width, config.max_positions)
        self.encoder = nn.ModuleList(GatedConvolution(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(ConvolutionalDecoderLayer(config) for _ in range(config.decoder_layers))
        self.output = Linear(width, vocab_size)
        if config.tied_embeddings:
            self.output.weight = self.src_embedding.weight
        self.dropout = Dropout(config.dropout)
        for matrix in (self.src_embedding.weight, self.tgt_embedding.weight, self.output.weight):
            nn.init.normal_(matrix, std=width**-0.5)
        nn.init.zeros_(self.output.bias)

    def _embed(self, tokens: Tensor, embedding: nn.Module, positions: nn.Module, offset: int = 0) -> Tensor:
        """[B, T] -> [B, T, D]"""
        # Not scaled up, as all weights keep the variance of what they read: small scores make softmax look everywhere,
        # and small numbers leave the gates half open.
        return self.dropout(positions(embedding(tokens), offset))  # type: ignore[no-any-return]

    def encode(self, src: Tensor, src_mask: Tensor | None = None) -> EncodedSource:
        """Keys and values for each source token.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None if nothing is padding. [B, S]
        """
        embedded = self._embed(src, self.src_embedding, self.src_positions)  # [B, S, D]
        x = embedded
        for layer in self.encoder_layers:
            if src_mask is not None:
                # Beyond the end of a text there are zeros, whether another one in the batch is longer or not.
                x = x * src_mask.unsqueeze(2)
            x = (layer(x, left=layer.width // 2) + x) * _HALF
        return EncodedSource(x, (x + embedded) * _HALF, src_mask)

    def embed_tgt(self, tgt: Tensor, offset: int = 0) -> Tensor:
        """The input of the decoder; the first token is at position ``offset``. [B, T] -> [B, T, D]"""
        return self._embed(tgt, self.tgt_embedding, self.tgt_positions, offset)

    def hidden(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """As ``Seq2SeqModel``'s. [B, T, D]"""
        source, embedded = self.encode(src, src_mask), self.embed_tgt(tgt)
        x = embedded
        for layer in self.decoder:
            x = layer(x, embedded, source)
        return self.dropout(x)  # type: ignore[no-any-return]

    def attention_maps(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> dict[AttentionKind, Tensor]:
        """As ``Seq2SeqModel``'s: one head of cross-attention in each decoder layer. [B, layers, 1, T, S]"""
        source, queries = self._source_queries(src, tgt, src_mask)
        return {"cross": torch.stack([source.weights(of_layer) for of_layer in queries], dim=1).float()}

    def attention_head(self, src: Tensor, tgt: Tensor, kind: AttentionKind, layer: int, head: int) -> AttentionHead:
        """As ``Seq2SeqModel``'s."""
        source, queries = self._source_queries(src, tgt, None)
        return AttentionHead(queries[layer - 1][0, 0].float(), source.keys[0].float(), source.values[0].float())

    def _source_queries(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None) -> tuple[EncodedSource, list[Tensor]]:
        """What the decoder attends to, and the queries of each of its layers. Each [B, 1, T, D]"""
        source, embedded = self.encode(src, src_mask), self.embed_tgt(tgt)
        x, queries = embedded, []
        for layer in self.decoder_layers:
            y = layer.convolution(x, left=layer.convolution.width - 1)
            queries.append(layer.queries(y, embedded))
            x = layer(x, embedded, source)
        return source, queries

    def positions(self, length: int) -> Positions:
        """As ``Seq2SeqModel``'s. Learned positions end at ``config.max_positions``."""
        return Positions("learned", self.src_positions.weight[:length].detach().float().cpu())

    @property
    def encoder_layers(self) -> list[GatedConvolution]:
        """The layers of ``encoder``."""
        return list(self.encoder)  # type: ignore[arg-type]  # a ModuleList forgets the type of its modules

    @property
    def decoder_layers(self) -> list[ConvolutionalDecoderLayer]:
        """The layers of ``decoder``."""
        return list(self.decoder)  # type: ignore[arg-type]  # a ModuleList forgets the type of its modules


# Decoding ---------------------------------------------------------------------------------------------------------


@dataclass
class ConvolutionalState:
    """What a batch has read so far: of each layer only the last tokens, as a window holds no more."""

    source: EncodedSource
    inputs: list[Tensor]
    """The last inputs of each layer. Each [R, W - 1, D]"""
    n_tokens: int
    """T"""


class ConvolutionalDecoder:
    """A trained ``ConvolutionalModel`` as ``Decoder``.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: ConvolutionalModel) -> None:
        self._model = model

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> ConvolutionalState:
        """Encode sentences. Arguments as ``Decoder``'s. [B, S], [B, S]"""
        source = self._model.encode(src, src_mask)
        n_before, width = self._model.config.cnn.kernel_size - 1, self._model.config.d_model
        nothing = source.keys.new_zeros(src.size(0), n_before, width)
        return ConvolutionalState(source, [nothing for _ in self._model.decoder_layers], n_tokens=0)

    def step(
        self, tokens: Sequence[Tensor], states: Sequence[ConvolutionalState]
    ) -> tuple[list[TensorLogits], list[ConvolutionalState]]:
        """One step of each batch, one batch after the other. Arguments as ``Decoder``'s. Each [R]"""
        return [self._step(newest, state) for newest, state in zip(tokens, states, strict=True)], list(states)

    def reorder(self, state: ConvolutionalState, sentences: Sequence[int], parents: Tensor) -> ConvolutionalState:
        """Copy the rows that continue. Arguments as ``Decoder``'s."""
        n_sentences = state.source.keys.size(0)
        kept = torch.tensor(sentences, device=parents.device)  # [B']
        n_beams = state.inputs[0].size(0) // n_sentences
        rows = ((kept * n_beams).unsqueeze(1) + parents).flatten()  # [B'·N']
        # All beams of a sentence look at one source: it is copied only when sentences leave.
        same = list(sentences) == list(range(n_sentences))
        return ConvolutionalState(
            state.source if same else state.source.select(kept),
            [of_layer.index_select(0, rows) for of_layer in state.inputs],
            state.n_tokens,
        )

    def _step(self, tokens: Tensor, state: ConvolutionalState) -> TensorLogits:
        """Read the newest token of each row. [R] -> [R, V]"""
        embedded = self._model.embed_tgt(tokens.unsqueeze(1), offset=state.n_tokens)  # [R, 1, D]
        n_sentences = state.source.keys.size(0)
        x = embedded
        for i, layer in enumerate(self._model.decoder_layers):
            window = torch.cat((state.inputs[i], x), dim=1)  # [R, W, D]
            state.inputs[i] = window[:, 1:]
            y = layer.convolution.of_windows(window.flatten(1).unsqueeze(1))  # [R, 1, D]
            queries = layer.queries(y, embedded).view(n_sentences, 1, -1, x.size(2))  # [B, 1, N, D]
            x = layer.after_convolution(x, y, state.source.attend(queries).reshape(x.shape))
        state.n_tokens += 1
        return TensorLogits(self._model.output(x.squeeze(1)))


# Sizes ------------------------------------------------------------------------------------------------------------


def limits(config: ModelConfig) -> MaxLengths:
    """Learned positions end."""
    return MaxLengths(max_src=config.max_positions, max_tgt=config.max_positions)


def multiply_adds(config: ModelConfig, vocab_size: int) -> PerToken:
    """Products with weights in a forward pass."""
    square = config.d_model**2
    convolution = 2 * config.cnn.kernel_size * square
    attention = (3 if config.cnn.attention == "bilinear" else 2) * square
    return PerToken(
        src=config.encoder_layers * convolution,
        tgt=config.decoder_layers * (convolution + attention) + config.d_model * vocab_size,
    )


def n_layers(config: ModelConfig) -> int:
    """Of encoder and decoder."""
    return config.encoder_layers + config.decoder_layers


def state_size(config: ModelConfig) -> PerToken:
    """A key and a value for each source token. The decoder keeps no more than a window of each layer."""
    return PerToken(src=2 * config.d_model, tgt=config.d_model)


def shape(config: ModelConfig) -> str:
    """For example ``4 encoder and 4 decoder layers of convolutions over 3 tokens, of width 256``."""
    layers = f"{config.encoder_layers} encoder and {counted(config.decoder_layers, 'decoder layer')}"
    return f"{layers} of convolutions over {config.cnn.kernel_size} tokens, of width {config.d_model}"
