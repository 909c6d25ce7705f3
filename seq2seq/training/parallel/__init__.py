"""One update by one process or by several: data parallelism."""

from seq2seq.training.parallel.base import Replicas
from seq2seq.training.parallel.choose import PARALLEL, build_replicas
from seq2seq.training.parallel.ranks import Ranks, Stopped, StopSignal, join_ranks, rank_of_environment

__all__ = [
    "PARALLEL",
    "Ranks",
    "Replicas",
    "StopSignal",
    "Stopped",
    "build_replicas",
    "join_ranks",
    "rank_of_environment",
]
