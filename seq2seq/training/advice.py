"""What ``auto`` picks, and why: corpus size and machine to preset, vocabulary, schedule."""

from dataclasses import dataclass, replace

from seq2seq.config import Layer, RunConfig


@dataclass(frozen=True)
class Advice:
    """A partial configuration, and why."""

    preset: str
    layer: Layer
    reason: str


def advise(n_pairs: int, device: str) -> Advice:
    """Choose for a corpus of ``n_pairs`` pairs on a machine with ``device`` (cpu, cuda or mps)."""
    gpu = device != "cpu"
    if n_pairs < 12_000:
        preset, vocab_size, batch_tokens = "tiny", 2000, 1024
        why = "few pairs: a narrow model is hard enough to overfit"
    elif n_pairs < 60_000:
        preset, vocab_size, batch_tokens = "small", 4000, 2048
        why = "a small corpus: small batches and a small vocabulary generalise best"
    elif n_pairs < 400_000 or not gpu:
        preset, vocab_size, batch_tokens = "small", 8000 if n_pairs < 400_000 else 16_000, 4096
        why = "a medium corpus" if n_pairs < 400_000 else "a large corpus, but a CPU could not train more in days"
    elif n_pairs < 20_000_000:
        preset, vocab_size, batch_tokens = "base", 32_000, 25_000
        why = "a large corpus and a GPU"
    else:
        preset, vocab_size, batch_tokens = "big", 32_000, 25_000
        why = "a very large corpus and a GPU"
    layer: Layer = {"data": {"vocab_size": vocab_size}, "training": {"batch_tokens": batch_tokens}}
    if preset == "small" and n_pairs >= 100_000:
        layer["model"] = {"dropout": 0.2 if n_pairs < 400_000 else 0.1}
    return Advice(preset, layer, f"{n_pairs:,} pairs on {device}: preset {preset} ({why})")


def describe(config: RunConfig) -> str:
    """What is going to be trained, whoever chose it; one line."""
    model = config.model
    return (
        f"{model.encoder_layers}+{model.decoder_layers} layers of width {model.d_model}, "
        f"vocabulary {config.data.vocab_size:,}, {config.training.batch_tokens:,} target tokens an update"
    )


# Target tokens that a run reads in all. On a CPU: what two cores get through in about an hour and a
# half with the small preset; more passes than MOST_EPOCHS only overfit.
_TOKENS = {"tiny": 16e6, "small": 12e6, "base": 500e6, "big": 2000e6, "deep": 500e6}
_MOST_EPOCHS = 40


def complete(
    config: RunConfig, preset: str, n_tgt_tokens: int, updates_an_epoch: int, device: str
) -> tuple[RunConfig, list[str]]:
    """Settle the length of training and its cadences where the user left them open.

    Args:
        config: with every layer applied.
        preset: row of ``PRESETS`` in force.
        n_tgt_tokens: target tokens of the training corpus, EOS included.
        updates_an_epoch: updates of one pass over it; other passes differ by one or two.
        device: cpu, cuda or mps.

    Returns:
        The configuration with ``max_updates``, ``valid_every`` and ``save_every`` set, and the
        reasons, one line each.
    """
    training = config.training
    reasons = []
    epochs = training.max_epochs
    if training.max_updates is None and epochs is None:
        tokens = _TOKENS[preset] * (1 if device == "cpu" or preset not in ("tiny", "small") else 2)
        epochs = max(1, min(_MOST_EPOCHS, round(tokens / n_tgt_tokens)))
        reasons.append(f"{epochs} passes over {n_tgt_tokens:,} target tokens: {epochs * updates_an_epoch:,} updates")
    limits = [limit for limit in (training.max_updates, epochs and epochs * updates_an_epoch) if limit]
    max_updates = min(limits)
    valid_every = training.valid_every or min(max(updates_an_epoch, 100), 2000, max_updates)
    return (
        replace(
            config,
            training=replace(
                training,
                max_updates=max_updates,
                valid_every=valid_every,
                save_every=training.save_every or valid_every,
            ),
        ),
        reasons,
    )
