"""The likelihood of a corpus under a run: one line for each pair."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from seq2seq.config import parse_langs
from seq2seq.corpus import CorpusCounts, corpus_files, read_pairs
from seq2seq.errors import counted
from seq2seq.runs import run_files
from seq2seq.text import EncodingErrors, open_output, refuse_overwriting
from seq2seq.translation import Likelihood, LikelihoodCounts, Translator, read_run

_BLOCK = 8192
"""Pairs that are scored together: enough to sort them by length, few enough for memory."""

PieceFormat = Callable[[Likelihood | None, Sequence[str]], str]
"""Writes a pair as one line, from its likelihood (None: not scored) and the pieces of its target."""


def _text(one: Likelihood | None, pieces: Sequence[str]) -> str:
    return "nan\t0" if one is None else f"{one.log_probability:.6f}\t{len(one.tokens)}"


def _with_pieces(one: Likelihood | None, pieces: Sequence[str]) -> str:
    # No piece holds a space or a tab: SentencePiece writes ▁ for both.
    found = [] if one is None else zip(pieces, one.log_probabilities, strict=True)
    return "\t".join([_text(one, pieces), *(f"{piece} {value:.6f}" for piece, value in found)])


def _record(one: Likelihood | None) -> dict[str, object]:
    return {
        "log_probability": None if one is None else _rounded(one.log_probability),
        "tokens": 0 if one is None else len(one.tokens),
    }


def _json(one: Likelihood | None, pieces: Sequence[str]) -> str:
    return json.dumps(_record(one))


def _json_with_pieces(one: Likelihood | None, pieces: Sequence[str]) -> str:
    found = [] if one is None else zip(pieces, one.log_probabilities, strict=True)
    return json.dumps(
        _record(one) | {"pieces": [[piece, _rounded(value)] for piece, value in found]}, ensure_ascii=False
    )


def _rounded(value: float) -> float | None:
    """None if it is not finite, which JSON cannot hold."""
    return round(value, 6) if math.isfinite(value) else None


LIKELIHOOD_FORMATS: dict[str, PieceFormat] = {
    "text": _text,
    "tokens": _with_pieces,
    "json": _json,
    "json-tokens": _json_with_pieces,
}
"""Formats of ``write_likelihoods`` by name."""


@dataclass
class CorpusLikelihood:
    """What was scored of a corpus."""

    corpus: str
    counts: LikelihoodCounts = field(default_factory=LikelihoodCounts)
    read: CorpusCounts = field(default_factory=CorpusCounts)

    def summary(self) -> str:
        """The perplexity and what it is computed on, as a message."""
        counts = self.counts
        scored = f"{counted(counts.pairs, 'pair')}, {counted(counts.tokens, 'token')}"
        return f"perplexity {'unknown' if counts.perplexity is None else f'{counts.perplexity:.3f}'} ({scored})"

    def warnings(self) -> Iterator[str]:
        """Messages about pairs that are not scored, and lines that are not UTF-8."""
        if self.counts.blank:
            yield f"{counted(self.counts.blank, 'pair')} not scored: a side is blank"
        if self.counts.too_long:
            yield f"{counted(self.counts.too_long, 'pair')} not scored: too many tokens for this model"
        if self.read.invalid_utf8:
            yield (
                f"{counted(self.read.invalid_utf8, 'line')} held bytes that are not UTF-8; they were replaced by U+FFFD"
            )


def write_likelihoods(
    run: Path,
    corpus: str,
    *,
    form: str = "text",
    langs: str | None = None,
    output: Path | None = None,
    decoding: dict[str, object] | None = None,
    device: str = "auto",
    workers: int | None = None,
    encoding_errors: EncodingErrors | None = None,
) -> CorpusLikelihood:
    """Write the log-probability of each target of a corpus, as a translation of its source: one line for each pair.

    Args:
        run: folder written by ``train``.
        corpus: CORPUS word.
        form: row of ``LIKELIHOOD_FORMATS``.
        langs: languages of the corpus, if they differ from the run's.
        output: file to write; None: stdout.
        decoding: keys that override the run's decoding configuration; ``precision`` and ``products`` matter here.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: that read batches side by side; None: one for each core.
        encoding_errors: what to do with lines of the corpus that are not UTF-8; None: as when the run was trained.

    Raises:
        UserError: an input or option is refused, with the exit code of its kind.
    """
    _, config, _ = read_run(run)
    languages = parse_langs(langs or config.data.langs)
    place = "-" if output is None else str(output)
    refuse_overwriting(place, chain(run_files(run), corpus_files(corpus, languages)))
    result = CorpusLikelihood(corpus)
    errors = encoding_errors or config.data.encoding_errors
    pairs = iter(read_pairs(corpus, languages, encoding_errors=errors, counts=result.read))
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers)
    write, pieces = LIKELIHOOD_FORMATS[form], translator.tokenizer.pieces
    with open_output(place) as out:
        while block := list(islice(pairs, _BLOCK)):
            found = translator.score(block, counts=result.counts)
            lines = (f"{write(one, [] if one is None else pieces(one.tokens))}\n" for one in found)
            out.write("".join(lines).encode("utf-8"))
    return result
