"""Shards: the ranges of lines of one file that several processes translate, and how their translations are joined.

The processes need no connection, only the same files. Each takes an equal range of lines, and writes to a resumable
file of its own. That of the first process becomes the output: when it has its own translations, it waits for those of
the others, and appends them in order.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.text import LineReader, open_input
from seq2seq.translation.ranks import Rank
from seq2seq.translation.resumable import ResumableFile, last_position
from seq2seq.translation.tuning import MAX_BYTES, MAX_LINES, MAX_SILENCE, SECONDS_BETWEEN_LOOKS
from seq2seq.translation.windows import Lines


@dataclass(frozen=True)
class LineRange:
    """The lines that one of several processes translates."""

    rank: Rank
    n_lines: int
    """Of the whole input."""
    checksum: str
    """Of the whole input."""

    @property
    def start(self) -> int:
        """The first line, from 0."""
        return self._start(self.rank.number)

    @property
    def stop(self) -> int:
        """The line after the last one."""
        return self._start(self.rank.number + 1)

    @property
    def has_nothing(self) -> bool:
        """Whether it has no lines, as there are fewer than processes, and another process writes the output."""
        return self.start == self.stop and not self.rank.is_first

    def _start(self, number: int) -> int:
        return self.n_lines * number // self.rank.size

    def others(self) -> list["LineRange"]:
        """The shards of the other processes, in order, without those that have no lines."""
        ranks = [Rank(number, self.rank.size) for number in range(self.rank.size) if number != self.rank.number]
        shards = [LineRange(rank, self.n_lines, self.checksum) for rank in ranks]
        return [shard for shard in shards if not shard.has_nothing]

    def path(self, output: Path) -> Path:
        """The name of its resumable file: that of the output for the first process."""
        return output if self.rank.is_first else output.with_name(f"{output.name}.shard-{self.rank.number + 1}")

    def settings(self) -> dict[str, object]:
        """What its translations depend on: with other processes or another input it is not resumed."""
        return {"shard": f"{self.rank.number + 1} of {self.rank.size}", "input": self.checksum[:16]}


def find_shard(source: str, rank: Rank) -> LineRange:
    """The shard of a process, for which it reads the whole input.

    Args:
        source: path of a regular file, plain or compressed.
        rank: of the process.

    Raises:
        UserError: the source is not text (65), or cannot be opened (66).
    """
    n_lines, checksum = 0, hashlib.sha256()
    with open_input(source) as stream:
        reader = LineReader(stream, source)
        while window := reader.read_window(MAX_LINES, MAX_BYTES):
            n_lines += len(window)
            checksum.update("".join(f"{line}\n" for line in window).encode("utf-8"))
    return LineRange(rank, n_lines, checksum.hexdigest())


class ShardLines:
    """The lines of a shard, from a reader of the whole input.

    Args:
        reader: at the first line of the input; the lines before the shard are skipped.
        shard: of this process.

    Raises:
        UserError: as ``read_window``.
    """

    def __init__(self, reader: Lines, shard: LineRange) -> None:
        self.counts = reader.counts
        self._reader = reader
        self._left = shard.start
        while self._left:
            self.read_window(MAX_LINES, MAX_BYTES)
        self.counts.invalid_utf8 = 0  # those of other processes
        self._n_bytes_skipped = reader.n_bytes_taken
        self._left = shard.stop - shard.start
        share = self._left / max(1, shard.n_lines)
        self.size = None if reader.size is None else round(share * reader.size)

    @property
    def n_bytes_taken(self) -> int:
        """About how many bytes of the input the lines of the shard that were read take up."""
        return self._reader.n_bytes_taken - self._n_bytes_skipped

    def read_window(self, max_lines: int, max_bytes: int) -> list[str]:
        """The next lines; none at the end of the shard.

        Raises:
            UserError: the input has fewer lines than before (65).
        """
        window = self._reader.read_window(min(max_lines, self._left), max_bytes) if self._left else []
        if self._left and not window:
            raise UserError("the input became shorter while it was read", mend="start again when it is complete")
        self._left -= len(window)
        return window


def hand_over(file: ResumableFile, shard: LineRange, output: Path) -> None:
    """End the translation of a shard: leave it to the first process, or, as the first process, complete the output.

    Args:
        file: of the shard, with all its translations.
        shard: of this process.
        output: final name of the whole output.

    Raises:
        UserError: the output cannot be written (74); another process does not continue (75), or was started with other
            settings (78).
    """
    if not shard.rank.is_first:
        file.close_complete()
        if shard.has_nothing:
            ResumableFile.delete_leftover(shard.path(output))
        return
    others = shard.others()
    for other in others:
        with _wait_for(other, file, output) as part:
            file.append(part)
    file.complete()
    for other in others:
        ResumableFile.delete_leftover(other.path(output))


def _wait_for(shard: LineRange, ours: ResumableFile, output: Path) -> ResumableFile:
    """Open the file of another process when it is complete, and when that process has closed it."""
    path, n_lines = shard.path(output), shard.stop - shard.start
    error = UserError(
        f"the process of shard {shard.rank.number + 1} of {shard.rank.size} has written nothing for "
        f"{counted(round(MAX_SILENCE / 60), 'minute')}",
        mend="start all processes again with `resume`",
        code=ExitCode.TRY_LATER,
    )
    seen, since = last_position(path), time.monotonic()
    while time.monotonic() - since < MAX_SILENCE:
        position = last_position(path)
        if position is not None and position.lines == n_lines:
            try:
                file = ResumableFile(path, {**ours.settings, **shard.settings()}, resume=True)
                if file.position == position:
                    return file
                file.close()
            except UserError as refused:  # still open, or from another start and soon overwritten
                error = refused
        if position != seen:
            seen, since = position, time.monotonic()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    raise error
