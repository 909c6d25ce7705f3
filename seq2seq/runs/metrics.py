"""``metrics.jsonl``: one JSON object on each line. The file has no hash, and is truncated when a run resumes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2seq.runs.files import read_regular, write_atomic, writing

METRICS_FILE = "metrics.jsonl"


def append_metrics(folder: Path, record: Mapping[str, Any]) -> None:
    """Add one line.

    Raises:
        UserError: it could not be written (74).
        ValueError: a value that JSON cannot hold, such as NaN.
    """
    # The keys keep the order of the record.
    line = json.dumps(record, allow_nan=False).encode("ascii") + b"\n"
    with writing(folder / METRICS_FILE), open(folder / METRICS_FILE, "ab") as file:
        file.write(line)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records; none if there is no file. Lines that are no records, such as an incomplete last one, are skipped.

    Each record has a whole number ``update``. Other values may be anything.

    Raises:
        UserError: the file cannot be read (66), or is outside the folder (78).
    """
    return _records(read_regular(folder, METRICS_FILE) or b"")


def read_metrics_after(folder: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The records of the complete lines from a byte on, and the byte after them; as ``read_metrics``.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with open(folder / METRICS_FILE, "rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return [], start
    whole = data[: data.rfind(b"\n") + 1]
    return _records(whole), start + len(whole)


def _records(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.split(b"\n") if _update(line) < float("inf")]


def as_number(value: object) -> float | None:
    """A finite number of a file that anybody may have edited; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def truncate_metrics(folder: Path, update: int) -> None:
    """Keep the records up to and including ``update``, and drop other lines.

    A crash may leave part of a line, and a power cut may leave zeros.

    Raises:
        UserError: the file cannot be read (66) or written (74).
    """
    data = read_regular(folder, METRICS_FILE)
    if data is None:
        return
    kept = b"".join(line + b"\n" for line in data.split(b"\n") if _update(line) <= update)
    if kept != data:
        write_atomic(folder / METRICS_FILE, kept)


def _update(line: bytes) -> float:
    try:
        found = json.loads(line.decode("utf-8"))["update"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")
    return found if type(found) is int else float("inf")
