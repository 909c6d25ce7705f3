"""The metric that decides which weights are kept: chosen by the validation targets, and reported."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from sacrebleu.tokenizers import tokenizer_ja_mecab

from seq2seq.config import RunConfig, TrainingConfig, build
from seq2seq.corpus import Pair
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import Score
from seq2seq.runs import Limits
from seq2seq.training.best import after_validation, choose_best_metric
from seq2seq.training.state import TrainingState
from seq2seq.training.validation import Scores

EN = "The cat sat on the mat."
WORDS = ["open", "close", "file", "save as"]
KHMER, LAO, BURMESE = "ថ្ងៃស្អែកយើងនឹងទៅភ្នំពេញ", "ມື້ອື່ນພວກເຮົາຈະໄປວຽງຈັນ", "မနက်ဖြန်ရန်ကုန်သွားမယ်"


class OneToken:
    """A tokenizer whose tokens are words."""

    def encode(self, lines):
        return [line.split() for line in lines]


def choose(langs, targets, *, best_metric=None, max_length=256):
    """The metric, the signature of BLEU and the notices for these validation targets."""
    data, training = {"langs": langs, "max_length": max_length}, {"best_metric": best_metric}
    config = build({"data": data, "training": training}, where="here")
    prepared = SimpleNamespace(
        valid=[Pair("x", tgt) for tgt in targets], tokenizer=OneToken(), max_src_length=256, max_src_sentences=1
    )
    config, validation, notices = choose_best_metric(config, prepared)
    return config.training.best_metric, validation.signatures()["bleu"], [notice.text for notice in notices]


@pytest.mark.parametrize(
    ("langs", "targets", "metric", "tokenizer", "says"),
    [
        ("de-en", [EN], "bleu", "13a", "the best BLEU"),
        ("de-en", [EN, *WORDS], "bleu", "13a", "the best BLEU"),
        ("de-en", WORDS, "chrf", "13a", "0 of 4 validation references have the four tokens"),
        ("de-en", [EN, *WORDS * 3], "chrf", "13a", "1 of 13 validation references"),
        ("en-zh", ["我们明天去北京。"], "bleu", "zh", "the best BLEU"),
        ("en:zho_Hans", ["我们明天去北京。"], "bleu", "zh", "the best BLEU"),
        ("en-cmn", ["文件", "新"], "chrf", "zh", "0 of 2"),
        ("en-th", ["พรุ่งนี้เราจะไปกรุงเทพฯ"], "chrf", "char", "th is written without spaces"),
        ("en:khm_Khmr", [KHMER], "chrf", "char", "khm_Khmr is written without spaces"),
        ("en-xx", [LAO], "chrf", "char", "xx is written without spaces"),
        ("en-shn", [BURMESE], "chrf", "char", "shn is written without spaces"),
        ("en:zh-Latn", ["women mingtian qu Beijing"], "bleu", "13a", "the best BLEU"),
    ],
)
def test_the_metric_that_suits_the_targets_is_chosen_and_reported(langs, targets, metric, tokenizer, says):
    chosen, signature, notices = choose(langs, targets)
    assert (chosen, f"tok:{tokenizer}|" in signature) == (metric, True)
    (notice,) = notices
    assert notice.startswith(f"kept: the model with the best {'BLEU' if metric == 'bleu' else 'chrF'}")
    assert says in notice


@pytest.mark.parametrize("metric", ["bleu", "chrf", "loss"])
def test_a_given_metric_is_used(metric):
    assert choose("de-en", [EN], best_metric=metric)[::2] == (metric, [])
    chosen, _, (notice,) = choose("de-en", WORDS, best_metric=metric)
    assert (chosen, "BLEU says nothing here" in notice) == (metric, True)


@pytest.mark.parametrize("langs", ["en-ja", "en:jpn_Jpan", "en-xx"])
def test_a_missing_tokenizer_is_reported_before_training(monkeypatch, langs):
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    targets = ["明日は北京に行きます。"]
    with pytest.raises(UserError) as caught:
        choose(langs, targets, best_metric="bleu")
    assert caught.value.code == ExitCode.REFUSED
    assert 'pip install "sacrebleu[ja]"' in caught.value.mend
    assert "training.best_metric=chrf" in caught.value.mend
    for given, n in ((None, 2), ("chrf", 1), ("loss", 1)):
        chosen, signature, notices = choose(langs, targets, best_metric=given)
        assert (chosen, len(notices)) == (given or "chrf", n)
        assert 'pip install "sacrebleu[ja]"' in notices[0]
        assert "tok:char" in notices[0]
        assert "tok:char" in signature


def test_a_loss_without_pairs():
    with pytest.raises(UserError, match=r"no validation pair is shorter than data\.max_length 4") as caught:
        choose("de-en", [EN], best_metric="loss", max_length=4)
    assert caught.value.code == ExitCode.REFUSED
    assert choose("de-en", [EN], max_length=4)[2][0].startswith("the validation loss is unknown")
    assert choose("de-en", [EN, "a b"], best_metric="loss", max_length=4)[0] == "loss"


def best_of(best_metric, *validations):
    """The number of the validation whose weights are kept."""
    config = RunConfig(training=TrainingConfig(best_metric=best_metric))
    state = TrainingState(config=config, limits=Limits(), corpora=(), tokenizer_sha256="")
    for update, (bleu, proven, chrf, loss) in enumerate(validations, start=1):
        scores = Scores(loss, Score("BLEU", bleu, "", proven), Score("chrF2", chrf, "", chrf), [])
        state = after_validation(replace(state, update=update), scores)
        assert state.validated_update == update
        assert state.bad_validations == update - state.best.update
    return state.best.update


@pytest.mark.parametrize(
    ("best_metric", "validations", "best"),
    [
        ("bleu", [(9, 9, 20, 3), (12, 12, 30, 2), (11, 11, 40, 1)], 2),
        ("bleu", [(0, 0, 20, 3), (0, 0, 99, 1), (0, 0, 98, 0.5)], 2),  # a word list
        ("bleu", [(1.7, 0, 12, 3), (0, 0, 97, 1), (0, 0, 98, 0.5)], 3),  # whose first BLEU had no correct 4-gram
        ("bleu", [(0, 0, 0, 9), (0, 0, 0, 8), (0, 0, 0, 8.5)], 2),
        ("bleu", [(0, 0, 0, None), (0, 0, 0, 8), (0, 0, 0, None)], 2),
        ("bleu", [(5, 5, 5, 5), (5, 5, 5, 5)], 1),
        ("chrf", [(9, 9, 20, 3), (0, 0, 21, 4)], 2),
        ("chrf", [(9, 9, 20, 3), (9, 9, 20, 2), (9, 9, 20, 2.5)], 2),
        ("loss", [(9, 9, 20, 3), (0, 0, 1, 2), (30, 30, 50, 2.5)], 2),
        ("loss", [(9, 9, 20, None), (0, 0, 1, 50.0), (30, 30, 50, None)], 2),
        ("loss", [(9, 9, 20, 2), (9, 9, 21, 2)], 2),
    ],
)
def test_the_best_validation(best_metric, validations, best):
    assert best_of(best_metric, *validations) == best
