"""``seq2seq train``: parallel text in, a run folder out."""

from seq2seq.cli import options
from seq2seq.cli.layers import parse_seeds, training_layers
from seq2seq.cli.signals import StopFlag
from seq2seq.text import refuse_overwriting


def train_command(
    run: options.NewRun,
    langs: options.Langs = None,
    train: options.Train = None,
    valid: options.Valid = None,
    skip_bad_shards: options.SkipBadShards = False,
    overwrite: options.Overwrite = False,
    preset: options.Preset = None,
    config: options.Recipe = None,
    sets: options.Sets = None,
    seed: options.Seed = None,
    seeds: options.Seeds = None,
    time_budget: options.TimeBudget = None,
    max_epochs: options.MaxEpochs = None,
    max_updates: options.MaxUpdates = None,
    device: options.Device = "auto",
    log: options.Log = None,
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
