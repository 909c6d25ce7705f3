"""Where translations differ: by length of the source, and line by line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sacrebleu.metrics.base import Metric

from seq2seq.evaluation.corpora import References
from seq2seq.evaluation.metrics import MetricOptions, build_metric, score_with
from seq2seq.evaluation.outputs import FAULTS, faults
from seq2seq.evaluation.significance import Comparison, compare_systems
from seq2seq.text.languages import is_unspaced

MAX_LINES = 20
"""Lines of a list."""
_MAX_BUCKETS = 5
_MIN_IN_BUCKET = 20
"""Min sentences of a bucket: a score of fewer says little."""


@dataclass(frozen=True)
class Bucket:
    """Sentences of similar length, with the scores of each system."""

    min_length: int
    """Characters of the shortest one."""
    max_length: int
    sentences: int
    scores: Mapping[str, Sequence[float]]
    """By metric, of each system."""


@dataclass(frozen=True)
class Line:
    """A line of a corpus, with the translations of each system."""

    number: int
    """From 1."""
    source: str | None
    """None if it is not known."""
    references: Sequence[str]
    hypotheses: Sequence[str]
    chrf: Sequence[float]
    """Sentence chrF of each hypothesis."""
    faults: Sequence[Sequence[str]]
    """Rows of ``FAULTS``, of each hypothesis."""


@dataclass(frozen=True)
class Details:
    """Everything about one corpus that is more than its scores."""

    systems: Sequence[str]
    """Names. The first is the one that is scored; the others are those that it is compared with."""
    comparisons: Mapping[str, Comparison]
    """By metric; empty if there is one system."""
    faults: Sequence[Mapping[str, int | None]]
    """Of each system: number of lines by row of ``FAULTS``; None if sources are needed and not known."""
    by: str
    """What the lengths are of: ``source``, or ``reference`` if sources are not known."""
    buckets: Sequence[Bucket]
    lines: Sequence[Line]
    """All scored lines."""

    def worst(self) -> list[Line]:
        """The lines with the lowest chrF of the first system."""
        return sorted(self.lines, key=lambda line: line.chrf[0])[:MAX_LINES]

    def changed(self, other: int) -> list[Line]:
        """The lines whose chrF differs most between the first system and another.

        Args:
            other: place in ``systems``, from 1.
        """
        lines = [line for line in self.lines if line.chrf[0] != line.chrf[other]]
        return sorted(lines, key=lambda line: -abs(line.chrf[0] - line.chrf[other]))[:MAX_LINES]


def detail(
    names: Sequence[str],
    hypotheses: Sequence[Sequence[str]],
    references: References,
    metrics: Sequence[str],
    options: MetricOptions,
) -> Details:
    """Compare systems on a corpus.

    Args:
        names: of the systems.
        hypotheses: of each system, one for each scored line.
        references: of the corpus.
        metrics: rows of ``METRICS``.
        options: of the metrics.
    """
    texts, more = references.texts, references.more_texts()
    built = {name: build_metric(name, references.language, options) for name in metrics}
    lines = _lines(hypotheses, references, build_metric("chrf", references.language, options))
    sources = references.of_kept(references.sources) if references.sources else None
    counts: list[Mapping[str, int | None]] = []
    for i in range(len(names)):
        found = {name: sum(name in line.faults[i] for line in lines) for name in FAULTS}
        unknown = ("copied", "lost_numbers") if sources is None else ()
        counts.append({name: None if name in unknown else n for name, n in found.items()})
    buckets = []
    for places in _buckets([len(text) for text in sources or texts]):
        lengths = [len((sources or texts)[i]) for i in places]
        of_more = [[one[i] for i in places] for one in more]
        scores = {
            name: [
                score_with(metric, [one[i] for i in places], [texts[i] for i in places], of_more).value
                for one in hypotheses
            ]
            for name, metric in built.items()
        }
        buckets.append(Bucket(min(lengths), max(lengths), len(places), scores))
    comparisons = compare_systems(hypotheses, [texts, *more], built) if len(names) > 1 else {}
    return Details(names, comparisons, counts, "source" if sources else "reference", buckets, lines)


def _lines(hypotheses: Sequence[Sequence[str]], references: References, chrf: Metric) -> list[Line]:
    unspaced = is_unspaced(references.language)
    lines = []
    for row, place in enumerate(references.kept):
        source = references.sources[place] if references.sources else None
        ours = [one[row] for one in hypotheses]
        texts = [references.texts[row], *(text for one in references.more if (text := one[place]) is not None)]
        found = [faults(text, texts[0], source, unspaced=unspaced) for text in ours]
        scores = [float(chrf.sentence_score(text, texts).score) for text in ours]
        lines.append(Line(place + 1, source, texts, ours, scores, found))
    return lines


def _buckets(lengths: Sequence[int]) -> list[list[int]]:
    """Places of sentences, from short to long: buckets of about the same size. Each has all sentences of a length."""
    n = max(1, min(_MAX_BUCKETS, len(lengths) // _MIN_IN_BUCKET))
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    buckets: list[list[int]] = [[]]
    for rank, place in enumerate(order):
        is_full = rank >= len(order) * len(buckets) / n
        if is_full and len(buckets) < n and lengths[place] != lengths[buckets[-1][-1]]:
            buckets.append([])
        buckets[-1].append(place)
    return buckets
