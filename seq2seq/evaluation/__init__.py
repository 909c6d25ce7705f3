"""Evaluation: sacreBLEU's metrics on raw text, each score with its signature."""

from sacrebleu.metrics.base import Metric

from seq2seq.evaluation.confidence import fit_translations, sentence_chrf, store_confidence
from seq2seq.evaluation.details import MAX_LINES, Bucket, Details, Line
from seq2seq.evaluation.likelihoods import LIKELIHOOD_FORMATS, CorpusLikelihood, write_likelihoods
from seq2seq.evaluation.metrics import (
    METRICS,
    TOKENIZERS,
    MetricOptions,
    Score,
    bleu_says_little,
    build_metric,
    character_bleu,
    has_4_gram,
    has_bleu_tokenizer,
    language_row,
    parse_metrics,
    score,
    score_with,
    warnings_about,
)
from seq2seq.evaluation.options import ScoringOptions
from seq2seq.evaluation.outputs import FAULTS
from seq2seq.evaluation.results import CorpusResult
from seq2seq.evaluation.scoring import score_file, score_run
from seq2seq.evaluation.significance import TESTS, Comparison, SystemScore
from seq2seq.evaluation.systems import SearchOptions
from seq2seq.evaluation.verdict import ROUGH_GUIDE, verdict

__all__ = [
    "FAULTS",
    "LIKELIHOOD_FORMATS",
    "MAX_LINES",
    "METRICS",
    "ROUGH_GUIDE",
    "TESTS",
    "TOKENIZERS",
    "Bucket",
    "Comparison",
    "CorpusLikelihood",
    "CorpusResult",
    "Details",
    "Line",
    "Metric",
    "MetricOptions",
    "Score",
    "ScoringOptions",
    "SearchOptions",
    "SystemScore",
    "bleu_says_little",
    "build_metric",
    "character_bleu",
    "fit_translations",
    "has_4_gram",
    "has_bleu_tokenizer",
    "language_row",
    "parse_metrics",
    "score",
    "score_file",
    "score_run",
    "score_with",
    "sentence_chrf",
    "store_confidence",
    "verdict",
    "warnings_about",
    "write_likelihoods",
]
