"""Fits the expected chrF of a run's translations, and stores it in the run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import sacrebleu

from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.evaluation.corpora import References
from seq2seq.evaluation.systems import System
from seq2seq.runs import ConfidenceRecord, Manifest, commit, lock, read_manifest
from seq2seq.text import is_blank
from seq2seq.translation import MIN_PAIRS, Features, fit_confidence

Judged = tuple[Features | None, str, str]
"""The features of a translation, its text, and its reference."""


def with_references(system: System, corpora: Sequence[References]) -> list[Judged]:
    """The translations of a run, with the references of the corpora that it translated."""
    return [
        (features, text, reference or "")
        for of_corpus, texts, corpus in zip(system.features, system.hypotheses, corpora, strict=True)
        for features, text, reference in zip(of_corpus, texts, corpus.lines, strict=True)
    ]


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """sacreBLEU's chrF of each sentence, 0 to 100."""
    chrf = sacrebleu.CHRF()
    return [chrf.sentence_score(ours, [ref]).score for ours, ref in zip(hypotheses, references, strict=True)]


def fit_translations(judged: Sequence[Judged], corpus: str) -> ConfidenceRecord | None:
    """Fit the expected chrF on translations and their references. Blank ones are left out.

    Args:
        judged: features, text and reference of each translation.
        corpus: where they came from.

    Returns:
        None if fewer than ``MIN_PAIRS`` are left.
    """
    used = [(found, text, ref) for found, text, ref in judged if found is not None and not is_blank(ref)]
    if len(used) < MIN_PAIRS:
        return None
    chrf = sentence_chrf([text for _, text, _ in used], [ref for _, _, ref in used])
    return fit_confidence([found for found, _, _ in used], chrf, corpus)


def store_confidence(run: Path, used: Manifest, judged: Sequence[Judged], corpus: str) -> ConfidenceRecord:
    """Fit the expected chrF, and store it in the manifest of a run.

    Args:
        run: its folder.
        used: the manifest of the model that translated.
        judged: as in ``fit_translations``.
        corpus: where the translations came from.

    Raises:
        UserError: too few pairs (65); the run is in use, or was trained further meanwhile (75); it cannot be written
            (74).
    """
    fitted = fit_translations(judged, corpus)
    if fitted is None:
        raise UserError(
            f"confidence cannot be fitted on {counted(len(judged), 'pair')} of {corpus}",
            mend=f"give a corpus with at least {MIN_PAIRS} pairs that have text on both sides",
        )
    with lock(run):
        manifest = read_manifest(run)
        if manifest.files != used.files:
            raise UserError(
                f"{run} was replaced while it translated", mend="run the command again", code=ExitCode.TRY_LATER
            )
        commit(run, dataclasses.replace(manifest, confidence=fitted), {}, manifest.files)
    return fitted
