"""What training writes to a run folder, and when.

| What | When |
|---|---|
| ``prepared/`` | before training (``ingest.py``, ``prepare.py``) |
| ``metrics.jsonl`` | a line for each report, with the scores of a validation |
| ``checkpoints/`` | when one is due, and before the best weights are committed |
| weights, tokenizer, configuration, ``manifest.json`` | after each validation that is the best so far |
| ``README.md`` | with the first weights, and when the run is finished |
| shortlist, length penalty, final manifest | at the end; then old checkpoints and ``prepared/`` are deleted |

If several processes train one run, only one of them has a writer.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from seq2seq.config import RunConfig, to_toml
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import (
    CONFIG,
    NEXT_CONFIG,
    SHORTLIST,
    Manifest,
    append_metrics,
    commit,
    model_name,
    prune_checkpoints,
    read_file,
    read_manifest,
    save_checkpoint,
    tidy_run,
    truncate_metrics,
)
from seq2seq.training.ending import Ending
from seq2seq.training.ingest import discard
from seq2seq.training.model_card import write_model_card
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Report
from seq2seq.training.state import TrainingState
from seq2seq.training.validation import ValidationSet
from seq2seq.version import VERSION

_TOKENIZER = "tokenizer.model"


class RunWriter:
    """Writes a run folder while it is trained in.

    Args:
        folder: of the run. The caller holds its lock.
        prepared: the corpus and the tokenizer.
        validation: the validation pairs and their metrics.
    """

    def __init__(self, folder: Path, prepared: Prepared, validation: ValidationSet) -> None:
        self.folder = folder
        self._prepared = prepared
        self._validation = validation
        self._saved: TrainingState | None = None
        """The state in the newest checkpoint, without its time."""

    # ------------------------------------------------------------------ while training

    def write_metrics(self, report: Report, scores: Mapping[str, float | None]) -> None:
        """Append a line to ``metrics.jsonl``."""
        left_out = {"padding"}
        if not report.tgt_tokens_per_second:  # unknown, as for updates before an interruption
            left_out |= {"loss", "tgt_tokens_per_second"}
        line = {key: value for key, value in asdict(report).items() if key not in left_out}
        append_metrics(self.folder, {**line, **scores})

    def truncate_metrics(self, update: int) -> None:
        """Delete the lines after an update, which training will write again."""
        truncate_metrics(self.folder, update)

    def resume_from(self, state: TrainingState) -> None:
        """The newest checkpoint has this state: it is not written again."""
        self._saved = replace(state, seconds=0.0)

    def save_checkpoint(self, state: TrainingState, tensors: Mapping[str, Tensor]) -> Path | None:
        """Write a checkpoint; None if the newest one has the same state, or if no update was made."""
        timeless = replace(state, seconds=0.0)
        if state.update == 0 or timeless == self._saved:
            return None
        path = save_checkpoint(self.folder, state.update, tensors, state.to_json())
        self._saved = timeless
        prune_checkpoints(self.folder, max(1, state.config.training.keep_checkpoints))
        return path

    def commit_best(self, state: TrainingState, weights: dict[str, Tensor]) -> None:
        """Make the best weights those of the run, with what belongs to them if it is not there yet."""
        best = state.best
        assert best is not None
        manifest = self.read_manifest()
        old = manifest.files if manifest is not None else {}
        files: dict[str, bytes | Mapping[str, Tensor]] = {model_name(best.update, old): weights}
        if manifest is None:
            files |= {CONFIG: _repeatable(state.config), _TOKENIZER: self._prepared.tokenizer.model}
        kept = [name for name in old if manifest is None or name != manifest.weights]
        new = replace(self._manifest(state, best.update, best.scores), cut_off=best.cut_off)
        if manifest is not None:
            # Until another one is chosen, these weights keep the length penalty of those before.
            new = replace(
                new, length_penalty=manifest.length_penalty, length_penalty_pairs=manifest.length_penalty_pairs
            )
        commit(self.folder, new, files, kept)
        self._write_card(state, best.scores, best.cut_off)

    # ------------------------------------------------------------------ at the end

    def commit_finished(self, state: TrainingState, ending: Ending) -> Manifest:
        """Mark the run as finished, and delete what is no longer needed.

        Returns:
            The manifest.
        """
        manifest = read_manifest(self.folder)
        # Update and scores are the manifest's: a run resumed from an older checkpoint may have found another best.
        finished = replace(
            self._manifest(state, manifest.update, ending.scores),
            finished=True,
            final_update=state.update,
            epochs=state.epoch,
            length_penalty=ending.length_penalty,
            length_penalty_pairs=ending.length_penalty_pairs,
            cut_off=manifest.cut_off,
            confidence=ending.confidence or manifest.confidence,
            verdict=self._validation.verdict(ending.scores, manifest.cut_off),
        )
        new: dict[str, bytes | Mapping[str, Tensor]] = {}
        if ending.shortlist is not None:
            new[SHORTLIST] = ending.shortlist
        toml = _repeatable(state.config)
        if manifest.config == CONFIG and not self._has_config(manifest, toml):
            # Limits changed since the first commit. No file may change under its name, so the new one first gets
            # another name.
            unfinished = replace(manifest, finished=False, final_update=None)
            manifest = commit(self.folder, unfinished, {NEXT_CONFIG: toml}, manifest.files.keys() - {CONFIG})
        if manifest.config == NEXT_CONFIG:
            new[CONFIG] = toml
        self._write_card(state, ending.scores, manifest.cut_off, rewrite=True)
        commit(self.folder, finished, new, manifest.files.keys() - {NEXT_CONFIG})
        delete_left_overs(self.folder, state.config.training.keep_checkpoints, state.update)
        return finished

    def read_manifest(self) -> Manifest | None:
        """The manifest in place; None before the first validation."""
        return read_manifest(self.folder) if (self.folder / "manifest.json").exists() else None

    def _has_config(self, manifest: Manifest, toml: bytes) -> bool:
        """Whether the folder's configuration is this one; it is not if somebody edited it."""
        try:
            return read_file(self.folder, manifest, CONFIG) == toml
        except UserError as error:
            if error.code != ExitCode.REFUSED:
                raise
            return False

    def _manifest(self, state: TrainingState, update: int, scores: dict[str, Any]) -> Manifest:
        """The manifest of a run that is not finished."""
        return Manifest(
            files={},
            update=update,
            finished=False,
            max_src_length=self._prepared.max_src_length,
            max_src_sentences=self._prepared.max_src_sentences,
            vocab_size=self._prepared.tokenizer.n_pieces,
            limits=state.limits,
            max_updates=state.config.training.max_updates,
            patience=state.config.training.patience,
            seconds=round(state.seconds, 1),
            arithmetic=str(state.arithmetic),
            versions={"seq2seq": VERSION} | {name: version(name) for name in ("torch", "sentencepiece", "sacrebleu")},
            corpora=self._prepared.record(state.stream),
            scores=scores,
            signatures=self._validation.signatures(),
            recipe=state.recipe,
        )

    def _write_card(self, state: TrainingState, scores: dict[str, Any], cut_off: int, *, rewrite: bool = False) -> None:
        card = self.folder / "README.md"
        if rewrite or not card.exists():
            with contextlib.suppress(UserError):  # a full disk is reported when it costs more than a card
                write_model_card(
                    card,
                    state.config,
                    scores,
                    self._validation.signatures(),
                    self._prepared.record(state.stream),
                    state.recipe,
                    verdict=self._validation.verdict(scores, cut_off),
                )


def delete_left_overs(folder: Path, keep_checkpoints: int, newest: int | None = None) -> None:
    """Delete what a finished run does not need. After a crash in here, the same command again completes it.

    Args:
        folder: the run. The caller holds its lock.
        keep_checkpoints: of the configuration; 0 keeps none.
        newest: update of the newest whole checkpoint; None: there is none, and damaged ones stay.
    """
    discard(folder / "prepared")
    tidy_run(folder)
    if newest is not None:
        prune_checkpoints(folder, min(1, keep_checkpoints), newest=newest)


def _repeatable(config: RunConfig) -> bytes:
    """The configuration that repeats a run, as TOML; once its number of updates is known, without a time budget."""
    if config.training.max_updates is not None:
        config = replace(config, training=replace(config.training, time_budget=None))
    return to_toml(config).encode()
