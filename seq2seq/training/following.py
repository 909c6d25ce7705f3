"""Ranks after the first: they wait while rank 0 prepares the run, then train what it hands over.

They read ``RUN/prepared`` and the checkpoint, and never the corpora: only the run folder must be on a disk that all
machines see.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from seq2seq.config import RunConfig, parse_langs, values_by_key
from seq2seq.corpus import stamp
from seq2seq.errors import UserError
from seq2seq.runs import Checkpoint, load_checkpoint_of
from seq2seq.training.best import choose_best_metric
from seq2seq.training.parallel import Ranks
from seq2seq.training.plan import Setup
from seq2seq.training.prepare import open_prepared
from seq2seq.training.progress import Progress
from seq2seq.training.state import TrainingState
from seq2seq.training.trainer import Trainer
from seq2seq.training.tuning import SEEN_SECONDS
from seq2seq.version import VERSION

Handed = dict[str, Any]
"""What rank 0 hands over: JSON, with the keys of ``hand_over``."""


def facts_of(requested: RunConfig, device: torch.device) -> dict[str, Any]:
    """What the commands of all ranks must agree on, before anything is prepared.

    Args:
        requested: the command's configuration.
        device: that trains.
    """
    facts: dict[str, Any] = {"version of seq2seq": VERSION, "version of PyTorch": torch.__version__}
    facts["kind of device"] = device.type
    facts |= {f"`{key}`": value for key, value in values_by_key(requested).items()}
    data = requested.data
    if data.langs:
        for word in (*data.train, *data.valid):
            # Times may differ between copies, and a machine may have no copy.
            with suppress(UserError):
                files = stamp(word, parse_langs(data.langs))
                facts[f"corpus {word} (bytes of its files)"] = files and [size for size, _ in files]
    return facts


def hand_over(
    ranks: Ranks, setup: Setup | None, folder: Path = Path(), checkpoint: Checkpoint | None = None
) -> Handed | None:
    """Give the other ranks what rank 0 has prepared; None: the run is finished.

    Args:
        ranks: of which this one is the first, or waits for the first.
        setup: of the run.
        folder: of the run.
        checkpoint: to resume from.
    """

    def handed() -> Handed | None:
        return setup and {
            "state": setup.state.to_json(),
            "max_useful_updates": setup.max_useful_updates,
            "checkpoint": checkpoint and checkpoint.update,
            "folder": str(folder),
            "lock": _lock(folder),
        }

    result: Handed | None = ranks.first(handed)
    return result


def follow(ranks: Ranks, folder: Path, device: torch.device, began: float) -> Iterator[Progress]:
    """Train what rank 0 hands over; yields what happens.

    Args:
        ranks: of which this one is not the first.
        folder: of the run.
        device: that trains.
        began: when the command began, by the ranks' clock.
    """
    handed = hand_over(ranks, None)
    if handed is None:
        return
    deadline = time.monotonic() + SEEN_SECONDS
    while _lock(folder) != handed["lock"] and time.monotonic() < deadline:
        time.sleep(0.1)
    if _lock(folder) != handed["lock"]:
        ranks.require_alike(lambda: {"run folder": f"{folder} on another disk"})
    state = TrainingState.from_json(handed["state"], folder)
    prepared = open_prepared(folder / "prepared", state.config.data)
    _, validation, _ = choose_best_metric(state.config, prepared)
    setup = Setup(state, validation, handed["max_useful_updates"])
    trainer = Trainer(folder, setup, prepared, device, ranks, began)
    update = handed["checkpoint"]
    checkpoint = None if update is None else load_checkpoint_of(folder, update)
    require_same_run(ranks, handed, folder, trainer)
    yield from trainer.train(checkpoint)


def require_same_run(ranks: Ranks, handed: Handed | None, folder: Path, trainer: Trainer) -> None:
    """Refuse to train if a rank does not see rank 0's run folder and files, or would compute in another way.

    Args:
        ranks: that train together.
        handed: by rank 0, whose folder this rank sees.
        folder: of the run.
        trainer: of this rank.
    """

    def facts() -> dict[str, Any]:
        prepared = (folder / "prepared" / "prepared.json").read_bytes()
        return {
            "run folder": handed and handed["folder"],
            "prepared corpus": hashlib.sha256(prepared).hexdigest(),
            "arithmetic": str(trainer.step.arithmetic),
        }

    ranks.require_alike(facts)


def _lock(folder: Path) -> str | None:
    """The content of the run's lock, by which the same folder is recognised; None if it is not seen."""
    try:
        return (folder / ".lock").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
