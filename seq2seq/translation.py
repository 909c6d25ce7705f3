"""Translator: lines in, lines out, in the same order.

Lines become pieces, pieces become batches sorted by length, batches are searched, and the best
hypotheses go back to the places of their lines. A blank line stays blank and never reaches the
model; a line too long for the model is translated in parts.
"""

import multiprocessing
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from seq2seq.batching import pad
from seq2seq.checkpoint import Manifest, read_file, read_manifest, read_tensors
from seq2seq.config import DecodingConfig, RunConfig, build, parse_langs, parse_toml
from seq2seq.decoding import Hypothesis, search
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import is_blank, one_line
from seq2seq.model import build_model
from seq2seq.model.transformer import Transformer, padding_mask
from seq2seq.tokenizer import BOS, EOS, PAD, Tokenizer

Ids = list[int]


@dataclass(frozen=True)
class Translation:
    """One translation of a line."""

    text: str
    score: float
    """log-probability / length^α in nats; the mean over the parts of a line translated in parts."""


@dataclass(frozen=True)
class Attention:
    """Where each piece of a translation looked in its source."""

    src_pieces: list[str]
    """S pieces, EOS last."""
    tgt_pieces: list[str]
    """T pieces, EOS last."""
    weights: list[list[float]]
    """Cross-attention, mean over the decoder's layers and heads; a row sums to one. [T, S]"""


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: the device is not there (78).
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(name, False):
        raise UserError(
            f"--device {name} is not available here",
            mend=f"choose among auto, {', '.join(n for n, there in available.items() if there)}",
            code=ExitCode.REFUSED if name in available else ExitCode.USAGE,
        )
    return torch.device(name)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch failed for want of memory, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


