"""The ranks of processes that translate one file together, as ``torchrun`` numbers them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """The place of this process among those that were started together."""

    number: int = 0
    """From 0, over all machines."""
    size: int = 1
    """Number of processes."""
    local: int = 0
    """From 0, on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the output."""
        return self.number == 0

    def environment(self) -> dict[str, str]:
        """The variables by which a process knows its rank."""
        numbers = {"RANK": self.number, "WORLD_SIZE": self.size, "LOCAL_RANK": self.local}
        return {"TORCHELASTIC_RUN_ID": "seq2seq", **{name: str(number) for name, number in numbers.items()}}


def rank_of(environment: Mapping[str, str]) -> Rank:
    """The rank of a process; the only one, if ``torchrun`` did not start it.

    Other launchers set some of these variables for other programs, so they count only with the one that is torchrun's.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Rank()
    number, size, local = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Rank(number, size, local)
