"""The interface of architectures: contracts with training and decoding, for every architecture and decoder."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seq2seq.config import CnnConfig, DecodingConfig, ModelConfig
from seq2seq.decoding import STRATEGIES, Hypothesis, SourceBatch, search
from seq2seq.model import (
    ARCHITECTURES,
    Decoder,
    Logits,
    Seq2SeqModel,
    Shortlist,
    TensorLogits,
    architectures,
    build_decoder,
    build_model,
    padding_mask,
)
from seq2seq.model.shortlist import ShortlistDecoder
from seq2seq.tokenizer import BOS, EOS, N_CONTROL, PAD

V = 40

# A tiny model of each architecture.
SHAPES: dict[str, ModelConfig] = {
    "transformer": ModelConfig(
        d_model=16, d_ff=24, n_heads=2, encoder_layers=1, decoder_layers=2, dropout=0.0, tied_embeddings=False
    ),
    "rnn": ModelConfig(architecture="rnn", d_model=16, encoder_layers=2, decoder_layers=2, dropout=0.0),
    # With unscaled scores the softmax magnifies rounding.
    "cnn": ModelConfig(
        architecture="cnn",
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        dropout=0.0,
        cnn=CnnConfig(attention="scaled_dot"),
    ),
}
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
every_decoder = pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name, row in ARCHITECTURES.items()
        for kind in ("plain", "fast")
        if kind == "plain" or row.fast_decoder is not None
    ],
)

SRC = torch.tensor([[5, 6, 7, 8, 9, EOS], [10, 11, EOS, PAD, PAD, PAD], [12, 13, 14, 15, EOS, PAD]])
TGT = torch.tensor([[BOS, 20, 21, 22, 23], [BOS, 24, 25, PAD, PAD], [BOS, 26, 27, 28, PAD]])


def tiny(name: str) -> Seq2SeqModel:
    """A model whose parameters have no special values; some of its translations end."""
    torch.manual_seed(0)
    model = build_model(replace(SHAPES[name], architecture=name), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.output.weight.mul_(3)
        model.output.bias[EOS] += 2
    return model.eval()


def decoder_of(name: str, kind: str, model: Seq2SeqModel, shortlist: Shortlist | None = None) -> Decoder:
    row = ARCHITECTURES[name]
    if kind == "fast":
        return row.fast_decoder(model, shortlist, greedy=True, products="auto")
    return row.decoder(model) if shortlist is None else ShortlistDecoder(row.decoder(model), shortlist)


@pytest.fixture(autouse=True)
def as_in_decoding() -> Iterator[None]:
    with torch.inference_mode():
        yield


def all_rows(logits: Sequence[Logits]) -> Tensor:
    """The logits of one step, with the rows of all batches. [rows, V]"""
    return torch.cat([of_some.rows(0, len(of_some))[:, :V] for of_some in logits])


Row = tuple[int, list[int]]
"""A sentence of SRC, and the target so far."""


def recomputed(model: Seq2SeqModel, rows: Sequence[Row]) -> Tensor:
    """Logits after each row's target, computed alone by the whole model. [rows, V]"""
    return torch.cat(
        [model(SRC[i : i + 1, : int(SRC[i].ne(PAD).sum())], None, torch.tensor([tgt]))[:, -1] for i, tgt in rows]
    )


def newest(rows: Sequence[Row]) -> Tensor:
    return torch.tensor([tgt[-1] for _, tgt in rows])


def assert_same(found: Tensor, expected: Tensor) -> None:
    # A logit is a sum of larger numbers.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6 * max(10.0, float(expected.abs().max())))


def test_the_decoder_has_three_calls():
    assert {name for name in vars(Decoder) if not name.startswith("_")} == {"start", "step", "reorder"}


# Training ---------------------------------------------------------------------------------------------------------


@every_architecture
def test_logits_are_the_output_layer_of_the_hidden_vectors(name):
    model = tiny(name)
    hidden = model.hidden(SRC, padding_mask(SRC, PAD), TGT)
    assert hidden.shape == (3, 5, model.output.in_features)
    logits = model(SRC, padding_mask(SRC, PAD), TGT)
    assert logits.shape == (3, 5, V)
    assert torch.equal(logits, model.output(hidden))


