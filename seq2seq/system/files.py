"""Bytes to disk and back: what has its name is whole and on disk, and an error names the file and how to mend it."""

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
"""Starts the name of a temporary file or folder in a folder that has one writer."""
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
    """The error for output that the system does not take (exit code 74).

    Args:
        name: path or name of the output.
        error: the system's answer.
        then: continues the advice if the disk is full.
    """
    mend = _MENDS.get(error.errno or 0, "make that place writable, or name another one")
    if error.errno in DISK_FULL:
        mend += then
    return UserError(f"{name} cannot be written: {error.strerror or error}", mend=mend, code=ExitCode.CANNOT_WRITE)


def cannot_read(name: str | Path, error: OSError | ValueError) -> UserError:
    """The error for input that cannot be opened or read, or whose name the system does not take (exit code 66)."""
    closed = isinstance(error, PermissionError)
    return UserError(
        f"{name} cannot be read: {getattr(error, 'strerror', None) or error}",
        mend="make it readable, or name another one" if closed else "name an existing file that you may read",
        code=ExitCode.NO_INPUT,
    )


@contextmanager
def writing(name: str | Path, *, then: str = ANOTHER_PLACE) -> Iterator[None]:
    """Turn an ``OSError`` of the body into ``cannot_write``. Arguments as there."""
    try:
        yield
    except OSError as error:
        raise cannot_write(name, error, then=then) from error


@contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Turn an ``OSError`` of the body into ``cannot_read``."""
    try:
        yield
    except OSError as error:
        raise cannot_read(name, error) from error


# Folders --------------------------------------------------------------------------------------------


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it outlives a power cut."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems flush folders by themselves and refuse to be asked.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, flushed to disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextmanager
def empty_folders_removed(folder: Path) -> Iterator[None]:
    """After an exception, remove a folder and its parents again if the body has made them and nothing is in them."""
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
    """A file whose failed writes are UserErrors that name it.

    Args:
        file: path or descriptor.
        mode: as for ``open``.
        shown: named in errors.
        closefd: whether closing closes the descriptor.
    """

    def __init__(self, file: str | int, mode: str, *, shown: str, closefd: bool = True) -> None:
        self._shown = shown
        self.abandoned = False
        """Swallow what is written: nobody takes it any more."""
        with writing(shown):
            super().__init__(file, mode, closefd=closefd)

    def write(self, data: "ReadableBuffer", /) -> int:
        if self.abandoned:
            return memoryview(data).nbytes
        counts: list[int] = []
        self.write_counted(data, counts)
        return counts[0]

    def write_counted(self, data: "ReadableBuffer", counts: list[int]) -> None:
        """``write``, with the count appended to a list, where it is right even if a signal interrupts this."""
        kept: list[int | None] = counts  # type: ignore[assignment]
        try:
            while True:
                # One step of C: no signal's handler can run between the system's answer and our keeping it.
                kept.extend(map(super().write, (data,)))
                if kept[-1] is not None:
                    return
                # Somebody set the descriptor not to block. Wait here instead.
                kept.pop()
                select.select([], [self], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._shown, error) from None

    def accepts(self) -> bool:
        """Whether a write would go through within a second: a reader may have stalled."""
        return bool(select.select([], [self], [], 1.0)[1])


@contextmanager
def checked_writer(file: str | int, mode: str, *, shown: str) -> Iterator[BinaryIO]:
    """A buffered writer over a ``CheckedFile``, empty of data after a failure. A descriptor stays open.

    Left for the interpreter to flush at exit, what could not be written would fail there once more and
    turn the exit code into 120.
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
    with writing(shown):  # a network's disk may report only now
        writer.close()


def open_ordinary(path: Path, *, shown: str) -> int:
    """A descriptor to read and write a file, made if it is missing; never of a link, a pipe or a device.

    In a folder that all may write to, somebody else could have put one there.

    Args:
        path: the file.
        shown: what it belongs to, named in the UserError.

    Raises:
        UserError: it is no ordinary file (74).
        OSError: as the system has it.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"):  # opening a pipe would wait for its reader
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
        f"{shown} cannot be written: {path} is in the way, and no ordinary file",
        mend="move that aside, or name another file",
        code=ExitCode.CANNOT_WRITE,
    )


# Whole or not at all --------------------------------------------------------------------------------


def temporary_path(path: Path, *, one_writer: bool) -> Path:
    """Where a file or a folder is written before it is renamed to its own name: beside it.

    Args:
        path: its own name.
        one_writer: a lock keeps other processes out of the folder. Then there is one temporary name, and what a
            crash left under it can be deleted. Otherwise it could be another process's: each gets a name of its own.
    """
    if one_writer:
        return path.with_name(TMP + path.name)
    return path.with_name(f".seq2seq-{os.getpid()}-{secrets.token_hex(4)}.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when it is whole and on disk.

    It is written beside its place and renamed; after an exception nothing is left, and what stood
    there before still does. Mode bits of a file replaced are kept; a link is followed.

    Raises:
        UserError: disk full, folder missing, not permitted (exit code 74).
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
    """A new folder to put files in, which gets its name once it is whole and on disk; after an exception it is gone.

    What has the name by then must be gone, or be an empty folder. Parents are made.

    Args:
        folder: its own name.
        one_writer: as for ``temporary_path``.

    Raises:
        OSError: as the system has it.
    """
    place = Path(os.path.realpath(folder.parent)) / folder.name
    temporary = temporary_path(place, one_writer=one_writer)
    try:
        make_folder(place.parent)
        temporary.mkdir()
        yield temporary
        for path in temporary.iterdir():
            with open(path, "rb+") as file:  # Windows flushes only what is open for writing
                os.fsync(file.fileno())
        sync_folder(temporary)
        if os.name == "nt" and place.is_dir():
            place.rmdir()  # elsewhere a rename replaces an empty folder
        temporary.rename(place)
        sync_folder(place.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk needs the space
        raise


@contextmanager
def removed_after_error(path: Path) -> Iterator[None]:
    """Delete a file after an ``OSError`` of the body: a full disk needs the space."""
    try:
        yield
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def write_flushed(path: Path, data: bytes) -> None:
    """Write a new file and flush it; the folder's entry is not flushed.

    Raises:
        OSError: as the system has it; what was written is gone again.
    """
    path.unlink(missing_ok=True)  # a left-over may be a link to somewhere else
    with removed_after_error(path), open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Write or replace a file in a folder that has one writer: whole, or not at all. A link is replaced.

    Raises:
        OSError: as the system has it.
    """
    temporary = temporary_path(path, one_writer=True)
    write_flushed(temporary, data)
    temporary.replace(path)
    sync_folder(path.parent)
