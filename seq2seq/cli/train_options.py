"""Options of ``train`` alone, in the groups of ``--help``."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli.options import CORPORA, LENGTH, MORE, RECIPE
from seq2seq.config import PRESETS, TrainingConfig

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