class Translator:
    """A model with its tokenizer and decoding settings.

    Args:
        model: put into evaluation mode by the caller.
        tokenizer: its own.
        config: beams, length penalty, batch size.
        max_src_length: longest source the model is asked for in one piece, in tokens, EOS included.
        langs: source and target language.
        workers: processes that search; 1: this one alone.
        run: folder that workers load the model from; needed for more than one.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        *,
        max_src_length: int,
        langs: tuple[str, str] = ("", ""),
        workers: int = 1,
        run: Path | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.max_src_length = max_src_length
        self.langs = langs
        self._pool = _start_pool(workers, run, config) if workers > 1 and run is not None else None

    @classmethod
    def load(
        cls, run: Path | str, *, device: str = "auto", decoding: dict[str, object] | None = None, workers: int = 1
    ) -> Self:
        """Open a run folder.

        Args:
            run: written by ``train``.
            device: auto, cpu, cuda or mps.
            decoding: overrides of the run's decoding configuration, by key.
            workers: processes that search, each with one thread; CPU alone.

        Raises:
            UserError: the folder is missing (66), or something in it must not be used (78).
        """
        run = Path(run)
        manifest, config, tokenizer = _read_run(run)
        where = pick_device(device)
        if workers > 1:
            where = torch.device("cpu")
        return cls(
            _load_model(run, manifest, config, tokenizer).to(where),
            tokenizer,
            decoding_config(config, decoding or {}),
            max_src_length=int(manifest.info.get("max_src_length", config.data.max_length)),
            langs=parse_langs(config.data.langs),
            workers=workers,
            run=run,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def translate(self, lines: Sequence[str]) -> list[str]:
        """The best translation of each line; blank where the line is blank."""
        return [best[0].text for best in self.n_best(lines)]

    def n_best(
        self, lines: Sequence[str], *, first_line: int = 1, warn: Callable[[str], None] | None = None
    ) -> list[list[Translation]]:
        """Exactly ``config.n_best`` translations of each line, best first.

        Args:
            lines: as ``lines.read_lines`` gives them.
            first_line: number of the first of them, for warnings.
            warn: told of lines that are translated in parts.
        """
        parts = self._parts(lines, first_line, warn)  # of each line
        units = [part for line in parts for part in line]
        found = iter(self._search_all(units))
        return [self._join([next(found) for _ in line]) for line in parts]

    def attention(self, line: str, translation: str) -> Attention | None:
        """Where the model looks while it reads ``translation`` as that of ``line``; None where a side is blank.

        A line too long for the model is shown up to where it would have been cut.
        """
        src_ids, tgt_ids = self.tokenizer.encode([line, translation])
        src_ids = src_ids[: self.max_src_length - 1]
        if not src_ids or not tgt_ids:
            return None
        device = next(self.model.parameters()).device
        with torch.inference_mode():
            weights = self.model.cross_attention_weights(
                pad([src_ids], last=EOS).to(device), pad([tgt_ids], first=BOS).to(device)
            )  # [1, layers, H, T, S]
        return Attention(
            src_pieces=self.tokenizer.pieces([*src_ids, EOS]),
            tgt_pieces=self.tokenizer.pieces([*tgt_ids, EOS]),
            weights=weights[0].mean(dim=(0, 1)).tolist(),
        )

    def _parts(self, lines: Sequence[str], first_line: int, warn: Callable[[str], None] | None) -> list[list[Ids]]:
        """The pieces of each line: none where it is blank, several where it is too long."""
        encoded = self.tokenizer.encode(["" if is_blank(line) else line for line in lines])
        most = self.max_src_length - 1
        parts: list[list[Ids]] = []
        for number, (line, ids) in enumerate(zip(lines, encoded, strict=True), start=first_line):
            if len(ids) <= most:
                parts.append([ids] if ids else [])
                continue
            parts.append(split_long(line, self.tokenizer, most))
            if warn is not None:
                warn(
                    f"line {number} has {len(ids):,} tokens, more than the {most:,} this model is used to: "
                    f"translated in {len(parts[-1])} parts"
                )
        return parts

    def _join(self, parts: list[list[Hypothesis]]) -> list[Translation]:
        """The n-th best of a line is made of the n-th best of its parts."""
        n = self.config.n_best
        if not parts:
            return [Translation("", 0.0)] * n
        ranked = []
        for rank in range(n):
            # A part may have fewer hypotheses than asked for: its last one stands in.
            chosen = [part[min(rank, len(part) - 1)] for part in parts]
            texts = self.tokenizer.decode([h.tokens for h in chosen])
            text = one_line(" ".join(text for text in texts if text))
            ranked.append(Translation(text, sum(h.score for h in chosen) / len(chosen)))
        return ranked

    def _search_all(self, units: Sequence[Ids]) -> list[list[Hypothesis]]:
        """Search every unit, in batches of similar length; results in the order of the units."""
        batches = list(length_batches(units, self.config.batch_tokens // self.config.beam_size))
        inputs = [[units[i] for i in batch] for batch in batches]
        results: list[list[Hypothesis]] = [[] for _ in units]
        for batch, found in zip(batches, self._search_batches(inputs), strict=True):
            for i, hypotheses in zip(batch, found, strict=True):
                results[i] = hypotheses
        return results

    def _search_batches(self, inputs: list[list[Ids]]) -> Iterator[list[list[Hypothesis]]]:
        if self._pool is None:
            return (search_batch(self.model, batch, self.config) for batch in inputs)
        return _in_pool(self._pool, inputs)


def search_batch(model: Transformer, units: Sequence[Ids], config: DecodingConfig) -> list[list[Hypothesis]]:
    """Search a few sources side by side; halves the batch where memory runs out.

    Raises:
        UserError: memory is out for a single source (75).
    """
    device = next(model.parameters()).device
    src = pad(units, last=EOS).to(device)  # [B, S]
    limits = [config.max_length or 2 * len(ids) + 50 for ids in units]
    if model.config.positions == "learned":
        limits = [min(limit, model.config.max_positions) for limit in limits]
    try:
        with torch.inference_mode():
            return search(model, src, padding_mask(src, PAD), limits, config)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(units) == 1:
            raise UserError(
                f"memory ran out on a source of {len(units[0]):,} tokens",
                mend="free memory, or lower -b",
                code=ExitCode.TRY_LATER,
            ) from None
    half = len(units) // 2
    return search_batch(model, units[:half], config) + search_batch(model, units[half:], config)


def length_batches(units: Sequence[Ids], batch_tokens: int) -> Iterator[list[int]]:
    """Group units of similar length, longest first, ``batch_tokens`` padded tokens at most; yields their indices."""
    # Longest first: memory runs out at once or never, and the last batch is a quick one.
    order = sorted(range(len(units)), key=lambda i: -len(units[i]))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // (len(units[order[start]]) + 1))
        yield order[start : start + size]
        start += size


_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\s]+|(?<=[。！？])")


def split_long(line: str, tokenizer: Tokenizer, most: int) -> list[Ids]:
    """Cut a line into parts of at most ``most`` tokens: at sentence ends, else at spaces, else anywhere."""
    parts: list[Ids] = []
    for sentences in _pack(_SENTENCE_END.split(line), tokenizer, most):
        if len(sentences) <= most:
            parts.append(sentences)
        else:
            text = tokenizer.decode([sentences])[0]
            for words in _pack(text.split(" "), tokenizer, most):
                # A single word that is too long has no better place to be cut at.
                parts.extend(words[i : i + most] for i in range(0, len(words), most))
    return [part for part in parts if part]


def _pack(pieces_of_text: Sequence[str], tokenizer: Tokenizer, most: int) -> Iterator[Ids]:
    """Join neighbouring pieces of text while they fit; a piece that is too long comes alone."""
    packed: Ids = []
    for ids in tokenizer.encode(pieces_of_text):
        if packed and len(packed) + len(ids) > most:
            yield packed
            packed = []
        packed = packed + ids
    yield packed


def decoding_config(config: RunConfig, overrides: dict[str, object]) -> DecodingConfig:
    """The run's decoding settings with a command's own in their place.

    Raises:
        UserError: a value out of range (78), or more n-best than beams (2).
    """
    changed = {key: value for key, value in overrides.items() if value is not None}
    kept = {name: getattr(config.decoding, name) for name in DecodingConfig.__dataclass_fields__}
    return build({"decoding": {**kept, **changed}}, where="the command line").decoding


def read_langs(run: Path) -> tuple[str, str]:
    """Source and target language of a run folder.

    Raises:
        UserError: the folder is missing (66), or something in it must not be used (78).
    """
    return parse_langs(_read_run(run)[1].data.langs)


def _read_run(run: Path) -> tuple[Manifest, RunConfig, Tokenizer]:
    manifest = read_manifest(run)
    toml = run / "config.toml"
    config = build(parse_toml(read_file(run, manifest, toml.name), toml), where=str(toml))
    tokenizer = Tokenizer(read_file(run, manifest, "tokenizer.model"), str(run / "tokenizer.model"))
    return manifest, config, tokenizer


def _load_model(run: Path, manifest: Manifest, config: RunConfig, tokenizer: Tokenizer) -> Transformer:
    """The model of a run, in evaluation mode, after its shapes have been compared with the configuration's."""
    where = run / manifest.weights
    weights = read_tensors(run, manifest, manifest.weights)
    model = build_model(config.model, len(tokenizer))
    try:
        load_weights(model, weights)
    except ValueError as error:
        raise UserError(
            f"{where} does not fit {run / 'config.toml'}: {error}",
            mend="restore both files from one and the same run",
            code=ExitCode.REFUSED,
        ) from None
    return model.eval()


