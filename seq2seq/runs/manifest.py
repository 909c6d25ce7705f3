"""The manifest: ``manifest.json`` names each file of a folder with its SHA-256.

A commit replaces the manifest by a single rename. A file that a manifest names never changes: new content gets a new
name. So a crash at any moment leaves either the old state or the new one.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.files import damaged, read_regular, write_atomic, writing
from seq2seq.runs.tensors import LEFT_BY_SAFETENSORS, write_tensors
from seq2seq.system.files import TMP, sync_folder, temporary_path, write_flushed

if TYPE_CHECKING:
    from torch import Tensor

Content: TypeAlias = "bytes | Mapping[str, Tensor]"

FORMAT = 1
"""The format of run folders and checkpoints that this program writes. It reads no other one. Later versions may add
keys within a format: a reader ignores unknown keys and gives missing keys their defaults."""

MANIFEST = "manifest.json"
CONFIG, NEXT_CONFIG = "config.toml", "config-next.toml"
"""Names of the configuration file. The second is used if the current manifest names the first with other content."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""File names that a manifest may contain: no path separators, no dot at the start."""
MODEL = re.compile(r"model-[0-9]{8,}(-2)?\.safetensors")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Temporary files that a crash may leave. Nothing else is deleted, as users may keep their own files in run folders.
_LEFTOVER = re.compile(rf"{re.escape(TMP)}{NAME.pattern}|{LEFT_BY_SAFETENSORS.pattern}")


class UnknownFormatError(UserError):
    """The format is that of another version of this program; nothing is damaged."""


def to_json(value: Any) -> bytes:
    """Canonical JSON: equal values give equal bytes.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _to_bytes(payload: Mapping[str, Any]) -> bytes:
    return (json.dumps(payload, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def dump_manifest(payload: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest: JSON with a ``checksum``, the SHA-256 of all other fields as canonical JSON.

    Every format keeps the checksum, so that a later format is not mistaken for damage.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    # JSON turns all keys into strings, which may sort differently. So convert them before sorting.
    payload = json.loads(to_json(payload))
    return _to_bytes({**payload, "checksum": hashlib.sha256(to_json(payload)).hexdigest()})


def load_manifest(data: bytes, where: Path) -> dict[str, Any]:
    """Check and parse a manifest.

    The bytes must be exactly as ``dump_manifest`` writes them. So duplicate keys, data after the end and changed
    whitespace are damage.

    Raises:
        UserError: damaged (78).
    """
    try:
        payload = json.loads(data.decode("ascii"))
        if isinstance(payload, dict) and _to_bytes(payload) == data:
            checksum = payload.pop("checksum", None)
            if checksum == hashlib.sha256(to_json(payload)).hexdigest():
                return payload
    except (ValueError, RecursionError):
        pass
    raise damaged(f"{where} is damaged")


def check_format(payload: Mapping[str, Any], where: Path) -> None:
    """Refuse a format that this program does not know.

    Raises:
        UnknownFormatError: another format (78).
    """
    found = payload.get("format")
    if type(found) is int and found == FORMAT:
        return
    versions = payload.get("versions")
    version = versions.get("seq2seq") if isinstance(versions, dict) else None
    known = isinstance(version, str) and re.fullmatch(r"[0-9]+\.[0-9][0-9A-Za-z.+]{0,30}", version)
    family = ".".join(str(version).split(".")[:2]) + ".x" if known else "that wrote it"
    raise UnknownFormatError(
        f"{where} has format {found!r:.20}, and this program reads format {FORMAT}",
        mend=f"use the seq2seq {family}",
        code=ExitCode.REFUSED,
    )


def read_hashed(folder: Path, name: str, digest: str) -> bytes:
    """Read a file and check its hash.

    Raises:
        UserError: missing, changed, or outside the folder (78); it cannot be opened (66).
    """
    if not NAME.fullmatch(name):
        raise damaged(f"{folder} names a file {name!r:.60}, which is not a plain file name")
    data = read_regular(folder, name)
    if data is None:
        raise damaged(f"{folder / name} is missing")
    if hashlib.sha256(data).hexdigest() != digest:
        raise damaged(f"{folder / name} is damaged: its hash differs")
    return data


def commit_files(
    folder: Path,
    files: Mapping[str, Content],
    *,
    old: Collection[str],
    kept: Mapping[str, str],
    fields: Mapping[str, Any],
    replaced: re.Pattern[str],
) -> bytes:
    """Write new files and a new manifest, and delete replaced files.

    Args:
        folder: must exist.
        files: content by name.
        old: file names in the current manifest; empty if there is none.
        kept: SHA-256 of files that stay, by name.
        fields: other fields of the manifest.
        replaced: pattern for names of files that are deleted when the manifest no longer names them.

    Returns:
        The bytes of the new manifest.

    Raises:
        UserError: a write failed (74); the old state is complete.
        ValueError: the current manifest already has the name of a new file.
    """
    if taken := files.keys() & set(old):
        raise ValueError(f"the current manifest names {sorted(taken)}: new content needs a new name")
    with writing(folder):
        tidy(folder, old, replaced)
        digests = dict(kept)
        for name, content in files.items():
            digests[name] = _write(folder / name, content)
        sync_folder(folder)
        manifest = dump_manifest({**fields, "files": digests})
        write_atomic(folder / MANIFEST, manifest)
        tidy(folder, digests, replaced)
    return manifest


def _write(path: Path, content: Content) -> str:
    """Write a file and return its SHA-256. The folder's entry is not flushed."""
    temporary = temporary_path(path, one_writer=True)
    with writing(path):
        if isinstance(content, bytes):
            write_flushed(temporary, content)
            digest = hashlib.sha256(content).hexdigest()
        else:
            digest = write_tensors(temporary, content)
        temporary.replace(path)
    return digest


def tidy(folder: Path, named: Collection[str], replaced: re.Pattern[str]) -> None:
    """Delete leftovers of crashes, and replaced files that the manifest does not name. See ``commit_files``."""
    for entry in list(folder.iterdir()):
        if _LEFTOVER.fullmatch(entry.name) or (replaced.fullmatch(entry.name) and entry.name not in named):
            # If something cannot be deleted now, the next commit tries it again.
            with suppress(OSError):
                entry.unlink()
