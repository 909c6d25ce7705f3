"""SentencePiece: decoding restores the text, no character is unknown, no text becomes a control symbol."""

import io
import itertools
import sys
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.config import DataConfig
from seq2seq.corpus import Pair, TextStore, write_text_store
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.tokenizer import BOS, EOS, N_TAGS, PAD, UNK, Tokenizer, train_model, train_tokenizer
from seq2seq.training.prepare import CorpusRecord, _spread, prepare

FOLDER = Path(__file__).parent.parent / "data" / "phrasebook"
TEXT = [line for lang in ("de", "en") for line in (FOLDER / f"valid.{lang}").read_text("utf-8").split("\n")[:200]]

CONTROLS = set(range(4 + N_TAGS))
# The first piece of 256 that spell bytes.
BYTES = 4 + N_TAGS


def trained(lines=TEXT, vocab_size=600, tokenizer_type="unigram", normalization="nfc", may_grow=False):
    return train_model(
        iter(lines),
        vocab_size=vocab_size,
        tokenizer_type=tokenizer_type,
        normalization=normalization,
        may_grow=may_grow,
    )


@pytest.fixture(scope="module")
def models():
    """A model of each kind, by tokenizer_type and normalization."""
    kinds = [(kind, rule) for kind in ("unigram", "bpe") for rule in ("nfc", "nfkc", "identity")]
    return {(k, n): Tokenizer(trained(tokenizer_type=k, normalization=n)[0]) for k, n in kinds}


@pytest.fixture(params=["unigram", "bpe"])
def kind(request):
    return request.param


@pytest.fixture(params=["nfc", "nfkc", "identity"])
def either(request, kind, models):
    return models[kind, request.param]


# Encoding and decoding -------------------------------------------------------------------------------------


def test_control_symbols_have_their_ids(either):
    assert (UNK, BOS, EOS, PAD) == (0, 1, 2, 3)
    assert either.pieces([UNK, BOS, EOS, PAD]) == ["<unk>", "<s>", "</s>", "<pad>"]
    assert either.pieces([BYTES, BYTES + 0x41, BYTES + 255]) == ["<0x00>", "<0x41>", "<0xFF>"]
    assert either.pieces([4, BYTES - 1]) == ["<tag0>", "<tag99>"]
    assert either.n_control == BYTES == 104


def test_training_text_is_decoded_unchanged(either):
    ids = either.encode(TEXT)
    assert either.decode(ids) == TEXT
    assert all(CONTROLS.isdisjoint(row) for row in ids)
    assert sum(map(len, ids)) < sum(map(len, TEXT)) / 2, "pieces are learned, not bytes spelt"
    assert len(either) == 700
    assert max(map(max, ids)) < 700


def test_lines_do_not_depend_on_their_neighbours(either):
    assert either.encode(TEXT) == [either.encode([line])[0] for line in TEXT]
    assert either.encode([]) == either.decode([]) == []
    assert either.encode([""]) == [[]]
    assert either.decode([[]]) == [""]


# Neither text nor rule changes these: NFKC's own normal forms, in characters never seen in training.
NEVER_SEEN = [
    "😀👩‍👧🏳️‍🌈",
    "中文字 한국어 日本語",
    "Ωμέγα Привет שלום مرحبا",
    "a\0b",
    "\U000e0001",
    "𝄞",
    "ÿ́",
    "€",
    "\ue000",
]
FORGERIES = ["<s>", "</s>", "<pad>", "<unk>", "<0x41>", "<0x0A>", "x<s>y </s> <pad><unk> z", "<s></s>", "</s> Hund"]
FORGERIES += ["<tag0>", "<tag99> Hund", "a <tag7>x"]


@pytest.mark.parametrize("text", NEVER_SEEN, ids=ascii)
def test_no_character_is_unknown(either, text):
    ids = either.encode([text])[0]
    assert CONTROLS.isdisjoint(ids)
    assert any(BYTES <= i < BYTES + 256 for i in ids)
    assert either.decode([ids]) == [text]


@pytest.mark.parametrize("text", FORGERIES)
def test_control_symbols_cannot_be_forged(either, text):
    ids = either.encode([text])[0]
    assert CONTROLS.isdisjoint(ids)
    assert either.decode([ids]) == [text]


@pytest.mark.parametrize("normalization", ["nfc", "nfkc", "identity"])
def test_control_symbols_cannot_be_forged_in_training(kind, normalization):
    model, _ = trained(TEXT + FORGERIES * 50, tokenizer_type=kind, normalization=normalization)
    tokenizer = Tokenizer(model)
    for text in FORGERIES:
        ids = tokenizer.encode([text])[0]
        assert CONTROLS.isdisjoint(ids)
        assert tokenizer.decode([ids]) == [text]
    learned = tokenizer.pieces(range(BYTES + 256, len(tokenizer)))
    assert not {piece.strip("\u2581") for piece in learned} & {"<s>", "</s>", "<pad>", "<unk>", "<0x41>", "<tag0>"}


