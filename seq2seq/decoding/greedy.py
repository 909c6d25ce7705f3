"""Greedy search: at each step the likeliest piece, and no second thoughts."""

import torch
from torch import Tensor

from seq2seq.config import DecodingConfig
from seq2seq.decoding.hypotheses import Hypothesis, Model, length_penalty, log_probabilities
from seq2seq.tokenizer import BOS, EOS


def greedy_search(
    model: Model, src: Tensor, src_mask: Tensor | None, max_lengths: list[int], config: DecodingConfig
) -> list[list[Hypothesis]]:
    """One hypothesis a sentence. Arguments as ``search``'s.

    Rows of finished sentences leave the batch at once.
    """
    state = model.start(src, src_mask)
    tokens = src.new_full((src.size(0),), BOS)  # [B]
    running = list(range(src.size(0)))  # the sentence of each row
    outputs: list[list[int]] = [[] for _ in running]
    sums = [0.0] * len(running)
    while running:
        logits, state = model.step(tokens, state)
        best, tokens = log_probabilities(logits).max(dim=-1)  # [B], [B]
        going_on = []
        for row, (sentence, token, log_prob) in enumerate(zip(running, tokens.tolist(), best.tolist(), strict=True)):
            sums[sentence] += log_prob
            outputs[sentence].append(token)
            if token != EOS and len(outputs[sentence]) < max_lengths[sentence]:
                going_on.append(row)
        if len(going_on) < len(running):
            running = [running[row] for row in going_on]
            if not running:
                break
            rows = torch.tensor(going_on, device=src.device)
            tokens = tokens[rows]
            state = model.reorder(state, rows.unsqueeze(1))
    return [[_finished(output, total, config.alpha)] for output, total in zip(outputs, sums, strict=True)]


def _finished(output: list[int], log_probability: float, alpha: float) -> Hypothesis:
    score = log_probability / length_penalty(len(output), alpha)
    return Hypothesis([t for t in output if t != EOS], log_probability, score)