@every_architecture
def test_earlier_logits_do_not_depend_on_later_tokens(name):
    model, later = tiny(name), TGT.clone()
    later[:, 3:] = 30
    before, after = (model(SRC, padding_mask(SRC, PAD), tgt) for tgt in (TGT, later))
    assert_same(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3], atol=1e-3)


@every_architecture
def test_padding_changes_nothing(name):
    model = tiny(name)
    together = model(SRC, padding_mask(SRC, PAD), TGT)
    rows = [(i, TGT[i, : t + 1].tolist()) for i in range(3) for t in range(int(TGT[i].ne(PAD).sum()))]
    assert_same(torch.stack([together[i, len(tgt) - 1] for i, tgt in rows]), recomputed(model, rows))


@every_architecture
def test_every_parameter_learns(name):
    with torch.inference_mode(False):
        model = tiny(name)
        model(SRC.clone(), None, TGT.clone()).logsumexp(dim=2).sum().backward()
        assert [n for n, parameter in model.named_parameters() if parameter.grad is None] == []


# Attention --------------------------------------------------------------------------------------------------------

SIDES = {"encoder": (6, 6), "decoder": (5, 5), "cross": (5, 6)}
"""Queries and keys of each kind, in a batch of SRC and TGT."""


@every_architecture
def test_attention_maps_have_a_row_for_each_query_and_a_column_for_each_key(name):
    maps = tiny(name).attention_maps(SRC, TGT, padding_mask(SRC, PAD))
    assert "cross" in maps
    assert maps.keys() <= SIDES.keys()
    for kind, weights in maps.items():
        assert weights.dim() == 5, kind  # [B, layers, H, T, S]
        assert (weights.size(0), *weights.shape[3:]) == (3, *SIDES[kind])
        assert weights.dtype == torch.float32
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(dim=4), torch.ones(weights.shape[:4]))


@every_architecture
def test_cross_attention_is_that_of_the_maps(name):
    model = tiny(name)
    expected = model.attention_maps(SRC, TGT, padding_mask(SRC, PAD))["cross"]
    assert torch.equal(model.cross_attention(SRC, TGT, padding_mask(SRC, PAD)), expected)


@every_architecture
def test_attention_maps_give_padding_of_the_source_nothing(name):
    maps = tiny(name).attention_maps(SRC, TGT, padding_mask(SRC, PAD))
    for kind in maps.keys() & {"encoder", "cross"}:
        assert (maps[kind][1, ..., 3:] == 0).all(), kind
        assert (maps[kind][1, ..., :3] > 0).any(), kind


@every_architecture
def test_attention_maps_of_a_sentence_do_not_depend_on_its_batch(name):
    model = tiny(name)
    together = model.attention_maps(SRC, TGT, padding_mask(SRC, PAD))
    alone = model.attention_maps(SRC[1:2, :3], TGT[1:2, :3])
    assert together.keys() == alone.keys()
    for kind, of_one in alone.items():
        n_queries, n_keys = of_one.shape[3:]
        torch.testing.assert_close(together[kind][1:2, :, :, :n_queries, :n_keys], of_one, rtol=1e-4, atol=1e-5)


@every_architecture
def test_no_attention_map_of_the_decoder_looks_right(name):
    """Weights to the right are 0, and what a row sees does not change with what is written later."""
    model = tiny(name)
    later = TGT.clone()
    later[:, 3:] = 30
    before, after = (model.attention_maps(SRC, tgt, padding_mask(SRC, PAD)) for tgt in (TGT, later))
    for kind in before.keys() & {"decoder", "cross"}:
        torch.testing.assert_close(before[kind][..., :3, :], after[kind][..., :3, :])
        assert not torch.allclose(before[kind][..., 3:, :], after[kind][..., 3:, :], atol=1e-4), kind
    if "decoder" in before:
        to_the_right = torch.ones(5, 5, dtype=torch.bool).triu(1)
        assert (before["decoder"][..., to_the_right] == 0).all()


