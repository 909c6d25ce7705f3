"""Shortlists: only some pieces are allowed in the translation of a sentence.

These are the likely translations of its own pieces, and the most frequent pieces. The output layer is nearly half of a
small model's arithmetic; with few pieces it becomes small. The allowed pieces depend only on the sentence, never on the
other sentences of its batch.

Shapes: B sentences, N beams, S source length, V vocabulary, n pieces that any sentence of a batch allows.
Source: Jean et al. 2015, arXiv:1412.2007.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seq2seq.model.base import IMPOSSIBLE, Decoder, Logits
from seq2seq.tokenizer import EOS, N_CONTROL


class Shortlist:
    """A table of the likeliest target pieces of each source piece.

    Args:
        candidates: the likeliest translations of each piece, best first; EOS fills up the row. [V, any]
        frequent: pieces that are allowed in every translation. [any]
        n: number of candidates used for each source piece.
        n_control: number of control symbols and tags, which are the first pieces of every shortlist.
    """

    def __init__(self, candidates: Tensor, frequent: Tensor, n: int, n_control: int = N_CONTROL) -> None:
        self._candidates = candidates[:, :n].long()
        # A piece that no source of the training data contains is its own candidate.
        unknown = self._candidates[:, 0] == EOS
        self._candidates[unknown, 0] = torch.arange(len(candidates))[unknown]
        self._always = torch.cat((torch.arange(n_control), frequent.long()))

    def lookup(self, src: Tensor, multiple: int = 1) -> tuple[Tensor, Tensor]:
        """The pieces that are allowed in a batch.

        Args:
            src: [B, S]
            multiple: n is rounded up to a multiple of it. The additional columns are EOS, allowed for no sentence.

        Returns:
            Pieces in ascending order, control symbols included [n], and which of them each sentence allows [B, n].
        """
        allowed = torch.zeros(src.size(0), self._candidates.size(0), dtype=torch.bool)  # [B, V]
        allowed.scatter_(1, self._candidates[src.cpu()].flatten(1), True)
        allowed[:, self._always] = True
        pieces = allowed.any(dim=0).nonzero().squeeze(1)  # [n]
        allowed = allowed[:, pieces]
        filling = -len(pieces) % multiple
        pieces = torch.nn.functional.pad(pieces, (0, filling), value=EOS)
        return pieces.to(src.device), torch.nn.functional.pad(allowed, (0, filling)).to(src.device)


@dataclass(frozen=True)
class _State:
    """A decoder's state, and the pieces that are allowed in its batch."""

    inner: Any
    pieces: Tensor
    """[n]"""
    forbidden: Tensor
    """0 at the pieces that are allowed for a sentence, far below 0 elsewhere. [B, n]"""
    n_beams: int = 1


class ShortlistDecoder:
    """Any decoder with a shortlist around its output layer.

    It computes the logits of all pieces and returns those that are allowed: the result of a shortlist, but not its
    speed. A fast decoder computes only the allowed ones.
    """

    def __init__(self, decoder: Decoder, shortlist: Shortlist) -> None:
        self._decoder = decoder
        self._shortlist = shortlist

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> _State:
        """As ``Decoder``'s."""
        pieces, allowed = self._shortlist.lookup(src)
        forbidden = torch.zeros(allowed.shape, device=src.device).masked_fill_(~allowed, IMPOSSIBLE)
        return _State(self._decoder.start(src, src_mask), pieces, forbidden)

    def step(self, tokens: Sequence[Tensor], states: Sequence[_State]) -> tuple[list[Logits], list[_State]]:
        """As ``Decoder``'s. Each batch has its own columns, and therefore its own logits."""
        logits: list[Logits] = []
        new = []
        for newest, state in zip(tokens, states, strict=True):
            (of_batch,), (inner,) = self._decoder.step([newest], [state.inner])
            logits.append(_AllowedLogits(of_batch, state))
            new.append(replace(state, inner=inner))
        return logits, new

    def reorder(self, state: _State, sentences: Sequence[int], parents: Tensor) -> _State:
        """As ``Decoder``'s."""
        inner = self._decoder.reorder(state.inner, sentences, parents)
        return _State(inner, state.pieces, state.forbidden[list(sentences)], parents.size(1))


class _AllowedLogits:
    """The logits of a batch at the pieces of its shortlist."""

    def __init__(self, logits: Logits, state: _State) -> None:
        self._logits, self._state = logits, state
        self.device = logits.device

    def __len__(self) -> int:
        return len(self._logits)

    def rows(self, start: int, stop: int) -> Tensor:
        """[stop - start, n]"""
        beams = self._state.n_beams
        logits = self._logits.rows(start, stop).index_select(1, self._state.pieces)
        return logits + self._state.forbidden[start // beams : stop // beams].repeat_interleave(beams, dim=0)

    def best(self) -> None:
        """None: only all logits can find it."""

    def pieces(self, columns: Tensor) -> Tensor:
        """[any] -> [any]"""
        return self._state.pieces[columns]
