"""One ``train`` command: a new run, from CORPUS words to a run folder, or a resumed run."""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from seq2seq.batching import epoch_updates
from seq2seq.config import PRESETS, DataConfig, Layer, RunConfig, build, choose_among, merge, parse_langs
from seq2seq.corpus import corpus_files, local_folder, own_validation, read_pairs
from seq2seq.device import pick_device
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import build_metric
from seq2seq.runs import (
    Checkpoint,
    Limits,
    Manifest,
    load_checkpoint,
    lock,
    move_aside,
    read_file,
    read_manifest,
)
from seq2seq.system.files import empty_folders_removed, reading
from seq2seq.text import refuse_overwriting
from seq2seq.training.best import choose_best_metric
from seq2seq.training.ingest import discard, read_corpora
from seq2seq.training.length import LIMITS, complete, kind_of, measured_rate, one_limit
from seq2seq.training.opening import length_lines, opening_lines
from seq2seq.training.prepare import Prepared, prepare
from seq2seq.training.progress import Notice, Progress
from seq2seq.training.recipe import Statistics, recipe, record_of, speed, with_vocabulary
from seq2seq.training.resuming import (
    finished_already,
    is_finished,
    open_cadences,
    refuse_other_corpora,
    resumed_config,
    without_checkpoint,
)
from seq2seq.training.run import MANY_PAIRS, Run, shed
from seq2seq.training.state import BudgetState, Cadence, TrainingState
from seq2seq.training.trainer import StopSignal


@dataclass(frozen=True)
class Request:
    """What one ``train`` command requests."""

    run: Path
    layers: list[Layer] = field(default_factory=list)
    """Configuration above the preset: file, flags, ``--set``; later ones win."""
    device: str = "auto"
    overwrite: bool = False
    """Move an existing run aside and start over."""


def train(request: Request, stop: StopSignal = lambda: None) -> Iterator[Progress]:
    """Train, or resume training, until a limit is reached; yields what happens.

    Args:
        request: run folder, configuration, device.
        stop: the signal that requests an end, once one has arrived.

    Raises:
        UserError: as the table of exit codes says.
        Interrupted: a signal arrived, and all that was done is saved.
    """
    began = time.monotonic()
    device = pick_device(request.device)
    request = replace(request, layers=one_limit(request.layers))
    of_preset = PRESETS.get(str(merge(request.layers).get("preset")), {})
    asked = build(merge([of_preset, *request.layers]), where="the configuration")
    if asked.preset != "auto" and asked.preset not in PRESETS:
        raise UserError(
            f"preset {asked.preset} is unknown",
            mend=choose_among(asked.preset, ["auto", *PRESETS]),
            code=ExitCode.USAGE,
        )
    folder = request.run
    _refuse_foreign_folder(folder)
    _refuse_inputs(request, asked.data)
    aside = None
    if request.overwrite and os.path.lexists(folder):
        _require_data(asked)
        for word in (*asked.data.train, *asked.data.valid):  # a mistyped name moves nothing
            next(read_pairs(word, parse_langs(asked.data.langs), encoding_errors=asked.data.encoding_errors), None)
        aside = move_aside(folder)
        yield Notice(f"the old run is now {aside}")
    try:
        with empty_folders_removed(folder), lock(folder):
            notices: list[Notice] = []
            manifest = read_manifest(folder) if (folder / "manifest.json").exists() else None
            checkpoint = _load_checkpoint(folder, manifest, notices)
            yield from notices
            if checkpoint is not None:
                yield from _resume(request, checkpoint, manifest, device, stop, began)
            elif manifest is not None:
                yield without_checkpoint(folder, merge(request.layers), manifest)
            else:
                yield from _start(request, asked, device, stop, began)
    except Exception:
        if aside is not None and not os.path.lexists(folder):  # the new run was not started
            aside.rename(folder)
            yield Notice(f"the old run is {folder} again")
        raise


def _load_checkpoint(folder: Path, manifest: Manifest | None, notices: list[Notice]) -> Checkpoint | None:
    """The newest whole checkpoint; a damaged one is a warning. A finished run needs none."""

    def warn(text: str) -> None:
        notices.append(Notice(text, warning=True))

    try:
        return load_checkpoint(folder, warn)
    except UserError as error:
        if error.code != ExitCode.REFUSED or manifest is None or not manifest.finished:
            raise
        warn(error.what)
        return None


def _refuse_foreign_folder(folder: Path) -> None:
    """Refuse to train into a folder that holds other files."""
    if os.path.isdir(folder):
        with reading(folder):
            names = {path.name for path in folder.iterdir()}
        if names and not names & {"manifest.json", "checkpoints", "prepared", ".lock"}:
            raise UserError(
                f"{folder} is a folder with other files in it ({sorted(names)[0]}, …)",
                mend="name a new folder after -o",
                code=ExitCode.REFUSED,
            )


