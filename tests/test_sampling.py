"""Subword sampling: the right distribution, the same text, the same draws in any process and batch."""

import functools
import io
import itertools
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.errors import ExitCode, UserError
from seq2seq.tokenizer import BOS, EOS, PAD, UNK, Sampler, Tokenizer, row_keys, sampling, train_model

FOLDER = Path(__file__).parent.parent / "data" / "phrasebook"
TEXT = [line for lang in ("de", "en") for line in (FOLDER / f"valid.{lang}").read_text("utf-8").split("\n")[:200]]
UNSPACED = ["今天下雨，我们在家。", "我们今天不在家！", "天下雨我在家"]
OTHERS = ["", "\0", "😀👩‍👧", "<s> </s> <tag0> <0x41>", "a\u2581b", "中文字 한국어", "xx" * 200, *UNSPACED]
CONTROL = {"unk_id": UNK, "bos_id": BOS, "eos_id": EOS, "pad_id": PAD}


@functools.cache
def tokenizer(kind: str) -> Tokenizer:
    """A tokenizer of 600 pieces, trained at its first use."""
    lines = iter(TEXT + 20 * UNSPACED)
    return Tokenizer(train_model(lines, vocab_size=600, tokenizer_type=kind, normalization="nfc")[0])


def foreign(kind: str, **options) -> Tokenizer:
    """A model as from a user's own ``spm_train``."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=written, model_type=kind, minloglevel=2, **CONTROL, **options
    )
    return Tokenizer(written.getvalue())


@pytest.fixture(params=["unigram", "bpe"])
def kind(request):
    return request.param


def encoded(tokenizer, texts):
    return [np.array(ids, np.int32) for ids in tokenizer.encode(texts)]


def keys(n, *, seed=1, epoch=0, side=0):
    return row_keys(seed, epoch, np.arange(n), side)


def drawn(tokenizer, texts, alpha, **place):
    rows = Sampler(tokenizer, alpha).draw(encoded(tokenizer, texts), keys(len(texts), **place))
    return [row.tolist() for row in rows]


# The right distribution -----------------------------------------------------------------------------


def divisions(tokenizer, text):
    """All ways to divide a text into learned pieces."""
    learned = {tokenizer.pieces([i])[0]: i for i, is_learned in enumerate(tokenizer.is_learned()) if is_learned}

    def of(rest):
        if not rest:
            yield ()
        for n in range(1, len(rest) + 1):
            if rest[:n] in learned:
                yield from ((learned[rest[:n]], *others) for others in of(rest[n:]))

    return list(of("\u2581" + text))


def unigram_distribution(tokenizer, text, alpha):
    scores = tokenizer.scores()
    weights = {one: math.exp(alpha * sum(scores[i] for i in one)) for one in divisions(tokenizer, text)}
    return {one: weight / sum(weights.values()) for one, weight in weights.items()}


def bpe_distribution(tokenizer, text, alpha):
    """Computed from all outcomes: a merge of two neighbours is dropped at once, or made in its order."""
    scores, ids = tokenizer.scores(), {piece: i for i, piece in enumerate(tokenizer.pieces(range(len(tokenizer))))}
    found = Counter()

    def merge(symbols, fates, p):
        """``fates``: of each two neighbours, whether they are kept; None: not drawn yet."""
        for i, fate in enumerate(fates):
            if fate is None:
                can = symbols[i] + symbols[i + 1] in ids
                for kept, q in ((True, 1 - alpha), (False, alpha)) if can else ((False, 1.0),):
                    merge(symbols, [*fates[:i], kept, *fates[i + 1 :]], p * q)
                return
        kept = [i for i, fate in enumerate(fates) if fate]
        if not kept:
            found[tuple(ids[symbol] for symbol in symbols)] += p
            return
        i = max(kept, key=lambda i: (scores[ids[symbols[i] + symbols[i + 1]]], -i))
        left, right = fates[: max(0, i - 1)] + [None] * (i > 0), [None] * (i + 2 < len(symbols)) + fates[i + 2 :]
        merge([*symbols[:i], symbols[i] + symbols[i + 1], *symbols[i + 2 :]], left + right, p)

    symbols = list("\u2581" + text)
    merge(symbols, [None] * (len(symbols) - 1), 1.0)
    return found


@pytest.mark.parametrize("text", ["Hund", "the", "schön", "我们在家"])
@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
def test_draws_have_the_right_probabilities(kind, text, alpha):
    """χ² with a fixed seed, against the exact probabilities of all divisions."""
    one, n = tokenizer(kind), 4000
    exact = {"unigram": unigram_distribution, "bpe": bpe_distribution}[kind](one, text, alpha)
    assert sum(exact.values()) == pytest.approx(1.0)
    counts = Counter(map(tuple, drawn(one, [text] * n, alpha)))
    assert set(counts) <= set(exact)
    frequent = {division: p for division, p in exact.items() if p * n >= 5}
    rest = 1 - sum(frequent.values())
    chi2 = sum((counts[division] - p * n) ** 2 / (p * n) for division, p in frequent.items())
    if rest * n >= 5:
        chi2 += (n - sum(counts[division] for division in frequent) - rest * n) ** 2 / (rest * n)
    freedom = max(1, len(frequent) + (rest * n >= 5) - 1)
    assert chi2 < freedom + 5 * math.sqrt(2 * freedom)


def test_bpe_without_dropout_is_sentencepieces_own_encoding():
    one = tokenizer("bpe")
    assert drawn(one, TEXT + OTHERS, 0.0) == one.encode(TEXT + OTHERS)


def test_a_large_alpha_leaves_only_the_likeliest_division():
    one = tokenizer("unigram")
    assert drawn(one, TEXT + OTHERS, 1e4) == one.encode(TEXT + OTHERS)


def test_all_bpe_merges_can_be_dropped():
    one = tokenizer("bpe")
    for text, row in zip(TEXT, drawn(one, TEXT, 1.0), strict=True):
        assert len(row) >= len(text) + 1  # more where characters are spelt in bytes


# The same text --------------------------------------------------------------------------------------


@settings(database=None, deadline=None, max_examples=150)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" ei的Hund我们"), max_size=30)),
    st.sampled_from([0.1, 0.5, 1.0]),
)
@example(["", "Hund", ""], 0.1)
def test_a_draw_has_the_same_text(texts, alpha):
    for kind in ("unigram", "bpe"):
        one = tokenizer(kind)
        rows = drawn(one, texts, alpha)
        assert one.decode(rows) == one.decode(one.encode(texts))
        assert all(one.n_control <= i < len(one) for row in rows for i in row)


@pytest.mark.parametrize(
    "options",
    [
        {"vocab_size": 300},  # which knows no bytes
        {"vocab_size": 300, "split_by_whitespace": False},
        {"vocab_size": 300, "treat_whitespace_as_suffix": True},
        {"vocab_size": 500, "byte_fallback": True, "user_defined_symbols": ["und", "<b>", "e"]},
        {"vocab_size": 300, "character_coverage": 0.98, "remove_extra_whitespaces": False},
    ],
    ids=["no bytes", "pieces across spaces", "spaces at the end", "pieces of the user's", "few characters"],
)
def test_models_of_other_programs(kind, options):
    one = foreign(kind, **options)
    texts = [*TEXT, "<b>Hund</b> und Hunde", "  zwei  ", "中 Katze", "unde"]
    likeliest = one.encode(texts)
    rows = drawn(one, texts, 0.2)
    assert one.decode(rows) == one.decode(likeliest)
    assert sum(a != b for a, b in zip(rows, likeliest, strict=True)) > len(texts) / 2
    own = [i for i, piece in enumerate(one.pieces(range(len(one)))) if piece in ("und", "<b>", "e")]
    if "user_defined_symbols" in options:
        for row, best in zip(rows, likeliest, strict=True):
            assert [i for i in row if i in own] == [i for i in best if i in own]
    assert drawn(one, texts, 0.0 if kind == "bpe" else 1e4) == likeliest


@pytest.mark.parametrize("kind", ["char", "word"])
def test_a_model_with_only_one_division_is_refused(kind):
    with pytest.raises(UserError, match="is deterministic") as caught:
        Sampler(foreign(kind, vocab_size=60), 0.5)
    assert caught.value.code == ExitCode.REFUSED


# The same draw --------------------------------------------------------------------------------------


def test_a_draw_depends_only_on_its_key(kind, monkeypatch):
    one = tokenizer(kind)
    texts = TEXT + OTHERS
    rows, their_keys = encoded(one, texts), keys(len(texts))
    whole = [row.tolist() for row in Sampler(one, 0.3).draw(rows, their_keys)]
    assert sum(a != b for a, b in zip(whole, one.encode(texts), strict=True)) > len(TEXT) / 2
    sampler = Sampler(one, 0.3)
    monkeypatch.setattr(sampling, "_MAX_CACHED", 500)
    for at in reversed(range(len(texts))):
        assert sampler.draw(rows[at : at + 1], their_keys[at : at + 1])[0].tolist() == whole[at]
    assert sampler.draw([], their_keys[:0]) == []


def test_each_seed_epoch_row_and_side_has_its_own_draws(kind):
    one = tokenizer(kind)
    long = " ".join(TEXT[:10])
    places = itertools.product((1, 2), (0, 1), (0, 1))
    rows = [
        row for seed, epoch, side in places for row in drawn(one, [long] * 5, 0.3, seed=seed, epoch=epoch, side=side)
    ]
    assert len(set(map(tuple, rows))) == len(rows) == 40


PROGRAM = """
import sys
from seq2seq.tokenizer import Sampler, Tokenizer, row_keys
import numpy as np
tokenizer = Tokenizer(open(sys.argv[1], "rb").read())
rows = [np.array(row) for row in tokenizer.encode(open(sys.argv[2], encoding="utf-8").read().split("\\n"))]
rows = rows[::-1] if sys.argv[3] == "backwards" else rows
numbers = np.arange(len(rows))[::-1] if sys.argv[3] == "backwards" else np.arange(len(rows))
drawn = Sampler(tokenizer, 0.3).draw(rows, row_keys(1, 0, numbers, 0))
print([row.tolist() for row in (drawn[::-1] if sys.argv[3] == "backwards" else drawn)])
"""


def test_two_processes_draw_the_same(kind, tmp_path):
    (tmp_path / "model").write_bytes(tokenizer(kind).model)
    (tmp_path / "text").write_text("\n".join(TEXT), encoding="utf-8")
    answers = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "model", tmp_path / "text", order],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent)},
        ).stdout
        for order, seed in (("forwards", "1"), ("backwards", "2"))
    ]
    assert answers[0] == answers[1] == f"{drawn(tokenizer(kind), TEXT, 0.3)}\n"
