"""``seq2seq train``: parallel text in, a run folder out."""

from seq2seq.cli import options, train_options
from seq2seq.cli.layers import parse_seeds, training_layers
from seq2seq.cli.signals import StopFlag
from seq2seq.text import refuse_overwriting


def train_command(
    run: train_options.NewRun,
    langs: train_options.Langs = None,
    train: train_options.Train = None,
    valid: train_options.Valid = None,
    skip_bad_shards: train_options.SkipBadShards = False,
    overwrite: train_options.Overwrite = False,
    preset: train_options.Preset = None,
    config: train_options.Recipe = None,
    sets: train_options.Sets = None,
    seed: train_options.Seed = None,
    seeds: train_options.Seeds = None,
    time_budget: train_options.TimeBudget = None,
    max_epochs: train_options.MaxEpochs = None,
    max_updates: train_options.MaxUpdates = None,
    device: options.Device = "auto",
    log: train_options.Log = None,
    strict: options.Strict = False,
) -> None:
    """Train a translator on parallel text. The same command again resumes it."""
    if config is not None:
        refuse_overwriting(run, [config], key="run")
    layers = training_layers(
        config, langs=langs, train=train, valid=valid, preset=preset, seed=seed, strict=strict,
        skip_bad_shards=skip_bad_shards,
        max_updates=max_updates, max_epochs=max_epochs, time_budget=time_budget, sets=sets or [],
    )  # fmt: skip
    several = parse_seeds(seeds, seed=seed, sets=sets or [])
    with StopFlag() as stop:
        from seq2seq.cli.display import follow, show
        from seq2seq.training import Request, rank_of_environment, train_seeds
        from seq2seq.training import train as run_training

        request = Request(run, layers, device, overwrite, log)
        events = run_training(request, stop) if several is None else train_seeds(request, several, stop)
        (follow if rank_of_environment() else show)(events, stop)
