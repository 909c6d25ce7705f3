"""Files that are whole or absent: flushed writes, sealed JSON, hashed reads, tensors.

A sealed folder holds files and a ``manifest.json`` that names each with its SHA-256. Replacing the
manifest by one rename is the commit. A file whose name stays while its content changes waits as
``.new-NAME`` until the manifest that asks for it is in place; readers accept it there. So a crash
between any two system calls leaves the old state or the new one.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from seq2seq.errors import ExitCode, UserError

FORMAT = 1
"""Format of run folders and checkpoints that this program writes, and the only one it reads."""

MANIFEST = "manifest.json"
TMP, NEW = ".tmp-", ".new-"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names that a manifest may hold: no separators, and no leading dot."""
MODEL = re.compile(r"model-[0-9]{8,}\.safetensors")
SHA256 = re.compile(r"[0-9a-f]{64}")
# What a crash of ours may leave behind. safetensors writes beside its target as well, under six
# letters. Nothing else is ever deleted: people keep files of their own in run folders.
_RUBBISH = re.compile(rf"(\.tmp-|\.new-){NAME.pattern}|\.tmp[A-Za-z0-9]{{6}}")

Content = bytes | Mapping[str, Tensor]


class UnknownFormat(UserError):
    """Another version of this program wrote it, which is no damage."""


def damaged(what: str, mend: str = "copy the folder again from where it came, or train anew") -> UserError:
    """The error for data that must not be used (exit code 78)."""
    return UserError(what, mend=mend, code=ExitCode.REFUSED)


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error for a failed write (exit code 74)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what, mend = "disk full", "free some space; the same command then goes on from the last checkpoint"
    elif error.errno == errno.EFBIG:
        what, mend = "file too large", "raise the limit on file sizes (ulimit -f); the same command then goes on"
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


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename outlives a power cut."""
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
        flush_folder(folder.parent)


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
        flush_folder(path.parent)


def to_json(value: Any) -> bytes:
    """Canonical JSON: one value has one spelling.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _spell(payload: Mapping[str, Any]) -> bytes:
    return (json.dumps(payload, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def seal(payload: Mapping[str, Any]) -> bytes:
    """JSON with a ``checksum``: the SHA-256 of everything else in canonical form.

    Every format keeps this envelope, so that a later one is told from damage.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    # Through JSON and back: keys that are no strings sort differently once they are.
    payload = json.loads(to_json(payload))
    return _spell({**payload, "checksum": hashlib.sha256(to_json(payload)).hexdigest()})


def unseal(data: bytes, where: Path) -> dict[str, Any]:
    """Check and take apart what ``seal`` made.

    The bytes must be the very ones that ``seal`` writes: duplicate keys, trailing garbage and changed
    whitespace are damage too.

    Raises:
        UserError: damaged (78).
    """
    try:
        payload = json.loads(data.decode("ascii"))
        if isinstance(payload, dict) and _spell(payload) == data:
            checksum = payload.pop("checksum", None)
            if checksum == hashlib.sha256(to_json(payload)).hexdigest():
                return payload
    except (ValueError, RecursionError):
        pass
    raise damaged(f"{where} is damaged")


def check_format(payload: Mapping[str, Any], where: Path) -> None:
    """Refuse a format that this program does not know.

    Raises:
        UnknownFormat: another format (78).
    """
    found = payload.get("format")
    if type(found) is int and found == FORMAT:
        return
    versions = payload.get("versions")
    version = versions.get("seq2seq") if isinstance(versions, dict) else None
    known = isinstance(version, str) and re.fullmatch(r"[0-9]+\.[0-9][0-9A-Za-z.+]{0,30}", version)
    family = ".".join(str(version).split(".")[:2]) + ".x" if known else "that wrote it"
    raise UnknownFormat(
        f"{where} has format {found!r:.20}, and this program reads format {FORMAT}",
        mend=f"use the seq2seq {family}",
        code=ExitCode.REFUSED,
    )


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


def read_hashed(folder: Path, name: str, digest: str) -> bytes:
    """A file's bytes once they are known to be those that the manifest means.

    Raises:
        UserError: missing, changed, or outside the folder (78); it cannot be opened (66).
    """
    if not NAME.fullmatch(name):
        raise damaged(f"{folder} names a file {name!r:.60}, which is no plain name")
    plain = read_regular(folder, name)
    if plain is not None and hashlib.sha256(plain).hexdigest() == digest:
        return plain
    # A crash came after the manifest was replaced, and before this file was.
    pending = read_regular(folder, NEW + name)
    if pending is not None and hashlib.sha256(pending).hexdigest() == digest:
        return pending
    raise damaged(f"{folder / name} is missing" if plain is None else f"{folder / name} is damaged: its hash differs")


def write_sealed(
    folder: Path,
    files: Mapping[str, Content],
    *,
    old: Mapping[str, str],
    kept: Mapping[str, str],
    fields: Mapping[str, Any],
) -> bytes:
    """Put new files and a new manifest into a sealed folder, and take out what it no longer names.

    Args:
        folder: exists already.
        files: content by name.
        old: SHA-256 by name, of the manifest in place; empty where there is none.
        kept: SHA-256 by name of files that stay.
        fields: what else the manifest holds.

    Returns:
        The manifest as written.

    Raises:
        UserError: a write failed (74); the old state is whole.
    """
    path = folder
    try:
        settle(folder, old)
        digests = dict(kept)
        for name, content in files.items():
            path = folder / name
            temporary = folder / (TMP + name)
            digests[name] = write_flushed(temporary, content)
            same = old.get(name, digests[name]) == digests[name]
            temporary.replace(path if same else folder / (NEW + name))
        flush_folder(folder)

        path = folder / MANIFEST
        manifest = seal({**fields, "files": digests})
        write_flushed(folder / (TMP + MANIFEST), manifest)
        (folder / (TMP + MANIFEST)).replace(path)
        flush_folder(folder)
        settle(folder, digests)
    except OSError as error:
        raise cannot_write(path, error) from error
    return manifest


def settle(folder: Path, digests: Mapping[str, str]) -> None:
    """Finish what a commit may have left: move waiting files into place, delete what is not named."""
    for name, digest in digests.items():
        waiting = folder / (NEW + name)
        if waiting.is_file():
            with open(waiting, "rb") as file:
                wanted = hashlib.file_digest(file, "sha256").hexdigest() == digest
            if wanted:
                waiting.replace(folder / name)
    # Before anything else is named .new-*: the file just moved may be the only copy.
    flush_folder(folder)
    for entry in list(folder.iterdir()):
        if _RUBBISH.fullmatch(entry.name) or (MODEL.fullmatch(entry.name) and entry.name not in digests):
            # What cannot be deleted now is tried again at the next commit.
            with suppress(OSError):
                entry.unlink()


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
