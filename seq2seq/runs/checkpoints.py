"""Checkpoints: everything that training needs to resume exactly.

Each is a folder ``checkpoints/update-NNNNNNNN``. They are ordered by their number, not by time, as clocks may change.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.files import damaged, read_regular, writing
from seq2seq.runs.manifest import (
    FORMAT,
    MANIFEST,
    SHA256,
    Content,
    UnknownFormatError,
    check_format,
    commit_files,
    load_manifest,
    read_hashed,
    to_json,
)
from seq2seq.runs.tensors import load_tensors
from seq2seq.system.files import TMP, atomic_folder, make_folder, reading, temporary_path

if TYPE_CHECKING:
    from torch import Tensor

TENSORS, STATE = ("tensors.safetensors", "tensors-2.safetensors"), ("state.json", "state-2.json")
"""Names of the two files. The second names are used when a checkpoint of the same update is replaced."""
_REPLACED = re.compile("|".join(map(re.escape, (*TENSORS, *STATE))))
_NAME = re.compile(r"update-([0-9]{8,})")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint."""

    update: int
    """Updates made so far."""
    tensors: "dict[str, Tensor]"
    """As given to ``save_checkpoint``, on the CPU."""
    state: dict[str, Any]
    """As given to ``save_checkpoint``, but converted by JSON: tuples have become lists, and keys strings."""
    path: Path


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints with their numbers, newest first."""
    checkpoints = folder / "checkpoints"
    with reading(checkpoints):
        if not checkpoints.is_dir():
            return []
        found = [(int(m[1]), path) for path in checkpoints.iterdir() if (m := _NAME.fullmatch(path.name))]
    return sorted(found, reverse=True)


def newest_update(folder: Path) -> int:
    """Updates of the newest checkpoint, by its name; 0 if there is none."""
    return max((number for number, _ in _numbered(folder)), default=0)


def save_checkpoint(folder: Path, update: int, tensors: "Mapping[str, Tensor]", state: Mapping[str, Any]) -> Path:
    """Save a checkpoint for ``load_checkpoint``, atomically.

    A checkpoint of the same update is replaced. Checkpoints of later updates are deleted: they are damaged, because
    training has resumed from an earlier one.

    Args:
        folder: the run folder. The caller holds its lock.
        update: updates made so far.
        tensors: weights and state of the optimizer. They must not share memory.
        state: values that JSON can hold.

    Returns:
        The checkpoint's folder.

    Raises:
        UserError: a write failed (74); the earlier checkpoints are complete.
        ValueError: ``state`` holds a value that JSON cannot hold.
    """
    checkpoints = folder / "checkpoints"
    path = checkpoints / f"update-{update:08d}"
    fields = {"format": FORMAT, "update": update}
    with writing(path):
        make_folder(checkpoints)
        _delete_leftovers(checkpoints)
        old = _names(path, update)
        if old is None:
            _save_new(path, {TENSORS[0]: tensors, STATE[0]: to_json(state)}, fields)
        else:
            # New files are written into the old folder, as a folder cannot replace another one in one step.
            names = [next(name for name in names if name not in old) for names in (TENSORS, STATE)]
            files: dict[str, Content] = {names[0]: tensors, names[1]: to_json(state)}
            commit_files(path, files, old=old, kept={}, fields=fields, replaced=_REPLACED)
        for number, later in _numbered(folder):
            if number > update:
                _delete(later)
    return path


def _names(path: Path, update: int) -> list[str] | None:
    """The names of files in a checkpoint's manifest; None if it is missing or damaged."""
    try:
        return [name for name, _ in _read_manifest(path, update)]
    except UserError as error:
        if error.code != ExitCode.REFUSED:
            raise
        return None


def _save_new(path: Path, files: Mapping[str, Content], fields: Mapping[str, Any]) -> None:
    with atomic_folder(path, one_writer=True) as temporary:
        commit_files(temporary, files, old=(), kept={}, fields=fields, replaced=_REPLACED)
        if path.exists() or path.is_symlink():
            _delete(path)  # a damaged checkpoint


