"""What ``auto`` picks, and why: corpus size and machine to preset, vocabulary, schedule."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from seq2seq.config import PRESETS, SIZES, Layer, RunConfig, build, merge
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.prepare import Prepared
from seq2seq.translation import cores, pick_precision

LIMITS = ("max_updates", "max_epochs", "time_budget")
"""Keys of ``training`` that say when a run ends."""
WHEN_TIME_IS_SHORT: Layer = {"training": {"schedule": "hold_cooldown"}}
"""A run whose end is fixed by the clock gains most from a rate that falls to zero by then."""

# Target tokens that a run reads in all, twice those of two masks. On a CPU: what two cores get through in about an
# hour and a half with the small preset.
_TOKENS = {"tiny": 32e6, "small": 12e6, "base": 500e6, "big": 2000e6, "deep": 500e6}
_MOST_EPOCHS, _MOST_EPOCHS_OF_TWO_MASKS = 40, 60
_FEWEST_EPOCHS_OF_TWO_MASKS = _MOST_EPOCHS // 2
"""In the same time one mask makes twice as many, and more of those would only overfit."""

_SHARE = {"cpu": 0.4, "cuda": 0.2, "mps": 0.2}
"""Of the rate of a large matrix product that training reaches."""
_SECONDS_A_LAYER = 0.004
"""In which a GPU is asked for a layer's part of an update: however few the tokens, no update takes less."""


@dataclass(frozen=True)
class Advice:
    """A preset, what is better for this corpus than its values, and why."""

    preset: str
    layer: Layer = field(default_factory=dict)
    model: str = ""
    vocabulary: str = ""
    dropout: str = ""
    batch: str = ""


def advise(n_pairs: int, device: str) -> Advice:
    """Choose for a corpus of ``n_pairs`` pairs on a machine with ``device`` (cpu, cuda or mps)."""
    gpu = device != "cpu"
    vocabulary = "few pieces, so that each is met often enough"
    dropout = "few pairs are soon known by heart"
    batch = "many small steps find the better model"
    if n_pairs < 12_000:
        preset, vocab_size, batch_tokens = "tiny", 2000, 1024
        model = "few pairs: a narrow model is hard enough to overfit"
    elif n_pairs < 60_000:
        preset, vocab_size, batch_tokens = "tiny", 4000, 1024
        model = "a small corpus, of which a narrow model takes more passes in the same time"
        dropout = "a model that two masks agree on knows less by heart"
    elif n_pairs < 400_000 or not gpu:
        preset, vocab_size, batch_tokens = "small", 8000 if n_pairs < 400_000 else 16_000, 4096
        model = "a medium corpus" if n_pairs < 400_000 else "a large corpus, but a CPU could not train more in days"
        vocabulary = "words in one or two pieces, with an output layer that is not the slowest part"
        batch = "a compromise of many steps and of large products"
        if n_pairs >= 100_000:
            dropout = "more pairs need less of it"
    else:
        preset, vocab_size, batch_tokens = ("base" if n_pairs < 20_000_000 else "big"), 32_000, 25_000
        model = f"a {'very ' if n_pairs >= 20_000_000 else ''}large corpus and a GPU"
        vocabulary, dropout = "most words in one piece", "as its paper has it"
        batch = "large products keep a GPU busy"
    layer: Layer = {"data": {"vocab_size": vocab_size}, "training": {"batch_tokens": batch_tokens}}
    if preset == "tiny" and n_pairs >= 12_000:
        layer["model"] = {"d_ff": 512, "dropout": 0.2}
        layer["training"] |= {"learning_rate": 2e-3, "r_drop": 5.0}
    if preset == "small" and n_pairs >= 100_000:
        layer["model"] = {"dropout": 0.2 if n_pairs < 400_000 else 0.1}
    return Advice(preset, layer, model, vocabulary, dropout, batch)


def with_vocabulary(advice: Advice, size: int) -> Advice:
    """The advice for text that has more characters than its vocabulary."""
    why = "one for each of its many characters, and what more the text bears"
    return replace(advice, layer=merge([advice.layer, {"data": {"vocab_size": size}}]), vocabulary=why)


