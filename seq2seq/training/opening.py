"""The opening lines of training: what was chosen, why, and how long it will take."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from seq2seq.config import PRESETS, SIZES, ModelConfig, RunConfig, is_used
from seq2seq.device import cores
from seq2seq.errors import counted, duration
from seq2seq.model import ARCHITECTURES
from seq2seq.training.progress import Notice
from seq2seq.training.recipe import Recipe
from seq2seq.training.tuning import LONG_RUN, ROUGH_SHARE

_SCHEDULES = {
    "hold_cooldown": "falling to zero over the last {cooldown:.0%} of the updates",
    "inverse_sqrt": "falling with the inverse square root of the update",
}
_SHORTER = (
    "To shorten it use a GPU (minutes to hours), give `training.time_budget=28800`, or train on fewer pairs: the "
    "cleanest, or those that are most like the text you will translate."
)
_SMALLER = (
    "To shorten it leave `preset` out, which gives a smaller model, give `training.time_budget=28800`, or use a GPU."
)


def opening_lines(
    recipe: Recipe, label: str, config: RunConfig, n_pairs: int, vocab_size: int, device: str, n_shards: int = 0
) -> list[str]:
    """Four lines on what will be trained, with the reasons of what the recipe chose.

    Args:
        recipe: of the run.
        label: its name and hash.
        config: of the run.
        n_pairs: to train on.
        vocab_size: pieces of the vocabulary.
        device: type of device.
        n_shards: of a stream, whose number of pairs is unknown; 0: it is no stream.
    """
    data, model, training, advised = config.data, config.model, config.training, recipe.advised
    where = counted(cores(), "CPU core") if device == "cpu" else device
    sizes = [key for key in SIZES if is_used(f"model.{key}", model.architecture)]
    has_its_size = all(getattr(model, key) == getattr(advised.model, key) for key in sizes)
    preset = f"preset {_with_own_sizes(recipe, sizes)}, " if has_its_size else ""
    tokenizer = f"tokenizer {data.tokenizer}" if data.tokenizer else f"vocabulary: {counted(vocab_size, 'piece')}"
    shape = ARCHITECTURES[model.architecture].shape(model)
    r_drop = f", R-Drop {training.r_drop:g}" if config.n_forward_passes == 2 else ""
    sampling = f", subword sampling {data.subword_sampling:g}" if data.subword_sampling else ""
    why = recipe.reasons
    size = f"a stream of {counted(n_shards, 'shard')}, taken to be large," if n_shards else counted(n_pairs, "pair")
    own_model = replace(model, dropout=0.0) != replace(advised.model, dropout=0.0)
    own_vocabulary = data.tokenizer is not None or data.vocab_size != advised.data.vocab_size
    own_vocabulary |= vocab_size < data.vocab_size  # the text has no more
    own_rates = (model.dropout, training.r_drop) != (advised.model.dropout, advised.training.r_drop)
    return [
        f"{size} on {where}: recipe {label}",
        _line(
            f"model: {preset}{shape}",
            "" if own_model else why.model,
        ),
        _line(tokenizer, "" if own_vocabulary else why.vocabulary),
        _line(
            f"against overfitting: dropout {model.dropout:g}{r_drop}, "
            f"label smoothing {training.label_smoothing:g}{sampling}",
            "" if own_rates else why.regularization,
        ),
    ]


def _with_own_sizes(recipe: Recipe, sizes: list[str]) -> str:
    """The preset's name, with the sizes that the recipe changes."""
    own = (
        f"{key} {size}" for key in sizes if (size := getattr(recipe.advised.model, key)) != _size(recipe.preset, key)
    )
    return " with ".join([recipe.preset, ", ".join(own)]).removesuffix(" with ")


def _size(preset: str, key: str) -> int:
    return PRESETS[preset]["model"].get(key, getattr(ModelConfig(), key))  # type: ignore[no-any-return]


def _line(what: str, why: str) -> str:
    return f"{what} ({why})" if why else what


def length_lines(
    found: Recipe,
    usual: Recipe,
    config: RunConfig,
    updates_an_epoch: int,
    seconds_an_epoch: Callable[[RunConfig], float],
    device: str,
) -> Iterator[Notice]:
    """The fifth line: how long training will take. A warning follows if that is very long, or too short.

    Args:
        found: recipe of the run.
        usual: what it would be without the user's limits.
        config: of the run; complete, unless there is a time budget.
        updates_an_epoch: updates of one epoch.
        seconds_an_epoch: estimates the time of one epoch, for any configuration.
        device: type of device.
    """
    training = config.training
    rate = f"learning rate {training.learning_rate:g}, " + _SCHEDULES[training.schedule].format(
        cooldown=training.cooldown
    )
    if training.max_updates is None:
        assert training.time_budget is not None
        epochs = training.time_budget / seconds_an_epoch(config)
        if not config.data.streaming:
            epochs = min(found.usual_epochs, epochs)
        updates = "as many updates as there is time for, each"
    else:
        epochs = training.max_updates / updates_an_epoch
        updates = f"{counted(training.max_updates, 'update')}"
    seconds = epochs * seconds_an_epoch(config)
    how_often = "" if config.data.streaming else f"{_in_epochs(epochs)}, "
    yield Notice(
        f"training: about {duration(seconds)} here: {how_often}{updates} of "
        f"{training.batch_tokens:,} target tokens; {rate}"
    )
    if config.data.streaming:
        return
    if training.time_budget is not None and epochs < ROUGH_SHARE * usual.usual_epochs:
        its_time = duration(usual.usual_epochs * seconds_an_epoch(usual.config))
        usually = f"{usual.usual_epochs:,.0f}, about {its_time} here"
        yield Notice(
            f"{duration(training.time_budget)}: about {_in_epochs(epochs)}; a corpus of this size usually gets "
            f"{usually}. Expect rough translations.",
            warning=True,
        )
    elif device == "cpu" and training.time_budget is None and seconds > LONG_RUN:
        recipe_chose = found.name.startswith("auto")
        yield Notice(
            f"about {duration(seconds)} on this CPU. {_SHORTER if recipe_chose else _SMALLER}",
            warning=True,
        )


def _in_epochs(epochs: float) -> str:
    if epochs < 0.95:
        return f"{epochs:.1g} epochs"
    rounded = f"{epochs:,.0f}" if epochs >= 9.5 else f"{epochs:.2g}"
    return f"{rounded} {'epoch' if rounded == '1' else 'epochs'}"
