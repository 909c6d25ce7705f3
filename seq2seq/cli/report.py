"""The results of ``eval`` on stdout: for a person a line a metric, for a program JSON."""

import json
import sys

from seq2seq.cli.console import print_note, print_warning
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import CorpusResult


def too_few_words(what: str) -> UserError:
    """The error of a command line with the wrong number of words."""
    return UserError(what, mend="see `seq2seq eval --help`", code=ExitCode.USAGE)


def print_results(results: list[CorpusResult], *, as_json: bool) -> None:
    """Scores to stdout, all else to stderr."""
    for result in results:
        if result.invalid_utf8:
            print_warning(f"{result.corpus}: {result.invalid_utf8:,} lines held bytes that are not UTF-8")
    sys.stdout.write(json.dumps(_as_json(results), ensure_ascii=False) + "\n" if as_json else _as_text(results))
    sys.stdout.flush()


def _as_json(results: list[CorpusResult]) -> dict[str, object]:
    return {
        "corpora": [
            {
                "corpus": result.corpus,
                "sentences": result.sentences,
                "seconds": result.seconds,
                "metrics": {
                    name: {"score": score.value, "signature": score.signature} for name, score in result.scores.items()
                },
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
        print_note(f"{result.corpus}: {result.sentences:,} sentences{pace}")
        lines += [f"{score.name} {score.value:.1f}  {score.signature}\n" for score in result.scores.values()]
    return "".join(lines)
