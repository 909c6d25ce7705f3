"""Options of ``translate`` alone, in the groups of ``--help``."""

from typing import Annotated

import typer

from seq2seq.cli.options import FILES, MORE, PRINTED

Texts = Annotated[
    list[str] | None,
    typer.Argument(
        help="Sentences to translate, one line of output for each. Default: the file of -i, or stdin (a prompt on a "
        "terminal).",
        metavar="[TEXT]...",
    ),
]
SearchEngine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="NAME", rich_help_panel=MORE,
        help="What searches for translations: own, or ctranslate2 (pip install ctranslate2), which converts the run "
        "once, and also has --precision int8.",
    ),
]  # fmt: skip
Devices = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", rich_help_panel=MORE,
        help="auto, cpu, cuda, cuda:N (GPU number N, from 0) or mps; or several with commas between them, as in "
        "cuda:0,cuda:1: a process for each translates a part of the lines of -i.",
    ),
]  # fmt: skip
Source = Annotated[
    str | None,
    typer.Option(
        "-i", "--input", metavar="FILE", rich_help_panel=FILES, help="File to translate; - is stdin. Default: stdin."
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar="FILE", rich_help_panel=FILES,
        help="File to write; it appears when it is complete. - is stdout.",
    ),
]  # fmt: skip
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume an interrupted translation to -o FILE.", rich_help_panel=FILES)
]
NBest = Annotated[
    int | None,
    typer.Option(
        "--n-best", metavar="N", rich_help_panel=PRINTED,
        help="Print the N best translations of each line as index ||| text ||| score; N is up to the number of beams. "
        "Default: only the text of the best one.",
    ),
]  # fmt: skip
Scores = Annotated[
    bool,
    typer.Option("--scores", help="Print the score and a tab before each translation.", rich_help_panel=PRINTED),
]
Alignments = Annotated[
    bool,
    typer.Option(
        "--alignments", rich_help_panel=PRINTED,
        help="Print the word alignment after each translation: text ||| 0-0 1-2 (source word - target word, from 0).",
    ),
]  # fmt: skip
Confidence = Annotated[
    bool,
    typer.Option(
        "--confidence", rich_help_panel=PRINTED,
        help="Print the chrF to expect (0 to 100) and a tab before each translation; after each one with --n-best.",
    ),
]  # fmt: skip
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence", metavar="X", min=0, max=100, rich_help_panel=FILES,
        help="Confidence (0 to 100) below which a line is doubtful. Default: no lines are written to --doubtful.",
    ),
]  # fmt: skip
DoubtfulLines = Annotated[
    str | None,
    typer.Option(
        "--doubtful", metavar="FILE", rich_help_panel=FILES,
        help="Also write the doubtful lines to FILE: line number, confidence, source, translation, with tabs between.",
    ),
]  # fmt: skip
ShowAttention = Annotated[
    bool,
    typer.Option(
        "--attention", help="Draw the attention of target pieces to source pieces, on stderr.", rich_help_panel=PRINTED
    ),
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length", metavar="N", rich_help_panel=MORE,
        help="Max length of a translation in tokens. Default: the run's, usually twice the source length plus 50.",
    ),
]  # fmt: skip
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens", metavar="N", rich_help_panel=MORE,
        help="Max padded source tokens that a worker decodes at once. Default: depends on device and beams.",
    ),
]  # fmt: skip
Stopping = Annotated[
    str | None,
    typer.Option(
        "--stopping", metavar="WHEN", rich_help_panel=MORE,
        help="When a search ends: with enough finished hypotheses (enough), or when no better one is possible (exact). "
        "Default: the run's, usually enough.",
    ),
]  # fmt: skip
