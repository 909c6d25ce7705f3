"""Results of command lines that run in this process; the fixture ``cli`` is in conftest.py."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The result of a command: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]
