"""Scores that can be cited: sacreBLEU's metrics on raw text, each with its signature.

``score_run`` translates corpora and scores the result; ``score_file`` scores hypotheses made elsewhere.
Only sacreBLEU's Python API on lists of lines is used: its command line splits standard input at
stray carriage returns. Source: Post 2018, arXiv:1804.08771.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sacrebleu
from sacrebleu.metrics.base import Metric

from seq2seq.config import parse_langs
from seq2seq.corpus import (
    READERS,
    CorpusCounts,
    Pair,
    describe_misalignment,
    find_misalignment,
    find_reader,
    read_pairs,
)
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import open_output, read_lines
from seq2seq.translation import Translator, read_langs


@dataclass(frozen=True)
class Score:
    """One metric's verdict on a corpus."""

    name: str
    """As people write it: BLEU, chrF2, TER."""
    value: float
    """0 to 100; higher is better, but for TER, which counts errors and may pass 100."""
    signature: str
    """How it was computed, in sacreBLEU's words."""


def _bleu(target_language: str) -> Metric:
    # The language selects the tokenizer, as sacreBLEU's -l does: zh, ja and ko have no spaces to split at.
    return sacrebleu.BLEU(trg_lang=target_language, force=True)


def _chrf(target_language: str) -> Metric:
    return sacrebleu.CHRF()


def _ter(target_language: str) -> Metric:
    return sacrebleu.TER()


METRICS: dict[str, Callable[[str], Metric]] = {"bleu": _bleu, "chrf": _chrf, "ter": _ter}


def parse_metrics(words: str) -> list[str]:
    """Read ``bleu,chrf``.

    Raises:
        UserError: a name that is no row of ``METRICS`` (exit code 2).
    """
    names = [word.strip().lower() for word in words.split(",") if word.strip()]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(
            f"'{unknown[0] if unknown else words}' is no metric",
            mend=f"choose among {', '.join(METRICS)}",
            code=ExitCode.USAGE,
        )
    return names


def build_metric(name: str, target_language: str = "") -> Metric:
    """A metric ready to score, so that a missing tokenizer shows before the translations are made.

    Args:
        name: row of ``METRICS``.
        target_language: code of the language scored; a region after a hyphen is ignored.

    Raises:
        UserError: the language needs a tokenizer that is not installed (78).
    """
    language = target_language.replace("_", "-").partition("-")[0].lower()
    try:
        return METRICS[name](language)
    except (RuntimeError, ImportError) as error:
        raise UserError(
            f"sacreBLEU cannot split '{target_language}' into words: {str(error).strip().partition(chr(10))[0]}",
            mend=f'pip install "sacrebleu[{language}]"; `eval -m chrf` does without',
            code=ExitCode.REFUSED,
        ) from None


def score(name: str, hypotheses: Sequence[str], references: Sequence[str], target_language: str = "") -> Score:
    """Score translations against one reference each.

    Args:
        name: row of ``METRICS``.
        hypotheses: translations, detokenised.
        references: as many.
        target_language: selects BLEU's tokenizer.

    Raises:
        UserError: unequal counts, or nothing to score (65).
    """
    if len(hypotheses) != len(references):
        raise UserError(
            f"{len(hypotheses):,} hypotheses cannot be scored against {len(references):,} references",
            mend="give one hypothesis for each reference, in the same order",
        )
    if not references:
        raise UserError("there is nothing to score", mend="give a corpus with at least one pair")
    metric = build_metric(name, target_language)
    result = metric.corpus_score(list(hypotheses), [list(references)])
    return Score(result.name, float(result.score), str(metric.get_signature()))


@dataclass(frozen=True)
class CorpusResult:
    """One corpus, translated and scored."""

    corpus: str
    sentences: int
    seconds: float | None
    """Translating took; None where hypotheses were given."""
    scores: dict[str, Score]
    """By row of ``METRICS``."""
    invalid_utf8: int
    """Lines of the corpus in which bytes were replaced."""


# Blocks this large are sorted by length with profit, and held in memory without harm.
_BLOCK = 8192


