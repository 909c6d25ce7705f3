"""Reads every CORPUS into text stores in ``RUN/prepared/``, counts its pairs, and hashes its content.

``corpora.json`` is written last: if the command is killed here, the next one starts here again.
"""

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from seq2seq.config import DataConfig, parse_langs
from seq2seq.corpus import (
    CorpusCounts,
    Pair,
    Shard,
    TextStore,
    describe_misalignment,
    find_misalignment,
    read_pairs,
    shards_of,
    stamp,
    write_text_store,
)
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.runs import write_atomic
from seq2seq.system.files import writing
from seq2seq.text import is_blank
from seq2seq.training.progress import Notice
from seq2seq.training.state import CorpusId
from seq2seq.training.streaming import n_sampled, sample

Notify = Callable[[str | Notice], None]


@dataclass(frozen=True)
class CorpusRecord:
    """One CORPUS with its counts; kept in the manifest."""

    corpus: str
    role: str
    """``train`` or ``valid``."""
    pairs: int
    """Pairs read."""
    sha256: str
    """Hash of the pairs, in order; it does not depend on the path."""
    dropped_empty: int
    """Pairs with a blank side."""
    invalid_utf8: int
    """Lines in which bytes were replaced."""
    notes: list[str] = field(default_factory=list)
    """Decisions about its form, for example that a header was left out."""
    misaligned_line: int | None = None
    """The first line, counted from 1, of a section that does not match its translation; None: there is none."""
    misaligned_by: int | None = None
    """How many lines too late the translations come there; None: they are not near."""
    stamp: list[list[int]] | None = None
    """Sizes and modification times of its files before they were read; None if files cannot show a change."""
    shards: int = 0
    """If it is streamed, its shards; its pairs are then only those that were read before training."""

    @property
    def id(self) -> CorpusId:
        """The identity of the corpus."""
        return CorpusId(role=self.role, sha256=self.sha256, corpus=self.corpus, pairs=self.pairs, stamp=self.stamp)

    def __str__(self) -> str:
        """A line for a message, with the number of dropped pairs."""
        empty = f", {self.dropped_empty:,} dropped: a side is blank" if self.dropped_empty else ""
        lines = counted(self.invalid_utf8, "line")
        invalid = f", bytes that are not UTF-8 replaced in {lines}" if self.invalid_utf8 else ""
        streamed = f"a stream of {counted(self.shards, 'shard')}, before training " if self.shards else ""
        return f"{self.corpus}: {streamed}{counted(self.pairs, 'pair')}{empty}{invalid}"


def read_corpora(
    folder: Path, data: DataConfig, notify: Notify, *, expected: Sequence[CorpusId] | None = None
) -> list[CorpusRecord]:
    """Read every CORPUS once into text stores, so that bad data is found before training.

    Existing stores are used again if the corpora have not changed.

    Args:
        folder: ``RUN/prepared``, made here.
        data: languages and corpora.
        notify: called with what was read and dropped.
        expected: the corpora that the run was started with; None if it starts now.

    Raises:
        UserError: a corpus is missing (66), bad (65), misaligned (65), has no pair (65), or is not the expected one
            (78).
    """
    records = _stored(folder, data)
    if records is None:
        # Checked before the stores are replaced: the next command may name the right corpora.
        if expected is not None and _load_json(folder / "corpora.json") is not None:
            _require(folder.parent, expected, [_read(role, word, data) for role, word in _words(data)])
        records = _read_all(folder, data, notify)
    if expected is not None:
        try:
            _require(folder.parent, expected, [record.id for record in records])
        except UserError:
            discard(folder)
            raise
    for record in records:
        notify(str(record))
        for note in record.notes:
            notify(f"{record.corpus}: {note}")
        if record.misaligned_line is not None:
            what = describe_misalignment(
                record.corpus, parse_langs(data.langs), record.misaligned_line, record.misaligned_by
            )
            if data.alarms == "refuse":
                mend = "look for missing lines, added lines or another order; `data.alarms=warn` trains anyway"
                raise UserError(what, mend=mend)
            notify(Notice(what, warning=True))
    return records


