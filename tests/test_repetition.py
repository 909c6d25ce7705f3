"""The repetition guard: what a loop is, which hypothesis gives way, and what stays as it is."""

import random

import pytest
import torch
from reversal import reversal_lines

from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis, SourceBatch, guarded, has_loop, search
from seq2seq.decoding.beam import BeamSearch
from seq2seq.tokenizer import EOS, PAD
from seq2seq.translation import Translator, translate_file
from seq2seq.translation.events import Completed


def brute_force(pieces: list[int]) -> bool:
    return any(
        pieces[i : i + n] == pieces[i + n : i + 2 * n] == pieces[i + 2 * n : i + 3 * n]
        for n in range(1, len(pieces) // 3 + 1)
        for i in range(len(pieces) - 3 * n + 1)
    )


@pytest.mark.parametrize(
    ("pieces", "loops"),
    [
        ([], False), ([5], False), ([5, 5], False), ([5, 5, 5], True), ([1, 5, 5, 5, 2], True), ([5, 5, 6, 5], False),
        ([5, 6, 5, 6, 5], False), ([5, 6, 5, 6, 5, 6], True), ([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], True),
        ([1, 2, 3, 1, 2, 3, 9, 1, 2, 3], False), ([1, 1, 2, 1, 1, 2, 1, 1, 2], True), ([1, 1, 2, 2, 3, 3], False),
    ],
)  # fmt: skip
def test_a_loop_is_an_n_gram_three_times_in_a_row(pieces, loops):
    assert has_loop(pieces) == brute_force(pieces) == loops


def test_loops_are_found_in_any_text():
    draw = random.Random(1)
    found = 0
    for _ in range(3000):
        pieces = draw.choices(range(draw.randint(1, 6)), k=draw.randint(0, 14))
        assert has_loop(pieces) == brute_force(pieces), pieces
        found += has_loop(pieces)
    assert 500 < found < 2500


def ranked(*outputs: list[int]) -> list[Hypothesis]:
    return [Hypothesis.from_output([*output, EOS], -1.0 - i, 0.0) for i, output in enumerate(outputs)]


LOOP, LOOP_2, FINE, FINE_2 = [5, 5, 5], [5, 6, 5, 6, 5, 6], [5, 6, 7], [8]


@pytest.mark.parametrize(
    ("outputs", "order"),
    [
        ([LOOP, FINE, FINE_2], [FINE, LOOP, FINE_2]),
        ([LOOP, LOOP_2, FINE], [FINE, LOOP, LOOP_2]),
        ([FINE, LOOP, FINE_2], [FINE, LOOP, FINE_2]),
        ([LOOP, LOOP_2], [LOOP, LOOP_2]),
        ([LOOP, [], FINE], [FINE, LOOP, []]),
        ([LOOP, []], [LOOP, []]),
        ([LOOP], [LOOP]),
        ([], []),
    ],
    ids=str,
)  # fmt: skip
def test_the_next_one_without_a_loop_comes_first(outputs, order):
    found = guarded(ranked(*outputs), lambda: [1, 2])
    assert [h.tokens for h in found] == order
    assert [h.avoided_loop for h in found] == [i == 0 and order != outputs for i in range(len(order))]


def test_a_source_that_repeats_itself_is_translated_as_it_is():
    outputs = ranked(LOOP, FINE)
    assert guarded(outputs, lambda: [9, 4, 4, 4]) == outputs


# In beam search -------------------------------------------------------------------------------------


class Looping:
    """A decoder of one sentence whose best output is 5 5 5, and the next best 6."""

    def start(self, src, src_mask):
        return [()]

    def step(self, tokens, states):
        rows = tokens[0].size(0)
        outputs = states[0]
        logits = torch.full((rows, 8), -50.0)
        for row, output in enumerate(outputs):
            best = {(): {5: 0.0, 6: -1.0}, (5,): {5: 0.0}, (5, 5): {5: 0.0}, (5, 5, 5): {EOS: 0.0}, (6,): {EOS: 0.0}}
            for piece, value in best.get(output, {EOS: 0.0}).items():
                logits[row, piece] = value
        self.logits, self.outputs, self.tokens = logits, outputs, tokens[0]
        return [Rows(logits)], [outputs]

    def reorder(self, state, sentences, parents):
        if not len(sentences):
            return []
        return [(*state[p], None) for p in parents[0].tolist()]


class Rows:
    def __init__(self, logits):
        self.logits, self.device = logits, logits.device

    def __len__(self):
        return len(self.logits)

    def rows(self, start, stop):
        return self.logits[start:stop].clone()

    def best(self):
        return None

    def pieces(self, columns):
        return columns


class Remembering(Looping):
    """The same; a beam's own output is read from its newest token."""

    def step(self, tokens, states):
        known = [
            (*output[:-1], token) if output and output[-1] is None else output
            for output, token in zip(states[0], tokens[0].tolist(), strict=True)
        ]
        return super().step(tokens, [known])


def searched(src: list[int], **settings: object) -> list[Hypothesis]:
    config = DecodingConfig(beam_size=3, length_penalty=0.0, **settings)
    batch = SourceBatch(torch.tensor([[*src, EOS, PAD, PAD, PAD]]), torch.tensor([[True] * 3 + [False] * 3]), [9], [0])
    ((_, found),) = search(Remembering(), [batch], config, n_control=4)
    return found


def test_beam_search_avoids_a_loop():
    (best,) = searched([4, 7])
    assert (best.tokens, best.avoided_loop) == ([6], True)
    assert best.log_probability < searched([4, 7], repetition_guard=False)[0].log_probability


def test_without_the_guard_beam_search_is_as_it_was():
    (best,) = searched([4, 7], repetition_guard=False)
    assert (best.tokens, best.avoided_loop) == ([5, 5, 5], False)


def test_padding_of_a_source_is_no_loop():
    """The source ends in three symbols of padding."""
    assert searched([4, 7])[0].avoided_loop


def test_the_n_best_keep_their_order_otherwise():
    with_guard, without = searched([4, 7], n_best=3), searched([4, 7], n_best=3, repetition_guard=False)
    assert [h.tokens for h in without][:2] == [[5, 5, 5], [6]]
    assert [h.tokens for h in with_guard] == [[6], [5, 5, 5], without[2].tokens]


# Translating ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beams", [1, 4])
def test_translations_without_loops_are_the_same(reverser, beams):
    lines = [line for line in reversal_lines(60, seed=2) if len(set(line)) > 4]
    on, off = (
        Translator.load(
            reverser, device="cpu", decoding={"beam_size": beams, "n_best": beams, "repetition_guard": guard}
        )
        for guard in (True, False)
    )
    assert on.n_best(lines) == off.n_best(lines)


@pytest.fixture
def all_avoid(monkeypatch):
    """Every best hypothesis has avoided a loop."""
    real = BeamSearch.advance

    def advance(self, step):
        return [
            (name, [Hypothesis(h.tokens, h.log_probability, h.score, h.length, True) for h in best])
            for name, best in real(self, step)
        ]

    monkeypatch.setattr(BeamSearch, "advance", advance)


def test_lines_are_counted(reverser, all_avoid, tmp_path):
    (tmp_path / "in").write_text("a b c\n\nd e f\n")
    translator = Translator.load(reverser, device="cpu", workers=1)
    *_, done = translate_file(translator, str(tmp_path / "in"), str(tmp_path / "out"))
    assert isinstance(done, Completed)
    assert done.n_avoided_loops == 2


def test_their_number_is_said(cli, reverser, all_avoid, tmp_path):
    said = "2 lines: a translation that repeated itself gave way to the next best one"
    assert said in cli("translate", reverser, "a b c", "d e f", "--workers", 1).err
    (tmp_path / "c.ab").write_text("a b c\nd e f\n")
    (tmp_path / "c.ba").write_text("c b a\nf e d\n")
    assert said in cli("eval", reverser, tmp_path / "c", "--workers", 1).err