def _refuse_inputs(request: Request, data: DataConfig) -> None:
    """Refuse a run folder that is one of the inputs, and an ``--overwrite`` that would move an input aside."""
    words = (*data.train, *data.valid) if data.langs else ()
    inputs = [Path(data.tokenizer)] if data.tokenizer else []
    run = Path(os.path.realpath(request.run))
    for word in words:
        folder = None
        with suppress(UserError):  # what is wrong with a corpus is reported when it is read
            folder = local_folder(word)
            inputs += [folder] if folder else corpus_files(word, parse_langs(data.langs))
        if folder and run.is_relative_to(os.path.realpath(folder)):
            raise UserError(
                f"the run folder {request.run} is inside the data set {word}, all of whose files are read",
                mend="give -o a folder elsewhere",
                code=ExitCode.USAGE,
            )
    refuse_overwriting(request.run, inputs)
    for path in inputs:
        if request.overwrite and Path(os.path.realpath(path)).is_relative_to(run):
            raise UserError(
                f"--overwrite would move {path} aside with {request.run}, but this command reads it",
                mend="move that file elsewhere, or give -o another folder",
                code=ExitCode.USAGE,
            )


def _require_data(config: RunConfig) -> None:
    if not config.data.langs:
        raise UserError("no languages are given", mend="name them with -l, as in -l de-en", code=ExitCode.USAGE)
    parse_langs(config.data.langs)
    if not config.data.train:
        raise UserError("no corpus is given", mend="name one with --train", code=ExitCode.USAGE)


def _start(
    request: Request, asked: RunConfig, device: torch.device, stop: StopSignal, began: float
) -> Iterator[Progress]:
    """A new run: read the corpora, decide the configuration, train."""
    _require_data(asked)
    if own := _own_validation(asked.data, request.layers):
        yield Notice(
            f"{', '.join(own)} is used for validation: a split of the same data set (--valid names another corpus)"
        )
        request = replace(request, layers=[*request.layers, {"data": {"valid": own}}])
        asked = replace(asked, data=replace(asked.data, valid=own))
    if asked.training.best_metric == "bleu":  # a missing tokenizer is reported before a large corpus is read
        build_metric("bleu", parse_langs(asked.data.langs)[1])
    folder = request.run / "prepared"
    is_ours = not os.path.lexists(folder)  # or else the work of an earlier command, which was interrupted
    try:
        run = yield from _prepared_run(request, asked, device, stop, began)
    except Exception:
        if is_ours:
            discard(folder)
        raise
    yield from run.train(None)


def _prepared_run(
    request: Request, asked: RunConfig, device: torch.device, stop: StopSignal, began: float
) -> Generator[Progress, None, Run]:
    """All of a new run that comes before its training."""
    reports: list[str | Notice] = []
    try:
        corpora = read_corpora(request.run / "prepared", asked.data, reports.append)
    finally:  # what was reported before a refusal helps to understand it
        yield from _drain(reports)
    n_pairs = sum(c.pairs - c.dropped_empty for c in corpora if c.role == "train")
    wished, kind = merge(request.layers), kind_of(device)
    guessed = recipe(Statistics.guess(n_pairs), kind, wished)
    config = guessed.config
    if n_pairs > MANY_PAIRS and not config.data.tokenizer:
        yield Notice("learning the vocabulary")
    may_grow = "vocab_size" not in wished.get("data", {})
    try:
        prepared = prepare(request.run / "prepared", config.data, corpora, reports.append, may_grow=may_grow)
    finally:
        yield from _drain(reports)
    corpus = Statistics(prepared.n_pairs, prepared.n_src_tokens, prepared.n_tgt_tokens)
    by_pairs = recipe(corpus, kind, wished)
    n_pieces = prepared.tokenizer.n_pieces
    # It was made before pairs were dropped or held out.
    found = with_vocabulary(by_pairs, guessed.advised.data.vocab_size, guessed.reasons.vocabulary)
    if not config.data.tokenizer and n_pieces > config.data.vocab_size:
        found = with_vocabulary(found, n_pieces, "one piece for each character, and as many more as the text allows")
    config = found.config
    limits = Limits(**{name: getattr(config.training, name) for name in LIMITS})
    derived = tuple(key for key in _CADENCES if getattr(config.training, key) is None)
    record = record_of(found, config, prepared.tokenizer_sha256 if config.data.tokenizer else "")
    yield from map(Notice, opening_lines(found, str(record), config, prepared.n_pairs, n_pieces, device.type))
    an_epoch = _updates_an_epoch(config, prepared)
    config = complete(config, found.usual_passes, an_epoch)
    rate = measured_rate(config, device)

    def seconds_a_pass(config: RunConfig) -> float:
        return corpus.n_tgt_tokens / speed(config, corpus, len(prepared.tokenizer), kind, rate)

    usual = recipe(corpus, kind, merge([wished, {"training": dict.fromkeys(LIMITS)}]))
    yield from length_lines(found, usual, config, an_epoch, seconds_a_pass, device.type)
    config, validation, notices = choose_best_metric(config, prepared)
    yield from notices
    state = TrainingState(
        config=config,
        limits=limits,
        derived=derived,
        corpora=tuple(record.id for record in prepared.corpora),
        tokenizer_sha256=prepared.tokenizer_sha256,
        recipe=record,
    )
    return Run(request.run, state, prepared, validation, device, stop, round(found.usual_passes * an_epoch), began)