def with_masks_for(
    advice: Advice, given: Layer, config: RunConfig, prepared: Prepared, an_epoch: int, device: torch.device
) -> Advice:
    """The advice, without R-Drop where a run makes too few passes for it, or the user does without.

    Args:
        advice: by the number of pairs alone.
        given: what the user asks for.
        config: all together.
        prepared: the corpus.
        an_epoch: updates of one pass over it.
        device: that learns.
    """
    training = config.training
    advised: Layer = advice.layer.get("training", {})
    if "r_drop" not in advised or given.get("training", {}).get("r_drop"):
        return advice
    one_mask: Layer = {"training": {"r_drop": 0.0, "batch_tokens": 2 * advised["batch_tokens"]}}
    if config.n_masks == 1:
        return replace(advice, layer=merge([advice.layer, one_mask]), dropout="")
    if training.time_budget is not None:
        epochs = training.time_budget * expected_speed(config, prepared, device) / prepared.n_tgt_tokens
    else:
        settled = complete(config, advice.preset, prepared.n_tgt_tokens, an_epoch, device.type).training.max_updates
        assert settled is not None
        epochs = settled / an_epoch
    if epochs >= _FEWEST_EPOCHS_OF_TWO_MASKS:
        return advice
    why = f"R-Drop would need {_FEWEST_EPOCHS_OF_TWO_MASKS} passes or more"
    return replace(advice, layer=merge([advice.layer, one_mask]), dropout=why)


def explain_choice(config: RunConfig, advice: Advice, n_pairs: int, vocab_size: int, device: str) -> list[str]:
    """What is going to be trained, in four lines; where it was chosen here, also why."""
    data, model, training = config.data, config.model, config.training
    where = f"{cores()} CPU cores" if device == "cpu" else device
    shape = f"{model.encoder_layers}+{model.decoder_layers} layers of width {model.d_model}"
    r_drop = f", R-Drop {training.r_drop:g}" if config.n_masks == 2 else ""
    sampling = f", subword sampling {data.subword_sampling}" if data.subword_sampling else ""
    advised = build(merge([PRESETS[advice.preset], advice.layer]), where="the preset")
    has_its_size = all(getattr(model, key) == getattr(advised.model, key) for key in SIZES)
    preset = f"preset {advice.preset}, " if has_its_size else ""
    tokenizer = f"tokenizer {data.tokenizer}" if data.tokenizer else f"vocabulary of {vocab_size:,} pieces"

    def line(what: str, why: str, *, as_advised: bool = True) -> str:
        return f"{what}: {why}" if why and as_advised else what

    return [
        line(
            f"{n_pairs:,} pairs on {where}: {preset}{shape}",
            advice.model,
            as_advised=replace(model, dropout=0.0) == replace(advised.model, dropout=0.0),
        ),
        line(
            tokenizer, advice.vocabulary, as_advised=not data.tokenizer and data.vocab_size == advised.data.vocab_size
        ),
        line(
            f"dropout {model.dropout}{r_drop}, label smoothing {training.label_smoothing}{sampling}",
            advice.dropout,
            as_advised=(model.dropout, training.r_drop) == (advised.model.dropout, advised.training.r_drop),
        ),
        line(
            f"{training.batch_tokens:,} target tokens an update, learning rate {training.learning_rate:g}, "
            f"{_SCHEDULES[training.schedule]}",
            advice.batch,
            as_advised=training.batch_tokens == advised.training.batch_tokens,
        ),
    ]


def most_epochs(config: RunConfig) -> int:
    """Passes over a corpus beyond which a model only overfits it."""
    return _MOST_EPOCHS_OF_TWO_MASKS if config.n_masks == 2 else _MOST_EPOCHS


_SCHEDULES = {"hold_cooldown": "held, then falling to zero", "inverse_sqrt": "falling with the inverse square root"}


def one_limit(layers: Sequence[Layer]) -> list[Layer]:
    """A time to end takes the place of other limits in the layers below it, and they of it.

    Raises:
        UserError: both are asked for in one layer (2).
    """
    timed = counted = False
    kept: list[Layer] = []
    for layer in reversed(layers):
        training: dict[str, Any] = dict(layer.get("training", {}))
        times = training.get("time_budget") is not None
        counts = training.get("max_updates") is not None or training.get("max_epochs") is not None
        if times and counts and not timed and not counted:
            raise UserError(
                "a time budget sets the number of updates, which is given too",
                mend="give either a time budget, or updates or epochs",
                code=ExitCode.USAGE,
            )
        if timed:
            training |= {name: None for name in ("max_updates", "max_epochs") if name in training}
        elif counted and times:
            training["time_budget"] = None
        timed, counted = timed or (times and not counted), counted or (counts and not timed)
        kept.append({**layer, "training": training} if "training" in layer else layer)
    return kept[::-1]


