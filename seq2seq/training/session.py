"""One ``train`` command: a new run, from CORPUS words to a run folder, or a resumed run.

Both take one way: check, lock the folder, load its checkpoint if it has one; read the corpora, tokenize them, decide
what is trained; train. A ``Plan`` holds what differs: ``NewRun`` (``starting.py``) or ``ResumedRun`` (``resuming.py``).
If ``torchrun`` started several processes, rank 0 does all this until training begins; ``following.py`` has the others.
"""

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from seq2seq.config import PRESETS, Layer, RunConfig, build, merge, refuse_unused_keys
from seq2seq.device import pick_device
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import Checkpoint, Manifest, load_checkpoint, lock, move_aside, read_manifest
from seq2seq.system.files import empty_folders_removed
from seq2seq.training.checks import (
    refuse_foreign_folder,
    refuse_inputs,
    refuse_overwriting_again,
    refuse_unknown_preset,
    require_data,
    require_readable_corpora,
)
from seq2seq.training.following import facts_of, follow, hand_over, require_same_run
from seq2seq.training.ingest import discard, read_corpora
from seq2seq.training.length import keep_one_limit
from seq2seq.training.parallel import Ranks, StopSignal, join_ranks
from seq2seq.training.plan import Plan, Setup
from seq2seq.training.prepare import Prepared, prepare
from seq2seq.training.progress import Notice, Progress
from seq2seq.training.resuming import plan_resumed_run, without_checkpoint
from seq2seq.training.starting import plan_new_run
from seq2seq.training.streaming import with_streaming
from seq2seq.training.tensorboard import require_tensorboard, with_tensorboard
from seq2seq.training.trainer import Trainer


@dataclass(frozen=True)
class Request:
    """What one ``train`` command requests."""

    run: Path
    """The run folder."""
    layers: list[Layer] = field(default_factory=list)
    """Configuration above the preset, such as that of a file; later layers win."""
    device: str = "auto"
    overwrite: bool = False
    """Move an existing run aside and start over."""
    log: str | None = None
    """Key of ``LOGS``: a second log, besides ``metrics.jsonl``. It does not change the training."""


LOGS = {"tensorboard": (require_tensorboard, with_tensorboard)}
"""By name: what checks that a log can be written, and what writes it."""


def train(request: Request, stop: StopSignal = lambda: None) -> Iterator[Progress]:
    """Train, or resume training, until a limit is reached; yields what happens.

    If ``torchrun`` started several processes, all of them must call this: they train together, and each yields what
    happens.

    Args:
        request: run folder, configuration, device.
        stop: returns the number of the signal that requests an end, once one has arrived.

    Raises:
        UserError: as the table of exit codes says.
        Interrupted: a signal arrived, and all that was done is saved.
        SystemExit: another process failed, and has reported why.
    """
    with join_ranks(stop) as ranks:
        yield from train_with(ranks, request)


def train_with(ranks: Ranks, request: Request) -> Iterator[Progress]:
    """As ``train``, if the ranks have joined already."""
    began = ranks.now()
    requested, user_layer, device = ranks.together(lambda: check_request(request))
    ranks.require_alike(lambda: facts_of(requested, device))
    if ranks.rank:
        yield from follow(ranks, request.run, device, began)
        return
    folder = request.run
    aside = None
    if request.overwrite and os.path.lexists(folder):
        require_data(requested)
        require_readable_corpora(requested.data)
        aside = move_aside(folder)
        yield Notice(f"the old run is now {aside}")
    try:
        with empty_folders_removed(folder), lock(folder):
            events = _train(ranks, folder, requested, user_layer, device, began)
            yield from events if request.log is None else LOGS[request.log][1](events, folder)
    except Exception:
        if aside is not None and not os.path.lexists(folder):  # the new run was not started
            aside.rename(folder)
            yield Notice(f"the old run is {folder} again")
        raise