def _own_validation(data: DataConfig, layers: list[Layer]) -> tuple[str, ...]:
    """The validation splits of the data sets to train on, unless ``data.valid`` is given."""
    if "valid" in merge(layers).get("data", {}):
        return ()
    return tuple(word for corpus in data.train if corpus.startswith("hf:") and (word := own_validation(corpus)))


def _validates_itself(data: DataConfig) -> bool:
    """Whether the validation corpora are splits of the data sets that are trained on."""
    names = {word.removesuffix(":train") for word in data.train}
    return bool(data.valid) and all(word.startswith("hf:") and word.rpartition(":")[0] in names for word in data.valid)


_CADENCES: tuple[Cadence, ...] = ("valid_every", "save_every")
"""Keys of ``training`` that follow from the length of training if they are unset."""
_USUAL_PASSES = 40.0
"""Of a run whose recipe was not recorded."""


def _updates_an_epoch(config: RunConfig, prepared: Prepared) -> int:
    training, ids = config.training, prepared.ids
    order = epoch_updates(
        ids.src_lengths, ids.tgt_lengths, batch_tokens=training.batch_tokens, seed=training.seed, epoch=0
    )
    return sum(1 for _ in order)


def _resume(
    request: Request,
    checkpoint: Checkpoint,
    manifest: Manifest | None,
    device: torch.device,
    stop: StopSignal,
    began: float,
) -> Iterator[Progress]:
    """A run that has a checkpoint: settings that the command does not give are the run's."""
    state = TrainingState.from_json(checkpoint.state, checkpoint.path)
    given = merge(request.layers)
    config, limits = resumed_config(request.run, given, state.config, state.limits)
    config = open_cadences(config, given, state)
    if manifest is not None and is_finished(manifest, state.update, config, limits):
        refuse_other_corpora(request.run, given, config.data, manifest)
        shed(request.run, config.training.keep_checkpoints, state.update)
        yield finished_already(manifest)
        return
    if _validates_itself(state.config.data) and (own := _own_validation(config.data, request.layers)):
        config = replace(config, data=replace(config.data, valid=own))  # the data set may have moved
    reports: list[str | Notice] = []
    folder = request.run / "prepared"
    is_ours = not os.path.lexists(folder)
    try:
        corpora = read_corpora(folder, config.data, reports.append, expected=state.corpora)
        prepared = prepare(folder, config.data, corpora, reports.append, model=_own_tokenizer(request.run, manifest))
    except Exception:
        if is_ours:
            discard(folder)
        raise
    finally:
        yield from _drain(reports)
    if prepared.tokenizer_sha256 != state.tokenizer_sha256:
        raise UserError(
            f"{request.run} was trained with another tokenizer than {config.data.tokenizer or 'its text makes now'}",
            mend="restore that tokenizer, or give --overwrite to start over",
            code=ExitCode.REFUSED,
        )
    an_epoch = _updates_an_epoch(config, prepared)
    usual_passes = state.recipe.usual_passes if state.recipe else _USUAL_PASSES
    config = complete(config, usual_passes, an_epoch)
    config, validation, notices = choose_best_metric(config, prepared)
    yield from notices
    # With a new limit the length of training is open again.
    budget = BudgetState() if config.training.max_updates is None and state.budget.times_set else state.budget
    derived = tuple(key for key in state.derived if given.get("training", {}).get(key) is None)
    corpora_read = tuple(record.id for record in prepared.corpora)
    state = replace(
        state,
        config=config,
        limits=limits,
        derived=derived,
        budget=budget,
        corpora=corpora_read,
        order="by_similar_length",
    )
    run = Run(request.run, state, prepared, validation, device, stop, round(usual_passes * an_epoch), began)
    yield from run.train(checkpoint)


def _own_tokenizer(folder: Path, manifest: Manifest | None) -> bytes | None:
    """The tokenizer of a run that has been validated once."""
    return None if manifest is None else read_file(folder, manifest, "tokenizer.model")


def _drain(reports: list[str | Notice]) -> Iterator[Notice]:
    """Pass on the reports."""
    while reports:
        first = reports.pop(0)
        yield first if isinstance(first, Notice) else Notice(first)
