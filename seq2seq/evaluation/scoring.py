"""Scoring of corpora: a run's translations (``score_run``), or a file of hypotheses (``score_file``)."""

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
from seq2seq.evaluation.confidence import Judged, store_confidence
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
from seq2seq.translation import SegmentCounts, Translator, loops_avoided, read_run


@dataclass(frozen=True)
class CorpusResult:
    """The scores of one corpus."""

    corpus: str
    sentences: int
    """Scored pairs: those with text on both sides."""
    dropped_empty: int
    """Pairs with a blank side: they are not scored. A blank hypothesis is scored."""
    seconds: float | None
    """Time of translation; None if hypotheses were given."""
    scores: dict[str, Score]
    """By row of ``METRICS``."""
    invalid_utf8: int
    """Lines in which bytes were replaced."""
    warnings: list[str]
    """Problems of the corpus, and scores that say little about it."""
    notes: list[str]
    """Decisions about the form of the corpus, such as a header that was left out."""
    verdict: str = ""
    """The scores in plain words; empty if no score says enough."""
    segments: SegmentCounts | None = None
    """Lines that were translated in segments; None if hypotheses were given."""
    recipe: RecipeRecord | None = None
    """The recipe of the run; None if hypotheses were given, or if the run does not record it."""


_BLOCK = 8192
"""Sentences translated together: enough to sort them by length, few enough for memory."""


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
    fit_confidence: bool = False,
) -> list[CorpusResult]:
    """Translate each corpus with a run and score the translations.

    Args:
        run: folder written by ``train``.
        corpora: CORPUS words.
        metrics: rows of ``METRICS``.
        langs: languages of the corpora, if they differ from the run's.
        output: file for the hypotheses of a single corpus.
        decoding: keys that override the run's decoding configuration.
        device: auto, cpu, cuda, cuda:N or mps.
        workers: number of parallel searches; None: one for each core.
        encoding_errors: what to do with lines of the corpora that are not UTF-8; None: as when the run was trained.
        fit_confidence: fit the expected chrF of translations on these corpora, and store it in the run.

    Raises:
        UserError: an input or option is refused, with the exit code of its kind.
    """
    if output is not None and (len(corpora) > 1 or str(output) == "-"):
        raise UserError(
            f"`output={output}` must name a file, for the hypotheses of one corpus",
            mend="run eval once for each corpus, and name a file: scores go to stdout",
            code=ExitCode.USAGE,
        )
    manifest, config, _ = read_run(run)
    data = config.data
    src, tgt = parse_langs(langs or data.langs)
    for place in (output or "-", "-"):  # the scores go to stdout
        corpus_paths = (path for corpus in corpora for path in corpus_files(corpus, (src, tgt)))
        refuse_overwriting(place, chain(run_files(run), corpus_paths))
    # All corpora are read before the first is translated, so that errors are found early.
    texts = []
    for corpus in corpora:
        counts = CorpusCounts()
        errors = encoding_errors or data.encoding_errors
        pairs = list(read_pairs(corpus, (src, tgt), encoding_errors=errors, counts=counts))
        references = _References.from_pairs(corpus, pairs, tgt)
        for name in metrics:
            build_metric(name, references.language)
        texts.append((pairs, references, counts, _misalignment(corpus, (src, tgt), pairs)))
    results = []
    judged: list[Judged] = []
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers)
    # Opened before a translation that may take hours, so that a wrong name is reported early.
    with open_output(str(output or os.devnull)) as out:
        for pairs, references, counts, misalignment in texts:
            began = time.monotonic()
            hypotheses: list[str] = []
            segments, n_avoided_loops = SegmentCounts(), 0
            for start in range(0, len(pairs), _BLOCK):
                block = [pair.src for pair in pairs[start : start + _BLOCK]]
                found = translator.n_best(block, first_line=start + 1, counts=segments)
                hypotheses += [best[0].text for best in found]
                if fit_confidence:
                    references_of_block = (pair.tgt for pair in pairs[start : start + _BLOCK])
                    judged += [(b[0].features, b[0].text, r) for b, r in zip(found, references_of_block, strict=True)]
                n_avoided_loops += sum(best[0].avoided_loop for best in found)
            if n_avoided_loops:
                counts.notes.append(loops_avoided(n_avoided_loops))
            seconds = time.monotonic() - began
            out.write("".join(f"{line}\n" for line in hypotheses).encode("utf-8"))
            result = _score_corpus(hypotheses, references, counts, metrics, seconds, segments, misalignment)
            results.append(replace(result, recipe=manifest.recipe))
    if fit_confidence:
        fitted = store_confidence(run, manifest, judged, " ".join(corpora))
        results[-1].notes.append(f"confidence was fitted on {counted(fitted.pairs, 'pair')}, and stored in {run}")
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
        run: names the languages, if ``langs`` does not.
        langs: decide which side of the corpus is the reference, and how it is scored.
        encoding_errors: what to do with lines that are not UTF-8; None: as when the run was trained; without a run, a
            file with more than 1 in 100 of them is refused.

    Raises:
        UserError: unequal counts, no references (65), a missing file (66), the side or the language is not known (2), a
            tokenizer is not installed (78).
    """
    if str(hypotheses) == corpus == "-":
        raise UserError(
            "stdin cannot hold both hypotheses and references", mend="name a file for one of them", code=ExitCode.USAGE
        )
    counts = CorpusCounts()
    data = read_run(run)[1].data if run else DataConfig(langs=langs or "")
    named = parse_langs(langs or data.langs) if langs or run else None
    errors = encoding_errors or data.encoding_errors
    references_file = _references_file(corpus, named)
    files = [references_file] if references_file else corpus_files(corpus, named or ("src", "tgt"))
    refuse_overwriting("-", [hypotheses, *files])  # the scores go to stdout
    references = _read_references(corpus, references_file, named, errors, counts)
    if references.is_guess and any(name in BY_LANGUAGE for name in metrics):
        # Japanese without kana looks like Chinese. A score to cite must not depend on a guess.
        raise UserError(
            f"the language of {corpus} is not known, and its script needs a tokenizer of its own",
            mend="name the languages with `langs`, as in `langs=en-zh`, or score only with chrF (`metrics=chrf`)",
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
    return _score_corpus(lines, references, counts, metrics)


def _misalignment(corpus: str, langs: tuple[str, str], pairs: Sequence[Pair]) -> list[str]:
    """A warning if the lines of a corpus do not match; else none."""
    found = find_misalignment(*([len(pair[side].encode()) for pair in pairs] for side in (0, 1)))
    return [] if found is None else [describe_misalignment(corpus, langs, found.start + 1, found.lag)]


class _References:
    """The references of one corpus, with their language.

    Args:
        corpus: named in errors.
        lines: a reference for each pair; None if a side of the pair is blank.
        code: of their language; empty if it is not known.
        sources: one for each line; None if they are not known.

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
    def from_pairs(cls, corpus: str, pairs: list[Pair], code: str) -> Self:
        """Take the target sides of pairs."""
        lines = [None if is_blank(pair.src) or is_blank(pair.tgt) else pair.tgt for pair in pairs]
        return cls(corpus, lines, code, [pair.src for pair in pairs])


