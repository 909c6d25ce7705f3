"""The updates that are measured: of made-up pairs with lengths like Multi30k's, or of a real corpus.

A made-up pair has about 13 tokens on each side, and its sides have similar lengths. Ids are drawn at random: the time
of a training step does not depend on them.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu.report import Report
from seq2seq.batching import epoch_updates
from seq2seq.config import PRESETS, RunConfig, build, merge
from seq2seq.training.loader import Loader, TokenizedPairs

N_UPDATES = 8
"""Different updates of each size; they are made again and again."""
MEAN, SPREAD, ALIKE, MAX_LENGTH = 13.5, 0.35, 0.9, 120
"""Of made-up lengths: mean in tokens with EOS, standard deviation and correlation of their logarithms, maximum."""
NARROWEST_ROW = 64
FULL = 0.9
"""An epoch has one update that is not full; it is not measured."""
N_TOKENS = {"small": 4096, "base": 25_000, "big": 25_000}
"""Target tokens of an update: those of the lab notes' figures."""
TINY = {"d_model": 32, "d_ff": 64, "n_heads": 4, "encoder_layers": 1, "decoder_layers": 1}
TINY_TOKENS, TINY_VOCABULARY = 128, 384


@dataclass(frozen=True)
class Case:
    """A size of model, and its updates."""

    name: str
    config: RunConfig
    vocab_size: int
    by_length: list[TokenizedPairs]
    """Updates as the program makes them: the pairs of each have similar lengths, so that there is little padding."""
    mixed: list[TokenizedPairs]
    """Updates of the same pairs in random order: what rows of several sentences need, to be filled. Pairs that are
    longer than a row of 64 are left out."""


def case_of(report: Report, name: str) -> Case:
    """The case of a preset. It is made once."""
    if (known := report.found.get(f"case {name}")) is not None:
        return known  # type: ignore[no-any-return]
    layers = [PRESETS[name], {"training": {"max_updates": 100_000, "batch_tokens": N_TOKENS[name]}}]
    if report.dry:
        layers = [{"model": TINY, "training": {"max_updates": 100_000, "batch_tokens": TINY_TOKENS}}]
    config = build(merge(layers), where=f"the preset {name}")
    vocab_size = TINY_VOCABULARY if report.dry else PRESETS[name].get("data", {}).get("vocab_size", 8000)
    is_real = "train" in report.words
    case = _real(report, name, config, vocab_size) if is_real else _made_up(name, config, vocab_size)
    report.found[f"case {name}"] = case
    return case


def made_up_sentences(n: int, vocab_size: int, seed: int = 0) -> TokenizedPairs:
    """Pairs of random ids with lengths like Multi30k's."""
    random = np.random.default_rng(seed)
    src = random.standard_normal(n)
    tgt = ALIKE * src + (1 - ALIKE**2) ** 0.5 * random.standard_normal(n)
    src_lengths, tgt_lengths = (
        np.clip(np.exp(np.log(MEAN) - SPREAD**2 / 2 + SPREAD * z) - 1, 1, MAX_LENGTH).astype(np.int32)
        for z in (src, tgt)
    )

    def side(lengths: NDArray[np.int32]) -> list[NDArray[np.int32]]:
        # The first ids are control symbols.
        return [random.integers(8, vocab_size, length, dtype=np.int32) for length in lengths]

    return TokenizedPairs(side(src_lengths), side(tgt_lengths))


def _made_up(name: str, config: RunConfig, vocab_size: int) -> Case:
    tokens = config.training.batch_tokens
    pairs = made_up_sentences(2 * N_UPDATES * tokens // int(MEAN), vocab_size)
    src, tgt = (np.array([len(ids) for ids in side], np.int32) for side in (pairs.src, pairs.tgt))
    rows = epoch_updates(src, tgt, batch_tokens=tokens, seed=1, epoch=0)
    updates = (TokenizedPairs([pairs.src[i] for i in part], [pairs.tgt[i] for i in part]) for part in rows)
    by_length = _full(updates, tokens)
    return Case(name, config, vocab_size, by_length, list(_mixed(pairs, tokens)))


def _real(report: Report, name: str, config: RunConfig, vocab_size: int) -> Case:
    from train_speed import endless, prepared_corpus

    folder = tempfile.TemporaryDirectory()
    report.closing.append(folder.cleanup)
    # One vocabulary for presets that have the same size.
    key = f"corpus {vocab_size}"
    if key not in report.found:
        report.say(f"  preparing {report.words['train']} with {vocab_size:,} pieces")
        prepare = partial(prepared_corpus, Path(folder.name), report.words["train"], report.words["langs"])
        report.found[key] = prepare(vocab_size)
    prepared = report.found[key]
    by_length = _full(endless(Loader(prepared.ids, prepared.tokenizer, config)), config.training.batch_tokens)
    order = np.random.default_rng(0).permutation(len(prepared.ids)).astype(np.uint32)
    pairs = TokenizedPairs(*prepared.ids.take(order[: 2 * N_UPDATES * config.training.batch_tokens // 8]))
    return Case(name, config, len(prepared.tokenizer), by_length, list(_mixed(pairs, config.training.batch_tokens)))


def _full(updates: Iterator[TokenizedPairs], tokens: int) -> list[TokenizedPairs]:
    """The first full updates; of a corpus that is smaller than one, what there is."""
    seen = list(islice(updates, 2 * N_UPDATES))
    return [update for update in seen if update.n_tgt_tokens >= FULL * tokens][:N_UPDATES] or seen[:N_UPDATES]


def _mixed(all_pairs: TokenizedPairs, tokens: int) -> Iterator[TokenizedPairs]:
    """Updates of pairs in their order, without the longest."""
    sides = zip(all_pairs.src, all_pairs.tgt, strict=True)
    kept = [pair for pair in sides if max(map(len, pair)) < NARROWEST_ROW]
    pairs = TokenizedPairs([src for src, _ in kept], [tgt for _, tgt in kept])
    ends = np.cumsum([len(ids) + 1 for ids in pairs.tgt])
    start = 0
    for number in range(1, N_UPDATES + 1):
        stop = int(np.searchsorted(ends, number * tokens, side="right"))
        if stop > start:
            yield TokenizedPairs(pairs.src[start:stop], pairs.tgt[start:stop])
        start = stop
