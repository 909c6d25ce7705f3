"""A folder of files, and a ``manifest.json`` that names each with its SHA-256.

Replacing the manifest by one rename is the commit. No file changes while a manifest names it: new content comes under
a new name. So a crash between any two system calls leaves the old state or the new one.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs.files import damaged, read_regular, write_atomic, writing
from seq2seq.runs.tensors import LEFT_BY_SAFETENSORS, write_tensors
from seq2seq.system.files import TMP, sync_folder, temporary_path, write_flushed

Content = bytes | Mapping[str, Tensor]

FORMAT = 1
"""Format of run folders and checkpoints that this program writes, and the only one it reads. Within a format keys may
be added: a reader ignores those it does not know, and gives missing ones their defaults."""

MANIFEST = "manifest.json"
CONFIG, NEXT_CONFIG = "config.toml", "config-next.toml"
"""The run's configuration; the second name holds it while the first one still has other content."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names that a manifest may hold: no separators, and no leading dot."""
MODEL = re.compile(r"model-[0-9]{8,}(-2)?\.safetensors")
SHA256 = re.compile(r"[0-9a-f]{64}")
# What a crash of ours may leave behind. Nothing else is ever deleted: people keep files of their own in run folders.
_LEFT_OVER = re.compile(rf"{re.escape(TMP)}{NAME.pattern}|{LEFT_BY_SAFETENSORS.pattern}")


class UnknownFormatError(UserError):
    """Another version of this program wrote it, which is no damage."""


def to_json(value: Any) -> bytes:
    """Canonical JSON: one value has one spelling.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _spell(payload: Mapping[str, Any]) -> bytes:
    return (json.dumps(payload, sort_keys=True, indent=2, allow_nan=False) + "\n").encode("ascii")


def dump_manifest(payload: Mapping[str, Any]) -> bytes:
    """JSON with a ``checksum``: the SHA-256 of everything else in canonical form.

    Every format keeps this envelope, so that a later one is told from damage.

    Raises:
        ValueError: NaN or infinity, which JSON cannot hold.
    """
    # Through JSON and back: keys that are no strings sort differently once they are.
    payload = json.loads(to_json(payload))
    return _spell({**payload, "checksum": hashlib.sha256(to_json(payload)).hexdigest()})


def load_manifest(data: bytes, where: Path) -> dict[str, Any]:
    """Check and parse what ``dump_manifest`` wrote.

    The bytes must be exactly those that ``dump_manifest`` writes: duplicate keys, trailing garbage and changed
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
    """A file's bytes once they are known to be those that the manifest means.

    Raises:
        UserError: missing, changed, or outside the folder (78); it cannot be opened (66).
    """
    if not NAME.fullmatch(name):
        raise damaged(f"{folder} names a file {name!r:.60}, which is no plain name")
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
    """Put new files and a new manifest into a folder, and delete what it no longer names.

    Args:
        folder: exists already.
        files: content by name.
        old: names in the manifest in place; empty if there is none.
        kept: SHA-256 by name of files that stay.
        fields: what else the manifest holds.
        replaced: names of files that are deleted once no manifest names them.

    Returns:
        The manifest as written.

    Raises:
        UserError: a write failed (74); the old state is whole.
        ValueError: a new file has the name of one that the manifest in place names.
    """
    if taken := files.keys() & set(old):
        raise ValueError(f"the manifest in place names {sorted(taken)}: new content needs a new name")
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
    """Write a file under its name, which is not flushed yet, and return its SHA-256."""
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
    """Delete what earlier commits left and the manifest in place does not name. Arguments as ``commit_files``'s."""
    for entry in list(folder.iterdir()):
        if _LEFT_OVER.fullmatch(entry.name) or (replaced.fullmatch(entry.name) and entry.name not in named):
            # What cannot be deleted now is tried again at the next commit.
            with suppress(OSError):
                entry.unlink()
