"""The recipe of a run: a pure function of the corpus, the kind of device, and the settings of the user.

Nothing is measured here, so that every machine of one kind trains the same recipe. The measured speed (``length.py``)
only sets how many updates fit into a time budget.
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from seq2seq.config import PRESETS, Layer, RunConfig, build, is_used, merge, values_by_key
from seq2seq.model import ARCHITECTURES
from seq2seq.runs import RecipeRecord

DeviceKind = Literal["cpu", "gpu"]
"""``gpu`` is CUDA. Apple's GPU counts as a CPU: its speed is nearer to that."""

_RATE: dict[DeviceKind, float] = {"cpu": 80e9, "gpu": 40e12}
"""Assumed floating-point operations per second of training: of two cores, or of one GPU of a server."""
SECONDS_A_LAYER = 0.004
"""Min time of an update on a GPU, for each layer: Python needs so long to launch its kernels."""
_TOKENS_A_SIDE = 20
"""Assumed length of a side, EOS included, before the corpus is tokenized."""
_WITHOUT_R_DROP = 2 / 3
"""Usual epochs without R-Drop, as a share of those with it: training overfits earlier."""
_MIN_UPDATES = 4000
"""Of a usual run, even on a tiny corpus: with fewer it would learn nothing."""
_MAX_FLOOR = 2.0
"""Max epochs to reach this number of updates, as a multiple of the usual epochs: large updates would take too long."""
_MAX_SECONDS, _IN_PAIRS = 2400.0, 8000
"""Max seconds of a run on the assumed machine, for up to this number of pairs; with more pairs it grows in proportion.
On a CPU it limits the epochs of most corpora from 3,000 pairs on."""


STREAM_PAIRS = 2_000_000
"""A stream, whose size is unknown, gets the recipe of a corpus of this size: the smallest that is surely large."""


@dataclass(frozen=True)
class Statistics:
    """What a recipe needs to know about a corpus."""

    n_pairs: int
    n_src_tokens: int
    """EOS included, as below."""
    n_tgt_tokens: int

    @classmethod
    def guess(cls, n_pairs: int) -> "Statistics":
        """An estimate for a corpus that is not tokenized yet."""
        return cls(n_pairs, _TOKENS_A_SIDE * n_pairs, _TOKENS_A_SIDE * n_pairs)


@dataclass(frozen=True)
class Reasons:
    """Why a recipe has its values; empty: they are the user's or the preset's."""

    model: str = ""
    vocabulary: str = ""
    regularization: str = ""


@dataclass(frozen=True)
class Row:
    """A row of the table of recipes."""

    name: str
    min_pairs: int
    preset: str
    layer: Layer
    """Values that suit corpora of this size better than those of the preset."""
    reasons: Reasons
    min_epochs: float = 3
    """With fewer epochs another recipe is better: without R-Drop, or with a smaller model, training reads twice as much
    in the same time."""


@dataclass(frozen=True)
class Recipe:
    """A configuration with its reasons."""

    name: str
    preset: str
    advised: RunConfig
    """Without the settings of the user."""
    config: RunConfig
    """With them."""
    usual_epochs: float
    """Epochs over a corpus of this size. Training ends after them unless the user sets a limit. A time budget is not
    used for more, because more would hardly help."""
    reasons: Reasons


def _tiny(
    vocab_size: int, batch_tokens: int, dropout: float, *, learning_rate: float = 1e-3, warmup_updates: int = 1000
) -> Layer:
    return {
        "data": {"vocab_size": vocab_size},
        "model": {"d_ff": 512, "dropout": dropout},
        "training": {
            "batch_tokens": batch_tokens,
            "learning_rate": learning_rate,
            "warmup_updates": warmup_updates,
            "r_drop": 5.0,
        },
    }


def _larger(vocab_size: int, batch_tokens: int, dropout: float) -> Layer:
    return {
        "data": {"vocab_size": vocab_size},
        "model": {"dropout": dropout},
        "training": {"batch_tokens": batch_tokens},
    }