def complete(config: RunConfig, preset: str, n_tgt_tokens: int, updates_an_epoch: int, device: str) -> RunConfig:
    """Set the length of training and its cadences if the user left them open.

    Args:
        config: with every layer applied.
        preset: row of ``PRESETS`` in force.
        n_tgt_tokens: target tokens of the training corpus, EOS included.
        updates_an_epoch: updates of one pass over it; other passes differ by one or two.
        device: cpu, cuda or mps.

    Returns:
        The configuration with ``max_updates``, ``valid_every`` and ``save_every`` set; with a time budget
        they stay open until the speed is known.
    """
    training = config.training
    if training.time_budget is not None and training.max_updates is None:
        return config
    epochs = training.max_epochs
    if training.max_updates is None and epochs is None:
        tokens = _TOKENS[preset] * (1 if device == "cpu" or preset not in ("tiny", "small") else 2)
        epochs = max(1, min(most_epochs(config), round(tokens / (config.n_masks * n_tgt_tokens))))
    limits = [limit for limit in (training.max_updates, epochs and epochs * updates_an_epoch) if limit]
    max_updates = min(limits)
    valid_every = training.valid_every or min(max(updates_an_epoch, 100), 2000, max_updates)
    save_every = training.save_every or valid_every
    settled = replace(training, max_updates=max_updates, valid_every=valid_every, save_every=save_every)
    return replace(config, training=settled)


def explain_length(config: RunConfig, prepared: Prepared, updates_an_epoch: int, device: torch.device) -> str:
    """How long training will be, in updates and, at a guess, in time; one line."""
    training, an_epoch = config.training, prepared.n_tgt_tokens
    seconds_an_epoch = an_epoch / expected_speed(config, prepared, device)
    if training.max_updates is None:
        assert training.time_budget is not None
        epochs = training.time_budget / seconds_an_epoch
        most = most_epochs(config)
        if epochs > most:
            return (
                f"{most} passes over {an_epoch:,} target tokens, as more would only overfit: "
                f"about {duration(most * seconds_an_epoch)} of the {duration(training.time_budget)} there are"
            )
        return (
            f"{duration(training.time_budget)} in all: about {max(1, round(epochs))} passes over {an_epoch:,} target "
            f"tokens; how many is decided by the speed of the first updates"
        )
    epochs = training.max_updates / updates_an_epoch
    passes = f"{epochs:,.0f}" if epochs >= 10 else f"{epochs:.3g}"
    return (
        f"{passes} passes over {an_epoch:,} target tokens: {training.max_updates:,} updates, "
        f"about {duration(epochs * seconds_an_epoch)} on this machine"
    )


def expected_speed(config: RunConfig, prepared: Prepared, device: torch.device) -> float:
    """A guess at target tokens a second, from the arithmetic of a token and the machine's rate of the moment."""
    m, ids = config.model, prepared.ids
    feed_forward = (3 if m.activation == "swiglu" else 2) * m.d_model * m.d_ff
    encoder = m.encoder_layers * (4 * m.d_model**2 + feed_forward)
    decoder = m.decoder_layers * (8 * m.d_model**2 + feed_forward)
    src_a_tgt = (float(ids.src_lengths.sum(dtype="int64")) + len(ids)) / prepared.n_tgt_tokens
    weights = encoder * src_a_tgt + decoder + m.d_model * len(prepared.tokenizer)
    precision = pick_precision(config.training.precision, device)
    speed = _matmul_rate(device, precision) * _SHARE[device.type] / (6 * config.n_masks * weights)
    if device.type == "cpu":
        return speed
    an_update = _SECONDS_A_LAYER * (m.encoder_layers + m.decoder_layers)
    return min(speed, config.training.batch_tokens / an_update)


def _matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large product, in the arithmetic that training takes."""
    size = 1024 if device.type == "cpu" else 4096
    a = torch.ones(size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        float((a @ a)[0, 0])  # which waits for a GPU
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
