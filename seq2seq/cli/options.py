"""Options of the commands, in the groups of ``--help``."""

from pathlib import Path
from typing import Annotated

import typer

CORPORA = "Corpora and run folder"
RECIPE = "Recipe"
LENGTH = "Length of training"
FILES = "Input and output"
SCORES = "Scores"
PRINTED = "What is printed"
SEARCH = "Search"
MORE = "Advanced"
OTHER = "Other options"
GROUPS = (CORPORA, RECIPE, LENGTH, SCORES, FILES, PRINTED, SEARCH, MORE, OTHER)
"""The order in which ``--help`` lists options."""

# Options of several commands.
RunFolder = Annotated[Path, typer.Argument(help="Folder written by train.", metavar="RUN", readable=False)]
BeamSize = Annotated[
    int | None,
    typer.Option(
        "-b", "--beam-size", metavar="BEAMS", rich_help_panel=SEARCH,
        help="Hypotheses kept at each step, 1 to 256; 1 is greedy search, the fastest. Default: the run's, usually 4.",
    ),
]  # fmt: skip
LengthPenalty = Annotated[
    float | None,
    typer.Option(
        "--length-penalty", metavar="A", rich_help_panel=SEARCH,
        help="Exponent of the length in the score, 0 to 10; higher values give longer translations. Default: chosen by "
        "train.",
    ),
]  # fmt: skip
ShortlistSize = Annotated[
    int | None,
    typer.Option(
        "--shortlist", metavar="N", rich_help_panel=MORE,
        help="Restrict the vocabulary to the N likeliest target pieces of each source piece and to frequent pieces: "
        "faster, but some translations differ. The run must have learned them: train --set decoding.shortlist=N. "
        "Default: the run's, usually 0 (off).",
    ),
]  # fmt: skip
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="TYPE", rich_help_panel=MORE,
        help="Arithmetic: auto, fp32, bf16 or fp16. Default: the run's, usually auto: bf16 or fp16 on a CUDA GPU, fp32 "
        "elsewhere. With --engine ctranslate2 also int8.",
    ),
]  # fmt: skip
MatrixProducts = Annotated[
    str | None,
    typer.Option(
        "--products", metavar="LIBRARY", rich_help_panel=MORE,
        help="Library of fp32 matrix products on a CPU: auto, mkl or onednn. Default: the run's, usually auto.",
    ),
]  # fmt: skip
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, rich_help_panel=MORE,
        help="Parallel searches on a CPU. Default: one for each core.",
    ),
]  # fmt: skip
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", rich_help_panel=MORE,
        help="auto, cpu, cuda, cuda:N (GPU number N, from 0) or mps.",
    ),
]  # fmt: skip
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse input with any line that is not UTF-8.", rich_help_panel=MORE)
]

# Options of attend.
AttendTexts = Annotated[
    list[str] | None,
    typer.Argument(help="Sentences to look at. Default: lines of stdin (a prompt on a terminal).", metavar="[TEXT]..."),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="TEXT", rich_help_panel=FILES,
        help="A translation of the one TEXT to look at. Default: the model's own.",
    ),
]  # fmt: skip
Picture = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE", rich_help_panel=FILES,
        help="A picture (FILE.svg), or a page to explore in a browser (FILE.html, with all kinds, layers and heads). - "
        "is text on stdout.",
    ),
]  # fmt: skip
Kind = Annotated[
    str,
    typer.Option(
        "--kind", metavar="KIND", rich_help_panel=PRINTED,
        help="encoder: source pieces look at source pieces; decoder: target pieces look at those before them; cross: "
        "target pieces look at source pieces.",
    ),
]  # fmt: skip
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer", metavar="N", rich_help_panel=PRINTED,
        help="Layer, from 1; all: a picture of each. Default: the mean over layers.",
    ),
]  # fmt: skip
Head = Annotated[
    str | None,
    typer.Option(
        "--head", metavar="N", rich_help_panel=PRINTED,
        help="Head, from 1; all: a picture of each. Default: the mean over heads.",
    ),
]  # fmt: skip

# Options of score.
EachPiece = Annotated[
    bool,
    typer.Option(
        "--tokens", rich_help_panel=PRINTED,
        help="Also print each piece and its log-probability, with a space between and a tab before.",
    ),
]  # fmt: skip
AsJsonLines = Annotated[
    bool, typer.Option("--json", help="Print a JSON object for each line.", rich_help_panel=PRINTED)
]
ScoresFile = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", readable=False, rich_help_panel=FILES,
        help="File to write; it appears when it is complete. Default: stdout.",
    ),
]  # fmt: skip

# Options of eval and score.
AsJson = Annotated[bool, typer.Option("--json", help="Print the scores as JSON.", rich_help_panel=SCORES)]
LangsOfCorpus = Annotated[
    str | None,
    typer.Option(
        "-l", "--langs", metavar="SRC-TGT", rich_help_panel=FILES,
        help="Languages of the corpus, as in de-en. Default: the run's.",
    ),
]  # fmt: skip
EncodingErrors = Annotated[
    str | None,
    typer.Option(
        "--encoding-errors", metavar="HOW", rich_help_panel=MORE,
        help="What to do with bytes that are not UTF-8. refuse: refuse the corpus if more than 1 line in 100 has some, "
        "otherwise replace them; replace: always replace them; strict: refuse the corpus if any line has some. "
        "Default: as in training.",
    ),
]  # fmt: skip

# Options of runs.
RunFolders = Annotated[
    list[Path],
    typer.Argument(help="Run folders, or folders that hold some at any depth.", metavar="DIR...", readable=False),
]
CurveName = Annotated[
    str,
    typer.Option(
        "--curve", metavar="SCORE", rich_help_panel=PRINTED, help="Validation score of the curves: bleu, chrf or loss."
    ),
]
CurvePicture = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="FILE", rich_help_panel=FILES,
        help="Also write the learning curves as a picture (FILE.svg).",
    ),
]  # fmt: skip
RunsAsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with the curves.", rich_help_panel=PRINTED)]
