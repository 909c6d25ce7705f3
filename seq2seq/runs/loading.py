"""Loads a run folder: the model, its tokenizer and its settings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig, RunConfig, build, parse_langs
from seq2seq.decoding import MAX_EXACT_ALPHA
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import Seq2SeqModel, Shortlist, build_model
from seq2seq.runs import SHORTLIST, Manifest, read_file, read_manifest, read_stored_config, read_tensors
from seq2seq.tokenizer import Tokenizer


def read_run(run: Path) -> tuple[Manifest, RunConfig, Tokenizer]:
    """Read the manifest, the configuration and the tokenizer of a run folder; hashes are checked first.

    Raises:
        UserError: the folder is missing (66), or a file in it is refused (78).
    """
    manifest = read_manifest(run)
    config = read_config(run, manifest)
    tokenizer = Tokenizer(read_file(run, manifest, "tokenizer.model"), str(run / "tokenizer.model"))
    return manifest, config, tokenizer


def read_config(run: Path, manifest: Manifest) -> RunConfig:
    """Read a run's configuration, with the length penalty that training chose. Errors as in ``read_run``."""
    config = read_stored_config(run, manifest)
    if config.decoding.length_penalty is None:
        config = replace(config, decoding=replace(config.decoding, length_penalty=manifest.length_penalty))
    return config


def max_src_length(manifest: Manifest, config: RunConfig) -> int:
    """Max tokens of a source that a run's model translates as one segment, EOS included."""
    return config.data.max_length if manifest.max_src_length is None else manifest.max_src_length


def read_langs(run: Path) -> tuple[str, str]:
    """Read the source and the target language of a run folder.

    Raises:
        UserError: the folder is missing (66), or a file in it is refused (78).
    """
    return parse_langs(read_run(run)[1].data.langs)


def load_model(run: Path, manifest: Manifest, config: RunConfig, tokenizer: Tokenizer) -> Seq2SeqModel:
    """Load the model of a run, in evaluation mode.

    Raises:
        UserError: the weights do not fit the configuration (78), or as ``read_run``.
    """
    where = run / manifest.weights
    weights = read_tensors(run, manifest, manifest.weights)
    model = build_model(config.model, len(tokenizer))
    try:
        load_weights(model, weights)
    except ValueError as error:
        raise UserError(
            f"{where} does not fit {run / manifest.config}: {error}",
            mend="restore both files from one and the same run",
            code=ExitCode.REFUSED,
        ) from None
    return model.eval()


def load_shortlist(run: Path, manifest: Manifest, tokenizer: Tokenizer, n: int) -> Shortlist:
    """Load the shortlist of a run: ``n`` likely target pieces for each source piece.

    Raises:
        UserError: the run has none, or one that does not fit (78).
    """
    if SHORTLIST not in manifest.files:
        raise UserError(
            f"{run} holds no {SHORTLIST}",
            mend="run its training again with `train decoding.shortlist=N` to learn it, or give `decoding.shortlist=0`",
            code=ExitCode.REFUSED,
        )
    table = read_tensors(run, manifest, SHORTLIST)
    return Shortlist(table["candidates"], table["frequent"], n, tokenizer.n_control)


@torch.no_grad()
def load_weights(model: Seq2SeqModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model. Tied weights are stored once, under their first name.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    parameters = dict(model.named_parameters())
    for name in sorted(parameters.keys() ^ weights.keys()):
        raise ValueError(f"{name} is {'missing' if name in parameters else 'unknown'}")
    for name, parameter in parameters.items():
        if parameter.shape != weights[name].shape:
            raise ValueError(f"{name} is {tuple(weights[name].shape)} instead of {tuple(parameter.shape)}")
        parameter.copy_(weights[name])


def decoding_config(manifest: Manifest, config: RunConfig, overrides: dict[str, object]) -> DecodingConfig:
    """The decoding settings of a run, overridden by those of a command.

    A length penalty that ``train`` chose is lowered for ``stopping = "exact"``; one that the user sets is not.

    Raises:
        UserError: a value out of range, or more n-best than beams (2).
    """
    changed = {key: value for key, value in overrides.items() if value is not None}
    kept = {name: getattr(config.decoding, name) for name in DecodingConfig.__dataclass_fields__}
    try:
        settings = build({"decoding": {**kept, **changed}}, where="the given settings").decoding
    except UserError as error:
        raise UserError(error.what, mend=error.mend, code=ExitCode.USAGE) from None
    is_chosen = manifest.length_penalty is not None and "length_penalty" not in changed
    if is_chosen and settings.stopping == "exact":
        return replace(settings, length_penalty=min(settings.alpha, MAX_EXACT_ALPHA))
    return settings


def greedy_of(config: DecodingConfig) -> DecodingConfig:
    """The same settings with one beam: fast enough for every validation."""
    return replace(config, beam_size=1, n_best=1)