def score_run(
    run: Path,
    corpora: Sequence[str],
    metrics: Sequence[str],
    *,
    langs: str | None = None,
    output: Path | None = None,
    decoding: dict[str, object] | None = None,
    device: str = "auto",
    workers: int | None = None,
    strict: bool = False,
    warn: Callable[[str], None] | None = None,
) -> list[CorpusResult]:
    """Translate each corpus with a run and score the translations.

    Args:
        run: folder written by ``train``.
        corpora: CORPUS words.
        metrics: rows of ``METRICS``.
        langs: of the corpora, where they name them otherwise than the run.
        output: file that keeps the hypotheses of a single corpus.
        decoding: overrides of the run's decoding configuration, by key.
        device: auto, cpu, cuda or mps.
        workers: that search side by side; None: one for each core.
        strict: refuse text that is not UTF-8.
        warn: told of misaligned corpora, and of lines that are translated in parts.

    Raises:
        UserError: as the table of exit codes says.
    """
    if output is not None and (len(corpora) > 1 or str(output) == "-"):
        raise UserError(
            f"-o {output} keeps the hypotheses of one corpus in a file",
            mend="run eval once for each corpus, and name a file: stdout is for the scores",
            code=ExitCode.USAGE,
        )
    src, tgt = parse_langs(langs) if langs else read_langs(run)
    for name in metrics:
        build_metric(name, tgt)
    # Every corpus is read before the first is translated: what is wrong with one shows at once.
    texts = []
    for corpus in corpora:
        counts = CorpusCounts()
        texts.append((corpus, _pairs(corpus, (src, tgt), strict, counts), counts))
        if warn is not None:
            _warn_of_misalignment(corpus, (src, tgt), texts[-1][1], warn)
    translated = []
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers)
    # Opened before hours of translating, so that a wrong name shows at once.
    with open_output(str(output or os.devnull)) as out:
        for corpus, pairs, counts in texts:
            began = time.monotonic()
            hypotheses: list[str] = []
            for start in range(0, len(pairs), _BLOCK):
                block = [pair.src for pair in pairs[start : start + _BLOCK]]
                hypotheses += [best[0].text for best in translator.n_best(block, first_line=start + 1, warn=warn)]
            translated.append((corpus, pairs, counts, hypotheses, time.monotonic() - began))
            out.write("".join(f"{line}\n" for line in hypotheses).encode("utf-8"))
    results = []
    for corpus, pairs, counts, hypotheses, seconds in translated:
        references = [pair.tgt for pair in pairs]
        scores = {name: score(name, hypotheses, references, tgt) for name in metrics}
        results.append(CorpusResult(corpus, len(pairs), seconds, scores, counts.invalid_utf8))
    return results


def score_file(
    hypotheses: Path,
    corpus: str,
    metrics: Sequence[str],
    *,
    run: Path | None = None,
    langs: str | None = None,
    strict: bool = False,
) -> CorpusResult:
    """Score a file of hypotheses against the target side of a corpus.

    Args:
        hypotheses: one a line.
        corpus: a CORPUS word, or the path of a plain text file of references.
        metrics: rows of ``METRICS``.
        run: says the languages, where ``langs`` does not.
        langs: which side of the corpus is the reference.
        strict: refuse text that is not UTF-8.

    Raises:
        UserError: unequal counts (65), a missing file (66), a side that nobody named (2).
    """
    counts = CorpusCounts()
    pair = parse_langs(langs) if langs else read_langs(run) if run else None
    tgt = pair[1] if pair else ""
    for name in metrics:
        build_metric(name, tgt)
    if _is_plain_text(corpus):
        references = list(read_lines(Path(corpus), strict=strict, counts=counts))
    elif pair is None and not _looks_like(corpus, "tsv"):
        raise UserError(
            f"nobody says which side of {corpus} is the reference",
            mend="name the languages with -l, as in -l de-en, or give the reference file itself",
            code=ExitCode.USAGE,
        )
    else:
        references = [p.tgt for p in _pairs(corpus, pair or ("src", "tgt"), strict, counts)]
    lines = list(read_lines(hypotheses, strict=strict, counts=counts))
    if len(lines) != len(references):
        raise UserError(
            f"{hypotheses} has {len(lines):,} lines but {corpus} has {len(references):,}",
            mend="give one hypothesis for each reference, in the same order",
        )
    scores = {name: score(name, lines, references, tgt) for name in metrics}
    return CorpusResult(corpus, len(references), None, scores, counts.invalid_utf8)


def _is_plain_text(corpus: str) -> bool:
    return os.path.isfile(corpus) and _looks_like(corpus, "prefix")


def _looks_like(corpus: str, reader: str) -> bool:
    # Of languages that no file is named after, so that the corpus's own look decides.
    return find_reader(corpus, ("", "")) is READERS[reader]


def _warn_of_misalignment(
    corpus: str, langs: tuple[str, str], pairs: Sequence[Pair], warn: Callable[[str], None]
) -> None:
    lengths = ([len(pair[side].encode()) for pair in pairs] for side in (0, 1))
    if (found := find_misalignment(*lengths)) is not None:
        warn(describe_misalignment(corpus, langs, found.start + 1, found.lag))


def _pairs(corpus: str, langs: tuple[str, str], strict: bool, counts: CorpusCounts) -> list[Pair]:
    pairs = list(read_pairs(corpus, langs, strict=strict, counts=counts))
    if not pairs:
        raise UserError(f"{corpus} holds no pair", mend="give a corpus with at least one pair")
    return pairs
