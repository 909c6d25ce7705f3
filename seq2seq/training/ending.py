"""The end of training: the shortlist is learned, the length penalty is chosen, the expected chrF is fitted."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from seq2seq.config import RunConfig
from seq2seq.errors import counted
from seq2seq.model import Seq2SeqModel
from seq2seq.runs import SHORTLIST, ConfidenceRecord, Manifest, read_tensors
from seq2seq.training.lexicon import build_lexicon, byte_pieces
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.tuning import MANY_PAIRS
from seq2seq.training.validation import ValidationSet
from seq2seq.translation import MIN_PAIRS, load_weights


class Ending(NamedTuple):
    """The results of the end of training."""

    scores: dict[str, Any]
    """Of the committed weights."""
    length_penalty: float | None
    """α, if it was chosen."""
    length_penalty_pairs: int | None
    """Validation pairs that it was chosen on."""
    confidence: ConfidenceRecord | None
    """The expected chrF of translations; None: there are too few validation pairs to fit it."""
    shortlist: dict[str, Tensor] | None
    """None: it is not requested, the folder already has one, or rank 0 has it."""


def find_ending(
    folder: Path,
    manifest: Manifest,
    config: RunConfig,
    prepared: Prepared,
    validation: ValidationSet,
    model: Seq2SeqModel,
    check: Callable[[], None],
    seconds_left: Callable[[], float],
) -> Generator[Notice, None, Ending]:
    """Learn the shortlist if it is requested and missing, choose the length penalty unless it is given, and fit the
    expected chrF of translations.

    Args:
        folder: of the run.
        manifest: of the folder.
        config: of the run, complete.
        prepared: the corpus.
        validation: the validation pairs.
        model: gets the committed weights.
        check: called now and then; may raise ``Stopped``.
        seconds_left: returns the time for choosing the length penalty.
    """
    shortlist = None
    if config.decoding.shortlist and SHORTLIST not in manifest.files:
        if prepared.n_pairs > MANY_PAIRS:
            yield Notice("learning the shortlist of likely target pieces")
        tokenizer, ranks = prepared.tokenizer, validation.ranks
        shortlist = ranks.together(
            lambda: (
                None if ranks.rank else build_lexicon(prepared.ids, len(tokenizer), byte_pieces(tokenizer), check=check)
            )
        )
    scores = dict(manifest.scores)
    load_weights(model, read_tensors(folder, manifest, manifest.weights))
    if len(validation.pairs) < MIN_PAIRS:
        yield Notice(
            f"confidence is not fitted: {counted(len(validation.pairs), 'validation pair')}, fewer than {MIN_PAIRS}"
        )
    if config.decoding.length_penalty is not None:
        confidence = validation.fit_confidence(model, config.decoding, check, seconds_left())
        return Ending(scores, None, None, confidence, shortlist)
    yield Notice("choosing the length penalty on the validation pairs")
    scores.pop("bleu_beam", None)  # of an earlier finish, with another length penalty
    assert config.training.best_metric is not None
    alpha, bleu, n_searched, confidence = validation.choose_alpha(
        model, config.decoding, config.training.best_metric, check, seconds_left()
    )
    if n_searched == len(validation.pairs):  # a score of some pairs could not be compared with others
        scores["bleu_beam"] = bleu
    return Ending(scores, alpha, n_searched, confidence, shortlist)
