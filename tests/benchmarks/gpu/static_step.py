"""Prototype: a decoding step of fixed shape, and the search around it.

All memory is allocated before the search: keys and values of the source, filled up with masked places, and of the
target, into which each step writes at a place that the GPU knows. So a step can be recorded as a CUDA graph. The layers
are those of the program's fast decoder.

Shapes: B sentences, N beams, S max source length, T max target length, D model width, H heads, K width of a head, L
layers.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gpu.bookkeeping import Bookkeeping, FixedBeams, FixedGreedy, hypotheses
from gpu.graphs import Recorded
from seq2seq.batching import pad
from seq2seq.decoding import Hypothesis
from seq2seq.device import HostCopy, to_device
from seq2seq.model import padding_mask
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.model.transformer.fast.layers import split_keys_values
from seq2seq.model.transformer.fast.output import OutputLogits
from seq2seq.model.transformer.positions import SinusoidalPositions, sinusoidal_table
from seq2seq.tokenizer import EOS, PAD

ALIGNED = 16
"""Lengths are multiples of this: kernels read masks in such blocks."""
MIN_SENTENCES = 64
"""Half of so few sentences is not worth a shape of its own."""
STEPS_LATE = 2
"""The number of unfinished sentences is read this many steps after it was computed, so that nobody waits."""


def aligned(n: int) -> int:
    """The next multiple of ``ALIGNED``."""
    return -(-n // ALIGNED) * ALIGNED


class StaticDecoder:
    """The state of B sentences of N beams, and its step."""

    def __init__(self, fast: FastDecoder, n_sentences: int, n_beams: int, max_src: int, max_tgt: int) -> None:
        if not isinstance(fast._model.tgt_positions, SinusoidalPositions):
            raise ValueError("the prototype has only sinusoidal positions")
        self.fast, self.n_sentences, self.n_beams = fast, n_sentences, n_beams
        weight = fast._output.weight
        width, heads = weight.size(1), fast._decoder[0].attention.n_heads

        def keys_values(length: int) -> list[Tensor]:
            shape = (n_sentences, length, 2, heads, width // heads)
            return [weight.new_zeros(shape) for _ in fast._decoder]

        self.cross, self.caches = keys_values(max_src), keys_values(n_beams * max_tgt)
        self.src_mask = weight.new_zeros(n_sentences, 1, 1, max_src)
        self.ancestry = weight.new_zeros(n_sentences, n_beams, n_beams * max_tgt)
        """0 at a beam's ancestors, -inf elsewhere. [B, N, N·T]"""
        self._own = weight.new_full((n_beams, n_beams), -math.inf).fill_diagonal_(0.0)
        self._beams = torch.arange(n_beams, device=weight.device)
        self._positions = sinusoidal_table(max_tgt, width).to(weight.device, weight.dtype)  # [T, D]

    def start(self, src: Tensor, src_mask: Tensor | None) -> None:
        """Encode up to B sentences of up to S tokens. Two of [≤B, ≤S]"""
        state = self.fast.start(src, src_mask)
        n, length = src.shape
        for cross, encoded in zip(self.cross, state.cross, strict=True):
            cross[:n, :length] = encoded
        self.src_mask.zero_()
        self.src_mask[:n, :, :, length:] = -math.inf
        if state.src_mask is not None:
            self.src_mask[:n, :, :, :length] = state.src_mask
        self.ancestry.fill_(-math.inf)

    def step(self, tokens: Tensor, t: Tensor, n_steps: int) -> Tensor:
        """Read the newest token of each row.

        Args:
            tokens: [B·N]
            t: steps before this one, on the GPU. []
            n_steps: steps whose places are read, more than ``t``.

        Returns:
            The input of the output layer. [B·N, D]
        """
        model, n, used = self.fast._model, self.n_sentences, self.n_beams * n_steps
        places = t * self.n_beams + self._beams  # [N]
        self.ancestry.index_copy_(2, places, self._own.expand(n, -1, -1))
        mask = self.ancestry[:, :, :used].unsqueeze(1)  # [B, 1, N, used]
        scaled = model.tgt_embedding(tokens) * math.sqrt(model.config.d_model)
        x = scaled + self._positions.index_select(0, t.view(1))  # [B·N, D]
        for layer, cache, cross in zip(self.fast._decoder, self.caches, self.cross, strict=True):
            q, keys_values = layer.attention.next_heads(layer.attention.project(x), n, 0)
            cache.index_copy_(1, places, keys_values)
            x = layer.attention.add_to(x, layer.attention.mix(q, split_keys_values(cache[:, :used]), mask))
            q = layer.cross.queries(layer.cross.project(x), n)
            x = layer.cross.add_to(x, layer.cross.mix(q, split_keys_values(cross), self.src_mask))
            x = layer.feed_forward(x)
        return self.fast._decoder_norm(x)

    def reorder(self, parents: Tensor) -> None:
        """Let each beam continue another one: only the mask changes. [B, N]"""
        index = parents.unsqueeze(2).expand(-1, -1, self.ancestry.size(2))
        self.ancestry.copy_(self.ancestry.gather(1, index))

    def move_to(self, other: "StaticDecoder", rows: Tensor, n_steps: int) -> None:
        """Continue some sentences in a smaller object; its places up to ``n_steps`` are copied. [B']"""
        used = self.n_beams * n_steps
        for mine, theirs in zip((*self.cross, self.src_mask), (*other.cross, other.src_mask), strict=True):
            torch.index_select(mine, 0, rows, out=theirs)
        for cache, others in zip(self.caches, other.caches, strict=True):
            others[:, :used] = cache[:, :used].index_select(0, rows)
        torch.index_select(self.ancestry, 0, rows, out=other.ancestry)


