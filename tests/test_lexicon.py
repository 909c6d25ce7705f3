"""The lexicon of translations: learned from pairs, and stored with a finished run."""

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from reversal import write_reversal
from safetensors.torch import load_file

from seq2seq.config import Layer
from seq2seq.corpus import IdsStore, write_ids_store
from seq2seq.errors import Interrupted
from seq2seq.runs import SHORTLIST, read_file, read_manifest, read_tensors
from seq2seq.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from seq2seq.training import Request, ending, lexicon, train
from seq2seq.training.lexicon import build_lexicon, byte_pieces
from seq2seq.training.progress import Finished, Notice

Rows = Sequence[tuple[Sequence[int], Sequence[int]]]

V = 60
WORDS = range(10, 30)
"""Source pieces of the toy language; its target pieces are 30 more."""


def toy_pairs(n: int = 400) -> list[tuple[list[int], list[int]]]:
    """Pairs whose words are translated one by one and then shuffled."""
    draw = random.Random(3)
    pairs = []
    for _ in range(n):
        src = draw.choices(WORDS, k=draw.randint(2, 7))
        tgt = [word + 30 for word in src]
        draw.shuffle(tgt)
        pairs.append((src, tgt))
    return pairs


@pytest.fixture
def store(tmp_path):
    """Pairs of ids, as training reads them."""

    def write(pairs: Rows) -> IdsStore:
        write_ids_store(tmp_path / "ids.arrow", pairs, V)
        return IdsStore(tmp_path / "ids.arrow")

    return write


def pieces_of(row: torch.Tensor) -> list[int]:
    """A row of the table without the padding at its end."""
    pieces = row.tolist()
    n = next((i for i, piece in enumerate(pieces) if piece == EOS), len(pieces))
    assert pieces[n:] == [EOS] * (len(pieces) - n), "padding is at the end alone"
    return pieces[:n]


def test_each_piece_has_its_translation_first(store):
    table = build_lexicon(store(toy_pairs()), V, candidates=8, frequent=0)["candidates"]
    assert (table.shape, table.dtype) == ((V, 8), torch.int32)
    assert [table[word, 0].item() for word in WORDS] == [word + 30 for word in WORDS]


def test_a_word_of_every_sentence_translates_nothing(store):
    """Counting would put the full stop first. The empty word explains words without a source word."""
    pairs = [([*src, 9], [59, *tgt, 39, 58]) for src, tgt in toy_pairs()]
    table = build_lexicon(store(pairs), V, frequent=0)["candidates"]
    assert [table[word, 0].item() for word in WORDS] == [word + 30 for word in WORDS]


def test_the_probabilities_are_those_of_ibm_model_1(store):
    """IBM model 1 as in Brown et al. 1993, with dictionaries."""
    pairs = [([7, 8, 7], [20, 21]), ([8], [21, 21, 22]), ([9, 8], [20]), ([6], [22])]
    p = defaultdict(lambda: 1.0)
    for _ in range(3):
        counts, totals = defaultdict(float), defaultdict(float)
        for src, tgt in pairs:
            for t in tgt:
                total = sum(p[s, t] for s in (BOS, *src))
                for s in (BOS, *src):
                    counts[s, t] += p[s, t] / total
                    totals[s] += p[s, t] / total
        p = defaultdict(float, {(s, t): count / totals[s] for (s, t), count in counts.items()})
    ids = store(pairs)
    links, n_tgt, _, _ = lexicon._links(ids, np.arange(len(ids)), V, lambda: None)
    keys, found = lexicon._expectation_maximisation(links, n_tgt, V, 3, lambda: None)
    assert dict(zip(keys.tolist(), found.tolist(), strict=True)) == pytest.approx(
        {s * V + t: x for (s, t), x in p.items()}
    )


def test_the_same_pairs_give_the_same_table_whatever_the_blocks(store, monkeypatch):
    ids = store(toy_pairs())
    once, again = (build_lexicon(ids, V, frequent=5) for _ in range(2))
    monkeypatch.setattr(lexicon, "LEXICON_LINKS", 50)
    monkeypatch.setattr(lexicon, "LEXICON_ROWS", 7)
    for other in (again, build_lexicon(ids, V, frequent=5)):
        assert all(torch.equal(once[name], other[name]) for name in ("candidates", "frequent"))


def test_frequent_pieces_follow_the_others_in_order(store):
    pairs = [(src, [*tgt, 40, 40, 41]) for src, tgt in toy_pairs()]
    tables = build_lexicon(store(pairs), V, frequent=2)
    assert tables["frequent"].dtype == torch.int32
    assert tables["frequent"].tolist() == [40, 41]
    for word in set(WORDS) - {10, 11}:  # whose translations these are
        row = pieces_of(tables["candidates"][word])
        assert row[0] == word + 30
        assert set(row[-2:]) == {40, 41} or not {40, 41} & set(row)
    assert any({40, 41} <= set(pieces_of(tables["candidates"][word])) for word in WORDS)