def check_request(request: Request) -> tuple[RunConfig, Layer, torch.device]:
    """Make the checks that need neither a lock nor a corpus.

    Returns:
        The configuration with defaults for keys that are unset, the same without them, and the device.

    Raises:
        UserError: what is requested cannot be trained (2, 66 or 78).
    """
    if request.log is not None:
        if request.log not in LOGS:
            raise UserError(
                f"`log={request.log}` is unknown",
                mend=f"give `log={' or '.join(LOGS)}`, or leave it out",
                code=ExitCode.USAGE,
            )
        LOGS[request.log][0]()
    if request.overwrite:
        refuse_overwriting_again()
    device = pick_device(request.device)
    user_layer = with_streaming(merge(keep_one_limit(request.layers)))
    of_preset = PRESETS.get(str(user_layer.get("preset")), {})
    requested = build(merge([of_preset, user_layer]), where="the configuration")
    refuse_unused_keys(user_layer, requested)
    refuse_unknown_preset(requested)
    refuse_foreign_folder(request.run)
    refuse_inputs(request.run, requested.data, overwrite=request.overwrite)
    return requested, user_layer, device


def _train(
    ranks: Ranks, folder: Path, requested: RunConfig, user_layer: Layer, device: torch.device, began: float
) -> Generator[Progress, None, None]:
    """Start or resume the run of a folder that is locked.

    Args:
        ranks: of which this process is the first.
        folder: of the run.
        requested: the command's configuration, with defaults for keys that are unset.
        user_layer: the same without them.
        device: that trains.
        began: when the command began, by the ranks' clock.
    """
    manifest = read_manifest(folder) if (folder / "manifest.json").exists() else None
    checkpoint = yield from _load_checkpoint(folder, manifest)
    plan: Plan | None = None
    if checkpoint is not None:
        plan = yield from plan_resumed_run(folder, user_layer, checkpoint, manifest)
    elif manifest is not None:
        yield without_checkpoint(folder, user_layer, manifest)
    else:
        plan = yield from plan_new_run(requested, user_layer, device, ranks.n)
    if plan is None:  # the run is finished
        hand_over(ranks, None)
        return
    setup, prepared = yield from _prepare(folder, plan)
    handed = hand_over(ranks, setup, folder, checkpoint)
    trainer = Trainer(folder, setup, prepared, device, ranks, began)
    require_same_run(ranks, handed, folder, trainer)
    yield from trainer.train(checkpoint)


def _load_checkpoint(folder: Path, manifest: Manifest | None) -> Generator[Notice, None, Checkpoint | None]:
    """The newest whole checkpoint; a damaged one is a warning. A finished run needs none."""
    damaged: list[str] = []
    checkpoint = None
    try:
        checkpoint = load_checkpoint(folder, damaged.append)
    except UserError as error:
        if error.code != ExitCode.REFUSED or manifest is None or not manifest.finished:
            raise
        damaged.append(error.what)
    yield from (Notice(text, warning=True) for text in damaged)
    return checkpoint


def _prepare(folder: Path, plan: Plan) -> Generator[Progress, None, tuple[Setup, Prepared]]:
    """Prepare a new or a resumed run: read the corpora, tokenize them, decide what is trained."""
    place = folder / "prepared"
    is_ours = not os.path.lexists(place)  # otherwise an earlier command that was interrupted made it
    notices: list[str | Notice] = []
    try:
        try:
            corpora = read_corpora(place, plan.data, notices.append, expected=plan.expected)
        finally:  # notices that came before an error help to understand it
            yield from _drain(notices)
        data = yield from plan.tokenized(corpora)
        try:
            prepared = prepare(place, data, corpora, notices.append, may_grow=plan.may_grow, model=plan.tokenizer)
        finally:
            yield from _drain(notices)
        setup = yield from plan.setup(prepared)
        return setup, prepared
    except Exception:
        if is_ours:
            discard(place)
        raise


def _drain(notices: list[str | Notice]) -> Iterator[Notice]:
    """Take all notices out of the list."""
    while notices:
        first = notices.pop(0)
        yield first if isinstance(first, Notice) else Notice(first)
