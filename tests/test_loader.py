"""The loader: every pair once in an epoch, reproducible, with subword sampling on request."""

import io
import math
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from seq2seq.config import DataConfig, RunConfig, TrainingConfig
from seq2seq.corpus import IdsStore, write_ids_store
from seq2seq.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_model
from seq2seq.training.loader import Loader, TokenizedPairs
from seq2seq.training.parallel import Ranks

FOLDER = Path(__file__).parent.parent / "data" / "phrasebook"
PAIRS = list(
    zip(*((FOLDER / f"valid.{lang}").read_text("utf-8").split("\n")[:300] for lang in ("de", "en")), strict=True)
)


@pytest.fixture(scope="module")
def tokenizer():
    lines = (line for pair in PAIRS for line in pair)
    return Tokenizer(train_model(lines, vocab_size=600, tokenizer_type="unigram", normalization="nfc")[0])


@pytest.fixture
def ids(tmp_path, tokenizer):
    src, tgt = (tokenizer.encode([pair[side] for pair in PAIRS]) for side in (0, 1))
    write_ids_store(tmp_path / "ids.arrow", zip(src, tgt, strict=True), vocab_size=len(tokenizer))
    return IdsStore(tmp_path / "ids.arrow")


def loader(ids, tokenizer, alpha=0.0, seed=1, max_length=256, batch_tokens=300, ranks=None, n_ahead=0):
    training = TrainingConfig(batch_tokens=batch_tokens, seed=seed)
    config = RunConfig(data=DataConfig(subword_sampling=alpha, max_length=max_length), training=training)
    return Loader(ids, tokenizer, config, ranks, n_ahead)


def epoch_of(loader, epoch, done=0):
    """The rest of one epoch."""
    portions, is_last = [], False
    updates = loader.updates(epoch, done)
    while not is_last:
        pairs, _, then = next(updates)
        portions.append(pairs)
        is_last = then == 0
    updates.close()
    return portions


def listed(portions):
    return [[(list(s), list(t)) for s, t in zip(p.src, p.tgt, strict=True)] for p in portions]


def texts(tokenizer, portions):
    return [(a, b) for p in portions for a, b in zip(tokenizer.decode(p.src), tokenizer.decode(p.tgt), strict=True)]


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_an_epoch_has_every_pair_once(ids, tokenizer, alpha):
    assert sorted(texts(tokenizer, epoch_of(loader(ids, tokenizer, alpha), 0))) == sorted(PAIRS)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_an_epoch_is_resumed_in_the_middle(ids, tokenizer, alpha):
    whole = listed(epoch_of(loader(ids, tokenizer, alpha), 3))
    assert len(whole) > 10
    for done in (0, 1, len(whole) - 1):
        assert listed(epoch_of(loader(ids, tokenizer, alpha), 3, done)) == whole[done:]
    following = listed(epoch_of(loader(ids, tokenizer, alpha), 4))
    for more in (0, 2):
        assert listed(epoch_of(loader(ids, tokenizer, alpha), 3, len(whole) + more)) == following[more:]
    endless = loader(ids, tokenizer, alpha).updates(3)
    assert listed(pairs for pairs, *_ in islice(endless, len(whole) + 5)) == whole + following[:5]
    endless.close()