def test_few_pieces_give_few_frequent_ones(store):
    frequent = build_lexicon(store([([7], [9, 8, 9])]), V, frequent=5)["frequent"]
    assert frequent.tolist() == [9, 8, EOS, EOS, EOS]


def test_a_piece_that_was_never_seen_has_no_candidate(store):
    table = build_lexicon(store(toy_pairs()), V, copied=[5], frequent=0)["candidates"]
    assert {piece for piece in range(V) if pieces_of(table[piece])} == {*WORDS, 5}
    assert pieces_of(table[5]) == [5]


def test_an_unlikely_piece_is_no_candidate(store, monkeypatch):
    ids = store(toy_pairs())
    monkeypatch.setattr(lexicon, "MIN_PROBABILITY", 0.3)
    table = build_lexicon(ids, V, frequent=0)["candidates"]
    assert [pieces_of(table[word]) for word in WORDS] == [[word + 30] for word in WORDS]


def test_control_symbols_are_no_candidates(store):
    """A user's own tokenizer may not know some characters."""
    pairs = [([UNK, *src, PAD], [UNK, *tgt, UNK, BOS, PAD, UNK]) for src, tgt in toy_pairs()]
    tables = build_lexicon(store(pairs), V, frequent=V)
    assert not {UNK, BOS, PAD} & set(tables["candidates"].flatten().tolist())
    assert not {UNK, BOS, PAD} & set(tables["frequent"].tolist())
    assert not any(pieces_of(tables["candidates"][control]) for control in (UNK, BOS, EOS, PAD))
    assert all(pieces_of(tables["candidates"][word]) for word in WORDS)


def test_a_piece_of_both_languages_is_its_own_candidate(store):
    """Even if it never occurs on both sides of a pair: a name in one sentence may be a word in another."""
    pairs = [*toy_pairs(), ([15, 16], [46, 10]), *[([10, 17], [47, 40])] * 50, ([18, 19], [48, 49, 18])]
    table = build_lexicon(store(pairs), V, frequent=0)["candidates"]
    assert pieces_of(table[10])[:2] == [40, 10]
    assert 11 not in pieces_of(table[11])  # in no target
    assert pieces_of(build_lexicon(store(pairs), V, [11], frequent=0)["candidates"][11])[:2] == [11, 41]
    narrow = build_lexicon(store(pairs), V, frequent=0, candidates=2)["candidates"]
    assert narrow[10].tolist() == [40, 10]
    moved = pieces_of(build_lexicon(store(pairs), V, [18], frequent=0)["candidates"][18])
    assert moved[:2] == [18, 48]
    assert len(set(moved)) == len(moved)


def test_a_frequent_piece_is_not_moved_up_among_its_own_candidates(store):
    """Decoding allows it anyway."""
    pairs = [*toy_pairs(), *[([10], [40, 10, piece]) for piece in range(30, 60)] * 20]
    tables = build_lexicon(store(pairs), V, frequent=2)
    assert set(tables["frequent"].tolist()) == {10, 40}
    assert set(pieces_of(tables["candidates"][10])[-2:]) == {10, 40}
    assert len(pieces_of(tables["candidates"][10])) > 2


def test_pairs_are_spread_over_the_corpus(store, monkeypatch):
    ids = store([([7] * 3, [8])] * 1000)
    rows = lexicon._sample(ids)
    assert rows.tolist() == list(range(1000))
    monkeypatch.setattr(lexicon, "MAX_LEXICON_PAIRS", 100)
    assert lexicon._sample(ids).tolist() == list(range(0, 1000, 10))
    monkeypatch.setattr(lexicon, "MAX_LINKS", 40)  # 4 a pair, with the empty word
    assert lexicon._sample(ids).tolist() == list(range(0, 1000, 100))


def test_long_pairs_are_left_out_unless_most_are_long(store):
    short, long = ([7], [8]), ([7] * 65, [8])
    assert lexicon._sample(store([short, long, short])).tolist() == [0, 2]
    assert lexicon._sample(store([long, short, long, ([7], [8] * 200)])).tolist() == [0, 1, 2]


def test_no_pair_at_all(store):
    tables = build_lexicon(store([]), V, [6], candidates=3, frequent=2)
    assert pieces_of(tables["candidates"][6]) == [6]
    assert tables["frequent"].tolist() == [EOS, EOS]


