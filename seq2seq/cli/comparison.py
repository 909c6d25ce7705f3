"""What ``eval --against`` prints: tables on stdout, conclusions in words on stderr, and the same as JSON."""

from collections.abc import Iterator, Sequence

from seq2seq.cli.console import shown
from seq2seq.errors import counted
from seq2seq.evaluation import FAULTS, Comparison, CorpusResult, Details, Line

COLUMNS_EXPLAINED = (
    "low, high: 95% confidence interval; diff: the first system minus this one; p_bs, p_ar: the probability of such a "
    "difference by chance (paired bootstrap resampling, approximate randomisation)"
)
_MAX_NOTED = 3
"""Changed lines on stderr."""
_MAX_TEXT = 70


def tables(result: CorpusResult, details: Details) -> str:
    """Tables of a corpus: tests with their signatures, scores by length, and faults.

    Columns are separated by spaces; a missing value is ``-``. The name of the system, which may hold spaces, is last.
    """
    parts = []
    if details.comparisons:
        parts.append(_table(["metric", "score", "low", "high", "diff", "p_bs", "p_ar"], _tests(details)))
        parts.append(
            "".join(
                f"{found.printed} {test}  {signature}\n"
                for found in details.comparisons.values()
                for test, signature in found.signatures.items()
            )
        )
    names = [score.name for score in result.scores.values()]
    parts.append(_table([f"{details.by}_length", "sentences", *names], _lengths(details)))
    parts.append(_table(list(FAULTS), _faults(details)))
    return "\n".join(parts)


def _tests(details: Details) -> Iterator[list[str]]:
    for found in details.comparisons.values():
        for name, one in zip(details.systems, found.systems, strict=True):
            low, high = one.mean - one.interval, one.mean + one.interval
            p_values = ["-", "-"] if one.p_values is None else [_p(p) for p in one.p_values.values()]
            diff = "-" if one.difference is None else _signed(one.difference)
            yield [found.printed, f"{one.score:.1f}", f"{low:.1f}", f"{high:.1f}", diff, *p_values, name]


def _lengths(details: Details) -> Iterator[list[str]]:
    for bucket in details.buckets:
        for i, name in enumerate(details.systems):
            scores = [f"{of_systems[i]:.1f}" for of_systems in bucket.scores.values()]
            yield [f"{bucket.min_length}-{bucket.max_length}", str(bucket.sentences), *scores, name]


def _faults(details: Details) -> Iterator[list[str]]:
    for name, found in zip(details.systems, details.faults, strict=True):
        yield [*("-" if found[fault] is None else str(found[fault]) for fault in FAULTS), name]


def _table(head: Sequence[str], rows: Iterator[list[str]]) -> str:
    """Columns that are as wide as their widest cell; numbers end, and names of metrics begin, at the same place."""
    lines = [[*head, "system"], *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    first = str.ljust if head[0] == "metric" else str.rjust
    return "".join(
        "  ".join([first(line[0], widths[0]), *map(str.rjust, line[1:-1], widths[1:]), line[-1]]) + "\n"
        for line in lines
    )


def _p(p: float | None) -> str:
    return "-" if p is None else f"{p:.4f}"


def _signed(difference: float) -> str:
    text = f"{difference:+.1f}"
    return "0.0" if float(text) == 0 else text


def conclusions(details: Details) -> Iterator[str]:
    """What the tests say, in words, and the lines that changed most."""
    for found in details.comparisons.values():
        for name, one in zip(details.systems[1:], found.systems[1:], strict=True):
            p_values = ", ".join(_p(p) for p in (one.p_values or {}).values())
            if one.difference == 0 and "-" in p_values:
                yield f"{found.printed}: no difference from {name}"
            elif one.is_significant:
                yield f"{found.printed}: {_better(found, one.difference or 0)} than {name} (p {p_values})"
            else:
                yield f"{found.printed}: the difference from {name} may be chance (p {p_values})"
    for i, name in enumerate(details.systems[1:], start=1):
        changed = details.changed(i)
        if changed:
            n = sum(line.chrf[0] != line.chrf[i] for line in details.lines)
            n_better = sum(line.chrf[0] > line.chrf[i] for line in details.lines)
            yield f"by chrF, {counted(n, 'line')} differ from {name}: {n_better:,} better, {n - n_better:,} worse"
        for line in changed[:_MAX_NOTED]:
            ours, theirs = (shown(line.hypotheses[j], _MAX_TEXT) for j in (0, i))
            yield f"line {line.number}: chrF {line.chrf[0]:.1f}, not {line.chrf[i]:.1f}: {ours!r}, not {theirs!r}"


def _better(found: Comparison, difference: float) -> str:
    return "better" if (difference > 0) != (found.printed == "TER") else "worse"


def details_as_json(details: Details) -> dict[str, object]:
    """The details, for ``--json``."""
    return {
        "systems": list(details.systems),
        "tests": {name: _test_as_json(details, found) for name, found in details.comparisons.items()},
        "faults": [{"system": name, **found} for name, found in zip(details.systems, details.faults, strict=True)],
        "length_of": details.by,
        "by_length": [
            {
                "min": bucket.min_length,
                "max": bucket.max_length,
                "sentences": bucket.sentences,
                "scores": {name: list(scores) for name, scores in bucket.scores.items()},
            }
            for bucket in details.buckets
        ],
        "changed": [
            {"system": name, "lines": [_line_as_json(line) for line in details.changed(i)]}
            for i, name in enumerate(details.systems)
            if i > 0
        ],
        "worst": [_line_as_json(line) for line in details.worst()],
    }


def _test_as_json(details: Details, found: Comparison) -> dict[str, object]:
    return {
        "signatures": dict(found.signatures),
        "systems": [
            {
                "system": name,
                "score": one.score,
                "mean": one.mean,
                "interval": one.interval,
                "difference": one.difference,
                "p": None if one.p_values is None else dict(one.p_values),
            }
            for name, one in zip(details.systems, found.systems, strict=True)
        ],
    }


def _line_as_json(line: Line) -> dict[str, object]:
    return {
        "line": line.number,
        "source": line.source,
        "references": list(line.references),
        "hypotheses": list(line.hypotheses),
        "chrf": list(line.chrf),
        "faults": [list(found) for found in line.faults],
    }
