"""The exported folder: written beside its place, and named when it is whole."""

import os
from dataclasses import dataclass
from pathlib import Path

from seq2seq.config import RunConfig, choose_among
from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2.readme import readme
from seq2seq.interop.ctranslate2.weights import refuse_unfit, to_spec
from seq2seq.model.transformer.model import Transformer
from seq2seq.runs import move_aside, run_files
from seq2seq.system.files import atomic_folder, empty_folders_removed, writing
from seq2seq.translation.loading import load_model, max_src_length, read_run

QUANTIZATIONS = (
    "float32", "float16", "bfloat16", "int16", "int8", "int8_float32", "int8_float16", "int8_bfloat16",
)  # fmt: skip
"""How weights are kept: of two types the first is that of the matrices, the second that of the rest."""

_CTRANSLATE2_CUTS_AT = 1024
"""Tokens of a source, EOS included, that it reads unless told otherwise."""


@dataclass(frozen=True)
class Exported:
    """What ``export_run`` wrote."""

    folder: Path
    quantization: str
    n_bytes: int
    """Size of all its files together."""
    aside: Path | None
    """Where that is now which was in the folder's place."""


def export_run(run: Path, folder: Path, *, quantization: str = "float32", overwrite: bool = False) -> Exported:
    """Write a run's model and tokenizer as CTranslate2 loads them, with a README that shows how.

    Args:
        run: folder written by train.
        folder: appears when it is whole; its parents are made.
        quantization: one of ``QUANTIZATIONS``.
        overwrite: move aside the folder that is there.

    Raises:
        UserError: an unknown quantization, or a folder that holds the run (2); the run is missing (66);
            the folder cannot be written (74), or the one there is in use (75); it exists, CTranslate2 is
            not installed or has no place for this model, or the run must not be used (78).
    """
    if quantization not in QUANTIZATIONS:
        raise UserError(
            f"quantization {quantization} is unknown",
            mend=choose_among(quantization, list(QUANTIZATIONS)),
            code=ExitCode.USAGE,
        )
    _require_ctranslate2()
    _refuse_place(folder, run, overwrite=overwrite)
    manifest, config, tokenizer = read_run(run)
    refuse_unfit(config.model)
    longest_src = max_src_length(manifest, config)
    n_positions = _n_positions(config, longest_src)

    model = load_model(run, manifest, config, tokenizer)
    assert isinstance(model, Transformer)  # refuse_unfit refuses others
    spec = to_spec(
        model,
        tokenizer.pieces(range(len(tokenizer))),
        n_positions or 0,
        tokenizer.n_control,
    )
    spec.validate()
    spec.optimize(quantization)
    with writing(folder), empty_folders_removed(folder.parent), atomic_folder(folder) as new:
        spec.save(str(new))
        (new / "tokenizer.model").write_bytes(tokenizer.model)
        text = readme(
            config,
            quantization=quantization,
            n_positions=n_positions,
            max_src_length=longest_src,
            max_src_sentences=manifest.max_src_sentences,
        )
        (new / "README.md").write_text(text, encoding="utf-8", newline="\n")
        n_bytes = sum(path.stat().st_size for path in new.iterdir())
        aside = move_aside(folder) if overwrite and _is_taken(folder) else None
    return Exported(folder, quantization, n_bytes, aside)


def _require_ctranslate2() -> None:
    try:
        import ctranslate2.specs  # noqa: F401  # before any work is done in vain
    except ImportError as error:
        raise UserError(
            f"export needs CTranslate2, which cannot be imported ({error})",
            mend="install it with pip install 'ctranslate2>=4.7'",
            code=ExitCode.REFUSED,
        ) from None


def _n_positions(config: RunConfig, max_src_length: int) -> int | None:
    """Rows of the table of positions, enough for all that is read and written; None where there is no table."""
    if config.model.positions == "rotary":
        return None
    if config.model.positions == "learned":
        return config.model.max_positions
    longest_output = config.decoding.max_length or 2 * max_src_length + 50
    return max(_CTRANSLATE2_CUTS_AT, max_src_length, longest_output)


def _refuse_place(folder: Path, run: Path, *, overwrite: bool) -> None:
    if not _is_taken(folder):
        if os.path.isdir(folder) and (folder.is_symlink() or folder.is_mount()):  # which no rename replaces
            kind = "a link" if folder.is_symlink() else "a mount point"
            raise UserError(
                f"{folder} is {kind}", mend=f"name a new folder in it: -o {folder}/NAME", code=ExitCode.USAGE
            )
        return
    place = os.path.realpath(folder)
    holds = Path(os.path.realpath(run)).is_relative_to(place)
    if holds or place in map(os.path.realpath, [*run_files(run), run / "checkpoints", run / "prepared"]):
        raise UserError(
            f"{folder} {'holds' if holds else 'belongs to'} the run that is to be exported",
            mend="name another folder after -o",
            code=ExitCode.USAGE,
        )
    if not overwrite or not os.path.isdir(folder):
        mend = ", or give --overwrite to move this one aside" if os.path.isdir(folder) else ""
        raise UserError(f"{folder} exists", mend=f"name a new folder after -o{mend}", code=ExitCode.REFUSED)


def _is_taken(folder: Path) -> bool:
    """Whether something is in the way; an empty folder is not, unless we stand in it."""
    with writing(folder):
        if not os.path.lexists(folder):
            return False
        is_ours = Path.cwd().is_relative_to(os.path.realpath(folder))
        return not os.path.isdir(folder) or any(folder.iterdir()) or is_ours
