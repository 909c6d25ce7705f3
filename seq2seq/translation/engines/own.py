"""Our own engine: search with PyTorch, on any device and with any architecture."""

from collections.abc import Iterator, Sequence
from functools import partial

from seq2seq.config import DecodingConfig
from seq2seq.device import pick_dtype
from seq2seq.model import Seq2SeqModel, Shortlist, build_decoder
from seq2seq.runs.loading import load_model, load_shortlist
from seq2seq.translation.batches import (
    SearchJob,
    SearchResult,
    fitting_batch_tokens,
    length_batches,
    search_batches,
)
from seq2seq.translation.engines.base import OpenedRun
from seq2seq.translation.segments import Ids
from seq2seq.translation.tuning import BATCHES_AT_ONCE
from seq2seq.translation.workers import map_parallel


class OwnEngine:
    """Continuous batching on one device; on a CPU several workers, each on one core.

    Args:
        model: in evaluation mode, on its device.
        config: of the search.
        n_control: number of control symbols and language tags of the vocabulary.
        n_workers: parallel searches.
        shortlist: restricts the target pieces of each sentence; None: no restriction.
    """

    name = "own"

    def __init__(
        self,
        model: Seq2SeqModel,
        config: DecodingConfig,
        *,
        n_control: int,
        n_workers: int,
        shortlist: Shortlist | None = None,
    ) -> None:
        weight = next(model.parameters())
        self.precision = str(weight.dtype).removeprefix("torch.")
        self.decoder = build_decoder(model, shortlist, greedy=config.beam_size == 1, products=config.products)
        self._model = model
        self._config = config
        self._device = weight.device
        self._n_control = n_control
        self._n_workers = n_workers

    def search(self, sources: Sequence[Ids], limits: Sequence[int], *, scored: bool) -> Iterator[SearchResult]:
        """As ``Engine.search``; sources of similar length are searched together."""
        at_once = self._config.batch_tokens or fitting_batch_tokens(self._model, self._config.beam_size)
        of_a_batch = at_once // BATCHES_AT_ONCE[self._device.type == "cpu"]
        batches = list(length_batches(sources, of_a_batch, min_batches=self._n_workers))
        job = SearchJob(self._config, self._device, limits, scored, self._n_control, room=at_once - of_a_batch)
        # A single batch uses all cores in this process; several are distributed to workers of one core each.
        if self._n_workers == 1 or len(batches) < 2:
            return search_batches(job, sources, self.decoder, iter(batches))
        return map_parallel(self._n_workers, partial(search_batches, job, sources), self.decoder, batches)


def open_own(run: OpenedRun) -> tuple[Seq2SeqModel, OwnEngine]:
    """Load the model of a run, and make its engine.

    Raises:
        UserError: the precision is not supported, or a file of the run is refused (78).
    """
    dtype = pick_dtype(run.decoding.precision, run.device)
    n, tokenizer = run.decoding.shortlist, run.tokenizer
    model = load_model(run.folder, run.manifest, run.config, tokenizer).to(run.device, dtype)
    engine = OwnEngine(
        model,
        run.decoding,
        n_control=tokenizer.n_control,
        n_workers=run.n_workers,
        shortlist=load_shortlist(run.folder, run.manifest, tokenizer, n) if n else None,
    )
    return model, engine