def _references_file(corpus: str, langs: tuple[str, str] | None) -> Path | None:
    """The file of references that a word names; None if it names pairs."""
    return Path(corpus) if _is_plain_text(corpus, langs) else lone_target(corpus, langs) if langs else None


def _read_references(
    corpus: str,
    references_file: Path | None,
    langs: tuple[str, str] | None,
    errors: EncodingErrors,
    counts: CorpusCounts,
) -> _References:
    """Read the references of a corpus. A pipe is read only once."""
    code = langs[1] if langs else ""
    if references_file is not None:
        code = code or code_in_name(uncompressed_name(references_file.name))
        texts = read_lines(references_file, encoding_errors=errors, counts=counts)
        return _References(corpus, [None if is_blank(line) else line for line in texts], code)
    if langs is None and not has_ordered_sides(corpus):
        raise UserError(
            f"it is not known which side of {corpus} is the reference",
            mend="name the languages with `langs`, as in `langs=de-en`, or give the reference file itself",
            code=ExitCode.USAGE,
        )
    pairs = list(read_pairs(corpus, langs or ("src", "tgt"), encoding_errors=errors, counts=counts))
    return _References.from_pairs(corpus, pairs, code)


def _is_plain_text(corpus: str, langs: tuple[str, str] | None) -> bool:
    """Whether a word names one file of references, not a corpus of two sides."""
    if corpus == "-":
        return True
    # No file name ends in these languages, so the form of the word decides.
    if find_reader(corpus, ("", "")) is not READERS["prefix"]:
        return False
    if os.path.exists(corpus) and not os.path.isdir(corpus):  # pipes too
        return True
    # If it is not a prefix either, the error of reading it says why it cannot be read.
    path = str(Path(corpus))
    siblings = glob(f"{escape(path)}.*")  # noqa: PTH207  # the word may not name a folder
    return langs is None and all(uncompressed_name(name) == path for name in siblings)


def _score_corpus(
    hypotheses: Sequence[str],
    references: _References,
    counts: CorpusCounts,
    metrics: Sequence[str],
    seconds: float | None = None,
    segments: SegmentCounts | None = None,
    misalignment: Sequence[str] = (),
) -> CorpusResult:
    """Score one corpus. Pairs with a blank side are left out, whatever their hypotheses."""
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
