"""How a translation is searched for, knowing a model only by a few calls: ``hypotheses.Model``."""

from collections.abc import Callable

from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.beam import beam_search
from seq2seq.decoding.greedy import greedy_search
from seq2seq.decoding.hypotheses import Hypothesis, Model, length_penalty

__all__ = ["STRATEGIES", "Hypothesis", "Model", "Strategy", "length_penalty", "search"]


Strategy = Callable[[Model, Tensor, Tensor | None, list[int], DecodingConfig, bool], list[list[Hypothesis]]]
"""What a row of ``STRATEGIES`` is; arguments as ``search``'s."""

STRATEGIES: dict[str, Strategy] = {"greedy": greedy_search, "beam": beam_search}


def search(
    model: Model,
    src: Tensor,
    src_mask: Tensor | None,
    max_lengths: list[int],
    config: DecodingConfig,
    scored: bool = True,
) -> list[list[Hypothesis]]:
    """The best hypotheses of each sentence, best first: greedy with one beam, beam search with more.

    Args:
        model: laid out for translating, under ``torch.inference_mode()``.
        src: source pieces and EOS, padded on the right. [B, S]
        src_mask: real source tokens; None where nothing is padding. [B, 1, 1, S]
        max_lengths: longest output of each sentence in tokens, EOS included. [B]
        config: beams, length penalty, stopping.
        scored: whether the hypotheses' scores are wanted; greedy search is faster without.
    """
    strategy = STRATEGIES["greedy" if config.beam_size == 1 else "beam"]
    return strategy(model, src, src_mask, max_lengths, config, scored)
