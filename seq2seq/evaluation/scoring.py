"""Scores of corpora: of a run's own translations (``score_run``), or of a file of hypotheses (``score_file``)."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape, glob
from itertools import chain
from pathlib import Path
from typing import Self

from seq2seq.config import DataConfig, parse_langs
from seq2seq.corpus import (
    READERS,
    CorpusCounts,
    Pair,
    corpus_files,
    describe_misalignment,
    find_misalignment,
    find_reader,
    has_ordered_sides,
    lone_target,
    read_pairs,
    uncompressed_name,
)
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.evaluation.metrics import (
    BY_LANGUAGE,
    Score,
    bleu_says_little,
    build_metric,
    language_row,
    score,
    warnings_about,
)
from seq2seq.evaluation.verdict import failures, verdict
from seq2seq.runs import RecipeRecord, run_files
from seq2seq.text import EncodingErrors, is_blank, open_output, read_lines, refuse_overwriting
from seq2seq.text.languages import code_in_name
from seq2seq.translation import SegmentCounts, Translator, read_run


@dataclass(frozen=True)
class CorpusResult:
    """One corpus, translated and scored."""

    corpus: str
    sentences: int
    """Pairs scored: those with text on both sides."""
    dropped_empty: int
    """Pairs with a blank side, which are not scored. A blank hypothesis is scored."""
    seconds: float | None
    """Time of translating; None if hypotheses were given."""
    scores: dict[str, Score]
    """By row of ``METRICS``."""
    invalid_utf8: int
    """Lines in which bytes were replaced."""
    warnings: list[str]
    """What is wrong with this corpus, and which scores say little about it."""
    notes: list[str]
    """What was decided about the form of the corpus, as a header left out."""
    verdict: str = ""
    """The scores in plain words; empty if they say too little."""
    segments: SegmentCounts | None = None
    """Lines that were translated in segments; None if hypotheses were given."""
    recipe: RecipeRecord | None = None
    """By which the run was trained; None if hypotheses were given, or if the run does not say."""


# Large enough to profit from sorting by length, small enough for memory.
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
    encoding_errors: EncodingErrors | None = None,
) -> list[CorpusResult]:
    """Translate each corpus with a run and score the translations.

    Args:
        run: folder written by ``train``.
        corpora: CORPUS words.
        metrics: rows of ``METRICS``.
        langs: of the corpora, if their names differ from those of the run.
        output: file that keeps the hypotheses of a single corpus.
        decoding: overrides of the run's decoding configuration, by key.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: parallel searches; None: one for each core.
        encoding_errors: what to do with lines of the corpora that are not UTF-8; None: as when the run was trained.

    Raises:
        UserError: as the table of exit codes says.
    """
    if output is not None and (len(corpora) > 1 or str(output) == "-"):
        raise UserError(
            f"-o {output} keeps the hypotheses of one corpus in a file",
            mend="run eval once for each corpus, and name a file: stdout is for the scores",
            code=ExitCode.USAGE,
        )
    manifest, config, _ = read_run(run)
    data = config.data
    src, tgt = parse_langs(langs or data.langs)
    for place in (output or "-", "-"):  # the scores go to stdout
        of_corpora = (path for corpus in corpora for path in corpus_files(corpus, (src, tgt)))
        refuse_overwriting(place, chain(run_files(run), of_corpora))
    # Every corpus is read before the first is translated: errors are found at once.
    texts = []
    for corpus in corpora:
        counts = CorpusCounts()
        errors = encoding_errors or data.encoding_errors
        pairs = list(read_pairs(corpus, (src, tgt), encoding_errors=errors, counts=counts))
        references = _References.of(corpus, pairs, tgt)
        for name in metrics:
            build_metric(name, references.language)
        texts.append((pairs, references, counts, _misalignment(corpus, (src, tgt), pairs)))
    results = []
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers)
    # Opened before hours of translating, so that a wrong name is reported at once.
    with open_output(str(output or os.devnull)) as out:
        for pairs, references, counts, misalignment in texts:
            began = time.monotonic()
            hypotheses: list[str] = []
            segments = SegmentCounts()
            for start in range(0, len(pairs), _BLOCK):
                block = [pair.src for pair in pairs[start : start + _BLOCK]]
                found = translator.n_best(block, first_line=start + 1, counts=segments)
                hypotheses += [best[0].text for best in found]
            seconds = time.monotonic() - began
            out.write("".join(f"{line}\n" for line in hypotheses).encode("utf-8"))
            result = _scored(hypotheses, references, counts, metrics, seconds, segments, misalignment)
            results.append(replace(result, recipe=manifest.recipe))
    return results


def score_file(
    hypotheses: Path,
    corpus: str,
    metrics: Sequence[str],
    *,
    run: Path | None = None,
    langs: str | None = None,
    encoding_errors: EncodingErrors | None = None,
) -> CorpusResult:
    """Score a file of hypotheses against the target side of a corpus.

    Args:
        hypotheses: one a line; ``-`` is stdin.
        corpus: a CORPUS word, or a plain text file of references.
        metrics: rows of ``METRICS``.
        run: gives the languages, if ``langs`` does not.
        langs: which side of the corpus is the reference, and how it is scored.
        encoding_errors: what to do with lines that are not UTF-8; None: as when the run was trained; without a run, a
            file with more than 1 in 100 of them is refused.

    Raises:
        UserError: unequal counts, no references (65), a missing file (66), a side or a language that is not named (2),
            a tokenizer that is not installed (78).
    """
    if str(hypotheses) == corpus == "-":
        raise UserError(
            "stdin cannot hold both hypotheses and references", mend="name a file for one of them", code=ExitCode.USAGE
        )
    counts = CorpusCounts()
    data = read_run(run)[1].data if run else DataConfig(langs=langs or "")
    named = parse_langs(langs or data.langs) if langs or run else None
    errors = encoding_errors or data.encoding_errors
    alone = _references_alone(corpus, named)
    files = [alone] if alone else corpus_files(corpus, named or ("src", "tgt"))
    refuse_overwriting("-", [hypotheses, *files])  # the scores go to stdout
    references = _read_references(corpus, alone, named, errors, counts)
    if references.is_guess and any(name in BY_LANGUAGE for name in metrics):
        # Japanese without kana looks like Chinese: what is cited is not guessed.
        raise UserError(
            f"the language of {corpus} is not known, and its script needs a tokenizer of its own",
            mend="name the languages with -l, as in -l en-zh, or score only with chrF (-m chrf)",
            code=ExitCode.USAGE,
        )
    for name in metrics:
        build_metric(name, references.language)
    lines = list(read_lines(hypotheses, encoding_errors=errors, counts=counts))
    if len(lines) != len(references.lines):
        raise UserError(
            f"{'stdin' if str(hypotheses) == '-' else hypotheses} has {counted(len(lines), 'line')} but {corpus} has "
            f"{len(references.lines):,}",
            mend="give one hypothesis for each reference, in the same order",
        )
    return _scored(lines, references, counts, metrics)


def _misalignment(corpus: str, langs: tuple[str, str], pairs: Sequence[Pair]) -> list[str]:
    """What is wrong with the order of the lines of a corpus, if something is."""
    found = find_misalignment(*([len(pair[side].encode()) for pair in pairs] for side in (0, 1)))
    return [] if found is None else [describe_misalignment(corpus, langs, found.start + 1, found.lag)]


class _References:
    """The references of one corpus, and how they are scored.

    Args:
        corpus: named in errors.
        lines: a reference for each pair; None if a side of the pair is blank.
        code: of their language; empty if it is not named.
        sources: of each line; None if they are not known.

    Raises:
        UserError: none has text (65).
    """

    def __init__(self, corpus: str, lines: list[str | None], code: str, sources: list[str] | None = None) -> None:
        self.corpus = corpus
        self.lines = lines
        self.sources = sources
        self.texts = [line for line in lines if line is not None]
        self.language = language_row(code, self.texts)
        self.is_guess = bool(self.language and not code)
        if not self.texts:
            found = f"{counted(len(lines), 'pair')}, all with a blank side" if lines else "no text"
            raise UserError(f"{corpus} holds {found}", mend="give a corpus with at least one pair")

    @classmethod
    def of(cls, corpus: str, pairs: list[Pair], code: str) -> Self:
        """The target sides of pairs."""
        lines = [None if is_blank(pair.src) or is_blank(pair.tgt) else pair.tgt for pair in pairs]
        return cls(corpus, lines, code, [pair.src for pair in pairs])


def _references_alone(corpus: str, langs: tuple[str, str] | None) -> Path | None:
    """The one file of references that a word names; None if it names pairs."""
    return Path(corpus) if _is_plain_text(corpus, langs) else lone_target(corpus, langs) if langs else None


def _read_references(
    corpus: str, alone: Path | None, langs: tuple[str, str] | None, errors: EncodingErrors, counts: CorpusCounts
) -> _References:
    """The references that ``--hyp`` is scored against; a pipe is read once."""
    code = langs[1] if langs else ""
    if alone is not None:
        code = code or code_in_name(uncompressed_name(alone.name))
        texts = read_lines(alone, encoding_errors=errors, counts=counts)
        return _References(corpus, [None if is_blank(line) else line for line in texts], code)
    if langs is None and not has_ordered_sides(corpus):
        raise UserError(
            f"it is not known which side of {corpus} is the reference",
            mend="name the languages with -l, as in -l de-en, or give the reference file itself",
            code=ExitCode.USAGE,
        )
    pairs = list(read_pairs(corpus, langs or ("src", "tgt"), encoding_errors=errors, counts=counts))
    return _References.of(corpus, pairs, code)


def _is_plain_text(corpus: str, langs: tuple[str, str] | None) -> bool:
    """Whether a word names one file of references, rather than a corpus of two sides."""
    if corpus == "-":
        return True
    # With languages that no file is named after, so that the look of the word decides.
    if find_reader(corpus, ("", "")) is not READERS["prefix"]:
        return False
    if os.path.exists(corpus) and not os.path.isdir(corpus):  # pipes too
        return True
    # If it is not a prefix either, it is a file that cannot be read: the error of reading it says why.
    path = str(Path(corpus))
    beside = glob(f"{escape(path)}.*")  # noqa: PTH207  # a word, which may name no folder
    return langs is None and all(uncompressed_name(name) == path for name in beside)


def _scored(
    hypotheses: Sequence[str],
    references: _References,
    counts: CorpusCounts,
    metrics: Sequence[str],
    seconds: float | None = None,
    segments: SegmentCounts | None = None,
    misalignment: Sequence[str] = (),
) -> CorpusResult:
    """The scores of one corpus; a pair with a blank side is left out, whatever its hypothesis."""
    sources = references.sources
    kept = [i for i, reference in enumerate(references.lines) if reference is not None]
    scored = [hypotheses[i] for i in kept]
    language = references.language
    scores = {name: score(name, scored, references.texts, language) for name in metrics}
    poor_bleu = ""
    if "bleu" in scores:
        poor_bleu = bleu_says_little(build_metric("bleu", language), language, references.texts, language)
    return CorpusResult(
        references.corpus,
        sentences=len(scored),
        dropped_empty=len(hypotheses) - len(scored),
        seconds=seconds,
        scores=scores,
        invalid_utf8=counts.invalid_utf8,
        warnings=[
            *misalignment,
            *(text for name in metrics for text in warnings_about(name, language, references.texts)),
            *failures(scored, references.texts, [sources[i] for i in kept] if sources else None),
        ],
        notes=counts.notes,
        verdict=verdict(
            {name: score.value for name, score in scores.items()},
            language,
            n_sentences=len(scored),
            poor_bleu=poor_bleu,
        ),
        segments=segments,
    )
