"""The encoder-decoder Transformer of Vaswani et al. 2017, arXiv:1706.03762.

Training sees all target positions at once (teacher forcing): ``forward``. Decoding goes one token at
a time over cached keys and values: ``start``, ``step``, ``reorder``.

Shapes: B sentences, S source length, T target length, D model width, H heads, K width of a head,
V vocabulary, N beams. Masks are boolean, True = may attend.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model.attention import MultiHeadAttention
from seq2seq.model.layers import DecoderLayer, Dropout, EncoderLayer, FeedForward, build_norm
from seq2seq.model.positions import POSITIONS


@dataclass(frozen=True)
class DecoderState:
    """What decoding remembers between steps; B sentences of N beams each."""

    self_caches: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values of the target so far, a layer each. Two of [B·N, H, T, K]"""
    cross_caches: tuple[tuple[Tensor, Tensor], ...]
    """Keys and values of the source, a layer each, once a sentence. Two of [B, H, S, K]"""
    src_mask: Tensor | None
    """Real source tokens; None where nothing is padding. [B, 1, 1, S]"""

    @property
    def length(self) -> int:
        """Target tokens so far, the start symbol included."""
        return self.self_caches[0][0].size(2)


class Transformer(nn.Module):
    """Encoder, decoder and the embeddings they share.

    Args:
        config: the shape.
        vocab_size: pieces of the joint vocabulary V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.src_embedding = nn.Embedding(vocab_size, config.d_model)
        self.tgt_embedding = self.src_embedding if config.tied_embeddings else nn.Embedding(vocab_size, config.d_model)
        self.output = nn.Linear(config.d_model, vocab_size)
        if config.tied_embeddings:
            self.output.weight = self.src_embedding.weight
        self.src_positions = POSITIONS[config.positions](config.d_model, config.max_positions)
        self.tgt_positions = POSITIONS[config.positions](config.d_model, config.max_positions)
        self.dropout = Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        # Pre-norm leaves the last sum unnormalised; post-norm has done it already.
        pre = config.norm_order == "pre"
        self.encoder_norm = build_norm(config) if pre else nn.Identity()
        self.decoder_norm = build_norm(config) if pre else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        """Glorot for the matrices, unit variance after embedding, quiet residual branches under pre-norm."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for embedding in (self.src_embedding, self.tgt_embedding):
            nn.init.normal_(embedding.weight, std=self.config.d_model**-0.5)
        if not self.config.tied_embeddings:
            nn.init.normal_(self.output.weight, std=self.config.d_model**-0.5)
        if self.config.norm_order == "pre":
            # Each branch adds to the same sum: scaled so that the sum's variance does not grow with depth.
            for layers, branches in ((self.encoder, 2), (self.decoder, 3)):
                for module in layers.modules():
                    if isinstance(module, MultiHeadAttention | FeedForward):
                        with torch.no_grad():
                            module.out_proj.weight.mul_((branches * len(layers)) ** -0.5)

    def _embed(self, tokens: Tensor, embedding: nn.Module, positions: nn.Module, offset: int = 0) -> Tensor:
        """Scaled embeddings plus positions, after dropout. [B, T] -> [B, T, D]"""
        # The scale brings embeddings of variance 1/D, which suits them as output weights, to the
        # size of the positions.
        return self.dropout(positions(embedding(tokens) * math.sqrt(self.config.d_model), offset))  # type: ignore[no-any-return]

    def encode(self, src: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """One vector for each source token, having seen the whole source.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens, as [B, 1, 1, S]; None where nothing is padding.

        Returns:
            ``memory``. [B, S, D]
        """
        x = self._embed(src, self.src_embedding, self.src_positions)  # [B, S, D]
        for layer in self.encoder:
            x = layer(x, src_mask)
        return self.encoder_norm(x)  # type: ignore[no-any-return]

    def decode(self, tgt: Tensor, memory: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """One vector for each target position, having seen the target to its left and ``memory``.

        Args:
            tgt: start symbol, then pieces, padded on the right. [B, T]
            memory: [B, S, D]
            src_mask: as for ``encode``.

        Returns:
            What ``logits`` are made from. [B, T, D]
        """
        x = self._embed(tgt, self.tgt_embedding, self.tgt_positions)  # [B, T, D]
        for layer in self.decoder:
            x = layer(x, memory, src_mask)
        return self.decoder_norm(x)  # type: ignore[no-any-return]

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next piece. [..., D] -> [..., V]"""
        return self.output(hidden)  # type: ignore[no-any-return]

    def forward(self, src: Tensor, src_mask: Tensor | None, tgt: Tensor) -> Tensor:
        """Logits of the piece after each target position. [B, S], [B, 1, 1, S], [B, T] -> [B, T, V]"""
        return self.logits(self.decode(tgt, self.encode(src, src_mask), src_mask))

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> DecoderState:
        """Encode sentences and make ready to translate them, one beam each. [B, S] -> state"""
        memory = self.encode(src, src_mask)  # [B, S, D]
        heads = self.config.n_heads
        empty = memory.new_empty(src.size(0), heads, 0, self.config.d_model // heads)  # [B, H, 0, K]
        return DecoderState(
            self_caches=tuple((empty, empty) for _ in self.decoder),
            cross_caches=tuple(layer.cross_attention.keys_values(memory) for layer in self._decoder_layers()),
            src_mask=src_mask,
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one more target token in each row, and say what may come next.

        Args:
            tokens: the newest piece of each row. [B·N]
            state: everything before it.

        Returns:
            Logits of the next piece [B·N, V], and the state with the new tokens in it.
        """
        x = self._embed(tokens.unsqueeze(1), self.tgt_embedding, self.tgt_positions, state.length)  # [B·N, 1, D]
        caches = []
        for layer, self_cache, cross_cache in zip(
            self._decoder_layers(), state.self_caches, state.cross_caches, strict=True
        ):
            x, cache = layer.step(x, self_cache, cross_cache, state.src_mask)
            caches.append(cache)
        logits = self.logits(self.decoder_norm(x).squeeze(1))  # [B·N, V]
        return logits, DecoderState(tuple(caches), state.cross_caches, state.src_mask)

    def reorder(self, state: DecoderState, rows: Tensor) -> DecoderState:
        """Let each beam go on from another row; drop sentences; change the number of beams.

        Args:
            state: B sentences of N beams.
            rows: for each sentence kept and each of its new beams, the row of ``state`` to go on
                from; the rows of a sentence lie side by side. [B', N']

        Returns:
            The state of B' sentences of N' beams.
        """
        old_rows = state.self_caches[0][0].size(0)
        flat = rows.reshape(-1)
        self_caches = state.self_caches
        # Most greedy steps change nothing: the copy of the whole cache is worth a comparison.
        if flat.numel() != old_rows or not torch.equal(flat, torch.arange(old_rows, device=flat.device)):
            self_caches = tuple((k.index_select(0, flat), v.index_select(0, flat)) for k, v in state.self_caches)
        n_sentences = state.cross_caches[0][0].size(0)
        cross_caches, src_mask = state.cross_caches, state.src_mask
        sentences = rows[:, 0] // (old_rows // n_sentences)
        if rows.size(0) != n_sentences or not torch.equal(sentences, torch.arange(n_sentences, device=rows.device)):
            cross_caches = tuple((k.index_select(0, sentences), v.index_select(0, sentences)) for k, v in cross_caches)
            src_mask = None if src_mask is None else src_mask.index_select(0, sentences)
        return DecoderState(self_caches, cross_caches, src_mask)

    def cross_attention_weights(self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None) -> Tensor:
        """Where each target position looks in the source, in every layer and head of the decoder.

        Args:
            src: [B, S]
            tgt: start symbol, then pieces. [B, T]
            src_mask: as for ``encode``.

        Returns:
            Weights that sum to one over S. [B, layers, H, T, S]
        """
        memory = self.encode(src, src_mask)
        maps: list[Tensor] = []
        # The weights are read off where the fused kernel runs, by the written-out attention beside it.
        hooks = [
            layer.cross_attention.register_forward_pre_hook(
                lambda module, args: maps.append(module.weights(*args))  # a hook that returns None changes nothing
            )
            for layer in self._decoder_layers()
        ]
        try:
            self.decode(tgt, memory, src_mask)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(maps, dim=1)

    def _decoder_layers(self) -> list[DecoderLayer]:
        return list(self.decoder)  # type: ignore[arg-type]  # a ModuleList forgets the type of its modules


def padding_mask(tokens: Tensor, pad: int) -> Tensor | None:
    """True at real tokens, in the shape attention takes; None where nothing is padding. [B, S] -> [B, 1, 1, S]"""
    real = tokens.ne(pad)
    return None if bool(real.all()) else real[:, None, None, :]


def n_parameters(model: nn.Module) -> int:
    """Trained numbers, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
