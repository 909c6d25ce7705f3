"""Keys in a message become the options that set them on the command line.

The library names what a caller can set by its key, between backticks: a key of the configuration (`data.train`), with a
value (`data.alarms=warn`), or an argument of a function (`output`). On the command line the same message names
``--train``, ``--set data.alarms=warn`` and ``-o``. Which option sets a key depends on the command. A key that another
command sets stands behind the name of that command: `train decoding.shortlist=N` becomes
``train --set decoding.shortlist=N``.
"""

import re

_OF_SEARCH = {
    "device": "--device",
    "workers": "--workers",
    "decoding.beam_size": "-b",
    "decoding.precision": "--precision",
    "decoding.shortlist": "--shortlist",
}

FLAGS: dict[str, dict[str, str]] = {
    "train": {
        "run": "-o",
        "seeds": "--seeds",
        "overwrite": "--overwrite",
        "layers": "--config",
        "device": "--device",
        "log": "--log",
        "preset": "--preset",
        "data.langs": "-l",
        "data.train": "--train",
        "data.valid": "--valid",
        "data.encoding_errors=strict": "--strict and data.encoding_errors=strict",
        "data.bad_shards=skip": "--skip-bad-shards",
        "training.seed": "--seed",
        "training.time_budget": "--time-budget",
        "training.max_epochs": "--max-epochs",
        "training.max_updates": "--max-updates",
    },
    "translate": {
        **_OF_SEARCH,
        "engine": "--engine",
        "decoding.batch_tokens": "--batch-tokens",
        "decoding.products": "--products",
        "decoding.stopping": "--stopping",
        "output": "-o",
        "resume": "--resume",
        "data.encoding_errors=strict": "--strict",
    },
    "attend": {"device": "--device", "output": "-o"},
    "eval": {
        **_OF_SEARCH,
        "output": "-o",
        "langs": "-l",
        "data.langs": "-l",
        "metrics": "-m",
        "tokenize": "--tokenize",
        "references": "--ref",
        "against": "--against",
        "report": "--report",
        "fit_confidence": "--fit-confidence",
        "data.encoding_errors": "--encoding-errors",
        "data.encoding_errors=strict": "--strict and --encoding-errors strict",
    },
    "score": {
        "device": "--device",
        "workers": "--workers",
        "decoding.precision": "--precision",
        "output": "-o",
        "langs": "-l",
        "data.langs": "-l",
        "data.encoding_errors": "--encoding-errors",
        "data.encoding_errors=strict": "--strict and --encoding-errors strict",
    },
    "runs": {"output": "-o"},
    "export": {"folder": "-o", "overwrite": "--overwrite"},
    "config": {},
}
"""By command: options by what they set, a key (or a key and its value) of the configuration or an argument.
``train --set`` sets all other keys."""

_NAMED = re.compile(rf"`(?:({'|'.join(FLAGS)}) )?([a-z_]+(?:\.[a-z_]+)*)(?:=([^`]*))?`")


def with_flags(text: str, command: str) -> str:
    """The text with a command's options in place of keys between backticks; others between backticks stay as they are.

    Args:
        text: a message of the library.
        command: row of ``FLAGS``.
    """
    return _NAMED.sub(lambda named: _flag(named, command), text)


def _flag(named: re.Match[str], command: str) -> str:
    of_other, key, value = named.groups()
    flags = FLAGS.get(of_other or command, {})
    prefix = f"{of_other} " if of_other else ""
    if flag := flags.get(f"{key}={value}"):
        return f"{prefix}{flag}"
    flag = flags.get(key)
    if flag is None and "." not in key:
        return named[0]
    if value is None:
        return f"{prefix}{flag or key}"
    if flag is None:
        has_set = (of_other or command) == "train"
        return f"{prefix}{'--set ' if has_set else ''}{key}={value}"
    return f"{prefix}{flag} {_shown_value(key, value)}"


def _shown_value(key: str, value: str) -> str:
    """A value as its option takes it: ``--time-budget`` takes hours, its key seconds."""
    return f"{float(value) / 3600:g}h" if key == "training.time_budget" else value
