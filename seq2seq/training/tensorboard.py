"""Event files for TensorBoard: a copy of ``metrics.jsonl``, and nothing else.

When training starts or resumes, the file is written again from ``metrics.jsonl``, which was cut back to the checkpoint
by then. So no update is in it twice, and a run that was not logged from its start has its whole history. The training
is not changed: nothing is computed for this file.
"""

import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import as_number, read_metrics_after
from seq2seq.training.progress import Finished, Notice, Progress, Started

FOLDER = "tensorboard"
"""In the run folder. The manifest does not name it."""
TAGS = {
    "loss": "train/loss",
    "lr": "train/lr",
    "tgt_tokens_per_second": "train/tgt_tokens_per_second",
    "epoch": "train/epoch",
    "valid_loss": "valid/loss",
    "bleu": "valid/bleu",
    "chrf": "valid/chrf",
    "cut_off": "valid/cut_off",
}
"""Names of curves in TensorBoard, by the names of ``metrics.jsonl``."""
_MAX_STEP = 2**63 - 1
_FILES = "events.out.tfevents.*.seq2seq"


def require_tensorboard() -> None:
    """Refuse to train with a log that cannot be written.

    Raises:
        UserError: the package is not installed (78).
    """
    try:
        import tensorboard.summary.writer.record_writer  # noqa: F401 - only to see whether it can be imported
    except ImportError:
        raise UserError(
            "`log=tensorboard` needs the package tensorboard, which is not installed",
            mend="pip install 'tensorboard>=2.20', or leave `log` out",
            code=ExitCode.REFUSED,
        ) from None


def with_tensorboard(events: Generator[Progress, None, None], run: Path) -> Iterator[Progress]:
    """The events of training, after each of which the event file has all that ``metrics.jsonl`` has.

    If the file cannot be written, that is one warning; training continues without it.

    Args:
        events: of training.
        run: the run folder. The caller holds its lock.
    """
    log: EventFile | None = None
    try:
        for event in events:
            try:
                if isinstance(event, Started) or (isinstance(event, Finished) and event.already):
                    log = EventFile(run)
                if log is not None:
                    log.update()
            except OSError as error:
                yield Notice(f"{run / FOLDER} is not written any more: {error.strerror}", warning=True)
                _close(log)
                log = None
            yield event
    finally:
        events.close()
        if log is not None:
            with suppress(OSError):  # training itself may have ended with this error
                log.update()
            _close(log)


def _close(log: "EventFile | None") -> None:
    if log is not None:
        with suppress(OSError):
            log.close()


class EventFile:
    """An event file with a scalar for each number of ``metrics.jsonl``; older files of this run are emptied.

    The time of an event is the training time after the start of the run: time between an interruption and the command
    that resumes is left out.

    Args:
        run: the run folder.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, run: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._run = run
        self._read = 0
        """Bytes of ``metrics.jsonl`` that are copied."""
        self._began: float | None = None
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        for old in folder.glob(_FILES):
            # A TensorBoard that is running continues with the next file if this one ends, but not if it is deleted.
            if old.stat().st_size:
                old.write_bytes(b"")
            else:
                old.unlink()
        now = time.time()
        file = open(folder / _FILES.replace("*", f"{1000 * now:013.0f}"), "wb")  # noqa: SIM115 - closed by close()
        self._writer = RecordWriter(file)
        self._writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        # It also drops what it has read from the older files.
        start = SessionLog(status=SessionLog.START)
        self._writer.write(Event(wall_time=now, step=0, session_log=start).SerializeToString())
        self._writer.flush()

    def update(self) -> None:
        """Copy new lines of ``metrics.jsonl``."""
        records, self._read = read_metrics_after(self._run, self._read)
        if records and self._began is None:  # at the last line it is now
            self._began = time.time() - (as_number(records[-1].get("seconds")) or 0.0)
        for record in records:
            self._write(record)
        if records:
            self._writer.flush()

    def _write(self, record: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {tag: number for name, tag in TAGS.items() if (number := as_number(record.get(name))) is not None}
        seconds, step = as_number(record.get("seconds")), record["update"]
        if numbers and seconds is not None and 0 <= step <= _MAX_STEP:
            values = [Summary.Value(tag=tag, simple_value=_single(number)) for tag, number in numbers.items()]
            assert self._began is not None
            event = Event(wall_time=self._began + seconds, step=step, summary=Summary(value=values))
            self._writer.write(event.SerializeToString())

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def _single(number: float) -> float:
    """A number that fits the 32 bits of an event."""
    return math.copysign(min(abs(number), 3.4e38), number)
