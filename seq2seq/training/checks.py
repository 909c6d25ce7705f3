"""Checks of a ``train`` command, before anything is read or written."""

import os
import re
from contextlib import suppress
from pathlib import Path

from seq2seq.config import PRESETS, DataConfig, RunConfig, choose_among, parse_langs
from seq2seq.corpus import corpus_files, local_folder, read_pairs, shards_of
from seq2seq.errors import ExitCode, UserError
from seq2seq.system.files import reading
from seq2seq.text import refuse_overwriting


def refuse_unknown_preset(config: RunConfig) -> None:
    """Refuse a preset that is not in the table."""
    if config.preset != "auto" and config.preset not in PRESETS:
        raise UserError(
            f"preset {config.preset} is unknown",
            mend=choose_among(config.preset, ["auto", *PRESETS]),
            code=ExitCode.USAGE,
        )


def refuse_overwriting_again() -> None:
    """Refuse to start over if torchrun may start the command again: it would start over then, too."""
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise UserError(
            "`overwrite` with torchrun's --max-restarts would start over after each restart",
            mend="leave one of them out, or move the old run yourself",
            code=ExitCode.USAGE,
        )


_OF_RUN = {"manifest.json", "checkpoints", "prepared", ".lock"}
"""Names of which a run folder has one, even if its training was interrupted early."""
_OF_SEEDS = re.compile(r"seed-[0-9]+(\.old-[0-9]+)?")


def refuse_foreign_folder(folder: Path) -> None:
    """Refuse to train into a folder that holds other files."""
    names = _names(folder)
    if not names & _OF_RUN and (seeds := sorted(filter(_OF_SEEDS.fullmatch, names))):
        raise UserError(
            f"{folder} holds a run for each of several seeds ({seeds[0]}, …)",
            mend="resume them with `seeds`, or name another folder with `run`",
            code=ExitCode.REFUSED,
        )
    if names and not names & _OF_RUN:
        raise _other_files(folder, names)


def refuse_unfit_for_seeds(folder: Path) -> None:
    """Refuse to train several seeds in a folder that is itself a run, or that holds other files."""
    names = _names(folder)
    if names & _OF_RUN:
        raise UserError(
            f"{folder} is itself a run, so it cannot hold a run for each seed",
            mend="name another folder with `run`",
            code=ExitCode.REFUSED,
        )
    if names and not any(map(_OF_SEEDS.fullmatch, names)):
        raise _other_files(folder, names)


def _names(folder: Path) -> set[str]:
    """Names of the files in a folder; empty if there is no folder."""
    if not os.path.isdir(folder):
        return set()
    with reading(folder):
        return {path.name for path in folder.iterdir()}


def _other_files(folder: Path, names: set[str]) -> UserError:
    return UserError(
        f"{folder} is a folder with other files in it ({sorted(names)[0]}, …)",
        mend="name a new folder with `run`",
        code=ExitCode.REFUSED,
    )


def refuse_inputs(folder: Path, data: DataConfig, *, overwrite: bool) -> None:
    """Refuse a run folder that is one of the inputs, and an ``overwrite`` that would move an input aside.

    Args:
        folder: of the run.
        data: names the inputs.
        overwrite: the old run will be moved aside.
    """
    words = (*data.train, *data.valid) if data.langs else ()
    inputs = [Path(data.tokenizer)] if data.tokenizer else []
    run = Path(os.path.realpath(folder))
    for word in words:
        data_set = None
        with suppress(UserError):  # what is wrong with a corpus is reported when it is read
            data_set = local_folder(word)
            inputs += [data_set] if data_set else corpus_files(word, parse_langs(data.langs))
        if data_set and run.is_relative_to(os.path.realpath(data_set)):
            raise UserError(
                f"the run folder {folder} is inside the data set {word}, all of whose files are read",
                mend="give `run` a folder elsewhere",
                code=ExitCode.USAGE,
            )
    refuse_overwriting(folder, inputs, key="run")
    for path in inputs:
        if overwrite and Path(os.path.realpath(path)).is_relative_to(run):
            raise UserError(
                f"`overwrite` would move {path} aside with {folder}, but this command reads it",
                mend="move that file elsewhere, or give `run` another folder",
                code=ExitCode.USAGE,
            )


def require_data(config: RunConfig) -> None:
    """Refuse a new run without languages or a corpus."""
    if not config.data.langs:
        raise UserError(
            "no languages are given", mend="name them with `data.langs`, as in `data.langs=de-en`", code=ExitCode.USAGE
        )
    parse_langs(config.data.langs)
    if not config.data.train:
        raise UserError("no corpus is given", mend="name one with `data.train`", code=ExitCode.USAGE)


def require_readable_corpora(data: DataConfig) -> None:
    """Read the first pair of each corpus: if a name is mistyped, no old run is moved aside."""
    langs = parse_langs(data.langs)
    for word in data.train if data.streaming else ():
        next(shards_of(word, langs)[0].open(langs, data.encoding_errors).pairs, None)
    for word in data.valid if data.streaming else (*data.train, *data.valid):
        next(read_pairs(word, langs, encoding_errors=data.encoding_errors), None)