def _delete(path: Path) -> None:
    """Rename the folder, then delete it. Otherwise a partly deleted checkpoint would look like a damaged one."""
    hidden = temporary_path(path.with_name(f"deleted-{path.name}"), one_writer=True)
    path.rename(hidden)
    _remove(hidden)


def _remove(path: Path) -> None:
    # If something cannot be deleted now, the next save tries it again.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _delete_leftovers(checkpoints: Path) -> None:
    for path in list(checkpoints.iterdir()):
        if path.name.startswith((f"{TMP}update-", f"{TMP}deleted-")):
            _remove(path)


def _read_manifest(path: Path, update: int) -> list[tuple[str, str]]:
    """Name and SHA-256 of the files of a checkpoint: tensors, then state.

    Raises:
        UserError: missing, damaged, or of another format (78); not readable (66).
    """
    where = path / MANIFEST
    data = read_regular(path, MANIFEST)
    if data is None:
        raise damaged(f"{where} is missing")
    payload = load_manifest(data, where)
    check_format(payload, where)
    named = payload.get("files")
    known = named if isinstance(named, dict) else {}
    files = [(name, str(known[name])) for names in (TENSORS, STATE) for name in names if name in known]
    if len(files) != 2 or not all(SHA256.fullmatch(digest) for _, digest in files):
        raise damaged(f"{where} lacks the hash of {TENSORS[0]} or of {STATE[0]}")
    if payload.get("update") != update:
        raise damaged(f"{path} holds update {payload.get('update')!r:.20} instead of {update}")
    return files


def load_checkpoint(folder: Path, warn: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """Load the newest complete checkpoint; None if there is no checkpoint.

    Args:
        folder: the run folder; may be missing.
        warn: called for each damaged checkpoint that is skipped.

    Raises:
        UserError: all checkpoints are damaged, or one has another format (78); one cannot be opened (66).
    """
    found = _numbered(folder)
    for update, path in found:
        try:
            return _load(path, update)
        except UnknownFormatError:
            raise
        except UserError as error:
            if error.code != ExitCode.REFUSED:
                raise
            warn(f"{error.what}; an older checkpoint than update {update} is used")
    if found:
        raise damaged(
            f"all {len(found)} checkpoints in {folder / 'checkpoints'} are damaged",
            mend="move the run aside and start over with `overwrite`",
        )
    return None


def load_checkpoint_of(folder: Path, update: int) -> Checkpoint:
    """Load the checkpoint of an update.

    Raises:
        UserError: it is missing, damaged, or of another format (78); it cannot be opened (66).
    """
    return _load(folder / "checkpoints" / f"update-{update:08d}", update)


def _load(path: Path, update: int) -> Checkpoint:
    (tensors_name, tensors_digest), (state_name, state_digest) = _read_manifest(path, update)
    try:
        state = json.loads(read_hashed(path, state_name, state_digest))
    except (ValueError, RecursionError):
        raise damaged(f"{path / state_name} is not JSON") from None
    if not isinstance(state, dict):
        raise damaged(f"{path / state_name} is not a JSON object")
    tensors = load_tensors(read_hashed(path, tensors_name, tensors_digest), str(path / tensors_name))
    return Checkpoint(update=update, tensors=tensors, state=state, path=path)


def prune_checkpoints(folder: Path, keep: int, *, newest: int | None = None) -> None:
    """Delete all checkpoints except the newest ones, and files that a crash left.

    Args:
        folder: the run folder. The caller holds its lock.
        keep: number of checkpoints to keep. 0 is only for finished runs.
        newest: update of the newest complete checkpoint, if later ones are damaged. The later ones are also deleted.

    Raises:
        UserError: one could not be deleted (74).
        ValueError: ``keep`` is negative.
    """
    if keep < 0:
        raise ValueError(f"keep is {keep}, but must not be negative")
    checkpoints = folder / "checkpoints"
    found = _numbered(folder)
    whole = [(number, path) for number, path in found if newest is None or number <= newest]
    kept = whole[:keep]
    for _, path in [entry for entry in found if entry not in kept]:
        with writing(path):
            _delete(path)
    with writing(checkpoints):
        if checkpoints.is_dir():
            _delete_leftovers(checkpoints)
