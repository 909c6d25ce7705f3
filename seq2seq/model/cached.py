"""The Transformer as translating uses it: encode once, then one target token at a time over cached keys and values.

The same arithmetic as ``Transformer.forward``, which sees all target positions at once; what differs is
what is kept and where:

- Keys and values of the source are made once a sentence. The beams of a sentence ask them as N queries
  of one text, so that they are neither copied nor read N times.
- Keys and values of the target go to a log that is only appended to: at each step one slot for every
  beam. Which slots a beam descends from is said by a mask, and so beams that change places move no
  cache. Sentences that leave make room for others from the end of the batch: they alone are copied.
- Weights are laid out for products of few rows: transposed, what reads the same input side by side,
  the score of the attention (``ATTENTIONS``) multiplied into W_Q.

Shapes: B sentences, N beams, S source length, T target tokens so far, D model width, H heads,
K width of a head, V vocabulary, L decoder layers, P slots (one at the first step, then N a step), n pieces
that may come: a shortlist, or all of V.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.model.attention import MultiHeadAttention, fused_attention
from seq2seq.model.layers import DecoderLayer, EncoderLayer, FeedForward, Residual
from seq2seq.model.positions import rotate
from seq2seq.model.shortlist import Shortlist
from seq2seq.model.transformer import Transformer

_MORE_STEPS = 12
"""The log of the target has room for so many more steps than the source is long, at first."""
_PIECES_ALIGNED = 64
"""The vocabulary's side of the output is filled up to a multiple of this with pieces that never come."""
_IMPOSSIBLE = -1e30
"""Their logit, as good as -inf, which a product may turn into NaN."""


@dataclass
class DecoderState:
    """What decoding remembers between steps; B sentences of N beams each. A step or a reordering uses it up."""

    cross: list[Tensor]
    """Keys and values of the source. L of [B, S, 2, H, K]"""
    src_mask: Tensor | None
    """0 at real source tokens, -inf at padding; None where nothing is padding. [B, 1, 1, S]"""
    output: Tensor
    """The output layer, of the pieces that may come. [D + 1, n]"""
    pieces: Tensor | None
    """Which pieces these are; None: all, and some that fill up. [n]"""
    forbidden: Tensor | None
    """0 at the pieces that a sentence may be translated with, far below 0 elsewhere; None: all may come. [B, n]"""
    logs: list[Tensor]
    """Keys and values of the target so far, with room for more slots than the P in use. L of [B, ≥P, 2, H, K]"""
    descent: Tensor | None
    """0 at the slots that a beam descends from, -inf elsewhere; None with one beam. [B, N, P]"""
    own: Tensor
    """0 on the diagonal, -inf off it: of the newest slots a beam sees its own. [N, N]"""
    n_tokens: int
    """Target tokens so far, the start symbol included: T."""
    n_slots: int
    """P"""

    @property
    def n_beams(self) -> int:
        """N"""
        return self.own.size(0)


class _Linear:
    """A linear map whose weight is transposed: several of ``nn.Linear`` side by side."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        self.weight = torch.cat([weight.t() for weight in weights], dim=1).contiguous()  # [in, out]
        self.bias = torch.cat(list(biases))  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, in] -> [rows, out]"""
        return torch.addmm(self.bias, x, self.weight)


class _Norm:
    """LayerNorm or RMSNorm, without the way through ``nn.Module`` that costs as much as a norm of few rows."""

    def __init__(self, norm: nn.Module) -> None:
        self.shape: list[int] = list(getattr(norm, "normalized_shape", ()))  # none: nn.Identity
        weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
        self.weight: Tensor | None = None if weight is None else weight.clone()
        self.bias: Tensor | None = None if bias is None else bias.clone()
        self.eps: float = getattr(norm, "eps", 0.0)
        self.kind = type(norm)

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        if self.kind is nn.LayerNorm:
            return torch.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
        return torch.rms_norm(x, self.shape, self.weight, self.eps) if self.kind is nn.RMSNorm else x


