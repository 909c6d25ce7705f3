"""CTranslate2 as an engine: it searches with the same weights, also in int8.

The library is imported only when a run is opened with it.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis, guarded, has_loop, length_penalty
from seq2seq.device import is_out_of_memory, pick_precision
from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2 import check_supported, converted, position_rows, require_ctranslate2
from seq2seq.model import Seq2SeqModel
from seq2seq.runs.loading import load_model, max_src_length
from seq2seq.translation.batches import SearchResult, fitting_batch_tokens, length_batches
from seq2seq.translation.engines.base import OpenedRun
from seq2seq.translation.segments import Ids
from seq2seq.translation.tuning import CTRANSLATE2_BATCH_TOKENS

_COMPUTE_TYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
"""CTranslate2's names of ``decoding.precision``."""
_UNSUPPORTED: dict[str, object] = {"shortlist": 0, "stopping": "enough", "products": "auto"}
"""Keys of ``decoding`` that it cannot follow, and the only value of each that it accepts."""


class CTranslate2Engine:
    """Batches of similar length, several at once on a CPU.

    Args:
        folder: with the converted model.
        pieces: the vocabulary, by id.
        config: of the search.
        device: that computes.
        compute_type: CTranslate2's name of the precision.
        batch_tokens: max padded source tokens of a batch.
        n_workers: batches that are searched at once.
    """

    name = "ctranslate2"

    def __init__(
        self,
        folder: Path,
        pieces: list[str],
        config: DecodingConfig,
        device: torch.device,
        *,
        compute_type: str,
        batch_tokens: int,
        n_workers: int,
    ) -> None:
        self.precision = compute_type
        self.folder = folder
        self._pieces = pieces
        self._ids = {piece: i for i, piece in enumerate(pieces)}
        self._config = config
        self._device = device
        self.batch_tokens = batch_tokens
        self._n_workers = n_workers
        self._loaded: dict[tuple[int, int], Any] = {}  # by process and number of batches at once

    def search(self, sources: Sequence[Ids], limits: Sequence[int], *, scored: bool) -> Iterator[SearchResult]:
        """As ``Engine.search``.

        All sources of a batch are searched with the largest of their limits. If a hypothesis is longer than the limit
        of its source, this source is searched again, with others of the same limit.
        """
        too_long = []
        batches = list(length_batches(sources, self.batch_tokens, min_batches=self._n_workers))
        for i, found in self._search(sources, limits, batches, scored):
            best = self._best(found, sources[i])
            if any(one.length > limits[i] for one in best):
                too_long.append(i)
            else:
                yield i, best
        too_long.sort(key=lambda i: limits[i])
        batches = []
        for _, group in groupby(too_long, key=lambda i: limits[i]):
            same = list(group)
            batches += [[same[i] for i in b] for b in length_batches([sources[i] for i in same], self.batch_tokens)]
        for i, found in self._search(sources, limits, batches, scored):
            yield i, self._best(found, sources[i])

    def _best(self, found: Any, source: Ids) -> list[Hypothesis]:
        """The n best hypotheses of a source in CTranslate2's result; one that repeats itself may give way."""
        alpha, n_best = self._config.alpha, self._config.n_best
        all_pieces, scores = found.hypotheses, found.scores
        hypotheses: list[Hypothesis] = []
        for nth, pieces in enumerate(all_pieces):
            # The others are needed only in place of a loop: Python should not take the time of CTranslate2's threads.
            if nth == n_best and not (self._config.repetition_guard and has_loop(hypotheses[0].tokens)):
                return hypotheses
            output = [self._ids[piece] for piece in pieces]
            # Its scores are divided by the same power of the same length as ours.
            total = scores[nth] * length_penalty(len(output), alpha) if scores else float("nan")
            hypotheses.append(Hypothesis.from_output(output, total, alpha))
        return (guarded(hypotheses, lambda: source) if self._config.repetition_guard else hypotheses)[:n_best]

    def _search(
        self, sources: Sequence[Ids], limits: Sequence[int], batches: list[list[int]], scored: bool
    ) -> Iterator[tuple[int, Any]]:
        """Search batches, given by the indices of their sources. A few batches more than workers are submitted.

        Yields:
            The index of a source, and CTranslate2's result.
        """
        if not batches:
            return
        config = self._config
        # The repetition guard chooses among all that a search has finished. Without a length penalty, CTranslate2 would
        # continue for them after the best one is certain.
        n_hypotheses = config.beam_size if config.repetition_guard and config.alpha > 0 else config.n_best
        translator = self._translator(self._n_workers if len(batches) > 1 else 1)
        submitted: deque[tuple[list[int], list[Any]]] = deque()
        for indices in batches:
            results = translator.translate_batch(
                [[self._pieces[piece] for piece in sources[i]] for i in indices],
                beam_size=config.beam_size,
                num_hypotheses=n_hypotheses,
                length_penalty=config.alpha,
                max_input_length=0,
                max_decoding_length=max(limits[i] for i in indices),
                min_decoding_length=0,
                return_end_token=True,
                return_scores=scored,
                asynchronous=True,
            )
            submitted.append((indices, results))
            if len(submitted) > 2 * self._n_workers:
                yield from self._results(*submitted.popleft())
        while submitted:
            yield from self._results(*submitted.popleft())

    def _results(self, indices: list[int], results: list[Any]) -> Iterator[tuple[int, Any]]:
        """Wait for a batch."""
        for i, result in zip(indices, results, strict=True):
            try:
                found = result.result()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise UserError(
                    f"memory ran out in CTranslate2 ({error})",
                    mend="free memory, or lower `decoding.batch_tokens`",
                    code=ExitCode.TRY_LATER,
                ) from None
            yield i, found

    def _translator(self, n_batches: int) -> Any:
        """A loaded model: for several batches at once, each on one core, or for a single one on all cores.

        A forked process loads it again, as it does not have the threads of its parent.
        """
        key = os.getpid(), n_batches
        if key not in self._loaded:
            import ctranslate2

            self._loaded[key] = ctranslate2.Translator(
                str(self.folder),
                device=self._device.type,
                device_index=self._device.index or 0,
                compute_type=self.precision,
                inter_threads=n_batches,
                intra_threads=1 if n_batches > 1 else self._n_workers,
            )
        return self._loaded[key]


