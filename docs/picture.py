"""Draw ``docs/terminal.svg`` from what ``make demo`` printed.

    make demo 2>&1 | tee demo.log
    python docs/picture.py demo.log

Every line of the picture is a line of the log, in the styles of the terminal. Left out: most validations and all
lines between two of them.
"""

import io
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

WIDTH = 104
SHOWN_VALIDATIONS = (0, 2, -1)
"""Which validations are shown: the first, the third, the last."""
LEFT_OUT = "  …"

# Rich's format loads a font from the network. The picture must not.
FORMAT = re.sub(r"@font-face {{.*?}}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "font-family: Fira Code, monospace", "font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
)


def picture(log: str) -> str:
    """The SVG.

    Args:
        log: what ``make demo`` printed to stdout and stderr.

    Raises:
        ValueError: it is not the log of a whole demo.
    """
    console = Console(file=io.StringIO(), record=True, width=WIDTH, markup=False, emoji=False, highlight=False)
    for line in _shown(log.splitlines()):
        for part in _wrapped(line):
            console.print(_styled(part))
    return console.export_svg(title="seq2seq", code_format=FORMAT, unique_id="terminal")


def _shown(lines: list[str]) -> Iterator[str]:
    """The lines of the picture: commands, each with what it printed."""
    starts = [i for i, line in enumerate(lines) if line.startswith((".venv/bin/seq2seq ", "printf "))]
    if len(starts) != 3:
        raise ValueError(f"the log has {len(starts)} commands, not the 3 of `make demo`")
    train, translate, evaluate = starts
    yield from _commands(lines[train : train + 1])
    yield from _training(lines[train + 1 : translate])
    yield ""
    n = next(i for i, line in enumerate(lines[translate:], start=1) if not line.endswith("\\"))
    yield from _commands(lines[translate : translate + n])
    yield from lines[translate + n : evaluate]
    yield ""
    yield from _commands(lines[evaluate : evaluate + 1])
    yield from (line for line in lines[evaluate + 1 :] if line.startswith(("data/", "BLEU", "chrF", "TER")))


def _commands(lines: list[str]) -> Iterator[str]:
    """A command after the prompts of a shell."""
    for i, line in enumerate(lines):
        yield f"{'>' if i else '$'} {line.strip().replace('.venv/bin/', '')}"


def _training(lines: list[str]) -> Iterator[str]:
    """What ``train`` printed: its first lines, some validations with a sample, its last lines."""
    first = next(i for i, line in enumerate(lines) if line.startswith("update "))
    last = next(i for i, line in enumerate(lines) if line.startswith("finished "))
    yield from lines[:first]
    blocks: list[list[str]] = []
    for is_update, block in groupby(lines[first:last], key=lambda line: line.startswith("update ")):
        if not is_update:
            blocks.append(list(block))
    shown = {range(len(blocks))[i] for i in SHOWN_VALIDATIONS}
    for i in sorted(shown):
        yield LEFT_OUT
        yield from blocks[i][:4]  # the scores, and a source, its translation and its reference
    yield LEFT_OUT
    yield from (line for line in lines[last:] if line.startswith(("finished ", "BLEU ")))


def _wrapped(line: str) -> list[str]:
    """As ``seq2seq.cli.console`` wraps a line on a terminal."""
    return textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _styled(line: str) -> Text:
    """As ``seq2seq.cli.display`` styles a line."""
    text = Text(line)
    if line.startswith(("$ ", "> ")):
        text.stylize("bold green", 0, 1)
        text.stylize("bold", 1)
    elif line == LEFT_OUT or line.startswith(("  source ", "  model ", "  reference ")):
        text.stylize("dim", 0, 12)
    elif line.startswith("validation "):
        text.stylize("bold", 0, len("validation"))
        text.highlight_regex(r"best$", "green")
    return text


if __name__ == "__main__":
    svg = picture(Path(sys.argv[1]).read_text(encoding="utf-8"))
    (Path(__file__).parent / "terminal.svg").write_text(svg, encoding="utf-8")
