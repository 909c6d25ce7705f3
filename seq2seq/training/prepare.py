"""From CORPUS words to what training reads: pairs on disk, a tokenizer, ids on disk.

Everything lies in ``RUN/prepared/`` and is described by ``prepared.json``, which is written last: a
run that was killed here begins here again. What is read into memory does not grow with the corpus.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seq2seq.checkpoint import write_atomic
from seq2seq.config import DataConfig, parse_langs
from seq2seq.corpus import CorpusCounts, IdsStore, Pair, TextStore, read_pairs, write_ids_store, write_text_store
from seq2seq.errors import ExitCode, UserError
from seq2seq.lines import is_blank
from seq2seq.tokenizer import Tokenizer, train_tokenizer

Tell = Callable[[str], None]

# Pairs are held out with this seed whatever the run's own: two runs on one corpus are validated on
# the same pairs.
_HELD_OUT_SEED = 20_170_612
_MOST_HELD_OUT = 1000
_BLOCK = 4096


@dataclass(frozen=True)
class CorpusRecord:
    """What became of one CORPUS; kept in the manifest."""

    corpus: str
    role: str
    """``train`` or ``valid``."""
    pairs: int
    """Pairs read."""
    sha256: str
    """Of the pairs, in order: the corpus is the same wherever it lies."""
    dropped_empty: int
    """Pairs with a blank side."""
    invalid_utf8: int
    """Lines in which bytes were replaced."""


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to train on."""

    tokenizer: Tokenizer
    ids: IdsStore
    valid: list[Pair]
    corpora: list[CorpusRecord]
    held_out: int
    """Pairs taken out of the training corpora for validation."""
    dropped_too_long: int
    dropped_nothing_left: int
    """Pairs of which normalisation left nothing on a side, as of control characters."""
    dropped_held_out_source: int
    """Training pairs whose source is that of a held-out pair."""
    n_tgt_tokens: int
    """Target tokens to train on, EOS included."""
    max_src_length: int
    """Longest training source in tokens, EOS included."""

    @property
    def n_pairs(self) -> int:
        """Pairs to train on."""
        return len(self.ids)

    def record(self) -> list[dict[str, Any]]:
        """The corpora with their counts, for the manifest."""
        drops = {
            "dropped_too_long": self.dropped_too_long,
            "dropped_nothing_left": self.dropped_nothing_left,
            "held_out": self.held_out,
            "dropped_held_out_source": self.dropped_held_out_source,
            "kept": self.n_pairs,
        }
        return [*(asdict(c) for c in self.corpora), {"role": "train", "corpus": "all", **drops}]


def read_corpora(folder: Path, data: DataConfig, tell: Tell) -> list[CorpusRecord]:
    """Read every CORPUS once into text stores, so that bad data is found before training begins.

    Args:
        folder: ``RUN/prepared``, made here.
        data: languages and corpora.
        tell: told of what was dropped.

    Raises:
        UserError: a corpus is missing (66), bad (65) or holds no pair (65).
    """
    done = _load_json(folder / "corpora.json")
    if done is not None and (done["langs"], done["strict"]) == (data.langs, data.strict):
        records = [CorpusRecord(**record) for record in done["corpora"]]
        if _same_corpora(records, data):
            return records
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    records = []
    for role, words in (("train", data.train), ("valid", data.valid)):
        of_role: list[CorpusRecord] = []
        if words:
            write_text_store(folder / f"{role}.text.arrow", _counted_pairs(words, role, data, of_role, tell))
        records += of_role
    write_atomic(
        folder / "corpora.json",
        json.dumps({"langs": data.langs, "strict": data.strict, "corpora": [asdict(r) for r in records]}).encode(),
    )
    return records


def _same_corpora(records: list[CorpusRecord], data: DataConfig) -> bool:
    """Whether the stores hold these corpora: by name, or, where a name is new, by content."""
    words = [("train", w) for w in data.train] + [("valid", w) for w in data.valid]
    if len(words) != len(records):
        return False
    for (role, word), record in zip(words, records, strict=True):
        if role != record.role:
            return False
        if word != record.corpus and _digest_of(word, data) != record.sha256:
            return False
    return True


