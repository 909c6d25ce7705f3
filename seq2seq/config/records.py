"""Typed records that are stored as JSON.

Later versions may add keys within a format. A reader gives missing keys their defaults and ignores unknown ones. So all
versions of a format can read each other's records.
"""

from dataclasses import field
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

# The types are strict, as JSON has types: `true` and "1" are not numbers.
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
    """A decorator that makes a class a frozen dataclass, which checks its fields."""
    make = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
    return make(cls)  # type: ignore[return-value]  # pydantic's own type for a dataclass


def parse_record(kind: type[Record], payload: Any) -> Record:
    """Make a record from parsed JSON, and check it.

    Args:
        kind: a class with the decorator ``record``.
        payload: parsed JSON.

    Raises:
        ValueError: a value has the wrong type, or a key without a default is missing.
    """
    try:
        return TypeAdapter(kind).validate_python(payload)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"{key[:60]!r}: {first['msg']}") from None
