"""Translator: lines in, lines out, in the same order.

Lines become pieces, pieces become batches sorted by length, batches are searched, and the best
hypotheses go back to the places of their lines. A blank line stays blank and never reaches the
model; a line too long for the model is translated in parts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from seq2seq.batching import pad
from seq2seq.config import DecodingConfig, parse_langs
from seq2seq.decoding import Hypothesis
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import is_blank, one_line
from seq2seq.model.transformer import Transformer
from seq2seq.tokenizer import BOS, EOS, Tokenizer
from seq2seq.translation.batches import Ids, length_batches, search_batch, split_long
from seq2seq.translation.device import pick_device
from seq2seq.translation.loading import decoding_config, load_model, read_run
from seq2seq.translation.workers import end_pool, search_in_pool, start_pool


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    score: float
    """log-probability / length^α in nats; the mean over the parts of a line translated in parts."""


@dataclass(frozen=True)
class Attention:
    """Where each piece of a translation looked in its source."""

    src_pieces: list[str]
    """S pieces, EOS last."""
    tgt_pieces: list[str]
    """T pieces, EOS last."""
    weights: list[list[float]]
    """Cross-attention, mean over the decoder's layers and heads; a row sums to one. [T, S]"""


# Stands in where a search found nothing, as in a model of damaged numbers.
_NOTHING = Hypothesis([], -math.inf, -math.inf)


class Translator:
    """A model with its tokenizer and decoding settings.

    Args:
        model: put into evaluation mode by the caller.
        tokenizer: its own.
        config: beams, length penalty, batch size.
        max_src_length: longest source the model is asked for in one piece, in tokens, EOS included.
        langs: source and target language.
        workers: processes that search; 1: this one alone.
        run: folder that workers load the model from; needed for more than one.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        *,
        max_src_length: int,
        langs: tuple[str, str] = ("", ""),
        workers: int = 1,
        run: Path | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.max_src_length = max_src_length
        self.langs = langs
        self._pool = start_pool(workers, run, config) if workers > 1 and run is not None else None

    @classmethod
    def load(
        cls, run: Path | str, *, device: str = "auto", decoding: dict[str, object] | None = None, workers: int = 1
    ) -> Self:
        """Open a run folder.

        Args:
            run: written by ``train``.
            device: auto, cpu, cuda or mps.
            decoding: overrides of the run's decoding configuration, by key.
            workers: processes that search, each with one thread; CPU alone.

        Raises:
            UserError: the folder is missing (66), or something in it must not be used (78).
        """
        run = Path(run)
        manifest, config, tokenizer = read_run(run)
        where = pick_device("cpu" if workers > 1 and device == "auto" else device)
        if workers > 1 and where.type != "cpu":
            raise UserError(
                f"--workers {workers} share out a CPU, not --device {device}",
                mend="leave one of the two out",
                code=ExitCode.USAGE,
            )
        return cls(
            load_model(run, manifest, config, tokenizer).to(where),
            tokenizer,
            decoding_config(config, decoding or {}),
            max_src_length=int(manifest.info.get("max_src_length", config.data.max_length)),
            langs=parse_langs(config.data.langs),
            workers=workers,
            run=run,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            end_pool(self._pool)
            self._pool = None

    def translate(self, lines: Sequence[str]) -> list[str]:
        """The best translation of each line; blank where the line is blank."""
        return [best[0].text for best in self.n_best(lines)]

    def n_best(
        self, lines: Sequence[str], *, first_line: int = 1, warn: Callable[[str], None] | None = None
    ) -> list[list[Translation]]:
        """Exactly ``config.n_best`` translations of each line, best first.

        Args:
            lines: as ``lines.read_lines`` gives them.
            first_line: number of the first of them, for warnings.
            warn: told of lines that are translated in parts.
        """
        return [self._join(parts) for parts in self.hypotheses(lines, first_line=first_line, warn=warn)]

    def hypotheses(
        self, lines: Sequence[str], *, first_line: int = 1, warn: Callable[[str], None] | None = None
    ) -> list[list[list[Hypothesis]]]:
        """What the search found for each part of each line: no part where it is blank. Arguments as ``n_best``'s."""
        parts = self._parts(lines, first_line, warn)  # of each line
        found = iter(self._search_all([part for line in parts for part in line]))
        return [[next(found) for _ in line] for line in parts]

    def attention(self, line: str, translation: str) -> Attention | None:
        """Where the model looks while it reads ``translation`` as that of ``line``.

        None where a side is blank, or where the line is too long for the model and was translated in parts.
        """
        src_ids, tgt_ids = self.tokenizer.encode([line, translation])
        if not tgt_ids or not 0 < len(src_ids) < self.max_src_length:
            return None
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            weights = self.model.cross_attention_weights(
                pad([src_ids], last=EOS).to(device), pad([tgt_ids], first=BOS).to(device)
            )  # [1, layers, H, T, S]
        return Attention(
            src_pieces=self.tokenizer.pieces([*src_ids, EOS]),
            tgt_pieces=self.tokenizer.pieces([*tgt_ids, EOS]),
            weights=weights[0].mean(dim=(0, 1)).tolist(),
        )

    def _parts(self, lines: Sequence[str], first_line: int, warn: Callable[[str], None] | None) -> list[list[Ids]]:
        """The pieces of each line: none where it is blank, several where it is too long."""
        encoded = self.tokenizer.encode(["" if is_blank(line) else line for line in lines])
        most = self.max_src_length - 1
        parts: list[list[Ids]] = []
        for number, (line, ids) in enumerate(zip(lines, encoded, strict=True), start=first_line):
            if len(ids) <= most:
                parts.append([ids] if ids else [])
                continue
            parts.append(split_long(line, self.tokenizer, most))
            if warn is not None:
                warn(
                    f"line {number} has {len(ids):,} tokens, more than the {most:,} this model is used to: "
                    f"translated in {len(parts[-1])} parts"
                )
        return parts

    def _join(self, parts: list[list[Hypothesis]]) -> list[Translation]:
        """The n-th best of a line is made of the n-th best of its parts."""
        n = self.config.n_best
        if not parts:
            return [Translation("", 0.0)] * n
        ranked = []
        for rank in range(n):
            # A part may have fewer hypotheses than asked for: its last one stands in.
            chosen = [part[min(rank, len(part) - 1)] if part else _NOTHING for part in parts]
            texts = self.tokenizer.decode([h.tokens for h in chosen])
            text = one_line(" ".join(text for text in texts if text))
            ranked.append(Translation(text, sum(h.score for h in chosen) / len(chosen)))
        return ranked

    def _search_all(self, units: Sequence[Ids]) -> list[list[Hypothesis]]:
        """Search every unit, in batches of similar length; results in the order of the units."""
        batches = list(length_batches(units, self.config.batch_tokens // self.config.beam_size))
        inputs = [[units[i] for i in batch] for batch in batches]
        results: list[list[Hypothesis]] = [[] for _ in units]
        for batch, found in zip(batches, self._search_batches(inputs), strict=True):
            for i, hypotheses in zip(batch, found, strict=True):
                results[i] = hypotheses
        return results

    def _search_batches(self, inputs: list[list[Ids]]) -> Iterator[list[list[Hypothesis]]]:
        if self._pool is None:
            return (search_batch(self.model, batch, self.config) for batch in inputs)
        return search_in_pool(self._pool, inputs)
