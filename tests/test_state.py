"""The training state: the JSON of a checkpoint, read by this version and others of its format."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seq2seq.config import build
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import Limits
from seq2seq.training.progress import Report
from seq2seq.training.state import Best, BudgetState, CorpusId, Knot, TrainingState

CONFIG = {
    "data": {"langs": "de-en", "train": ["train"]},
    "model": {"d_model": 32, "n_heads": 2, "dropout": 0.2},
    "training": {"max_updates": 24, "valid_every": 8, "betas": [0.9, 0.99]},
}
REPORT = Report(update=24, epoch=3, loss=2.5, lr=1e-3, tgt_tokens_per_second=900.0, seconds=12.5, padding=0.1)
STATE = TrainingState(
    config=build(CONFIG, where="here"),
    limits=Limits(max_epochs=3),
    derived=("valid_every",),
    corpora=(CorpusId(role="train", sha256="a" * 64), CorpusId(role="valid", sha256="b" * 64)),
    tokenizer_sha256="c" * 64,
    update=24,
    epoch=3,
    validated_update=24,
    best=Best(update=16, metric=12.5, scores={"bleu": 12.5, "chrf": 30.0}),
    bad_validations=1,
    micro_batch_tokens=3072,
    last_report=REPORT,
    budget=BudgetState(times_set=1, set_at=2.5, updates=1.5, seconds=0.5, validation=0.25),
    knot=Knot(update=12, share=0.75, falling=True),
)


BEST = Best(update=16, metric=0.0, scores={"bleu": 0.0, "chrf": 30.0, "valid_loss": 2.0})


@pytest.mark.parametrize(
    ("metric", "chrf", "loss", "is_better"),
    [
        (0.1, 1.0, 9.0, True), (0.0, 30.1, 9.0, True), (0.0, 30.0, 1.9, True), (0.0, 30.0, 2.0, False),
        (0.0, 30.0, 2.1, False), (0.0, 29.9, 0.1, False), (0.0, 30.0, None, False), (None, 99.0, 0.1, False),
    ],
)  # fmt: skip
def test_chrf_and_then_the_loss_decide_a_tie(metric, chrf, loss, is_better):
    other = Best(update=24, metric=metric, scores={"bleu": 0.0, "chrf": chrf, "valid_loss": loss})
    assert (other.rank() > BEST.rank()) == is_better
    assert Best(update=1, metric=None, scores={"valid_loss": None}).rank() < other.rank()


def test_a_model_with_cut_off_translations_never_beats_one_without():
    """Cutting off raises BLEU. Models with cut-off translations are compared with each other as usual."""
    cut_off = Best(update=24, metric=9.0, scores={"bleu": 9.0, "chrf": 50.0, "valid_loss": 1.0}, cut_off=9)
    assert cut_off.rank() < BEST.rank()
    assert replace(cut_off, metric=8.0).rank() < cut_off.rank()
    learning = replace(cut_off, metric=0.0, scores={"bleu": 0.0, "chrf": 1.0, "valid_loss": 0.5})
    assert cut_off.rank() < learning.rank(), "what is repeated for ever scores by chance"


def stored(**changes):
    """The stored state with some changed keys; ``...`` removes a key."""
    state = json.loads(json.dumps(STATE.to_json()))
    return {key: value for key, value in {**state, **changes}.items() if value is not ...}


def test_it_is_unchanged_by_json():
    assert TrainingState.from_json(stored(), Path("x")) == STATE


def test_keys_of_a_later_version_are_ignored():
    later = stored(ranks=8, best={**stored()["best"], "epoch": 2}, limits={"max_epochs": 3, "max_words": 9})
    later["config"] = {**stored()["config"], "tracking": {"url": "x"}}
    later["config"]["model"] = {**stored()["config"]["model"], "n_experts": 1}
    later["last_report"] = {**stored()["last_report"], "loss_of_rank": [1.0]}
    assert TrainingState.from_json(later, Path("x")) == STATE


def test_missing_keys_get_their_defaults():
    few = ("config", "limits", "corpora", "tokenizer_sha256")
    state = TrainingState.from_json({key: stored()[key] for key in few}, Path("x"))
    expected = {"config": STATE.config, "limits": STATE.limits, "corpora": STATE.corpora}
    assert state == TrainingState(**expected, tokenizer_sha256=STATE.tokenizer_sha256)
    assert (state.update, state.best, state.order, state.budget) == (0, None, "by_similar_length", BudgetState())
    assert state.knot == Knot()
    shape = TrainingState.from_json(stored(config={"model": {"d_model": 32, "n_heads": 2}}), Path("x")).config.model
    assert (shape.d_model, shape.d_ff) == (32, 1024)


@pytest.mark.parametrize(
    "change",
    [
        *({key: ...} for key in ("config", "limits", "corpora", "tokenizer_sha256")),
        {"order": "by_topic"},
        {"update": -1}, {"update": True}, {"epoch": "3"}, {"best": {"update": 3}},
        {"limits": []},
        {"corpora": None}, {"config": None}, {"config": {"model": {"d_model": "wide"}}}, {"seconds": "1"},
        {"derived": ["seed"]},
    ],
    ids=str,
)  # fmt: skip
def test_unknown_values_are_refused(change):
    with pytest.raises(UserError, match=rf"somewhere holds a value .* know: '{next(iter(change))}") as caught:
        TrainingState.from_json(stored(**change), Path("somewhere"))
    assert caught.value.code == ExitCode.REFUSED
