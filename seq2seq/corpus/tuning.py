"""Tuning numbers of this room: set by measurement or by experience, not by a format.

Each names the section of ``docs/lab-notes.md`` that has its measurement, or says that it was not measured.
"""

from typing import Final

# Misaligned corpora (alignment.py) --------------------------------------------------------------------
# Lab notes, "Misaligned corpora, leaks, copies", has the results of these numbers together.

WINDOW: Final = 50
"""Pairs of a window, in which a correlation is computed."""
MAX_LAG: Final = 10
"""Max distance, in pairs, to a neighbour's translation."""
MIN_SPREAD: Final = 0.15
"""Min standard deviation of log-lengths, estimated from medians; other windows are not used."""
MIN_MEDIAN_BYTES: Final = 24
"""Min bytes of the median line: lengths of single words and of their translations are nearly unrelated."""
SHIFT_DRIFT: Final = 1.5
"""Standard errors by which another translation must fit better, before a window counts as evidence of a shift."""
MIN_SHIFT_EVIDENCE: Final = 7.0
"""Sum of evidence that proves a shift, in standard errors: three clear windows in a row reach it."""
MIN_CORRELATION: Final = 0.15
"""Fisher's z; a window below it is evidence of unrelated sides."""
MIN_UNRELATED_EVIDENCE: Final = 15.0
"""Sum of evidence that proves unrelated sides: about 750 pairs reach it."""
MAX_BETWEEN: Final = 0.2
"""Max fraction of the variance of log-lengths between windows: 0.02 to 0.06 in text not sorted by length."""

# Swapped sides (direction.py) -------------------------------------------------------------------------

N_CHECKED: Final = 1000
"""Pairs that are checked. Not measured."""
MIN_ENGLISH_WORDS: Final = 20
"""English words that a side must have to be called English. Not measured."""
MIN_ENGLISH_RATIO: Final = 5
"""How many times more English words one side must have than the other. Not measured."""

# Tables (tables.py) -----------------------------------------------------------------------------------

HEAD_LINES: Final = 10_000
"""Max lines at the beginning of a table, by which its quotes and its separator are decided. Not measured."""
HEAD_CHARACTERS: Final = 1 << 22
"""Max characters of these lines. Not measured."""
SNIFFED_ROWS: Final = 50
"""Rows by which the separator is decided. Not measured."""
MIN_QUOTED_CELLS: Final = 10
"""Fewer quoted cells may be sentences in quotation marks. Not measured."""
MAX_CELL: Final = 1 << 24
"""Max characters of a cell. After a quote that is never closed the rest of the file would be one cell. Not measured."""

# Stores of pairs (store.py) ---------------------------------------------------------------------------
# Lab notes, "The store of pairs", has the time of a random batch.

BATCH_ROWS: Final = 16_384
"""Rows of a batch of the file."""
BATCH_VALUES: Final = 1 << 24
"""Bytes or ids after which a batch is written early, so that long rows do not fill memory."""
