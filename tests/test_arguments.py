"""Arguments of Python calls that are lines."""

import pytest

from seq2seq.translation.arguments import checked_lines


class Text(str):
    """A subclass of ``str``, as NumPy's strings are."""


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ([], []),
        (("a", "b"), ["a", "b"]),
        ((line for line in ["a", ""]), ["a", ""]),
        ({"a": 1, "b": 2}.keys(), ["a", "b"]),
        ([Text("a")], ["a"]),
        (["a\n", "b\r\n", "c\n\n", "d\re"], ["a", "b", "c\n", "d\re"]),
        (["ä", "\U0001f600", "\ufeff"], ["ä", "\U0001f600", "\ufeff"]),
    ],
)
def test_any_iterable_of_strings(given, lines):
    assert checked_lines(given) == lines


def test_an_open_file(tmp_path):
    (tmp_path / "in").write_bytes(b"a b\n\nc")
    with (tmp_path / "in").open(encoding="utf-8") as file:
        assert checked_lines(file) == ["a b", "", "c"]


def test_columns_of_numpy():
    import numpy as np

    assert checked_lines(np.array(["a", "bc"])) == ["a", "bc"]
    with pytest.raises(TypeError, match=r"line 1 .* is float nan"):
        checked_lines(np.array(["a", float("nan")], dtype=object))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ("Guten Morgen!", TypeError, r"a list of strings, not one str: pass \[text\]"),
        (b"Guten Morgen!", TypeError, "not one bytes"),
        (None, TypeError, "not NoneType"),
        (5, TypeError, "not int"),
        ({"Ich bin müde.": "x"}, TypeError, "not dict"),
        (["a", b"b"], TypeError, r"line 1 \(counted from 0\) is bytes b'b', not a string: decode it"),
        (["a", None], TypeError, "line 1 .* is NoneType None, not a string: pass ''"),
        ([float("nan")], TypeError, "line 0 .* is float nan"),
        ([["a"]], TypeError, "line 0 .* is list"),
        ([3], TypeError, "line 0 .* is int 3"),
        (
            ["a", "Ich bin \ud83d müde."],
            ValueError,
            r"line 1 \(counted from 0\) holds half of a surrogate pair, U\+D83D",
        ),
        (["\udcff"], ValueError, r"U\+DCFF: pass line.encode\('utf-16', 'surrogatepass'\)"),
    ],
)
def test_what_to_pass_instead(given, error, says):
    with pytest.raises(error, match=says):
        checked_lines(given)


def test_the_mend_for_half_a_pair_works():
    line = "a \ud83d b"
    assert checked_lines([line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")]) == ["a \ufffd b"]