def test_control_symbols_are_not_shown(either):
    ids = either.encode([TEXT[0]])[0]
    assert either.decode([[4, BOS, *ids, BYTES - 1, EOS, PAD, PAD]]) == [TEXT[0]]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(database=None, deadline=None, max_examples=150)
@given(ANY_TEXT)
@example(" a  b ")
@example("\t\r\u2028\x85\xa0\u3000\ufeff\u200b\0\x1f")
@example("ﬁ ½ Å é e\u0301")
@example("<s> </s><0x41>")
@example("a\u2581b \u2581\ufdd0 \ufdd1")
def test_identity_does_not_change_text(models, text):
    for kind in ("unigram", "bpe"):
        tokenizer = models[kind, "identity"]
        ids = tokenizer.encode([text])[0]
        assert CONTROLS.isdisjoint(ids)
        assert tokenizer.decode([ids]) == [text]


@settings(database=None, deadline=None, max_examples=150)
@given(ANY_TEXT)
@example("<s>\u3000</s>")
def test_nfkc_does_not_change_its_own_output(models, text):
    for kind in ("unigram", "bpe"):
        tokenizer = models[kind, "nfkc"]
        ids = tokenizer.encode([text])[0]
        assert CONTROLS.isdisjoint(ids)
        once = tokenizer.decode([ids])
        assert tokenizer.decode(tokenizer.encode(once)) == once


@pytest.mark.parametrize(
    ("text", "nfc", "nfkc"),
    [
        (" a  b ", "a b", "a b"),
        ("e\u0301", "é", "é"),
        ("ﬁne ﺍﻟﺴﻼﻡ", "fine السلام", "fine السلام"),
        ("a\xa0b\u3000c\td\u2028e", "a\xa0b\u3000c\td\u2028e", "a b c d e"),
        ("，！（ＡＢＣ ½ m² № ™ ①", "，！（ＡＢＣ ½ m² № ™ ①", ",!(ABC 1⁄2 m2 No TM 1"),
        ("ทำ և ㅋ saⁿ 1º", "ทำ և ㅋ saⁿ 1º", "ท\u0e4d\u0e32 եւ \u110f san 1o"),
        *((f"a{c}b", f"a{c}b", "a b") for c in "\u200c\u200b\u200e\u200f\u061c\ufeff"),
        *((f"a{c}b", f"a{c}b", f"a{c}b") for c in "\u200d\xad\u2060\u202b\u2068\0\x80\x85"),
        *((f"a{c}b", f"a{c}b", "ab") for c in "\x01\x0b\x1f\x7f"),
    ],
)  # fmt: skip
def test_what_each_normalization_does(models, kind, text, nfc, nfkc):
    """docs/train.md has this table."""
    for rule, expected in (("nfc", nfc), ("nfkc", nfkc), ("identity", text)):
        tokenizer = models[kind, rule]
        assert tokenizer.decode(tokenizer.encode([text])) == [expected]


def test_nfkc_reads_the_symbol_of_a_space_as_a_space(models):
    """Its rules are SentencePiece's own, which cannot distinguish U+2581 in text from a space."""
    tokenizer = models["unigram", "nfkc"]
    assert tokenizer.decode(tokenizer.encode(["a\u2581b"])) == ["a b"]


