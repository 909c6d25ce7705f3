"""Tuning numbers of this package: set by experience, not by a format. They were not measured."""

from typing import Final

# Lines that are not UTF-8 (encodings.py) --------------------------------------------------------------

MAX_INVALID: Final = 0.01
"""Max fraction of lines that are not UTF-8; a file with more is refused."""
FIRST_CHECK: Final = 10_000
"""Lines after which a file is checked for the first time. The second check is at its end."""
GUESS_BYTES: Final = 1 << 15
"""Bytes of lines from which an encoding is guessed."""
MIN_SCORE: Final = 0.5
"""Min score of a guessed encoding."""

# Input that is not text (first_bytes.py) --------------------------------------------------------------

N_FIRST: Final = 1024
"""Max bytes of the first line that are checked."""
MIN_WIDE: Final = 6
"""Min bytes (three characters) to recognize UTF-16 without a byte-order mark."""

# Reading (reading.py, source.py) ----------------------------------------------------------------------

QUIET: Final = 0.01
"""Seconds without a byte, after which the other program is assumed to wait for its translation."""
MAX_WAIT: Final = 0.1
"""Max seconds to wait for more lines of a window, once it has one."""
