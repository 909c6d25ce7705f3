"""Search: properties of every strategy, beam search against exhaustive search, and scores of a real model."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from seq2seq.config import DecodingConfig, ModelConfig
from seq2seq.decoding import STRATEGIES, Hypothesis, SourceBatch, length_penalty, scheduler, search
from seq2seq.model import Logits, Seq2SeqModel, TensorLogits, build_decoder, build_model, padding_mask
from seq2seq.tokenizer import BOS, EOS, PAD, UNK

V = 8
PIECES = [4, 5, 6, 7]
Row = tuple[int, ...]
NextLogits = Callable[[Row, Row], Sequence[float]]
"""Source pieces and target pieces so far -> logits of the next piece. [V]"""


State = list[list[tuple[Row, Row]]]
"""For each sentence and beam the source and the target so far."""


@dataclass
class Toy:
    """A decoder whose logits come from a function."""

    next_logits: NextLogits
    rows_read: int = 0
    steps: int = 0
    n_running: list[int] = field(default_factory=list)
    """Sentences that took part in each step."""

    def start(self, src: Tensor, src_mask: Tensor | None) -> State:
        real = torch.ones_like(src, dtype=torch.bool) if src_mask is None else src_mask
        return [[(tuple(row[keep].tolist()), ())] for row, keep in zip(src, real, strict=True)]

    def step(self, tokens: Sequence[Tensor], states: Sequence[State]) -> tuple[list[Logits], list[State]]:
        self.steps += 1
        self.n_running.append(sum(len(state) for state in states))
        read = []
        for newest, state in zip(tokens, states, strict=True):
            pieces = newest.view(len(state), -1).tolist()
            read.append(
                [
                    [(src, (*past, piece)) for (src, past), piece in zip(beams, row, strict=True)]
                    for beams, row in zip(state, pieces, strict=True)
                ]
            )
        rows = [row for state in read for beams in state for row in beams]
        self.rows_read += len(rows)
        assert all(past[0] == BOS for _, past in rows)
        logits = torch.tensor([self.next_logits(src, past[1:]) for src, past in rows])
        # One object for neighbours with the same number of beams.
        n_rows = [
            sum(len(state) * n_beams for state in alike)
            for n_beams, alike in itertools.groupby(read, key=lambda state: len(state[0]))
        ]
        return [TensorLogits(of_some) for of_some in logits.split(n_rows)], read

    def reorder(self, state: State, sentences: Sequence[int], parents: Tensor) -> State:
        assert len(sentences) == len(parents)
        return [[state[s][p] for p in row] for s, row in zip(sentences, parents.tolist(), strict=True)]


def by_chance(src: Row, past: Row) -> list[float]:
    """Random logits that depend on the source and on the tokens so far."""
    seed = hash((src, past)) & 0x7FFFFFFF
    return (2 * torch.randn(V, generator=torch.Generator().manual_seed(seed))).tolist()


def endless(src: Row, past: Row) -> list[float]:
    """EOS is never likely."""
    logits = by_chance(src, past)
    logits[EOS] = -1e9
    return logits


def copying(src: Row, past: Row) -> list[float]:
    """Copies the source, then EOS, each with a probability of about 0.9; control symbols are likelier than all."""
    wanted = [*src, *[EOS] * (V + 40)][len(past)]
    return [30.0 if piece in (UNK, BOS, PAD) else 4.0 if piece == wanted else 0.0 for piece in range(V)]


def from_table(table: dict[int, dict[int, float]]) -> NextLogits:
    """Probabilities of the next piece given the last one (BOS at first), whatever the source."""

    def next_logits(src: Row, past: Row) -> list[float]:
        row = table[past[-1] if past else BOS]
        return [math.log(row[piece]) if piece in row else -1e9 for piece in range(V)]

    return next_logits


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor | None]:
    src = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)
    return src, padding_mask(src, PAD)


# Long and short, and the same one twice.
SOURCES = [[4, 5, 6, 7, 4, 5, EOS], [6, EOS], [7, 7, 5, EOS], [EOS], [6, EOS]]
LIMITS = [9, 3, 1, 12, 5]


def batch_of(sources: list[list[int]], limits: list[int], first: int = 0) -> SourceBatch:
    return SourceBatch(*padded(sources), limits, range(first, first + len(sources)))


def ask(
    strategy: str,
    model: Toy | Seq2SeqModel,
    sources: list[list[int]],
    limits: list[int],
    n_control: int = 4,
    **settings: object,
) -> list[list[Hypothesis]]:
    with torch.inference_mode():
        decoder = model if isinstance(model, Toy) else build_decoder(model)
        config = DecodingConfig(**({"beam_size": 3, "repetition_guard": False} | settings))  # toys like loops
        found = dict(search(decoder, [batch_of(sources, limits)], config, n_control=n_control, strategy=strategy))
    assert sorted(found) == list(range(len(sources)))
    return [found[i] for i in range(len(sources))]


every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)


@every_strategy
def test_search_ends_at_eos_and_does_not_return_it(strategy):
    found = ask(strategy, Toy(copying), SOURCES, [50] * 5)
    assert [best[0].tokens for best in found] == [source[:-1] for source in SOURCES]
    # Each token and EOS has the same probability; control symbols have most of it.
    each = 4.0 - torch.logsumexp(torch.tensor(copying((), ())), 0).item()
    for source, best in zip(SOURCES, found, strict=True):
        assert best[0].log_probability == pytest.approx(each * len(source), rel=1e-5)
        assert best[0].score == pytest.approx(each, rel=1e-5)


@every_strategy
@pytest.mark.parametrize("stopping", ["enough", "exact"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_endless_output_is_cut_off_at_its_limit(strategy, stopping, alpha):
    model = Toy(endless)
    found = ask(strategy, model, SOURCES, LIMITS, stopping=stopping, length_penalty=alpha)
    assert [len(best[0].tokens) for best in found] == LIMITS
    # A finished sentence is not searched further: at most three beams, one at its first step.
    beams = 1 if strategy == "greedy" else 3
    assert model.rows_read <= sum(1 + beams * (limit - 1) for limit in LIMITS)


@every_strategy
@pytest.mark.parametrize("limit", [1, 2, 7])
def test_limits_include_eos(strategy, limit):
    for best in ask(strategy, Toy(by_chance), SOURCES, [limit] * 5, length_penalty=3.0):
        assert all(len(h.tokens) <= limit for h in best)
    cut = ask(strategy, Toy(copying), SOURCES[:1], [limit])[0][0]
    assert cut.tokens == SOURCES[0][:limit][:6]


@every_strategy
def test_a_sentence_does_not_depend_on_its_neighbours(strategy):
    settings = {"n_best": 3, "length_penalty": 0.6}
    together = ask(strategy, Toy(by_chance), SOURCES, LIMITS, **settings)
    alone = [ask(strategy, Toy(by_chance), [s], [n], **settings)[0] for s, n in zip(SOURCES, LIMITS, strict=True)]
    assert together == alone
    assert len({tuple(best[0].tokens) for best in together}) > 2
    backwards = ask(strategy, Toy(by_chance), SOURCES[::-1], LIMITS[::-1], **settings)
    assert backwards[::-1] == together


def liking_control_symbols(src: Row, past: Row) -> list[float]:
    return [50.0 if piece in (UNK, BOS, PAD) else logit for piece, logit in enumerate(by_chance(src, past))]


@every_strategy
def test_control_symbols_are_never_output(strategy):
    """Even if they are likeliest. Their probability is not divided among the others."""
    found = ask(strategy, Toy(liking_control_symbols), SOURCES, LIMITS, n_best=3)
    assert {token for best in found for h in best for token in h.tokens} <= set(PIECES)
    assert all(h.log_probability < -40 for best in found for h in best)


@every_strategy
def test_tags_are_never_output(strategy):
    """In a vocabulary with ids reserved for them after the control symbols."""
    n_control = PIECES[1]
    assert n_control > 4
    found = ask(strategy, Toy(by_chance), SOURCES, LIMITS, n_control, n_best=3)
    assert {token for best in found for h in best for token in h.tokens} == set(PIECES[1:])
    assert PIECES[0] in {t for best in ask(strategy, Toy(by_chance), SOURCES, LIMITS) for h in best for t in h.tokens}


@every_strategy
@pytest.mark.parametrize("alpha", [None, 0.0, 0.6, 2.0])
def test_scores_are_log_probability_by_length_to_the_alpha(strategy, alpha):
    """The length includes EOS, which cut-off outputs do not have. If alpha is unset, it is 1."""
    found = ask(strategy, Toy(by_chance), SOURCES, LIMITS, length_penalty=alpha, n_best=3)
    for best, limit in zip(found, LIMITS, strict=True):
        for h in best:
            length = min(len(h.tokens) + 1, limit)
            assert h.score == pytest.approx(h.log_probability / length ** (1.0 if alpha is None else alpha))


@every_strategy
def test_search_with_a_damaged_model_ends(strategy):
    found = ask(strategy, Toy(lambda *_: [math.nan] * V), SOURCES, LIMITS)
    assert [[h.tokens for h in best] for best in found] == [[[]] if strategy == "greedy" else []] * 5


@every_strategy
def test_no_sentences_give_no_hypotheses(strategy):
    assert list(search(Toy(by_chance), [], DecodingConfig(), strategy=strategy)) == []


def test_search_is_greedy_with_one_beam():
    for beams, strategy in ((1, "greedy"), (4, "beam")):
        model, other = Toy(by_chance), Toy(by_chance)
        found = dict(
            search(model, [batch_of(SOURCES, LIMITS)], DecodingConfig(beam_size=beams, repetition_guard=False))
        )
        assert [found[i] for i in range(5)] == ask(strategy, other, SOURCES, LIMITS, beam_size=beams)
        assert model.rows_read == other.rows_read


@every_strategy
@pytest.mark.parametrize("room", [0, 4, 12, 10_000])
def test_continuous_batching_equals_one_batch_at_a_time(strategy, room):
    sources, limits = SOURCES * 4, LIMITS * 4
    config = DecodingConfig(beam_size=3, n_best=2)
    model = Toy(by_chance)
    begun = []

    def batches() -> Iterator[SourceBatch]:
        for first in range(0, 20, 3):
            begun.append(first)
            yield batch_of(sources[first : first + 3], limits[first : first + 3], first)

    found = list(search(model, batches(), config, room=room, strategy=strategy))
    assert begun == list(range(0, 20, 3))
    alone = ask(strategy, Toy(by_chance), sources, limits, n_best=2)
    assert sorted(index for index, _ in found) == list(range(20))
    assert all(hypotheses == alone[index] for index, hypotheses in found)
    # A sentence leaves as soon as it is finished, with any number of others.
    one_by_one = Toy(by_chance)
    for source, limit in zip(sources, limits, strict=True):
        ask(strategy, one_by_one, [source], [limit], n_best=2)
    assert model.rows_read == one_by_one.rows_read
    if room == 0:
        assert max(model.n_running) <= 3
    if room == 10_000:
        assert model.n_running[0] == 20


@every_strategy
@pytest.mark.parametrize("room", [0, 4, 12, 10_000])
def test_two_groups_find_the_same_as_one(strategy, room, monkeypatch):
    """As on a GPU, which computes a step of one group during the search of the other."""
    monkeypatch.setattr(scheduler, "is_on_cpu", lambda tensor: False)
    sources, limits = SOURCES * 4, LIMITS * 4
    alone = ask(strategy, Toy(by_chance), sources, limits, n_best=2)
    model = Toy(by_chance)
    batches = [batch_of(sources[first : first + 3], limits[first : first + 3], first) for first in range(0, 20, 3)]
    found: list[tuple[int, list[Hypothesis]]] = []
    begun = []

    def drawn() -> Iterator[SourceBatch]:
        for batch in batches:
            begun.append(len(found))
            yield batch

    found.extend(search(model, drawn(), DecodingConfig(beam_size=3, n_best=2), room=room, strategy=strategy))
    assert sorted(index for index, _ in found) == list(range(20))
    assert all(hypotheses == alone[index] for index, hypotheses in found)
    if room == 0:  # searches in flight also take room
        assert begun == list(range(0, 20, 3))
    if room == 10_000:  # seven batches: four and three
        assert model.n_running[:2] == [11, 9]


def test_a_batch_starts_when_there_is_room():
    """The second starts beside the last sentence of the first, not earlier."""
    model = Toy(copying)
    batches = [batch_of([[4, 5, 6, 7, EOS], [4, EOS]], [9, 9]), batch_of([[5, 6, EOS], [6, EOS]], [9, 9], 2)]
    found = list(search(model, iter(batches), DecodingConfig(beam_size=1), room=5))
    assert model.n_running == [2, 2, 3, 3, 2]
    assert [index for index, _ in found] == [1, 3, 0, 2]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_one_beam_is_greedy(alpha):
    draw = torch.Generator().manual_seed(0)
    sources = [[*torch.randint(4, V, (4,), generator=draw).tolist(), EOS] for _ in range(20)]
    settings = {"beam_size": 1, "length_penalty": alpha}
    greedy, beam = (ask(name, Toy(by_chance), sources, [8] * 20, **settings) for name in ("greedy", "beam"))
    assert [b[0].tokens for b in greedy] == [b[0].tokens for b in beam]
    assert [b[0].score for b in greedy] == pytest.approx([b[0].score for b in beam], rel=1e-5)
    wide = ask("beam", Toy(by_chance), sources, [8] * 20, beam_size=4, length_penalty=alpha)
    assert [b[0].tokens for b in wide] != [b[0].tokens for b in greedy]


def everything(next_logits: NextLogits, src: Row, limit: int, alpha: float) -> list[Hypothesis]:
    """All possible outputs, best first: ended by EOS, or cut off at the limit."""
    found = []
    for n in range(limit + 1):
        for pieces in itertools.product(PIECES, repeat=n):
            steps = [*pieces, EOS] if n < limit else pieces
            log_probs = [torch.log_softmax(torch.tensor(next_logits(src, pieces[:i])), 0) for i in range(len(steps))]
            total = sum(log_prob[step].item() for log_prob, step in zip(log_probs, steps, strict=True))
            found.append(Hypothesis(list(pieces), total, total / len(steps) ** alpha, len(steps)))
    return sorted(found, key=lambda h: -h.score)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("stopping", ["enough", "exact"])
def test_a_beam_of_all_hypotheses_finds_the_best(alpha, stopping):
    sources, limits = [[4, EOS], [5, 6, EOS], [7, EOS]], [3, 2, 3]
    n_best = 1 if stopping == "enough" else 9
    settings = {"beam_size": 100, "length_penalty": alpha, "stopping": stopping, "n_best": n_best}
    for src, limit, found in zip(
        sources, limits, ask("beam", Toy(by_chance), sources, limits, **settings), strict=True
    ):
        expected = everything(by_chance, tuple(src), limit, alpha)[:n_best]
        assert [h.tokens for h in found] == [h.tokens for h in expected]
        assert [h.score for h in found] == pytest.approx([h.score for h in expected], rel=1e-5)


def test_another_length_penalty_changes_the_output():
    """So the test above can fail."""
    bests = [everything(by_chance, (4, EOS), 3, alpha)[0].tokens for alpha in (0.0, 2.0)]
    assert bests[0] != bests[1]


def test_the_n_best_are_distinct_and_sorted():
    for best in ask("beam", Toy(by_chance), SOURCES, [6] * 5, beam_size=5, n_best=5, stopping="exact"):
        assert len(best) == 5
        assert len({tuple(h.tokens) for h in best}) == 5
        assert [h.score for h in best] == sorted((h.score for h in best), reverse=True)


def test_fewer_hypotheses_are_returned_if_fewer_exist():
    """Impossible hypotheses are not returned."""
    for limit, n in ((1, 5), (2, 21)):
        (best,) = ask("beam", Toy(by_chance), [[4, EOS]], [limit], beam_size=64, n_best=64)
        assert [h.tokens for h in best] == [h.tokens for h in everything(by_chance, (4, EOS), limit, 1.0)]
        assert len(best) == n


# At first EOS is the likeliest with any length penalty; later 4s are nearly certain.
LATE = {BOS: {4: 0.45, EOS: 0.5, 5: 0.05}, 4: {EOS: 0.02, 4: 0.97, 5: 0.01}, 5: {EOS: 0.9, 5: 0.1}}


def test_enough_stops_earlier_than_exact():
    enough = ask("beam", Toy(from_table(LATE)), [[EOS]], [12], beam_size=2, stopping="enough")[0][0]
    exact = ask("beam", Toy(from_table(LATE)), [[EOS]], [12], beam_size=2, stopping="exact")[0][0]
    assert exact.tokens == [4] * 12
    assert len(enough.tokens) < 12
    assert exact.score > enough.score
    assert exact.log_probability == pytest.approx(math.log(0.45) + 11 * math.log(0.97), rel=1e-5)


@pytest.mark.parametrize("stopping", ["enough", "exact"])
def test_early_hypotheses_do_not_stop_the_search_for_a_much_likelier_one(stopping):
    """If a model is very sure, the second beam holds nonsense."""
    sure = {BOS: {4: 0.98, EOS: 0.012, 5: 0.008}, 4: {4: 0.99, 5: 0.007, EOS: 0.003}, 5: {EOS: 0.98, 5: 0.02}}
    (best,) = ask("beam", Toy(from_table(sure)), [[EOS]], [12], beam_size=2, stopping=stopping)
    assert best[0].tokens == [4] * 12


def test_the_search_does_not_wait_for_a_small_lead():
    """Two finished hypotheses of two beams end the search, although an unfinished one is likelier."""
    unsure = {BOS: {4: 0.5, 5: 0.3, EOS: 0.2}, 4: {4: 0.96, 5: 0.03, EOS: 0.01}, 5: {EOS: 0.98, 5: 0.02}}
    found = [
        ask("beam", Toy(from_table(unsure)), [[EOS]], [12], beam_size=2, stopping=stopping)[0][0].tokens
        for stopping in ("enough", "exact")
    ]
    assert found == [[5], [4] * 12]


def test_exact_stops_when_no_hypothesis_can_become_better():
    """Without a length penalty the first step decides here, so the search ends."""
    sure = {BOS: {EOS: 0.9, 4: 0.1}, 4: {4: 0.5, EOS: 0.5}}
    for stopping in ("exact", "enough"):
        model = Toy(from_table(sure))
        settings = {"beam_size": 2, "length_penalty": 0.0, "stopping": stopping}
        assert ask("beam", model, [[EOS]], [50], **settings)[0][0].tokens == []
        assert model.rows_read == 1


def test_length_penalty():
    assert length_penalty(5, 0.0) == 1.0
    assert length_penalty(5, 1.0) == 5.0
    assert length_penalty(4, 0.5) == 2.0
    for length, alpha in ((0, 1.0), (3, -0.1)):
        with pytest.raises(ValueError, match="must be at least 1"):
            length_penalty(length, alpha)


@pytest.fixture(scope="module")
def transformer() -> Seq2SeqModel:
    """A small untrained model: its outputs depend on sources, and some end with EOS."""
    torch.manual_seed(3)
    shape = {"d_model": 16, "d_ff": 32, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}
    model = build_model(ModelConfig(tied_embeddings=False, **shape), 24)
    with torch.no_grad():
        model.output.weight.mul_(3)
        model.output.bias[EOS] += 2
    return model.eval()


REAL = [[5, 6, 7, 8, 9, 10, 11, 12, EOS], [13, EOS], [14, 15, 16, 17, EOS], [20, 21, 22, EOS]]


@every_strategy
def test_a_score_is_that_of_forced_decoding(strategy, transformer):
    found = ask(strategy, transformer, REAL, [10] * 4, n_best=3, stopping="exact")
    lengths = []
    for src, best in zip(REAL, found, strict=True):
        for h in best:
            steps = [*h.tokens, EOS][:10]
            log_probs = transformer(torch.tensor([src]), None, torch.tensor([[BOS, *steps[:-1]]]))[0].log_softmax(-1)
            forced = log_probs.gather(1, torch.tensor(steps)[:, None]).sum().item()
            assert h.log_probability == pytest.approx(forced, abs=1e-5)
            assert h.score == pytest.approx(forced / len(steps), abs=1e-5)
            lengths.append(len(h.tokens))
    assert min(lengths) < 10
    assert strategy == "greedy" or len(lengths) == 12


@every_strategy
def test_a_batch_of_a_real_model_equals_single_sentences(strategy, transformer):
    settings = {"n_best": 2, "length_penalty": 0.7}
    together = ask(strategy, transformer, REAL, [14, 3, 9, 20], **settings)
    for src, limit, found in zip(REAL, [14, 3, 9, 20], together, strict=True):
        (alone,) = ask(strategy, transformer, [src], [limit], **settings)
        assert [h.tokens for h in found] == [h.tokens for h in alone]
        assert [h.score for h in found] == pytest.approx([h.score for h in alone], abs=1e-5)
    assert len({tuple(best[0].tokens) for best in together}) > 1
