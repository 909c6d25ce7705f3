"""Likelihood of given translations: it is the search's own, for every architecture; which pairs are not scored."""

import math
from dataclasses import replace

import pytest
import torch
from reversal import reversal_lines
from test_waist import every_architecture, tiny

from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis
from seq2seq.model import build_decoder
from seq2seq.tokenizer import EOS, N_CONTROL
from seq2seq.translation import LikelihoodCounts, Translator, likelihood
from seq2seq.translation.batches import SearchJob, max_output, search_batches
from seq2seq.translation.likelihood import TokenizedPair, likelihoods

LINES = reversal_lines(40, seed=2)
PAIRS = [(line, line[::-1]) for line in LINES]
SOURCES = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15], [16], [17, 18, 19, 20, 21, 22, 23, 24]]


@pytest.fixture(scope="module")
def translator(reverser):
    return Translator.load(reverser, device="cpu")


def as_pair(source: list[int], hypothesis: Hypothesis) -> TokenizedPair:
    return TokenizedPair(source, hypothesis.tokens if hypothesis.is_cut_off else [*hypothesis.tokens, EOS])


# The search's own score -----------------------------------------------------------------------------


@every_architecture
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.6])
@pytest.mark.parametrize("max_length", [None, 2], ids=["ended", "cut off"])
def test_a_hypothesis_has_the_score_of_its_search(name, beams, alpha, max_length):
    model = tiny(name)
    decoder = build_decoder(model, None, greedy=beams == 1)
    config = DecodingConfig(beam_size=beams, n_best=beams, length_penalty=alpha, max_length=max_length)
    limits = [max_output(config, len(source), None) for source in SOURCES]
    job = SearchJob(config, torch.device("cpu"), limits, scored=True, n_control=N_CONTROL)
    found = dict(search_batches(job, SOURCES, decoder, iter([[0, 1, 2, 3, 4]])))
    hypotheses = [(SOURCES[i], h) for i in range(5) for h in found[i]]
    if max_length and beams > 1:
        assert any(h.is_cut_off for _, h in hypotheses)
    scored = likelihoods(model, [as_pair(*one) for one in hypotheses])
    for (_, hypothesis), one in zip(hypotheses, scored, strict=True):
        assert one.log_probability == pytest.approx(hypothesis.log_probability, abs=1e-5, rel=1e-6)
        assert one.score_under(alpha) == pytest.approx(hypothesis.score, abs=1e-5, rel=1e-6)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_trained_model_scores_its_translations_as_its_search_does(reverser, beams):
    translator = Translator.load(reverser, device="cpu", decoding={"beam_size": beams, "precision": "fp32"})
    searched = translator.hypotheses(LINES)
    texts = [best.text for best in translator._translations(searched, 0)]
    scored = translator.score(zip(LINES, texts, strict=True))
    for line, one in zip(searched, scored, strict=True):
        best = line[0].hypotheses[0]
        if one.tokens[:-1] == best.tokens:  # text may be tokenized in another way than the model did
            assert one.log_probability == pytest.approx(best.log_probability, abs=1e-5)
            assert one.score_under(translator.config.alpha) == pytest.approx(best.score, abs=1e-5)
    assert sum(one.tokens[:-1] == line[0].hypotheses[0].tokens for line, one in zip(searched, scored, strict=True)) > 30


# Batches --------------------------------------------------------------------------------------------


def test_neighbours_change_nothing(translator):
    alone = [one for pair in PAIRS for one in translator.score([pair])]
    together = translator.score(PAIRS)
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    for one, other in zip(alone, together, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


@every_architecture
def test_logits_are_computed_in_blocks(name, monkeypatch):
    """And the result does not depend on their size."""
    model, sizes = tiny(name), []
    pairs = [TokenizedPair(source, [20, 21, 22, EOS]) for source in SOURCES]
    whole = likelihoods(model, pairs)
    model.output.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    monkeypatch.setattr(likelihood, "LIKELIHOOD_ROWS", {True: 3, False: 3})
    parts = likelihoods(model, pairs)
    assert max(sizes) == 3
    for one, other in zip(whole, parts, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


def test_workers_change_nothing(reverser, translator):
    several = Translator.load(reverser, device="cpu", workers=2)
    for one, other in zip(translator.score(PAIRS), several.score(PAIRS), strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


def test_bf16_is_close():
    model = tiny("transformer")
    pairs = [TokenizedPair(source, [20, 21, 22, EOS]) for source in SOURCES]
    exact = likelihoods(model, pairs)
    rounded = likelihoods(model.to(torch.bfloat16), pairs)
    for one, other in zip(exact, rounded, strict=True):
        assert other.log_probability == pytest.approx(one.log_probability, rel=0.05)
        as_bf16 = torch.tensor(other.log_probabilities).bfloat16().tolist()
        assert other.log_probabilities != as_bf16, "the softmax is in fp32"


# Pairs that are not scored --------------------------------------------------------------------------


def test_blank_and_long_pairs_are_counted_not_scored(translator):
    counts = LikelihoodCounts()
    long = "a " * translator.max_src_length
    pairs = [("a b", "b a"), ("", "b"), ("a", " \t"), ("", ""), (long, "a"), ("a", long * 20), ("c", "c")]
    found = translator.score(pairs, counts=counts)
    assert [one is None for one in found] == [False, True, True, True, True, True, False]
    assert (counts.pairs, counts.blank, counts.too_long) == (2, 3, 2)
    assert counts.tokens == sum(len(one.tokens) for one in found if one)
    mean = sum(one.log_probability for one in found if one) / counts.tokens
    assert counts.perplexity == pytest.approx(math.exp(-mean))
    translator.score(pairs, counts=counts)
    assert (counts.pairs, counts.blank) == (4, 6), "an object may count several lists"


def test_nothing_has_no_perplexity(translator):
    counts = LikelihoodCounts()
    assert translator.score([], counts=counts) == []
    assert counts.perplexity is None
    assert replace(counts, tokens=1, log_probability=-math.inf).perplexity is None
    assert replace(counts, tokens=1, log_probability=-1e9).perplexity is None


@pytest.mark.parametrize("pairs", [["ab", "cd"], [("a",)], [("a", "b", "c")], [("a", None)], [5]])
def test_what_is_not_a_pair_is_refused(translator, pairs):
    with pytest.raises(TypeError):
        translator.score(pairs)
