"""Batches: sources of similar length that are searched together.

Shapes: B sources, S source length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from seq2seq.batching import pad
from seq2seq.config import DecodingConfig
from seq2seq.decoding import Hypothesis, SourceBatch, search
from seq2seq.device import is_out_of_memory, to_device
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.model import ARCHITECTURES, Decoder, Seq2SeqModel, padding_mask
from seq2seq.tokenizer import EOS, PAD
from seq2seq.translation.segments import Ids
from seq2seq.translation.tuning import BATCH_TOKENS


def length_batches(texts: Sequence[Ids], batch_tokens: int, *, min_batches: int = 1) -> Iterator[list[int]]:
    """Group texts of similar length, the longest first.

    Args:
        texts: piece ids of each text, without EOS.
        batch_tokens: max padded tokens of a batch, EOS included; a longer text is a batch of its own.
        min_batches: if there would be fewer batches, they are made smaller.

    Yields:
        The indices of the texts of a batch.
    """
    if min_batches > 1:
        batch_tokens = min(batch_tokens, sum(len(text) + 1 for text in texts) // min_batches + 1)
    # Longest first: memory runs out at once or never, and the last batch is a fast one.
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // (len(texts[order[start]]) + 1))
        yield order[start : start + size]
        start += size


@dataclass(frozen=True)
class SearchJob:
    """What all batches have in common.

    Args:
        config: of the search.
        device: that holds the model.
        limits: max tokens of the translation of each source, EOS included.
        scored: whether scores are needed.
        n_control: number of control symbols and language tags of the vocabulary.
        room: a batch starts when the others have no more source tokens than this left.
    """

    config: DecodingConfig
    device: torch.device
    limits: Sequence[int]
    scored: bool
    n_control: int
    room: int = 0


SearchResult = tuple[int, list[Hypothesis]]
"""The index of a source and its hypotheses, the best first."""


@torch.inference_mode()  # while this runs, but not while its caller uses the results
def search_batches(
    job: SearchJob, sources: Sequence[Ids], decoder: Decoder, batches: Iterator[list[int]]
) -> Iterator[SearchResult]:
    """Search batches of sources. If memory runs out, the unfinished sources are searched again in two halves.

    Args:
        job: what all batches have in common.
        sources: piece ids of each source, without EOS.
        decoder: of the model.
        batches: indices of the sources of each batch.

    Yields:
        The result of each source, in the order in which searches end.

    Raises:
        UserError: memory is out for a single source (75).
    """
    unfinished: dict[int, None] = {}

    def source_batches() -> Iterator[SourceBatch]:
        for indices in batches:
            unfinished.update(dict.fromkeys(indices))
            yield _batch(job, sources, indices)

    try:
        found = search(decoder, source_batches(), job.config, n_control=job.n_control, room=job.room, scored=job.scored)
        for index, hypotheses in found:
            del unfinished[index]
            yield index, hypotheses
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    left = list(unfinished)  # longest first, as they were started
    if len(left) == 1:
        raise UserError(
            f"memory ran out on a source of {counted(len(sources[left[0]]), 'token')}",
            mend="free memory, or lower `decoding.beam_size`",
            code=ExitCode.TRY_LATER,
        )
    half = len(left) // 2
    yield from search_batches(replace(job, room=0), sources, decoder, iter([left[:half], left[half:]]))
    yield from search_batches(job, sources, decoder, batches)


def _batch(job: SearchJob, sources: Sequence[Ids], indices: list[int]) -> SourceBatch:
    src = pad([sources[i] for i in indices], last=EOS)  # [B, S]
    mask = padding_mask(src, PAD)
    src, mask = to_device(src, job.device), None if mask is None else to_device(mask, job.device)
    return SourceBatch(src, mask, [job.limits[i] for i in indices], names=indices)


def max_output(config: DecodingConfig, n_src: int, max_tgt_length: int | None) -> int:
    """Max tokens of a translation, EOS included.

    Args:
        config: of the search.
        n_src: tokens of the source, without EOS.
        max_tgt_length: max tokens that the model can make; None: no limit.
    """
    limit = config.max_length or 2 * n_src + 50
    return limit if max_tgt_length is None else min(limit, max_tgt_length)


def fitting_batch_tokens(model: Seq2SeqModel, beam_size: int) -> int:
    """The ``decoding.batch_tokens`` that is chosen if it is unset, for a model on its device."""
    weight = model.output.weight
    # Each further beam costs a fifth of the first one with its source.
    preferred, minimum = (
        5 * BATCH_TOKENS.get(kind, BATCH_TOKENS["cpu"]) // (4 + beam_size) for kind in (weight.device.type, "cpu")
    )
    if weight.device.type != "cuda":
        return preferred
    # For each source token: its state, and the state of one target token of each beam, with as much memory again.
    per_src_token, per_tgt_token = ARCHITECTURES[model.config.architecture].state_size(model.config)
    bytes_a_token = (per_src_token + 2 * beam_size * per_tgt_token) * weight.element_size()
    free, _ = torch.cuda.mem_get_info(weight.device)
    free += torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device)
    return max(minimum, min(preferred, free // 2 // bytes_a_token))
