"""What could make translating faster: searches of prototypes beside the program's own, from ids to hypotheses.

The model is the trained run's, its vocabulary filled up to 32,000 pieces that are never said: so the output layer costs
what it does in practice, and translations still end by themselves. Every prototype's hypotheses are compared with the
program's, and for some sentences in fp32, where they must be the same.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch

from gpu.bookkeeping import Bookkeeping, FixedBeams, FixedGreedy, hypotheses
from gpu.machine import wait
from gpu.pairs import TINY, made_up_sentences
from gpu.report import Report, Table
from gpu.static_step import STEPS_LATE, StaticSearch
from gpu.translating import lines_of, without_collector
from seq2seq.batching import pad
from seq2seq.config import PRESETS, DecodingConfig, build, merge
from seq2seq.decoding import Hypothesis
from seq2seq.device import HostCopy, to_device
from seq2seq.model import Seq2SeqModel, build_decoder, build_model, padding_mask
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.tokenizer import EOS, N_CONTROL, PAD
from seq2seq.translation import Translator, read_langs
from seq2seq.translation.batches import fitting_batch_tokens, max_output
from seq2seq.translation.engines import OwnEngine

VOCABULARY, DRY_VOCABULARY = 32_000, 512
SENTENCES = 12_000
AT_ONCE, DRY_AT_ONCE = {1: 4096, 4: 2048}, {1: 8, 4: 8}
"""Sentences of a batch of the prototypes, by the number of beams, on a GPU with much memory."""
MAX_SRC = 48
"""Tokens of a source; a longer one is cut: memory of fixed shape is as large as the longest needs."""
LARGE = 60 << 30
"""Bytes: a GPU with less memory gets a quarter of the sentences."""
CHECKED, DRY_CHECKED = 64, 8
"""Sentences that are searched in fp32, too."""
SAID = -1e4
"""The bias of pieces that are never said: far below all others, and within the range of fp16."""

Searching = Callable[[Sequence[Sequence[int]], Sequence[int]], list[Hypothesis]]
"""The best hypothesis of each source, within limits."""


@dataclass(frozen=True)
class Job:
    """What is searched."""

    model: Seq2SeqModel
    """In fp32, in evaluation mode, on the device."""
    config: DecodingConfig
    n_control: int
    sources: list[list[int]]
    limits: list[int]
    at_once: int
    """Sentences of a prototype's batch."""


def levers(report: Report) -> None:
    """Measure all ways to search, greedily and with four beams."""
    table = report.table(
        "Searching: what could be built",
        *("search", "tokens/s", "seconds", "of the present", "same translation", "score is off by", "same in fp32"),
        note="From ids to hypotheses, the faster of two rounds. Worth building: 0.90 or less of the present. Same "
        "translation: as the program's in bf16, where rounding depends on the batch. Same in fp32: all must be, or the "
        "prototype is wrong.",
    )
    for beams in (1, 4):
        name = "greedy" if beams == 1 else f"beam {beams}"
        with report.guarded(name, table), torch.inference_mode():
            _measure(report, _job(report, beams), name, table)


def _measure(report: Report, job: Job, name: str, table: Table) -> None:
    half = torch.bfloat16 if report.on_gpu else torch.float32
    present = None
    wanted: list[Hypothesis] = []
    checked = DRY_CHECKED if report.dry else CHECKED
    few = replace(job, sources=job.sources[:checked], limits=job.limits[:checked], at_once=checked)
    exact = the_program(few, torch.float32)(few.sources, few.limits)
    ways: list[tuple[str, Callable[[Job, torch.dtype], Searching], torch.dtype]] = [
        ("the program as it is", the_program, half),
        ("no garbage collector", no_collector, half),
        ("three times as many sentences at once", in_large_batches, half),
        ("weights in fp16", the_program, torch.float16),
        ("bookkeeping as tensors, the program's step", by_tensors, half),
        ("static step", static, half),
        ("static step, compaction by halves", compacted, half),
        ("static step, compaction, CUDA graphs", recorded, half),
        ("static step, compaction, CUDA graphs, fp16", recorded, torch.float16),
    ]
    for label, make, dtype in ways:
        if dtype == torch.float16 and not report.on_gpu:
            continue  # a CPU multiplies in fp16 very slowly, and the dry run checks the same lines in fp32
        with report.guarded(f"{name}: {label}", table):
            note, seconds, found = _timed(make, job, dtype, report.device)
            wanted, present = wanted or found, present or seconds
            same = None
            if dtype == half:
                same = f"{n_same(make(few, torch.float32)(few.sources, few.limits), exact)} of {len(exact)}"
            row = (sum(h.length for h in found) / seconds, seconds, f"{seconds / present:.2f}")
            report.row(table, f"{name}: {label}{note}", *row, *compared(found, wanted), same)


