"""Refusal of an output that is also an input. Files are compared by their device and inode, not by name."""

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from seq2seq.errors import ExitCode, UserError


def refuse_overwriting(output: str | Path, inputs: Iterable[str | Path], *, key: str = "output") -> None:
    """Refuse an output that is also an input, under any name or link.

    A terminal, a pipe or ``/dev/null`` may be both.

    Args:
        output: path, or ``-`` for stdout, which a shell may have redirected to a file.
        inputs: paths, which may be missing, or ``-`` for stdin.
        key: what sets the output; named in the error.

    Raises:
        UserError: it is one of them (2).
    """
    written = _identity(output, sys.stdout)
    if written is None:
        return
    for name in inputs:
        if _identity(name, sys.stdin) == written:
            shown, mend = (output, f"name another file with `{key}`")
            if str(output) == "-":
                shown, mend = "stdout", "redirect it to another file"
            read = "stdin" if str(name) == "-" else str(name)
            what = f"the output {shown} is a file that is being read{'' if read == str(shown) else f': {read}'}"
            raise UserError(what, mend=mend, code=ExitCode.USAGE)


def _identity(name: str | Path, stream: TextIO | None) -> tuple[int, int] | None:
    """Device and inode of a regular file; None for anything else, or if they are unknown."""
    try:
        status = Path(name).stat() if str(name) != "-" else os.fstat(stream.fileno()) if stream else None
    except (OSError, ValueError):  # missing, not permitted, or a stream without a descriptor
        return None
    return (status.st_dev, status.st_ino) if status and stat.S_ISREG(status.st_mode) else None
