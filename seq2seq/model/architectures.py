"""The table of architectures that can be trained. The rest of the program knows them only by their rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from seq2seq.config import ModelConfig
from seq2seq.model import cnn, rnn
from seq2seq.model.base import Decoder, MaxLengths, PerToken, Seq2SeqModel
from seq2seq.model.shortlist import Shortlist, ShortlistDecoder
from seq2seq.model.transformer import sizes as transformer
from seq2seq.model.transformer.decoder import TransformerDecoder
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.model.transformer.model import Transformer

_FAST_DEVICES = {"cpu", "cuda"}
"""Kinds of devices on which the fast decoders were measured. Others get the plain ones."""


class FastDecoderFactory(Protocol):
    """Builds a decoder with the same logits as the plain one, computed faster."""

    def __call__(self, model: Any, shortlist: Shortlist | None, *, greedy: bool, products: str) -> Decoder:
        """Arguments as ``build_decoder``'s."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What the rest of the program needs to know about a kind of network."""

    name: str
    """With its article, for use within a sentence."""
    build: Callable[[ModelConfig, int], Seq2SeqModel]
    """A newly initialized model, from its shape and the size of the joint vocabulary."""
    decoder: Callable[[Any], Decoder]
    """Builds the plain decoder of a model: the reference, written to be read."""
    fast_decoder: FastDecoderFactory | None = None
    """Builds the fast decoder; None: there is only the plain one."""
    limits: Callable[[ModelConfig], MaxLengths]
    """Max lengths of source and target."""
    multiply_adds: Callable[[ModelConfig, int], PerToken]
    """Multiply-adds with weights in the forward pass of one token, from the shape and the size of the vocabulary.
    Training takes three times as many. Recipes estimate the speed from them."""
    n_layers: Callable[[ModelConfig], int]
    """Layers that are computed one after the other. A GPU needs some time for each, even for few tokens."""
    state_size: Callable[[ModelConfig], PerToken]
    """Numbers in a decoder's state for one token. They limit the size of the batches that fit into memory."""
    shape: Callable[[ModelConfig], str]
    """The shape in words, for example ``3 encoder and 3 decoder layers of width 256``."""


ARCHITECTURES: dict[str, Architecture] = {
    "transformer": Architecture(
        name="a Transformer",
        build=Transformer,
        decoder=TransformerDecoder,
        fast_decoder=FastDecoder,
        limits=transformer.limits,
        multiply_adds=transformer.multiply_adds,
        n_layers=transformer.n_layers,
        state_size=transformer.state_size,
        shape=transformer.shape,
    ),
    "rnn": Architecture(
        name="a recurrent network with attention",
        build=rnn.RecurrentModel,
        decoder=rnn.RecurrentDecoder,
        limits=rnn.limits,
        multiply_adds=rnn.multiply_adds,
        n_layers=rnn.n_layers,
        state_size=rnn.state_size,
        shape=rnn.shape,
    ),
    "cnn": Architecture(
        name="a convolutional network with attention",
        build=cnn.ConvolutionalModel,
        decoder=cnn.ConvolutionalDecoder,
        limits=cnn.limits,
        multiply_adds=cnn.multiply_adds,
        n_layers=cnn.n_layers,
        state_size=cnn.state_size,
        shape=cnn.shape,
    ),
}
"""The values of ``model.architecture``."""


def build_model(config: ModelConfig, vocab_size: int) -> Seq2SeqModel:
    """A newly initialized model.

    Args:
        config: its shape; ``config.architecture`` names a row of ``ARCHITECTURES``.
        vocab_size: pieces of the joint vocabulary.
    """
    return ARCHITECTURES[config.architecture].build(config, vocab_size)


def build_decoder(
    model: Seq2SeqModel, shortlist: Shortlist | None = None, *, greedy: bool = True, products: str = "auto"
) -> Decoder:
    """The fastest decoder of a trained model on its device.

    Args:
        model: in evaluation mode.
        shortlist: the pieces that are allowed for a sentence; None: all.
        greedy: whether the search reads ``Logits.best``. A fast decoder uses more memory to find it faster.
        products: library of fp32 matrix products on a CPU: auto, mkl or onednn.
    """
    architecture = ARCHITECTURES[model.config.architecture]
    if architecture.fast_decoder is not None and next(model.parameters()).device.type in _FAST_DEVICES:
        return architecture.fast_decoder(model, shortlist, greedy=greedy, products=products)
    decoder = architecture.decoder(model)
    return decoder if shortlist is None else ShortlistDecoder(decoder, shortlist)
