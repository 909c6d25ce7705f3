"""Tuning numbers of this package: set by measurement or by experience, not by a format.

Each names the section of ``docs/lab-notes.md`` that has its measurement, or says that it was not measured.
"""

from typing import Final

# Misaligned corpora (alignment.py) --------------------------------------------------------------------
# Lab notes, "Misaligned corpora, leaks, copies", has the results of these numbers together.

WINDOW: Final = 50
"""Pairs in a window, for which one correlation is computed."""
MAX_LAG: Final = 10
"""Max distance, in pairs, to a neighbour's translation."""
MIN_SPREAD: Final = 0.15
"""Min standard deviation of log-lengths in a window, estimated from medians. Windows with less are not used."""
MIN_MEDIAN_BYTES: Final = 24
"""Min bytes of a window's median line. The lengths of single words and of their translations are nearly unrelated."""
SHIFT_DRIFT: Final = 1.5
"""Standard errors by which a neighbour's translation must fit better for a window to be evidence of a shift."""
MIN_SHIFT_EVIDENCE: Final = 7.0
"""Sum of evidence that proves a shift, in standard errors. Three clear windows in a row reach it."""
MIN_CORRELATION: Final = 0.15
"""Fisher's z of the correlation. A window below it is evidence of unrelated sides."""
MIN_UNRELATED_EVIDENCE: Final = 15.0
"""Sum of evidence that proves unrelated sides. About 750 pairs reach it."""
MAX_BETWEEN: Final = 0.2
"""Max fraction of the variance of log-lengths that is between windows. In text not sorted by length: 0.02 to 0.06."""

# Swapped sides (direction.py) -------------------------------------------------------------------------

N_CHECKED: Final = 1000
"""Pairs at the beginning of a corpus that are checked. Not measured."""
MIN_ENGLISH_WORDS: Final = 20
"""Min English words in a side that counts as English. Not measured."""
MIN_ENGLISH_RATIO: Final = 5
"""Min ratio of English words in that side to those in the other side. Not measured."""

# Tables (tables.py) -----------------------------------------------------------------------------------

HEAD_LINES: Final = 10_000
"""Max lines at the beginning of a table that decide about its quotes and its separator. Not measured."""
HEAD_CHARACTERS: Final = 1 << 22
"""Max characters of these lines. Not measured."""
SNIFFED_ROWS: Final = 50
"""Max rows that decide about the separator. Not measured."""
MIN_QUOTED_CELLS: Final = 10
"""Min quoted cells. Fewer may be sentences in quotation marks. Not measured."""
MAX_CELL: Final = 1 << 24
"""Max characters of a cell. If a quote is never closed, the rest of the file would be one cell. Not measured."""

# Stores of pairs (store.py) ---------------------------------------------------------------------------
# Lab notes, "The store of pairs", has the time of a random batch.

BATCH_ROWS: Final = 16_384
"""Max rows of a batch in the file."""
BATCH_VALUES: Final = 1 << 24
"""Bytes or ids after which a batch is written early, so that long rows do not fill memory."""

# Streams (stream.py) ----------------------------------------------------------------------------------

MAX_OPEN_SHARDS: Final = 8
"""Shards of a source that are read in turns. Each holds a buffer, up to 8 MB if it is compressed. Not measured."""
