"""The repetition guard: a hypothesis that repeats itself gives way to one that does not.

A loop is an n-gram of pieces that stands three times in a row, of any length n. Beam search with a length penalty may
rank a loop first, because each repetition is nearly certain.
"""

import dataclasses
from collections.abc import Callable, Sequence

from seq2seq.decoding.hypotheses import Hypothesis

_TIMES = 3


def has_loop(pieces: Sequence[int]) -> bool:
    """Whether an n-gram of pieces stands three times in a row.

    >>> has_loop([5, 6, 5, 6, 5, 6]), has_loop([5, 6, 5, 6, 7, 5, 6])
    (True, False)
    """
    # Three times an n-gram are at least 2n pieces that occurred before, so most texts need no look at their order.
    longest = (len(pieces) - len(set(pieces))) // (_TIMES - 1)
    return any(_repeats(pieces, n) for n in range(1, longest + 1))


def _repeats(pieces: Sequence[int], n: int) -> bool:
    """Whether an n-gram stands three times in a row."""
    run = 0
    for one, later in zip(pieces, pieces[n:], strict=False):
        run = run + 1 if one == later else 0
        if run == (_TIMES - 1) * n:
            return True
    return False


def guarded(ranked: list[Hypothesis], read_src: Callable[[], Sequence[int]]) -> list[Hypothesis]:
    """The hypotheses of a sentence; if the best one has a loop, the best one without a loop comes first.

    A source that has a loop itself, as in "ha ha ha" or a long number, is translated as it is.

    Args:
        ranked: best first.
        read_src: returns the pieces of the source; called only if there is a loop.
    """
    if len(ranked) < 2 or not has_loop(ranked[0].tokens) or has_loop(read_src()):
        return ranked
    for i, hypothesis in enumerate(ranked):
        if hypothesis.tokens and not has_loop(hypothesis.tokens):
            return [dataclasses.replace(hypothesis, avoided_loop=True), *ranked[:i], *ranked[i + 1 :]]
    return ranked
