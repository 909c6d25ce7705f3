"""Training from CORPUS words to a run folder: ``train``, and ``train_seeds`` for several random seeds."""

from seq2seq.training.seeds import train_seeds
from seq2seq.training.session import Request, train

__all__ = ["Request", "train", "train_seeds"]