def _digest_of(corpus: str, data: DataConfig) -> str:
    digest = hashlib.sha256()
    for pair in read_pairs(corpus, parse_langs(data.langs), strict=data.strict):
        _add(digest, pair)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", pair: Pair) -> None:
    digest.update(f"{pair.src}\n{pair.tgt}\n".encode("utf-8", "surrogatepass"))


def _counted_pairs(
    words: tuple[str, ...], role: str, data: DataConfig, records: list[CorpusRecord], tell: Tell
) -> Iterator[Pair]:
    """The pairs of all corpora with text on both sides; appends a record for each corpus when it ends."""
    for word in words:
        counts = CorpusCounts()
        digest = hashlib.sha256()
        n_pairs = empty = 0
        for pair in read_pairs(word, parse_langs(data.langs), strict=data.strict, counts=counts):
            n_pairs += 1
            _add(digest, pair)
            if is_blank(pair.src) or is_blank(pair.tgt):
                empty += 1
            else:
                yield pair
        if n_pairs == empty:
            raise UserError(
                f"{word} holds no pair" if not n_pairs else f"{word} holds {n_pairs:,} pairs, all blank on a side",
                mend="give a corpus with text in both languages",
            )
        records.append(CorpusRecord(word, role, n_pairs, digest.hexdigest(), empty, counts.invalid_utf8))
        tell(
            f"{word}: {n_pairs:,} pairs"
            + (f", {empty:,} dropped for a blank side" if empty else "")
            + (
                f", {counts.invalid_utf8:,} lines with bytes that are not UTF-8, replaced"
                if counts.invalid_utf8
                else ""
            )
        )


def prepare(folder: Path, data: DataConfig, corpora: list[CorpusRecord], tell: Tell) -> Prepared:
    """Hold out validation pairs, train or load the tokenizer, and turn the training text into ids.

    Args:
        folder: ``RUN/prepared``, with the text stores in it.
        data: with every layer of the configuration applied.
        corpora: from ``read_corpora``.
        tell: told of what was chosen and dropped.

    Raises:
        UserError: no pair is left (65), or the given tokenizer must not be used (66, 78).
    """
    text = TextStore(folder / "train.text.arrow")
    held_out = _held_out(len(text), data)
    valid = TextStore(folder / "valid.text.arrow").slice(0, None) if data.valid else text.take(held_out)
    if not data.valid:
        tell(f"{len(valid):,} pairs are held out for validation, the same ones each time")
    # A translation memory repeats itself: what training has seen does not validate it.
    held_out_sources = {pair.src for pair in valid} if not data.valid else set()

    key = {name: getattr(data, name) for name in ("tokenizer", "tokenizer_type", "normalization", "vocab_size")}
    key |= {name: getattr(data, name) for name in ("tokenizer_sample", "max_length")}
    done = _load_json(folder / "prepared.json")
    if done is None or done["key"] != key:
        tokenizer = _make_tokenizer(folder, text, set(held_out.tolist()), data, tell)
        counts = {"too_long": 0, "nothing_left": 0, "held_out_source": 0, "tgt_tokens": 0, "longest_src": 0}
        rows = _encoded(text, tokenizer, set(held_out.tolist()), held_out_sources, data, counts)
        write_ids_store(folder / "train.ids.arrow", rows, vocab_size=len(tokenizer))
        done = {"key": key, **counts}
        write_atomic(folder / "prepared.json", json.dumps(done).encode())
    tokenizer = Tokenizer((folder / "tokenizer.model").read_bytes(), str(folder / "tokenizer.model"))
    prepared = Prepared(
        tokenizer=tokenizer,
        ids=IdsStore(folder / "train.ids.arrow"),
        valid=valid,
        corpora=corpora,
        held_out=len(held_out),
        dropped_too_long=done["too_long"],
        dropped_nothing_left=done["nothing_left"],
        dropped_held_out_source=done["held_out_source"],
        n_tgt_tokens=done["tgt_tokens"],
        max_src_length=done["longest_src"],
    )
    if prepared.dropped_too_long:
        tell(f"{prepared.dropped_too_long:,} pairs dropped: a side is longer than {data.max_length} tokens")
    if prepared.dropped_nothing_left:
        tell(f"{prepared.dropped_nothing_left:,} pairs dropped: normalisation leaves nothing on a side")
    if prepared.dropped_held_out_source:
        tell(f"{prepared.dropped_held_out_source:,} pairs dropped: their source is held out for validation")
    if not prepared.n_pairs:
        raise UserError(
            f"no pair is left to train on: all {len(text):,} were held out or dropped",
            mend="give more text, or raise data.max_length",
        )
    return prepared


