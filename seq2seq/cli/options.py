"""Options of the commands, in the groups of ``--help``."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.config import PRESETS, TrainingConfig

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
Texts = Annotated[
    list[str] | None,
    typer.Argument(
        help="Sentences to translate, one line of output for each. Default: the file of -i, or stdin (a prompt on a "
        "terminal).",
        metavar="[TEXT]...",
    ),
]
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
        help="Arithmetic: auto, fp32 or bf16. Default: the run's, usually auto: bf16 on a CUDA GPU that has it, fp32 "
        "elsewhere. With --engine ctranslate2 also int8.",
    ),
]  # fmt: skip
SearchEngine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="NAME", rich_help_panel=MORE,
        help="What searches for translations: own, or ctranslate2 (pip install ctranslate2), which converts the run "
        "once, and also has --precision int8.",
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
Devices = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", rich_help_panel=MORE,
        help="auto, cpu, cuda, cuda:N (GPU number N, from 0) or mps; or several with commas between them, as in "
        "cuda:0,cuda:1: a process for each translates a part of the lines of -i.",
    ),
]  # fmt: skip
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse input with any line that is not UTF-8.", rich_help_panel=MORE)
]

# Options of train.
NewRun = Annotated[
    Path,
    typer.Option(
        "-o", "--output", metavar="RUN", readable=False, rich_help_panel=CORPORA,
        help="Run folder. It is created, or resumed if it exists.",
    ),
]  # fmt: skip
Langs = Annotated[
    str | None,
    typer.Option(
        "-l", "--langs", metavar="SRC-TGT", rich_help_panel=CORPORA,
        help="Source and target language, as in de-en; pt-BR:en if a code holds a hyphen. Required, "
        "unless --config sets it.",
    ),
]  # fmt: skip
Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train", metavar="CORPUS", rich_help_panel=CORPORA,
        help="Parallel text to train on: a prefix (corpus/train for corpus/train.de and corpus/train.en), two files "
        "(a.txt,b.txt), a .tsv, .csv or .jsonl file, a pattern ('shards/*.jsonl.zst'), or hf:NAME; CORPUS?streaming is "
        "read while training and never stored. May be given several times. Required, unless --config sets it.",
    ),
]  # fmt: skip
Valid = Annotated[
    list[str] | None,
    typer.Option(
        "--valid", metavar="CORPUS", rich_help_panel=CORPORA,
        help="Parallel text to validate on. Default: a data set's own validation split, or held-out pairs. "
        "May be given several times.",
    ),
]  # fmt: skip
SkipBadShards = Annotated[
    bool,
    typer.Option(
        "--skip-bad-shards", rich_help_panel=CORPORA,
        help="If a shard of a streamed corpus is missing, cut short or unreadable, skip the rest of it and count it.",
    ),
]  # fmt: skip
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Move an old run aside and start over.", rich_help_panel=CORPORA)
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="NAME", rich_help_panel=RECIPE,
        help=f"Size of the model and its training: auto, {', '.join(PRESETS)}. Default: auto, a recipe "
        "that depends on the size of the corpus, the device and the time budget.",
    ),
]  # fmt: skip
Recipe = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="RECIPE.toml", readable=False, rich_help_panel=RECIPE,
        help="Configuration to start from, such as the config.toml of a run.",
    ),
]  # fmt: skip
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", rich_help_panel=RECIPE,
        help="Set any configuration key, as in model.dropout=0.3; `seq2seq config` lists the keys. May be given "
        "several times.",
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", rich_help_panel=RECIPE, help=f"Random seed. Default: {TrainingConfig().seed}."),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds", metavar="N,N,...", rich_help_panel=RECIPE,
        help="Random seeds, as in 1,2,3: train RUN/seed-1, RUN/seed-2, ... one after the other, and print mean and "
        "standard deviation of their validation scores. A time budget applies to each of them. Default: one run.",
    ),
]  # fmt: skip
TimeBudget = Annotated[
    str | None,
    typer.Option(
        "--time-budget", metavar="TIME", rich_help_panel=LENGTH,
        help="Finish within this time: 45m, 1h30m or 90s. Default: no limit.",
    ),
]  # fmt: skip
MaxEpochs = Annotated[
    int | None,
    typer.Option(
        "--max-epochs", metavar="N", rich_help_panel=LENGTH,
        help="Stop after N epochs (passes over the corpus). Default: chosen by the recipe.",
    ),
]  # fmt: skip
MaxUpdates = Annotated[
    int | None,
    typer.Option(
        "--max-updates", metavar="N", rich_help_panel=LENGTH,
        help="Stop after N updates (optimizer steps). Default: chosen by the recipe.",
    ),
]  # fmt: skip
Log = Annotated[
    str | None,
    typer.Option(
        "--log", metavar="NAME", rich_help_panel=MORE,
        help="tensorboard: also write event files for TensorBoard to RUN/tensorboard; pip install tensorboard. "
        "Default: metrics.jsonl alone.",
    ),
]  # fmt: skip

# Options of translate.
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

# Options of eval.
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
