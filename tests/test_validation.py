"""Validation: the loss, the choice of the length penalty, and limits of its searches."""

import math

import pytest
import torch
from reversal import reversal_lines

from seq2seq.config import DecodingConfig
from seq2seq.corpus import Pair
from seq2seq.decoding import MAX_EXACT_ALPHA, Hypothesis
from seq2seq.evaluation import build_metric
from seq2seq.training.validation import ALPHAS, Scores, ValidationSet
from seq2seq.translation import Searched, Translator

LINES = reversal_lines(20, seed=4)
BLEU = build_metric("bleu")


@pytest.fixture(scope="module")
def translator(reverser) -> Translator:
    return Translator.load(reverser, device="cpu")


def chosen(
    translator: Translator, pairs: list[Pair], best_metric: str = "bleu", stopping: str = "enough"
) -> tuple[float, float]:
    validation = ValidationSet(pairs, translator.tokenizer, 256, 256, BLEU)
    decoding = DecodingConfig(stopping=stopping, repetition_guard=False)  # type: ignore[arg-type]  # loops are wanted
    return validation.choose_alpha(translator.model, decoding, best_metric, lambda: None)[:2]


def test_on_a_tie_the_length_penalty_is_the_one_nearest_to_1(translator):
    """Every translation is right with every penalty. A tiny set must not choose an extreme value."""
    assert min(ALPHAS) < 1 < max(ALPHAS)
    assert chosen(translator, [Pair(line, line[::-1]) for line in LINES]) == (1.0, pytest.approx(100))


def test_segments_are_joined_by_the_rules_of_the_target_language(translator, monkeypatch):
    """Spaces would lower the score of a language without spaces."""
    pairs = [Pair("a b c\nd e", "一二三四五六")]
    validation = ValidationSet(pairs, translator.tokenizer, 256, 256, build_metric("bleu", "zh"), "zh")
    monkeypatch.setattr(translator.tokenizer, "decode", lambda rows: ["一二三", "四五六"][: len(rows)])
    assert validation.choose_alpha(translator.model, DecodingConfig(), "bleu", lambda: None)[1] == pytest.approx(100)


@pytest.fixture
def short_or_long(translator, monkeypatch):
    """Sets the result of every search: one text, and another of twice the length, which is better above an α."""

    def found(short: str, long: str, *, beyond: float) -> None:
        def hypothesis(text: str, log_probability: float, length: int) -> Hypothesis:
            return Hypothesis(translator.tokenizer.encode([text])[0], log_probability, math.nan, length)

        both = [hypothesis(short, -2.0, 4), hypothesis(long, -2.0 * 2**beyond, 8)]
        monkeypatch.setattr(
            ValidationSet, "_search", lambda self, *_: {i: [Searched(both, True)] for i in range(len(self.pairs))}
        )

    return found


@pytest.mark.parametrize("best_metric", ["bleu", "chrf", "loss"])
@pytest.mark.parametrize("other", ["c", "c c c c c c c c c c c"])
def test_chrf_chooses_the_length_penalty_if_bleu_says_nothing(translator, short_or_long, best_metric, other):
    """As for word lists: BLEU is 0 for all, or smoothing gives a loop a BLEU above 0."""
    pairs = [Pair("b a", "a b")]
    short_or_long(other, "a b", beyond=1.5)
    assert chosen(translator, pairs, best_metric) == (1.6, 0.0)
    short_or_long("a b", other, beyond=0.5)
    assert chosen(translator, pairs, best_metric)[0] == 0.4


def test_bleu_chooses_before_chrf(translator, short_or_long):
    pairs = [Pair("", "a b c d e f")]
    short_or_long("a b c d", "a b c d e f g h a b c d", beyond=1.1)
    assert [chosen(translator, pairs, name)[0] for name in ("bleu", "loss", "chrf")] == [1.0, 1.0, 1.2]