def open_ctranslate2(run: OpenedRun) -> tuple[Seq2SeqModel, CTranslate2Engine]:
    """Load the model of a run, convert it if that has not been done, and make an engine.

    Raises:
        UserError: an option that the engine cannot follow (2); CTranslate2 is not installed, or does not support the
            model or the precision, or a file of the run is refused (78); the converted model cannot be written (74).
    """
    require_ctranslate2("`engine=ctranslate2`")
    check_supported(run.config.model)
    for key, value in _UNSUPPORTED.items():
        if (given := getattr(run.decoding, key)) != value:
            raise UserError(
                f"CTranslate2 cannot search with `decoding.{key}={given}`",
                mend=f"give `decoding.{key}={value}`, or `engine=own`",
                code=ExitCode.USAGE,
            )
    compute_type = _compute_type(run)
    src_length = max_src_length(run.manifest, run.config)
    n_positions = position_rows(run.config.model, run.decoding, src_length)
    model = load_model(run.folder, run.manifest, run.config, run.tokenizer)
    folder = converted(run.folder, run.manifest, run.tokenizer, n_positions, model)
    model = model.to(run.device)
    on_cpu = run.device.type == "cpu"
    chosen_tokens = CTRANSLATE2_BATCH_TOKENS if on_cpu else fitting_batch_tokens(model, run.decoding.beam_size)
    engine = CTranslate2Engine(
        folder,
        run.tokenizer.pieces(range(len(run.tokenizer))),
        run.decoding,
        run.device,
        compute_type=compute_type,
        batch_tokens=run.decoding.batch_tokens or chosen_tokens,
        n_workers=run.n_workers,
    )
    return model, engine


def _compute_type(run: OpenedRun) -> str:
    """CTranslate2's name of the precision; ``auto`` means the same as in our own engine.

    Raises:
        UserError: CTranslate2 does not support the device, or the precision on it (78).
    """
    import ctranslate2

    device = run.device
    if device.type not in ("cpu", "cuda"):
        raise UserError(
            f"CTranslate2 does not support `device={device.type}`", mend="give `device=cpu`", code=ExitCode.REFUSED
        )
    wanted = run.decoding.precision
    precision = wanted if wanted == "int8" else pick_precision(wanted, device)
    supported = ctranslate2.get_supported_compute_types(device.type, device.index or 0)
    if _COMPUTE_TYPES[precision] not in supported:
        names = [name for name, compute_type in _COMPUTE_TYPES.items() if compute_type in supported]
        raise UserError(
            f"CTranslate2 does not support `decoding.precision={precision}` on this {device.type}",
            mend=f"choose among {', '.join(names)}",
            code=ExitCode.REFUSED,
        )
    return _COMPUTE_TYPES[precision]
