"""Tuning numbers of this package: set by measurement or by experience, not by a format.

Each names the section of ``docs/lab-notes.md`` that has its measurement, or says that it was not measured.
"""

from typing import Final

# Windows (windows.py) ---------------------------------------------------------------------------------
# The pauses of a reader are in ``text/tuning.py``.

MAX_LINES: Final = 8192
MAX_LINES_ON_GPU: Final = 65_536
"""Max lines of a window: enough to profit from sorting by length, but memory does not grow with the input. A GPU is
idle between two windows. Lab notes, "Translating" and "On a GPU"."""
MAX_BYTES: Final = 4 << 20
"""Max bytes of a window, for the same reasons. Not measured."""
MIN_LINES: Final = 64
"""Min lines of a window, if the input has them ready. Not measured."""
FIRST_SECONDS: Final = 5.0
"""Seconds of translation in the first window, whose speed is a guess. Not measured."""
WINDOW_SECONDS: Final = 15.0
"""Seconds of translation in each later window: what an interruption may cost. Not measured."""
SLOW: Final = 1000.0
"""Lines a second; an iterable that gives fewer is slow. Not measured."""

# Batches (batches.py, translator.py) ------------------------------------------------------------------

BATCHES_AT_ONCE: Final = {True: 4, False: 2}
"""Batches that are searched together, on a CPU and elsewhere: a batch gets this part of the tokens. Lab notes,
"Translating"."""
BATCH_TOKENS: Final = {"cpu": 5120, "cuda": 102_400}
"""Source tokens that are searched together with one beam. On a CPU activations then stay in its cache; a GPU is kept
busy. Other devices were not measured. Lab notes, "Translating" and "On a GPU"."""
CTRANSLATE2_BATCH_TOKENS: Final = 1024
"""Source tokens of a batch of CTranslate2 on a CPU. It has no continuous batching, and int8 is a fifth slower with
5,120; fp32 takes as long with either. Lab notes, "CTranslate2 as an engine"."""
CORE_SPEED: Final = 5e9
"""Lines a second of one core, times parameters, times one more than the beams: 50 to 100 GFLOP/s. A rough guess."""

LIKELIHOOD_ROWS: Final = {True: 256, False: 8192}
"""Target tokens whose logits are computed together, on a CPU and elsewhere: as for the search, few enough for the cache
of a CPU, and many on a GPU. Not measured."""

# Processes and files (workers.py, resumable.py) -------------------------------------------------------

MESSAGE_SECONDS: Final = 0.1
"""Min seconds between two messages of a worker process. Not measured."""
SECONDS_PER_POSITION: Final = 1.0
"""Min seconds between two positions in the journal of an output. With one for each line the journal would be longer
than the translations. Not measured."""

# Several processes (shards.py) ------------------------------------------------------------------------

SECONDS_BETWEEN_LOOKS: Final = 0.2
"""How often the first process looks whether the others are ready. Not measured."""
MAX_SILENCE: Final = 600.0
"""Seconds without a new position in the journal of another process, after which it is given up. A process that works
writes one after each window. Not measured."""
