"""The report of ``eval`` as one HTML page, which loads nothing and runs no script."""

from collections.abc import Iterator, Sequence
from html import escape
from string import punctuation

from seq2seq.drawing import letter
from seq2seq.drawing.labels import label
from seq2seq.drawing.page import read_part, whole_page
from seq2seq.drawing.plots import histogram, interval_plot, line_plot
from seq2seq.errors import counted
from seq2seq.evaluation.details import Details, Line
from seq2seq.evaluation.outputs import FAULTS
from seq2seq.evaluation.results import CorpusResult

_N_BINS = 20


def report(results: Sequence[CorpusResult]) -> str:
    """The page.

    Args:
        results: at least one, with details of the same systems.
    """
    names = _details(results[0]).systems
    package = "seq2seq.evaluation"
    return whole_page(
        read_part(package, "report.html"),
        title=f"Evaluation of {label(names[0])}",
        style=read_part(package, "report.css"),
        parts={
            "heading": f"Evaluation of {_inline(names[0])}",
            "systems": _systems(names),
            "overview": _overview(results) if len(results) > 1 else "",
            "corpora": "".join(_corpus(result) for result in results),
        },
    )


def _details(result: CorpusResult) -> Details:
    assert result.details is not None, "a report needs details"
    return result.details


def _inline(text: str) -> str:
    """Text inside a sentence: escaped, of any direction, without characters that would turn the line around."""
    return f"<bdi>{escape(label(text))}</bdi>"


def _name(system: int) -> str:
    return f'<b class="s{system % 6}">{letter(system)}</b>'


def _systems(names: Sequence[str]) -> str:
    if len(names) == 1:
        return ""
    rows = "".join(f"<li>{_name(i)} {_inline(name)}</li>" for i, name in enumerate(names))
    return f'<ol class="systems">{rows}</ol>'


