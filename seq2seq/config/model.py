"""The shape of the model: the table ``model``, and in it a table for each ancestor of the Transformer."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool
from pydantic.dataclasses import dataclass

from seq2seq.config.types import CHECKED, Fraction, PositiveInt
from seq2seq.errors import ExitCode, UserError


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RnnConfig:
    """The recurrent network (``architecture = "rnn"``)."""

    cell: Literal["lstm", "gru"] = "lstm"
    """Recurrent cell: long short-term memory (lstm) or gated recurrent unit (gru)."""
    attention: Literal["scaled_dot", "dot", "bilinear"] = "bilinear"
    """Attention score of a decoder state and a source vector, as ``model.attention``."""


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class CnnConfig:
    """The convolutional network (``architecture = "cnn"``)."""

    kernel_size: Annotated[PositiveInt, Field(le=63)] = 3
    """Neighbouring tokens that a convolution reads, its own among them; odd. A stack of n layers sees
    n * (kernel_size - 1) + 1 tokens."""
    attention: Literal["scaled_dot", "dot", "bilinear"] = "dot"
    """Attention score of a decoder layer's vector and a source vector, as ``model.attention``."""

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise UserError(
                f"model.cnn.kernel_size {self.kernel_size} is even, so a convolution has no middle",
                mend=f"give {self.kernel_size - 1} or {self.kernel_size + 1}",
                code=ExitCode.REFUSED,
            )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ModelConfig:
    """The shape of the model."""

    architecture: Literal["transformer", "rnn", "cnn"] = "transformer"
    """Kind of network. transformer: the encoder-decoder Transformer; rnn: a recurrent network with attention; cnn: a
    convolutional network with attention. The Transformer replaced the other two, which are here for comparison. Only
    some keys of this table apply to them."""
    d_model: PositiveInt = 256
    """Width of embeddings and layers. It must be divisible by n_heads."""
    d_ff: PositiveInt = 1024
    """Width of the hidden layer of the feed-forward networks."""
    n_heads: PositiveInt = 4
    """Number of attention heads in each layer. It must divide d_model."""
    encoder_layers: PositiveInt = 3
    """Number of layers of the encoder, which reads the source."""
    decoder_layers: PositiveInt = 3
    """Number of layers of the decoder, which generates the translation."""
    dropout: Fraction = 0.1
    """Dropout: probability that training sets an activation to zero, after the embeddings and after each sublayer. A
    higher value reduces overfitting. 0: off."""
    attention: Literal["scaled_dot", "dot", "bilinear"] = "scaled_dot"
    """Attention score of a query and a key. scaled_dot: dot product, divided by the square root of a head's width; dot:
    dot product; bilinear: product with a learned matrix between query and key."""
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """Position encoding. sinusoidal: fixed sines and cosines are added to the embeddings; learned: a learned vector for
    each position is added; rotary: queries and keys are rotated by their positions; none: the encoder does not know the
    order of tokens."""
    max_positions: PositiveInt = 1024
    """Number of learned positions: the max length of a sentence in tokens. Used with ``positions = "learned"`` and
    ``architecture = "cnn"``; other models have no limit."""
    norm_order: Literal["pre", "post"] = "pre"
    """Where sublayers are normalized. pre: a sublayer's input; post: the sum of its input and its output."""
    norm: Literal["layer", "rms"] = "layer"
    """Kind of normalization: LayerNorm (layer) or RMSNorm (rms)."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Activation function of the feed-forward networks."""
    tied_embeddings: StrictBool = True
    """Whether source embeddings, target embeddings and the output layer share one matrix."""
    rnn: RnnConfig = Field(default_factory=RnnConfig)
    cnn: CnnConfig = Field(default_factory=CnnConfig)

    @property
    def learns_positions(self) -> bool:
        """Whether there is a vector for each position, which limits the length of texts."""
        return self.architecture == "cnn" or (self.architecture == "transformer" and self.positions == "learned")

    def __post_init__(self) -> None:
        if self.architecture == "rnn" and self.d_model % 2:
            raise UserError(
                f"model.d_model {self.d_model} is odd, but half of it reads forward and half of it backward",
                mend="choose an even width",
                code=ExitCode.REFUSED,
            )
        if self.architecture != "transformer":
            return
        if self.d_model % self.n_heads:
            raise UserError(
                f"model.d_model {self.d_model} is not divisible by model.n_heads {self.n_heads}",
                mend=f"choose n_heads among the divisors of {self.d_model}",
                code=ExitCode.REFUSED,
            )
        if self.positions == "rotary" and (self.d_model // self.n_heads) % 2:
            raise UserError(
                f"model.positions rotary needs heads of even width, but their width is {self.d_model // self.n_heads}",
                mend="choose model.d_model and model.n_heads so that d_model / n_heads is even",
                code=ExitCode.REFUSED,
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise UserError(
                f"model.positions sinusoidal needs an even model.d_model, not {self.d_model}",
                mend="choose an even width",
                code=ExitCode.REFUSED,
            )


_SHARED = {"architecture", "d_model", "encoder_layers", "decoder_layers", "dropout", "tied_embeddings"}
_USED: dict[str, set[str]] = {
    "transformer": {*ModelConfig.__dataclass_fields__} - {"rnn", "cnn"},
    "rnn": {*_SHARED, "rnn"},
    "cnn": {*_SHARED, "max_positions", "cnn"},
}
"""By architecture: the keys and tables of ``model`` that apply to it."""


def is_used(key: str, architecture: str) -> bool:
    """Whether a key of ``model``, as ``model.rnn.cell``, applies to an architecture; False for keys of other tables."""
    table, _, name = key.partition(".")
    return table == "model" and name.partition(".")[0] in _USED[architecture]
