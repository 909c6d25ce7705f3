"""Baselines of training speed: a recurrent and a convolutional network in plain PyTorch.

They have PyTorch's own LSTM (both directions at once, over packed sequences) and Conv1d, and otherwise what ours have:
attention by the fused kernel, the loss only at real target positions, tied embeddings, PyTorch's own dropout and fused
AdamW. ``tests/benchmarks/ancestors.py`` compares them with our training.

Shapes: B sentences, S source length, T target length, D model width.
"""

import math

import torch
import torch.nn.functional as F
from straightforward import PAD, Loop
from torch import Tensor, nn


class Base(nn.Module):
    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)

    def logits(self, x: Tensor, real: Tensor) -> Tensor:
        return F.linear(self.dropout(x)[real], self.embedding.weight, self.bias)


class Recurrent(Base):
    def __init__(self, vocabulary: int, width: int, layers: int, dropout: float) -> None:
        super().__init__(vocabulary, width, dropout)
        self.encoder = nn.ModuleList(
            nn.LSTM(width, width // 2, batch_first=True, bidirectional=True) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            nn.LSTM(width if i == 0 else 2 * width, width, batch_first=True) for i in range(layers)
        )
        self.start = nn.Linear(width // 2, width)
        self.score = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, width)

    def forward(self, src: Tensor, tgt: Tensor, real: Tensor) -> Tensor:
        mask, lengths = src.ne(PAD), src.ne(PAD).sum(dim=1)
        memory = self.dropout(self.embedding(src) * math.sqrt(self.embedding.embedding_dim))
        for layer in self.encoder:
            packed = nn.utils.rnn.pack_padded_sequence(memory, lengths, batch_first=True, enforce_sorted=False)
            y, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
            memory = memory + self.dropout(y)
        first = torch.tanh(self.start(memory[:, 0, memory.size(2) // 2 :])).unsqueeze(0)
        state = first, torch.zeros_like(first)
        x = self.dropout(self.embedding(tgt) * math.sqrt(self.embedding.embedding_dim))
        x = self.dropout(self.decoder[0](x, state)[0])
        keys = memory.unsqueeze(1)
        context = F.scaled_dot_product_attention(self.score(x).unsqueeze(1), keys, keys, mask[:, None, None]).squeeze(1)
        for layer in list(self.decoder)[1:]:
            x = x + self.dropout(layer(torch.cat((x, context), dim=2), state)[0])
        return self.logits(torch.tanh(self.combine(torch.cat((x, context), dim=2))), real)


class Convolutional(Base):
    def __init__(self, vocabulary: int, width: int, layers: int, dropout: float, kernel: int = 3) -> None:
        super().__init__(vocabulary, width, dropout)
        self.kernel = kernel
        self.places = nn.Embedding(1024, width)
        nn.init.normal_(self.places.weight, std=width**-0.5)
        self.encoder = nn.ModuleList(nn.Conv1d(width, 2 * width, kernel, padding=kernel // 2) for _ in range(layers))
        self.decoder = nn.ModuleList(nn.Conv1d(width, 2 * width, kernel) for _ in range(layers))
        self.q, self.out = (nn.ModuleList(nn.Linear(width, width) for _ in range(layers)) for _ in range(2))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens) + self.places.weight[: tokens.size(1)])

    def forward(self, src: Tensor, tgt: Tensor, real: Tensor) -> Tensor:
        half, mask = math.sqrt(0.5), src.ne(PAD)
        embedded = self.embed(src)
        x = embedded
        for layer in self.encoder:
            x = x * mask.unsqueeze(2)
            y = F.glu(layer(self.dropout(x).transpose(1, 2)), dim=1).transpose(1, 2)
            x = (y + x) * half
        keys, values = x.unsqueeze(1), ((x + embedded) * half).unsqueeze(1)
        scale = mask.sum(dim=1).sqrt()[:, None, None]
        embedded = self.embed(tgt)
        x = embedded
        for layer, q, out in zip(self.decoder, self.q, self.out, strict=True):
            padded = F.pad(self.dropout(x).transpose(1, 2), (self.kernel - 1, 0))
            y = F.glu(layer(padded), dim=1).transpose(1, 2)
            queries = ((q(y) + embedded) * half).unsqueeze(1)
            context = F.scaled_dot_product_attention(queries, keys, values, mask[:, None, None], scale=1.0).squeeze(1)
            x = ((out(context * scale) + y) * half + x) * half
        return self.logits(x, real)


class AncestorLoop(Loop):
    """As ``Loop``, with another model."""

    def __init__(self, architecture: str, vocabulary: int, *, width=256, layers=3, dropout=0.3, rate=1e-4) -> None:
        torch.manual_seed(1)
        model = {"rnn": Recurrent, "cnn": Convolutional}[architecture]
        self.model = model(vocabulary, width, layers, dropout).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.98), fused=True)
        self.total = torch.zeros(())
