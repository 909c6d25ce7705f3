"""The baseline of training speed: a straightforward Transformer and training loop in PyTorch.

It has fused attention, the loss only at real target positions, pre-norm, tied embeddings, PyTorch's own dropout and
fused AdamW: nothing that is needlessly slow, and nothing that was tuned. It makes the same updates as our training
(``tests/benchmarks/train_speed.py`` compares them), and must not be changed.

Shapes: B sentences, S source length, T target length, D model width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, BOS, EOS = 3, 1, 2


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        q, k, v = (
            linear(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, y in ((self.q, x), (self.k, memory), (self.v, memory))
        )
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(heads.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, inner: int, heads: int, dropout: float, *, decoder: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.cross = Attention(width, heads) if decoder else None
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if decoder else 2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, src_mask: Tensor | None, memory: Tensor | None = None) -> Tensor:
        y = self.norms[0](x)
        x = x + self.dropout(self.attention(y, y, None if self.cross else src_mask, causal=self.cross is not None))
        if self.cross is not None:
            x = x + self.dropout(self.cross(self.norms[1](x), memory, src_mask))
        return x + self.dropout(self.feed_forward(self.norms[-1](x)))


class Transformer(nn.Module):
    def __init__(self, vocabulary: int, width: int, inner: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(Layer(width, inner, heads, dropout, decoder=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(width, inner, heads, dropout, decoder=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        place, channel = torch.arange(512).unsqueeze(1), torch.arange(0, width, 2)
        angle = place * torch.exp(channel * (-math.log(10_000.0) / width))
        self.register_buffer("positions", torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1))

    def embed(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        return self.dropout(x + self.positions[: tokens.size(1)])

    def forward(self, src: Tensor, tgt: Tensor, real: Tensor) -> Tensor:
        mask = src.ne(PAD)[:, None, None]
        memory = self.embed(src)
        for layer in self.encoder:
            memory = layer(memory, mask)
        memory, x = self.norms[0](memory), self.embed(tgt)
        for layer in self.decoder:
            x = layer(x, mask, memory)
        return F.linear(self.norms[1](x)[real], self.embedding.weight, self.bias)


class Loop:
    """Updates from pairs of ids."""

    def __init__(self, vocabulary: int, *, width=256, inner=1024, heads=4, layers=3, dropout=0.3, rate=1e-4) -> None:
        torch.manual_seed(1)
        self.model = Transformer(vocabulary, width, inner, heads, layers, dropout).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.98), fused=True)
        self.total = torch.zeros(())

    def update(self, sources: list[list[int]], targets: list[list[int]]) -> None:
        def padded(rows: list[Tensor]) -> Tensor:
            return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

        src = padded([torch.tensor([*row, EOS]) for row in sources])
        tgt_in = padded([torch.tensor([BOS, *row]) for row in targets])
        tgt_out = padded([torch.tensor([*row, EOS]) for row in targets])
        real = tgt_out.ne(PAD)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(src, tgt_in, real), tgt_out[real], label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.total += loss.detach()