_FEW = Reasons(
    "a small model learns more from few pairs",
    "few, so that each occurs often in the corpus",
    "R-Drop: predictions with two dropout masks must agree, so that the model memorizes less",
)
_MEDIUM = Reasons(
    "enough pairs for a larger model", "most words in one or two pieces", "a larger corpus is harder to overfit"
)
_LARGE = Reasons("a large corpus and a GPU", "most words in one piece", "a large corpus needs little regularization")
_LARGE_ON_CPU = replace(_LARGE, model="a larger model would take weeks on a CPU")

# 500 to 7,000 and 30,000 pairs: measured (docs/lab-notes.md, "Recipes for small corpora"); 12,000
# interpolated; from 60,000 pairs on, the field's practice.
_SMALL_CORPORA = [
    Row("500", 0, "tiny", _tiny(1000, 512, 0.3, warmup_updates=500), _FEW, 60),
    Row("1k", 750, "tiny", _tiny(2000, 512, 0.3, warmup_updates=500), _FEW, 60),
    Row("3k", 1750, "tiny", _tiny(2000, 1024, 0.3), _FEW, 60),
    Row("7k", 4500, "tiny", _tiny(4000, 1024, 0.3), _FEW, 60),
    Row("30k", 12_000, "tiny", _tiny(4000, 1024, 0.2, learning_rate=2e-3), _FEW, 25),
]
ROWS: dict[DeviceKind, list[Row]] = {
    "cpu": [
        *_SMALL_CORPORA,
        Row("100k", 60_000, "small", _larger(8000, 4096, 0.3), _MEDIUM),
        Row("300k", 150_000, "small", _larger(8000, 4096, 0.2), _MEDIUM),
        Row("500k", 400_000, "small", _larger(16_000, 4096, 0.1), _LARGE_ON_CPU),
    ],
    "gpu": [
        *_SMALL_CORPORA,
        Row("150k", 60_000, "medium", _larger(10_000, 4096, 0.3), _MEDIUM),
        Row("600k", 400_000, "base", _larger(16_000, 12_500, 0.3), _LARGE),
        Row("1m", 800_000, "base", _larger(32_000, 25_000, 0.2), _LARGE),
        Row("5m", 2_000_000, "base", _larger(32_000, 25_000, 0.1), _LARGE),
        Row("20m", 20_000_000, "big", _larger(32_000, 25_000, 0.1), _LARGE),
    ],
}
"""By the number of pairs, ascending."""
_SHORT_RECIPES: dict[DeviceKind, tuple[str, int]] = {"cpu": ("tiny", 4096), "gpu": ("small", 25_000)}
"""Preset and target tokens of an update, if there is much less time than usual."""
_EPOCHS: dict[DeviceKind, dict[int, float]] = {
    "cpu": {
        500: 250, 1000: 250, 3000: 150, 7000: 100, 30_000: 60, 60_000: 26, 100_000: 14, 400_000: 5,
        2_000_000: 2, 20_000_000: 1,
    },
    "gpu": {
        500: 250, 1000: 250, 3000: 150, 7000: 100, 30_000: 60, 400_000: 40, 1_000_000: 30, 5_000_000: 20,
        20_000_000: 8, 50_000_000: 5,
    },
}  # fmt: skip
"""Usual epochs by the number of pairs; in between, interpolated on a straight line of both logarithms."""


def recipe(corpus: Statistics, kind: DeviceKind, user_layer: Layer) -> Recipe:
    """Choose what to train.

    Args:
        corpus: its statistics. The vocabulary depends only on the number of pairs.
        kind: of device.
        user_layer: settings of the user, limits of training included.
    """
    preset = user_layer.get("preset", "auto")
    if preset != "auto":
        return _with_user_layer(Row(preset, 0, preset, {}, Reasons()), preset, corpus, kind, user_layer)
    row = max((row for row in ROWS[kind] if row.min_pairs <= corpus.n_pairs), key=lambda row: row.min_pairs)
    found = _with_user_layer(row, f"auto-{row.name}", corpus, kind, user_layer)
    for suffix, other in _in_less_time(row, kind):
        if _is_long_enough(found, row.min_epochs, corpus, kind, user_layer):
            break
        found = _with_user_layer(other, f"auto-{row.name}-{suffix}", corpus, kind, user_layer)
    if found.advised.n_forward_passes == 1 and (
        user_layer.get("training", {}).get("r_drop") is not None or not found.config.model.dropout
    ):
        found = replace(found, reasons=replace(found.reasons, regularization=""))  # the user's
    return found


