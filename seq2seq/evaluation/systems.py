"""Systems that are scored: the translations of a run, or those in a file."""

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq.corpus import CorpusCounts
from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation.corpora import References, read_beside
from seq2seq.runs import RecipeRecord, read_manifest
from seq2seq.text import EncodingErrors, open_output
from seq2seq.translation import Features, SegmentCounts, Translation, Translator, read_run

_BLOCK = 8192
"""Sentences translated together: enough to sort them by length, few enough for memory."""


@dataclass(frozen=True)
class System:
    """Translations of some corpora."""

    name: str
    hypotheses: Sequence[Sequence[str]]
    """Of each corpus, one for each line, also for those that are not scored."""
    seconds: Sequence[float] | None = None
    """Time of translation of each corpus; None if hypotheses were given."""
    segments: Sequence[SegmentCounts] | None = None
    """Lines of each corpus that were translated in segments; None if hypotheses were given."""
    recipe: RecipeRecord | None = None
    """The recipe of the run; None if hypotheses were given, or if the run does not record it."""
    features: Sequence[Sequence[Features | None]] = ()
    """What confidence is fitted on, of each corpus and line; empty if hypotheses were given."""
    n_avoided_loops: Sequence[int] = ()
    """Lines of each corpus whose best translation repeated itself and gave way; empty if hypotheses were given."""


@dataclass(frozen=True)
class SearchOptions:
    """How runs translate."""

    decoding: Mapping[str, object] | None = None
    """Keys that override the run's decoding configuration."""
    device: str = "auto"
    workers: int | None = None


def translate_corpora(
    run: Path, corpora: Sequence[References], search: SearchOptions, output: Path | None = None
) -> System:
    """Translate the sources of corpora with a run.

    Args:
        run: folder written by ``train``.
        corpora: with sources.
        search: how it translates.
        output: file for the hypotheses; None: they are not written.

    Raises:
        UserError: the run or an option is refused, or the output cannot be written.
    """
    translator = Translator.load(
        run, device=search.device, decoding=dict(search.decoding or {}), workers=search.workers
    )
    hypotheses: list[list[str]] = []
    features: list[list[Features | None]] = []
    seconds, segments, n_avoided_loops = [], [], []
    # Opened before a translation that may take hours, so that a wrong name is reported early.
    with open_output(str(output or os.devnull)) as out:
        for corpus in corpora:
            began = time.monotonic()
            best: list[Translation] = []
            counts = SegmentCounts()
            sources = corpus.sources or []
            for start in range(0, len(sources), _BLOCK):
                block = sources[start : start + _BLOCK]
                found = translator.n_best(block, first_line=start + 1, counts=counts)
                best += [ranked[0] for ranked in found]
            seconds.append(time.monotonic() - began)
            segments.append(counts)
            hypotheses.append([translation.text for translation in best])
            features.append([translation.features for translation in best])
            n_avoided_loops.append(sum(translation.avoided_loop for translation in best))
            out.write("".join(f"{line}\n" for line in hypotheses[-1]).encode("utf-8"))
    recipe = read_manifest(run).recipe
    return System(str(run), hypotheses, seconds, segments, recipe, features, n_avoided_loops)


class Others:
    """Systems that another one is compared with. Files are read at once, so that errors are found early.

    Args:
        places: run folders, or files with the translations of a single corpus.
        corpora: as the other one's.
        errors: what to do with lines of files that are not UTF-8.
        counts: of the single corpus, are added to.

    Raises:
        UserError: a run cannot translate corpora without sources, or a file is for one corpus (2); unequal counts
            (65); a missing run or file (66); a damaged run (78).
    """

    def __init__(
        self, places: Sequence[Path], corpora: Sequence[References], errors: EncodingErrors, counts: CorpusCounts
    ) -> None:
        self._corpora = corpora
        self._places = places
        self._files: dict[Path, System] = {}
        for place in places:
            if place.is_dir():
                read_run(place)
                if without := [corpus.corpus for corpus in corpora if corpus.sources is None]:
                    raise UserError(
                        f"`against={place}` is a run, and {without[0]} has no sources to translate",
                        mend="give a corpus of both sides, with its languages (`langs=de-en`), or a file of "
                        "translations",
                        code=ExitCode.USAGE,
                    )
                continue
            if len(corpora) > 1:
                raise UserError(
                    f"`against={place}` holds the translations of one corpus",
                    mend="run eval once for each corpus, or give a run folder",
                    code=ExitCode.USAGE,
                )
            lines = read_beside(place, len(corpora[0].lines), corpora[0].corpus, errors, counts)
            self._files[place] = System(str(place), [lines])

    def translate(self, first: System, search: SearchOptions) -> list[System]:
        """The systems. A run is not loaded twice.

        Args:
            first: the one that they are compared with.
            search: how runs translate.
        """
        known = {Path(first.name).resolve(): first}
        systems = []
        for place in self._places:
            if place in self._files:
                systems.append(self._files[place])
                continue
            if place.resolve() not in known:
                known[place.resolve()] = translate_corpora(place, self._corpora, search)
            found = known[place.resolve()]
            systems.append(dataclasses.replace(found, name=str(place)))
        return systems
