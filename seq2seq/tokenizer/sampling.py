"""Subword sampling: random divisions of a text into pieces, independent of what else is drawn.

A draw is a function of a key for its row. SentencePiece's own draws are not: its generator differs from process to
process. No piece crosses a space, so each word is drawn separately, and its possible divisions are computed once.

Words: a word is a run of learnt pieces up to the next space, or one piece that is not drawn, as a byte. W words.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seq2seq.tokenizer.bpe import BytePairs
from seq2seq.tokenizer.keys import Ints, Keys, random_numbers
from seq2seq.tokenizer.model import Tokenizer
from seq2seq.tokenizer.unigram import Unigram

_SPACE = "\u2581"
"""A space, in SentencePiece's spelling."""
_REMEMBERED = 2_000_000
"""Edges or characters of words that are kept before all are forgotten: less than 100 MB."""


class Sampler:
    """Draws other divisions of rows of pieces.

    Args:
        tokenizer: that made the rows.
        alpha: for a unigram model the power that a division's probability is raised to; for BPE the probability that
            two neighbours are not merged.

    Raises:
        UserError: a model of characters or words (78).
    """

    def __init__(self, tokenizer: Tokenizer, alpha: float) -> None:
        self._pieces = tokenizer.pieces(range(len(tokenizer)))
        self._is_learnt = np.array(tokenizer.is_learnt())
        learnt = {self._pieces[i]: i for i in np.flatnonzero(self._is_learnt).tolist()}
        kind = Unigram if tokenizer.algorithm() == "unigram" else BytePairs
        self._words: Unigram | BytePairs = kind(learnt, tokenizer.scores(), alpha)
        self._numbers: dict[bytes, int] = {}
        """Number of each word that was added, by its pieces."""
        # A user's model may have pieces that hold several words: a row is then one word.
        ends_at_spaces = not any(_SPACE in piece[1:] for piece in learnt)
        starts = np.array([piece.startswith(_SPACE) for piece in self._pieces])
        self._starts_word = ~self._is_learnt | (starts & ends_at_spaces)

    def draw(self, rows: Sequence[NDArray[np.integer]], keys: Keys) -> list[NDArray[np.int32]]:
        """Pieces of the same text, drawn for each row by its key alone.

        Args:
            rows: as the tokenizer divides them, without control symbols.
            keys: from ``row_keys``. [R]
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        row_starts = np.cumsum(lengths) - lengths
        ids = np.concatenate([np.empty(0, np.int32), *rows], dtype=np.int32)
        is_start = self._starts_word[ids]
        is_start[1:] |= ~self._is_learnt[ids[:-1]]
        is_start[row_starts[lengths > 0]] = True
        starts = np.flatnonzero(is_start)  # [W]
        row_of = np.repeat(np.arange(len(rows)), lengths)[starts]
        numbers = self._known(ids, np.append(starts, len(ids)))
        drawn, n_pieces = self._words.draw(numbers, random_numbers(keys[row_of], starts - row_starts[row_of]))
        ends = np.cumsum(np.bincount(row_of, n_pieces, len(rows)).astype(np.int64)).tolist()
        return [drawn[a:b] for a, b in pairwise([0, *ends])]

    def _known(self, ids: NDArray[np.int32], bounds: Ints) -> Ints:
        """The numbers of words, given by where each begins and the last one ends; new ones are added. [W]"""
        if self._words.size > _REMEMBERED:
            self._numbers.clear()
            self._words.forget()
        content, places = ids.tobytes(), (ids.itemsize * bounds).tolist()
        words = [content[a:b] for a, b in pairwise(places)]
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self._numbers)
                pieces = np.frombuffer(word, np.int32).tolist()
                self._words.add(pieces, "".join(self._pieces[i] for i in pieces) if self._is_learnt[pieces[0]] else "")
        self._words.added()
        return np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
