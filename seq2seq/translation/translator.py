"""Translator: lines in, lines out, in the same order.

Lines become pieces, pieces become batches sorted by length, batches are searched, and the best
hypotheses go back to the places of their lines. A blank line stays blank and never reaches the
model; a line too long for the model is translated in parts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch

from seq2seq.batching import pad
from seq2seq.config import DecodingConfig, parse_langs
from seq2seq.decoding import Hypothesis
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import is_blank, one_line
from seq2seq.model.cached import CachedTransformer
from seq2seq.model.shortlist import Shortlist
from seq2seq.model.transformer import Transformer
from seq2seq.tokenizer import BOS, EOS, Tokenizer
from seq2seq.translation.batches import (
    BATCHES_AT_ONCE,
    Found,
    Ids,
    SearchJob,
    length_batches,
    search_batches,
    split_long,
)
from seq2seq.translation.device import fitting_batch_tokens, pick_device, pick_dtype
from seq2seq.translation.loading import decoding_config, load_model, load_shortlist, max_src_length, read_run
from seq2seq.translation.workers import cores, shared_out


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


_CORE_PACE = 5e9
"""Lines a second of a core, times parameters, times beams and one: 50 to 100 GFLOP/s."""

# Stands in where a search found nothing, as in a model of damaged numbers.
_NOTHING = Hypothesis([], -math.inf, -math.inf, length=1)


class Translator:
    """A model with its tokenizer and decoding settings.

    Args:
        model: put into evaluation mode by the caller.
        tokenizer: its own.
        config: beams, length penalty, batch size.
        max_src_length: longest source the model is asked for in one piece, in tokens, EOS included.
        langs: source and target language.
        workers: that search side by side, on a CPU; None: one for each core.
        identity: says which weights these are.
        shortlist: what a sentence may be translated with; None: every piece.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        *,
        max_src_length: int,
        langs: tuple[str, str] = ("", ""),
        workers: int | None = None,
        identity: str = "",
        shortlist: Shortlist | None = None,
    ) -> None:
        self.model = model
        self.device, self.dtype = next(model.parameters()).device, next(model.parameters()).dtype
        self.tokenizer = tokenizer
        self.config = config
        self.max_src_length = max_src_length
        self.langs = langs
        self.identity = identity
        self._cached = CachedTransformer(model, shortlist, n_control=tokenizer.n_control, greedy=config.beam_size == 1)
        # Tokens that there are positions for.
        self._most = model.config.max_positions if model.config.positions == "learned" else None
        self._n_workers = (workers or cores()) if self.device.type == "cpu" else 1
        self._threads = 1 if self.device.type == "cpu" else cores()  # that text becomes pieces in, and pieces text

    @classmethod
    def load(
        cls,
        run: Path | str,
        *,
        device: str = "auto",
        decoding: dict[str, object] | None = None,
        workers: int | None = None,
    ) -> Self:
        """Open a run folder.

        Args:
            run: written by ``train``.
            device: auto, cpu, cuda or mps.
            decoding: overrides of the run's decoding configuration, by key.
            workers: that search side by side; CPU alone. None: one for each core.

        Raises:
            UserError: the folder is missing (66), or something in it must not be used (78).
        """
        run = Path(run)
        manifest, config, tokenizer = read_run(run)
        several = workers is not None and workers > 1
        where = pick_device("cpu" if several and device == "auto" else device)
        if several and where.type != "cpu":
            raise UserError(
                f"--workers {workers} share out a CPU, not --device {device}",
                mend="leave one of the two out",
                code=ExitCode.USAGE,
            )
        settings = decoding_config(manifest, config, decoding or {})
        dtype = pick_dtype(settings.precision, where)
        return cls(
            load_model(run, manifest, config, tokenizer).to(where, dtype),
            tokenizer,
            settings,
            max_src_length=max_src_length(manifest, config),
            langs=parse_langs(config.data.langs),
            workers=workers,
            identity=manifest.files[manifest.weights],
            shortlist=load_shortlist(run, manifest, tokenizer, settings.shortlist) if settings.shortlist else None,
        )

    def translate(self, lines: Sequence[str]) -> list[str]:
        """The best translation of each line; blank where the line is blank."""
        return [best.text for best in self._ranked(self.hypotheses(lines, scored=False), 0)]

    def n_best(
        self,
        lines: Sequence[str],
        *,
        first_line: int = 1,
        warn: Callable[[str], None] | None = None,
        scored: bool = True,
        tell: Callable[[float], None] | None = None,
    ) -> list[list[Translation]]:
        """Exactly ``config.n_best`` translations of each line, best first.

        Args:
            lines: as ``lines.read_lines`` gives them.
            first_line: number of the first of them, for warnings.
            warn: told of lines that are translated in parts.
            scored: whether the scores are wanted; greedy search is faster without.
            tell: told now and then what share of the lines is done.
        """
        found = self.hypotheses(lines, first_line=first_line, warn=warn, scored=scored, tell=tell)
        ranked = [self._ranked(found, rank) for rank in range(self.config.n_best)]
        return [list(of_line) for of_line in zip(*ranked, strict=True)]

    def hypotheses(
        self,
        lines: Sequence[str],
        *,
        first_line: int = 1,
        warn: Callable[[str], None] | None = None,
        scored: bool = True,
        tell: Callable[[float], None] | None = None,
    ) -> list[list[list[Hypothesis]]]:
        """What the search found for each part of each line: no part where it is blank. Arguments as ``n_best``'s."""
        parts = self._parts(lines, first_line, warn)  # of each line
        found = iter(self._search_all([part for line in parts for part in line], scored, tell))
        return [[next(found) for _ in line] for line in parts]

    def expected_pace(self) -> float:
        """A guess at how many lines of 15 tokens are translated in a second, before any is."""
        if self.device.type != "cpu":
            return math.inf
        n_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return _CORE_PACE / n_parameters * self._n_workers / (1 + self.config.beam_size)

    def attention(self, line: str, translation: str) -> Attention | None:
        """Where the model looks while it reads ``translation`` as that of ``line``.

        None where a side is blank, where the line is too long for the model and was translated in parts, or where the
        translation, read back, is longer than learned positions go.
        """
        src_ids, tgt_ids = self.tokenizer.encode([line, translation])
        if not tgt_ids or not 0 < len(src_ids) < self.max_src_length:
            return None
        if self._most is not None and len(tgt_ids) >= self._most:
            return None
        with torch.inference_mode():
            weights = self.model.cross_attention_weights(
                pad([src_ids], last=EOS).to(self.device), pad([tgt_ids], first=BOS).to(self.device)
            )  # [1, layers, H, T, S]
        return Attention(
            src_pieces=self.tokenizer.pieces([*src_ids, EOS]),
            tgt_pieces=self.tokenizer.pieces([*tgt_ids, EOS]),
            weights=weights[0].mean(dim=(0, 1)).tolist(),
        )

    def _parts(self, lines: Sequence[str], first_line: int, warn: Callable[[str], None] | None) -> list[list[Ids]]:
        """The pieces of each line: none where it is blank, several where it is too long."""
        encoded = self.tokenizer.encode(["" if is_blank(line) else line for line in lines], threads=self._threads)
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

    def _ranked(self, found: list[list[list[Hypothesis]]], rank: int) -> list[Translation]:
        """The translation of each line that is made of the rank-th best of its parts; blank without parts."""
        # A part may have fewer hypotheses than asked for: its last one stands in.
        chosen = [[part[min(rank, len(part) - 1)] if part else _NOTHING for part in parts] for parts in found]
        texts = iter(self.tokenizer.decode([h.tokens for parts in chosen for h in parts], threads=self._threads))
        translations = []
        for parts in chosen:
            text = " ".join(text for text in (next(texts) for _ in parts) if text)
            translations.append(Translation(one_line(text), sum(h.score for h in parts) / max(1, len(parts))))
        return translations

    def _search_all(
        self, units: Sequence[Ids], scored: bool, tell: Callable[[float], None] | None = None
    ) -> list[list[Hypothesis]]:
        """Search every unit, those of similar length together; results in the order of the units."""
        config = self.config
        at_once = config.batch_tokens or fitting_batch_tokens(self.model, config.beam_size)
        of_a_batch = at_once // BATCHES_AT_ONCE[self.device.type == "cpu"]
        batches = list(length_batches(units, of_a_batch, shares=self._n_workers))
        job = SearchJob(config, self.device, self._most, scored, room=at_once - of_a_batch)
        results: list[list[Hypothesis]] = [[] for _ in units]
        for n, (i, hypotheses) in enumerate(self._search(job, units, batches), start=1):
            results[i] = hypotheses
            if tell is not None:
                tell(n / len(units))
        return results

    def _search(self, job: SearchJob, units: Sequence[Ids], batches: list[list[int]]) -> Iterator[Found]:
        # A single batch has all cores here; several are shared out among workers of one core each.
        if self._n_workers == 1 or len(batches) < 2:
            return search_batches(job, units, self._cached, iter(batches))
        return shared_out(self._n_workers, partial(search_batches, job, units), self._cached, batches)
