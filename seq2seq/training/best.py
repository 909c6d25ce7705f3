"""The best weights: the metric that chooses them (BLEU, chrF or the loss), and whether a validation is the best one."""

from dataclasses import replace

from seq2seq.config import RunConfig, parse_langs
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import bleu_says_little, build_metric, character_bleu, has_4_gram, language_row
from seq2seq.training.prepare import Prepared
from seq2seq.training.progress import Notice
from seq2seq.training.state import Best, TrainingState
from seq2seq.training.validation import Scores, ValidationSet


def choose_best_metric(config: RunConfig, prepared: Prepared) -> tuple[RunConfig, ValidationSet, list[Notice]]:
    """Set ``training.best_metric`` if it is unset, once the validation pairs are known.

    Args:
        config: with every layer applied.
        prepared: holds the validation pairs.

    Returns:
        The configuration, the validation set with its metrics, and notices.

    Raises:
        UserError: the requested metric cannot be computed here, or not on these pairs (78).
    """
    given, code = config.training.best_metric, parse_langs(config.data.langs)[1]
    references = [pair.tgt for pair in prepared.valid]
    language = language_row(code, references)
    notices = []
    why = ""
    try:
        bleu = build_metric("bleu", language)
    except UserError as error:
        if given == "bleu":
            raise
        bleu, why = character_bleu(), "BLEU is computed on characters"
        text = f'{error.what}; BLEU is computed on characters (tok:char) until you pip install "sacrebleu[{language}]"'
        notices.append(Notice(text, warning=True))
    poor_bleu = why or bleu_says_little(bleu, language, references, code)
    validation = ValidationSet(
        prepared.valid,
        prepared.tokenizer,
        config.data.max_length,
        prepared.max_src_length,
        bleu,
        target_language=code,
        max_src_sentences=prepared.max_src_sentences,
        poor_bleu=poor_bleu,
    )
    if not validation.n_with_loss():
        what = f"no validation pair is shorter than data.max_length {config.data.max_length}"
        if given == "loss":
            mend = "raise data.max_length, or choose by bleu or chrf"
            raise UserError(f"training.best_metric loss cannot be computed: {what}", mend=mend, code=ExitCode.REFUSED)
        notices.append(Notice(f"the validation loss is unknown: {what}"))
    chosen = given or ("chrf" if poor_bleu else "bleu")
    if given is None:
        because = f": {poor_bleu}" if poor_bleu else ""
        notices.append(Notice(f"kept: the model with the best {_NAMES[chosen]} on the validation pairs{because}"))
    elif not any(has_4_gram(bleu, reference) for reference in references):
        notices.append(
            Notice("BLEU says nothing here: no validation reference has four tokens, so no 4-gram can match")
        )
    return replace(config, training=replace(config.training, best_metric=chosen)), validation, notices


_NAMES = {"bleu": "BLEU", "chrf": "chrF"}


def after_validation(state: TrainingState, scores: Scores) -> TrainingState:
    """The state after a validation of its weights; its ``best`` is that validation if it is the best so far.

    Args:
        state: before it; its ``training.best_metric`` is set.
        scores: of the validation.
    """
    loss = None if scores.loss is None else -scores.loss
    metric = {"bleu": scores.bleu.comparable, "chrf": scores.chrf.value, "loss": loss}[
        state.config.training.best_metric or "bleu"
    ]
    new = Best(update=state.update, metric=metric, scores=scores.figures(), cut_off=scores.cut_off)
    is_best = state.best is None or new.rank() > state.best.rank()
    return replace(
        state,
        validated_update=state.update,
        best=new if is_best else state.best,
        bad_validations=0 if is_best else state.bad_validations + 1,
    )
