"""Training from CORPUS words to a run folder; ``train`` is the one call that the command line makes."""

from seq2seq.training.session import Request, train

__all__ = ["Request", "train"]
