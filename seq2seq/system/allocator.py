"""What becomes of memory that training has done with."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""glibc's names, from its malloc.h."""
_MOST_MMAP_THRESHOLD = 32 << 20
"""The largest that glibc takes."""
_TOP_PAD = 64 << 20


def keep_freed_memory() -> None:
    """Keep what is freed for the next update, rather than hand it back and ask for it again.

    Each update takes the same amounts as the one before. Left alone, glibc returns large ones to the system, which
    clears every page anew: a tenth to a fifth of training on a CPU. Other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # as with musl
        return
    mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, _TOP_PAD)
