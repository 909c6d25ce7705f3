"""Training from CORPUS words to a run folder: ``train``, and ``train_seeds`` for several random seeds."""

from seq2seq.training.parallel import rank_of_environment
from seq2seq.training.seeds import train_seeds
from seq2seq.training.session import Request, train

__all__ = ["Request", "rank_of_environment", "train", "train_seeds"]
