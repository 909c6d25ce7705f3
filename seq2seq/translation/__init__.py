"""Translation of lines with a model from a run folder."""

from seq2seq.runs.loading import greedy_of, load_weights, read_config, read_langs, read_run
from seq2seq.translation.batches import length_batches
from seq2seq.translation.confidence import MIN_PAIRS, Features, features, fit_confidence
from seq2seq.translation.doubtful import Doubtful
from seq2seq.translation.events import Translation, TranslationEvent, loops_avoided
from seq2seq.translation.likelihood import Likelihood, LikelihoodCounts
from seq2seq.translation.output import is_finished
from seq2seq.translation.segments import Searched, SegmentCounts, join_segments
from seq2seq.translation.sentences import n_sentences
from seq2seq.translation.streaming import translate_file, translate_lines
from seq2seq.translation.translator import Translator

__all__ = [
    "MIN_PAIRS",
    "Doubtful",
    "Features",
    "Likelihood",
    "LikelihoodCounts",
    "Searched",
    "SegmentCounts",
    "Translation",
    "TranslationEvent",
    "Translator",
    "features",
    "fit_confidence",
    "greedy_of",
    "is_finished",
    "join_segments",
    "length_batches",
    "load_weights",
    "loops_avoided",
    "n_sentences",
    "read_config",
    "read_langs",
    "read_run",
    "translate_file",
    "translate_lines",
]