def test_a_text_is_divided_differently_each_epoch_and_with_each_seed(ids, tokenizer):
    def pieces(alpha, seed, epoch):
        portions = epoch_of(loader(ids, tokenizer, alpha, seed), epoch)
        return dict(zip(texts(tokenizer, portions), (pair for part in listed(portions) for pair in part), strict=True))

    as_likeliest = pieces(0.0, 1, 0)
    first, again, later, other = (pieces(0.3, *at) for at in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert first == again
    for another in (as_likeliest, later, other):
        assert sum(first[pair] != another[pair] for pair in first) > len(first) / 2


def test_updates_have_the_same_pairs_with_any_division(ids, tokenizer):
    """So an epoch has the same number of updates, and a resumed run reads each pair once."""
    likeliest, some, many = (
        [sorted(texts(tokenizer, [pairs])) for pairs in epoch_of(loader(ids, tokenizer, alpha), 2)]
        for alpha in (0.0, 0.5, 0.1)
    )
    assert likeliest == some == many


def test_a_pair_has_the_same_pieces_in_any_update(ids, tokenizer):
    small, large = (
        sorted(pair for part in listed(epoch_of(loader(ids, tokenizer, 0.3, batch_tokens=n), 0)) for pair in part)
        for n in (300, 700)
    )
    assert small == large


def test_pairs_of_an_update_are_sorted_by_their_new_lengths(ids, tokenizer):
    for pairs in epoch_of(loader(ids, tokenizer, 0.2), 0):
        lengths = [max(len(src), len(tgt)) for src, tgt in zip(pairs.src, pairs.tgt, strict=True)]
        assert lengths == sorted(lengths)


RESUMED = """
import sys
from pathlib import Path
from seq2seq.config import DataConfig, RunConfig, TrainingConfig
from seq2seq.corpus import IdsStore
from seq2seq.tokenizer import Tokenizer
from seq2seq.training.loader import Loader
folder, done = Path(sys.argv[1]), int(sys.argv[2])
config = RunConfig(data=DataConfig(subword_sampling=0.3), training=TrainingConfig(batch_tokens=300, seed=1))
loader = Loader(IdsStore(folder / "ids.arrow"), Tokenizer((folder / "tokenizer.model").read_bytes()), config)
updates, then = loader.updates(1, done), None
while then != 0:
    pairs, epoch, then = next(updates)
    for n in (1, 2):
        for share in pairs.shards(n):
            print(epoch, then, [row.tolist() for row in share.src], [row.tolist() for row in share.tgt])
updates.close()
"""


def test_another_process_resumes_an_epoch_with_the_same_pairs_and_pieces(tmp_path, ids, tokenizer):
    """With one and two shards. SentencePiece's own draws differ between processes."""
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.model)
    whole = epoch_of(loader(ids, tokenizer, 0.3), 1)
    done = len(whole) // 2
    program = [sys.executable, "-c", RESUMED, tmp_path, str(done)]
    environment = {"PYTHONPATH": str(FOLDER.parent.parent)}
    resumed = subprocess.run(program, capture_output=True, text=True, check=True, env=environment).stdout
    expected = []
    for nth, pairs in enumerate(whole[done:], done + 1):
        then = "2 0" if nth == len(whole) else f"1 {nth}"
        shares = [*pairs.shards(1), *pairs.shards(2)]
        expected += [f"{then} {[r.tolist() for r in share.src]} {[r.tolist() for r in share.tgt]}" for share in shares]
    assert resumed.split("\n") == [*expected, ""]


def test_no_text_is_divided_into_more_pieces_than_the_max_length(ids, tokenizer):
    longest = int(max(ids.src_lengths.max(), ids.tgt_lengths.max()))
    portions = epoch_of(loader(ids, tokenizer, 0.1, max_length=longest + 1), 0)
    lengths = [len(row) for p in portions for row in (*p.src, *p.tgt)]
    assert max(lengths) <= longest
    assert sum(lengths) > 1.1 * (ids.src_lengths.sum(dtype=int) + ids.tgt_lengths.sum(dtype=int))


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_pools_of_an_epoch_follow_each_other(ids, tokenizer, alpha, monkeypatch):
    monkeypatch.setattr("seq2seq.batching.POOL", 120)
    monkeypatch.setattr("seq2seq.training.loader.MIN_PAIRS_DRAWN", 50)
    whole = listed(epoch_of(loader(ids, tokenizer, alpha), 0))
    assert len([pair for pairs in whole for pair in pairs]) == len(PAIRS)
    for done in (1, len(whole) // 2, len(whole) - 1):
        assert listed(epoch_of(loader(ids, tokenizer, alpha), 0, done)) == whole[done:]


def test_an_unused_update_does_no_harm(ids, tokenizer):
    updates = loader(ids, tokenizer, 0.3).updates(0)
    assert len(list(islice(updates, 2))) == 2
    updates.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("n_ahead", [1, 2, 7])
def test_updates_read_ahead_are_the_same(ids, tokenizer, alpha, n_ahead, monkeypatch):
    monkeypatch.setattr("seq2seq.training.loader.MIN_PAIRS_DRAWN", 50)

    def some(n_ahead, epoch, done):
        reading = loader(ids, tokenizer, alpha, n_ahead=n_ahead).updates(epoch, done)
        found = [(*listed([pairs]), *then) for pairs, *then in islice(reading, 40)]
        reading.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]
        return found

    for epoch, done in ((0, 0), (1, 5), (0, 1000)):
        assert some(n_ahead, epoch, done) == some(0, epoch, done)
    assert some(n_ahead, 0, 0) != some(0, 0, 1)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_some_epochs(ids, tokenizer, alpha):
    """All of their updates, also those of the last block of sampled ones."""
    for n_ahead in (0, 2):
        reading = loader(ids, tokenizer, alpha, n_ahead=n_ahead)
        first, second = (epoch_of(reading, epoch) for epoch in (3, 4))
        assert listed(pairs for pairs, *_ in reading.updates(3, n_epochs=1)) == listed(first)
        assert listed(pairs for pairs, *_ in reading.updates(3, 2, n_epochs=2)) == listed([*first[2:], *second])


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_an_error_of_reading_is_raised(alpha, ids, tokenizer, monkeypatch):
    def broken(*_):
        raise OSError("gone")

    monkeypatch.setattr(IdsStore, "take", broken)
    with pytest.raises(OSError, match="gone"):
        next(loader(ids, tokenizer, alpha).updates(0))


