"""The command line: one file for each command. Only this package uses Typer and Rich; torch is imported when needed."""

import errno
import os
import sys
import traceback
from typing import Annotated, Any

import typer

from seq2seq.cli.attend import attend_command
from seq2seq.cli.command import Command, Commands
from seq2seq.cli.config import config_command
from seq2seq.cli.console import debugging, print_error, print_note
from seq2seq.cli.eval import eval_command
from seq2seq.cli.export import export_command
from seq2seq.cli.ranks import SeveralDevices, run_on_each
from seq2seq.cli.runs import runs_command
from seq2seq.cli.score import score_command
from seq2seq.cli.signals import StopFlag, stopped_by
from seq2seq.cli.train import train_command
from seq2seq.cli.translate import translate_command
from seq2seq.config import keys_named
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.system.files import DISK_FULL
from seq2seq.version import VERSION

app = typer.Typer(
    name="seq2seq",
    cls=Commands,
    help="Train a translator on parallel text (the same sentences in two languages), translate with it, and score it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback may hold text of the user
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Exit codes of system errors that no part of the program has turned into a UserError.
_SYSTEM_ERRORS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR), ExitCode.NO_INPUT),
    **dict.fromkeys((*DISK_FULL, errno.EROFS), ExitCode.CANNOT_WRITE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN), ExitCode.TRY_LATER),
}


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"seq2seq {VERSION}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")] = False,
) -> None:
    debugging.on = debug


app.command("train", cls=Command)(train_command)
app.command("translate", cls=Command)(translate_command)
app.command("attend", cls=Command)(attend_command)
app.command("eval", cls=Command)(eval_command)
app.command("runs", cls=Command)(runs_command)
app.command("score", cls=Command)(score_command)
app.command("export", cls=Command)(export_command)
app.command("config", cls=Command)(config_command)


def main() -> None:
    """Run a command and exit with its exit code. Every error is one line on stderr."""
    code = _run()
    if code == ExitCode.PIPE_CLOSED and sys.stdout is not None:
        # Otherwise Python would report another error when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        with StopFlag():
            # In standalone mode Typer prints errors as boxes of several lines.
            try:
                code = app(standalone_mode=False)
            except SeveralDevices as wanted:
                code = run_on_each(wanted.devices, _run)
            return code if isinstance(code, int) else ExitCode.OK
    except SystemExit as exiting:  # Typer raises it if a pipe is closed, in either mode
        if isinstance(exiting.__context__, BrokenPipeError):
            return ExitCode.PIPE_CLOSED
        return exiting.code if isinstance(exiting.code, int) else 0
    except UserError as error:
        if debugging.on:
            traceback.print_exc()
        print_error(error.what, error.mend)
        return error.code
    except Interrupted as error:
        if error.saved:
            command = "the same command without --overwrite" if "--overwrite" in sys.argv else "the same command"
            at = f"at update {error.update:,}, saved; {command} resumes"
            at = at if error.update else f"before the first update; {command} starts again"
            print_note(f"{stopped_by(error)} {at}.")
        return 128 + error.signal_number
    except BrokenPipeError:
        return ExitCode.PIPE_CLOSED
    except Exception as error:
        # Click's errors, wherever this version of Typer keeps their class.
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):
            return _usage_error(error)
        if debugging.on:
            traceback.print_exc()
        if _is_out_of_memory(error):
            print_error("memory ran out", "free memory, raise its limit, or use a smaller model or smaller batches")
            return ExitCode.TRY_LATER
        if isinstance(error, OSError) and (code := _SYSTEM_ERRORS.get(error.errno or 0)):
            print_error(
                f"{error.filename or 'the system'}: {error.strerror}", "`seq2seq --debug …` shows what was attempted"
            )
            return code
        print_error(
            f"{type(error).__name__}: {error}",
            "this is a bug of seq2seq; `seq2seq --debug …` shows where",
            kind="bug",
        )
        return ExitCode.BUG


def _is_out_of_memory(error: Exception) -> bool:
    # Messages of the dynamic linker, and of Python and C++ if no more threads can start.
    messages = ("failed to map segment", "can't start new thread", "Resource temporarily unavailable")
    if any(message in str(error) for message in messages):
        return True
    if "torch" not in sys.modules:  # torch has its own errors for this, but takes a second to load
        return isinstance(error, MemoryError)
    from seq2seq.device import is_out_of_memory

    return is_out_of_memory(error)


def _usage_error(error: Any) -> int:
    """Print one line for a malformed command line. For an empty one Typer has already shown the help."""
    if message := error.format_message():
        context = getattr(error, "ctx", None)
        mend = f"see `{context.command_path if context else 'seq2seq'} --help`"
        if meant := _meant_option(error, context):
            message, mend = error.message, f"did you mean {meant}? {mend[0].upper()}{mend[1:]}"
        elif context and context.info_name in ("translate", "attend") and message.startswith("No such option"):
            mend = f"put -- before a TEXT that begins with a dash, or {mend}"
        elif name := _missing_folder(error):
            message = name
        print_error(message.rstrip("."), mend)
    return ExitCode.USAGE


def _missing_folder(error: Any) -> str:
    """The message if the missing argument is a folder; empty otherwise."""
    missing = getattr(error, "param", None)
    if not type(error).__name__.startswith("Missing") or missing is None:
        return ""
    if "-o" in missing.opts:
        return f"no output folder is given; name a new one with -o {missing.metavar}"
    return "no run folder is given; RUN is a folder written by train" if missing.name == "run" else ""


def _meant_option(error: Any, context: Any) -> str:
    """The option that an unknown option may mean, by the name of its key here or in another toolkit; or empty."""
    word = getattr(error, "option_name", "").lstrip("-")
    known = {param.name for param in context.command.params} if context and word else set()
    keys, note = keys_named(word if "sets" in known else f"decoding.{word}")
    for key in keys:
        name = key.rpartition(".")[2]
        if name in known or "sets" in known:
            option = f"--{name.replace('_', '-')}" if name in known else f"--set {key}=VALUE"
            note = "as in 45m" if option == "--time-budget" else note  # its key takes seconds
            return f"{option} ({note})" if note else option
    return ""
