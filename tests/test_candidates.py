"""The best next pieces: groups and blocks find the same as sorting all pieces."""

import pytest
import torch
from torch import Tensor

from seq2seq.decoding import topk
from seq2seq.decoding.hypotheses import compact
from seq2seq.decoding.topk import grouped_topk
from seq2seq.model import TensorLogits
from seq2seq.tokenizer import BOS, EOS, PAD, UNK

N_CONTROL = 4
NEVER = [UNK, BOS, PAD]


class Given(TensorLogits):
    """Fixed logits that count the rows of each reading."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits.clone())
        self.blocks: list[int] = []

    def rows(self, start: int, stop: int) -> Tensor:
        self.blocks.append(stop - start)
        return super().rows(start, stop)


def best_piece(logits: Tensor, *, scored: bool) -> tuple[Tensor, Tensor | None]:
    return topk.best_piece(Given(logits), N_CONTROL, scored=scored)


def best_continuations(logits: Tensor, live: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    return topk.best_continuations(Given(logits), N_CONTROL, live, n)


def some_logits(rows: int, vocabulary: int, scale: float = 3.0, shift: float = 0.0) -> Tensor:
    logits = scale * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(rows + vocabulary)) + shift
    logits[:, NEVER] = logits.max() + 1  # the likeliest of all
    return logits


def log_probabilities(logits: Tensor) -> Tensor:
    log_probs = logits.double().log_softmax(-1)
    log_probs[:, NEVER] = -torch.inf
    return log_probs


# Fewer pieces than a group, whole groups, a last group that is not full; less than a block of rows, several.
SHAPES = [(1, 7), (3, 64), (5, 200), (64, 640), (1, 8000), (2, 8000), (150, 8000)]
# As in trained models; and so large or small that exp alone would overflow, or be zero.
SIZES = [(3.0, 0.0), (30.0, 300.0), (0.1, -400.0)]


@pytest.mark.parametrize(("rows", "vocabulary"), SHAPES)
@pytest.mark.parametrize(("scale", "shift"), SIZES)
def test_the_likeliest_piece(rows, vocabulary, scale, shift):
    logits = some_logits(rows, vocabulary, scale, shift)
    pieces, log_probs = best_piece(logits, scored=True)
    expected, places = log_probabilities(logits).max(dim=1)
    assert torch.equal(pieces, places)
    torch.testing.assert_close(log_probs.double(), expected, rtol=1e-5, atol=1e-4)
    pieces, nothing = best_piece(logits, scored=False)
    assert torch.equal(pieces, places)
    assert nothing is None


@pytest.mark.parametrize(("rows", "vocabulary"), SHAPES)
@pytest.mark.parametrize(("scale", "shift"), SIZES)
@pytest.mark.parametrize("beams", [1, 3, 4])
def test_the_likeliest_continuations(rows, vocabulary, scale, shift, beams):
    logits = some_logits(rows * beams, vocabulary, scale, shift)
    live = -torch.rand(rows, beams, generator=torch.Generator().manual_seed(1)).cumsum(1)
    n = 2 * beams
    scores, parents, pieces = best_continuations(logits, live, n)
    totals = (live.double().unsqueeze(2) + log_probabilities(logits).view(rows, beams, -1)).flatten(1)
    expected, places = totals.topk(min(n, totals.size(1)), dim=1)
    possible = expected > -torch.inf
    torch.testing.assert_close(
        scores.double()[:, : expected.size(1)][possible], expected[possible], rtol=1e-5, atol=1e-4
    )
    found = parents * vocabulary + pieces
    # Rounding decides the order of nearly equal scores.
    for row in range(rows):
        assert set(found[row, : int(possible[row].sum())].tolist()) == set(places[row, possible[row]].tolist())


@pytest.mark.parametrize(("scale", "shift"), SIZES)
@pytest.mark.parametrize("beams", [1, 3, 4])
def test_a_sentence_alone_gets_the_same_numbers(scale, shift, beams):
    """Bit by bit: a line must not depend on the number of others in its batch."""
    logits = some_logits(40 * beams, 640, scale, shift)
    live = -torch.rand(40, beams, generator=torch.Generator().manual_seed(1)).cumsum(1)
    together = best_continuations(logits, live, 2 * beams)
    alone = [best_continuations(logits[i * beams : (i + 1) * beams], live[i : i + 1], 2 * beams) for i in range(40)]
    for found, of_each in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(found, torch.cat(of_each))
    together, _ = best_piece(logits, scored=False)
    assert torch.equal(together, torch.cat([best_piece(row, scored=False)[0] for row in logits.split(1)]))


@pytest.mark.parametrize("beams", [1, 3, 4, 200])
@pytest.mark.parametrize("rows", [1, 31, 33, 129])
def test_blocks_hold_whole_sentences(rows, beams):
    logits = Given(torch.zeros(rows * beams, 7))
    topk.best_continuations(logits, N_CONTROL, torch.zeros(rows, beams), 2)
    assert sum(logits.blocks) == rows * beams
    assert max(logits.blocks) <= max(128, beams)
    assert all(block % beams == 0 for block in logits.blocks)


@pytest.mark.parametrize("n", [1, 5, 64])
@pytest.mark.parametrize("columns", [7, 64, 200, 1024])
def test_grouped_topk_finds_what_topk_finds(columns, n):
    values = torch.randn(30, columns, generator=torch.Generator().manual_seed(columns))
    k = min(n, columns)
    for found, expected in zip(grouped_topk(values, n), values.topk(k, dim=1), strict=True):
        assert torch.equal(found[:, :k], expected)


def test_all_of_the_best_may_be_neighbours():
    """In one group, or each in another group."""
    logits = torch.zeros(1, 1000)
    logits[0, 128:134] = torch.arange(6.0, 0.0, -1.0)
    assert best_continuations(logits, torch.zeros(1, 1), 6)[2].tolist() == [[128, 129, 130, 131, 132, 133]]
    logits = torch.zeros(1, 1000)
    logits[0, 64:1000:150] = torch.arange(7.0, 0.0, -1.0)
    assert best_continuations(logits, torch.zeros(1, 1), 4)[2].tolist() == [[64, 214, 364, 514]]


def test_impossible_pieces_are_eos():
    """If more pieces are requested than exist, or if the model is damaged. No piece is outside the vocabulary."""
    scores, _, pieces = best_continuations(torch.zeros(2, 7), torch.zeros(2, 1), 8)
    assert (scores > -torch.inf).sum(dim=1).tolist() == [4, 4]
    assert pieces[scores == -torch.inf].eq(EOS).all()
    damaged = torch.full((2, 100), torch.nan)
    assert best_continuations(damaged, torch.zeros(2, 1), 4)[2].eq(EOS).all()
    for nothing in (damaged, torch.full((9, 128), torch.nan)):  # few rows and more
        for scored in (True, False):
            assert best_piece(nothing, scored=scored)[0].eq(EOS).all()
    assert best_piece(damaged, scored=True)[1].eq(-torch.inf).all()
    padding = torch.full((9, 128), -1e30)  # every row holds only pieces that fill up the vocabulary
    padding[:, EOS] *= 2
    assert best_piece(padding, scored=False)[0].eq(EOS).all()


@pytest.mark.parametrize(
    ("staying", "rows"),
    [
        ([True, True], [0, 1]),
        ([False, False], []),
        ([False, True, True, True], [3, 1, 2]),
        ([True, False, True, False, True], [0, 4, 2]),
        ([False, False, True], [2]),
        ([True, True, False, False], [0, 1]),
    ],
)
def test_gaps_are_filled_by_the_last_rows(staying, rows):
    assert compact(staying) == rows
