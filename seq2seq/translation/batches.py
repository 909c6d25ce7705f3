"""Sources cut and grouped for the model, and searched a batch at a time.

Shapes: B sentences, S source length.
"""

import re
from collections.abc import Iterator, Sequence

import torch

from seq2seq.batching import pad
from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis, search
from seq2seq.errors import ExitCode, UserError
from seq2seq.model.transformer import Transformer, padding_mask
from seq2seq.tokenizer import EOS, PAD, Tokenizer
from seq2seq.translation.device import is_out_of_memory

Ids = list[int]


def length_batches(units: Sequence[Ids], batch_tokens: int) -> Iterator[list[int]]:
    """Group units of similar length, longest first, ``batch_tokens`` padded tokens at most; yields their indices."""
    # Longest first: memory runs out at once or never, and the last batch is a quick one.
    order = sorted(range(len(units)), key=lambda i: -len(units[i]))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // (len(units[order[start]]) + 1))
        yield order[start : start + size]
        start += size


def search_batch(model: Transformer, units: Sequence[Ids], config: DecodingConfig) -> list[list[Hypothesis]]:
    """Search a few sources side by side; halves the batch where memory runs out.

    Raises:
        UserError: memory is out for a single source (75).
    """
    device = next(model.parameters()).device
    src = pad(units, last=EOS).to(device)  # [B, S]
    limits = [config.max_length or 2 * len(ids) + 50 for ids in units]
    if model.config.positions == "learned":
        limits = [min(limit, model.config.max_positions) for limit in limits]
    try:
        with torch.inference_mode():
            return search(model, src, padding_mask(src, PAD), limits, config)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(units) == 1:
            raise UserError(
                f"memory ran out on a source of {len(units[0]):,} tokens",
                mend="free memory, or lower -b",
                code=ExitCode.TRY_LATER,
            ) from None
    half = len(units) // 2
    return search_batch(model, units[:half], config) + search_batch(model, units[half:], config)


_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\s]+|(?<=[。！？])")


def split_long(line: str, tokenizer: Tokenizer, most: int) -> list[Ids]:
    """Cut a line into parts of at most ``most`` tokens: at sentence ends, else at spaces, else anywhere."""
    parts: list[Ids] = []
    for sentences in _pack(_SENTENCE_END.split(line), tokenizer, most):
        if len(sentences) <= most:
            parts.append(sentences)
        else:
            text = tokenizer.decode([sentences])[0]
            for words in _pack(text.split(" "), tokenizer, most):
                # A single word that is too long has no better place to be cut at.
                parts.extend(words[i : i + most] for i in range(0, len(words), most))
    return [part for part in parts if part]


def _pack(pieces_of_text: Sequence[str], tokenizer: Tokenizer, most: int) -> Iterator[Ids]:
    """Join neighbouring pieces of text while they fit; a piece that is too long comes alone."""
    packed: Ids = []
    for ids in tokenizer.encode(pieces_of_text):
        if packed and len(packed) + len(ids) > most:
            yield packed
            packed = []
        packed = packed + ids
    yield packed
