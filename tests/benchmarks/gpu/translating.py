"""The whole path of ``train``, and translating as the program does it: from text to text, phase by phase."""

import contextlib
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gpu.pairs import TINY
from gpu.report import Report
from seq2seq.corpus import read_pairs
from seq2seq.evaluation import score
from seq2seq.training import Request, train
from seq2seq.training.progress import Finished, Notice, Started, Validation
from seq2seq.training.progress import Report as TrainingReport
from seq2seq.translation import Translator, read_langs
from seq2seq.translation.batches import SearchResult
from seq2seq.translation.engines.base import Engine
from seq2seq.translation.segments import Ids

PHRASEBOOK = Path(__file__).parents[3] / "data" / "phrasebook"
PASSES = 30
LINES, DRY_LINES = 20_000, 24
ROUNDS = 3


class Lines(NamedTuple):
    """What is translated: a test set, then other lines until there are enough."""

    sources: list[str]
    references: list[str]
    n_test: int
    """Lines of the test set, for BLEU."""


def path(report: Report) -> None:
    """Train a model of base's size on the embedded corpus: seconds from the command to the saved model."""
    if "run" in report.words:
        report.found["run"] = Path(report.words["run"])
        report.remark(f"The whole path of train: left out, {report.words['run']} is given")
        return
    folder = tempfile.TemporaryDirectory()
    report.closing.append(folder.cleanup)
    run = Path(folder.name) / "run"
    corpus = report.words.get("train", "the phrasebook's 20,000 pairs")
    table = report.table(
        "From the command to the saved model",
        *("what", "seconds"),
        note=f"`train` in this process: preset base, {PASSES} passes over {corpus}, 8,192 target tokens an update.",
    )
    began = time.perf_counter()
    started, validating, end = began, 0.0, None
    speeds: list[float] = []
    for event in train(Request(run, [_recipe(report, Path(folder.name))], device=report.device.type)):
        if isinstance(event, Started):
            started = time.perf_counter()
            report.row(table, "reading, tokenizing, preparing", started - began)
        elif isinstance(event, Validation):
            validating += event.seconds
            report.say(f"  update {event.update}: BLEU {event.bleu:.1f}, validated in {event.seconds:.1f} s")
        elif isinstance(event, TrainingReport):
            speeds.append(event.tgt_tokens_per_second)
        elif isinstance(event, Finished):
            end = event
        elif isinstance(event, Notice) and event.warning:
            report.say(f"  {event.text}")
    total = time.perf_counter() - began
    assert end is not None
    report.row(table, f"{end.update:,} updates, saving", total - (started - began) - validating)
    report.row(table, "validating", validating)
    report.row(table, "all", total)
    report.row(table, "target tokens/s while updating, median", statistics.median(speeds) if speeds else None)
    report.row(table, "BLEU on validation pairs", end.scores.get("bleu"))
    report.found["run"] = run


def _recipe(report: Report, folder: Path) -> dict[str, Any]:
    """The configuration of the run."""
    data: dict[str, Any] = {"langs": "de-en", "train": [str(PHRASEBOOK / "train")], "vocab_size": 1500}
    data["valid"] = [str(PHRASEBOOK / "valid")]
    if report.dry:
        for side in ("de", "en"):
            lines = (PHRASEBOOK / f"test.{side}").read_text(encoding="utf-8").splitlines(keepends=True)
            (folder / f"train.{side}").write_text("".join(lines[:100]), encoding="utf-8")
            (folder / f"valid.{side}").write_text("".join(lines[100:104]), encoding="utf-8")
        data |= {"train": [str(folder / "train")], "valid": [str(folder / "valid")], "vocab_size": 384}
        training = {"max_updates": 30, "batch_tokens": 256, "learning_rate": 5e-3, "warmup_updates": 5}
        return {"preset": "tiny", "data": data, "model": TINY, "training": training, "decoding": {"max_length": 20}}
    if "train" in report.words:
        data = {"langs": report.words["langs"], "train": [report.words["train"]], "vocab_size": 8000}
    training = {"max_epochs": PASSES, "batch_tokens": 8192, "learning_rate": 7e-4, "warmup_updates": 200}
    return {"preset": "base", "data": data, "model": {"dropout": 0.1}, "training": training}


