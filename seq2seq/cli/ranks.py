"""Several processes that translate one file: those that ``torchrun`` started, or one for each device of a list."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer

from seq2seq.errors import ExitCode, UserError
from seq2seq.system.processes import ChildProcess

if TYPE_CHECKING:
    from seq2seq.translation.ranks import Rank

_SECONDS = 0.1
"""Between two looks at the child processes."""


def rank_and_device(device: str, source: str, output: str, *, options: Mapping[str, object]) -> "tuple[Rank, str]":
    """The rank of this process and its device. With several devices, run the command on each of them instead, and exit.

    Args:
        device: one, or several with commas between them.
        source: path of the input, or - for stdin.
        output: path, or - for stdout.
        options: by name; those that are set cannot be used with several processes.

    Raises:
        UserError: several processes cannot share the input or the output, or an option is set (2).
    """
    from seq2seq.translation.ranks import rank_of

    rank, devices = rank_of(os.environ), device.split(",")
    if max(rank.size, len(devices)) > 1:
        _refuse_sharing(source, output, options)
    if rank.size == 1 and len(devices) > 1:
        raise typer.Exit(_run_on_each(devices))
    return rank, devices[rank.local % len(devices)]


def _refuse_sharing(source: str, output: str, options: Mapping[str, object]) -> None:
    for name in (name for name, value in options.items() if value):
        raise UserError(
            f"{name} cannot be used with several processes", mend="leave it out, or start one", code=ExitCode.USAGE
        )
    if source == "-" or (not os.path.isfile(source) and os.path.exists(source)):
        what = "stdin" if source == "-" else source
        raise UserError(
            f"several processes cannot read {what}: each takes its lines from a file",
            mend="name a file with -i, or start one process",
            code=ExitCode.USAGE,
        )
    if output == "-" or (not os.path.isfile(output) and os.path.exists(output)):
        what = "stdout" if output == "-" else output
        raise UserError(
            f"several processes cannot write {what}",
            mend="name a file with -o, or start one process",
            code=ExitCode.USAGE,
        )


def _run_on_each(devices: Sequence[str]) -> int:
    """Run this command in one child process for each device of its ``--device``.

    If one fails, the others are ended; what they have translated is kept for ``--resume``.

    Returns:
        The exit code: that of the first process that failed.

    Raises:
        UserError: this system cannot fork processes that use PyTorch (78).
    """
    from seq2seq.translation.ranks import Rank

    if sys.platform != "linux":
        raise UserError("several devices need Linux", mend="give one device", code=ExitCode.REFUSED)
    ranks = [Rank(number, len(devices), number) for number in range(len(devices))]
    left = [ChildProcess(partial(_run_command, rank)) for rank in ranks]
    try:
        while left:
            time.sleep(_SECONDS)
            for code in [process.exit_code() for process in left]:
                if code:
                    return code if code > 0 else 128 - code
            left = [process for process in left if process.exit_code() is None]
    finally:
        for process in left:
            if process.exit_code() is None:
                process.end()
    return 0


def _run_command(rank: "Rank") -> None:
    """Run the command line of this program as one of several processes."""
    from seq2seq.cli import main  # which imports this file

    os.environ.update(rank.environment())
    try:
        main()
    except SystemExit as ended:
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 0)
