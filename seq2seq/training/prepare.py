"""Tokenizes the corpus: validation pairs are held out, the tokenizer is trained, ids are written to disk.

Everything is in ``RUN/prepared/``. ``prepared.json`` describes it and is written last: if the command is killed here,
the next one starts here again. Memory use does not grow with the corpus.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seq2seq.config import DataConfig
from seq2seq.corpus import IdsStore, Pair, TextStore, text_hash, write_ids_store
from seq2seq.errors import UserError, counted
from seq2seq.runs import write_atomic
from seq2seq.system.files import reading, writing
from seq2seq.tokenizer import Tokenizer, train_tokenizer
from seq2seq.training.encode import ENCODED, encode_pairs, usual_sentences
from seq2seq.training.ingest import CorpusRecord, Notify, stored_records
from seq2seq.training.overlap import Overlap, find_overlap
from seq2seq.training.progress import Notice
from seq2seq.training.state import StreamState
from seq2seq.training.tuning import PREPARE_PAIRS

_OF_STREAM = {
    "read": "read",
    "dropped_empty": "blank",
    "invalid_utf8": "invalid_utf8",
    "dropped_too_long": "too_long",
    "dropped_nothing_left": "nothing_left",
    "dropped_held_out_or_leaks": "left_out",
    "respelt_targets": "respelt",
    "kept": "kept",
}
"""Counts of a stream: their names in the manifest, and in its state."""


@dataclass(frozen=True)
class Prepared:
    """A tokenized corpus."""

    tokenizer: Tokenizer
    ids: IdsStore
    valid: list[Pair]
    corpora: list[CorpusRecord]
    overlap: Overlap
    """Overlap of training and validation pairs."""
    dropped_too_long: int
    dropped_nothing_left: int
    """Pairs with a side that is empty after normalisation, as control characters are."""
    respelt_targets: int
    """Targets to train on that normalisation changes (not only their spaces): translations are changed too."""
    n_tgt_tokens: int
    """Target tokens to train on, EOS included."""
    max_src_length: int
    """Longest source that is translated as one segment, in tokens, EOS included: a little longer than in training."""
    max_src_sentences: int
    """Max sentences of one segment."""

    @property
    def tokenizer_sha256(self) -> str:
        """The hash by which weights name their tokenizer."""
        return hashlib.sha256(self.tokenizer.model).hexdigest()

    @property
    def n_src_tokens(self) -> int:
        """Source tokens to train on, EOS included."""
        return int(self.ids.src_lengths.sum(dtype="int64")) + len(self.ids)

    @property
    def n_pairs(self) -> int:
        """Pairs to train on."""
        return len(self.ids)

    @property
    def n_shards(self) -> int:
        """Shards of the stream; 0: the corpora are not streamed."""
        return sum(corpus.shards for corpus in self.corpora)

    def record(self, stream: StreamState | None = None) -> list[dict[str, Any]]:
        """The corpora with their counts, for the manifest.

        Args:
            stream: how far the stream has been read, if the corpora are streamed.
        """
        if stream is not None:
            counts = stream.total()
            drops = {name: counts.get(of_stream, 0) for name, of_stream in _OF_STREAM.items()}
            drops |= {"copies_before_training": self.overlap.copies}
            streamed = {"role": "train", "corpus": "all", **drops, "bad_shards": stream.bad_shards}
            return [*(asdict(c) for c in self.corpora), streamed]
        drops = {
            "dropped_too_long": self.dropped_too_long,
            "dropped_nothing_left": self.dropped_nothing_left,
            "respelt_targets": self.respelt_targets,
            "held_out": len(self.overlap.held_out),
            "dropped_leaks": self.overlap.dropped_leaks,
            "kept_leaks": self.overlap.kept_leaks,
            "copies": self.overlap.copies,
            "kept": self.n_pairs,
        }
        return [*(asdict(c) for c in self.corpora), {"role": "train", "corpus": "all", **drops}]


def prepare(
    folder: Path,
    data: DataConfig,
    corpora: list[CorpusRecord],
    notify: Notify,
    *,
    may_grow: bool = False,
    model: bytes | None = None,
) -> Prepared:
    """Hold out validation pairs, train or load the tokenizer, and turn the training text into ids.

    Args:
        folder: ``RUN/prepared``, with the text stores in it.
        data: with every layer of the configuration applied.
        corpora: from ``read_corpora``.
        notify: called with what was chosen and dropped.
        may_grow: the user gave no size of the vocabulary, so it may grow if the text has more characters.
        model: the tokenizer of a resumed run, whose weights need the same one.

    Raises:
        UserError: no pair is left (65), or the given tokenizer is missing (66) or refused (78).
    """
    text = TextStore(folder / "train.text.arrow")
    if len(text) < 2 and not data.valid:
        raise UserError(
            "one pair is not enough to train on and to validate with",
            mend="give more pairs, or validation pairs with `data.valid`",
        )
    valid = TextStore(folder / "valid.text.arrow").slice(0, None) if data.valid else None

    key = {name: getattr(data, name) for name in ("tokenizer", "tokenizer_type", "normalization", "vocab_size")}
    key |= {name: getattr(data, name) for name in ("tokenizer_sample", "max_length", "leaks")}
    key["corpora"] = [record.sha256 for record in corpora]
    with suppress(OSError):  # reported where the file is needed
        key["tokenizer_sha256"] = data.tokenizer and hashlib.sha256(Path(data.tokenizer).read_bytes()).hexdigest()
    encoded = _encoded_before(folder, key, model)
    if encoded is None:
        encoded = _encode_all(folder, text, valid, data, key, notify, may_grow, model)
    prepared = _prepared(folder, data, corpora, *encoded)
    _report_dropped(prepared, data, notify)
    if not prepared.n_pairs:
        too_long = prepared.dropped_too_long > prepared.dropped_nothing_left
        raise UserError(
            f"no pair is left to train on: of {len(text):,}, {_why_dropped(prepared, data)}",
            mend="cut the text into sentences, or raise data.max_length"
            if too_long
            else "give text with letters, or `data.normalization=identity`",
        )
    return prepared


def open_prepared(folder: Path, data: DataConfig) -> Prepared:
    """What another process has prepared.

    Args:
        folder: ``RUN/prepared``.
        data: of the run.
    """
    record = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer((folder / "tokenizer.model").read_bytes(), str(folder / "tokenizer.model"))
    return _prepared(folder, data, stored_records(folder), record, tokenizer, IdsStore(folder / "train.ids.arrow"))


def _prepared(
    folder: Path,
    data: DataConfig,
    corpora: list[CorpusRecord],
    record: dict[str, Any],
    tokenizer: Tokenizer,
    ids: IdsStore,
) -> Prepared:
    """The tokenized corpus whose files are in the folder; ``record`` is the content of ``prepared.json``."""
    overlap = Overlap(**record["overlap"])
    if data.valid:
        valid = TextStore(folder / "valid.text.arrow").slice(0, None)
    else:
        valid = TextStore(folder / "train.text.arrow").take(overlap.held_out)
    return Prepared(
        tokenizer=tokenizer,
        ids=ids,
        valid=valid,
        corpora=corpora,
        overlap=overlap,
        dropped_too_long=record["too_long"],
        dropped_nothing_left=record["nothing_left"],
        respelt_targets=record["respelt"],
        n_tgt_tokens=record["tgt_tokens"],
        # A model translates texts badly that are much longer than its training text; a few tokens more do no harm.
        max_src_length=min(data.max_length, record["longest_src"] * 5 // 4),
        max_src_sentences=record["max_src_sentences"],
    )


def _encode_all(
    folder: Path,
    text: TextStore,
    valid: list[Pair] | None,
    data: DataConfig,
    key: dict[str, Any],
    notify: Notify,
    may_grow: bool,
    model: bytes | None,
) -> tuple[dict[str, Any], Tokenizer, IdsStore]:
    """Hold pairs out, make the tokenizer and write the ids; then ``prepared.json``, with the key of the result."""
    overlap = find_overlap(text, valid, drop=data.leaks == "drop")
    left_out = set(overlap.held_out)
    tokenizer = _make_tokenizer(folder, text, left_out, data, notify, may_grow, model)
    validated = text.take(overlap.held_out) if valid is None else valid
    leaks = {text_hash(pair.src) for pair in validated} if overlap.dropped_leaks else set()
    counts = dict.fromkeys(ENCODED, 0)
    sentences: Counter[int] = Counter()
    chunks = (text.slice(start, start + PREPARE_PAIRS) for start in range(0, len(text), PREPARE_PAIRS))

    def is_left_out(row: int, pair: Pair) -> bool:
        return row in left_out or (bool(leaks) and text_hash(pair.src) in leaks)

    rows = encode_pairs(chunks, tokenizer, is_left_out, data.max_length, counts, sentences)
    write_ids_store(folder / "train.ids.arrow", rows, vocab_size=len(tokenizer))
    if not data.tokenizer:  # the run's configuration holds this size from now on
        key = key | {"vocab_size": max(data.vocab_size, tokenizer.n_pieces)}
    record = {"key": key, "tokenizer": hashlib.sha256(tokenizer.model).hexdigest(), **counts}
    record |= {"max_src_sentences": usual_sentences(sentences), "overlap": asdict(overlap)}
    write_atomic(folder / "prepared.json", json.dumps(record).encode())
    return record, tokenizer, IdsStore(folder / "train.ids.arrow")


def _why_dropped(prepared: Prepared, data: DataConfig) -> str:
    """The reasons why pairs are not trained on, with their numbers."""
    overlap = prepared.overlap
    counts = {
        "held out for validation": len(overlap.held_out),
        f"longer than {counted(data.max_length, 'token')}": prepared.dropped_too_long,
        "empty after normalisation": prepared.dropped_nothing_left,
        "dropped because their source is also in the validation pairs": overlap.dropped_leaks,
    }
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)


def _report_dropped(prepared: Prepared, data: DataConfig, notify: Notify) -> None:
    overlap = prepared.overlap
    if prepared.n_shards:
        notify("what follows was found in the pairs that are read before training (data.stream_sample)")
    if overlap.held_out:
        notify(f"{counted(len(overlap.held_out), 'pair')} held out for validation, the same each time")
    if prepared.dropped_too_long:
        tokens = counted(data.max_length, "token")
        notify(f"{counted(prepared.dropped_too_long, 'pair')} dropped: a side is longer than {tokens}")
    if prepared.dropped_nothing_left:
        notify(f"{counted(prepared.dropped_nothing_left, 'pair')} dropped: a side is empty after normalisation")
    if prepared.respelt_targets:
        rule = f"the rules of {data.tokenizer}" if data.tokenizer else f"data.normalization {data.normalization}"
        targets = counted(prepared.respelt_targets, "target")
        notify(f"{targets} spelt differently after {rule}: translations will have that spelling too")
    if overlap.dropped_leaks:
        notify(f"{counted(overlap.dropped_leaks, 'pair')} dropped: the source is also in the validation pairs")
    if overlap.kept_leaks:
        kept = f"kept: {counted(overlap.kept_leaks, 'training pair')} whose source is also in the validation pairs"
        much = "; too few pairs would remain without them, and validation scores say little"
        notify(Notice(kept + much, warning=True) if data.leaks == "drop" else f"{kept} (data.leaks = keep)")
    if overlap.copies:
        notify(f"copies among the training pairs: {overlap.copies:,}, all kept")


def _make_tokenizer(
    folder: Path,
    text: TextStore,
    held_out: set[int],
    data: DataConfig,
    notify: Notify,
    may_grow: bool,
    model: bytes | None,
) -> Tokenizer:
    """Train the tokenizer on a sample of the text, or take the given one."""
    target = folder / "tokenizer.model"
    if model is not None:
        write_atomic(target, model)
        return Tokenizer(model, str(target))
    if data.tokenizer:
        with reading(data.tokenizer):
            model = Path(data.tokenizer).read_bytes()
        tokenizer = Tokenizer(model, data.tokenizer)
        write_atomic(target, model)
        notify(f"tokenizer {data.tokenizer}: {counted(tokenizer.n_pieces, 'piece')}")
        return tokenizer
    sample = folder / "tokenizer-sample.txt"
    with writing(sample), open(sample, "w", encoding="utf-8", errors="replace", newline="\n") as file:
        for pair in _spread(text, held_out, data.tokenizer_sample // 2):
            file.write(f"{pair.src}\n{pair.tgt}\n")
    size = train_tokenizer(
        sample,
        target,
        vocab_size=data.vocab_size,
        tokenizer_type=data.tokenizer_type,
        normalization=data.normalization,
        may_grow=may_grow,
    )
    sample.unlink()
    if size > data.vocab_size:
        notify(f"vocabulary raised from {data.vocab_size:,} to {counted(size, 'piece')}: the text has more characters")
    if size < data.vocab_size:
        notify(f"vocabulary lowered from {data.vocab_size:,} to {counted(size, 'piece')}: the text holds no more")
    return Tokenizer(target.read_bytes(), str(target))


def _spread(text: TextStore, left_out: set[int], max_pairs: int) -> Iterator[Pair]:
    """Up to ``max_pairs`` pairs, spread evenly over the text."""
    step = max(1.0, len(text) / max_pairs)
    taken = 0
    for start in range(0, len(text), PREPARE_PAIRS):
        pairs = text.slice(start, min(start + PREPARE_PAIRS, len(text)))
        for i, pair in enumerate(pairs, start):
            if i >= taken * step and taken < max_pairs and i not in left_out:
                taken += 1
                yield pair


def _encoded_before(
    folder: Path, key: dict[str, Any], model: bytes | None
) -> tuple[dict[str, Any], Tokenizer, IdsStore] | None:
    """The counts, tokenizer and ids of an earlier command, if they are complete and fit this one."""
    with suppress(OSError, ValueError, KeyError, UserError):
        record = json.loads((folder / "prepared.json").read_text(encoding="utf-8"))
        stored = (folder / "tokenizer.model").read_bytes()
        same = model is None or model == stored
        if record["key"] == key and record["tokenizer"] == hashlib.sha256(stored).hexdigest() and same:
            return record, Tokenizer(stored, str(folder / "tokenizer.model")), IdsStore(folder / "train.ids.arrow")
    return None
