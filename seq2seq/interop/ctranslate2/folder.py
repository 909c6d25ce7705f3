"""Writing of the exported folder. It appears only when it is complete."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seq2seq.config import DecodingConfig, ModelConfig, choose_among
from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2.readme import readme
from seq2seq.interop.ctranslate2.weights import check_supported, to_spec
from seq2seq.model import Seq2SeqModel
from seq2seq.model.transformer.model import Transformer
from seq2seq.runs import move_aside, run_files
from seq2seq.runs.loading import load_model, max_src_length, read_run
from seq2seq.system.files import atomic_folder, empty_folders_removed, writing
from seq2seq.tokenizer import Tokenizer

QUANTIZATIONS = (
    "float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16",
)  # fmt: skip
"""Data types of the weights. If there are two, the first is for matrices, the second for everything else."""

_MAX_INPUT_LENGTH = 1024
"""CTranslate2's default for the max tokens that it reads of a source, EOS included."""


@dataclass(frozen=True)
class ExportResult:
    """The result of ``export_run``."""

    folder: Path
    quantization: str
    n_bytes: int
    """Total size of all files."""
    moved: Path | None
    """New path of the replaced folder; None if nothing was replaced."""


def export_run(run: Path, folder: Path, *, quantization: str = "float32", overwrite: bool = False) -> ExportResult:
    """Export a run's model and tokenizer for CTranslate2, with a README that shows how to use them.

    Args:
        run: folder written by train.
        folder: the new folder, which appears when it is complete. Its parents are created.
        quantization: one of ``QUANTIZATIONS``.
        overwrite: move an existing folder aside.

    Raises:
        UserError: the quantization is unknown, or the folder holds the run (2); the run is missing (66); the folder
            cannot be written (74), or the existing one is in use (75); the folder exists, CTranslate2 is not installed
            or does not support this model, or the run must not be used (78).
    """
    if quantization not in QUANTIZATIONS:
        raise UserError(
            f"unknown quantization {quantization}",
            mend=choose_among(quantization, list(QUANTIZATIONS)),
            code=ExitCode.USAGE,
        )
    require_ctranslate2("export")
    _check_target(folder, run, overwrite=overwrite)
    manifest, config, tokenizer = read_run(run)
    check_supported(config.model)
    src_length = max_src_length(manifest, config)
    n_positions = position_rows(config.model, config.decoding, src_length)

    spec = convert(load_model(run, manifest, config, tokenizer), tokenizer, n_positions, quantization)
    with writing(folder), empty_folders_removed(folder.parent), atomic_folder(folder) as new:
        spec.save(str(new))
        (new / "tokenizer.model").write_bytes(tokenizer.model)
        text = readme(
            config,
            quantization=quantization,
            n_positions=n_positions,
            max_src_length=src_length,
            max_src_sentences=manifest.max_src_sentences,
        )
        (new / "README.md").write_text(text, encoding="utf-8", newline="\n")
        n_bytes = sum(path.stat().st_size for path in new.iterdir())
        moved = move_aside(folder) if overwrite and _is_taken(folder) else None
    return ExportResult(folder, quantization, n_bytes, moved)


def convert(model: Seq2SeqModel, tokenizer: Tokenizer, n_positions: int | None, quantization: str) -> Any:
    """The model as a ``ctranslate2.specs.TransformerSpec``, ready to save.

    Args:
        model: a model that ``check_supported`` accepts.
        tokenizer: its own.
        n_positions: from ``position_rows``.
        quantization: one of ``QUANTIZATIONS``.
    """
    assert isinstance(model, Transformer)  # check_supported refuses others
    spec = to_spec(model, tokenizer.pieces(range(len(tokenizer))), n_positions or 0, tokenizer.n_control)
    spec.validate()
    spec.optimize(quantization)
    return spec


def require_ctranslate2(what: str) -> None:
    """Refuse to continue without CTranslate2.

    Args:
        what: needs it, for the message.

    Raises:
        UserError: it is not installed, or does not work here (78).
    """
    try:
        import ctranslate2.specs  # noqa: F401  # before the work begins
    except ImportError as error:
        raise UserError(
            f"{what} needs CTranslate2, which cannot be imported ({error})",
            mend="install it with pip install 'ctranslate2>=4.7'",
            code=ExitCode.REFUSED,
        ) from None


def position_rows(model: ModelConfig, decoding: DecodingConfig, max_src_length: int) -> int | None:
    """Number of rows of the position table, enough for all sources and translations; None if there is no table."""
    if model.positions == "rotary":
        return None
    if model.positions == "learned":
        return model.max_positions
    max_output_length = decoding.max_length or 2 * max_src_length + 50
    return max(_MAX_INPUT_LENGTH, max_src_length, max_output_length)


def _check_target(folder: Path, run: Path, *, overwrite: bool) -> None:
    if not _is_taken(folder):
        if os.path.isdir(folder) and (folder.is_symlink() or folder.is_mount()):  # a rename cannot replace it
            kind = "a link" if folder.is_symlink() else "a mount point"
            raise UserError(
                f"{folder} is {kind}", mend=f"name a new folder in it: `folder={folder}/NAME`", code=ExitCode.USAGE
            )
        return
    place = os.path.realpath(folder)
    holds = Path(os.path.realpath(run)).is_relative_to(place)
    if holds or place in map(os.path.realpath, [*run_files(run), run / "checkpoints", run / "prepared"]):
        raise UserError(
            f"{folder} {'holds' if holds else 'belongs to'} the run to export",
            mend="name another folder with `folder`",
            code=ExitCode.USAGE,
        )
    if not overwrite or not os.path.isdir(folder):
        mend = ", or give `overwrite` to move this one aside" if os.path.isdir(folder) else ""
        raise UserError(f"{folder} exists", mend=f"name a new folder with `folder`{mend}", code=ExitCode.REFUSED)


def _is_taken(folder: Path) -> bool:
    """Whether the path exists and is not an empty folder. The current folder also counts as taken."""
    with writing(folder):
        if not os.path.lexists(folder):
            return False
        is_current = Path.cwd().is_relative_to(os.path.realpath(folder))
        return not os.path.isdir(folder) or any(folder.iterdir()) or is_current