@every_architecture
def test_the_numbers_of_a_head_give_its_weights(name):
    """If an architecture has them: softmax of queries times keys."""
    model = tiny(name)
    for kind, weights in model.attention_maps(SRC[:1], TGT[:1]).items():
        for layer in range(1, weights.size(1) + 1):
            for head in range(1, weights.size(2) + 1):
                numbers = model.attention_head(SRC[:1], TGT[:1], kind, layer, head)
                if numbers is not None:
                    scores = numbers.queries @ numbers.keys.t()
                    if kind == "decoder":
                        scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
                    torch.testing.assert_close(scores.softmax(-1), weights[0, layer - 1, head - 1])
                    assert len(numbers.values) == len(numbers.keys)


@every_architecture
def test_reading_attention_maps_changes_nothing(name):
    model = tiny(name)
    before = model(SRC, padding_mask(SRC, PAD), TGT)
    model.attention_maps(SRC, TGT, padding_mask(SRC, PAD))
    assert torch.equal(model(SRC, padding_mask(SRC, PAD), TGT), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@every_architecture
def test_positions_are_named_and_have_a_row_each(name):
    model = tiny(name)
    positions = model.positions(9)
    assert positions.table is None or (positions.table.shape == (9, model.config.d_model) and positions.name)


# Decoding ---------------------------------------------------------------------------------------------------------


@every_decoder
def test_steps_give_what_the_whole_model_gives(name, kind):
    model = tiny(name)
    decoder = decoder_of(name, kind, model)
    whole = model(SRC, padding_mask(SRC, PAD), TGT)
    state = decoder.start(SRC, padding_mask(SRC, PAD))
    for t in range(TGT.size(1)):
        logits, (state,) = decoder.step([TGT[:, t]], [state])
        assert sum(map(len, logits)) == 3
        assert_same(all_rows(logits), whole[:, t])


@every_decoder
def test_beams_are_independent(name, kind):
    """One beam becomes two, they are exchanged, one is used twice; a sentence leaves, and the last takes its place."""
    model = tiny(name)
    decoder = decoder_of(name, kind, model)
    draw = torch.Generator().manual_seed(1)
    state = decoder.start(SRC, padding_mask(SRC, PAD))
    rows: list[Row] = [(i, [BOS]) for i in range(3)]
    plan = [
        ([0, 1, 2], [[0, 0], [0, 0], [0, 0]]),
        ([0, 1, 2], [[1, 0], [1, 1], [0, 0]]),
        ([2, 1], [[0, 1], [1, 0]]),
        ([0, 1], [[1, 1, 0], [1, 0, 1]]),
        *[([0, 1], [[2, 0, 1], [0, 0, 2]])] * 20,
        ([1], [[1, 2, 0]]),
    ]
    n_beams = 1
    for sentences, parents in plan:
        logits, (state,) = decoder.step([newest(rows)], [state])
        assert_same(all_rows(logits), recomputed(model, rows))
        state = decoder.reorder(state, sentences, torch.tensor(parents))
        rows = [rows[s * n_beams + p] for s, of_one in zip(sentences, parents, strict=True) for p in of_one]
        n_beams = len(parents[0])
        rows = [(i, [*tgt, int(torch.randint(N_CONTROL, V, (), generator=draw))]) for i, tgt in rows]
    assert_same(all_rows(decoder.step([newest(rows)], [state])[0]), recomputed(model, rows))


@every_decoder
@pytest.mark.parametrize("n_beams", [1, 2])
def test_batches_at_different_steps_give_the_same_logits(name, kind, n_beams):
    """The second batch starts at the third token of the first one, which has one beam or two for each sentence."""
    model = tiny(name)
    decoder = decoder_of(name, kind, model)
    states = [decoder.start(SRC, padding_mask(SRC, PAD))]
    batches: list[list[Row]] = [[(i, [BOS]) for i in range(3)]]
    for t in range(6):
        logits, new = decoder.step([newest(rows) for rows in batches], states)
        states = list(new)
        assert_same(all_rows(logits), recomputed(model, [row for rows in batches for row in rows]))
        batches = [[(i, [*tgt, 20 + t + n]) for n, (i, tgt) in enumerate(rows)] for rows in batches]
        if t == 1:
            states[0] = decoder.reorder(states[0], [0, 2], torch.zeros(2, n_beams, dtype=torch.long))
            batches[0] = [batches[0][i] for i in (0, 2) for _ in range(n_beams)]
            states.append(decoder.start(SRC[1:2, :3], None))
            batches.append([(1, [BOS])])


def found_by(decoder: Decoder, src: Tensor, strategy: str) -> list[list[Hypothesis]]:
    config = DecodingConfig(beam_size=3, n_best=3)
    # Two batches: the second runs with the rest of the first.
    batches = [
        SourceBatch(src[rows], padding_mask(src[rows], PAD), [12] * len(rows), rows) for rows in ([0, 1, 2, 3], [4, 5])
    ]
    found = dict(search(decoder, batches, config, room=12, strategy=strategy))
    return [found[i] for i in range(len(src))]


SOURCES = torch.cat((SRC, SRC.flip(0)))


@every_architecture
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("with_shortlist", [False, True])
def test_all_decoders_find_the_same(name, strategy, with_shortlist):
    model = tiny(name)
    candidates = torch.arange(2 * V).view(V, 2) % V
    shortlist = Shortlist(candidates, torch.arange(30, 33), 2) if with_shortlist else None
    kinds = ["plain", "fast"] if ARCHITECTURES[name].fast_decoder is not None else ["plain"]
    plain, *others = [found_by(decoder_of(name, kind, model, shortlist), SOURCES, strategy) for kind in kinds]
    for other in others:
        for expected, found in zip(plain, other, strict=True):
            assert [h.tokens for h in found] == [h.tokens for h in expected]
            assert [h.score for h in found] == pytest.approx([h.score for h in expected], abs=1e-5)
    assert len({tuple(best[0].tokens) for best in plain}) > 1
    if shortlist is not None:
        for src, best in zip(SOURCES, plain, strict=True):
            pieces, allowed = shortlist.lookup(src.unsqueeze(0))
            assert {token for h in best for token in h.tokens} <= set(pieces[allowed[0]].tolist())


@every_architecture
def test_other_devices_get_the_plain_decoder(name, monkeypatch):
    row, model = ARCHITECTURES[name], tiny(name)
    shortlist = Shortlist(torch.arange(V).view(V, 1), torch.arange(0), 1)
    plain = type(row.decoder(model))
    assert isinstance(build_decoder(model), plain) == (row.fast_decoder is None)
    monkeypatch.setattr(architectures, "_FAST_DEVICES", set())
    assert isinstance(build_decoder(model), plain)
    assert isinstance(build_decoder(model, shortlist), ShortlistDecoder)


def test_logits_in_a_tensor():
    logits = TensorLogits(torch.arange(12.0).view(4, 3))
    assert (len(logits), logits.device.type, logits.best()) == (4, "cpu", None)
    assert logits.rows(1, 3).tolist() == [[3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]
    assert logits.pieces(torch.tensor([2, 0])).tolist() == [2, 0]


# Sizes ------------------------------------------------------------------------------------------------------------


@every_architecture
def test_a_text_of_max_length_can_be_read(name):
    model = tiny(name)
    max_src, max_tgt = ARCHITECTURES[name].limits(model.config)
    src, tgt = torch.full((1, max_src or 1500), 7), torch.full((1, max_tgt or 1500), 8)
    assert model(src, None, tgt).isfinite().all()


@pytest.mark.filterwarnings("ignore:TF32")  # PyTorch warns of it whenever oneDNN is switched
@every_architecture
def test_multiply_adds_by_counting(name):
    """With one token on each side, where scores (queries with keys) are few."""
    config = replace(SHAPES[name], architecture=name, d_model=64, d_ff=96)
    model = build_model(config, V).eval()
    # The counter does not see the products in oneDNN's recurrent layers.
    with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
        model(torch.tensor([[7]]), None, torch.tensor([[BOS]]))
    assert sum(ARCHITECTURES[name].multiply_adds(config, V)) == pytest.approx(counter.get_total_flops() / 2, rel=0.05)


@every_architecture
def test_the_facts_of_a_row_of_architectures(name):
    row, config = ARCHITECTURES[name], replace(SHAPES[name], architecture=name)
    assert row.name.startswith(("a ", "an "))
    assert str(config.d_model) in row.shape(config)
    assert row.n_layers(config) >= 1
    assert min(row.state_size(config)) > 0