def test_hypotheses_are_ranked_as_the_search_ranks_them(reverser, translator):
    """Also those that were cut off at their limit, with every length penalty."""
    decoding = {"max_length": 5, "n_best": 4, "length_penalty": ALPHAS[0]}
    found = Translator.load(reverser, device="cpu", decoding=decoding, workers=1).hypotheses(LINES)
    n_cut = sum(h.length == len(h.tokens) for (segment,) in found for h in segment.hypotheses)
    assert 0 < n_cut < sum(len(segment.hypotheses) for (segment,) in found)
    for alpha in ALPHAS:
        decoding = {"max_length": 5, "length_penalty": alpha}
        real = Translator.load(reverser, device="cpu", decoding=decoding, workers=1).hypotheses(LINES)
        for (segment,), (other,) in zip(found, real, strict=True):
            best = other.hypotheses[0]
            assert max(segment.hypotheses, key=lambda h: h.score_under(alpha)).tokens == best.tokens
            assert best.score == best.score_under(alpha)


def test_no_length_penalty_above_1_is_chosen_for_an_exact_search(translator, short_or_long):
    pairs = [Pair("", "a b c d e f g h")]
    short_or_long("a", "a b c d e f g h", beyond=1.5)
    assert chosen(translator, pairs)[0] == 1.6
    assert chosen(translator, pairs, stopping="exact")[0] == MAX_EXACT_ALPHA == 1.0


# Searches that are bounded --------------------------------------------------------------------------


class Endless(Translator):
    """For some lines it repeats a piece up to the limit. It counts the steps of all searches."""

    share = 1.0
    steps = 0

    def _search(self, units, scored, limits=None):
        for i, hypotheses in super()._search(units, scored, limits):
            unit, found = units[i], hypotheses
            limit = min(2 * len(unit) + 50, limits[i] if limits else 10**6)
            if hash(tuple(unit)) % 100 < 100 * self.share:
                found = [Hypothesis([unit[0]] * limit, 0.0, 0.0, limit)]
            type(self).steps += found[0].length
            yield i, found


@pytest.fixture
def endless(monkeypatch):
    """Sets the fraction of translations that do not end."""
    monkeypatch.setattr("seq2seq.training.validation.Translator", Endless)

    def set_share(share: float) -> None:
        Endless.share, Endless.steps = share, 0

    return set_share


def validated(translator: Translator, pairs: list[Pair]) -> Scores:
    return ValidationSet(pairs, translator.tokenizer, 256, 256, BLEU).run(
        translator.model, DecodingConfig(), lambda: None
    )


PAIRS = [Pair(line, line[::-1]) for line in reversal_lines(200, seed=6)]


def test_endless_translations_are_cut_off_early(translator, endless):
    """The time of a validation depends on the steps of its searches."""
    endless(1.0)
    scores = validated(translator, PAIRS)
    n_reference = sum(map(len, translator.tokenizer.encode([pair.tgt for pair in PAIRS])))
    n_source = sum(map(len, translator.tokenizer.encode([pair.src for pair in PAIRS])))
    assert scores.cut_off == 200
    assert Endless.steps <= 1.5 * n_reference + 10 * 200
    assert Endless.steps < 0.4 * (2 * n_source + 50 * 200)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.15])
def test_a_few_endless_translations_do_not_change_the_scores(translator, endless, monkeypatch, share):
    endless(share)
    scores = validated(translator, PAIRS)
    assert scores.cut_off == 0
    monkeypatch.setattr("seq2seq.training.validation.LENGTH_BOUND", (1.0, 10**6))
    assert validated(translator, PAIRS) == scores
    lengths = sorted(len(translator.tokenizer.encode([text])[0]) for text in scores.hypotheses)
    assert (lengths[-1] > 50) == (share > 0), "what does not end is searched to the limit"


def test_references_far_shorter_than_translations_change_no_score(translator, endless, monkeypatch):
    """If the reference is blank, a cut-off translation is searched again."""
    endless(0.0)
    monkeypatch.setattr("seq2seq.training.validation.LENGTH_BOUND", (1.5, 3))
    pairs = [*PAIRS[:50], Pair("a b c d e f g h a b c d e f g h a b c d e f g h", "")]
    scores = validated(translator, pairs)
    assert scores.cut_off == 0
    assert len(translator.tokenizer.encode([scores.hypotheses[-1]])[0]) > 3
    monkeypatch.setattr("seq2seq.training.validation.LENGTH_BOUND", (1.0, 10**6))
    assert validated(translator, pairs) == scores


