"""Typed records stored as JSON. This version and others of the same format can read them.

Later versions may add keys within a format: a reader gives a missing key its default, and ignores an unknown one.
"""

from dataclasses import field
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

# Strict, as JSON has types: `true` and "1" are not numbers.
Count = Annotated[StrictInt, Field(ge=0)]
AtLeastOne = Annotated[StrictInt, Field(ge=1)]
Length = Annotated[StrictInt, Field(ge=2)]
"""In tokens, EOS included."""
Flag = StrictBool
Integer = StrictInt
Real = Annotated[float, Field(strict=True)]
NotNegative = Annotated[float, Field(strict=True, ge=0.0)]

Record = TypeVar("Record")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[Record]) -> type[Record]:
    """Make a class a frozen dataclass that checks its fields."""
    make = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
    return make(cls)  # type: ignore[return-value]  # pydantic's own type for a dataclass


def parse_record(kind: type[Record], payload: Any) -> Record:
    """Check parsed JSON and make a record of it.

    Args:
        kind: a class made by ``record``.
        payload: parsed JSON.

    Raises:
        ValueError: a value of the wrong type, or a key without a default is missing.
    """
    try:
        return TypeAdapter(kind).validate_python(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key[:60]!r}: {first['msg']}") from None
