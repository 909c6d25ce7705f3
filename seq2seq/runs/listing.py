"""Finds and summarizes run folders. Nothing is locked or written, and torch is not imported.

A run may be trained meanwhile: the manifest is replaced by a single rename, and what it names does not change. If a
commit deletes a file between the two, the run is read again.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.config import RunConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.checkpoints import newest_update
from seq2seq.runs.configuration import read_stored_config
from seq2seq.runs.files import damaged
from seq2seq.runs.folder import Manifest, read_manifest
from seq2seq.runs.manifest import MANIFEST
from seq2seq.runs.metrics import METRICS_FILE, as_number, read_metrics
from seq2seq.runs.spread import SCORES
from seq2seq.system.files import reading

_ATTEMPTS = 3
"""Times that a run is read, if training replaces it meanwhile."""
_STARTED = (".lock", "checkpoints", METRICS_FILE)
"""Names of which at least two are in a run that was not validated yet."""


@dataclass(frozen=True)
class RunSummary:
    """What is known of a run without loading its model."""

    folder: Path
    manifest: Manifest | None
    """None: the run has no validation yet."""
    config: RunConfig | None
    """As stored; None as for the manifest."""
    metrics: list[dict[str, Any]]
    """The records of ``metrics.jsonl``."""
    n_parameters: int | None
    """Weights that are translated with; None as for the manifest."""
    n_bytes: int | None
    """Size of their file."""
    checkpoint_update: int = 0
    """Updates of the newest checkpoint."""

    @property
    def finished(self) -> bool:
        """Whether training ended by itself."""
        return self.manifest is not None and self.manifest.finished

    @property
    def update(self) -> int:
        """Updates made, as far as the folder shows."""
        if self.manifest is not None and self.manifest.final_update is not None:
            return self.manifest.final_update
        last = self.metrics[-1]["update"] if self.metrics else 0
        return max(last, self.checkpoint_update, self.manifest.update if self.manifest is not None else 0)

    @property
    def seconds(self) -> float:
        """Training time, as far as the folder shows."""
        if self.manifest is not None and self.manifest.finished:
            return self.manifest.seconds
        known = [number for record in self.metrics if (number := as_number(record.get("seconds"))) is not None]
        return max(known[-1] if known else 0.0, self.manifest.seconds if self.manifest is not None else 0.0)

    @property
    def scores(self) -> dict[str, float | None]:
        """Validation scores of the weights, by the names of ``SCORES``; None: unknown."""
        stored: Mapping[str, Any] = self.manifest.scores if self.manifest is not None else {}
        return {name: as_number(stored.get(name)) for name in SCORES}

    def curve(self, name: str) -> list[tuple[float, float]]:
        """Updates and validation scores.

        Args:
            name: of ``SCORES``.
        """
        found = {as_number(record["update"]): as_number(record.get(name)) for record in self.metrics}
        return sorted((x, y) for x, y in found.items() if x is not None and y is not None)


class Found(NamedTuple):
    """The result of ``find_runs``."""

    runs: list[RunSummary]
    problems: list[str]
    """A line for each folder that could not be read, or that holds no run."""


def find_runs(folders: Iterable[Path]) -> Found:
    """Summarize run folders, and those in folders at any depth. Hidden folders, and those inside a run, are left out.

    Args:
        folders: in this order; those below each in the order of their names, ``seed-2`` before ``seed-10``.
    """
    found = Found([], [])
    seen: set[str] = set()
    for folder in folders:
        try:
            runs = _below(folder)
        except UserError as error:
            found.problems.append(str(error))
            continue
        if not runs:
            found.problems.append(f"{folder} holds no run")
        for run in runs:
            if (place := os.path.realpath(run)) in seen:
                continue
            seen.add(place)
            try:
                found.runs.append(summarize(run))
            except UserError as error:
                found.problems.append(str(error))
    return found


def summarize(run: Path) -> RunSummary:
    """Summarize a run folder.

    Raises:
        UserError: its manifest or configuration is missing (66), damaged or of another format (78), or was replaced
            each time it was read (75).
    """
    for attempt in range(1, _ATTEMPTS + 1):
        manifest = None
        try:
            metrics, newest = read_metrics(run), newest_update(run)
            if not (run / MANIFEST).exists():
                return RunSummary(run, None, None, metrics, None, None, newest)
            manifest = read_manifest(run)
            config = read_stored_config(run, manifest)
            n_bytes, n_parameters = _size_of(run / manifest.weights)
            return RunSummary(run, manifest, config, metrics, n_parameters, n_bytes, newest)
        except UserError:
            is_replaced = manifest is not None and read_manifest(run) != manifest
            if attempt == _ATTEMPTS or not is_replaced:
                raise
    raise AssertionError("the last attempt returns or raises")


def _size_of(weights: Path) -> tuple[int, int]:
    """Bytes of a file of weights, and the numbers in it: all are fp32, after a header of a given length.

    The file is not parsed, so it is not hashed either.

    Raises:
        UserError: missing, or shorter than its header (78); not readable (66).
    """
    with reading(weights):
        if not weights.is_file():
            raise damaged(f"{weights} is missing")
        n_bytes = weights.stat().st_size
        with open(weights, "rb") as file:
            header = int.from_bytes(file.read(8), "little")
    if n_bytes < 8 + header:
        raise damaged(f"{weights} is damaged: it is shorter than its header")
    return n_bytes, (n_bytes - 8 - header) // 4


def _below(folder: Path) -> list[Path]:
    """The run folders at and below a folder.

    Raises:
        UserError: the folder is missing, no folder, or not readable (66).
    """
    with reading(folder):
        if not folder.is_dir():
            what = "is not a folder" if os.path.lexists(folder) else "does not exist"
            raise UserError(f"{folder} {what}", mend="name a folder written by train", code=ExitCode.NO_INPUT)
        os.listdir(folder)  # os.walk hides that it cannot
    runs = []
    for at, folders, files in os.walk(folder):
        if _is_run({*folders, *files}):
            runs.append(Path(at))
            folders.clear()
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=_natural)
    return runs


def _is_run(names: set[str]) -> bool:
    return MANIFEST in names or sum(name in names for name in _STARTED) >= 2


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