def test_it_can_be_interrupted_between_any_two_blocks(store, monkeypatch):
    monkeypatch.setattr(lexicon, "LEXICON_LINKS", 2000)
    monkeypatch.setattr(lexicon, "LEXICON_ROWS", 100)
    ids = store(toy_pairs())
    n_calls = 0

    def count() -> None:
        nonlocal n_calls
        n_calls += 1

    build_lexicon(ids, V, check=count, iterations=4)
    n_links = len(lexicon._links(ids, np.arange(len(ids)), V, lambda: None)[0])
    # Blocks of pairs, before and after sorting, then blocks of links: once to count them, and twice an iteration.
    assert n_calls == 400 // 100 + 2 + (1 + 2 * 4) * math.ceil(n_links / 2000)
    for at in range(1, n_calls + 1):
        left = at

        def stop() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Interrupted(15, saved=True)

        with pytest.raises(Interrupted):
            build_lexicon(ids, V, check=stop, iterations=4)
        assert left == 0


# In a run ----------------------------------------------------------------------------------------------


def test_bytes_are_found(reverser):
    """They follow the control symbols; similar pieces are not bytes."""
    tokenizer = Tokenizer((reverser / "tokenizer.model").read_bytes())
    first = tokenizer.n_control
    assert byte_pieces(tokenizer) == list(range(first, first + 256))
    assert len(tokenizer) > first + 256


def test_a_finished_run_holds_the_table_if_it_was_requested(reverser, reverser_with_shortlist):
    assert SHORTLIST not in read_manifest(reverser).files
    run = reverser_with_shortlist
    manifest = read_manifest(run)
    assert set(manifest.files) == {"config.toml", "tokenizer.model", manifest.weights, SHORTLIST}
    tables = read_tensors(run, manifest, SHORTLIST)  # whose hash is the manifest's
    tokenizer = Tokenizer(read_file(run, manifest, "tokenizer.model"))
    assert tables["candidates"].shape == (len(tokenizer), 64)
    assert tables["frequent"].shape == (128,)
    assert {tables["candidates"].dtype, tables["frequent"].dtype} == {torch.int32}
    assert all(tables["candidates"][byte, 0] == byte for byte in byte_pieces(tokenizer))
    most_frequent = set(tables["frequent"].tolist())
    (wanted,) = tokenizer.encode(["a b c d e f g h"])
    assert set(wanted) <= most_frequent
    assert not most_frequent & set(range(tokenizer.n_control)) - {EOS}


TINY: Layer = {
    "preset": "tiny",
    "data": {"langs": "ab-ba", "vocab_size": 300},
    "model": {"d_model": 16, "d_ff": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    "training": {"batch_tokens": 100, "max_updates": 2, "valid_every": 2},
    "decoding": {"shortlist": 8},
}


@pytest.fixture
def tiny(tmp_path) -> Request:
    """Settings for two updates on twenty pairs."""
    lines = ["a b c d", "e f g h", "c a d", "h g"]
    data: Layer = {
        "data": {
            "train": [write_reversal(tmp_path / "train", lines * 5)],
            "valid": [write_reversal(tmp_path / "valid", lines)],
        }
    }
    return Request(tmp_path / "run", [TINY, data], device="cpu")


def stored(run: Path) -> bytes:
    assert read_manifest(run).finished
    return (run / SHORTLIST).read_bytes()


def test_the_same_command_finishes_a_run_interrupted_while_it_learns_the_table(tiny, monkeypatch):
    list(train(tiny))
    whole = stored(tiny.run)
    signals: list[int] = []

    def interrupted(*args, **given):
        signals.append(15)
        return build_lexicon(*args, **given)

    monkeypatch.setattr(ending, "build_lexicon", interrupted)
    again = Request(tiny.run, tiny.layers, device="cpu", overwrite=True)
    events = []
    with pytest.raises(Interrupted):
        events.extend(train(again, lambda: signals[0] if signals else None))
    assert signals
    assert not any(isinstance(event, Notice) and "length penalty" in event.text for event in events), "later"
    manifest = read_manifest(tiny.run)
    assert not manifest.finished
    assert set(manifest.files) == {"config.toml", "tokenizer.model", manifest.weights}
    monkeypatch.undo()
    list(train(tiny))
    assert stored(tiny.run) == whole


def test_a_resumed_run_learns_its_table_again(tiny):
    list(train(tiny))
    whole = stored(tiny.run)
    more: Layer = {"training": {"max_updates": 4}}
    *_, last = train(Request(tiny.run, [*tiny.layers, more], device="cpu"))
    assert isinstance(last, Finished)
    assert stored(tiny.run) == whole
    assert load_file(tiny.run / read_manifest(tiny.run).weights)


def test_learning_the_table_is_reported_only_for_a_large_corpus(tiny, monkeypatch):
    def is_reported() -> bool:
        request = Request(tiny.run, tiny.layers, device="cpu", overwrite=True)
        return any(isinstance(event, Notice) and "learning the shortlist" in event.text for event in train(request))

    assert not is_reported()
    monkeypatch.setattr(ending, "MANY_PAIRS", 19)
    assert is_reported()
