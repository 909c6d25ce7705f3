"""The encoder-decoder Transformer of Vaswani et al. 2017, arXiv:1706.03762.

The encoder turns the source into ``memory``, one vector for each token. The decoder predicts each target token from
``memory`` and the tokens to its left. Training computes all target positions at once (teacher forcing). Translation
generates one token at a time with cached keys and values: see ``decoder.py``.

Shapes: B sentences, S source length, T target length, D model width, H heads, V vocabulary. Masks are boolean, True =
may attend.
"""

import contextlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model.base import AttentionHead, AttentionKind, Positions, Seq2SeqModel
from seq2seq.model.products import Linear
from seq2seq.model.transformer.attention import STACKED, MultiHeadAttention, key_mask
from seq2seq.model.transformer.layers import DecoderLayer, Dropout, EncoderLayer, FeedForward, build_norm
from seq2seq.model.transformer.positions import POSITIONS, LearnedPositions, SinusoidalPositions, sinusoidal_table


class Transformer(Seq2SeqModel):
    """Embeddings, encoder, decoder and output layer.

    Args:
        config: the shape.
        vocab_size: pieces of the joint vocabulary V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = nn.Embedding(vocab_size, config.d_model)
        self.tgt_embedding = self.src_embedding if config.tied_embeddings else nn.Embedding(vocab_size, config.d_model)
        self.output = Linear(config.d_model, vocab_size)
        if config.tied_embeddings:
            self.output.weight = self.src_embedding.weight
        self.src_positions = POSITIONS[config.positions](config.d_model, config.max_positions)
        self.tgt_positions = POSITIONS[config.positions](config.d_model, config.max_positions)
        self.dropout = Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # With pre-norm the sum after the last layer is not normalized yet; with post-norm it is.
        pre = config.norm_order == "pre"
        self.encoder_norm = build_norm(config) if pre else nn.Identity()
        self.decoder_norm = build_norm(config) if pre else nn.Identity()
        self._initialize()

    def _initialize(self) -> None:
        """Initialize the weights: Glorot for matrices, variance 1/D for embeddings, smaller branches with pre-norm."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                for matrix in module.weight.chunk(STACKED.get(name.rpartition(".")[2], 1)):
                    nn.init.xavier_uniform_(matrix)
                nn.init.zeros_(module.bias)
        for embedding in (self.src_embedding, self.tgt_embedding):
            nn.init.normal_(embedding.weight, std=self.config.d_model**-0.5)
        if not self.config.tied_embeddings:
            nn.init.normal_(self.output.weight, std=self.config.d_model**-0.5)
        if self.config.norm_order == "pre":
            # With pre-norm all residual branches are added to one sum. They are scaled down, so that its variance does
            # not grow with depth.
            for layers, branches in ((self.encoder, 2), (self.decoder, 3)):
                for module in layers.modules():
                    if isinstance(module, MultiHeadAttention | FeedForward):
                        with torch.no_grad():
                            module.out_proj.weight.mul_((branches * len(layers)) ** -0.5)

    def _embed(self, tokens: Tensor, embedding: nn.Module, positions: nn.Module, offset: int = 0) -> Tensor:
        """Scaled embeddings plus positions, after dropout. [B, T] -> [B, T, D]"""
        # Embeddings have a variance of 1/D, which suits the output layer. Scaled by sqrt(D) they have the size of the
        # position vectors.
        return self.dropout(positions(embedding(tokens) * math.sqrt(self.config.d_model), offset))  # type: ignore[no-any-return]

    def embed_src(self, src: Tensor) -> Tensor:
        """The input of the encoder. [B, S] -> [B, S, D]"""
        return self._embed(src, self.src_embedding, self.src_positions)

    def embed_tgt(self, tgt: Tensor, offset: int = 0) -> Tensor:
        """The input of the decoder; the first token is at position ``offset``. [B, T] -> [B, T, D]"""
        return self._embed(tgt, self.tgt_embedding, self.tgt_positions, offset)

    def encode(self, src: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """Encode sources: one vector for each token, computed from the whole source.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None if nothing is padding. [B, S]

        Returns:
            ``memory``, from which cross-attention reads. [B, S, D]
        """
        x = self.embed_src(src)  # [B, S, D]
        mask = key_mask(src_mask)
        for layer in self.encoder:
            x = layer(x, mask)
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def decode(self, tgt: Tensor, memory: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """One vector for each target position, computed from ``memory`` and the target up to that position.

        Args:
            tgt: start symbol, then pieces, padded on the right. [B, T]
            memory: from ``encode``. [B, S, D]
            src_mask: as for ``encode``.

        Returns:
            The input of the output layer. [B, T, D]
        """
        x = self.embed_tgt(tgt)  # [B, T, D]
        mask = key_mask(src_mask)
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return self.decoder_norm(x)  # type: ignore[no-any-return]

    def hidden(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """As ``Seq2SeqModel``'s. [B, T, D]"""
        return self.decode(tgt, self.encode(src, src_mask), src_mask)

    def attention_maps(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> dict[AttentionKind, Tensor]:
        """As ``Seq2SeqModel``'s."""
        attentions = self._attentions()
        weights = self._weights([a for of_kind in attentions.values() for a in of_kind], src, tgt, src_mask)
        return {kind: torch.stack([weights[a] for a in of_kind], dim=1) for kind, of_kind in attentions.items()}

    def _attentions(self) -> dict[AttentionKind, list[MultiHeadAttention]]:
        """Those of each kind, layer by layer."""
        return {
            "encoder": [layer.self_attention for layer in self.encoder_layers],
            "decoder": [layer.self_attention for layer in self.decoder_layers],
            "cross": [layer.cross_attention for layer in self.decoder_layers],
        }

    def attention_head(self, src: Tensor, tgt: Tensor, kind: AttentionKind, layer: int, head: int) -> AttentionHead:
        """As ``Seq2SeqModel``'s."""
        found: list[Tensor] = []

        def read(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            assert isinstance(module, MultiHeadAttention)
            found.extend(of_heads[0, head - 1].float() for of_heads in module.queries_keys_values(*args[:2]))

        with contextlib.ExitStack() as hooks:
            hooks.callback(self._attentions()[kind][layer - 1].register_forward_pre_hook(read).remove)
            self.hidden(src, None, tgt)
        return AttentionHead(*found)

    def cross_attention(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """As ``Seq2SeqModel``'s."""
        attentions = self._attentions()["cross"]
        weights = self._weights(attentions, src, tgt, src_mask)
        return torch.stack([weights[attention] for attention in attentions], dim=1)

    def _weights(
        self, attentions: Sequence[MultiHeadAttention], src: Tensor, tgt: Tensor, src_mask: Tensor | None
    ) -> dict[nn.Module, Tensor]:
        """The weights of some attentions, in fp32. Arguments as ``hidden``'s. Each [B, H, queries, keys]"""
        weights: dict[nn.Module, Tensor] = {}

        def read(module: nn.Module, args: tuple[Tensor, ...], options: dict[str, bool]) -> None:
            """The fused kernel, which runs next, keeps no weights: the reference attention beside it gives them."""
            assert isinstance(module, MultiHeadAttention)
            weights[module] = module.weights(*args, causal=options.get("causal", False)).float()

        with contextlib.ExitStack() as hooks:
            for attention in attentions:
                hooks.callback(attention.register_forward_pre_hook(read, with_kwargs=True).remove)
            self.hidden(src, src_mask, tgt)
        return weights

    def positions(self, length: int) -> Positions:
        """As ``Seq2SeqModel``'s. Learned positions end at ``config.max_positions``."""
        table: Tensor | None = None
        if isinstance(self.src_positions, SinusoidalPositions):
            table = sinusoidal_table(length, self.config.d_model)
        elif isinstance(self.src_positions, LearnedPositions):
            table = self.src_positions.weight[:length].detach().float().cpu()
        return Positions(self.config.positions, table)

    @property
    def encoder_layers(self) -> list[EncoderLayer]:
        """The layers of ``encoder``."""
        return list(self.encoder)  # type: ignore[arg-type]  # a ModuleList forgets the type of its modules

    @property
    def decoder_layers(self) -> list[DecoderLayer]:
        """The layers of ``decoder``."""
        return list(self.decoder)  # type: ignore[arg-type]  # a ModuleList forgets the type of its modules