class _Sublayer:
    """What attention and feed-forward network have in common: x plus what they make of it, normalised."""

    def __init__(self, residual: Residual, out: nn.Linear) -> None:
        self.norm, self.pre = _Norm(residual.norm), residual.pre
        self.out = _Linear([out.weight], [out.bias])

    def before(self, x: Tensor) -> Tensor:
        """What the sublayer reads. [rows, D] -> [rows, D]"""
        return self.norm(x) if self.pre else x

    def add_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """The sum ``x``, changed in its place, with the image of ``hidden``. [rows, D], [rows, in] -> [rows, D]"""
        x.addmm_(hidden, self.out.weight).add_(self.out.bias)
        return x if self.pre else self.norm(x)


class _Attention(_Sublayer):
    """One attention sublayer's weights."""

    def __init__(self, attention: MultiHeadAttention, residual: Residual, *, of_itself: bool) -> None:
        super().__init__(residual, attention.out_proj)
        self.n_heads = attention.n_heads
        # A rotation stands between W_Q and the score: there the score stays a step of its own.
        self.score = attention.score if attention.rotary else None
        q = (attention.q_proj.weight, attention.q_proj.bias) if attention.rotary else attention.folded_queries()
        projections = [q]
        if of_itself:
            projections += [(p.weight, p.bias) for p in (attention.k_proj, attention.v_proj)]
        self.projections = _Linear([weight for weight, _ in projections], [bias for _, bias in projections])

    def project(self, x: Tensor, batch: int, place: int | None = None) -> Tensor:
        """Queries, and of self-attention keys and values: [B·T, D] -> [1 or 3, B, H, T, K]

        Args:
            x: what the sublayer reads.
            batch: B
            place: of all tokens in their texts; None: they stand one after the other.
        """
        projected = self.projections(x)
        heads = projected.view(batch, -1, projected.size(1) // x.size(1), self.n_heads, x.size(1) // self.n_heads)
        heads = heads.permute(2, 0, 3, 1, 4)
        if self.score is None:
            return heads
        q, k, v = heads.unbind()
        q, k = (rotate(y) if place is None else rotate(y.unsqueeze(-2), place).squeeze(-2) for y in (q, k))
        return torch.stack((self.score(q), k, v))

    def attend(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attend, mix the heads by W_O, add to the sum. [B·T, D], [B, H, T, K], two of [B, H, S, K] -> [B·T, D]"""
        return self.add_to(x, fused_attention(q, k, v, mask).transpose(1, 2).reshape(x.shape))


class _FeedForward(_Sublayer):
    """One feed-forward sublayer's weights."""

    def __init__(self, feed_forward: FeedForward, residual: Residual) -> None:
        super().__init__(residual, feed_forward.out_proj)
        gate = feed_forward.gate
        branches = [feed_forward.inner] if gate is None else [feed_forward.inner, gate]
        self.gated = gate is not None
        self.inner = _Linear([branch.weight for branch in branches], [branch.bias for branch in branches])
        self.activation = torch.relu_ if feed_forward.activation is F.relu else feed_forward.activation

    def __call__(self, x: Tensor) -> Tensor:
        """[rows, D] -> [rows, D]"""
        hidden = self.inner(self.before(x))
        if self.gated:
            inner, gate = hidden.chunk(2, dim=-1)
            return self.add_to(x, self.activation(inner) * gate)
        return self.add_to(x, self.activation(hidden))


class CachedTransformer:
    """A trained model laid out for translating: ``decoding``'s three calls, and the logits.

    It holds copies of the weights as they are now, but for the embeddings, which it looks up where they are.

    Args:
        model: in evaluation mode.
        shortlist: what a sentence may be translated with; None: every piece.
    """

    @torch.no_grad()
    def __init__(self, model: Transformer, shortlist: Shortlist | None = None) -> None:
        self._model = model
        self._shortlist = shortlist
        self._heads = model.config.n_heads
        self._encoder = [_EncoderLayer(layer) for layer in model.encoder]  # type: ignore[arg-type]
        self._decoder = [_DecoderLayer(layer) for layer in model.decoder]  # type: ignore[arg-type]
        self._encoder_norm, self._decoder_norm = _Norm(model.encoder_norm), _Norm(model.decoder_norm)
        filling = -model.output.weight.size(0) % _PIECES_ALIGNED
        # The bias is one more row of the weight, for one more input that is 1: adding it to so many
        # numbers would be a pass over all of them.
        self._output = torch.cat(
            (
                F.pad(model.output.weight, (0, 0, 0, filling)).t(),
                F.pad(model.output.bias, (0, filling), value=_IMPOSSIBLE).unsqueeze(0),
            )
        )  # [D + 1, ≥V]

    def start(self, src: Tensor, src_mask: Tensor | None = None) -> DecoderState:
        """Encode sentences and make ready to translate them, one beam each.

        Args:
            src: piece ids, padded on the right. [B, S]
            src_mask: True at real tokens; None where nothing is padding. [B, 1, 1, S]
        """
        batch = src.size(0)
        x = self._model.embed_src(src).flatten(0, 1)  # [B·S, D]
        mask = None if src_mask is None else _additive(src_mask, x.dtype)
        for layer in self._encoder:
            x = layer(x, batch, mask)
        memory = self._encoder_norm(x)  # [B·S, D]
        cross = [layer.cross_keys_values(memory, batch) for layer in self._decoder]
        log = memory.new_empty(batch, 0, *cross[0].shape[2:])
        output, pieces, forbidden = self._output, None, None
        if self._shortlist is not None:
            pieces, allowed = self._shortlist.of(src, _PIECES_ALIGNED)
            output = output.index_select(1, pieces)
            forbidden = memory.new_zeros(allowed.shape).masked_fill_(~allowed, _IMPOSSIBLE)
        return DecoderState(
            cross=cross,
            src_mask=mask,
            output=output,
            pieces=pieces,
            forbidden=forbidden,
            logs=[log] * len(cross),
            descent=None,
            own=memory.new_zeros(1, 1),
            n_tokens=0,
            n_slots=0,
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one more target token in each row.

        Args:
            tokens: the newest piece of each row, the beams of a sentence side by side. [B·N]
            state: everything before it; used up.

        Returns:
            What ``logits`` are made from [B·N, D], and the state with the new tokens in it.
        """
        end = state.n_slots + state.n_beams
        self._make_room(state, end)
        descent = None
        if state.descent is not None:
            # A new token sees itself, and none of its sentence's other beams.
            own = state.own.expand(state.descent.size(0), -1, -1)
            state.descent = torch.cat((state.descent, own), dim=2)
            descent = state.descent.unsqueeze(1)  # [B, 1, N, P]
        x = self._model.embed_tgt(tokens.unsqueeze(1), state.n_tokens).squeeze(1)  # [B·N, D]
        for layer, log, cross in zip(self._decoder, state.logs, state.cross, strict=True):
            x = layer(x, state.n_tokens, log[:, :end], descent, cross, state.src_mask)
        state.n_tokens += 1
        state.n_slots = end
        return self._decoder_norm(x), state

    def logits(self, hidden: Tensor, state: DecoderState, first: int, last: int) -> Tensor:
        """Unnormalised log-probabilities of the next piece for some rows; far below any other where it must not come.

        Args:
            hidden: of all rows, as ``step`` returns it. [B·N, D]
            state: that ``step`` returned.
            first: row to begin with, the first of a sentence.
            last: row to end before.

        Returns:
            [last - first, n]
        """
        logits = F.pad(hidden[first:last], (0, 1), value=1.0) @ state.output
        if state.forbidden is not None:
            beams = state.n_beams
            logits.view(-1, beams, logits.size(1)).add_(state.forbidden[first // beams : last // beams].unsqueeze(1))
        return logits

    def pieces(self, columns: Tensor, state: DecoderState) -> Tensor:
        """The pieces that columns of the logits stand for. Any shape; the same shape."""
        return columns if state.pieces is None else state.pieces[columns]

    def reorder(self, state: DecoderState, sentences: Sequence[int], parents: Tensor) -> DecoderState:
        """Drop sentences, let each beam go on from another, change the number of beams.

        Args:
            state: B sentences of N beams; used up.
            sentences: which go on, and in what order. Those that keep their place are not copied. [B']
            parents: for each new beam, the beam of its sentence to go on from. [B', N']

        Returns:
            The state of B' ≤ B sentences of N' beams.
        """
        moved = [place for place, sentence in enumerate(sentences) if place != sentence]
        if moved:
            places = torch.tensor(moved, device=parents.device)
            origins = torch.tensor([sentences[place] for place in moved], device=parents.device)
            used = [log[:, : state.n_slots] for log in state.logs]
            for kept in (*state.cross, *used, state.src_mask, state.descent, state.forbidden):
                if kept is not None:
                    kept.index_copy_(0, places, kept.index_select(0, origins))
        n = len(sentences)
        if n < state.cross[0].size(0):
            state.cross, state.logs = [k_v[:n] for k_v in state.cross], [k_v[:n] for k_v in state.logs]
            state.src_mask = None if state.src_mask is None else state.src_mask[:n]
            state.descent = None if state.descent is None else state.descent[:n]
            state.forbidden = None if state.forbidden is None else state.forbidden[:n]
        beams = parents.size(1)
        if beams != state.n_beams:
            state.own = state.own.new_full((beams, beams), -math.inf).fill_diagonal_(0.0)
            if state.descent is None:
                state.descent = state.own.new_zeros(n, 1, state.n_slots)
        if state.descent is not None:
            state.descent = state.descent.gather(1, parents.unsqueeze(2).expand(-1, -1, state.n_slots))
        return state

    def _make_room(self, state: DecoderState, n_slots: int) -> None:
        """Let the log hold this many slots."""
        room = state.logs[0].size(1)
        if n_slots > room:
            steps = state.cross[0].size(1) + _MORE_STEPS
            size = max(steps * state.n_beams, n_slots, room + room // 2)
            for i, log in enumerate(state.logs):
                state.logs[i] = log.new_empty(log.size(0), size, *log.shape[2:])
                state.logs[i][:, :room] = log


class _EncoderLayer:
    def __init__(self, layer: EncoderLayer) -> None:
        self.attention = _Attention(layer.self_attention, layer.self_attention_residual, of_itself=True)
        self.feed_forward = _FeedForward(layer.feed_forward, layer.feed_forward_residual)

    def __call__(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """[B·S, D] -> [B·S, D]; the mask is [B, 1, 1, S]"""
        q, k, v = self.attention.project(self.attention.before(x), batch).unbind()
        return self.feed_forward(self.attention.attend(x, q, k, v, mask))


class _DecoderLayer:
    def __init__(self, layer: DecoderLayer) -> None:
        self.attention = _Attention(layer.self_attention, layer.self_attention_residual, of_itself=True)
        self.cross = _Attention(layer.cross_attention, layer.cross_attention_residual, of_itself=False)
        self.feed_forward = _FeedForward(layer.feed_forward, layer.feed_forward_residual)
        k, v = layer.cross_attention.k_proj, layer.cross_attention.v_proj
        self.keys_values = _Linear([k.weight, v.weight], [k.bias, v.bias])

    def cross_keys_values(self, memory: Tensor, batch: int) -> Tensor:
        """What cross-attention reads of the source. [B·S, D] -> [B, S, 2, H, K]"""
        heads = self.cross.n_heads
        return self.keys_values(memory).view(batch, -1, 2, heads, memory.size(1) // heads)

    def __call__(
        self, x: Tensor, place: int, log: Tensor, descent: Tensor | None, cross: Tensor, src_mask: Tensor | None
    ) -> Tensor:
        """One new token for each row.

        Args:
            x: [B·N, D]
            place: of the new tokens in their texts.
            log: keys and values of the target, the newest N slots to be filled here. [B, P, 2, H, K]
            descent: [B, 1, N, P], or None.
            cross: keys and values of the source. [B, S, 2, H, K]
            src_mask: [B, 1, 1, S], or None.
        """
        batch = log.size(0)
        new = self.attention.project(self.attention.before(x), batch, place)  # [3, B, H, N, K]
        log[:, -new.size(3) :] = new[1:].permute(1, 3, 0, 2, 4)
        k, v = _keys_values(log)
        x = self.attention.attend(x, new[0], k, v, descent)
        q = self.cross.project(self.cross.before(x), batch)[0]  # [B, H, N, K]
        k, v = _keys_values(cross)
        return self.feed_forward(self.cross.attend(x, q, k, v, src_mask))


def _keys_values(cache: Tensor) -> Sequence[Tensor]:
    """[B, S, 2, H, K] -> two of [B, H, S, K]"""
    return cache.permute(2, 0, 3, 1, 4).unbind()


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """True = may attend, as what is added to a score: 0, else -inf."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -math.inf)