@pytest.mark.parametrize("share", [0.25, 0.45])
def test_a_fifth_of_endless_translations_is_too_much(translator, endless, share):
    endless(share)
    assert validated(translator, PAIRS).cut_off == pytest.approx(200 * share, abs=20)


def test_the_reference_limits_the_length_of_its_translation(translator, endless):
    endless(1.0)
    pairs = [*PAIRS[:20], Pair("a b", "a b " * 100), *PAIRS[20:40]]
    scores = validated(translator, pairs)
    assert scores.cut_off == len(pairs) - 1, "one ends at the limit of every search, which is nearer"
    lengths = [len(ids) for ids in translator.tokenizer.encode(scores.hypotheses)]
    of_references = [len(ids) for ids in translator.tokenizer.encode([pair.tgt for pair in pairs])]
    for i in (*range(20), *range(21, 41)):
        assert lengths[i] <= 1.5 * of_references[i] + 10


def test_a_limit_of_the_user_does_not_count_as_endless(translator):
    validation = ValidationSet(PAIRS, translator.tokenizer, 256, 256, BLEU)
    assert validation.run(translator.model, DecodingConfig(max_length=2), lambda: None).cut_off == 0


def test_the_verdict_of_a_model_that_cannot_end_its_translations():
    validation = ValidationSet(PAIRS, None, 256, 256, BLEU)
    assert validation.verdict({"bleu": 40.0}, 90) == "not usable yet: 90 of 200 validation translations did not end"
    assert validation.verdict({"bleu": 40.0}, 0).startswith("BLEU 40.0")


@pytest.mark.parametrize(
    ("seconds", "n", "stopping"),
    [(math.inf, 200, "enough"), (1e6, 200, "enough"), (0.0, 50, "enough"), (0.0, 50, "exact")],
)
def test_the_time_limits_the_pairs_that_choose_the_length_penalty(translator, monkeypatch, seconds, n, stopping):
    """Never fewer than a sample with all lengths."""
    monkeypatch.setattr("seq2seq.training.validation.SAMPLE_PAIRS", {True: 64, False: 64})
    validation = ValidationSet(PAIRS, translator.tokenizer, 256, 256, BLEU)
    decoding = DecodingConfig(stopping=stopping)
    found = validation.choose_alpha(translator.model, decoding, "bleu", lambda: None, seconds)
    assert (found.alpha, found.n_pairs) == (1.0, n)
    assert found.bleu == pytest.approx(100, abs=3)


def test_a_sample_predicts_the_time_of_all_pairs():
    pairs = [Pair("a " * n, "b") for n in range(1, 1001)]
    sample = ValidationSet(pairs, None, 256, 256, BLEU).sample(torch.device("cpu"))
    assert 60 <= len(sample.pairs) <= 64
    assert sum(len(pair.src) for pair in sample.pairs) / len(sample.pairs) == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize(("max_length", "n"), [(256, 20), (2, 0)])
def test_a_loss_without_pairs_is_unknown(translator, max_length, n):
    pairs = [Pair(line, line[::-1]) for line in LINES]
    validation = ValidationSet(pairs, translator.tokenizer, max_length, 256, BLEU)
    scores = validation.run(translator.model, DecodingConfig(), lambda: None)
    assert validation.n_with_loss() == n
    assert (scores.loss is None) == (n == 0)
    assert scores.figures() == {"valid_loss": scores.loss, "bleu": pytest.approx(100), "chrf": 100}


def test_signatures(translator):
    signatures = ValidationSet([], translator.tokenizer, 256, 256, build_metric("bleu", "tha")).signatures()
    assert signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:char|")
    assert signatures["chrf"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|")
