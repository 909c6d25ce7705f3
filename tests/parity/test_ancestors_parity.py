"""The recurrent and the convolutional network against PyTorch's own layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seq2seq.config import CnnConfig, ModelConfig, RnnConfig
from seq2seq.model import build_model, padding_mask
from seq2seq.model.cnn import ConvolutionalModel, GatedConvolution
from seq2seq.model.rnn import CELLS, BidirectionalLayer, RecurrentModel, reversed_order
from seq2seq.tokenizer import BOS, EOS, PAD

V, D = 17, 16
SRC = torch.tensor([[5, 6, 7, 8, 9, EOS], [10, 11, EOS, PAD, PAD, PAD], [12, 13, 14, 15, EOS, PAD]])
TGT = torch.tensor([[BOS, 4, 5, 6, 7], [BOS, 8, 9, PAD, PAD], [BOS, 16, 15, 14, PAD]])
LENGTHS = SRC.ne(PAD).sum(dim=1)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("cell", CELLS)
def test_the_recurrent_encoder_reads_as_pytorchs_own_in_both_directions(cell):
    layer = BidirectionalLayer(ModelConfig(architecture="rnn", d_model=D, rnn=RnnConfig(cell=cell)))
    twin = CELLS[cell](D, D // 2, batch_first=True, bidirectional=True)
    twin.load_state_dict(
        layer.forwards.state_dict() | {f"{name}_reverse": w for name, w in layer.backwards.state_dict().items()}
    )
    x = torch.randn(3, 6, D)
    packed = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(twin(packed)[0], batch_first=True)
    found = layer(x, reversed_order(SRC, padding_mask(SRC, PAD)))
    for i, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[i, :length], expected[i, :length])


def test_an_order_reversed_twice_is_the_text():
    order = reversed_order(SRC, padding_mask(SRC, PAD))
    assert order.tolist() == [[5, 4, 3, 2, 1, 0], [2, 1, 0, 3, 4, 5], [4, 3, 2, 1, 0, 5]]
    assert torch.equal(SRC.gather(1, order).gather(1, order), SRC)
    assert reversed_order(SRC, None).tolist() == [[5, 4, 3, 2, 1, 0]] * 3


@pytest.mark.parametrize("width", [1, 3, 5])
@pytest.mark.parametrize("side", ["both", "left"])
def test_a_gated_convolution_is_pytorchs_own(width, side):
    config = ModelConfig(architecture="cnn", d_model=D, dropout=0.0, cnn=CnnConfig(kernel_size=width))
    layer = GatedConvolution(config)
    x = torch.randn(3, 6, D)
    left = width // 2 if side == "both" else width - 1
    # [2·D, W·D] -> [2·D, D, W]
    weight = layer.linear.weight.view(2 * D, width, D).transpose(1, 2)
    padded = F.pad(x.transpose(1, 2), (left, width - 1 - left))
    expected = F.glu(F.conv1d(padded, weight, layer.linear.bias), dim=1).transpose(1, 2)
    torch.testing.assert_close(layer(x, left=left), expected)


def test_one_decoder_layer_of_the_recurrent_network_is_luongs():
    """h̃ = tanh(W_c [c; h]), where c is the mean of the source vectors, weighted by softmax(hᵀ W m)."""
    shape = {"architecture": "rnn", "d_model": D, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
    model = build_model(ModelConfig(**shape), V).eval()
    assert isinstance(model, RecurrentModel)
    memory, (first,) = model.encode(SRC[:1])
    hidden, _ = model.decoder[0](model.tgt_embedding(TGT[:1]) * D**0.5, first)
    scores = hidden @ model.score.weight[0] @ memory.transpose(1, 2)
    context = scores.softmax(dim=2) @ memory
    expected = torch.tanh(model.combine(torch.cat((context, hidden), dim=2).roll(D, dims=2)))
    torch.testing.assert_close(model.hidden(SRC[:1], None, TGT[:1]), expected)


def width_of_view(model, n, position):
    """How many of n source tokens change the memory of one of them."""
    with torch.enable_grad():
        embedded = torch.randn(1, n, D, requires_grad=True)
        x = embedded
        if isinstance(model, ConvolutionalModel):
            for layer in model.encoder_layers:
                x = layer(x, left=layer.width // 2) + x
        else:
            order = reversed_order(torch.zeros(1, n), None)
            for layer in model.encoder:
                x = x + layer(x, order)
        x[0, position].sum().backward()
    return int(embedded.grad[0].abs().sum(dim=1).gt(0).sum())


@pytest.mark.parametrize(("width", "n_layers"), [(3, 1), (3, 4), (5, 2)])
def test_a_convolutional_layer_sees_few_neighbours_and_a_recurrent_one_all(width, n_layers):
    shape = {"d_model": D, "encoder_layers": n_layers, "decoder_layers": 1, "dropout": 0.0}
    convolutional = build_model(ModelConfig(architecture="cnn", cnn=CnnConfig(kernel_size=width), **shape), V)
    assert width_of_view(convolutional, 30, 15) == n_layers * (width - 1) + 1
    recurrent = build_model(ModelConfig(architecture="rnn", **shape), V)
    assert width_of_view(recurrent, 30, 15) == 30
