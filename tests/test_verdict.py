"""Verdicts on scores in plain words: which score decides, its bounds, and obvious faults of translations."""

import pytest

from seq2seq.evaluation import ROUGH_GUIDE, bleu_says_little, build_metric
from seq2seq.evaluation.verdict import VERDICTS, failures, verdict

GOOD = {"bleu": 34.2, "chrf": 55.0, "ter": 50.0}


def judge(scores, row="en", n=1000, poor=""):
    return verdict(scores, row, n_sentences=n, poor_bleu=poor)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0.0, "BLEU 0.0: not usable yet"),
        (2.04, "BLEU 2.0: not usable yet"),
        (9.94, "BLEU 9.9: not usable yet"),
        (9.96, "BLEU 10.0: hard to get the gist"),  # as it is printed
        (19.9, "BLEU 19.9: hard to get the gist"),
        (20, "BLEU 20.0: the gist is clear, with many errors"),
        (34.2, "BLEU 34.2: understandable to good"),
        (42.8, "BLEU 42.8: good"),
        (55, "BLEU 55.0: very good: fluent and adequate"),
        (60, "BLEU 60.0: very close to the references"),
        (100.0, "BLEU 100.0: very close to the references"),
    ],
)
def test_bleu_in_words(value, says):
    assert judge({"bleu": value, "chrf": 0.0, "ter": 0.0}) == says


@pytest.mark.parametrize(
    ("scores", "row", "poor", "says"),
    [
        ({"chrf": 25.3}, "de", "", "chrF 25.3: not usable yet"),
        ({"chrf": 61.8}, "de", "", "chrF 61.8: good"),
        ({"chrf": 97.0}, "ab", "", "chrF 97.0: very close to the references"),
        (GOOD, "de", "0 of 4 references", "chrF 55.0: understandable to good"),
        (GOOD, "th", "th is written without spaces", "chrF 55.0: understandable to good"),
        ({"bleu": 34.2}, "th", "th is written without spaces", ""),
        ({"ter": 12.0}, "en", "", ""),
        ({"chrf++": 50.0}, "en", "", ""),
        (GOOD, "zh", "", "BLEU 34.2: understandable to good"),
        (GOOD, "ja", "BLEU is computed on characters", ""),  # a character is as long as a word
        ({"chrf": 30.0}, "ko", "", ""),
        ({}, "en", "", ""),
    ],
)
def test_the_score_that_decides(scores, row, poor, says):
    assert judge(scores, row, poor=poor) == says


@pytest.mark.parametrize(
    ("n", "says"),
    [(1, " (1 sentence: too few to be sure)"), (199, " (199 sentences: too few to be sure)"), (200, ""), (3000, "")],
)
def test_few_sentences_are_reported(n, says):
    assert judge(GOOD, n=n) == f"BLEU 34.2: understandable to good{says}"


def test_a_higher_score_never_has_a_worse_verdict():
    assert VERDICTS[-1][:2] == (0, 0)
    assert [sorted(bounds, reverse=True) for bounds in zip(*(row[:2] for row in VERDICTS), strict=True)] == [
        [row[0] for row in VERDICTS],
        [row[1] for row in VERDICTS],
    ]
    assert all(word in ROUGH_GUIDE for word in ("rough guide", "languages", "one reference", "repetitive"))


@pytest.mark.parametrize(
    ("row", "references", "says"),
    [
        ("en", ["The cat sat on the mat."], ""),
        ("en", ["open", "save as"], "0 of 2 validation references have the four tokens that BLEU compares"),
        ("th", ["พรุ่งนี้เราจะไปกรุงเทพฯ"], "CODE is written without spaces"),
        ("zh", ["我们明天去北京。"], ""),
    ],
)
def test_if_bleu_says_little(row, references, says):
    found = bleu_says_little(build_metric("bleu", row), row, references, "CODE")
    assert found.startswith(says)
    assert bool(found) == bool(says)


SOURCES = ["ein Hund", "eine Katze", "ein Haus", "ein Baum"]
REFERENCES = ["a dog", "a cat", "a house", "a tree"]


@pytest.mark.parametrize(
    ("hypotheses", "references", "sources", "says"),
    [
        (REFERENCES, REFERENCES, SOURCES, []),
        (["", " ", "\u3000", "a tree"], REFERENCES, SOURCES, ["3 of 4 translations are blank"]),
        (["", "", "a house", "a tree"], REFERENCES, SOURCES, []),
        (["the the"] * 3 + ["a tree"], REFERENCES, SOURCES, ["3 of 4 translations are the same, 'the the'"]),
        (["x" * 500] * 4, REFERENCES, SOURCES, [f"4 of 4 translations are the same, '{'x' * 60}'"]),
        (["ok"] * 4, ["yes"] * 4, SOURCES, []),  # the references are all the same, too
        (SOURCES, REFERENCES, SOURCES, ["4 of 4 translations are copies of the source"]),
        (SOURCES, REFERENCES, None, []),
        (SOURCES, SOURCES, SOURCES, []),  # names and numbers are the same in both languages
        (["ein Hund", "eine Katze", "a house", "a tree"], REFERENCES, SOURCES, []),
        (["x"], ["a dog"], ["ein Hund"], []),
        ([""], ["a dog"], ["ein Hund"], ["1 of 1 translation is blank"]),
    ],
)
def test_obvious_faults_are_reported(hypotheses, references, sources, says):
    found = failures(hypotheses, references, sources)
    assert [text.partition(":")[0] for text in found] == says
