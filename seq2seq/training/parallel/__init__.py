"""One update by one process or by several: data parallelism."""

from seq2seq.training.parallel.base import Replicas
from seq2seq.training.parallel.choose import PARALLEL, build_replicas

__all__ = ["PARALLEL", "Replicas", "build_replicas"]
