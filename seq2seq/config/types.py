"""Types of configuration values, with the ranges that are checked."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StrictInt

# Unknown keys are errors. So are NaN and infinity, which are never useful.
CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)


def _writable(text: str) -> str:
    """Refuse a path that no file can have, or that is not UTF-8: ``config.toml`` could not store it."""
    if "\0" in text:
        raise ValueError("a name cannot hold NUL")
    if any("\ud800" <= c <= "\udfff" for c in text):  # how Python represents such bytes
        raise ValueError("not UTF-8, and TOML holds only UTF-8: rename it")
    return text


# The types are strict, as TOML has types: `true` and "1" are not numbers.
MAX_COUNT = 2**31 - 1
"""Largest integer that every library can hold."""
PositiveInt = Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]
Positive = Annotated[float, Field(gt=0.0, strict=True)]
Text = Annotated[str, AfterValidator(_writable)]
