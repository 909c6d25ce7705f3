"""Keys in a message become the options of ``train`` that set them.

The library names what a caller can set by its key, between backticks: a key of the configuration (`data.train`), with a
value (`data.alarms=warn`), or a field of ``Request`` (`run`). On the command line the same message names ``--train``,
``--set data.alarms=warn`` and ``-o``.
"""

import re

FLAGS = {
    "run": "-o",
    "overwrite": "--overwrite",
    "device": "--device",
    "preset": "--preset",
    "data.langs": "-l",
    "data.train": "--train",
    "data.valid": "--valid",
    "training.seed": "--seed",
    "training.time_budget": "--time-budget",
    "training.max_epochs": "--max-epochs",
    "training.max_updates": "--max-updates",
}
"""Options by what they set: a key of the configuration, or a field of ``Request``. ``--set`` sets all other keys."""

_NAMED = re.compile(r"`([a-z_]+(?:\.[a-z_]+)?)(?:=([^`\s]+))?`")


def with_flags(text: str) -> str:
    """The text with options in place of keys between backticks; other words between backticks stay as they are."""
    return _NAMED.sub(_flag, text)


def _flag(named: re.Match[str]) -> str:
    key, value = named[1], named[2]
    flag = FLAGS.get(key)
    if flag is None and "." not in key:
        return named[0]
    if value is None:
        return flag or key
    if key == "training.time_budget":
        value = f"{float(value) / 3600:g}h"
    return f"{flag} {value}" if flag else f"--set {key}={value}"
