"""The architectures that can be trained: the one table by which the rest of the program knows them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from seq2seq.config import ModelConfig
from seq2seq.model import cnn, rnn
from seq2seq.model.base import Decoder, Limits, PerToken, Seq2SeqModel
from seq2seq.model.shortlist import Shortlist, ShortlistDecoder
from seq2seq.model.transformer import sizes as transformer
from seq2seq.model.transformer.decoder import TransformerDecoder
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.model.transformer.model import Transformer

_FAST_DEVICES = {"cpu", "cuda"}
"""Kinds of devices on which the fast decoders were measured. Others get the plain ones."""


class FastDecoderFactory(Protocol):
    """Makes a decoder that gives the plain one's logits faster."""

    def __call__(self, model: Any, shortlist: Shortlist | None, *, greedy: bool, products: str) -> Decoder:
        """Arguments as ``build_decoder``'s."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All that the rest of the program asks about a kind of network."""

    name: str
    """With its article, in the middle of a sentence."""
    build: Callable[[ModelConfig, int], Seq2SeqModel]
    """A freshly initialised model, from its shape and the size of the joint vocabulary."""
    decoder: Callable[[Any], Decoder]
    """The plain decoder of a model, which reads like a textbook."""
    fast_decoder: FastDecoderFactory | None = None
    """None: there is only the plain one."""
    limits: Callable[[ModelConfig], Limits]
    """The longest source and target."""
    multiply_adds: Callable[[ModelConfig, int], PerToken]
    """Products with weights in a forward pass over one token, from the shape and the size of the vocabulary. Training
    takes three times as many. Recipes guess the speed from them."""
    n_layers: Callable[[ModelConfig], int]
    """Layers that are computed one after the other: a GPU needs some time for each, however few tokens there are."""
    state_size: Callable[[ModelConfig], PerToken]
    """Numbers that a decoder keeps for one token. They bound the batches that fit into memory."""
    shape: Callable[[ModelConfig], str]
    """For example ``3 encoder and 3 decoder layers of width 256``."""


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
"""By ``model.architecture``."""


def build_model(config: ModelConfig, vocab_size: int) -> Seq2SeqModel:
    """A freshly initialised model.

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
        greedy: whether the search reads ``Logits.best``; what finds it quickly takes memory.
        products: library of fp32 matrix products on a CPU: auto, mkl or onednn.
    """
    architecture = ARCHITECTURES[model.config.architecture]
    if architecture.fast_decoder is not None and next(model.parameters()).device.type in _FAST_DEVICES:
        return architecture.fast_decoder(model, shortlist, greedy=greedy, products=products)
    decoder = architecture.decoder(model)
    return decoder if shortlist is None else ShortlistDecoder(decoder, shortlist)
