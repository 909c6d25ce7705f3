"""The run folder: its manifest, and how its files are read and committed."""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from seq2seq.config.records import AtLeastOne, Count, Flag, Integer, Length, NotNegative, Real, parse_record, record
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.runs.files import damaged, read_regular, writing
from seq2seq.runs.lock import lock
from seq2seq.runs.manifest import (
    CONFIG,
    FORMAT,
    MANIFEST,
    MODEL,
    NAME,
    NEXT_CONFIG,
    SHA256,
    Content,
    check_format,
    commit_files,
    load_manifest,
    read_hashed,
    tidy,
)
from seq2seq.runs.tensors import load_tensors
from seq2seq.system.files import make_folder, reading, sync_folder
from seq2seq.text import walk_folder

if TYPE_CHECKING:  # lists of runs are printed without torch, which takes a second to load
    from torch import Tensor

SHORTLIST = "shortlist.safetensors"
"""File of a finished run: likely target pieces of each source piece."""

Stored = TypeVar("Stored")


@record
class Limits:
    """Limits of training, from the last command that set one; None: not set."""

    max_updates: Count | None = None
    max_epochs: Count | None = None
    time_budget: Real | None = None
    """Seconds."""


_MAX_NAMED = 2
"""Max changed keys that a message names. It only counts more."""


@record
class RecipeRecord:
    """The recipe that a run was trained with."""

    name: str
    hash: str
    """A hash (seven hexadecimal digits) of everything that a recipe decides, except the length of training. Runs with
    the same hash may differ in text, seed, machine and length, and in settings of reports, validation and precision."""
    usual_passes: Real
    """Usual number of epochs for a corpus of this size."""
    changed: list[str] = field(default_factory=list)
    """Keys that the user set to other values than the recipe, except limits of training."""

    def __str__(self) -> str:
        """Name and hash, for a message."""
        are_named = len(self.changed) <= _MAX_NAMED
        own = " and ".join(self.changed) if are_named else counted(len(self.changed), "setting")
        return f"{self.name} ({self.hash}{f', with your {own}' if own else ''})"


@record
class ConfidenceRecord:
    """A linear function from what a search knows about a translation to its chrF (``translation/confidence.py``)."""

    intercept: Real
    log_probability: Real
    """Weight of the mean log-probability of a token, in nats."""
    length_ratio: Real
    """Weight of target tokens for each source token."""
    repetition: Real
    """Weight of the share of repeated pairs of pieces."""
    pairs: Count
    """Number of pairs that it was fitted on."""
    corpus: str = ""
    """Where they came from: ``validation``, or CORPUS words of ``eval``."""


@record
class Manifest:
    """The fields of ``manifest.json``. Later versions may add fields, each with a default."""

    format: Integer = FORMAT
    files: dict[str, str]
    """SHA-256 of each file in hexadecimal digits, by file name."""
    update: Count
    """Number of updates when the committed weights were validated."""
    finished: Flag
    """Whether training ended by itself, without an interruption."""
    final_update: Count | None = None
    """Number of updates when training ended; None: it has not ended."""
    epochs: Count = 0
    """Number of epochs finished when training ended."""
    length_penalty: NotNegative | None = None
    """Exponent α of the length penalty, chosen on validation data when training ended; None: not chosen, or given in
    the configuration."""
    length_penalty_pairs: Count | None = None
    """Number of validation pairs used to choose it: fewer than all if the time budget was short."""
    cut_off: Count = 0
    """Number of validation translations that were cut off at their max length."""
    max_src_length: Length | None = None
    """Max length of a source that is translated as one segment, in tokens, EOS included; None: ``data.max_length``."""
    max_src_sentences: AtLeastOne | None = None
    """Max sentences of a source that is translated as one segment; None: no limit."""
    vocab_size: Count | None = None
    """Pieces of the joint vocabulary, language tags not counted."""
    limits: Limits = field(default_factory=Limits)
    max_updates: Count | None = None
    """Number of updates, computed from the limits; None: not known yet."""
    patience: Count = 0
    """``training.patience`` of the last command."""
    seconds: Real = 0.0
    """Training time in seconds."""
    arithmetic: str = ""
    """Precision of training, and the library of matrix products if it is not PyTorch's default, for example ``bf16 by
    oneDNN``."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of ``seq2seq`` and of the libraries that made the run, by name."""
    corpora: list[dict[str, Any]] = field(default_factory=list)
    """Each corpus with its counts, also of dropped pairs."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Validation scores of the committed weights; a value None: unknown."""
    signatures: dict[str, str] = field(default_factory=dict)
    """sacreBLEU's signatures of these scores."""
    recipe: RecipeRecord | None = None
    """None: the version that trained the run did not record it."""
    confidence: ConfidenceRecord | None = None
    """The expected chrF of a translation; None: not fitted, because an older version trained the run, or because it has
    too few validation pairs."""
    verdict: str = ""
    """What the scores of a finished run mean, in plain words; empty if no score says enough."""

    @property
    def weights(self) -> str:
        """Name of the file of weights.

        Raises:
            UserError: there is none, or more than one (78).
        """
        names = [name for name in self.files if MODEL.fullmatch(name)]
        if len(names) != 1:
            raise damaged(f"{MANIFEST} names {len(names)} files of weights instead of one")
        return names[0]

    @property
    def config(self) -> str:
        """Name of the file of the configuration."""
        return NEXT_CONFIG if NEXT_CONFIG in self.files else CONFIG


