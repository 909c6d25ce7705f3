"""Classes of the commands.

An option with one value may be given only once, errors name options instead of keys, and ``--help`` prints our own
page.
"""

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperGroup

from seq2seq.cli.flags import with_flags
from seq2seq.errors import ExitCode, UserError


class Command(TyperCommand):
    """A command that refuses an option given twice, and whose errors name its options.

    Without the refusal, only the last value of an option would count.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name.

        Raises:
            UserError: an option that has one value is given more than once (2).
        """
        args = _repeated(args)
        if not ctx.resilient_parsing:  # resilient: a shell completes an unfinished line
            # The third part of the result names each option as often as it is given.
            times = Counter(self.make_parser(ctx).parse_args(list(args))[2])
            for option, n in times.items():
                if n > 1 and not (getattr(option, "multiple", False) or getattr(option, "is_flag", False)):
                    raise UserError(
                        f"{' / '.join(option.opts)} is given {n} times, but has one value",
                        mend="give it once",
                        code=ExitCode.USAGE,
                    )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            UserError: of the library, with options in place of keys.
        """
        try:
            return super().invoke(ctx)
        except UserError as error:
            what, mend = (with_flags(text, str(self.name)) for text in (error.what, error.mend))
            named = UserError(what, mend=mend, code=error.code)
            raise named.with_traceback(error.__traceback__) from error.__cause__  # the one traceback of --debug

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx)


_LISTS = ("--train", "--valid")


def _repeated(args: list[str]) -> list[str]:
    """The words of a command, in which each word after ``--train`` and ``--valid`` has the option before it.

    A shell expands ``--train shards/*.tsv`` to several words after one option.
    """
    words: list[str] = []
    option = ""
    for word in args:
        if word.startswith("-"):
            option = word if word in _LISTS else ""
            words.append(word)
        else:
            words += [option, word] if option and words[-1] != option else [word]
    return words


class Commands(TyperGroup):
    """The group of all commands."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help."""
        _print_help(self, ctx)


def _print_help(command: Any, ctx: Any) -> None:
    from seq2seq.cli.help import print_help  # only help needs it

    print_help(command, ctx)
