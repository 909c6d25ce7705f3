"""The run folder: manifest, atomic writes, checkpoints, lock.

A folder is data: JSON, safetensors, TOML and text. Nothing in it is executed, and its hashes are
checked before a byte of it is parsed. Hashes find damage and mixed-up files; they are no signature:
whoever can write the folder can write its hashes too.
"""

from seq2seq.checkpoint.files import load_tensors, write_atomic
from seq2seq.checkpoint.lock import RunLock, lock
from seq2seq.checkpoint.metrics import append_metrics, truncate_metrics
from seq2seq.checkpoint.resume import (
    Checkpoint,
    load_checkpoint,
    prune_checkpoints,
    rng_tensors,
    save_checkpoint,
    set_rng_tensors,
)
from seq2seq.checkpoint.run import (
    SHORTLIST,
    Manifest,
    commit,
    model_name,
    move_aside,
    read_file,
    read_manifest,
    read_tensors,
)
from seq2seq.checkpoint.sealed import FORMAT

__all__ = [
    "FORMAT",
    "SHORTLIST",
    "Checkpoint",
    "Manifest",
    "RunLock",
    "append_metrics",
    "commit",
    "load_checkpoint",
    "load_tensors",
    "lock",
    "model_name",
    "move_aside",
    "prune_checkpoints",
    "read_file",
    "read_manifest",
    "read_tensors",
    "rng_tensors",
    "save_checkpoint",
    "set_rng_tensors",
    "truncate_metrics",
    "write_atomic",
]
