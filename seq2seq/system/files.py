"""Files on disk: atomic writes, flushing to disk, and errors of reading and writing."""

import errno
import io
import os
import secrets
import select
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from seq2seq.errors import ExitCode, UserError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

TMP = ".tmp-"
"""Prefix of the name of a temporary file or folder, in a folder with one writer."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MENDS = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "make its folder first",
}
ANOTHER_PLACE = " or name another folder"


# Errors ---------------------------------------------------------------------------------------------


def cannot_write(name: str | Path, error: OSError, *, then: str = ANOTHER_PLACE) -> UserError:
    """The error for output that cannot be written (exit code 74).

    Args:
        name: path or name of the output.
        error: from the system.
        then: added to the advice if the disk is full.
    """
    mend = _MENDS.get(error.errno or 0, "make that place writable, or name another one")
    if error.errno in DISK_FULL:
        mend += then
    return UserError(f"{name} cannot be written: {error.strerror or error}", mend=mend, code=ExitCode.CANNOT_WRITE)


def cannot_read(name: str | Path, error: OSError | ValueError) -> UserError:
    """The error for input that cannot be opened or read, or that has an invalid name (exit code 66)."""
    is_forbidden = isinstance(error, PermissionError)
    return UserError(
        f"{name} cannot be read: {getattr(error, 'strerror', None) or error}",
        mend="make it readable, or name another one" if is_forbidden else "name an existing file that you may read",
        code=ExitCode.NO_INPUT,
    )


@contextmanager
def writing(name: str | Path, *, then: str = ANOTHER_PLACE) -> Iterator[None]:
    """Convert an ``OSError`` of the body to the error of ``cannot_write``. Arguments as there."""
    try:
        yield
    except OSError as error:
        raise cannot_write(name, error, then=then) from error


@contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Convert an ``OSError`` of the body to the error of ``cannot_read``."""
    try:
        yield
    except OSError as error:
        raise cannot_read(name, error) from error


# Folders --------------------------------------------------------------------------------------------


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a rename in it survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems flush folders by themselves, and refuse this call.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and flush them to disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextmanager
def empty_folders_removed(folder: Path) -> Iterator[None]:
    """After an exception, remove a folder and its parents if they did not exist before and are empty."""
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield
    except BaseException:
        for place in missing:  # the innermost first
            with suppress(OSError):
                place.rmdir()
        raise


# Open files -----------------------------------------------------------------------------------------


class CheckedFile(io.FileIO):
    """A file whose errors of writing are ``UserError`` and name it.

    Args:
        file: path or descriptor.
        mode: as for ``open``.
        shown: named in errors.
        closefd: whether closing closes the descriptor.
    """

    def __init__(self, file: str | int, mode: str, *, shown: str, closefd: bool = True) -> None:
        self._shown = shown
        self.abandoned = False
        """Whether to ignore what is written, because the reader has stalled."""
        with writing(shown):
            super().__init__(file, mode, closefd=closefd)

    def write(self, data: "ReadableBuffer", /) -> int:
        if self.abandoned:
            return memoryview(data).nbytes
        counts: list[int] = []
        self.write_counted(data, counts)
        return counts[0]

    def write_counted(self, data: "ReadableBuffer", counts: list[int]) -> None:
        """``write``, but append the number of bytes to a list, which is correct even if a signal interrupts this."""
        kept: list[int | None] = counts  # type: ignore[assignment]
        try:
            while True:
                # It is one call in C, so no signal handler can run between the write and the append of its count.
                kept.extend(map(super().write, (data,)))
                if kept[-1] is not None:
                    return
                # The descriptor is in non-blocking mode. Wait here instead.
                kept.pop()
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._shown, error) from None

    def accepts(self) -> bool:
        """Whether a write can start within a second. If not, the reader has stalled."""
        return bool(select.select([], [self], [], 1.0)[1])


