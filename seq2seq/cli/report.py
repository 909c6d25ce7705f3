"""The arguments of ``eval``, and the results of ``eval``: one line for each metric, or JSON."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seq2seq.cli.comparison import COLUMNS_EXPLAINED, conclusions, details_as_json, tables
from seq2seq.cli.console import print_note, print_warning, shown
from seq2seq.cli.flags import with_flags
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.evaluation import ROUGH_GUIDE, CorpusResult
from seq2seq.text import open_output


def _usage_error(what: str) -> UserError:
    return UserError(what, mend="see `seq2seq eval --help`", code=ExitCode.USAGE)


def parse_words(
    words: list[str],
    hypotheses: Path | None,
    of_run: Sequence[object],
    search: Sequence[object],
    against: Sequence[Path],
) -> tuple[Path | None, list[str]]:
    """Parse the arguments of ``eval``: a run folder and corpora; with ``--hyp`` one corpus, or a run folder before it.

    Args:
        words: the arguments.
        hypotheses: the value of ``--hyp``.
        of_run: values of ``-o`` and other options that take the translations of the run; None: not given.
        search: values of the options of translation; None: not given.
        against: values of ``--against``.

    Raises:
        UserError: too many or too few arguments, or options that cannot be used (2).
    """
    if hypotheses is None:
        if len(words) < 2:
            raise _usage_error("eval takes a run folder and at least one corpus")
        return Path(words[0]), words[1:]
    *runs, corpus = words
    if len(runs) > 1:
        raise _usage_error("--hyp takes one corpus, and optionally a run folder before it")
    translates = any(other.is_dir() for other in against)
    if any(value is not None for value in (*of_run, *(() if translates else search))):
        raise _usage_error(
            "--hyp does not translate: -o, --fit-confidence, --device and the other options of translation cannot be "
            "used with it"
        )
    return Path(runs[0]) if runs else None, [corpus]


def print_results(results: list[CorpusResult], *, as_json: bool, report: Path | None = None) -> None:
    """Print scores to stdout, everything else to stderr."""
    results = [
        replace(
            result,
            notes=[with_flags(note, "eval") for note in result.notes],
            warnings=[with_flags(text, "eval") for text in result.warnings],
        )
        for result in results
    ]
    for result in results:
        for note in result.notes:
            print_note(f"{result.corpus}: {note}")
        if result.invalid_utf8:
            lines = counted(result.invalid_utf8, "line")
            print_warning(f"{result.corpus}: {lines} held bytes that are not UTF-8; they were replaced by U+FFFD")
        if result.segments is not None and result.segments.n:
            print_warning(f"{result.corpus}: {result.segments.total()}")
        if result.dropped_empty:
            print_warning(f"{result.corpus}: {counted(result.dropped_empty, 'pair')} not scored: a side is blank")
        for text in result.warnings:
            print_warning(f"{result.corpus}: {text}")
    text = json.dumps(_as_json(results), ensure_ascii=False) + "\n" if as_json else _as_text(results)
    with open_output("-") as out:
        out.write(text.encode("utf-8", "replace"))
    verdicts = {result.corpus: result.verdict for result in results if result.verdict}
    for corpus, words in verdicts.items():
        print_note(f"{corpus}: {words}" if len(results) > 1 else words)
    if verdicts:
        print_note(ROUGH_GUIDE)
    for result in results:
        if result.details is not None and result.details.comparisons:
            for words in conclusions(result.details):
                print_note(f"{result.corpus}: {words}" if len(results) > 1 else words)
    if not as_json and any(result.details is not None and result.details.comparisons for result in results):
        print_note(COLUMNS_EXPLAINED)
    if report is not None:
        print_note(f"wrote {report}")


def _as_json(results: list[CorpusResult]) -> dict[str, object]:
    return {
        "corpora": [
            {
                "corpus": result.corpus,
                "sentences": result.sentences,
                "dropped_empty": result.dropped_empty,
                "invalid_utf8": result.invalid_utf8,
                "warnings": result.warnings,
                "seconds": result.seconds,
                "segmented": None
                if result.segments is None
                else {
                    "too_long": result.segments.too_long,
                    "several_sentences": result.segments.several_sentences,
                },
                "notes": result.notes,
                "recipe": None if result.recipe is None else {"name": result.recipe.name, "hash": result.recipe.hash},
                "metrics": {
                    name: {"score": score.value, "signature": score.signature} for name, score in result.scores.items()
                },
                "verdict": result.verdict,
                "details": None if result.details is None else details_as_json(result.details),
            }
            for result in results
        ]
    }


def _as_text(results: list[CorpusResult]) -> str:
    lines = []
    for result in results:
        pace = ""
        if result.seconds is not None:
            pace = f" in {result.seconds:.1f} s, {result.sentences / max(result.seconds, 1e-9):,.1f} sentences/s"
        recipe = f"; recipe {result.recipe}" if result.recipe else ""
        print_note(f"{result.corpus}: {counted(result.sentences, 'sentence')}{pace}{recipe}")
        lines += [f"{score.name} {score.value:.1f}  {score.signature}\n" for score in result.scores.values()]
    for result in results:
        if result.details is not None:
            lines.append(f"\ncorpus  {shown(result.corpus)}\n\n" if len(results) > 1 else "\n")
            lines.append(tables(result, result.details))
    return "".join(lines)
