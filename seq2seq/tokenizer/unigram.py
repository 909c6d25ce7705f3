"""Sampling from a unigram model: divisions of words are drawn by their probabilities (Kudo 2018, arXiv:1804.10959)."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from seq2seq.tokenizer.keys import Ints, Keys, random_numbers


class UnigramSampler:
    """Samples divisions of words under a unigram model: forward filtering, backward sampling over a lattice.

    The lattice of a word with n characters has n + 1 nodes. An edge is a piece: it leads from the node before the piece
    to the node after it, and has a fraction of that node's probability.

    Shapes: W words, E edges.
    """

    def __init__(self, ids: Mapping[str, int], scores: Sequence[float], alpha: float) -> None:
        self._scores = [alpha * score for score in scores]
        self._ids = {piece[:n]: -1 for piece in ids for n in range(1, len(piece))} | dict(ids)
        """Id of each piece; -1 for text that is only the beginning of a piece."""
        self.clear()

    def clear(self) -> None:
        """Remove all words."""
        self.size = 0
        self._n_nodes = 0
        self._limits = np.empty(0, np.int64)
        """The node that each edge leads to; and in the lower 32 bits the sum of fractions up to its own. [E]"""
        self._edges = np.empty((0, 2), np.int32)
        """The piece of each edge, and its number of characters. [E, 2]"""
        self._nodes = np.empty((0, 2), np.int64)
        """First and last node of each word. [W, 2]"""
        self._new: tuple[list[int], list[tuple[int, int]], list[tuple[int, int]]] = ([], [], [])

    def add(self, pieces: Sequence[int], text: str) -> None:
        """Add a word by its text. A piece with an empty text is never divided."""
        limits, edges, nodes = self._new
        first, n = self._n_nodes, len(text) or 1
        nodes.append((first, first + n))
        self._n_nodes += n + 1
        arriving: list[list[tuple[float, int, int]]] = [[] for _ in range(n + 1)]  # log-probability, piece, characters
        if not text:
            arriving[1].append((0.0, pieces[0], 1))
        for at in range(n + 1):
            forward = 0.0
            if at:
                if not arriving[at]:
                    continue  # no division ends here
                best = max(arriving[at])[0]
                fractions = [math.exp(edge[0] - best) for edge in arriving[at]]
                total = sum(fractions)
                forward = best + math.log(total)
                limits.extend(((first + at) << 32) + round(part / total * (1 << 32)) for part in accumulate(fractions))
                limits[-1] = (first + at + 1) << 32
                edges.extend(edge[1:] for edge in arriving[at])
            for end in range(at + 1, len(text) + 1):
                piece = self._ids.get(text[at:end])
                if piece is None:
                    break
                if piece >= 0:
                    arriving[end].append((forward + self._scores[piece], piece, end - at))

    def flush(self) -> None:
        """Prepare the added words. Call it before ``draw``."""
        limits, edges, nodes = self._new
        if nodes:
            self._limits = np.concatenate([self._limits, np.array(limits, np.int64)])
            self._edges = np.concatenate([self._edges, np.array(edges, np.int32)])
            self._nodes = np.concatenate([self._nodes, np.array(nodes, np.int64)])
            self._new = ([], [], [])
            self.size = len(self._limits)

    def draw(self, words: Ints, keys: Keys) -> tuple[NDArray[np.int32], Ints]:
        """Draw a random division of each word, from its end to its beginning.

        Args:
            words: numbers of words, in the order in which they were added. [W]
            keys: keys of the random numbers. [W]

        Returns:
            The pieces of all words, and the number of pieces of each word. [W]
        """
        first, node = self._nodes[words].T
        n_pieces = np.zeros(len(words), np.int64)
        steps: list[tuple[Ints, NDArray[np.int32]]] = []
        active = np.arange(len(words))
        while len(active):
            number = (random_numbers(keys[active], len(steps)) >> np.uint64(32)).astype(np.int64)
            edge = np.searchsorted(self._limits, (node[active] << 32) + number, side="right")
            pieces, n_characters = self._edges[edge].T
            steps.append((active, pieces))
            n_pieces[active] += 1
            node[active] -= n_characters
            active = active[node[active] > first[active]]
        ends = np.cumsum(n_pieces)
        drawn = np.empty(n_pieces.sum(), np.int32)
        for nth, (which, pieces) in enumerate(steps):
            drawn[ends[which] - 1 - nth] = pieces
        return drawn, n_pieces
