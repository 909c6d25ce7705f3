"""The lock on one open file, which the kernel lets go when its holder dies, however it dies.

POSIX: ``flock``, which does not reach across machines on every network file system. Windows: a locked
byte far behind the content, which others can still read; not tested by us.
"""

import errno
import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from seq2seq.system.files import CheckedFile, open_ordinary

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
"""Times that its holder may rename or delete the file between our opening and locking it."""


def try_lock(descriptor: int) -> bool:
    """Take the lock, without waiting, until the descriptor is closed.

    Returns:
        False if another process holds it.

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


class LockedFile(CheckedFile):
    """A file that one process holds, open to read and write; closing it ends the lock. Made by ``open_locked``.

    A forked child has it closed: it would keep the lock after its parent is killed.
    """

    def __init__(self, path: Path, *, shown: str) -> None:
        self._path = path
        super().__init__(open_ordinary(path, shown=shown), "r+b", shown=shown)
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
    """Open a file, made if it is missing, and lock it without waiting.

    Args:
        path: the file.
        shown: named in UserErrors.
        lock_required: if false, a file system without locks is accepted.

    Returns:
        None if another process holds it.

    Raises:
        UserError: it is no ordinary file (74).
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
        # Some network file systems have no locks: then users must see to it that one process writes.
        if not required and error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return True
        raise
