"""Files of a run folder. Errors of writing say that the same command resumes; no file outside the folder is read."""

import errno
import stat
from contextlib import AbstractContextManager
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.system import files
from seq2seq.system.files import reading


def damaged(what: str, mend: str = "copy the folder again from its source, or train again") -> UserError:
    """The error for damaged data, which must not be used (exit code 78)."""
    return UserError(what, mend=mend, code=ExitCode.REFUSED)


def writing(path: Path) -> AbstractContextManager[None]:
    """Convert an ``OSError`` of the body to a ``UserError`` (74) that names ``path``."""
    return files.writing(path, then="; the same command then resumes from the last checkpoint")


def write_atomic(path: Path, data: bytes) -> None:
    """Atomically write or replace a file that no manifest names, such as ``README.md``.

    Raises:
        UserError: it could not be written (74).
    """
    with writing(path):
        files.write_atomic(path, data)


def read_regular(folder: Path, name: str) -> bytes | None:
    """The content of a file; None if it is missing.

    Raises:
        UserError: it is not a regular file, or is outside the folder (78); it cannot be opened (66).
    """
    path = folder / name
    with reading(path):
        try:
            if not path.resolve(strict=True).is_relative_to(folder.resolve()):
                raise damaged(f"{path} is a link to a place outside its folder", "copy the folder with cp -rL")
            # Reading from a pipe or a device might never end.
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