@contextmanager
def checked_writer(file: str | int, mode: str, *, shown: str) -> Iterator[BinaryIO]:
    """A buffered writer for a ``CheckedFile``. A descriptor stays open.

    After an error its buffer is emptied. Otherwise Python would flush it at exit, fail again, and exit with 120.
    """
    checked = CheckedFile(file, mode, shown=shown, closefd=isinstance(file, str))
    writer = io.BufferedWriter(checked)
    try:
        yield writer
        writer.flush()
    except BaseException:
        with suppress(OSError, UserError):
            checked.abandoned = not checked.accepts()
            writer.close()
        raise
    with writing(shown):  # a network file system may report errors only now
        writer.close()


def open_regular(path: Path, *, shown: str) -> int:
    """Open a regular file to read and write. It is created if it is missing. Links, pipes and devices are refused.

    In a folder that everyone may write to, another user could have put one of these there.

    Args:
        path: the file.
        shown: the output that it belongs to, named in the UserError.

    Raises:
        UserError: it is not a regular file (74).
        OSError: from the system.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in (
        "O_NOFOLLOW",
        "O_BINARY",
        "O_NONBLOCK",
    ):  # without O_NONBLOCK, opening a pipe would wait for its reader
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    raise UserError(
        f"{shown} cannot be written: {path} is in the way and is not a regular file",
        mend="move it aside, or name another file",
        code=ExitCode.CANNOT_WRITE,
    )


# Atomic writes --------------------------------------------------------------------------------------


def temporary_path(path: Path, *, one_writer: bool) -> Path:
    """The temporary name of a file or folder while it is written, in the same folder.

    Args:
        path: its final name.
        one_writer: whether a lock excludes other processes from the folder. Then the temporary name is always the same,
            so a file that a crash left can be deleted. Otherwise each process gets another name.
    """
    if one_writer:
        return path.with_name(TMP + path.name)
    return path.with_name(f".seq2seq-{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file atomically: it appears under its name only when it is complete and on disk.

    It is written under a temporary name in the same folder, then renamed. After an exception nothing is left, and a
    file that existed before is unchanged. The mode of a replaced file is kept. A link is followed.

    Raises:
        UserError: the disk is full, the folder is missing, or it is not permitted (exit code 74).
    """
    place = Path(os.path.realpath(path))
    temporary = temporary_path(place, one_writer=False)
    try:
        with checked_writer(str(temporary), "xb", shown=str(path)) as writer:
            yield writer
            writer.flush()
            with writing(path):
                os.fsync(writer.fileno())
                with suppress(FileNotFoundError):
                    temporary.chmod(stat.S_IMODE(place.stat().st_mode))
        with writing(path):
            temporary.replace(place)
            sync_folder(place.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def atomic_folder(folder: Path, *, one_writer: bool = False) -> Iterator[Path]:
    """Write a folder atomically: it appears under its name only when it is complete and on disk.

    At the end nothing else may have its name, except an empty folder. Parents are created. After an exception nothing
    is left.

    Args:
        folder: its final name.
        one_writer: as for ``temporary_path``.

    Raises:
        OSError: from the system.
    """
    place = Path(os.path.realpath(folder.parent)) / folder.name
    temporary = temporary_path(place, one_writer=one_writer)
    try:
        make_folder(place.parent)
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            with open(path, "rb+") as file:  # Windows flushes only files that are open for writing
                os.fsync(file.fileno())
        sync_folder(temporary)
        if os.name == "nt" and place.is_dir():
            place.rmdir()  # elsewhere a rename replaces an empty folder
        temporary.rename(place)
        sync_folder(place.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # frees space on a full disk
        raise


@contextmanager
def removed_after_error(path: Path) -> Iterator[None]:
    """After an ``OSError`` of the body delete a file, to free space on a full disk."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def write_flushed(path: Path, data: bytes) -> None:
    """Write a new file and flush it to disk. The folder's entry is not flushed.

    Raises:
        OSError: from the system; the file is deleted.
    """
    path.unlink(missing_ok=True)  # a file that a crash left may be a link to another place
    with removed_after_error(path), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Atomically write or replace a file in a folder with one writer. A link is replaced.

    Raises:
        OSError: from the system.
    """
    temporary = temporary_path(path, one_writer=True)
    write_flushed(temporary, data)
    temporary.replace(path)
    sync_folder(path.parent)
