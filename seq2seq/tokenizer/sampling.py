"""Subword sampling: random divisions of a text into pieces.

A draw depends only on the key of its row, so it is reproducible. SentencePiece's own draws differ between processes. No
piece contains a space, so each word is drawn by itself, and its possible divisions are computed only once.

A word is a sequence of learned pieces up to the next space, or one piece that is never divided, such as a byte.

Shapes: R rows, W words.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seq2seq.tokenizer.bpe import BpeSampler
from seq2seq.tokenizer.keys import Ints, Keys, random_numbers
from seq2seq.tokenizer.model import Tokenizer
from seq2seq.tokenizer.unigram import UnigramSampler

_SPACE = "\u2581"
"""How SentencePiece writes a space."""
_MAX_CACHED = 2_000_000
"""Max edges or characters of the words in the cache; then it is cleared. They take less than 100 MB."""


class Sampler:
    """Draws new divisions of text that a tokenizer has already divided.

    Args:
        tokenizer: the one that divided the text.
        alpha: unigram: the probability of a division is raised to this power; BPE: the probability that a merge is left
            out.

    Raises:
        UserError: a model of characters or words (78).
    """

    def __init__(self, tokenizer: Tokenizer, alpha: float) -> None:
        self._pieces = tokenizer.pieces(range(len(tokenizer)))
        self._is_learned = np.array(tokenizer.is_learned())
        learned = {self._pieces[i]: i for i in np.flatnonzero(self._is_learned).tolist()}
        kind = UnigramSampler if tokenizer.algorithm() == "unigram" else BpeSampler
        self._words: UnigramSampler | BpeSampler = kind(learned, tokenizer.scores(), alpha)
        self._numbers: dict[bytes, int] = {}
        """The number of each word, by the bytes of its piece ids."""
        # A user's model may have pieces of several words. Then a whole row is one word.
        ends_at_spaces = not any(_SPACE in piece[1:] for piece in learned)
        starts = np.array([piece.startswith(_SPACE) for piece in self._pieces])
        self._starts_word = ~self._is_learned | (starts & ends_at_spaces)

    def draw(self, rows: Sequence[NDArray[np.integer]], keys: Keys) -> list[NDArray[np.int32]]:
        """Draw other pieces for the text of each row.

        Args:
            rows: piece ids from the tokenizer, without control symbols.
            keys: from ``row_keys``. [R]
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        row_starts = np.cumsum(lengths) - lengths
        ids = np.concatenate([np.empty(0, np.int32), *rows], dtype=np.int32)
        is_start = self._starts_word[ids]
        is_start[1:] |= ~self._is_learned[ids[:-1]]
        is_start[row_starts[lengths > 0]] = True
        starts = np.flatnonzero(is_start)  # [W]
        row_of = np.repeat(np.arange(len(rows)), lengths)[starts]
        numbers = self._word_numbers(ids, np.append(starts, len(ids)))
        drawn, n_pieces = self._words.draw(numbers, random_numbers(keys[row_of], starts - row_starts[row_of]))
        ends = np.cumsum(np.bincount(row_of, n_pieces, len(rows)).astype(np.int64)).tolist()
        return [drawn[a:b] for a, b in pairwise([0, *ends])]

    def _word_numbers(self, ids: NDArray[np.int32], bounds: Ints) -> Ints:
        """The numbers of words; new words are added. ``bounds`` has the start of each word and the last stop. [W]"""
        if self._words.size > _MAX_CACHED:
            self._numbers.clear()
            self._words.clear()
        content, places = ids.tobytes(), (ids.itemsize * bounds).tolist()
        words = [content[a:b] for a, b in pairwise(places)]
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self._numbers)
                pieces = np.frombuffer(word, np.int32).tolist()
                self._words.add(pieces, "".join(self._pieces[i] for i in pieces) if self._is_learned[pieces[0]] else "")
        self._words.flush()
        return np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
