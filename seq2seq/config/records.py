"""Typed records that are kept as JSON and read again, by this version or another one of the same format.

Within a format keys may be added: a reader gives a missing key its default, and ignores one that it does not know.
"""

from dataclasses import field
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

# JSON has types of its own: `true` and "1" are no numbers.
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
    """Make a class a frozen dataclass whose fields are checked."""
    make = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
    return make(cls)  # type: ignore[return-value]  # pydantic's own type for a dataclass


def parse_record(kind: type[Record], payload: Any) -> Record:
    """A record from its JSON.

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
