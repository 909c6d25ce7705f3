"""What Python's garbage collector costs a translation, without the cost of a model.

    python tests/benchmarks/collector_cost.py RUN TEXT LINES [ROUNDS]

An engine that gives back the pieces of each source takes the place of the model, so what is timed is what Python does
beside a GPU: ids of lines, hypotheses, text of ids. TEXT is repeated up to LINES lines. The collector with its usual
thresholds and as ``rare_collections`` sets them, in turn in one process: process time, and what of it the collector
took, median and quartiles.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import torch

from seq2seq.decoding import Hypothesis
from seq2seq.system import collector
from seq2seq.tokenizer import EOS
from seq2seq.translation import Translator, windows
from seq2seq.translation.batches import SearchResult
from seq2seq.translation.streaming import translate_file


class Echo:
    """An engine whose hypotheses are the sources."""

    name, precision = "echo", "float32"

    def search(self, sources: Sequence[list[int]], limits: Sequence[int], *, scored: bool) -> Iterator[SearchResult]:
        """The longest first, as other engines."""
        for i in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
            yield i, [Hypothesis.from_output([*sources[i], EOS], -1.0, 1.0)]


class Stopwatch:
    """A callback of the collector that sums its time."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def __call__(self, phase: str, _: object) -> None:
        """At the start and at the stop of each collection."""
        if phase == "start":
            self._began = time.process_time()
        else:
            self.seconds += time.process_time() - self._began


def summary(seconds: list[float]) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{middle:.3f} s ({low:.3f}-{high:.3f})"


def compare(name: str, translate: Callable[[], object], rounds: int) -> None:
    """Time it with both settings, in turn."""
    usual, rare = gc.get_threshold()[0], collector.NEW_OBJECTS
    totals: dict[int, list[float]] = {usual: [], rare: []}
    shares: dict[int, list[float]] = {usual: [], rare: []}
    translate()
    for _ in range(rounds):
        for setting in totals:
            collector.NEW_OBJECTS = setting  # type: ignore[misc]  # only here
            gc.collect()
            gc.callbacks.append(watch := Stopwatch())
            began = time.process_time()
            translate()
            totals[setting].append(time.process_time() - began)
            gc.callbacks.remove(watch)
            shares[setting].append(watch.seconds)
    collector.NEW_OBJECTS = rare  # type: ignore[misc]  # as before
    for setting, found in totals.items():
        print(f"{name}, {setting:7,} new objects: {summary(found)}, in the collector {summary(shares[setting])}")
    ratios = [b / a for a, b in zip(totals[usual], totals[rare], strict=True)]
    print(f"{name}: {statistics.median(ratios):.2f} of the time ({min(ratios):.2f}-{max(ratios):.2f})")


def main(run: Path, text: Path, n: int, rounds: int) -> None:
    """Compare a list of lines, and a file in windows of both sizes."""
    torch.set_num_threads(1)
    translator = Translator.load(run, device="cpu", decoding={"beam_size": 1}, workers=1)
    translator.engine = Echo()
    lines = list(islice(cycle(text.read_text("utf-8").splitlines()), n))
    compare(f"{n:,} lines, a list", lambda: translator.translate(lines), rounds)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_text("".join(f"{line}\n" for line in lines), "utf-8")

        def whole_file() -> None:
            for _ in translate_file(translator, str(source), str(target)):
                pass

        for size in (windows.MAX_LINES, windows.MAX_LINES_ON_GPU):
            windows.MAX_LINES = size  # type: ignore[misc]  # only here
            compare(f"{n:,} lines, a file in windows of {size:,}", whole_file, rounds)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 5)
