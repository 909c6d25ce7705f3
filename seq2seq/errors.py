"""Errors and interruptions, exit codes, and numbers in messages.

An error is one line on stderr: what happened and where, then how to mend it.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command line. They follow BSD's ``sysexits.h`` if it has a code for the case."""

    OK = 0
    BUG = 1
    """A fault of this program."""
    USAGE = 2
    """The command line is wrong."""
    BAD_DATA = 65
    """Input was found, but cannot be used: misaligned, truncated, empty."""
    NO_INPUT = 66
    """A file or a run folder is missing or unreadable."""
    CANNOT_WRITE = 74
    """Output could not be written: disk full, no permission."""
    TRY_LATER = 75
    """The folder is in use, or memory ran out even with smaller batches."""
    REFUSED = 78
    """A model or a configuration that must not be used."""
    DIVERGED = 79
    """Training produced a loss or a gradient that is not finite."""
    PIPE_CLOSED = 141
    """The reader of stdout has closed the pipe (128 + SIGPIPE)."""


class UserError(Exception):
    """An error that the user can mend.

    Args:
        what: what happened, and where (file and line).
        mend: how to mend it.
        code: exit code of the command line.
    """

    def __init__(self, what: str, *, mend: str, code: ExitCode = ExitCode.BAD_DATA) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend
        self.code = code

    def __reduce__(self) -> tuple[object, tuple[str, str, ExitCode]]:
        """Pickle the error, to send it to another process."""
        return _unpickle, (self.what, self.mend, self.code)


def _unpickle(what: str, mend: str, code: ExitCode) -> UserError:
    return UserError(what, mend=mend, code=code)


def counted(n: int, noun: str) -> str:
    """A number and what it counts, for a message: ``1 line``, ``3,001 lines``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


class Interrupted(BaseException):  # not an error
    """A termination signal. Like ``KeyboardInterrupt`` it is not an ``Exception``, so no handler of errors catches it.

    Args:
        signal_number: the signal; the exit code is 128 + this number.
        saved: whether the same command can resume from here.
        update: last update of training that was saved.
    """

    def __init__(self, signal_number: int, *, saved: bool, update: int = 0) -> None:
        super().__init__(f"interrupted by signal {signal_number}")
        self.signal_number = signal_number
        self.saved = saved
        self.update = update


def duration(seconds: float) -> str:
    """A length of time for a message: ``45 s``, ``12 min``, ``3.5 h``, ``8 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
