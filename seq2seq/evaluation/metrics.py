"""Metrics, set up for the language that is scored, and warnings if a score says little.

Only sacreBLEU's Python API is used, on lists of lines: its command line splits stdin at stray carriage
returns. Source: Post 2018, arXiv:1804.08771.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import sacrebleu
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import MAX_NGRAM_ORDER, BLEUScore

from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.text.languages import is_unspaced, primary, row_of


@dataclass(frozen=True)
class Score:
    """A score of a corpus by one metric."""

    name: str
    """The name that is printed: BLEU, chrF2, chrF2++, TER."""
    value: float
    """0 to 100, higher is better. TER counts errors, and may be above 100."""
    signature: str
    """sacreBLEU's description of how it was computed."""
    comparable: float
    """The value that comparisons use: without a correct 4-gram BLEU comes only from smoothing, and counts as 0."""


@dataclass(frozen=True)
class MetricOptions:
    """Options of sacreBLEU that change a score. Its signature shows them."""

    tokenize: str | None = None
    """BLEU's tokenizer, one of ``TOKENIZERS``; None: the one for the language."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF. (TER always ignores it.)"""

    def checked(self, metrics: Sequence[str]) -> Self:
        """These options, if they can be used with these metrics.

        Raises:
            UserError: an unknown tokenizer, or one without BLEU (2).
        """
        if self.tokenize is not None and self.tokenize not in TOKENIZERS:
            raise UserError(
                f"unknown tokenizer '{self.tokenize}'",
                mend=f"choose among {', '.join(TOKENIZERS)}",
                code=ExitCode.USAGE,
            )
        if self.tokenize is not None and "bleu" not in metrics:
            raise UserError(
                f"`tokenize={self.tokenize}` sets the tokenizer of BLEU, which is not among the metrics",
                mend="leave it out, or add BLEU, as in `metrics=bleu`",
                code=ExitCode.USAGE,
            )
        return self

    def by_language(self) -> set[str]:
        """Metrics that depend on the language."""
        return {"ter"} if self.tokenize else {"bleu", "ter"}


TOKENIZERS = tuple(sacrebleu.BLEU.TOKENIZERS)
"""Names of sacreBLEU's tokenizers for BLEU. ``spm``, ``flores101``, ``flores200`` and ``spBLEU-1K`` download a model
when they are first used."""

_MAX_SAMPLE = 2000
"""Max texts by which a language is recognised."""