def _table(caption: str, head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table of HTML cells. The first cell of each row names it."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = ""
    for first, *cells in rows:
        body += f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>{caption}'
        f"</caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _folded(table: str) -> str:
    return f"<details><summary>Show as a table</summary>{table}</details>"


def _overview(results: Sequence[CorpusResult]) -> str:
    scores = [score.name for score in results[0].scores.values()]

    def rows() -> Iterator[list[str]]:
        for result in results:
            details = _details(result)
            for i in range(len(details.systems)):
                of_system = [f"{found.systems[i].score:.1f}" for found in details.comparisons.values()] or [
                    f"{score.value:.1f}" for score in result.scores.values()
                ]
                yield [_inline(result.corpus), _name(i), f"{result.sentences:,}", *of_system]

    return "<h2>By corpus</h2>" + _table("Scores by corpus", ["corpus", "system", "sentences", *scores], rows())


def _corpus(result: CorpusResult) -> str:
    details = _details(result)
    parts = [
        f"<h2>{_inline(result.corpus)}</h2>",
        f"<p>{counted(result.sentences, 'sentence')}. {escape(result.verdict)}</p>",
        _warnings(result),
        _scores(result, details),
        _by_length(result, details),
        _by_line(details),
        "<h3>Faults</h3>",
        _table("Lines with a fault", ["system", *(name.replace("_", " ") for name in FAULTS)], _faults(details)),
        '<p class="hint">looping: a phrase is repeated three times in a row. copied: the translation is the source. '
        "lost numbers: a number of the source and the reference is missing. What the reference does as well is no "
        "fault.</p>",
    ]
    for i in range(1, len(details.systems)):
        if changed := details.changed(i):
            parts += [f"<h3>Lines that changed most between {_name(0)} and {_name(i)}</h3>", _lines(changed, [0, i])]
    parts += [
        "<h3>The worst lines</h3>",
        f'<p class="hint">By the chrF of {_name(0)}. Words that no reference holds are marked.</p>',
        _lines(details.worst(), list(range(len(details.systems)))),
    ]
    return f"<section>{''.join(parts)}</section>"


def _warnings(result: CorpusResult) -> str:
    rows = "".join(f"<li>{_inline(text)}</li>" for text in [*result.warnings, *result.notes])
    return f'<ul class="says">{rows}</ul>' if rows else ""


def _scores(result: CorpusResult, details: Details) -> str:
    signatures = {score.name: score.signature for score in result.scores.values()}
    if not details.comparisons:
        rows = ([score.name, f"{score.value:.1f}"] for score in result.scores.values())
        return "<h3>Scores</h3>" + _table("Scores", ["metric", "score"], rows) + _signatures(signatures)
    plots = [
        interval_plot(found.printed, [(s.mean - s.interval, s.score, s.mean + s.interval) for s in found.systems])
        for found in details.comparisons.values()
    ]
    signatures = {
        f"{found.printed}, {test}": signature
        for found in details.comparisons.values()
        for test, signature in found.signatures.items()
    }
    return (
        f'<h3>Scores, and tests of their differences</h3><div class="plots">{"".join(plots)}</div>'
        + _table(
            "Scores and tests",
            ["metric", "system", "score", "95% interval", "A minus it", "p (bootstrap)", "p (randomisation)", ""],
            _tests(details),
        )
        + '<p class="hint">p is the probability of such a difference by chance: by paired bootstrap resampling, and by '
        "approximate randomisation. TER counts errors: lower is better.</p>" + _signatures(signatures)
    )


def _tests(details: Details) -> Iterator[list[str]]:
    for found in details.comparisons.values():
        for i, one in enumerate(found.systems):
            interval = f"{one.mean - one.interval:.1f} to {one.mean + one.interval:.1f}"
            difference = "" if one.difference is None else f"{one.difference:+.2f}"
            p_values = ["" if p is None else f"{p:.4f}" for p in (one.p_values or {"": None, "-": None}).values()]
            says = "" if i == 0 else "significant" if one.is_significant else "may be chance"
            if i and one.p_values and set(one.p_values.values()) == {None}:
                says = "no difference"
            yield [found.printed, _name(i), f"{one.score:.1f}", interval, difference, *p_values, says]


def _signatures(signatures: dict[str, str]) -> str:
    rows = "".join(
        f'<p class="signature">{escape(name)}: {escape(signature)}</p>' for name, signature in signatures.items()
    )
    return f"<details><summary>Show signatures</summary>{rows}</details>"


def _by_length(result: CorpusResult, details: Details) -> str:
    labels = [f"{bucket.min_length}\u2013{bucket.max_length}" for bucket in details.buckets]
    names = {name: score.name for name, score in result.scores.items()}
    n_systems = range(len(details.systems))
    plots = (
        []
        if len(labels) == 1
        else [
            line_plot(printed, labels, [[bucket.scores[name][i] for bucket in details.buckets] for i in n_systems])
            for name, printed in names.items()
        ]
    )

    def rows() -> Iterator[list[str]]:
        for name, bucket in zip(labels, details.buckets, strict=True):
            for i in n_systems:
                scores = [f"{of_systems[i]:.1f}" for of_systems in bucket.scores.values()]
                yield [name, f"{bucket.sentences:,}", _name(i), *scores]

    head = ["characters", "sentences", "system", *names.values()]
    return f'<h3>By length of the {details.by}, in characters</h3><div class="plots">{"".join(plots)}</div>' + _folded(
        _table(f"Scores by length of the {details.by}", head, rows())
    )


def _by_line(details: Details) -> str:
    edges = [100 / _N_BINS * i for i in range(_N_BINS + 1)]
    n_systems = range(len(details.systems))
    counts = [_counts([line.chrf[i] for line in details.lines], edges) for i in n_systems]
    title = "Lines by their chrF"
    plots = [histogram(title, f"{title}; the table has the numbers", edges, counts, signs=False)]
    tables = [_bins(title, edges, counts, [_name(i) for i in n_systems])]
    wide = [200 / _N_BINS * i - 100 for i in range(_N_BINS + 1)]
    for i in n_systems[1:]:
        changes = [difference for line in details.lines if (difference := line.chrf[0] - line.chrf[i])]
        n_better = sum(difference > 0 for difference in changes)
        told = f"{n_better:,} better, {len(changes) - n_better:,} worse, {len(details.lines) - len(changes):,} equal"
        title = f"{letter(0)} minus {letter(i)}: {told}"
        counts = [_counts(changes, wide)]
        plots.append(histogram(title, f"Lines by the difference of their chrF: {title}", wide, counts, signs=True))
        tables.append(_bins(f"Lines by the difference of their chrF: {title}", wide, counts, ["lines"]))
    return (
        f'<h3>Line by line</h3><div class="plots">{"".join(plots)}</div>'
        + "<details><summary>Show as tables</summary>"
        + "".join(tables)
        + "</details>"
    )


def _counts(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values lie in each bin, from its lower edge up to, and in the last bin with, its upper edge."""
    n, counts = len(edges) - 1, [0] * (len(edges) - 1)
    for value in values:
        counts[min(n - 1, max(0, int((value - edges[0]) / (edges[-1] - edges[0]) * n)))] += 1
    return counts


def _bins(caption: str, edges: Sequence[float], counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    rows = (
        [f"{edges[j]:g} to {edges[j + 1]:g}", *(f"{of_system[j]:,}" for of_system in counts)]
        for j in range(len(edges) - 1)
        if any(of_system[j] for of_system in counts)
    )
    return _table(caption, ["chrF", *names], rows)


def _faults(details: Details) -> Iterator[list[str]]:
    for i, found in enumerate(details.faults):
        yield [_name(i), *("not known" if (n := found[fault]) is None else f"{n:,}" for fault in FAULTS)]


def _lines(lines: Sequence[Line], systems: Sequence[int]) -> str:
    return f'<ol class="lines">{"".join(_line(line, systems) for line in lines)}</ol>'


def _line(line: Line, systems: Sequence[int]) -> str:
    rows = [("line", f"{line.number:,}")]
    if line.source is not None:
        rows.append(("source", _text(line.source)))
    rows += [("reference", _text(text)) for text in line.references]
    words = [word for text in line.references for word in label(text).split()]
    for i in systems:
        faults = "".join(f' <span class="fault">{FAULTS[fault]}</span>' for fault in line.faults[i])
        # Text without spaces has no words to mark.
        known = {_bare(word) for word in words} if len(words) > len(line.references) else None
        rows.append((f"{_name(i)} chrF {line.chrf[i]:.1f}", _text(line.hypotheses[i], known) + faults))
    return f"<li><dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows)}</dl></li>"


def _bare(word: str) -> str:
    return word.strip(punctuation).casefold() or word


def _text(text: str, known: set[str] | None = None) -> str:
    """A line; words that are not among the known ones are marked."""
    words = []
    for word in label(text).split(" "):
        is_new = known is not None and word and _bare(word) not in known
        words.append(f"<mark>{escape(word)}</mark>" if is_new else escape(word))
    return f'<span class="text" dir="auto">{" ".join(words)}</span>'
