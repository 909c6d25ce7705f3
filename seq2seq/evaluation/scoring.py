"""Scoring of corpora: a run's translations (``score_run``), or a file of hypotheses (``score_file``)."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from seq2seq.config import DataConfig, parse_langs
from seq2seq.corpus import CorpusCounts, corpus_files, read_pairs
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.evaluation.confidence import store_confidence, with_references
from seq2seq.evaluation.corpora import References, misalignment, read_beside, read_references, references_file
from seq2seq.evaluation.details import detail
from seq2seq.evaluation.metrics import (
    MetricOptions,
    bleu_says_little,
    build_metric,
    score,
    warnings_about,
)
from seq2seq.evaluation.options import ScoringOptions
from seq2seq.evaluation.report import report
from seq2seq.evaluation.results import CorpusResult
from seq2seq.evaluation.systems import Others, SearchOptions, System, translate_corpora
from seq2seq.evaluation.verdict import failures, verdict
from seq2seq.runs import run_files
from seq2seq.text import EncodingErrors, open_output
from seq2seq.translation import loops_avoided, read_run


def score_run(
    run: Path,
    corpora: Sequence[str],
    metrics: Sequence[str],
    *,
    options: ScoringOptions | None = None,
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
        options: None: the defaults.
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
    options, search = options or ScoringOptions(), SearchOptions(decoding, device, workers)
    options.of_metrics(metrics)  # refuses what does not fit, before anything is read
    manifest, config, _ = read_run(run)
    data = config.data
    sides = parse_langs(langs or data.langs)
    corpus_paths = (path for corpus in corpora for path in corpus_files(corpus, sides))
    options.check(corpora, chain(run_files(run), corpus_paths), output)
    # All corpora are read before the first is translated, so that errors are found early.
    errors = encoding_errors or data.encoding_errors
    found, counts, misaligned = _read_corpora(corpora, sides, metrics, options, errors)
    others = Others(options.against, found, errors, counts[0])
    with open_output(str(options.report or os.devnull)) as page:
        first = translate_corpora(run, found, search, output)
        for i, n_lines in enumerate(first.n_avoided_loops):
            if n_lines:
                counts[i].notes.append(loops_avoided(n_lines))
        systems = [first, *others.translate(first, search)]
        results = [
            _score_corpus(systems, i, found[i], counts[i], metrics, options, misaligned[i]) for i in range(len(found))
        ]
        if fit_confidence:
            fitted = store_confidence(run, manifest, with_references(first, found), " ".join(corpora))
            results[-1].notes.append(f"confidence was fitted on {counted(fitted.pairs, 'pair')}, and stored in {run}")
        if options.report is not None:
            page.write(report(results).encode())
    return results


def score_file(
    hypotheses: Path,
    corpus: str,
    metrics: Sequence[str],
    *,
    options: ScoringOptions | None = None,
    run: Path | None = None,
    langs: str | None = None,
    search: SearchOptions | None = None,
    encoding_errors: EncodingErrors | None = None,
) -> CorpusResult:
    """Score a file of hypotheses against the target side of a corpus.

    Args:
        hypotheses: one a line; ``-`` is stdin.
        corpus: a CORPUS word, or a plain text file of references.
        metrics: rows of ``METRICS``.
        options: None: the defaults.
        run: names the languages, if ``langs`` does not.
        langs: decide which side of the corpus is the reference, and how it is scored.
        search: how runs of ``options.against`` translate; None: the defaults.
        encoding_errors: what to do with lines that are not UTF-8; None: as when the run was trained; without a run, a
            file with more than 1 in 100 of them is refused.

    Raises:
        UserError: unequal counts, no references (65), a missing file (66), the side or the language is not known (2), a
            tokenizer is not installed (78).
    """
    options = options or ScoringOptions()
    if [*map(str, (hypotheses, *options.references, *options.against)), corpus].count("-") > 1:
        raise UserError(
            "stdin cannot hold both hypotheses and references", mend="name a file for one of them", code=ExitCode.USAGE
        )
    of_metrics = options.of_metrics(metrics)
    counts = CorpusCounts()
    data = read_run(run)[1].data if run else DataConfig(langs=langs or "")
    named = parse_langs(langs or data.langs) if langs or run else None
    errors = encoding_errors or data.encoding_errors
    file = references_file(corpus, named)
    files = [file] if file else corpus_files(corpus, named or ("src", "tgt"))
    options.check([corpus], [hypotheses, *files])
    found = read_references(corpus, file, named, errors, counts)
    if found.is_guess and any(name in of_metrics.by_language() for name in metrics):
        # Japanese without kana looks like Chinese. A score to cite must not depend on a guess.
        raise UserError(
            f"the language of {corpus} is not known, and its script needs a tokenizer of its own",
            mend="name the languages with `langs`, as in `langs=en-zh`, or score only with chrF (`metrics=chrf`)",
            code=ExitCode.USAGE,
        )
    for name in metrics:
        build_metric(name, found.language, of_metrics)
    lines = read_beside(hypotheses, len(found.lines), corpus, errors, counts)
    found.read_more(options.references, errors, counts)
    others = Others(options.against, [found], errors, counts)
    with open_output(str(options.report or os.devnull)) as page:
        first = System(str(hypotheses), [lines])
        systems = [first, *others.translate(first, search or SearchOptions())]
        result = _score_corpus(systems, 0, found, counts, metrics, options)
        if options.report is not None:
            page.write(report([result]).encode())
    return result


def _read_corpora(
    corpora: Sequence[str],
    sides: tuple[str, str],
    metrics: Sequence[str],
    options: ScoringOptions,
    errors: EncodingErrors,
) -> tuple[list[References], list[CorpusCounts], list[list[str]]]:
    """The references of each corpus, its counts, and a warning if its lines do not match."""
    found: list[References] = []
    counts: list[CorpusCounts] = []
    misaligned = []
    for corpus in corpora:
        counts.append(CorpusCounts())
        pairs = list(read_pairs(corpus, sides, encoding_errors=errors, counts=counts[-1]))
        found.append(References.from_pairs(corpus, pairs, sides[1]))
        found[-1].read_more(options.references, errors, counts[-1])
        for name in metrics:
            build_metric(name, found[-1].language, options.of_metrics(metrics))
        misaligned.append(misalignment(corpus, sides, pairs))
    return found, counts, misaligned


def _score_corpus(
    systems: Sequence[System],
    place: int,
    references: References,
    counts: CorpusCounts,
    metrics: Sequence[str],
    scoring: ScoringOptions,
    misaligned: Sequence[str] = (),
) -> CorpusResult:
    """Score one corpus. Pairs with a blank side are left out, whatever their hypotheses."""
    first, options = systems[0], scoring.of_metrics(metrics)
    sources, language, texts, more = references.sources, references.language, references.texts, references.more_texts()
    hypotheses = [references.of_kept(system.hypotheses[place]) for system in systems]
    scored = hypotheses[0]
    scores = {name: score(name, scored, texts, language, options=options, more_references=more) for name in metrics}
    details = None
    if scoring.detailed:
        details = detail([system.name for system in systems], hypotheses, references, metrics, options)
    poor_bleu = ""
    if "bleu" in scores:
        poor_bleu = bleu_says_little(build_metric("bleu", language, options), language, texts, language)
    return CorpusResult(
        references.corpus,
        sentences=len(scored),
        dropped_empty=len(references.lines) - len(scored),
        seconds=first.seconds[place] if first.seconds else None,
        scores=scores,
        invalid_utf8=counts.invalid_utf8,
        warnings=[
            *misaligned,
            *(text for name in metrics for text in warnings_about(name, language, texts, options)),
            *failures(scored, texts, references.of_kept(sources) if sources else None),
        ],
        notes=counts.notes,
        # The guide holds for one reference, and for the tokenizer of the language.
        verdict=""
        if more or options != MetricOptions()
        else verdict(
            {name: score.value for name, score in scores.items()},
            language,
            n_sentences=len(scored),
            poor_bleu=poor_bleu,
        ),
        segments=first.segments[place] if first.segments else None,
        recipe=first.recipe,
        details=details,
    )
