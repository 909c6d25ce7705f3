"""A language pair that a small model learns in seconds: lines of letters, and the same lines reversed."""

import random
from pathlib import Path

from seq2seq.config import Layer


def reversal_lines(n: int, *, seed: int, unlike: set[str] | None = None) -> list[str]:
    """Distinct lines of 2 to 6 letters with spaces between.

    Args:
        n: lines wanted.
        seed: the same lines each time.
        unlike: lines that must not occur; the new ones are added.
    """
    taken = set() if unlike is None else unlike
    draw = random.Random(seed)
    lines: list[str] = []
    while len(lines) < n:
        line = " ".join(draw.choices("abcdefgh", k=draw.randint(2, 6)))
        if line not in taken:
            taken.add(line)
            lines.append(line)
    return lines


def write_reversal(prefix: Path, lines: list[str]) -> str:
    """Write ``PREFIX.ab`` and ``PREFIX.ba``; the prefix, as a CORPUS word."""
    prefix.with_name(f"{prefix.name}.ab").write_text("".join(f"{line}\n" for line in lines))
    prefix.with_name(f"{prefix.name}.ba").write_text("".join(f"{line[::-1]}\n" for line in lines))
    return str(prefix)


def reversal_recipe(folder: Path) -> Layer:
    """A corpus in ``folder``, and the settings to learn it: training lines have seed 1, validation lines 2."""
    taken: set[str] = set()
    return {
        "preset": "tiny",
        "data": {
            "langs": "ab-ba",
            "train": [write_reversal(folder / "train", reversal_lines(8000, seed=1, unlike=taken))],
            "valid": [write_reversal(folder / "valid", reversal_lines(50, seed=2, unlike=taken))],
            "vocab_size": 300,
        },
        "model": {
            **{"d_model": 64, "d_ff": 128, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
            "dropout": 0.0,
        },
        "training": {
            "precision": "fp32",  # so that tests use the same model on every processor
            "products": "mkl",
            **{"batch_tokens": 512, "learning_rate": 5e-3, "warmup_updates": 100, "max_updates": 1000},
            **{"valid_every": 1000, "ema_decay": 0.95, "label_smoothing": 0.0},
        },
    }