def test_invalid_bytes_are_decoded_to_valid_text(either):
    """A model may output any pieces: their text is always valid UTF-8."""
    for ids in ([BYTES + 0xFF, BYTES + 0xC3], [BYTES + 0xE2, BYTES + 0x96], [BYTES + 0xED, BYTES + 0xA0, BYTES + 0x80]):
        text = either.decode([ids])[0]
        assert text.encode().decode() == text
        assert set(text) == {"\ufffd"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("line", ["Hund " * 40_000, "x" * 200_000, "😀" * 50_000], ids=["words", "word", "emoji"])
def test_very_long_lines(either, line):
    ids = either.encode([line, "Hund"])
    assert either.decode(ids) in ([line, "Hund"], [line.strip(), "Hund"])
    assert all(CONTROLS.isdisjoint(row) for row in ids)


# Training -------------------------------------------------------------------------------------------


def test_training_again_gives_the_same_bytes(kind):
    assert trained(tokenizer_type=kind) == trained(tokenizer_type=kind)


def test_the_vocabulary_has_the_requested_size(kind):
    model, size = trained(vocab_size=350, tokenizer_type=kind)
    assert (size, len(Tokenizer(model)), Tokenizer(model).n_pieces) == (350, 350 + N_TAGS, 350)


@pytest.mark.parametrize(("n", "most"), [(10_000, 100), (10_000, 9_999), (50, 100), (5000, 1)])
def test_the_sample_is_spread_over_the_text_without_held_out_pairs(tmp_path, n, most):
    write_text_store(tmp_path / "text", (Pair(str(i), str(-i)) for i in range(n)))
    held_out = set(range(0, n, 7))
    rows = [int(pair.src) for pair in _spread(TextStore(tmp_path / "text"), held_out, most)]
    assert 0 < len(rows) <= most
    assert rows == sorted(set(rows))
    assert not held_out & set(rows)
    if 1 < most < n // 2:
        assert len(rows) == most
        assert max(b - a for a, b in itertools.pairwise(rows)) <= n // most + 7


@pytest.mark.parametrize("text", [["a"], ["a b"], TEXT[:4], ["1 2 3"] * 9, ["a\0b c"] * 5, ["<s>"]], ids=lambda t: t[0])
def test_a_small_text_lowers_the_vocabulary(kind, text):
    model, size = trained(text, vocab_size=32_000, tokenizer_type=kind)
    tokenizer = Tokenizer(model)
    assert 260 < size == tokenizer.n_pieces < 600
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_space_has_a_piece_even_in_text_without_spaces(kind):
    tokenizer = Tokenizer(trained(["x" * 12_000] * 3, tokenizer_type=kind)[0])
    assert tokenizer.decode(tokenizer.encode(["xx x"])) == ["xx x"]


@pytest.mark.parametrize(
    ("text", "says", "rule"),
    [([], "no line", "nfc"), ([""] * 3, "no line", "nfc"), (["word " * 10_000], "no line", "nfc"),
     ([" ", "   "], "no vocabulary", "nfc"), ([" ", "\t"], "no vocabulary", "nfkc"),
     (["\x01\x02"], "no vocabulary", "nfkc")],
    ids=["none", "blank", "too long", "spaces", "a tab", "controls"],
)  # fmt: skip
def test_no_text_to_learn_from(kind, text, says, rule):
    with pytest.raises(UserError, match=says) as caught:
        trained(text, tokenizer_type=kind, normalization=rule)
    assert caught.value.code == ExitCode.BAD_DATA


def test_more_characters_than_pieces(kind):
    text = ["".join(chr(0x4E00 + 20 * i + j) for j in range(20)) for i in range(30)]
    with pytest.raises(
        UserError, match=r"vocab_size 300 is too small for 256 bytes and the 600 char.*give `data.vocab_size=1722` or"
    ) as caught:
        trained(text, vocab_size=300, tokenizer_type=kind)
    assert caught.value.code == ExitCode.BAD_DATA
    assert trained(text, vocab_size=1722, tokenizer_type=kind)[1] <= 1722
    assert 861 <= trained(text, vocab_size=300, tokenizer_type=kind, may_grow=True)[1] <= 1161


class TestInAChildProcess:
    def train(self, folder: Path, text: bytes) -> int:
        (folder / "sample.txt").write_bytes(text)
        return train_tokenizer(
            folder / "sample.txt",
            folder / "tokenizer.model",
            vocab_size=600,
            tokenizer_type="unigram",
            normalization="nfc",
        )

    def test_the_same_model(self, tmp_path, capfd):
        # Programs define lines differently: here U+2028 and "\r" do not end a line.
        text = [*TEXT, *["der\u2028Hund", "die\rKatze", "a\x85b"] * 20]
        size = self.train(tmp_path, "".join(f"{line}\n" for line in text).encode())
        assert ((tmp_path / "tokenizer.model").read_bytes(), size) == trained(text)
        assert capfd.readouterr() == ("", ""), "SentencePiece talks"

    def test_its_errors(self, tmp_path):
        with pytest.raises(UserError, match="no line to learn from") as caught:
            self.train(tmp_path, b"\n\n")
        assert caught.value.code == ExitCode.BAD_DATA
        assert not (tmp_path / "tokenizer.model").exists()

    def test_a_killed_child(self, tmp_path, monkeypatch):
        killed = tmp_path / "python"
        killed.write_text("#!/bin/sh\nkill -9 $$\n")
        killed.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(killed))
        with pytest.raises(UserError, match="killed by signal 9; free memory") as caught:
            self.train(tmp_path, b"a\n")
        assert caught.value.code == ExitCode.TRY_LATER


# Models from elsewhere ------------------------------------------------------------------------------


