"""Several runs that differ by their random seed alone, one after the other.

The seed decides the initial weights, the order of pairs, dropout and subword sampling. The tokenizer, the pairs that
are held out for validation, and the recipe do not depend on it: their scores can be compared. So each seed is an
ordinary run, which reads and tokenizes the corpora by itself. Nothing is shared that could be lost.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from seq2seq.config import RunConfig
from seq2seq.errors import Interrupted
from seq2seq.runs import Manifest, move_aside, read_manifest, spreads
from seq2seq.training.checks import refuse_unfit_for_seeds, require_data, require_readable_corpora
from seq2seq.training.parallel import Ranks, StopSignal, join_ranks
from seq2seq.training.progress import Finished, Notice, Progress, SeedsFinished, SeedStarted
from seq2seq.training.session import Request, check_request, train_with


def train_seeds(request: Request, seeds: Sequence[int], stop: StopSignal = lambda: None) -> Iterator[Progress]:
    """Train ``RUN/seed-N`` for each seed N, or resume that; yields what happens.

    Runs that exist come first: if the command has changed, it is refused before a new run starts.

    Args:
        request: as for ``train``; its folder gets a folder for each seed. A time budget applies to each run.
        seeds: at least one, all different.
        stop: as for ``train``.

    Raises:
        UserError: as ``train``; or the folder is itself a run, or holds other files (78).
        Interrupted: as ``train``.
        ValueError: no seed, or a seed that is given twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different, and at least one: {list(seeds)}")
    with join_ranks(stop) as ranks:
        yield from _train_seeds(ranks, request, seeds)


def _train_seeds(ranks: Ranks, request: Request, seeds: Sequence[int]) -> Iterator[Progress]:
    """As ``train_seeds``, if the ranks have joined already."""
    folders = {seed: request.run / f"seed-{seed}" for seed in seeds}
    requests = {seed: replace(request, run=folders[seed], layers=_with_seed(request, seed)) for seed in seeds}
    requested = ranks.together(lambda: _check_requests(request, requests))
    moved: dict[Path, Path] = {}
    try:
        if request.overwrite and not ranks.rank:
            require_data(requested)
            require_readable_corpora(requested.data)
            for folder in folders.values():
                if os.path.lexists(folder):
                    moved[folder] = move_aside(folder)
                    yield Notice(f"the old run is now {moved[folder]}")
        order = ranks.first(lambda: sorted(seeds, key=lambda seed: not os.path.lexists(folders[seed])))  # stable
        finished: Finished | None = None
        for number, seed in enumerate(order, 1):
            if finished is not None and (signal_number := ranks.stop()) is not None:
                raise Interrupted(signal_number, saved=True, update=finished.update)
            yield SeedStarted(seed, folders[seed], number, len(order))
            for event in train_with(ranks, replace(requests[seed], overwrite=False)):
                finished = event if isinstance(event, Finished) else finished
                yield event
    except Exception:
        if not any(os.path.lexists(folder) for folder in folders.values()):  # no new run was started
            for folder, aside in moved.items():  # none if this is not rank 0
                aside.rename(folder)
                yield Notice(f"the old run is {folder} again")
        raise
    if not ranks.rank:
        yield from _compared({seed: read_manifest(folder) for seed, folder in folders.items()})


def _check_requests(request: Request, requests: Mapping[int, Request]) -> RunConfig:
    """Check the folder of all runs and the request of each run; the configuration of the last one."""
    refuse_unfit_for_seeds(request.run)
    return [check_request(one)[0] for one in requests.values()][-1]


def _with_seed(request: Request, seed: int) -> list[dict[str, object]]:
    return [*request.layers, {"training": {"seed": seed}}]


def _compared(manifests: dict[int, Manifest]) -> Iterator[Notice | SeedsFinished]:
    """Mean and standard deviation of the scores; a warning if the runs had other text."""
    if len({_text_of(manifest) for manifest in manifests.values()}) > 1:
        yield Notice(
            "the corpora changed between two seeds, so the scores also differ by their text; `overwrite` trains all "
            "seeds again",
            warning=True,
        )
    yield SeedsFinished(tuple(manifests), spreads([manifest.scores for manifest in manifests.values()]))


def _text_of(manifest: Manifest) -> tuple[str, ...]:
    """Hashes of the corpora and of the tokenizer."""
    corpora = [f"{corpus['role']} {corpus['sha256']}" for corpus in manifest.corpora if "sha256" in corpus]
    return (*corpora, manifest.files.get("tokenizer.model", ""))
