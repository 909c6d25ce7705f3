"""The run folder: manifest, checkpoints, lock.

A run folder holds only data: JSON, safetensors, TOML and text. Nothing in it is executed, and a file's hash is checked
before the file is parsed. Hashes detect damaged and exchanged files. They are not a signature: a program that can write
the folder can also write its hashes.
"""

from seq2seq.runs.checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_checkpoint_of,
    prune_checkpoints,
    save_checkpoint,
)
from seq2seq.runs.comparison import Difference, Group, differences, groups
from seq2seq.runs.configuration import read_stored_config
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
from seq2seq.runs.listing import Found, RunSummary, find_runs, summarize
from seq2seq.runs.lock import RunLock, lock
from seq2seq.runs.manifest import CONFIG, FORMAT, NEXT_CONFIG
from seq2seq.runs.metrics import append_metrics, as_number, read_metrics, read_metrics_after, truncate_metrics
from seq2seq.runs.spread import SCORES, Spread, in_words, spread, spreads
from seq2seq.runs.tensors import load_tensors

__all__ = [
    "CONFIG",
    "FORMAT",
    "NEXT_CONFIG",
    "SCORES",
    "SHORTLIST",
    "Checkpoint",
    "ConfidenceRecord",
    "Difference",
    "Found",
    "Group",
    "Limits",
    "Manifest",
    "RecipeRecord",
    "RunLock",
    "RunSummary",
    "Spread",
    "append_metrics",
    "as_number",
    "commit",
    "differences",
    "find_runs",
    "groups",
    "in_words",
    "load_checkpoint",
    "load_checkpoint_of",
    "load_tensors",
    "lock",
    "model_name",
    "move_aside",
    "parse_stored",
    "prune_checkpoints",
    "read_file",
    "read_manifest",
    "read_metrics",
    "read_metrics_after",
    "read_stored_config",
    "read_tensors",
    "run_files",
    "save_checkpoint",
    "spread",
    "spreads",
    "summarize",
    "tidy_run",
    "truncate_metrics",
    "write_atomic",
]