_REPLACED = re.compile(rf"{MODEL.pattern}|{re.escape(NEXT_CONFIG)}")


def model_name(update: int, taken: Iterable[str] = ()) -> str:
    """File name for the weights after this many updates; a second name if the first one is taken."""
    name = f"model-{update:08d}.safetensors"
    return name if name not in taken else f"model-{update:08d}-2.safetensors"


def read_manifest(folder: Path) -> Manifest:
    """Read and check a run's manifest.

    Raises:
        UserError: the folder or its manifest is missing or not readable (66); damaged, or of another format (78).
    """
    with reading(folder):
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise UserError(f"{folder} {what}", mend="name a folder written by train", code=ExitCode.NO_INPUT)
    data = read_regular(folder, MANIFEST)
    if data is None:
        with reading(folder):
            started = (folder / "checkpoints").exists() or (folder / ".lock").exists()
        if started:
            raise UserError(
                f"{folder} holds no finished model yet",
                mend="let train run until its first validation",
                code=ExitCode.NO_INPUT,
            )
        raise UserError(
            f"{folder} is not a run folder: it has no {MANIFEST}",
            mend="name a folder written by train",
            code=ExitCode.NO_INPUT,
        )
    where = folder / MANIFEST
    payload = load_manifest(data, where)
    check_format(payload, where)
    return _parse(payload, where)


def run_files(folder: Path) -> Iterator[Path]:
    """The files in a run folder that this program wrote. Users may keep other files there.

    It is a generator: the folder is read while the result is used.

    Raises:
        UserError: as ``read_manifest``.
    """
    for name in (MANIFEST, *read_manifest(folder).files, "README.md", "metrics.jsonl", ".lock"):
        yield folder / name
    for name in ("checkpoints", "prepared", "tensorboard", "ctranslate2"):
        yield from walk_folder(folder / name)


def _parse(payload: dict[str, Any], where: Path) -> Manifest:
    manifest = parse_stored(Manifest, payload, where)
    if not _hashes(manifest.files):
        raise damaged(f"{where} holds an invalid file name or hash")
    return manifest


def parse_stored(kind: type[Stored], payload: Any, where: Path) -> Stored:
    """Make a record from parsed JSON of a run folder, and check it.

    Raises:
        UserError: a value has the wrong type, or a key without a default is missing (78).
    """
    try:
        return parse_record(kind, payload)
    except ValueError as error:
        what, mend = f"{where} holds a value that this version does not know: {error}", "use the seq2seq that wrote it"
        raise UserError(what, mend=mend, code=ExitCode.REFUSED) from None