def _timed(
    make: Callable[[Job, torch.dtype], Searching], job: Job, dtype: torch.dtype, device: torch.device
) -> tuple[str, float, list[Hypothesis]]:
    """A remark, seconds, and what was found. Its memory is free when it returns."""
    began = time.perf_counter()
    search = make(job, dtype)
    search(job.sources[: job.at_once // 2], job.limits[: job.at_once // 2])
    wait(device)
    ready = time.perf_counter() - began
    problem = getattr(search, "problem", "")
    note = f"; ready after {ready:.0f} s" * (ready > 3) + f"; {problem}" * bool(problem)
    rounds = []
    for _ in range(2):
        began = time.perf_counter()
        found = search(job.sources, job.limits)
        wait(device)
        rounds.append(time.perf_counter() - began)
    return note, min(rounds), found


def n_same(found: list[Hypothesis], wanted: list[Hypothesis]) -> int:
    """Sentences with the same translation."""
    return sum(one.tokens == other.tokens for one, other in zip(found, wanted, strict=True))


def compared(found: list[Hypothesis], wanted: list[Hypothesis]) -> tuple[str, float | None]:
    """The share of the same translations, and the largest difference of the scores of these."""
    pairs = [(one.score, other.score) for one, other in zip(found, wanted, strict=True) if one.tokens == other.tokens]
    known = [abs(one - other) for one, other in pairs if abs(one) < 1e9 and abs(other) < 1e9]  # greedy has none
    return f"{len(pairs) / len(wanted):.1%}", max(known, default=None)


# What is searched ----------------------------------------------------------------------------------------------------


def _job(report: Report, beams: int) -> Job:
    large = report.on_gpu and torch.cuda.get_device_properties(report.device).total_memory >= LARGE
    at_once = DRY_AT_ONCE[beams] if report.dry else AT_ONCE[beams] // (1 if large else 4)
    n = DRY_AT_ONCE[beams] * 2 + 3 if report.dry else SENTENCES
    vocabulary = DRY_VOCABULARY if report.dry else VOCABULARY
    run = report.found.get("run")
    if run is None:
        return _of_random_weights(report, beams, n, at_once, vocabulary)
    settings = {"beam_size": beams, "precision": "fp32", "repetition_guard": False}
    translator = Translator.load(run, device=report.device.type, decoding=settings)
    lines = lines_of(report, read_langs(run)).sources[:n]
    sources = [ids[:MAX_SRC] for ids in translator.tokenizer.encode(lines)]
    limits = [max_output(translator.config, len(ids), None) for ids in sources]
    model = widened(translator.model, max(vocabulary, -(-len(translator.tokenizer) // 64) * 64))
    return Job(model, translator.config, translator.tokenizer.n_control, sources, limits, at_once)


def _of_random_weights(report: Report, beams: int, n: int, at_once: int, vocabulary: int) -> Job:
    """A model that has learned nothing never ends a translation: it is cut off at the length of its source."""
    report.remark("Searching: there is no trained run; a model of random weights is cut off at its sources' lengths")
    layer = {"model": TINY} if report.dry else PRESETS["base"]
    torch.manual_seed(1)
    with report.device:
        model = build_model(build(merge([layer]), where="the preset").model, vocabulary).eval()
    with torch.no_grad():
        model.output.bias[EOS] = SAID
    pairs = made_up_sentences(n, vocabulary)
    sources = [ids.tolist() for ids in pairs.src]  # type: ignore[union-attr]
    config = DecodingConfig(beam_size=beams, repetition_guard=False)
    return Job(model, config, N_CONTROL, sources, [len(ids) + 1 for ids in pairs.tgt], at_once)


def widened(model: Seq2SeqModel, vocabulary: int) -> Seq2SeqModel:
    """The model with more pieces, which it never says."""
    old = model.output.weight.size(0)
    with model.output.weight.device:
        wide = build_model(model.config, vocabulary).eval()
    known = dict(model.named_parameters())
    for name, parameter in wide.named_parameters():
        value = known[name]
        if parameter.shape != value.shape:
            parameter.zero_()[:old] = value
        else:
            parameter.copy_(value)
    wide.output.bias[old:] = SAID
    return wide


def in_dtype(model: Seq2SeqModel, dtype: torch.dtype) -> Seq2SeqModel:
    """A copy of the model in another type."""
    return copy.deepcopy(model).to(dtype)


# Ways to search ------------------------------------------------------------------------------------------------------


def the_program(job: Job, dtype: torch.dtype, config: DecodingConfig | None = None) -> Searching:
    """The program's own search."""
    config = config or job.config
    engine = OwnEngine(in_dtype(job.model, dtype), config, n_control=job.n_control, n_workers=1)

    def search(sources: Sequence[Sequence[int]], limits: Sequence[int]) -> list[Hypothesis]:
        found = dict(engine.search([list(ids) for ids in sources], limits, scored=config.beam_size > 1))
        return [found[i][0] for i in range(len(sources))]

    return search


def no_collector(job: Job, dtype: torch.dtype) -> Searching:
    """The program's own search, while Python's garbage collector is off."""
    search = the_program(job, dtype)
    return lambda sources, limits: without_collector(search, sources, limits)  # type: ignore[no-any-return]


def in_large_batches(job: Job, dtype: torch.dtype) -> Searching:
    """The program's own search with three times as many source tokens at once."""
    tokens = job.config.batch_tokens or fitting_batch_tokens(job.model, job.config.beam_size)
    return the_program(job, dtype, replace(job.config, batch_tokens=3 * tokens))


def by_tensors(job: Job, dtype: torch.dtype) -> Searching:
    """The program's step, and bookkeeping on the GPU."""
    decoder: Any = build_decoder(in_dtype(job.model, dtype), greedy=False)

    def of_batch(sources: Sequence[Sequence[int]], limits: Sequence[int]) -> list[Hypothesis]:
        device, n, beams = job.model.output.weight.device, len(sources), job.config.beam_size
        book: Bookkeeping = FixedGreedy(n, 1, max(limits), device)
        if beams > 1:
            book = FixedBeams(n, beams, max(limits), job.config.alpha, device)
        src = pad(sources, last=EOS)
        mask = padding_mask(src, PAD)
        state = decoder.start(to_device(src, device), None if mask is None else to_device(mask, device))
        book.start(to_device(torch.tensor(limits), device))
        tokens = book.tokens[:n]  # one beam at the first step
        counts: list[HostCopy] = []
        for _ in range(max(limits)):
            (logits,), (state,) = decoder.step([tokens], [state])
            parents = book.choose(logits, job.n_control)
            if parents is not None:
                state = decoder.reorder(state, range(n), parents)
            tokens = book.tokens
            counts.append(HostCopy((~book.over).sum().view(1, 1)))
            if len(counts) > STEPS_LATE and not int(counts.pop(0).values()[0]):
                break
        parts = (part[:, 0].tolist() for part in (book.done, book.lengths, book.scores, book.log_probs))
        return [hypotheses(*of_one) for of_one in zip(*parts, strict=True)]

    return in_batches(of_batch, job.at_once)


def static(job: Job, dtype: torch.dtype, *, compact: bool = False, graphs: bool = False) -> Searching:
    """Steps of fixed shape."""
    decoder: Any = build_decoder(in_dtype(job.model, dtype), greedy=False)
    assert isinstance(decoder, FastDecoder)
    searches = StaticSearch(
        decoder,
        job.at_once,
        job.config.beam_size,
        max(map(len, job.sources)) + 1,
        max(job.limits),
        alpha=job.config.alpha,
        n_control=job.n_control,
        compact=compact,
        graphs=graphs,
    )
    search = in_batches(searches.search, job.at_once)
    if graphs:
        search.problem = searches.problem  # type: ignore[attr-defined]
    return search


def compacted(job: Job, dtype: torch.dtype) -> Searching:
    """Steps of fixed shape, which become smaller as sentences end."""
    return static(job, dtype, compact=True)


def recorded(job: Job, dtype: torch.dtype) -> Searching:
    """The same, recorded as CUDA graphs."""
    return static(job, dtype, compact=True, graphs=True)


def in_batches(of_batch: Searching, at_once: int) -> Searching:
    """Search sources of similar length together, the longest first."""

    def search(sources: Sequence[Sequence[int]], limits: Sequence[int]) -> list[Hypothesis]:
        order = iter(sorted(range(len(sources)), key=lambda i: -len(sources[i])))
        found: dict[int, Hypothesis] = {}
        while part := list(islice(order, at_once)):
            results = of_batch([sources[i] for i in part], [limits[i] for i in part])
            found.update(zip(part, results, strict=True))
        return [found[i] for i in range(len(sources))]

    return search
