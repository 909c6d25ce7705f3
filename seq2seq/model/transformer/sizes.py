"""Limits, arithmetic and memory of a Transformer, computed from its shape.

Shapes: D model width, F feed-forward width, V vocabulary.
"""

from seq2seq.config import ModelConfig
from seq2seq.errors import counted
from seq2seq.model.base import MaxLengths, PerToken


def limits(config: ModelConfig) -> MaxLengths:
    """Max lengths of source and target. Only learned positions have a limit."""
    if config.positions != "learned":
        return MaxLengths()
    return MaxLengths(max_src=config.max_positions, max_tgt=config.max_positions)


def multiply_adds(config: ModelConfig, vocab_size: int) -> PerToken:
    """Multiply-adds with weights in the forward pass of one token.

    Those of the scores (queries with keys) are not counted: for sentences they are few.

    Args:
        config: the shape.
        vocab_size: V
    """
    attention = 4 * config.d_model**2  # W_Q, W_K, W_V and W_O
    feed_forward = (3 if config.activation == "swiglu" else 2) * config.d_model * config.d_ff
    return PerToken(
        # Cross-attention is counted as if there were as many target tokens as source tokens.
        src=config.encoder_layers * (attention + feed_forward),
        tgt=config.decoder_layers * (2 * attention + feed_forward) + config.d_model * vocab_size,
    )


def n_layers(config: ModelConfig) -> int:
    """Number of layers of encoder and decoder together."""
    return config.encoder_layers + config.decoder_layers


def state_size(config: ModelConfig) -> PerToken:
    """Numbers in a decoder's state for one token: a key and a value in each layer of the decoder."""
    keys_and_values = 2 * config.decoder_layers * config.d_model
    return PerToken(src=keys_and_values, tgt=keys_and_values)


def shape(config: ModelConfig) -> str:
    """The shape in words, for example ``3 encoder and 3 decoder layers of width 256``."""
    layers = f"{config.encoder_layers} encoder and {counted(config.decoder_layers, 'decoder layer')}"
    return f"{layers} of width {config.d_model}"
