"""``hf:NAME[@REVISION][#CONFIG][:SPLIT]``: data sets of the Hugging Face Hub; the door of ``datasets``."""

import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import DISK_FULL, cannot_write, is_folder

_BATCH = 1000
"""Rows turned into Python objects at a time."""
_WORD = re.compile(r"(?P<name>[^@#:]+)(@(?P<revision>[^#:]+))?(#(?P<config>[^:]+))?(:(?P<split>.+))?")


class HubName(NamedTuple):
    """A data set, or a local folder, and which part of it."""

    name: str
    revision: str | None
    config: str | None
    split: str


def parse_hub_name(corpus: str) -> HubName:
    """Take ``hf:NAME[@REVISION][#CONFIG][:SPLIT]`` apart; the split is ``train`` where none is named.

    A folder's name may hold ``@``, ``#`` and ``:``: what is the name of an existing folder, the longest
    such, is NAME.

    Raises:
        UserError: it has no such form, or gives a local folder a revision (exit code 2).
    """
    word = corpus.removeprefix("hf:")
    ends = [len(word), *(i for i in range(len(word) - 1, 0, -1) if word[i] in "@#:")]
    folder = next((word[:end] for end in ends if is_folder(word[:end])), "")
    # "x" stands for the folder, whose own marks must not be read.
    match = _WORD.fullmatch("x" + word[len(folder) :] if folder else word)
    if match is None:
        raise UserError(
            f"{corpus} does not name a data set",
            mend="write hf:NAME[@REVISION][#CONFIG][:SPLIT]",
            code=ExitCode.USAGE,
        )
    if folder and match["revision"]:
        raise UserError(
            f"{corpus}: the local folder {folder} has no revisions", mend="leave @… out", code=ExitCode.USAGE
        )
    return HubName(folder or match["name"], match["revision"], match["config"], match["split"] or "train")


def local_files(corpus: str) -> list[Path]:
    """The files of a data set in a local folder; none if it is on the hub."""
    folder = Path(parse_hub_name(corpus).name)
    return [path for path in folder.rglob("*") if os.path.isfile(path)] if is_folder(folder) else []


def read_hub(corpus: str, langs: tuple[str, str]) -> Iterator[dict[str, Any] | None]:
    """Read the rows of a data set, each as what it holds for the two languages.

    ``datasets`` keeps a copy on disk, in its cache, and maps it into memory. It is kept silent: stdout
    carries data alone.

    Raises:
        UserError: no such split, configuration or language, data that cannot be read or is not UTF-8
            (65), not found or no network (66), no space for the copy (74).
    """
    wanted = parse_hub_name(corpus)
    if not is_folder(wanted.name) and wanted.name.startswith((".", "/", "~")):
        raise UserError(f"{wanted.name} is not a folder", mend="name an existing folder", code=ExitCode.NO_INPUT)
    dataset = _load(corpus, wanted)
    nested = dataset.features.get("translation")
    keys = list(nested) if isinstance(nested, dict) else list(getattr(nested, "languages", None) or ())
    columns = ["translation"] if keys else list(langs)
    missing = [lang for lang in langs if lang not in (keys or dataset.column_names)]
    if missing:
        raise UserError(
            f"{corpus} has no {' and no '.join(missing)}, but {', '.join(keys or dataset.column_names)}",
            mend="name two of them with -l, or another configuration with #CONFIG",
        )
    try:
        for batch in dataset.select_columns(columns).iter(_BATCH):
            if keys:
                yield from batch["translation"]
            else:
                for src, tgt in zip(*(batch[lang] for lang in langs), strict=True):
                    yield dict(zip(langs, (src, tgt), strict=True))
    except UnicodeDecodeError:  # text is checked only where it becomes a Python string
        raise UserError(
            f"{corpus} holds text that is not UTF-8",
            mend="mend its files, or name a .jsonl file itself as CORPUS: its bytes can be replaced",
        ) from None


def _load(corpus: str, wanted: HubName) -> Any:
    import datasets  # takes a second, and is needed by this reader alone
    from huggingface_hub.utils.tqdm import disable_progress_bars  # datasets downloads with it

    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets.disable_progress_bars()
            disable_progress_bars()
            return datasets.load_dataset(
                wanted.name, wanted.config, split=wanted.split, revision=wanted.revision, streaming=False
            )
    # The library raises what its many parts raise: of the web, of file formats, of its own.
    except Exception as error:
        raise _as_user_error(corpus, error) from None


def _as_user_error(corpus: str, error: Exception) -> UserError:
    # DatasetGenerationError says only that something went wrong; its cause says what.
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OSError) and (cause.errno in DISK_FULL or "Not enough disk space" in str(cause)):
        return cannot_write(f"the copy of {corpus} in the cache of datasets", cause)
    if isinstance(error, FileNotFoundError):
        cause, code = error, ExitCode.NO_INPUT
        mend = "check the name; one that is private or gated needs `hf auth login`"
    elif isinstance(error, OSError):
        cause, code = error, ExitCode.NO_INPUT
        mend = "download it where there is a network, or name a local folder as hf:FOLDER"
    else:
        # datasets names what there is in its message: splits, configurations, the damaged file.
        code, mend = ExitCode.BAD_DATA, "see its page or folder, and choose as hf:NAME[@REVISION][#CONFIG][:SPLIT]"
    # The rest of a long message shows how to call datasets.
    said = " ".join(str(cause).partition("Example of usage")[0].split()).rstrip(".") or type(cause).__name__
    if isinstance(cause, StopIteration) or "BatchSize must be greater than 0" in said:
        said = "a file of it is empty"
    return UserError(f"{corpus} cannot be loaded: {said}", mend=mend, code=code)