def _held_out(n_pairs: int, data: DataConfig) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Which training pairs are kept for validation: none where ``--valid`` is given."""
    if data.valid:
        return np.empty(0, dtype=np.int64)
    n = min(_MOST_HELD_OUT, max(1, n_pairs // 20))
    if n_pairs < 2:
        raise UserError(
            "one pair cannot be trained on and validated with",
            mend="give more pairs, or validation pairs with --valid",
        )
    return np.sort(np.random.default_rng(_HELD_OUT_SEED).choice(n_pairs, n, replace=False, shuffle=False))


def _make_tokenizer(folder: Path, text: TextStore, held_out: set[int], data: DataConfig, tell: Tell) -> Tokenizer:
    """Train the tokenizer on a sample of the text, or take the given one."""
    target = folder / "tokenizer.model"
    if data.tokenizer:
        try:
            model = Path(data.tokenizer).read_bytes()
        except OSError as error:
            raise UserError(
                f"{data.tokenizer} cannot be read: {error.strerror}",
                mend="name an existing SentencePiece model in data.tokenizer",
                code=ExitCode.NO_INPUT,
            ) from None
        tokenizer = Tokenizer(model, data.tokenizer)
        write_atomic(target, model)
        tell(f"tokenizer {data.tokenizer}: {len(tokenizer):,} pieces")
        return tokenizer
    sample = folder / "tokenizer-sample.txt"
    try:
        with open(sample, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            for pair in _spread(text, held_out, data.tokenizer_sample // 2):
                file.write(f"{pair.src}\n{pair.tgt}\n")
    except OSError as error:
        raise UserError(
            f"{sample} could not be written: {error.strerror}",
            mend="free space, then run the same command again",
            code=ExitCode.CANNOT_WRITE,
        ) from None
    size = train_tokenizer(
        sample,
        target,
        vocab_size=data.vocab_size,
        tokenizer_type=data.tokenizer_type,
        normalization=data.normalization,
    )
    sample.unlink()
    if size < data.vocab_size:
        tell(f"vocabulary lowered from {data.vocab_size:,} to {size:,} pieces: the text holds no more")
    return Tokenizer(target.read_bytes(), str(target))


def _spread(text: TextStore, left_out: set[int], most: int) -> Iterator[Pair]:
    """At most ``most`` pairs, spread evenly over the text."""
    step = max(1.0, len(text) / most)
    taken = 0
    for start in range(0, len(text), _BLOCK):
        pairs = text.slice(start, min(start + _BLOCK, len(text)))
        for i, pair in enumerate(pairs, start):
            if i >= taken * step and taken < most and i not in left_out:
                taken += 1
                yield pair


def _encoded(
    text: TextStore,
    tokenizer: Tokenizer,
    held_out: set[int],
    held_out_sources: set[str],
    data: DataConfig,
    counts: dict[str, int],
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids of every pair to train on; counts what is dropped, and why."""
    for start in range(0, len(text), _BLOCK):
        pairs = text.slice(start, min(start + _BLOCK, len(text)))
        src_ids = tokenizer.encode([pair.src for pair in pairs])
        tgt_ids = tokenizer.encode([pair.tgt for pair in pairs])
        for i, (pair, src, tgt) in enumerate(zip(pairs, src_ids, tgt_ids, strict=True), start):
            if i in held_out:
                continue
            if pair.src in held_out_sources:
                counts["held_out_source"] += 1
            elif not src or not tgt:
                counts["nothing_left"] += 1
            elif max(len(src), len(tgt)) + 1 > data.max_length:
                counts["too_long"] += 1
            else:
                counts["tgt_tokens"] += len(tgt) + 1
                counts["longest_src"] = max(counts["longest_src"], len(src) + 1)
                yield src, tgt


def _load_json(path: Path) -> dict[str, Any] | None:
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # absent or half-written: made again
    return loaded
