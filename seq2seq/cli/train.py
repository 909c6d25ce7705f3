"""``seq2seq train``: parallel text in, a run folder out."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli.options import MORE, Strict, TimeBudget, training_layers
from seq2seq.cli.signals import StopFlag
from seq2seq.lines import refuse_overwriting


def train_command(
    run: Annotated[
        Path, typer.Option("-o", "--output", help="Run folder: created, or resumed.", metavar="RUN", readable=False)
    ],
    langs: Annotated[str | None, typer.Option("-l", "--langs", help="Source and target, as de-en or pt-BR:en.")] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(
            "--train", metavar="CORPUS", help="Prefix, SRC,TGT, .tsv, .csv, .jsonl or hf:NAME; may be repeated."
        ),
    ] = None,
    valid: Annotated[
        list[str] | None,
        typer.Option("--valid", metavar="CORPUS", help="Validation pairs; default: a data set's own, or held out."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="RECIPE.toml", help="Recipe to start from.", readable=False)
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="auto, tiny, small, medium, base, big or deep; auto picks by corpus and device."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed; 1 by default.")] = None,
    max_updates: Annotated[int | None, typer.Option("--max-updates", help="Stop after this many updates.")] = None,
    max_epochs: Annotated[int | None, typer.Option("--max-epochs", help="Stop after this many epochs.")] = None,
    time_budget: TimeBudget = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Move an old run aside and start over.")] = False,
    strict: Strict = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a key, as model.d_model=256.", rich_help_panel=MORE),
    ] = None,
) -> None:
    """Train a translator on parallel text; the same command again resumes it."""
    if config is not None:
        refuse_overwriting(run, [config])
    layers = training_layers(
        config, langs=langs, train=train, valid=valid, preset=preset, seed=seed, strict=strict,
        max_updates=max_updates, max_epochs=max_epochs, time_budget=time_budget, sets=sets or [],
    )  # fmt: skip
    with StopFlag() as stop:
        from seq2seq.cli.display import show
        from seq2seq.training import Request
        from seq2seq.training import train as run_training

        show(run_training(Request(run, layers, device, overwrite), stop), stop)