def _with_user_layer(row: Row, name: str, corpus: Statistics, kind: DeviceKind, user_layer: Layer) -> Recipe:
    below = [PRESETS[row.preset], row.layer]
    advised = build(merge(below), where="the recipe")
    config = build(merge([*below, user_layer]), where="the configuration")
    # A preset gets the epochs that it needs; the opening lines report how long they take.
    epochs = usual_epochs(config, corpus, kind, limited_as=advised if name.startswith("auto") else None)
    return Recipe(name, row.preset, advised, config, epochs, row.reasons)


def _in_less_time(row: Row, kind: DeviceKind) -> Iterator[tuple[str, Row]]:
    """Recipes for much less time than usual, the best first; each with a suffix of its name."""
    if "r_drop" in row.layer["training"]:
        without_r_drop: Layer = {"training": {"r_drop": 0.0, "batch_tokens": 2 * row.layer["training"]["batch_tokens"]}}
        reasons = replace(
            row.reasons, regularization=f"no R-Drop: with it fewer than {row.min_epochs:g} epochs would fit"
        )
        yield "one-mask", replace(row, layer=merge([row.layer, without_r_drop]), reasons=reasons)
    preset, batch_tokens = _SHORT_RECIPES[kind]
    if PRESETS[preset]["model"]["d_model"] < PRESETS[row.preset]["model"]["d_model"]:
        reasons = replace(row.reasons, model="there is little time, in which a small model reads more pairs")
        layer = _larger(row.layer["data"]["vocab_size"], batch_tokens, 0.1)
        yield "short", replace(row, preset=preset, layer=layer, reasons=reasons)


def _is_long_enough(found: Recipe, min_epochs: float, corpus: Statistics, kind: DeviceKind, user_layer: Layer) -> bool:
    """Whether a run has the epochs that the recipe needs to be the best one."""
    epochs = _planned_epochs(found, corpus, kind)
    if found.advised.n_forward_passes == 1:
        return epochs >= min(min_epochs, found.usual_epochs)
    if user_layer.get("training", {}).get("r_drop"):  # the user has decided
        return True
    return found.config.n_forward_passes == 2 and epochs >= min_epochs


def with_vocabulary(found: Recipe, size: int, why: str) -> Recipe:
    """The recipe with another size of the vocabulary, unless the user has set it."""
    own = found.config.data.vocab_size != found.advised.data.vocab_size
    advised = replace(found.advised, data=replace(found.advised.data, vocab_size=size))
    config = found.config if own else replace(found.config, data=replace(found.config.data, vocab_size=size))
    return replace(found, advised=advised, config=config, reasons=replace(found.reasons, vocabulary=why))


def _planned_epochs(found: Recipe, corpus: Statistics, kind: DeviceKind) -> float:
    """Epochs within the user's limits; the usual ones if there are no limits."""
    training = found.config.training
    limits = [
        training.max_epochs,
        training.max_updates and training.max_updates * training.batch_tokens / _tokens_an_epoch(found.config, corpus),
        training.time_budget and min(_epochs_in(training.time_budget, found.config, corpus, kind), found.usual_epochs),
    ]
    return min((limit for limit in limits if limit), default=found.usual_epochs)


def _epochs_in(seconds: float, config: RunConfig, corpus: Statistics, kind: DeviceKind) -> float:
    return seconds * assumed_speed(config, corpus, kind) / corpus.n_tgt_tokens


def _tokens_an_epoch(config: RunConfig, corpus: Statistics) -> int:
    """Target tokens of an epoch, and at least those of one update."""
    return max(corpus.n_tgt_tokens, config.training.batch_tokens)


