"""Mapping of our weights to CTranslate2's ``TransformerSpec``.

Weights are copied unchanged, with three exceptions. The attention score is folded into W_Q. Matrices with the same
input are stacked. Control symbols, which a translation never contains, get a large negative output bias.

Shapes: D model width, H heads, K width of a head, V vocabulary.
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.transformer.attention import MultiHeadAttention
from seq2seq.model.transformer.layers import DecoderLayer, EncoderLayer, FeedForward, Residual, build_norm
from seq2seq.model.transformer.model import Transformer
from seq2seq.model.transformer.positions import LearnedPositions, sinusoidal_table
from seq2seq.tokenizer import BOS, EOS, N_CONTROL, UNK

# Its exp is zero in every data type, and float16 can represent it.
_NEVER_BIAS = -1e4


def check_supported(config: ModelConfig) -> None:
    """Refuse a model that CTranslate2 does not support.

    Raises:
        UserError: it does not support the architecture, or a combination of settings (78).
    """
    if config.architecture != "transformer":
        raise UserError(
            f"CTranslate2 does not support model.architecture {config.architecture}",
            mend="translate with `seq2seq translate`, or train a transformer",
            code=ExitCode.REFUSED,
        )
    if config.attention == "bilinear" and config.positions == "rotary":
        raise UserError(
            "CTranslate2 does not support model.attention bilinear together with model.positions rotary: the rotation "
            "comes between W_Q and the score, so the two cannot become one matrix",
            mend="translate with `seq2seq translate`, or train with another attention or other positions",
            code=ExitCode.REFUSED,
        )


@torch.no_grad()
def to_spec(model: Transformer, pieces: list[str], n_positions: int, n_control: int = N_CONTROL) -> Any:
    """The model as a ``ctranslate2.specs.TransformerSpec``.

    Args:
        model: a model that ``check_supported`` accepts.
        pieces: its vocabulary, by id. [V]
        n_positions: number of rows of the position table, if the model has no table of its own.
        n_control: number of control symbols and tags, which come first in the vocabulary.
    """
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.common_spec import Activation
    from ctranslate2.specs.transformer_spec import TransformerDecoderSpec, TransformerEncoderSpec

    config = model.config
    shape: dict[str, Any] = {
        "num_heads": config.n_heads,
        "pre_norm": config.norm_order == "pre",
        "activation": {"relu": Activation.RELU, "gelu": Activation.GELU, "swiglu": Activation.SWISH}[config.activation],
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm == "rms",
        "rotary_dim": 0 if config.positions == "rotary" else None,  # 0: all channels of a head
        "rotary_interleave": True,  # neighbouring channels form a pair
        "rotary_base": 10_000.0,
    }
    encoder = TransformerEncoderSpec(config.encoder_layers, **shape)
    decoder = TransformerDecoderSpec(config.decoder_layers, **shape)

    encoder.embeddings[0].weight = model.src_embedding.weight
    decoder.embeddings.weight = model.tgt_embedding.weight
    encoder.scale_embeddings = decoder.scale_embeddings = True  # by sqrt(D)
    if config.positions != "rotary":
        encoder.position_encodings.encodings = _table(model.src_positions, config, n_positions)
        decoder.position_encodings.encodings = _table(model.tgt_positions, config, n_positions)
    # A ModuleList does not know the type of its modules.
    for ours, theirs in zip(model.encoder, encoder.layer, strict=True):
        _encoder_layer(theirs, cast(EncoderLayer, ours))
    for ours, theirs in zip(model.decoder, decoder.layer, strict=True):
        _decoder_layer(theirs, cast(DecoderLayer, ours))
    if config.norm_order == "pre":
        _norm(encoder.layer_norm, model.encoder_norm)
        _norm(decoder.layer_norm, model.decoder_norm)
    decoder.projection.weight = model.output.weight  # CTranslate2 stores equal (tied) tensors once
    decoder.projection.bias = _output_bias(model, n_control)

    spec = TransformerSpec(encoder, decoder)
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = pieces[UNK], pieces[BOS], pieces[EOS]
    spec.config.decoder_start_token = pieces[BOS]
    spec.config.add_source_bos, spec.config.add_source_eos = False, True
    spec.config.layer_norm_epsilon = build_norm(config).eps
    return spec


def _encoder_layer(theirs: Any, ours: EncoderLayer) -> None:
    _self_attention(theirs.self_attention, ours.self_attention, ours.self_attention_residual)
    _feed_forward(theirs.ffn, ours.feed_forward, ours.feed_forward_residual)


def _decoder_layer(theirs: Any, ours: DecoderLayer) -> None:
    _self_attention(theirs.self_attention, ours.self_attention, ours.self_attention_residual)
    _cross_attention(theirs.attention, ours.cross_attention, ours.cross_attention_residual)
    _feed_forward(theirs.ffn, ours.feed_forward, ours.feed_forward_residual)


def _self_attention(theirs: Any, ours: MultiHeadAttention, residual: Residual) -> None:
    _norm(theirs.layer_norm, residual.norm)
    _linear(theirs.linear[0], _queries(ours), *ours.projections()[1:])
    _linear(theirs.linear[1], _weight_and_bias(ours.out_proj))


def _cross_attention(theirs: Any, ours: MultiHeadAttention, residual: Residual) -> None:
    _norm(theirs.layer_norm, residual.norm)
    _linear(theirs.linear[0], _queries(ours))
    _linear(theirs.linear[1], _weight_and_bias(ours.kv_proj))
    _linear(theirs.linear[2], _weight_and_bias(ours.out_proj))


def _feed_forward(theirs: Any, ours: FeedForward, residual: Residual) -> None:
    _norm(theirs.layer_norm, residual.norm)
    _linear(theirs.linear_0, _weight_and_bias(ours.inner))
    if ours.gate is not None:
        _linear(theirs.linear_0_noact, _weight_and_bias(ours.gate))
    _linear(theirs.linear_1, _weight_and_bias(ours.out_proj))


def _norm(theirs: Any, ours: nn.Module) -> None:
    theirs.gamma = ours.weight
    if isinstance(ours, nn.LayerNorm):
        theirs.beta = ours.bias


def _weight_and_bias(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight, linear.bias


def _linear(theirs: Any, *stacked: tuple[Tensor, Tensor]) -> None:
    """Set a linear layer of CTranslate2 to one of our layers, or to several concatenated ones."""
    theirs.weight = torch.cat([weight for weight, _ in stacked])
    theirs.bias = torch.cat([bias for _, bias in stacked])


def _queries(attention: MultiHeadAttention) -> tuple[Tensor, Tensor]:
    """W_Q and its bias with the attention score folded in. [D, D], [D]"""
    weight, bias = attention.folded_queries()
    scale = math.sqrt(weight.size(0) // attention.n_heads)
    return weight * scale, bias * scale  # CTranslate2 always divides by sqrt(K)


def _table(positions: nn.Module, config: ModelConfig, n_positions: int) -> Tensor:
    """The position table, which is added to the embeddings. [n_positions, D]"""
    if isinstance(positions, LearnedPositions):
        return positions.weight
    if config.positions == "none":
        return torch.zeros(n_positions, config.d_model)  # without a table CTranslate2 adds sinusoids
    # CTranslate2's own table begins at position 1, has other frequencies, and has all sines before the cosines.
    return sinusoidal_table(n_positions, config.d_model)


def _output_bias(model: Transformer, n_control: int) -> Tensor:
    """The output bias. It excludes all control symbols except EOS. [V]"""
    # Our search excludes them after the softmax; CTranslate2's does not exclude them. With this bias they are also not
    # part of the softmax's sum, so scores are higher by their probability, which is small.
    bias = model.output.bias.clone()
    bias[[piece for piece in range(n_control) if piece != EOS]] = _NEVER_BIAS
    return bias
