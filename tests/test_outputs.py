"""Faults of single translations: what is claimed, and what is not certain enough."""

import pytest

from seq2seq.evaluation.outputs import faults, is_looping, lost_numbers


@pytest.mark.parametrize(
    ("text", "unspaced", "loops"),
    [
        ("the man the man the man", False, True),
        ("he saw the old man and the old man and the old man and left", False, True),
        ("run run run", False, True),
        ("run run", False, False),
        ("the man the man the men", False, False),
        ("- - - - - -", False, False),
        ("1 1 1 1", False, False),
        ("hahahaha", False, False),
        ("我们去我们去我们去公园", True, True),
        ("的的的的的的的", True, True),
        ("哈哈哈", True, False),
        ("……………………", True, False),
        ("", False, False),
        (" ".join(f"w{i}" for i in range(50)) + " x y x y x y", False, True),
        (" ".join([f"w{i}" for i in range(50)] * 3), False, True),
        (" ".join([f"w{i}" for i in range(51)] * 3), False, False),
    ],
)
def test_loops(text, unspaced, loops):
    assert is_looping(text, unspaced=unspaced) == loops


def test_a_loop_of_the_reference_is_no_fault():
    assert faults("very very very good", "very very very good", "x") == []
    assert faults("very very very good", "very good", "x") == ["looping"]


@pytest.mark.parametrize(
    ("source", "reference", "hypothesis", "lost"),
    [
        ("im Jahr 1984", "in 1984", "in the year", ["1984"]),
        ("im Jahr 1984", "in 1984", "in 1984", []),
        ("im Jahr 1984", "in that year", "in the year", []),  # the reference leaves it out as well
        ("1.984 Menschen", "1,984 people", "1984 people", []),
        ("1 984 Menschen", "1,984 people", "1.984 people", []),
        ("1\u202f984 Menschen", "1,984 people", "1'984 people", []),
        ("१९८४ में", "in 1984", "in 1984", []),
        ("in 1984", "१९८४ में", "१९८४ में", []),
        ("१९८४ में", "in 1984", "in 1948", ["1984"]),
        ("3,140", "3.14", "3.14", []),
        ("3,140", "3.14", "x", ["314"]),
        ("12 Hunde", "12 dogs", "twelve dogs", []),
        ("1000 Hunde", "1,000 dogs", "a thousand dogs", []),
        ("250 Hunde", "250 dogs", "two hundred and fifty dogs", []),
        ("von 1984 bis 1989", "from 1984 to 1989", "from 1984 to then", ["1989"]),
        ("1984 und 1984", "1984 and 1984", "x", ["1984"]),
        ("am 03.04.2021", "on April 3, 2021", "on April 3, 2021", []),
        ("²³⁴", "²³⁴", "x", []),
    ],
)
def test_lost_numbers(source, reference, hypothesis, lost):
    assert lost_numbers(hypothesis, reference, source) == lost


@pytest.mark.parametrize(
    ("hypothesis", "reference", "source", "found"),
    [
        ("", "a", "b", ["empty"]),
        ("\u3000", "a", "b", ["empty"]),
        ("ein Hund", "a dog", "ein Hund", ["copied"]),
        ("Berlin", "Berlin", "Berlin", []),
        ("Hund 1984 1984 x", "dog 1234", "Hund 1234", ["lost_numbers"]),
        ("Hund", "dog 1234", None, []),
    ],
)
def test_faults(hypothesis, reference, source, found):
    assert faults(hypothesis, reference, source) == found
