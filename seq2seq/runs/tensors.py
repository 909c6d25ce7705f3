"""Tensors of a run folder, in safetensors files."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seq2seq.runs.files import damaged
from seq2seq.system.files import removed_after_error

if TYPE_CHECKING:
    from torch import Tensor

LEFT_BY_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""Temporary files of safetensors, which a crash may leave."""


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> str:
    """Write tensors to a new file and flush it to disk. The folder's entry is not flushed.

    Returns:
        The file's SHA-256 in hexadecimal digits.

    Raises:
        OSError: from the system; the file is deleted.
        RuntimeError: tensors share memory, which safetensors refuses.
    """
    path.unlink(missing_ok=True)  # a file that a crash left may be a link to another place
    with removed_after_error(path):
        path.touch(exist_ok=False)
        _save_tensors(path, tensors)
        with open(path, "rb+") as file:  # Windows flushes only files that are open for writing
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
            return digest


def _save_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Overwrite a file with tensors. Tensors on the CPU are not copied."""
    import safetensors.torch  # imports torch, without which lists of runs are printed
    from safetensors import SafetensorError

    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        safetensors.torch.save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    # safetensors replaces the file with one that only its owner can read.
    path.chmod(mode)


def load_tensors(data: bytes, where: str) -> "dict[str, Tensor]":
    """Parse a safetensors file. The caller has checked its hash.

    Args:
        data: the whole file.
        where: named in errors.

    Raises:
        UserError: not safetensors, or a data type that torch does not have (78).
    """
    import safetensors.torch  # as above
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(data)
    # The loader raises several types for malformed headers.
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RuntimeError) as error:
        raise damaged(f"{where} does not hold tensors: {error!s:.200}") from error