_BLEU_TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""By row of ``languages``, the one that sacreBLEU picks for the language."""


def _bleu(row: str, options: MetricOptions) -> Metric:
    name = options.tokenize or _BLEU_TOKENIZERS.get(row, "13a")
    if options.tokenize is None and is_unspaced(row) and not has_bleu_tokenizer(row):
        name = "char"  # 13a would treat a sentence as one word
    return sacrebleu.BLEU(tokenize=name, lowercase=options.lowercase, force=True)


def _chrf(row: str, options: MetricOptions) -> Metric:
    return sacrebleu.CHRF(lowercase=options.lowercase)


def _chrf_plus_plus(row: str, options: MetricOptions) -> Metric:
    return sacrebleu.CHRF(word_order=2, lowercase=options.lowercase)


def _ter(row: str, options: MetricOptions) -> Metric:
    # Both options together split Chinese characters and kanji.
    splits = row in ("zh", "ja")
    return sacrebleu.TER(normalized=splits, asian_support=splits)


METRICS: dict[str, Callable[[str, MetricOptions], Metric]] = {
    "bleu": _bleu,
    "chrf": _chrf,
    "chrf++": _chrf_plus_plus,
    "ter": _ter,
}
"""Metrics by name. Each takes the row of ``languages`` of the text."""

_PRINTED = {"chrf2": "chrf", "chrf2++": "chrf++"}
"""Printed names that differ from those of ``METRICS``."""


def parse_metrics(words: str) -> list[str]:
    """Parse ``bleu,chrf``, in upper or lower case. Printed names (``chrF2``) are accepted, too.

    Raises:
        UserError: an unknown metric (exit code 2).
    """
    given = [word.strip().lower() for word in words.split(",") if word.strip()]
    names = [_PRINTED.get(name, name) for name in given]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise UserError(
            f"unknown metric '{unknown[0] if unknown else words}'",
            mend=f"choose among {', '.join(METRICS)}",
            code=ExitCode.USAGE,
        )
    return list(dict.fromkeys(names))


def language_row(code: str, texts: Sequence[str]) -> str:
    """The row of ``languages`` for scoring these texts.

    Args:
        code: of their language, in any spelling; empty if unknown.
        texts: references.
    """
    return row_of(code, "\n".join(texts[:: 1 + len(texts) // _MAX_SAMPLE]))  # evenly spaced samples


def has_bleu_tokenizer(row: str) -> bool:
    """Whether sacreBLEU has a tokenizer for this row."""
    return row in _BLEU_TOKENIZERS


def character_bleu() -> Metric:
    """BLEU of characters, for text that cannot be split into words."""
    return sacrebleu.BLEU(tokenize="char", force=True)


def build_metric(name: str, language: str = "", options: MetricOptions | None = None) -> Metric:
    """Set up a metric. A missing tokenizer is reported here, before anything is translated.

    Args:
        name: row of ``METRICS``.
        language: code of the language of the text, in any spelling.
        options: None: those of sacreBLEU.

    Raises:
        UserError: the language or the options need a tokenizer that is not installed (78).
    """
    row, options = primary(language), options or MetricOptions()
    try:
        return METRICS[name](row, options)
    # AssertionError: MeCab has another dictionary. OSError: no network.
    except (RuntimeError, ImportError, AssertionError, OSError) as error:
        tokenizer = options.tokenize or _BLEU_TOKENIZERS.get(row, "")
        what = f"sacreBLEU cannot split '{language}' into words"
        if options.tokenize:
            what = f"sacreBLEU's tokenizer {tokenizer} cannot be used"
        mend = f'pip install "sacrebleu[{tokenizer.removesuffix("-mecab")}]", or choose chrF: '
        mend += "`eval metrics=chrf`, `train training.best_metric=chrf`"
        if isinstance(error, OSError):  # before ImportError, which is none
            mend = "it is downloaded when it is first used; connect to the network, or choose another"
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"{what}: {reason}", mend=mend, code=ExitCode.REFUSED) from None


def score(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[str],
    language: str = "",
    *,
    options: MetricOptions | None = None,
    more_references: Sequence[Sequence[str | None]] = (),
) -> Score:
    """Score translations.

    Args:
        name: row of ``METRICS``.
        hypotheses: translations, detokenised.
        references: one for each translation.
        language: code of their language, in any spelling.
        options: None: those of sacreBLEU.
        more_references: as ``references``; None if a translation has no other one.

    Raises:
        UserError: unequal counts, or no pairs (65).
    """
    return score_with(build_metric(name, language, options), hypotheses, references, more_references)


def score_with(
    metric: Metric,
    hypotheses: Sequence[str],
    references: Sequence[str],
    more_references: Sequence[Sequence[str | None]] = (),
) -> Score:
    """As ``score``, with a metric from ``build_metric``."""
    for lines in (references, *more_references):
        if len(hypotheses) != len(lines):
            raise UserError(
                f"{len(hypotheses):,} hypotheses cannot be scored against {counted(len(lines), 'reference')}",
                mend="give one hypothesis for each reference, in the same order",
            )
    if not references:
        raise UserError("there are no pairs to score", mend="give a corpus with at least one pair")
    columns: list[Sequence[str | None]] = [list(references), *map(list, more_references)]
    result = metric.corpus_score(list(hypotheses), columns)  # type: ignore[arg-type]  # it takes None, too
    value = float(result.score)
    only_smoothing = isinstance(result, BLEUScore) and not result.counts[-1]
    return Score(result.name, value, str(metric.get_signature()), comparable=0.0 if only_smoothing else value)


def has_4_gram(metric: Metric, reference: str) -> bool:
    """Whether a reference has four tokens or more, so that BLEU can match a 4-gram.

    Args:
        metric: from ``build_metric("bleu", …)``.
        reference: as it is scored.
    """
    assert isinstance(metric, sacrebleu.BLEU)
    return len(metric.tokenizer(reference.rstrip()).split()) >= MAX_NGRAM_ORDER


_MIN_LONG = 0.1
"""Min fraction of references with four tokens or more; below it, BLEU depends on a few sentences."""


def bleu_says_little(bleu: Metric, row: str, references: Sequence[str], code: str) -> str:
    """The reason why BLEU says little about translations with these references; empty if there is none.

    Args:
        bleu: the metric that scores them.
        row: from ``language_row``.
        references: as they are scored.
        code: of their language, for the message.
    """
    if is_unspaced(row) and not has_bleu_tokenizer(row):
        return f"{code} is written without spaces, and sacreBLEU has no tokenizer for it"
    n_long = sum(has_4_gram(bleu, reference) for reference in references)
    if n_long < _MIN_LONG * len(references):
        return f"{n_long:,} of {len(references):,} validation references have the four tokens that BLEU compares"
    return ""


def warnings_about(name: str, row: str, references: Sequence[str], options: MetricOptions | None = None) -> list[str]:
    """Warnings about the score of a metric on these references.

    Args:
        name: row of ``METRICS``.
        row: from ``language_row``.
        references: as they were scored.
        options: None: those of sacreBLEU.
    """
    if name == "bleu":
        bleu = build_metric(name, row, options)
        if not any(has_4_gram(bleu, reference) for reference in references):
            return ["BLEU says nothing here: no reference has four tokens, so no 4-gram can match; use chrF"]
    if name == "ter" and is_unspaced(row) and not has_bleu_tokenizer(row):
        return ["TER says little here: the text has no spaces, and TER treats a sentence as one word; use chrF"]
    return []
