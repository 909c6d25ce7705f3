"""Whether an input exists. An unreadable folder, a name that is too long and a loop of links are errors, not "no"."""

import os
import stat
from pathlib import Path

from seq2seq.system.files import cannot_read


def exists(path: str | Path) -> bool:
    """Whether a path exists.

    Raises:
        UserError: the system cannot say (66), as in a folder without permission to read it.
    """
    return _mode(path) is not None


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder. Raises the errors of ``exists``."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def walk_folder(folder: str | Path) -> list[Path]:
    """All files and folders below a folder, except in unreadable folders."""
    return [Path(at, name) for at, folders, files in os.walk(folder) for name in (*folders, *files)]


def _mode(path: str | Path) -> int | None:
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise cannot_read(str(path), error) from None
