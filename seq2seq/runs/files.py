"""Bytes and tensors to disk and back, with errors that name the file."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from seq2seq.errors import ExitCode, UserError
from seq2seq.text import sync_folder

TMP = ".tmp-"
"""Starts the name of a file or folder that is still being written."""

Content = bytes | Mapping[str, Tensor]


def damaged(what: str, mend: str = "copy the folder again from where it came, or train again") -> UserError:
    """The error for data that must not be used (exit code 78)."""
    return UserError(what, mend=mend, code=ExitCode.REFUSED)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error for a failed write (exit code 74)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what, mend = "disk full", "free some space; the same command then resumes from the last checkpoint"
    elif error.errno == errno.EFBIG:
        what, mend = "file too large", "raise the limit on file sizes (ulimit -f); the same command then resumes"
    else:
        what, mend = error.strerror or str(error), "make that place writable, or name another one"
    return UserError(f"{path} cannot be written: {what}", mend=mend, code=ExitCode.CANNOT_WRITE)


def cannot_read(path: Path, error: OSError) -> UserError:
    """The error for a file that is there and cannot be opened (exit code 66)."""
    return UserError(
        f"{path} cannot be read: {error.strerror or error}", mend="make it readable", code=ExitCode.NO_INPUT
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the body into the ``UserError`` of exit code 74, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the body into the ``UserError`` of exit code 66, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise cannot_read(path, error) from error


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


def write_flushed(path: Path, content: Content) -> str:
    """Write a new file and flush it; the folder's entry is not flushed.

    Returns:
        The content's SHA-256 in hex.

    Raises:
        OSError: as the system has it; what was written is gone again.
        RuntimeError: tensors share memory, which safetensors refuses.
    """
    path.unlink(missing_ok=True)  # a left-over may be a link to somewhere else
    try:
        with open(path, "xb") as file:
            if isinstance(content, bytes):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                return hashlib.sha256(content).hexdigest()
        _save_tensors(path, content)
        with open(path, "rb+") as file:  # Windows flushes only what is open for writing
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            return digest
    except OSError:
        # A full disk needs the space.
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite a file with tensors, from where they lie: no copy of those on the CPU is made."""
    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        safetensors.torch.save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    # safetensors replaces the file by one that its owner alone can read.
    path.chmod(mode)


def write_atomic(path: Path, data: bytes) -> None:
    """Write or replace a file that no manifest names, such as ``README.md``: whole, or not at all.

    Raises:
        UserError: it could not be written (74).
    """
    with writing(path):
        temporary = path.with_name(TMP + path.name)
        write_flushed(temporary, data)
        temporary.replace(path)
        sync_folder(path.parent)


def read_regular(folder: Path, name: str) -> bytes | None:
    """A file's bytes, or None where there is none.

    Raises:
        UserError: the name is no plain one, leads out of the folder, or is no regular file (78); the
            file cannot be opened (66).
    """
    path = folder / name
    with reading(path):
        try:
            if not path.resolve(strict=True).is_relative_to(folder.resolve()):
                raise damaged(f"{path} links to a place outside its folder", "copy the folder with cp -rL")
            # A pipe or a device would be read for ever.
            if not stat.S_ISREG(path.stat().st_mode):
                raise damaged(f"{path} is not a file")
            with open(path, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RuntimeError:
            raise damaged(f"{path} is a link to itself") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise damaged(f"{path} is a link to itself") from None
            if error.errno == errno.EIO:
                raise damaged(f"{path} cannot be read: {error.strerror}") from None
            raise


def load_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    """Parse a safetensors file whose hash has been checked.

    Args:
        data: the whole file.
        where: named in errors.

    Raises:
        UserError: not safetensors, or of a type that torch does not have (78).
    """
    try:
        return safetensors.torch.load(data)
    # The loader answers malformed headers with several types.
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:
        raise damaged(f"{where} holds no tensors: {error!s:.200}") from error
