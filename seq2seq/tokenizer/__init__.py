"""The tokenizer, with SentencePiece: encoding, decoding, subword sampling, and training of its model."""

from seq2seq.tokenizer.keys import row_keys
from seq2seq.tokenizer.model import BOS, EOS, N_CONTROL, N_TAGS, PAD, UNK, Tokenizer
from seq2seq.tokenizer.sampling import Sampler
from seq2seq.tokenizer.train import train_model, train_tokenizer

__all__ = [
    "BOS",
    "EOS",
    "N_CONTROL",
    "N_TAGS",
    "PAD",
    "UNK",
    "Sampler",
    "Tokenizer",
    "row_keys",
    "train_model",
    "train_tokenizer",
]
