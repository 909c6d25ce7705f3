"""``seq2seq config``: every key with its type, default and meaning."""

import json

import pytest

from seq2seq.cli.layers import parse_set
from seq2seq.config import PRESETS, TABLES, RunConfig, build, described_keys, known_keys, values_by_key
from seq2seq.errors import ExitCode


def values() -> dict[str, object]:
    """Every key with its default."""
    return values_by_key(RunConfig())


def test_every_key_has_a_meaning():
    keys = described_keys()
    assert [key.name for key in keys] == known_keys()
    for key in keys:
        assert len(key.meaning) > 20, key.name
        assert key.meaning.isascii(), "a terminal may have no other characters"
        assert key.meaning.endswith((".", ")")), key.name
        assert "``" not in key.meaning


def test_defaults_are_those_of_the_tables():
    for key in described_keys():
        default = values()[key.name]
        assert key.default == (list(default) if isinstance(default, tuple) else default), key.name


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("preset", " or ".join(", ".join(["auto", *PRESETS]).rsplit(", ", 1))),
        ("data.train", "list, each: text"),
        ("data.tokenizer", "text"),
        ("data.normalization", "nfc, nfkc or identity"),
        ("data.vocab_size", "whole number, 300 or more"),
        ("data.subword_sampling", "number, 0 to 1"),
        ("model.dropout", "number, 0 or more, less than 1"),
        ("model.architecture", "transformer, rnn or cnn"),
        ("model.tied_embeddings", "true or false"),
        ("training.learning_rate", "number, more than 0"),
        ("training.cooldown", "number, more than 0, 1 or less"),
        ("training.betas", "list of 2, each: number, 0 or more, less than 1"),
        ("training.best_metric", "bleu, chrf or loss"),
        ("training.time_budget", "number, more than 0"),
        ("training.seed", "whole number, 0 or more"),
        ("decoding.beam_size", "whole number, 1 to 256"),
    ],
)
def test_types_in_words(key, words):
    assert next(k.type for k in described_keys() if k.name == key) == words


@pytest.mark.parametrize("columns", [80, 200, 40])
def test_text(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = cli("config")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    text = " ".join(outcome.out.split())
    for key in described_keys():
        assert f"{key.name} = {'unset' if key.default is None else json.dumps(key.default)} ({key.type})" in text
        assert key.meaning in text
    assert [line[1:].partition("]")[0] for line in lines if line.startswith("[")] == list(TABLES)


def test_listed_values_can_be_set(cli):
    """As it is printed: a key, ``=`` and a value in TOML."""
    heads = [line.strip() for line in cli("config").out.splitlines() if line.startswith("  ") and line[2] != " "]
    assignments = [head.partition(" (")[0] for head in heads if " = unset" not in head]
    assert len(assignments) > 40
    for assignment in assignments:
        assert build(parse_set(assignment), where="") == RunConfig(), assignment


LISTED = [
    (["model"], [key for key in known_keys() if key.startswith("model.")]),
    (["dropout"], ["model.dropout"]),
    (["model.dropout"], ["model.dropout"]),
    (["model.norm"], ["model.norm"]),
    (["norm"], ["data.normalization", "model.norm_order", "model.norm", "training.clip_norm"]),
    (["layers"], ["model.encoder_layers", "model.decoder_layers"]),
    (["layers", "seed"], ["model.encoder_layers", "model.decoder_layers", "training.seed"]),
    (["lr"], ["training.learning_rate"]),
    (["batch-size"], ["training.batch_tokens"]),
    (["Precision"], ["training.precision", "decoding.precision"]),
    (["preset"], ["preset"]),
    (["decoding.b"], ["decoding.beam_size", "decoding.batch_tokens"]),
]


@pytest.mark.parametrize(("words", "keys"), LISTED, ids=lambda value: " ".join(value))
def test_words_select_keys(cli, words, keys):
    outcome = cli("config", "--json", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert [key["name"] for key in json.loads(outcome.out)["keys"]] == keys


def test_json_describes_each_key(cli):
    (key,) = json.loads(cli("config", "training.betas", "--json").out)["keys"]
    assert key.keys() == {"name", "type", "choices", "default", "meaning"}
    assert key["default"] == [0.9, 0.98]


@pytest.mark.parametrize("preset", PRESETS)
def test_values_of_a_preset(cli, preset):
    found = json.loads(cli("config", "--preset", preset, "--json").out)["keys"]
    values = values_by_key(build(PRESETS[preset] | {"preset": preset}, where=preset))
    for key in found:
        assert key["default"] == json.loads(json.dumps(values[key["name"]])), key["name"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["drpout"], "no configuration key is named drpout; did you mean model.dropout?"),
        (["banana"], "no configuration key is named banana; see `seq2seq config`, which lists every key"),
        (["model", "banana"], "banana"),
        (["modle"], "did you mean model?"),
        (["model.banana"], "model.banana"),
        (["RUN"], "the configuration of a run is in RUN/config.toml"),
        (
            ["--preset", "tin"],
            "unknown preset 'tin'; did you mean tiny? Choose among tiny, small, medium, base, big, deep",
        ),
    ],
)
def test_unknown_words_are_refused(cli, tmp_path, monkeypatch, words, says):
    (tmp_path / "RUN").mkdir()
    (tmp_path / "RUN" / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    outcome = cli("config", *words)
    assert (outcome.code, outcome.out) == (ExitCode.USAGE, "")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