@torch.no_grad()
def load_weights(model: Transformer, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into a model; tied ones are there under their first name alone.

    Raises:
        ValueError: a name is missing or unknown, or a shape is another.
    """
    parameters = dict(model.named_parameters())
    for name in sorted(parameters.keys() ^ weights.keys()):
        raise ValueError(f"{name} is {'missing' if name in parameters else 'unknown'}")
    for name, parameter in parameters.items():
        if parameter.shape != weights[name].shape:
            raise ValueError(f"{name} is {tuple(weights[name].shape)} instead of {tuple(parameter.shape)}")
        parameter.copy_(weights[name])


# One translator in each worker process, loaded when the process starts.
_worker: Translator | None = None


def _start_worker(run: Path, config: DecodingConfig) -> None:
    global _worker
    # Ctrl-C reaches the whole process group: the parent decides what becomes of the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker = Translator.load(run, device="cpu")
    _worker.config = config


def _search_in_worker(units: list[Ids]) -> list[list[Hypothesis]]:
    assert _worker is not None
    return search_batch(_worker.model, units, _worker.config)


def _start_pool(workers: int, run: Path, config: DecodingConfig) -> ProcessPoolExecutor:
    # Not fork: a forked child inherits PyTorch's threads as locks that nobody holds.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(run, config))


def _in_pool(pool: ProcessPoolExecutor, inputs: list[list[Ids]]) -> Iterator[list[list[Hypothesis]]]:
    try:
        yield from pool.map(_search_in_worker, inputs)
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed",
            mend="free memory or use fewer --workers",
            code=ExitCode.TRY_LATER,
        ) from None


def greedy_of(config: DecodingConfig) -> DecodingConfig:
    """The same settings with one beam: quick enough to run at every validation."""
    return replace(config, beam_size=1, n_best=1)
