"""The interface of an engine, and what it is opened from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from seq2seq.config import DecodingConfig, RunConfig
from seq2seq.runs import Manifest
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.batches import SearchResult
from seq2seq.translation.segments import Ids


class Engine(Protocol):
    """Searches for translations."""

    name: str
    """Its row of ``ENGINES``."""
    precision: str
    """Type of its matrix products, for example float32: what ``auto`` means on this machine."""

    def search(self, sources: Sequence[Ids], limits: Sequence[int], *, scored: bool) -> Iterator[SearchResult]:
        """Search every source.

        Args:
            sources: piece ids of each source, without EOS.
            limits: max tokens of the translation of each source, EOS included.
            scored: whether scores are needed.

        Yields:
            The index of a source and its ``n_best`` hypotheses, the best first, in the order in which searches end.
        """


@dataclass(frozen=True)
class OpenedRun:
    """A run folder that has been read, and how it is to translate."""

    folder: Path
    manifest: Manifest
    config: RunConfig
    tokenizer: Tokenizer
    decoding: DecodingConfig
    device: torch.device
    n_workers: int
    """Parallel searches."""
