"""Suggestions for unknown keys: in a wrong table, of another toolkit, or misspelt."""

import pytest

from seq2seq.cli.layers import parse_set
from seq2seq.config import TABLES, did_you_mean, keys_named, known_keys
from seq2seq.config.aliases import ALIASES
from seq2seq.errors import ExitCode, UserError

SEE = "see `seq2seq config`, which lists every key"


def test_every_alias_leads_to_its_key():
    """Always from its own table; without a table to the first row with the name."""
    for row in ALIASES:
        keys = row.keys.split()
        assert not set(keys) - set(known_keys())
        for name in row.names.split():
            table = keys[0].partition(".")[0]
            rows = [other for other in ALIASES if name in other.names.split()]
            assert keys_named(f"{table}.{name}") == (keys, row.note), name
            assert keys_named(name) == (rows[0].keys.split(), rows[0].note), name
            assert keys_named(f"nonsense.{name.upper().replace('_', '-')}") == keys_named(name), name


def test_no_alias_is_a_key_of_ours():
    """Such an alias would never be used."""
    own = {key.rpartition(".")[2] for key in known_keys()} | set(TABLES)
    assert not own & {name for row in ALIASES for name in row.names.split()}


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("lr", "training.learning_rate? (its peak)"),
        ("training.lr", "training.learning_rate? (its peak)"),
        ("model.LR", "training.learning_rate? (its peak)"),
        ("epochs", "training.max_epochs?"),
        ("num_epochs", "training.max_epochs?"),
        ("batch_size", "training.batch_tokens? (in target tokens, not in sentences)"),
        ("batch-size", "training.batch_tokens? (in target tokens, not in sentences)"),
        ("decoding.batch_size", "decoding.batch_tokens? (in padded source tokens, not in sentences)"),
        ("layers", "model.encoder_layers or model.decoder_layers? (encoder and decoder have one key each)"),
        ("hidden_size", "model.d_model?"),
        ("heads", "model.n_heads?"),
        ("nhead", "model.n_heads?"),
        ("ffn", "model.d_ff?"),
        ("warmup", "training.warmup_updates? (in updates)"),
        ("steps", "training.max_updates? (optimizer steps)"),
        ("max_steps", "training.max_updates? (optimizer steps)"),
        ("beam", "decoding.beam_size?"),
        ("lenpen", "decoding.length_penalty?"),
        ("alpha", "decoding.length_penalty?"),
        ("vocab", "data.vocab_size? (pieces of one vocabulary for both languages)"),
        ("bpe", "data.tokenizer_type? (bpe or unigram)"),
        ("clip", "training.clip_norm?"),
        ("grad_clip", "training.clip_norm?"),
        ("optimizer", "training.learning_rate, training.betas or training.weight_decay? "
         "(the keys of the optimizer, which is always AdamW)"),
        # Ours, in a wrong table or in none.
        ("label_smoothing", "training.label_smoothing?"),
        ("model.label_smoothing", "training.label_smoothing?"),
        ("train", "data.train?"),
        ("precision", "training.precision or decoding.precision?"),
        ("data.d_model", "model.d_model?"),
        # Misspelt: ours, in its own table rather than in another, and another toolkit's.
        ("decoding.max_lenght", "decoding.max_length?"),
        ("data.max_lenght", "data.max_length?"),
        ("lerning_rate", "training.learning_rate?"),
        ("trainning", "training?"),
        ("epocs", "training.max_epochs?"),
        ("decoding.num_beamz", "decoding.beam_size?"),
    ],
)  # fmt: skip
def test_suggested_keys(word, meant):
    assert did_you_mean(word) == f"did you mean {meant}"


@pytest.mark.parametrize(
    "word",
    ["banana", "foo", "x", "", ".", "model.", "temperature", "top_k", "mixup", "momentum", "gamma", "device", "gpus",
     "num_workers", "output", "save_dir", "verbose", "tensorboard", "model.foo", "foo.bar", "ключ", "a" * 1000],
)  # fmt: skip
def test_a_word_unlike_any_key_gets_no_suggestion(word):
    assert did_you_mean(word) == SEE


def test_the_unit_of_a_key():
    assert did_you_mean("training.time_limit") == "did you mean training.time_budget? (in seconds)"


def test_set_suggests_a_key():
    with pytest.raises(UserError, match=r"unknown key batch_size; did you mean training\.batch_tokens") as caught:
        parse_set("batch_size=32")
    assert caught.value.code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("train --epochs 4", "did you mean --max-epochs? See `"),
        ("train --time-limit 45", "did you mean --time-budget (as in 45m)? See `"),
        ("train --lr 1e-3", "did you mean --set training.learning_rate=VALUE (its peak)? See `"),
        ("train --layers 2", "did you mean --set model.encoder_layers=VALUE (encoder and decoder have one key each)?"),
        ("train --dropout=0.2", "did you mean --set model.dropout=VALUE?"),
        ("translate RUN --lenpen 1", "did you mean --length-penalty?"),
        ("translate RUN --batch-size 8", "did you mean --batch-tokens (in padded source tokens, not in sentences)?"),
        ("eval RUN --beam 8", "did you mean --beam-size?"),
        ("eval RUN --lr 8", "see `"),
        ("translate RUN --banana", "see `"),
        ("--banana", "see `"),
        ("config --lr", "see `"),
    ],
)
def test_an_unknown_option(cli, words, mend):
    outcome = cli(*words.split())
    assert (outcome.code, outcome.out) == (ExitCode.USAGE, "")
    assert mend in outcome.err
    assert ("did you mean" in outcome.err) == ("did you mean" in mend)
    assert "--help`" in outcome.err
    assert outcome.err.count("\n") == 1