def foreign(**options) -> bytes:
    """A model as from a user's own ``spm_train``."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(TEXT), model_writer=written, vocab_size=100, minloglevel=2, **options
    )
    return written.getvalue()


def prepared_with(folder: Path, notices: list[str], **data) -> Tokenizer:
    """Prepare a small corpus as ``train`` does."""
    write_text_store(folder / "train.text.arrow", map(Pair, TEXT[::2], TEXT[1::2]))
    records = [CorpusRecord("corpus", "train", len(TEXT) // 2, "", 0, 0)]
    return prepare(folder, DataConfig(langs="de-en", train=("corpus",), **data), records, notices.append).tokenizer


def test_a_lowered_vocabulary_is_reported(tmp_path):
    notices: list[str] = []
    tokenizer = prepared_with(tmp_path, notices, vocab_size=8000)
    assert f"vocabulary lowered from 8,000 to {tokenizer.n_pieces:,} pieces: the text holds no more" in notices
    assert (tmp_path / "tokenizer.model").read_bytes() == tokenizer.model


@pytest.mark.parametrize(("rule", "respelt"), [("nfc", 1), ("nfkc", 3), ("identity", 0)])
def test_targets_that_normalization_changes_are_counted(tmp_path, rule, respelt):
    others = ["10 m²", "e\u0301tude", "می‌خواهم", "two  spaces ", "plain"]
    write_text_store(tmp_path / "train.text.arrow", map(Pair, TEXT[:200], TEXT[:195] + others))
    data = DataConfig(langs="de-en", train=("corpus",), valid=("valid",), vocab_size=600, normalization=rule)
    write_text_store(tmp_path / "valid.text.arrow", [Pair("a", "b")])
    notices: list[str] = []
    prepared = prepare(tmp_path, data, [CorpusRecord("corpus", "train", 200, "", 0, 0)], notices.append)
    assert prepared.respelt_targets == prepared.record()[-1]["respelt_targets"] == respelt
    targets = counted(respelt, "target")
    says = f"{targets} spelt differently after data.normalization {rule}: translations will have that spelling too"
    assert (says in notices) == (respelt > 0)
    notices.clear()
    assert prepare(tmp_path, data, prepared.corpora, notices.append).respelt_targets == respelt
    assert (says in notices) == (respelt > 0)


def test_a_given_model_is_used_unchanged(tmp_path):
    model = foreign(unk_id=0, bos_id=1, eos_id=2, pad_id=3)
    (tmp_path / "own.model").write_bytes(model)
    notices: list[str] = []
    tokenizer = prepared_with(tmp_path, notices, tokenizer=str(tmp_path / "own.model"))
    assert f"tokenizer {tmp_path}/own.model: 100 pieces" in notices
    assert not any("lowered" in line for line in notices)
    assert tokenizer.model == model == (tmp_path / "tokenizer.model").read_bytes()


@pytest.mark.parametrize(
    ("content", "says", "code"),
    [
        (None, "No such file", ExitCode.NO_INPUT),
        (b"", "it is empty", ExitCode.REFUSED),
        (b"no model at all", "is not a SentencePiece model", ExitCode.REFUSED),
        ({}, r"pad at \(0, 1, 2, -1\) instead of \(0, 1, 2, 3\); train it with --unk_id=0", ExitCode.REFUSED),
        ({"unk_id": 3, "bos_id": 1, "eos_id": 2, "pad_id": 0}, r"pad at \(3, 1, 2, 0\)", ExitCode.REFUSED),
    ],
    ids=["missing", "empty", "text", "no padding", "other ids"],
)
def test_a_given_model_that_must_not_be_used(tmp_path, content, says, code):
    if content is not None:
        (tmp_path / "own.model").write_bytes(content if isinstance(content, bytes) else foreign(**content))
    with pytest.raises(UserError, match=says) as caught:
        prepared_with(tmp_path, [], tokenizer=str(tmp_path / "own.model"))
    assert caught.value.code == code
    assert "own.model" in caught.value.what
    assert "\n" not in str(caught.value)


def test_damaged_models_are_refused_or_harmless():
    model, _ = trained(normalization="identity")
    refused = 0
    for cut in range(0, len(model) - 64, 41):
        with pytest.raises(UserError, match=r"tokenizer\.model is not a SentencePiece model|instead of") as caught:
            Tokenizer(model[:cut])
        assert caught.value.code == ExitCode.REFUSED
    for at in range(0, len(model), 7):
        damaged = bytearray(model)
        damaged[at] ^= 0x80
        try:
            tokenizer = Tokenizer(bytes(damaged))
        except UserError:
            refused += 1
        else:  # as where a score changes
            text = "".join(tokenizer.decode([range(BYTES, len(tokenizer))]))
            assert text.encode().decode() == text
    assert refused > 200