def usual_epochs(
    config: RunConfig, corpus: Statistics, kind: DeviceKind, *, limited_as: RunConfig | None = None
) -> float:
    """Epochs after which more would hardly help.

    Args:
        config: of model and training.
        corpus: its statistics.
        kind: of device.
        limited_as: on a small corpus, no more epochs than this configuration makes in the max time.
    """
    pairs = [math.log(n) for n in _EPOCHS[kind]]
    epochs = [math.log(n) for n in _EPOCHS[kind].values()]
    at = min(max(math.log(max(1, corpus.n_pairs)), pairs[0]), pairs[-1])
    right = min(max(bisect_right(pairs, at), 1), len(pairs) - 1)
    share = (at - pairs[right - 1]) / (pairs[right] - pairs[right - 1])
    usual = math.exp(epochs[right - 1] * (1 - share) + epochs[right] * share)
    is_small = corpus.n_pairs < ROWS[kind][len(_SMALL_CORPORA)].min_pairs
    if is_small and config.n_forward_passes == 1:
        usual *= _WITHOUT_R_DROP
    floor = _MIN_UPDATES * config.training.batch_tokens / _tokens_an_epoch(config, corpus)
    usual = max(usual, min(floor, _MAX_FLOOR * usual))
    if is_small and limited_as:
        seconds = _MAX_SECONDS * max(1.0, corpus.n_pairs / _IN_PAIRS)
        usual = min(usual, _epochs_in(seconds, limited_as, corpus, kind))
    return max(1.0, float(f"{usual:.2g}"))


def assumed_hours(found: Recipe, corpus: Statistics, kind: DeviceKind) -> float:
    """Duration of the usual epochs on the assumed machine."""
    return found.usual_epochs * corpus.n_tgt_tokens / assumed_speed(found.config, corpus, kind) / 3600


def assumed_speed(config: RunConfig, corpus: Statistics, kind: DeviceKind) -> float:
    """Target tokens per second on the assumed machine."""
    return speed(config, corpus, config.data.vocab_size, kind, _RATE[kind])


def speed(config: RunConfig, corpus: Statistics, vocab_size: int, kind: DeviceKind, rate: float) -> float:
    """Target tokens per second, from the arithmetic of a token.

    Args:
        config: of model and training.
        corpus: gives the number of source tokens for each target token.
        vocab_size: rows of the output layer.
        kind: of device.
        rate: floating-point operations per second.
    """
    architecture = ARCHITECTURES[config.model.architecture]
    per_src_token, per_tgt_token = architecture.multiply_adds(config.model, vocab_size)
    multiply_adds = per_src_token * corpus.n_src_tokens / corpus.n_tgt_tokens + per_tgt_token
    tokens = rate / (6 * config.n_forward_passes * multiply_adds)  # forward 2 operations each, backward 4
    if kind == "cpu":
        return tokens
    return min(tokens, config.training.batch_tokens / (SECONDS_A_LAYER * architecture.n_layers(config.model)))


# What may differ between two runs of one recipe: paths, the random seed, how the run is reported and computed, and when
# it ends.
_NOT_OF_THE_RECIPE = {
    "data": {"langs", "train", "valid", "tokenizer", "encoding_errors", "alarms", "streaming", "weights",
             "stream_sample", "bad_shards"},
    "training": {
        "micro_batch_tokens", "report_every", "valid_every", "save_every", "keep_checkpoints", "samples", "seed",
        "precision", "products", "compile", "best_metric", "max_updates", "max_epochs", "time_budget", "patience",
    },
}  # fmt: skip


def record_of(found: Recipe, config: RunConfig, tokenizer: str = "") -> RecipeRecord:
    """The record of a recipe in the manifest. Two runs of one recipe have the same hash, on any text and machine.

    Args:
        found: by ``recipe``.
        config: of the run.
        tokenizer: hash of the user's own tokenizer; empty: there is none.
    """
    advised, trained = (_flat(each, config.model.architecture) for each in (found.advised, config))
    changed = [key for key in trained if trained[key] != advised[key]] + ["data.tokenizer"] * bool(tokenizer)
    text = json.dumps([trained, tokenizer], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:7]
    return RecipeRecord(name=found.name, hash=digest, usual_passes=found.usual_epochs, changed=changed)


def _flat(config: RunConfig, architecture: str) -> dict[str, Any]:
    """The values that make a recipe for an architecture, by key."""
    left_out = {f"{table}.{key}" for table, keys in _NOT_OF_THE_RECIPE.items() for key in keys}
    return {
        key: value
        for key, value in values_by_key(config).items()
        if (key.startswith(("data.", "training.")) and key not in left_out) or is_used(key, architecture)
    }
