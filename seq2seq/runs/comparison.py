"""Compares runs: the settings in which they differ, and those that differ by their random seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seq2seq.config import is_used, values_by_key
from seq2seq.runs.listing import RunSummary
from seq2seq.runs.spread import Spread, spreads

SEED = "training.seed"
_BY_TIME = ("training.max_updates", "training.max_epochs", "training.valid_every", "training.save_every")
"""Keys that follow from the speed of the machine if there is a time budget."""


@dataclass(frozen=True)
class Group:
    """Finished runs that differ by their seed alone."""

    runs: list[int]
    """Their places in the list of runs, from 0."""
    seeds: list[int]
    scores: dict[str, Spread]


@dataclass(frozen=True)
class Difference:
    """A configuration key in which runs differ."""

    key: str
    values: list[Any]
    """Of each run; None: unset, or a run without a configuration."""


def differences(runs: Sequence[RunSummary]) -> list[Difference]:
    """The keys in which the configurations differ, in the order of the configuration.

    With a time budget, the number of updates and the cadences that follow from it are no difference. If two runs have
    corpora of the same name but other text, a hash is added to the name.
    """
    settings = [_settings(run) for run in runs]
    known = [of_run for of_run in settings if of_run is not None]
    keys = dict.fromkeys(key for of_run in known for key in of_run)
    found = []
    for key in keys:
        identities = [None if of_run is None else of_run.get(key, (None, None)) for of_run in settings]
        if len({repr(pair[1]) for pair in identities if pair is not None}) > 1:
            found.append(Difference(key, _shown(identities)))
    return found


def groups(runs: Sequence[RunSummary]) -> list[Group]:
    """Groups of at least two finished runs with the same configuration and the same text, except for the seed.

    Of two runs with the same seed, only the first one counts.
    """
    members: dict[str, dict[int, int]] = {}
    for place, run in enumerate(runs):
        settings = _settings(run)
        if settings is None or not run.finished:
            continue
        seed = settings.pop(SEED)[1]
        members.setdefault(repr([pair[1] for pair in settings.values()]), {}).setdefault(seed, place)
    return [
        Group(list(places.values()), list(places), spreads([runs[place].scores for place in places.values()]))
        for places in members.values()
        if len(places) > 1
    ]


def _settings(run: RunSummary) -> dict[str, tuple[Any, Any]] | None:
    """By key: its value, and what decides whether two are equal. None if the run has no configuration yet."""
    if run.config is None or run.manifest is None:
        return None
    values = values_by_key(run.config)
    architecture = run.config.model.architecture
    values = {k: v for k, v in values.items() if not k.startswith("model.") or is_used(k, architecture)}
    if run.manifest.limits.time_budget is not None:
        values |= dict.fromkeys(_BY_TIME)
        values["training.time_budget"] = run.manifest.limits.time_budget
    settings = {key: (value, value) for key, value in values.items()}
    for role in ("train", "valid"):
        key, hashes = f"data.{role}", _hashes(run, role)
        if hashes:
            settings[key] = (values[key], hashes)
    return settings


def _hashes(run: RunSummary, role: str) -> list[str]:
    """Of the text of its corpora."""
    assert run.manifest is not None
    corpora = run.manifest.corpora
    return [str(corpus["sha256"]) for corpus in corpora if corpus.get("role") == role and "sha256" in corpus]


def _shown(identities: Sequence[tuple[Any, Any] | None]) -> list[Any]:
    """Values as they are shown: with a hash if values that differ would look equal."""
    known = [pair for pair in identities if pair is not None]
    looks_equal = len({repr(pair[0]) for pair in known}) < len({repr(pair[1]) for pair in known})
    shown: list[Any] = []
    for pair in identities:
        value = None if pair is None else list(pair[0]) if isinstance(pair[0], tuple) else pair[0]
        if looks_equal and pair is not None and isinstance(value, list) and isinstance(pair[1], list):
            value = [f"{word} (text {digest[:7]})" for word, digest in zip(value, pair[1], strict=False)]
        shown.append(value)
    return shown
