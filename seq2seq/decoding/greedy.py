"""Greedy search: at each step the likeliest piece, and no second thoughts."""

import math

from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.candidates import best_piece
from seq2seq.decoding.hypotheses import Hypothesis, Model, gapless, length_penalty
from seq2seq.tokenizer import BOS, EOS


def greedy_search(
    model: Model,
    src: Tensor,
    src_mask: Tensor | None,
    max_lengths: list[int],
    config: DecodingConfig,
    scored: bool = True,
) -> list[list[Hypothesis]]:
    """One hypothesis a sentence. Arguments as ``search``'s.

    Rows of finished sentences leave the batch at once.
    """
    state = model.start(src, src_mask)
    tokens = src.new_full((src.size(0),), BOS)  # [B]
    running = list(range(src.size(0)))  # the sentence of each row
    outputs: list[list[int]] = [[] for _ in running]
    sums = [0.0 if scored else math.nan] * len(running)
    while running:
        hidden, state = model.step(tokens, state)
        tokens, log_probs = best_piece(model, hidden, state, scored=scored)  # [B], [B]
        if log_probs is not None:
            for sentence, log_prob in zip(running, log_probs.tolist(), strict=True):
                sums[sentence] += log_prob
        going_on = []
        for sentence, token in zip(running, tokens.tolist(), strict=True):
            outputs[sentence].append(token)
            going_on.append(token != EOS and len(outputs[sentence]) < max_lengths[sentence])
        if not all(going_on):
            rows = gapless(going_on)
            running = [running[row] for row in rows]
            if running:
                tokens = tokens[rows]
                state = model.reorder(state, rows, tokens.new_zeros(len(rows), 1))
    return [[_finished(output, total, config.alpha)] for output, total in zip(outputs, sums, strict=True)]


def _finished(output: list[int], log_probability: float, alpha: float) -> Hypothesis:
    score = log_probability / length_penalty(len(output), alpha)
    return Hypothesis([t for t in output if t != EOS], log_probability, score)
