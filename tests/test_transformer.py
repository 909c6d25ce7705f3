"""The model as a whole: its size, its initialization, and what must not change its outputs."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import PRESETS, ModelConfig, build
from seq2seq.model import build_model, n_parameters, padding_mask
from seq2seq.model.transformer.attention import ATTENTIONS, STACKED
from seq2seq.model.transformer.model import Transformer
from seq2seq.model.transformer.positions import POSITIONS
from seq2seq.tokenizer import BOS, EOS, PAD

V, D, FF, H = 20, 16, 24, 2

SHAPES = [{"positions": name} for name in POSITIONS] + [
    {"attention": "dot"},
    {"attention": "bilinear"},
    {"norm_order": "post"},
    {"norm": "rms", "activation": "swiglu", "tied_embeddings": False},
    {"n_heads": 1, "activation": "gelu"},
]


def config(**changes: object) -> ModelConfig:
    shape = {"d_model": D, "d_ff": FF, "n_heads": H, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    return ModelConfig(**(shape | {"max_positions": 32} | changes))


def tiny(**changes: object) -> Transformer:
    """A model whose biases, gains and scores have no special values."""
    torch.manual_seed(0)
    model = build_model(config(**changes), V)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def every_shape(test):
    return pytest.mark.parametrize("shape", SHAPES, ids=lambda s: " ".join(map(str, s.values())))(test)


def padded(rows: list[list[int]]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


SRC = [[5, 6, 7, 8, 9, 10, EOS], [11, EOS], [12, 13, 5, EOS]]
TGT = [[BOS, 14], [BOS, 15, 16, 17, 18], [BOS, 6, 19]]


def test_every_row_is_covered():
    assert {ModelConfig(**shape).positions for shape in SHAPES} == POSITIONS.keys()
    assert {ModelConfig(**shape).attention for shape in SHAPES} == ATTENTIONS.keys()


@every_shape
def test_padding_changes_neither_outputs_nor_gradients(shape):
    model = tiny(**shape)

    def loss(logits: Tensor, row: int) -> Tensor:
        targets = torch.tensor([*TGT[row][1:], EOS])
        return F.cross_entropy(logits[: len(targets)], targets, reduction="sum")

    alone = [model(torch.tensor([s]), None, torch.tensor([t]))[0] for s, t in zip(SRC, TGT, strict=True)]
    src = padded(SRC)
    together = model(src, padding_mask(src, PAD), padded(TGT))
    for row, logits in enumerate(alone):
        torch.testing.assert_close(together[row, : len(logits)], logits, rtol=1e-4, atol=1e-5)
    blind = model(src, None, padded(TGT))
    assert not torch.allclose(blind[1], together[1], atol=1e-3)  # the mask is what keeps it out

    gradients = []
    for outputs in (alone, together):
        model.zero_grad()
        sum(loss(logits, row) for row, logits in enumerate(outputs)).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], expected, rtol=1e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@every_shape
def test_a_later_token_does_not_change_earlier_logits(shape):
    model = tiny(**shape)
    src = torch.tensor(SRC[:1])
    a, b = torch.tensor([[BOS, 5, 6, 7, 8]]), torch.tensor([[BOS, 5, 6, 9, 8]])
    logits_a, logits_b = model(src, None, a), model(src, None, b)
    torch.testing.assert_close(logits_a[:, :3], logits_b[:, :3])
    assert ((logits_a - logits_b)[:, 3:].abs().amax(-1) > 1e-4).all()


def test_every_source_token_reaches_every_logit():
    model = tiny()
    src, tgt = torch.tensor(SRC[:1]), torch.tensor(TGT[1:2])
    before = model(src, None, tgt)
    for place in range(src.size(1)):
        other = src.clone()
        other[0, place] = 4
        assert ((model(other, None, tgt) - before).abs().amax(-1) > 1e-5).all()


def test_memory_has_one_vector_for_each_source_token():
    model = tiny()
    src = padded(SRC)
    mask = padding_mask(src, PAD)
    memory = model.encode(src, mask)
    assert memory.shape == (3, 7, D)
    assert model.decode(padded(TGT), memory, mask).shape == (3, 5, D)
    assert model(src, mask, padded(TGT)).shape == (3, 5, V)
    assert model.output.out_features == V


def test_padding_mask():
    assert padding_mask(torch.tensor([[5, EOS], [6, EOS]]), PAD) is None
    assert padding_mask(torch.tensor([[5, EOS], [EOS, PAD]]), PAD).tolist() == [[True, True], [True, False]]


def by_hand(**changes: object) -> int:
    """Parameters of ``config(**changes)``, layer by layer."""
    c = config(**changes)
    attention = 4 * (D * D + D) + (D * D // c.n_heads if c.attention == "bilinear" else 0)
    feed_forward = (2 if c.activation == "swiglu" else 1) * (D * FF + FF) + FF * D + D
    norm = D if c.norm == "rms" else 2 * D
    layers = 2 * (attention + feed_forward + 2 * norm) + 2 * (2 * attention + feed_forward + 3 * norm)
    last_norms = 2 * norm if c.norm_order == "pre" else 0
    embeddings = (1 if c.tied_embeddings else 3) * V * D + V
    positions = 2 * c.max_positions * D if c.positions == "learned" else 0
    return layers + last_norms + embeddings + positions


@every_shape
def test_the_number_of_parameters_by_hand(shape):
    assert n_parameters(tiny(**shape)) == by_hand(**shape)


@pytest.mark.parametrize(("preset", "millions"), [("base", 65), ("big", 213)])
def test_the_number_of_parameters_in_the_paper(preset, millions):
    """Vaswani et al. 2017, table 3, with the 37,000 pieces of section 5.1."""
    with torch.device("meta"):
        model = build_model(build(PRESETS[preset], where="preset").model, 37_000)
    assert n_parameters(model) == pytest.approx(millions * 1e6, rel=0.035)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds(preset):
    """On the meta device, as ``big`` is large; each has its own shape."""
    run = build(PRESETS[preset], where="preset")
    with torch.device("meta"):
        model = build_model(run.model, run.data.vocab_size)
        logits = model(torch.zeros(2, 5, dtype=torch.long), None, torch.zeros(2, 3, dtype=torch.long))
    assert logits.shape == (2, 3, run.data.vocab_size)
    assert (len(model.encoder), len(model.decoder)) == (run.model.encoder_layers, run.model.decoder_layers)


def test_tied_embeddings_are_one_matrix():
    model = tiny()
    assert model.output.weight is model.src_embedding.weight is model.tgt_embedding.weight
    apart = tiny(tied_embeddings=False)
    pointers = {m.weight.data_ptr() for m in (apart.output, apart.src_embedding, apart.tgt_embedding)}
    assert len(pointers) == 3
    # All three uses contribute to its gradient.
    src, tgt = torch.tensor([[5, 6, EOS]]), torch.tensor([[BOS, 7]])
    apart.load_state_dict(model.state_dict())
    for m in (model, apart):
        m(src, None, tgt).logsumexp(-1).sum().backward()
    parts = [m.weight.grad for m in (apart.output, apart.src_embedding, apart.tgt_embedding)]
    assert all(part.abs().sum() > 0 for part in parts)
    torch.testing.assert_close(model.output.weight.grad, sum(parts), rtol=1e-4, atol=1e-5)


def test_matrices_start_with_glorots_variance():
    torch.manual_seed(0)
    model = build_model(config(d_model=64, d_ff=256, norm_order="post"), 500)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert (module.bias == 0).all()
            if module is not model.output:
                for matrix in module.weight.chunk(STACKED.get(name.rpartition(".")[2], 1)):
                    bound = math.sqrt(6 / sum(matrix.shape))
                    assert matrix.abs().max() <= bound, name
                    assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_start_with_unit_variance_once_scaled(tied):
    torch.manual_seed(0)
    model = build_model(config(d_model=64, tied_embeddings=tied), 500)
    for matrix in (model.src_embedding.weight, model.tgt_embedding.weight, model.output.weight):
        assert matrix.std().item() == pytest.approx(1 / 8, rel=0.02)
        assert matrix.mean().item() == pytest.approx(0, abs=5 / 8 / 32_000**0.5)


def test_pre_norm_branches_start_smaller_in_deep_models():
    torch.manual_seed(0)
    pre = build_model(config(d_model=64, d_ff=64, encoder_layers=8, decoder_layers=3), V)
    glorot = 1 / 8  # sqrt(2 / (64 + 64))
    for layers, branches in ((pre.encoder, ("self_attention", "feed_forward")),
                             (pre.decoder, ("self_attention", "cross_attention", "feed_forward"))):  # fmt: skip
        for layer in layers:
            for branch in branches:
                std = getattr(layer, branch).out_proj.weight.std().item()
                assert std == pytest.approx(glorot / math.sqrt(len(branches) * len(layers)), rel=0.05)


def test_an_untrained_model_is_nearly_uniform():
    """Logits have unit variance, so the first loss is half a nat above that of equal probabilities."""
    torch.manual_seed(0)
    # With tied embeddings each piece would predict itself.
    model = build_model(config(d_model=64, tied_embeddings=False), 500)
    src, tgt = torch.randint(4, 500, (16, 12)), torch.randint(4, 500, (16, 12))
    logits = model(src, None, tgt[:, :-1])
    assert logits.std().item() == pytest.approx(1.0, abs=0.1)
    loss = F.cross_entropy(logits.flatten(0, 1), tgt[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(500) + 0.5, abs=0.2)


@every_shape
def test_weights_survive_a_round_trip(shape):
    model = tiny(**shape)
    torch.manual_seed(1)
    other = build_model(config(**shape), V)
    src, tgt = torch.tensor(SRC[:1]), torch.tensor(TGT[:1])
    assert not torch.allclose(other(src, None, tgt), model(src, None, tgt))
    other.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()})
    assert torch.equal(other(src, None, tgt), model(src, None, tgt))
    # What is computed is not kept: only weights are.
    assert model.state_dict().keys() == {n for n, _ in model.named_parameters(remove_duplicate=False)}


def test_the_seed_makes_the_weights():
    def made(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return build_model(config(), V).state_dict()

    first, second, other = made(3), made(3), made(4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    matrices = [name for name, tensor in first.items() if tensor.dim() > 1]
    assert not any(torch.equal(first[name], other[name]) for name in matrices)


def test_dropout_is_applied_only_in_training():
    model = tiny(dropout=0.3)
    src, tgt = torch.tensor(SRC[:1]), torch.tensor(TGT[:1])
    assert not torch.equal(model(src, None, tgt), model(src, None, tgt))
    model.eval()
    assert torch.equal(model(src, None, tgt), model(src, None, tgt))


def test_attention_maps_are_those_in_use():
    """Weights times values, mixed by W_O, are what each layer adds to its residual: for all three kinds."""
    model = tiny()
    src, tgt = padded(SRC), padded(TGT)
    mask = padding_mask(src, PAD)
    maps = model.attention_maps(src, tgt, mask)
    assert {kind: weights.shape for kind, weights in maps.items()} == {
        "encoder": (3, 2, H, 7, 7),
        "decoder": (3, 2, H, 5, 5),
        "cross": (3, 2, H, 5, 7),
    }
    attentions = {
        "encoder": [layer.self_attention for layer in model.encoder],
        "decoder": [layer.self_attention for layer in model.decoder],
        "cross": [layer.cross_attention for layer in model.decoder],
    }
    used = {}

    def keep(module, args, out):
        used[module] = args[1], out

    hooks = [a.register_forward_hook(keep) for of_kind in attentions.values() for a in of_kind]
    model(src, mask, tgt)
    for hook in hooks:
        hook.remove()
    for kind, of_kind in attentions.items():
        for layer, attention in enumerate(of_kind):
            memory, out = used[attention]
            heads = maps[kind][:, layer] @ attention.split_heads(F.linear(memory, *attention.projections()[2]))
            torch.testing.assert_close(attention.mix_heads(heads), out)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "none"])
def test_positions_are_those_in_use(positions):
    """They are what the embedding adds, if it adds anything."""
    model = tiny(positions=positions, max_positions=50)
    found = model.positions(6)
    assert found.name == positions
    src = torch.tensor([SRC[0][:6]])
    bare = model.src_embedding(src) * math.sqrt(model.config.d_model)
    added = (model.embed_src(src) - bare)[0].detach()
    expected = torch.zeros_like(added) if found.table is None else found.table[: added.size(0)]
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-6)
    assert (found.table is None) == (positions in ("rotary", "none"))
    longer = model.positions(80).table
    assert longer is None or len(longer) == (50 if positions == "learned" else 80)


@pytest.mark.parametrize("shape", [{}, {"positions": "rotary"}, {"attention": "bilinear"}, {"n_heads": 1}])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_the_numbers_of_a_head_give_its_weights(shape, kind):
    model = tiny(**shape)
    src, tgt = torch.tensor(SRC[2:]), torch.tensor(TGT[1:2])
    weights = model.attention_maps(src, tgt)[kind]
    for layer in (1, 2):
        for head in range(1, model.config.n_heads + 1):
            q, k, v = model.attention_head(src, tgt, kind, layer, head)
            scores = q @ k.t()
            if kind == "decoder":
                scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -math.inf)
            torch.testing.assert_close(scores.softmax(-1), weights[0, layer - 1, head - 1])
            assert v.shape == k.shape
