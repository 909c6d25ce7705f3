"""Options of ``eval`` alone, in the groups of ``--help``."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli.options import FILES, SCORES

Words = Annotated[
    list[str],
    typer.Argument(
        help="Run folder and corpora; with --hyp one corpus, or only its references.", metavar="[RUN] CORPUS..."
    ),
]
Metrics = Annotated[
    str,
    typer.Option(
        "-m", "--metrics", metavar="NAMES", rich_help_panel=SCORES,
        help="Metrics, separated by commas: bleu, chrf, chrf++, ter.",
    ),
]  # fmt: skip
Tokenize = Annotated[
    str | None,
    typer.Option(
        "--tokenize", metavar="NAME", rich_help_panel=SCORES,
        help="Tokenizer of BLEU, one of sacreBLEU's: 13a, intl, char, zh, none, ... Default: the one for the language.",
    ),
]  # fmt: skip
Lowercase = Annotated[
    bool, typer.Option("--lowercase", help="Ignore case in BLEU and chrF, as TER does.", rich_help_panel=SCORES)
]
MoreReferences = Annotated[
    list[Path] | None,
    typer.Option(
        "--ref", metavar="FILE", readable=False, rich_help_panel=SCORES,
        help="More references of the corpus, one a line. May be given several times.",
    ),
]  # fmt: skip
Against = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", metavar="OTHER", readable=False, rich_help_panel=SCORES,
        help="Compare with another run or file of translations of the corpus, and test whether the difference is "
        "chance. May be given several times.",
    ),
]  # fmt: skip
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", readable=False, rich_help_panel=FILES,
        help="Also write a page for a browser (FILE.html): scores, what differs where, and the lines that changed.",
    ),
]  # fmt: skip
FitConfidence = Annotated[
    bool,
    typer.Option(
        "--fit-confidence", rich_help_panel=SCORES,
        help="Fit what translate --confidence expects on these corpora, and store it in the run.",
    ),
]  # fmt: skip
HypothesesToScore = Annotated[
    Path | None,
    typer.Option(
        "--hyp", metavar="FILE", readable=False, rich_help_panel=FILES,
        help="Score the translations in this file instead of translating; - is stdin.",
    ),
]  # fmt: skip
KeptHypotheses = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", readable=False, rich_help_panel=FILES,
        help="Also write the translations to this file.",
    ),
]  # fmt: skip
