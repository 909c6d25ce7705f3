"""Word alignments from cross-attention: which words of the source each word of a translation comes from.

Cross-attention is read as the model writes each target piece, and averaged over layers and heads. A word of the
translation is linked to the source word with which its attention agrees most, and to none if that is the end of the
source, where a head looks that has nothing to look for.

``docs/attention.md`` has the figures by which this was chosen, on captions that were aligned by hand.

Shapes: B sentences, S source pieces, T target pieces.

Sources: Garg et al. 2019, arXiv:1909.02074; Zenkel et al. 2019, arXiv:1901.11359; Liang et al. 2006, "Alignment by
agreement", for the product of both directions. The format is that of the Pharaoh decoder (Koehn 2004).
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2seq.batching import pad
from seq2seq.model import Seq2SeqModel, padding_mask
from seq2seq.text.languages import is_unspaced, primary
from seq2seq.tokenizer import BOS, EOS, PAD

Link = tuple[int, int]
"""A source word and a target word, counted from 0."""
Span = tuple[int, int]
"""Start and stop of a word in its text."""

_WORD = re.compile(r"\S+")
_CHARACTER = re.compile(r"[!-~]+|\S")


def words(text: str, language: str) -> list[Span]:
    """Where the words of a text are: as ``str.split()`` divides it, or single characters.

    In a language that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) each character
    is a word, with its combining marks; but a run of ASCII characters is one word.

    Args:
        text: one line.
        language: its code.
    """
    if not is_unspaced(primary(language)):
        return [match.span() for match in _WORD.finditer(text)]
    spans: list[Span] = []
    for match in _CHARACTER.finditer(text):
        start, stop = match.span()
        if spans and spans[-1][1] == start and unicodedata.category(match[0][0]).startswith("M"):
            start = spans.pop()[0]
        spans.append((start, stop))
    return spans


def piece_words(text: str, starts: Sequence[int], spans: Sequence[Span]) -> list[int]:
    """The word of each piece, counted from 0. A piece that is only a space belongs to the word after it.

    Args:
        text: in pieces.
        starts: where each piece begins in the text.
        spans: of the words, at least one.
    """
    begins = [start for start, _ in spans]
    return [max(0, bisect_right(begins, _skip_spaces(text, start)) - 1) for start in starts]


def _skip_spaces(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


class AlignmentUnit(NamedTuple):
    """A segment and its translation, in pieces, with the word that each piece belongs to."""

    src_ids: list[int]
    """S pieces, without EOS."""
    src_words: Sequence[int]
    """Of each of them."""
    tgt_ids: list[int]
    """T pieces, without BOS and EOS."""
    tgt_words: Sequence[int]
    """Of each of them."""


@torch.inference_mode()
def align_batches(
    model: Seq2SeqModel, units: Sequence[AlignmentUnit], decoder: None, batches: Iterator[list[int]]
) -> Iterator[tuple[int, list[Link]]]:
    """Align batches of units, given by their indices.

    Args:
        model: in evaluation mode.
        units: those of all batches.
        decoder: not used; it makes this a work for ``translation.workers``.
        batches: indices of similar length.

    Yields:
        The index of a unit, and its links, sorted by target word.
    """
    device = model.output.weight.device
    for indices in batches:
        batch = [units[i] for i in indices]
        src = pad([unit.src_ids for unit in batch], last=EOS).to(device)  # [B, S + 1]
        # The last piece is not read: no piece after it is aligned.
        tgt = pad([unit.tgt_ids[:-1] for unit in batch], first=BOS).to(device)  # [B, T]
        weights = model.cross_attention(src, tgt, padding_mask(src, PAD)).mean(dim=(1, 2)).cpu()
        for i, unit, of_one in zip(indices, batch, weights, strict=True):
            yield i, links(of_one[: len(unit.tgt_ids), : len(unit.src_ids) + 1], unit.src_words, unit.tgt_words)


def links(weights: Tensor, src_words: Sequence[int], tgt_words: Sequence[int]) -> list[Link]:
    """A link for each target word to a source word, or none.

    The weight of two words is the sum over the pieces of the source word, and the mean over those of the target word.
    It is multiplied by the share that the target word has in all the attention that the source word gets: much, if the
    two look for each other, and little for a word that all look at.

    Args:
        weights: cross-attention, the end of the source last. [T, S + 1]
        src_words: of each source piece. [S]
        tgt_words: of each target piece. [T]
    """
    src_names, tgt_names = sorted(set(src_words)), sorted(set(tgt_words))
    columns = [src_names.index(word) for word in src_words] + [len(src_names)]
    rows = [tgt_names.index(word) for word in tgt_words]
    by_word = _sums(weights, columns, len(src_names) + 1)  # [T, source words + 1]
    by_word = _sums(by_word.t(), rows, len(tgt_names)).t()  # [target words, source words + 1]
    by_word = by_word / torch.bincount(torch.tensor(rows)).unsqueeze(1)
    shares = by_word / by_word.sum(dim=0, keepdim=True).clamp_min(1e-9)
    best = (by_word * shares).argmax(dim=1).tolist()
    return [(src_names[i], j) for j, i in zip(tgt_names, best, strict=True) if i < len(src_names)]


def _sums(values: Tensor, groups: Sequence[int], n: int) -> Tensor:
    """Sums of columns by their groups. [R, C] -> [R, n]"""
    return torch.zeros(values.size(0), n).index_add_(1, torch.tensor(groups), values)


def pharaoh(alignment: Iterable[Link]) -> str:
    """Links as ``0-0 1-2``: source word, target word."""
    return " ".join(f"{i}-{j}" for i, j in alignment)
