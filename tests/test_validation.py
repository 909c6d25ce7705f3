"""Validation: the length penalty that is chosen, and when it does not matter."""

import pytest
from reversal import reversal_lines

from seq2seq.config import DecodingConfig
from seq2seq.corpus import Pair
from seq2seq.training.validation import ALPHAS, ValidationSet
from seq2seq.translation import Translator

LINES = reversal_lines(20, seed=4)


@pytest.fixture(scope="module")
def translator(reverser) -> Translator:
    return Translator.load(reverser, device="cpu")


def chosen(translator: Translator, pairs: list[Pair]) -> tuple[float, float | None]:
    validation = ValidationSet(pairs, translator.tokenizer, 256, 256, "ba")
    return validation.choose_alpha(translator.model, DecodingConfig(), lambda: None)


def test_on_a_tie_the_length_penalty_is_the_one_nearest_to_1(translator):
    """Every translation is right under every penalty: a tiny set must not choose an extreme."""
    assert min(ALPHAS) < 1 < max(ALPHAS)
    assert chosen(translator, [Pair(line, line[::-1]) for line in LINES]) == (1.0, pytest.approx(100))


@pytest.mark.parametrize("reference", ["", " \u3000"])
def test_references_that_cannot_be_scored_choose_nothing(translator, reference):
    assert chosen(translator, [Pair(line, reference) for line in LINES]) == (1.0, None)


def test_segments_are_joined_as_the_target_language_is_written(translator, monkeypatch):
    """A space between them would cost the score of a language that has none."""
    validation = ValidationSet([Pair("a b c\nd e", "一二三四五六")], translator.tokenizer, 256, 256, "zh")
    monkeypatch.setattr(translator.tokenizer, "decode", lambda rows: ["一二三", "四五六"][: len(rows)])
    assert validation.choose_alpha(translator.model, DecodingConfig(), lambda: None)[1] == pytest.approx(100)
