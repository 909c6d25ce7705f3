"""Sources grouped for the model, and searched a batch at a time.

Shapes: B sentences, S source length.
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


def length_batches(units: Sequence[Ids], batch_tokens: int, *, shares: int = 1) -> Iterator[list[int]]:
    """Group units of similar length, longest first.

    Args:
        units: pieces, without EOS.
        batch_tokens: most padded tokens of a batch, EOS included; a longer unit comes alone.
        shares: smaller batches where there would be fewer than this many.

    Yields:
        The indices of a batch's units.
    """
    if shares > 1:
        batch_tokens = min(batch_tokens, sum(len(unit) + 1 for unit in units) // shares + 1)
    # Longest first: memory runs out at once or never, and the last batch is a quick one.
    order = sorted(range(len(units)), key=lambda i: -len(units[i]))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // (len(units[order[start]]) + 1))
        yield order[start : start + size]
        start += size


BATCHES_AT_ONCE = {True: 4, False: 2}
"""A batch's tokens are this part of those that are searched side by side, on a CPU and elsewhere."""


@dataclass(frozen=True)
class SearchJob:
    """What all batches have in common.

    Args:
        config: of the search.
        device: that holds the model.
        most: longest output that the model can make, in tokens; None: no limit.
        scored: whether scores are wanted.
        n_control: control symbols and tags of the vocabulary.
        room: a batch is begun beside others that are down to so many tokens.
        limits: longest output of each unit, in tokens; None: that of ``config``.
    """

    config: DecodingConfig
    device: torch.device
    most: int | None
    scored: bool
    n_control: int
    room: int = 0
    limits: Sequence[int] | None = None


Found = tuple[int, list[Hypothesis]]
"""The index of a unit and its hypotheses, best first."""


@torch.inference_mode()  # while it runs, and not while its results are looked at
def search_batches(
    job: SearchJob, units: Sequence[Ids], decoder: Decoder, batches: Iterator[list[int]]
) -> Iterator[Found]:
    """Search batches of units, given by their indices; where memory runs out, what was under way anew by halves.

    Yields:
        What was found for each unit, in the order in which searches end.

    Raises:
        UserError: memory is out for a single source (75).
    """
    under_way: dict[int, None] = {}

    def begun() -> Iterator[SourceBatch]:
        for indices in batches:
            under_way.update(dict.fromkeys(indices))
            yield _batch(job, units, indices)

    try:
        found = search(decoder, begun(), job.config, n_control=job.n_control, room=job.room, scored=job.scored)
        for index, hypotheses in found:
            del under_way[index]
            yield index, hypotheses
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    left = list(under_way)  # longest first, as they were begun
    if len(left) == 1:
        raise UserError(
            f"memory ran out on a source of {counted(len(units[left[0]]), 'token')}",
            mend="free memory, or lower `decoding.beam_size`",
            code=ExitCode.TRY_LATER,
        )
    half = len(left) // 2
    yield from search_batches(replace(job, room=0), units, decoder, iter([left[:half], left[half:]]))
    yield from search_batches(job, units, decoder, batches)


def _batch(job: SearchJob, units: Sequence[Ids], indices: list[int]) -> SourceBatch:
    src = pad([units[i] for i in indices], last=EOS)  # [B, S]
    mask = padding_mask(src, PAD)
    limits = [job.config.max_length or 2 * len(units[i]) + 50 for i in indices]
    if job.most is not None:
        limits = [min(limit, job.most) for limit in limits]
    if job.limits is not None:
        limits = [min(limit, job.limits[i]) for limit, i in zip(limits, indices, strict=True)]
    src, mask = to_device(src, job.device), None if mask is None else to_device(mask, job.device)
    return SourceBatch(src, mask, limits, names=indices)


_BATCH_TOKENS = {"cpu": 5120, "cuda": 102_400}
"""With one beam. CPU: activations stay in its cache. GPU: enough to keep it busy. Other devices were not measured."""


def fitting_batch_tokens(model: Seq2SeqModel, beam_size: int) -> int:
    """The ``decoding.batch_tokens`` that is chosen if none is given, for a model on its device."""
    weight = model.output.weight
    # A further beam takes a fifth of what the first one and the source take.
    wanted, least = (
        5 * _BATCH_TOKENS.get(kind, _BATCH_TOKENS["cpu"]) // (4 + beam_size) for kind in (weight.device.type, "cpu")
    )
    if weight.device.type != "cuda":
        return wanted
    # The state for the source and for as many target tokens of each beam, with as much room again for these.
    per_src_token, per_tgt_token = ARCHITECTURES[model.config.architecture].state_size(model.config)
    a_token = (per_src_token + 2 * beam_size * per_tgt_token) * weight.element_size()
    free, _ = torch.cuda.mem_get_info(weight.device)
    free += torch.cuda.memory_reserved(weight.device) - torch.cuda.memory_allocated(weight.device)
    return max(least, min(wanted, free // 2 // a_token))