class Level(NamedTuple):
    """One number of sentences: its memory, and its step for each number of places."""

    decoder: StaticDecoder
    book: Bookkeeping
    steps: dict[int, Recorded]


class StaticSearch:
    """Search with steps of fixed shape. Made and used under ``torch.inference_mode()``.

    Args:
        fast: the program's decoder.
        n_sentences: of a batch, B.
        n_beams: N; 1 is greedy search.
        max_src: longest source with EOS.
        max_tgt: longest output.
        alpha: of the length penalty.
        n_control: as of ``search``.
        compact: continue in half as many sentences when half of them are over.
        graphs: record each step as a CUDA graph.
    """

    def __init__(
        self,
        fast: FastDecoder,
        n_sentences: int,
        n_beams: int,
        max_src: int,
        max_tgt: int,
        *,
        alpha: float,
        n_control: int,
        compact: bool,
        graphs: bool,
    ) -> None:
        self.fast, self.n_sentences, self.n_control = fast, n_sentences, n_control
        self.device = fast._output.weight.device
        max_src, self.max_tgt = aligned(max_src), aligned(max_tgt)
        sizes = [n_sentences]
        while compact and sizes[-1] // 2 >= min(MIN_SENTENCES, n_sentences // 4):
            sizes.append(sizes[-1] // 2)
        doubled = (ALIGNED << i for i in range(20))
        self.lengths = [*(n for n in doubled if n < self.max_tgt), self.max_tgt]
        """Numbers of steps whose places are read: few, as each needs its own graph."""
        make: Callable[[int], Bookkeeping] = (
            (lambda n: FixedGreedy(n, 1, self.max_tgt, self.device))
            if n_beams == 1
            else (lambda n: FixedBeams(n, n_beams, self.max_tgt, alpha, self.device))
        )
        self.levels = [Level(StaticDecoder(fast, n, n_beams, max_src, self.max_tgt), make(n), {}) for n in sizes]
        self.results = make(n_sentences)
        """The hypotheses of all sentences of the batch."""
        first: Recorded | None = None
        for level in self.levels:
            for length in self.lengths:
                level.steps[length] = Recorded(partial(self._step, level, length), self.device, first)
                if graphs:
                    level.book.start(level.book.limits[:0])  # what it does while it warms up does not count
                    level.steps[length].record()
                    first = first or level.steps[length]

    @property
    def problem(self) -> str:
        """Why a step was not recorded, if it should be; empty: all were."""
        return next((step.problem for level in self.levels for step in level.steps.values() if step.problem), "")

    def _step(self, level: Level, length: int) -> None:
        hidden = level.decoder.step(level.book.tokens, level.book.t, length)
        logits = OutputLogits(hidden, self.fast._output, level.book.n_beams)
        parents = level.book.choose(logits, self.n_control)
        if parents is not None:
            level.decoder.reorder(parents)

    def search(self, sources: Sequence[Sequence[int]], limits: Sequence[int]) -> list[Hypothesis]:
        """The best hypothesis of each of up to B sentences. A limit is of the output, EOS included."""
        src = pad(sources, last=EOS)
        mask = padding_mask(src, PAD)
        level, rank = self.levels[0], 0
        level.decoder.start(to_device(src, self.device), None if mask is None else to_device(mask, self.device))
        level.book.start(to_device(torch.tensor(limits), self.device))
        names = torch.arange(self.n_sentences, device=self.device)
        counts: deque[HostCopy] = deque()
        for t in range(max(limits)):
            length = next(n for n in self.lengths if n > t)
            level.steps[length]()
            counts.append(HostCopy((~level.book.over).sum().view(1, 1)))
            if len(counts) <= STEPS_LATE:
                continue
            n_unfinished = int(counts.popleft().values()[0])
            if not n_unfinished:
                break
            while rank + 1 < len(self.levels) and n_unfinished <= self.levels[rank + 1].decoder.n_sentences:
                smaller = self.levels[rank + 1]
                self._store(level.book, names)
                rows = level.book.over.byte().argsort(stable=True)[: smaller.decoder.n_sentences]
                names = names.index_select(0, rows)
                level.decoder.move_to(smaller.decoder, rows, length)
                level.book.move_to(smaller.book, rows)
                level, rank = smaller, rank + 1
        self._store(level.book, names)
        return self._read(len(sources))

    def _store(self, book: Bookkeeping, names: Tensor) -> None:
        """Store the hypotheses of the sentences of a level; those that are over do not change any more."""
        for name in ("done", "lengths", "scores", "log_probs"):
            getattr(self.results, name).index_copy_(0, names, getattr(book, name))

    def _read(self, n: int) -> list[Hypothesis]:
        results = self.results
        parts = (part[:n, 0].tolist() for part in (results.done, results.lengths, results.scores, results.log_probs))
        return [hypotheses(*of_one) for of_one in zip(*parts, strict=True)]
