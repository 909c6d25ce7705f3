"""Several processes that translate one file: those that ``torchrun`` started, or one for each device of a list."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from seq2seq.cli.console import print_error, print_note
from seq2seq.cli.signals import stopped_by
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.system.processes import ChildProcess

if TYPE_CHECKING:
    from seq2seq.translation.ranks import Rank
    from seq2seq.translation.shards import LineRange

_SECONDS = 0.1
"""Between two looks at the child processes."""


class SeveralDevices(Exception):  # noqa: N818  # it is not an error
    """The command is to be run on each of several devices."""

    def __init__(self, devices: list[str]) -> None:
        super().__init__(devices)
        self.devices = devices


def device_and_shard(
    device: str, source: str, output: str, options: Mapping[str, object]
) -> "tuple[str, LineRange | None]":
    """The device of this process, and the lines that it translates; None: it is the only process.

    Args:
        device: one, or several with commas between them.
        source: path of the input, or - for stdin.
        output: path, or - for stdout.
        options: by name; those that are set cannot be used with several processes.

    Raises:
        UserError: several processes cannot share the input or the output, or an option is set (2); the input is not
            text (65), or is missing (66).
        SeveralDevices: one process is to be started for each.
    """
    from seq2seq.translation.ranks import rank_of
    from seq2seq.translation.shards import find_shard

    rank, devices = rank_of(os.environ), device.split(",")
    if max(rank.size, len(devices)) > 1:
        _refuse_sharing(source, output, options)
    if rank.size == 1 and len(devices) > 1:
        raise SeveralDevices(devices)
    return devices[rank.local % len(devices)], find_shard(source, rank) if rank.size > 1 else None


def _refuse_sharing(source: str, output: str, options: Mapping[str, object]) -> None:
    for name in (name for name, value in options.items() if value):
        raise UserError(
            f"{name} cannot be used with several processes", mend="leave it out, or start one", code=ExitCode.USAGE
        )
    for name, stream, verb, flag in ((source, "stdin", "read", "-i"), (output, "stdout", "write", "-o")):
        if name == "-" or (os.path.exists(name) and not os.path.isfile(name)):
            raise UserError(
                f"several processes cannot {verb} {stream if name == '-' else name}",
                mend=f"name a file with {flag}, or start one process",
                code=ExitCode.USAGE,
            )


def run_on_each(devices: Sequence[str], run: Callable[[], int]) -> int:
    """Run the command line once for each device, each time in a child process.

    If one fails, the others are ended; what they have translated is kept for ``--resume``.

    Args:
        devices: of the command line.
        run: runs the command line, and returns its exit code.

    Returns:
        The exit code: that of the first process that failed.

    Raises:
        UserError: this system cannot fork processes that use PyTorch (78).
    """
    from seq2seq.translation.ranks import Rank

    if sys.platform != "linux":
        raise UserError("several devices need Linux", mend="give one device", code=ExitCode.REFUSED)
    ranks = [Rank(number, len(devices), number) for number in range(len(devices))]
    left = [ChildProcess(partial(_run_as, rank, run)) for rank in ranks]
    try:
        while left:
            time.sleep(_SECONDS)
            codes = [process.exit_code() for process in left]
            if failed := [code for code in codes if code]:
                if failed[0] < 0:
                    print_error("a process was killed", "free memory; the same command with --resume continues")
                return failed[0] if failed[0] > 0 else 128 - failed[0]
            left = [process for process, code in zip(left, codes, strict=True) if code is None]
    except Interrupted as error:
        print_note(f"{stopped_by(error)}; the same command with --resume continues.")
        raise
    finally:
        for process in left:
            if process.exit_code() is None:
                process.end()
    return 0


def _run_as(rank: "Rank", run: Callable[[], int]) -> None:
    """Run the command line as one of several processes."""
    os.environ.update(rank.environment())
    code = run()
    sys.stderr.flush()
    os._exit(code)