def lines_of(report: Report, langs: tuple[str, str]) -> Lines:
    """Lines to translate, in the languages of the run."""
    n = DRY_LINES if report.dry else LINES
    if "train" in report.words:
        pairs = list(islice(read_pairs(report.words["train"], langs), n))
        n_test = min(1000, len(pairs))
    else:
        pairs = list(read_pairs(str(PHRASEBOOK / "test"), langs))
        n_test = min(n, len(pairs))
        pairs += islice(read_pairs(str(PHRASEBOOK / "train"), langs), max(0, n - n_test))
    pairs = (pairs * (n // len(pairs) + 1))[:n]
    return Lines([pair.src for pair in pairs], [pair.tgt for pair in pairs], n_test)


# Text to text --------------------------------------------------------------------------------------------------------


class TimedEngine:
    """An engine that remembers when its search began and ended."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision = engine.name, engine.precision
        self.began = self.ended = 0.0

    def search(self, sources: Sequence[Ids], limits: Sequence[int], *, scored: bool) -> Iterator[SearchResult]:
        """As ``Engine.search``."""
        self.began = time.perf_counter()
        yield from self._engine.search(sources, limits, scored=scored)
        self.ended = time.perf_counter()


class Phases(NamedTuple):
    """Seconds of a translation."""

    all: float
    to_ids: float | None = None
    search: float | None = None
    to_text: float | None = None


Tool = Callable[[list[str]], tuple[list[str], Phases]]
"""Translates lines: their translations, and how long it took."""


def today(report: Report) -> None:
    """Translate text to text, by the program and by CTranslate2 in turn."""
    run = report.found.get("run")
    if run is None:
        report.remark("Translating as it is: left out, there is no trained run")
        return
    table = report.table(
        "Translating as it is, text to text",
        *("tool", "tokens/s", "of the first tool's time", "seconds", "text to ids", "search", "ids to text", "BLEU"),
        note=f"{DRY_LINES if report.dry else LINES:,} lines, median of {ROUNDS} rounds in turn. If text takes a tenth "
        "of the time, its Python is worth work; if only the collector makes a difference, it should be off.",
    )
    langs = read_langs(run)
    lines = lines_of(report, langs)
    for beams in (1, 4):
        name = "greedy" if beams == 1 else f"beam {beams}"
        with report.guarded(name, table), contextlib.ExitStack() as until_done:
            translator = Translator.load(run, device=report.device.type, decoding={"beam_size": beams})
            tools: dict[str, Tool] = {
                "seq2seq": lambda texts, t=translator: ours(t, texts),
                "seq2seq, no garbage collector": lambda texts, t=translator: without_collector(ours, t, texts),
            }
            tools |= theirs(report, run, translator, beams, until_done)
            _turns(report, table, name, tools, lines, langs, translator)


def _turns(
    report: Report,
    table: Any,
    name: str,
    tools: dict[str, Tool],
    lines: Lines,
    langs: tuple[str, str],
    translator: Translator,
) -> None:
    found: dict[str, list[Phases]] = {tool: [] for tool in tools}
    texts: dict[str, list[str]] = {}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for tool, translate in tools.items():
            texts[tool], phases = translate(lines.sources[: None if turn else max(1, len(lines.sources) // 8)])
            if turn:
                found[tool].append(phases)
    middles = {tool: sorted(of_tool)[len(of_tool) // 2] for tool, of_tool in found.items()}
    first = next(iter(middles.values())).all
    for tool, middle in middles.items():
        n_tokens = sum(map(len, translator.tokenizer.encode(texts[tool]))) + len(texts[tool])
        bleu = score("bleu", texts[tool][: lines.n_test], lines.references[: lines.n_test], langs[1]).value
        parts = (middle.all, middle.to_ids, middle.search, middle.to_text)
        report.row(table, f"{name}: {tool}", n_tokens / middle.all, f"{middle.all / first:.2f}", *parts, bleu)


def ours(translator: Translator, texts: list[str]) -> tuple[list[str], Phases]:
    """Translate by the program."""
    engine = translator.engine
    timed = TimedEngine(engine)
    translator.engine = timed
    try:
        began = time.perf_counter()
        found = translator.translate(texts)
        ended = time.perf_counter()
    finally:
        translator.engine = engine
    return found, Phases(ended - began, timed.began - began, timed.ended - timed.began, ended - timed.ended)


def without_collector(tool: Callable[..., Any], *args: Any) -> Any:
    """Call a tool while Python's garbage collector is off."""
    gc.disable()
    try:
        return tool(*args)
    finally:
        gc.enable()


def theirs(
    report: Report, run: Path, translator: Translator, beams: int, until_done: contextlib.ExitStack
) -> dict[str, Tool]:
    """CTranslate2 on the same GPU; nothing if it is not installed or finds no GPU."""
    try:
        import ctranslate2
        from sentencepiece import SentencePieceProcessor

        from seq2seq.interop.ctranslate2 import export_run

        if not ctranslate2.get_cuda_device_count():
            raise RuntimeError("it finds no GPU")
        folder = Path(until_done.enter_context(tempfile.TemporaryDirectory())) / "exported"
        export_run(run, folder)
        tokenizer = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        options = {"beam_size": beams, "length_penalty": translator.config.alpha, "max_decoding_length": 100}
        options |= {"max_batch_size": 65_536, "batch_type": "tokens", "min_decoding_length": 0}
        made: dict[str, Tool] = {}
        for compute in ("bfloat16", "float16"):
            engine = ctranslate2.Translator(str(folder), device="cuda", compute_type=compute)

            def translate(texts: list[str], engine=engine) -> tuple[list[str], Phases]:
                began = time.perf_counter()
                results = engine.translate_batch(tokenizer.encode(texts, out_type=str), **options)
                found = tokenizer.decode([result.hypotheses[0] for result in results])
                return found, Phases(time.perf_counter() - began)

            translate(["ein Haus"])
            made[f"CTranslate2 {compute}"] = translate
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        report.remark(f"CTranslate2 left out: {error}")
        return {}
    return made
