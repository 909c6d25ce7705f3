"""The model against PyTorch's, and its decoders against the whole model, which has no cache."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.model import Logits, build_model, padding_mask
from seq2seq.model.transformer.attention import ATTENTIONS, MultiHeadAttention
from seq2seq.model.transformer.decoder import TransformerDecoder
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.model.transformer.model import Transformer
from seq2seq.model.transformer.positions import POSITIONS, sinusoidal_table
from seq2seq.tokenizer import BOS, EOS, PAD

V, D, FF, H, LAYERS = 17, 16, 40, 4, 2

SRC = torch.tensor([[5, 6, 7, 8, 9, EOS], [10, 11, EOS, PAD, PAD, PAD], [12, 13, 14, 15, EOS, PAD]])
TGT = torch.tensor([[BOS, 4, 5, 6, 7], [BOS, 8, 9, PAD, PAD], [BOS, 16, 15, 14, PAD]])


def tiny(dtype: torch.dtype = torch.float32, **changes: object) -> Transformer:
    """A model whose biases, gains and scores have no special values."""
    torch.manual_seed(0)
    shape = {"d_model": D, "d_ff": FF, "n_heads": H, "encoder_layers": LAYERS, "decoder_layers": LAYERS}
    model = build_model(ModelConfig(**(shape | {"dropout": 0.0} | changes)), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.to(dtype)


def copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    weights, biases = zip(*ours.projections(), strict=True)
    theirs.in_proj_weight.copy_(torch.cat(weights))
    theirs.in_proj_bias.copy_(torch.cat(biases))
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


@torch.no_grad()
def torch_twin(model: Transformer) -> nn.Transformer:
    """``torch.nn.Transformer`` with the weights of ``model``."""
    pre = model.config.norm_order == "pre"
    shape = {
        "d_model": D,
        "nhead": H,
        "dim_feedforward": FF,
        "dropout": 0.0,
        "activation": model.config.activation,
        "batch_first": True,
        "norm_first": pre,
        "dtype": torch.double,
    }
    last_norms = [nn.LayerNorm(D, dtype=torch.double) if pre else None for _ in range(2)]
    encoder_layer, decoder_layer = nn.TransformerEncoderLayer(**shape), nn.TransformerDecoderLayer(**shape)
    twin = nn.Transformer(
        D,
        H,
        custom_encoder=nn.TransformerEncoder(encoder_layer, LAYERS, last_norms[0], enable_nested_tensor=False),
        custom_decoder=nn.TransformerDecoder(decoder_layer, LAYERS, last_norms[1]),
        batch_first=True,
    )
    for ours, theirs in [*zip(model.encoder, twin.encoder.layers, strict=True),
                         *zip(model.decoder, twin.decoder.layers, strict=True)]:  # fmt: skip
        copy_attention(ours.self_attention, theirs.self_attn)
        norms = [theirs.norm1, theirs.norm2]
        residuals = [ours.self_attention_residual, ours.feed_forward_residual]
        if isinstance(theirs, nn.TransformerDecoderLayer):
            copy_attention(ours.cross_attention, theirs.multihead_attn)
            norms.append(theirs.norm3)
            residuals.insert(1, ours.cross_attention_residual)
        for residual, norm in zip(residuals, norms, strict=True):
            norm.load_state_dict(residual.norm.state_dict())
        theirs.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
        theirs.linear2.load_state_dict(ours.feed_forward.out_proj.state_dict())
    if pre:
        twin.encoder.norm.load_state_dict(model.encoder_norm.state_dict())
        twin.decoder.norm.load_state_dict(model.decoder_norm.state_dict())
    return twin


@pytest.mark.parametrize("norm_order", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_whole_model_against_pytorchs(norm_order, activation):
    model = tiny(torch.double, norm_order=norm_order, activation=activation)
    twin = torch_twin(model)
    embeddings = model.src_embedding.weight.detach().clone().requires_grad_()

    def embed(tokens: Tensor) -> Tensor:
        return embeddings[tokens] * math.sqrt(D) + sinusoidal_table(tokens.size(1), D).double()

    hidden = twin(
        embed(SRC),
        embed(TGT),
        tgt_mask=torch.ones(5, 5, dtype=torch.bool).triu(1),  # PyTorch's True hides
        src_key_padding_mask=SRC == PAD,
        memory_key_padding_mask=SRC == PAD,
        tgt_is_causal=True,
    )
    theirs = hidden @ embeddings.T + model.output.bias
    ours = model(SRC, padding_mask(SRC, PAD), TGT)
    torch.testing.assert_close(ours, theirs)

    real = TGT != PAD
    upstream = torch.randn(int(real.sum()), V, dtype=torch.double)
    (expected,) = torch.autograd.grad((theirs[real] * upstream).sum(), embeddings)
    (found,) = torch.autograd.grad((ours[real] * upstream).sum(), model.src_embedding.weight)
    torch.testing.assert_close(found, expected)


def recomputed(model: Transformer, rows: list[tuple[int, list[int]]]) -> Tensor:
    """Logits after each (sentence, tokens so far), each computed by itself and without a cache."""
    logits = []
    for sentence, tokens in rows:
        src = SRC[sentence][SRC[sentence] != PAD][None]
        logits.append(model(src, None, torch.tensor([tokens]))[0, -1])
    return torch.stack(logits)


# After each step: the sentences that continue, and for each new beam the old beam that it continues.
Plan = list[tuple[list[int], list[list[int]]] | None]
REORDERS: dict[str, Plan] = {
    "none": [None] * 6,
    "beams": [
        ([0, 1, 2], [[0, 0], [0, 0], [0, 0]]),  # one beam becomes two
        ([0, 1, 2], [[0, 1], [0, 1], [0, 1]]),  # nothing changes
        ([0, 1, 2], [[1, 0], [1, 1], [0, 0]]),  # swapped, and the same one twice
        ([2, 1], [[0, 1], [1, 0]]),  # the first sentence is over, the last takes its place
        ([0, 1], [[1, 1, 0], [1, 0, 1]]),  # two become three
        ([1], [[1, 2, 0]]),
    ],
    "greedy": [None, ([0, 2], [[0], [0]]), None, ([1], [[0]]), None, ([0], [[0]])],
    "other order": [([2, 0], [[0, 0], [0, 0]]), ([1, 0], [[1, 0], [0, 1]]), ([0], [[0, 0]]), None],
    "many steps": [([0, 1, 2], [[0, 0], [0, 0], [0, 0]]), *[([2, 0, 1], [[1, 0], [0, 0], [0, 1]])] * 19],
}


def all_rows(logits: Sequence[Logits]) -> Tensor:
    """The logits of one step, with the rows of all batches."""
    return torch.cat([of_some.rows(0, len(of_some)) for of_some in logits])


@pytest.mark.parametrize("kind", [TransformerDecoder, FastDecoder])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("plan", REORDERS)
def test_decoding_with_a_cache_gives_what_the_whole_model_gives(kind, attention, positions, plan):
    model = tiny(attention=attention, positions=positions, max_positions=24).eval()
    decoder = kind(model)
    draw = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        state = decoder.start(SRC, padding_mask(SRC, PAD))
        rows = [(sentence, [BOS]) for sentence in range(3)]
        beams = 1
        for reorder in REORDERS[plan]:
            found, (state,) = decoder.step([torch.tensor([tokens[-1] for _, tokens in rows])], [state])
            logits = all_rows(found)
            torch.testing.assert_close(logits[:, :V], recomputed(model, rows), rtol=1e-4, atol=2e-5)
            assert (logits[:, V:] < -1e20).all()
            if reorder is not None:
                sentences, parents = reorder
                state = decoder.reorder(state, sentences, torch.tensor(parents))
                rows = [rows[s * beams + p] for s, row in zip(sentences, parents, strict=True) for p in row]
                beams = len(parents[0])
            # Each row has other tokens, so that exchanged rows are detected.
            rows = [(s, [*t, int(torch.randint(4, V, (), generator=draw))]) for s, t in rows]


OTHER_SHAPES = [
    {"norm_order": "post"},
    {"norm": "rms", "activation": "swiglu"},
    {"norm": "rms", "norm_order": "post", "activation": "gelu"},
    {"n_heads": 1, "tied_embeddings": False},
]


@pytest.mark.parametrize("products", ["mkl", "onednn"])
@pytest.mark.parametrize("shape", [{}, *OTHER_SHAPES])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_fast_decoding_in_other_shapes(shape, attention, products):
    model = tiny(attention=attention, **shape).eval()
    decoder = FastDecoder(model, products=products)
    with torch.inference_mode():
        whole = model(SRC, padding_mask(SRC, PAD), TGT)
        state = decoder.start(SRC, padding_mask(SRC, PAD))
        for place in range(TGT.size(1)):
            logits, (state,) = decoder.step([TGT[:, place]], [state])
            torch.testing.assert_close(all_rows(logits)[:, :V], whole[:, place], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shape", [{}, *OTHER_SHAPES])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_one_sentence_with_absorbed_weights_and_beside_another(attention, positions, shape):
    """Alone it reads keys and values with absorbed weights; beside another sentence it reads the normal ones."""
    model = tiny(**({"n_heads": 2} | shape), attention=attention, positions=positions, max_positions=24).eval()
    decoder = FastDecoder(model)
    draw = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        state = decoder.start(SRC[:1])
        assert None not in state.absorbed
        rows = [(0, [BOS])]
        for step in range(8):
            newest, states = [torch.tensor([tokens[-1] for _, tokens in rows])], [state]
            others = [(sentence, [BOS]) for sentence in range(3)] if step == 4 else []
            if others:
                newest.append(torch.tensor([BOS] * 3))
                states.append(decoder.start(SRC, padding_mask(SRC, PAD)))
            found, (state, *_) = decoder.step(newest, states)
            logits = all_rows(found)
            torch.testing.assert_close(logits[:, :V], recomputed(model, [*rows, *others]), rtol=1e-4, atol=2e-5)
            if step in (1, 2, 5):
                parents = [0] if step == 5 else [0, 0, len(rows) - 1]
                state = decoder.reorder(state, [0], torch.tensor([parents]))
                rows = [rows[parent] for parent in parents]
            rows = [(0, [*tokens, int(torch.randint(4, V, (), generator=draw))]) for _, tokens in rows]


def test_weights_are_absorbed_only_if_that_is_faster():
    decoder = FastDecoder(tiny().eval())
    with torch.inference_mode():
        assert None not in decoder.start(SRC[:1, :4]).absorbed  # as long as a head is wide
        assert set(decoder.start(SRC[:1, :5]).absorbed) == {None}
        assert set(decoder.start(SRC[:2, :2]).absorbed) == {None}  # two sentences
        padded = SRC[1:2, :4]
        assert set(decoder.start(padded, padding_mask(padded, PAD)).absorbed) == {None}
        assert set(FastDecoder(tiny(torch.bfloat16).eval()).start(SRC[:1, :4]).absorbed) == {None}


def first_logits(decoder: FastDecoder) -> Tensor:
    return all_rows(decoder.step([torch.tensor([BOS] * 3)], [decoder.start(SRC)])[0])


@pytest.mark.parametrize("products", ["mkl", "onednn"])
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_batches_at_different_steps_are_decoded_together(attention, positions, products):
    """The second batch starts at the third token of the first one, which has two beams then."""
    model = tiny(attention=attention, positions=positions, max_positions=24).eval()
    decoder = FastDecoder(model, products=products)
    draw = torch.Generator().manual_seed(2)
    with torch.inference_mode():
        states = [decoder.start(SRC, padding_mask(SRC, PAD))]
        rows = [[(sentence, [BOS]) for sentence in range(3)]]
        for step in range(9):
            newest = [torch.tensor([tokens[-1] for _, tokens in of_batch]) for of_batch in rows]
            found, states = decoder.step(newest, states)
            assert len(found) == len({state.n_beams for state in states})  # those of as many beams in one
            logits = all_rows(found)
            everyone = [row for of_batch in rows for row in of_batch]
            torch.testing.assert_close(logits[:, :V], recomputed(model, everyone), rtol=1e-4, atol=2e-5)
            if step == 1:
                states[0] = decoder.reorder(states[0], [0, 2], torch.tensor([[0, 0], [0, 0]]))
                rows[0] = [rows[0][s] for s in (0, 0, 2, 2)]
                states.append(decoder.start(SRC[1:2], padding_mask(SRC[1:2], PAD)))
                rows.append([(1, [])])
            rows = [
                [(s, [*t, int(torch.randint(4, V, (), generator=draw)) if t else BOS]) for s, t in of_batch]
                for of_batch in rows
            ]


def test_training_does_not_change_a_decoder():
    model = tiny().eval()
    decoder = FastDecoder(model)
    with torch.inference_mode():
        before = first_logits(decoder)
        for name, parameter in model.named_parameters():
            if "embedding" not in name:  # these two are read from the model
                parameter.add_(1.0)
        after = first_logits(decoder)
    assert torch.equal(before, after)


def test_without_padding_no_mask_is_needed():
    model = tiny().eval()
    decoder = FastDecoder(model)
    src = SRC[:1]
    with torch.inference_mode():
        state = decoder.start(src, None)
        for place in range(3):
            logits, (state,) = decoder.step([TGT[:1, place]], [state])
            whole = model(src, None, TGT[:1])[:, place]
            torch.testing.assert_close(all_rows(logits)[:, :V], whole, rtol=1e-4, atol=2e-5)
            state = decoder.reorder(state, [0], torch.tensor([[0]]))
