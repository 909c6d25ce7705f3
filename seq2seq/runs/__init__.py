"""The run folder: manifest, checkpoints, lock.

A run folder holds only data: JSON, safetensors, TOML and text. Nothing in it is executed, and a file's hash is checked
before the file is parsed. Hashes detect damaged and exchanged files. They are not a signature: a program that can write
the folder can also write its hashes.
"""

from seq2seq.runs.checkpoints import (
    Checkpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from seq2seq.runs.files import write_atomic
from seq2seq.runs.folder import (
    SHORTLIST,
    ConfidenceRecord,
    Limits,
    Manifest,
    RecipeRecord,
    commit,
    model_name,
    move_aside,
    parse_stored,
    read_file,
    read_manifest,
    read_tensors,
    run_files,
    tidy_run,
)
from seq2seq.runs.lock import RunLock, lock
from seq2seq.runs.manifest import CONFIG, FORMAT, NEXT_CONFIG
from seq2seq.runs.metrics import append_metrics, truncate_metrics
from seq2seq.runs.tensors import load_tensors

__all__ = [
    "CONFIG",
    "FORMAT",
    "NEXT_CONFIG",
    "SHORTLIST",
    "Checkpoint",
    "ConfidenceRecord",
    "Limits",
    "Manifest",
    "RecipeRecord",
    "RunLock",
    "append_metrics",
    "commit",
    "load_checkpoint",
    "load_tensors",
    "lock",
    "model_name",
    "move_aside",
    "parse_stored",
    "prune_checkpoints",
    "read_file",
    "read_manifest",
    "read_tensors",
    "run_files",
    "save_checkpoint",
    "tidy_run",
    "truncate_metrics",
    "write_atomic",
]
