"""The models that can be trained.

``ARCHITECTURES`` has one row, the Transformer; the recurrent and convolutional networks that it replaced would be
further rows.
"""

from collections.abc import Callable

from seq2seq.config import ModelConfig
from seq2seq.model.transformer.model import Transformer

ARCHITECTURES: dict[str, Callable[[ModelConfig, int], Transformer]] = {"transformer": Transformer}


def build_model(config: ModelConfig, vocab_size: int) -> Transformer:
    """A freshly initialised model.

    Args:
        config: its shape; ``config.architecture`` names a row of ``ARCHITECTURES``.
        vocab_size: pieces of the joint vocabulary.
    """
    return ARCHITECTURES[config.architecture](config, vocab_size)