def discard(folder: Path) -> None:
    """Delete what was prepared. The files that declare it complete are deleted first."""
    for name in ("corpora.json", "prepared.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def stored_records(folder: Path) -> list[CorpusRecord]:
    """The records of existing stores."""
    done = _load_json(folder / "corpora.json")
    return [] if done is None else [CorpusRecord(**record) for record in done["corpora"]]


def require_same_corpora(run: Path, data: DataConfig, named: Collection[str], trained_on: Sequence[CorpusId]) -> None:
    """Refuse a command that names other corpora than a finished run was trained on.

    If the files of a corpus are unchanged, it is not read again. It need not exist any more.

    Args:
        run: named in errors.
        data: languages and corpora of the command.
        named: roles whose corpora the command names; for the others the run's own are used.
        trained_on: corpora of the run.

    Raises:
        UserError: a corpus holds other pairs or cannot be read, or there are more or fewer (78).
    """
    before = [corpus for corpus in trained_on if corpus.role in named]
    now = [_read_if_changed(role, word, data, before) for role, word in _words(data) if role in named]
    _require(run, before, now)


def _read_if_changed(role: str, word: str, data: DataConfig, before: Sequence[CorpusId]) -> CorpusId:
    same = next((corpus for corpus in before if (corpus.role, corpus.corpus) == (role, word)), None)
    if same is not None and same.stamp is not None and same.stamp == stamp(word, parse_langs(data.langs)):
        return same
    try:
        return _read(role, word, data)
    except UserError as error:
        if error.code == ExitCode.NO_INPUT and same is not None:  # it was deleted since
            return same
        if error.code not in (ExitCode.NO_INPUT, ExitCode.BAD_DATA):
            raise
        return CorpusId(role=role, corpus=error.what, sha256="")


def _require(run: Path, before: Sequence[CorpusId], now: Sequence[CorpusId]) -> None:
    differences = []
    for role in ("train", "valid"):
        old, new = ([corpus for corpus in corpora if corpus.role == role] for corpora in (before, now))
        if [corpus.sha256 for corpus in old] != [corpus.sha256 for corpus in new]:
            then, instead = (", ".join(map(str, corpora)) or "pairs held out of `data.train`" for corpora in (old, new))
            differences.append(
                f"`data.{role}`: {then} -> {instead if instead != then else 'as many pairs, but other ones'}"
            )
    if differences:
        raise UserError(
            f"{run} was trained on other corpora: {'; '.join(differences)}",
            mend="give the same corpora, another folder with `run`, or `overwrite` to start over",
            code=ExitCode.REFUSED,
        )


def _words(data: DataConfig) -> list[tuple[str, str]]:
    return [("train", word) for word in data.train] + [("valid", word) for word in data.valid]


def _stamps(data: DataConfig) -> list[Any]:
    return [stamp(word, parse_langs(data.langs)) for _, word in _words(data)]


def _stored(folder: Path, data: DataConfig) -> list[CorpusRecord] | None:
    """The records of existing stores, if they hold the requested corpora."""
    done = _load_json(folder / "corpora.json")
    if done is None or _reading_settings(data) != {name: done.get(name) for name in _reading_settings(data)}:
        return None
    records = [CorpusRecord(**record) for record in done["corpora"]]
    words = _words(data)
    if [role for role, _ in words] != [record.role for record in records]:
        return None
    try:
        for role in {role for role, _ in words}:
            TextStore(folder / f"{role}.text.arrow")
    except UserError:
        return None
    stamps = _stamps(data)
    for (role, word), record, now in zip(words, records, stamps, strict=True):
        is_unchanged = word == record.corpus and now is not None and record.stamp == now
        if not is_unchanged and _read(role, word, data).sha256 != record.sha256:
            return None
    records = [
        replace(record, corpus=word, stamp=now) for (_, word), record, now in zip(words, records, stamps, strict=True)
    ]
    _write_records(folder, data, records)  # so that a moved corpus is not read again each time
    return records


def _reading_settings(data: DataConfig) -> dict[str, Any]:
    streaming = [data.stream_sample, *data.weights] if data.streaming else None
    return {"langs": data.langs, "encoding_errors": data.encoding_errors, "streaming": streaming}


def _shards(role: str, word: str, data: DataConfig) -> list[Shard]:
    """The shards of a corpus that is streamed; none if it is not."""
    return shards_of(word, parse_langs(data.langs)) if data.streaming and role == "train" else []


def _pairs(
    word: str, shards: list[Shard], data: DataConfig, counts: CorpusCounts, digest: "hashlib._Hash", notify: Notify
) -> Iterator[Pair]:
    """The pairs of a corpus; if it has shards, those that are read before training. All are added to the digest."""
    if shards:
        digest.update("\n".join(shard.identity for shard in shards).encode("utf-8", "surrogateescape"))
        pairs = sample(shards, n_sampled(word, data), data, counts, notify)
    else:
        pairs = read_pairs(word, parse_langs(data.langs), encoding_errors=data.encoding_errors, counts=counts)
    for pair in pairs:
        _add(digest, pair)
        yield pair


def _read(role: str, word: str, data: DataConfig) -> CorpusId:
    digest, counts = hashlib.sha256(), CorpusCounts()
    for _ in _pairs(word, _shards(role, word, data), data, counts, digest, lambda notice: None):
        pass
    return CorpusId(role=role, corpus=word, sha256=digest.hexdigest(), pairs=counts.pairs)


def _add(digest: "hashlib._Hash", pair: Pair) -> None:
    digest.update(f"{pair.src}\n{pair.tgt}\n".encode("utf-8", "surrogatepass"))


def _read_all(folder: Path, data: DataConfig, notify: Notify) -> list[CorpusRecord]:
    discard(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    stamps = _stamps(data)  # before reading: a file that changes meanwhile is read again next time
    records: list[CorpusRecord] = []
    for role, words in (("train", data.train), ("valid", data.valid)):
        if words:
            path, blank = folder / f"{role}.text.arrow", [array("Q") for _ in words]
            of_role: list[CorpusRecord] = []
            write_text_store(path, _counted_pairs(words, role, data, of_role, blank, notify))
            is_streamed = data.streaming and role == "train"  # its shards have been checked one by one
            records += of_role if is_streamed else _with_alignment(TextStore(path), of_role, blank)
    records = [replace(record, stamp=before) for record, before in zip(records, stamps, strict=True)]
    _write_records(folder, data, records)
    return records


def _write_records(folder: Path, data: DataConfig, records: list[CorpusRecord]) -> None:
    content = {**_reading_settings(data), "corpora": [asdict(record) for record in records]}
    write_atomic(folder / "corpora.json", json.dumps(content).encode())


def _counted_pairs(
    words: tuple[str, ...],
    role: str,
    data: DataConfig,
    records: list[CorpusRecord],
    blank: list["array[int]"],
    notify: Notify,
) -> Iterator[Pair]:
    """The pairs of all corpora with text on both sides.

    At the end of each corpus its record is appended, and ``blank`` holds the positions of its pairs with a blank side.
    """
    for word, dropped in zip(words, blank, strict=True):
        counts = CorpusCounts()
        digest = hashlib.sha256()
        shards = _shards(role, word, data)
        for pair in _pairs(word, shards, data, counts, digest, notify):
            if is_blank(pair.src) or is_blank(pair.tgt):
                dropped.append(counts.pairs - 1)
            else:
                yield pair
        if counts.pairs == counts.blank:
            found = f"{counted(counts.pairs, 'pair')}, all with a blank side" if counts.pairs else "no pair"
            raise UserError(f"{word} holds {found}", mend="give a corpus with text in both languages")
        records.append(
            CorpusRecord(
                word,
                role,
                counts.pairs,
                digest.hexdigest(),
                counts.blank,
                counts.invalid_utf8,
                counts.notes,
                shards=len(shards),
            )
        )


def _with_alignment(text: TextStore, records: list[CorpusRecord], blank: list["array[int]"]) -> Iterator[CorpusRecord]:
    """The records with the first misaligned line of each corpus, if there is one."""
    lengths = [text.lengths(side) for side in (0, 1)]
    start = 0
    for record, dropped in zip(records, blank, strict=True):
        stop = start + record.pairs - record.dropped_empty
        found = find_misalignment(lengths[0][start:stop], lengths[1][start:stop])
        start = stop
        if found is not None:
            line = found.start
            for place in dropped:  # in order
                line += place <= line
            record = replace(record, misaligned_line=line + 1, misaligned_by=found.lag)
        yield record


def _load_json(path: Path) -> dict[str, Any] | None:
    """The content of one of our own files; None if it is missing, incomplete or of another form."""
    with suppress(OSError, ValueError):
        loaded = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(loaded, dict) and "corpora" in loaded:
            return loaded
    return None