def _hashes(files: object) -> bool:
    return isinstance(files, dict) and all(
        NAME.fullmatch(name) and name.casefold() != MANIFEST and isinstance(digest, str) and SHA256.fullmatch(digest)
        for name, digest in files.items()
    )


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a file of a run and check its hash.

    Raises:
        UserError: not in the manifest, missing, damaged, or outside the folder (78); not readable (66); a commit has
            replaced it since the manifest was read (75).
    """
    if name not in manifest.files:
        raise damaged(f"{folder / MANIFEST} does not name a file {name!r:.60}")
    try:
        return read_hashed(folder, name, manifest.files[name])
    except UserError as error:
        # If training has committed in the meantime, nothing is damaged.
        if error.code == ExitCode.REFUSED and read_manifest(folder) != manifest:
            raise UserError(
                f"{folder} was replaced while it was read", mend="run the command again", code=ExitCode.TRY_LATER
            ) from None
        raise


def read_tensors(folder: Path, manifest: Manifest, name: str) -> "dict[str, Tensor]":
    """Read the tensors of a run's file. Its hash is checked before the file is parsed.

    Raises:
        UserError: as ``read_file``, or the file holds no tensors (78).
    """
    return load_tensors(read_file(folder, manifest, name), str(folder / name))


def commit(folder: Path, manifest: Manifest, files: Mapping[str, Content], keep: Iterable[str] = ()) -> Manifest:
    """Commit new files and a new manifest to a run, atomically.

    A crash before the manifest is replaced leaves the old state, and a crash after it the new state. Weights that the
    new manifest does not name are deleted. Files of the user are not changed.

    Args:
        folder: the run folder; created if it is missing. The caller holds its lock.
        manifest: the new manifest; its ``files`` are added here.
        files: content by name. Tensors are written as safetensors; they must not share memory.
        keep: names of files in the current manifest that stay unchanged.

    Returns:
        The new manifest.

    Raises:
        UserError: a write failed (74); the current manifest is damaged, or a file to keep is missing (78).
        ValueError: a file name is not valid, or the current manifest has it already; it does not have a file to keep;
            or JSON cannot hold a field.
    """
    with writing(folder):
        make_folder(folder)
        has_old = (folder / MANIFEST).exists()
    old = read_manifest(folder).files if has_old else {}
    kept = {}
    for name in keep:
        if name not in old:
            raise ValueError(f"keep names {name!r}, which is not in the current manifest")
        with reading(folder / name):
            if not (folder / name).exists():
                raise damaged(f"{folder / name} is missing")
        kept[name] = old[name]
    if not _hashes(dict.fromkeys(files, "0" * 64)):
        raise ValueError(f"some are not plain file names: {sorted(files)}")
    data = commit_files(folder, files, old=old, kept=kept, fields=asdict(manifest), replaced=_REPLACED)
    return _parse(load_manifest(data, folder / MANIFEST), folder / MANIFEST)


def tidy_run(folder: Path) -> None:
    """Delete files that a crash left in a run folder. The caller holds the lock.

    Raises:
        UserError: the manifest is missing (66), or it must not be used (78).
    """
    with writing(folder):
        tidy(folder, read_manifest(folder).files, _REPLACED)


def move_aside(folder: Path) -> Path:
    """Rename a run to ``RUN.old-1``, or to the first free number. Call it before ``lock``.

    Returns:
        The new path of the run.

    Raises:
        UserError: the run is in use (75), cannot be renamed (74), or is the current folder (2).
    """
    with reading(folder):
        place = Path(os.path.realpath(folder.parent)) / folder.name
        here = Path.cwd()
        if not folder.name or here.is_relative_to(os.path.realpath(folder)):
            raise UserError(
                f"{folder} cannot be moved aside: it is, or holds, the current folder",
                mend="run the command from another folder",
                code=ExitCode.USAGE,
            )
    with lock(folder), writing(folder):
        for number in itertools.count(1):
            target = place.with_name(f"{place.name}.old-{number}")
            if not target.exists() and not target.is_symlink():
                place.rename(target)
                sync_folder(place.parent)
                return folder.with_name(target.name)
    raise AssertionError("itertools.count never ends")
