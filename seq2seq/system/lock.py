"""A lock on an open file. The kernel releases it when the process that holds it ends, in any way.

On POSIX it is ``flock``, which does not work between machines on every network file system. On Windows it is a lock on
one byte far after the end of the content, so that others can still read the content; this was not tested.
"""

import errno
import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from seq2seq.system.files import CheckedFile, open_regular

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


_MAX_TRIES = 100
"""Max tries to open and lock a file. Each time another process may rename or delete it in between."""


def try_lock(descriptor: int) -> bool:
    """Take the lock without waiting. It is held until the descriptor is closed.

    Returns:
        False if another process holds it.

    Raises:
        OSError: the file system does not support locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise
        return False
    return True


class LockedFile(CheckedFile):
    """A locked file, open to read and write. Closing it releases the lock.

    ``open_locked`` makes it. A forked child closes it at once; otherwise it would keep the lock after its parent ends.
    """

    def __init__(self, path: Path, *, shown: str) -> None:
        self._path = path
        super().__init__(open_regular(path, shown=shown), "r+b", shown=shown)
        _open_files.add(self)

    def is_in_place(self) -> bool:
        """Whether it is still the file at its path, neither renamed nor deleted."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self.fileno()), self._path.stat(follow_symlinks=False))
        return False


_open_files: "weakref.WeakSet[LockedFile]" = weakref.WeakSet()


def _close_in_child() -> None:
    for file in list(_open_files):
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def open_locked(path: Path, *, shown: str, lock_required: bool = True) -> LockedFile | None:
    """Open a file and lock it without waiting. It is created if it is missing.

    Args:
        path: the file.
        shown: named in UserErrors.
        lock_required: refuse a file system that does not support locks.

    Returns:
        None if another process holds the lock.

    Raises:
        UserError: it is not a regular file (74).
        OSError: it cannot be opened or locked; FileNotFoundError: its folder is missing.
    """
    for _ in range(_MAX_TRIES):
        file = LockedFile(path, shown=shown)
        try:
            if not _try_lock(file, required=lock_required):
                file.close()
                return None
            if file.is_in_place():
                return file
        except BaseException:
            file.close()
            raise
        file.close()
    return None


def _try_lock(file: LockedFile, *, required: bool) -> bool:
    try:
        return try_lock(file.fileno())
    except OSError as error:
        # Some network file systems do not support locks. There the user must run only one process.
        if not required and error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return True
        raise