def test_an_unknown_character_stays_unknown(tmp_path):
    """A user's tokenizer may have no bytes. Then unknown characters have no spelling."""
    written = io.BytesIO()
    control = {"unk_id": UNK, "bos_id": BOS, "eos_id": EOS, "pad_id": PAD}
    text = (line for pair in PAIRS for line in pair)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=text, model_writer=written, vocab_size=300, minloglevel=2, **control
    )
    tokenizer = Tokenizer(written.getvalue())
    unknown, known = tokenizer.encode(["Der kleine Hund \u4e2d schläft.", "Der kleine Hund schläft."])
    assert UNK in unknown
    write_ids_store(tmp_path / "ids.arrow", [(unknown, known)] * 50, vocab_size=len(tokenizer))
    drawn = [
        pair for part in listed(epoch_of(loader(IdsStore(tmp_path / "ids.arrow"), tokenizer, 0.1), 0)) for pair in part
    ]
    assert len({tuple(src) for src, _ in drawn}) > 10
    assert all(list(src).count(UNK) == 1 for src, _ in drawn)
    assert {tokenizer.decode([src])[0] for src, _ in drawn} == {tokenizer.decode([unknown])[0]}
    assert len({tuple(tgt) for _, tgt in drawn}) > 10


@pytest.mark.parametrize("most", [10, 40, 10_000])
def test_parts_of_a_portion_hold_all_of_it(most):
    rng = np.random.default_rng(0)
    src, tgt = ([[4] * int(n) for n in rng.integers(1, 30, 50)] for _ in range(2))
    whole = TokenizedPairs(src, tgt)
    parts = list(whole.micro_batches(max_tokens=most))
    assert [pair for part in listed(parts) for pair in part] == list(zip(src, tgt, strict=True))
    assert sum(part.n_tgt_tokens for part in parts) == whole.n_tgt_tokens == sum(map(len, tgt)) + 50
    for part in parts:
        longest = max(map(len, [*part.src, *part.tgt])) + 1
        assert len(part) == 1 or longest * len(part) <= most


@pytest.mark.parametrize("saved", [1, 20, 100, math.inf])
def test_micro_batches_are_divided_again_if_that_saves_padding(saved):
    """For text that is divided at random: its lengths differ from those that made the updates."""
    lengths = sorted(np.random.default_rng(0).integers(1, 60, 80).tolist())
    whole = TokenizedPairs([[4] * n for n in lengths], [[4] * max(1, n - 3) for n in lengths])
    parts = list(whole.micro_batches(max_tokens=10_000, min_saved=saved))
    assert [pair for part in listed(parts) for pair in part] == listed([whole])[0]

    def padded(portions):
        return sum(len(pairs) * (1 + max(map(len, pairs.src))) for pairs in portions)

    assert padded(parts) + (len(parts) - 1) * (saved if len(parts) > 1 else 0) <= padded([whole])
    assert (len(parts) == 1) == (saved == math.inf)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_ranks_share_the_pairs_of_each_update(ids, tokenizer, alpha):
    """Each pair is at one rank, in the pieces that one process samples."""
    whole = listed(epoch_of(loader(ids, tokenizer, alpha), 0))
    parts = [listed(epoch_of(loader(ids, tokenizer, alpha, ranks=Ranks(rank=r, n=3)), 0)) for r in range(3)]
    assert len(whole) > 2
    for update, *of_ranks in zip(whole, *parts, strict=True):
        assert sorted(pair for part in of_ranks for pair in part) == sorted(update)
        assert max(map(len, of_ranks)) - min(map(len, of_ranks)) <= 1
