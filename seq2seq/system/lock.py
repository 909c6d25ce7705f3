"""The lock on one open file, which the kernel lets go when its holder dies, however it dies.

POSIX: ``flock``, which does not reach across machines on every network file system. Windows: a locked
byte far behind the content, which others can still read; not tested by us.
"""

import errno
import os
import sys

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        here = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, 1 << 50, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, here, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def try_lock(descriptor: int) -> bool:
    """Take the lock, without waiting, until the descriptor is closed.

    Returns:
        False where another process holds it.

    Raises:
        OSError: this file system has no locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise
        return False
    return True
