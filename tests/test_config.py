"""The configuration: precedence of layers, errors, and writing and reading of TOML."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seq2seq.cli.layers import parse_set, training_layers
from seq2seq.config import (
    PRESETS,
    RunConfig,
    build,
    difference,
    known_keys,
    merge,
    parse_langs,
    parse_toml,
    read_toml,
    refuse_unused_keys,
    to_toml,
    values_by_key,
    values_in,
)
from seq2seq.errors import ExitCode, UserError

# DESIGN, "Names that scripts hold on to".
PROMISED_KEYS = [
    "data.vocab_size", "data.max_length", "model.d_model", "model.d_ff", "model.n_heads", "model.encoder_layers",
    "model.decoder_layers", "model.dropout", "model.attention", "model.positions", "training.batch_tokens",
    "training.learning_rate", "training.warmup_updates", "training.label_smoothing", "training.max_updates",
    "training.report_every", "training.valid_every", "training.save_every", "training.patience", "training.seed",
    "decoding.beam_size", "decoding.length_penalty",
]  # fmt: skip

# Preset -> encoder and decoder layers, d_model, d_ff, heads (Vaswani et al. 2017, table 3, for base and big).
SHAPES = {
    "tiny": (4, 4, 128, 256, 4),
    "small": (3, 3, 256, 1024, 4),
    "medium": (6, 6, 512, 1024, 4),
    "base": (6, 6, 512, 2048, 8),
    "big": (6, 6, 1024, 4096, 16),
    "deep": (12, 1, 512, 2048, 8),
}


def refusal_of(layer, where="recipe.toml") -> UserError:
    with pytest.raises(UserError) as caught:
        build(layer, where=where)
    return caught.value


def layers_of(recipe=None, sets=(), **flags):
    none = dict.fromkeys(["langs", "train", "valid", "preset", "seed", "strict"])
    none |= dict.fromkeys(["max_updates", "max_epochs", "time_budget"])
    return training_layers(recipe, **{**none, **flags}, sets=list(sets))


# Precedence of layers -----------------------------------------------------------------------------------


def test_each_layer_overrides_those_before_it(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('preset = "tiny"\n[training]\nseed = 2\nmax_updates = 22\nmax_epochs = 222\n[model]\nd_ff = 64\n')
    above = layers_of(recipe, seed=3, max_updates=33, sets=["training.seed=4"])
    config = build(merge([PRESETS["tiny"], *above]), where="all")
    assert config.training.seed == 4, "--set"
    assert config.training.max_updates == 33, "flags"
    assert config.training.max_epochs == 222, "file"
    assert config.model.d_ff == 64, "file"
    assert config.model.d_model == 128, "preset"
    assert config.model.n_heads == RunConfig().model.n_heads, "defaults"


@pytest.mark.parametrize("n", range(5))
def test_the_last_layer_wins_key_by_key(n):
    layers = [{"training": {"seed": i, f"key{i}": i}, "data": {"langs": str(i)}} for i in range(n + 1)]
    merged = merge(layers)
    assert merged["training"] == {"seed": n, **{f"key{i}": i for i in range(n + 1)}}
    assert merged["data"] == {"langs": str(n)}
    assert [layer["training"]["seed"] for layer in layers] == list(range(n + 1)), "merging changed a layer"


def test_unset_flags_override_nothing(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nlangs = "de-en"\ntrain = ["a", "b"]\nencoding_errors = "strict"\n[training]\nseed = 7\n')
    config = build(merge(layers_of(recipe, train=[])), where="all")
    assert (config.data.train, config.data.encoding_errors, config.training.seed) == (("a", "b"), "strict", 7)
    config = build(merge(layers_of(recipe, train=["c"], langs="fr-it")), where="all")
    assert (config.data.train, config.data.langs) == (("c",), "fr-it")


TOGETHER = [
    ("model.d_model=384", "model.n_heads=6"),
    ("decoding.beam_size=5", "decoding.n_best=5"),
    ("data.max_length=2000", "model.max_positions=2000", "model.positions=learned"),
]


@pytest.mark.parametrize("sets", TOGETHER)
def test_keys_that_depend_on_each_other_may_be_in_any_layer(tmp_path, sets):
    expected = build(merge(layers_of(sets=sets)), where="all")
    assert expected != RunConfig()
    for order in itertools.permutations(sets):
        for of_recipe in range(len(order) + 1):
            recipe = tmp_path / "recipe.toml"
            recipe.write_text("".join(f'{key} = {json.dumps(value) if value.isalpha() else value}\n'
                                      for key, _, value in (s.partition("=") for s in order[:of_recipe])))  # fmt: skip
            assert build(merge(layers_of(recipe, sets=order[of_recipe:])), where="all") == expected


def test_the_error_of_a_single_key_names_its_layer(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[model]\nn_heads = 3\n[training]\nseed = -1\n")
    with pytest.raises(UserError, match=f"{recipe}: training.seed = -1 is refused"):
        layers_of(recipe, sets=["model.n_heads=4"])
    with pytest.raises(UserError, match=r"--set model\.n_heads=0: model\.n_heads = 0 is refused"):
        layers_of(sets=["model.n_heads=0"])


def test_a_list_of_one_is_a_list():
    assert refusal_of({"data": {"train": "corpus"}}).mend == 'write a list, as in train = ["…", "…"]'


def test_the_configuration_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        RunConfig().model.d_model = 3


# Presets --------------------------------------------------------------------------------------------


def test_names_of_presets():
    assert list(PRESETS) == list(SHAPES)


@pytest.mark.parametrize("preset", PRESETS)
def test_preset(preset):
    config = build(PRESETS[preset], where=preset)
    model = config.model
    shape = (model.encoder_layers, model.decoder_layers, model.d_model, model.d_ff, model.n_heads)
    assert shape == SHAPES[preset]
    # What auto chooses can always be exported.
    assert (model.attention, model.positions, model.norm_order) == ("scaled_dot", "sinusoidal", "pre")


# Errors ------------------------------------------------------------------------------------


def test_documented_keys_exist():
    assert not set(PROMISED_KEYS) - set(known_keys())


@pytest.mark.parametrize("key", [key for key in known_keys() if key != "preset"])
def test_the_error_of_a_misspelt_key_suggests_the_nearest_one(key):
    table, _, name = key.rpartition(".")
    for wrong in (name[:-1] + name[-1] * 2, name[0] + name[2:]):
        layer = {wrong: 1}
        for outer in reversed(table.split(".")):
            layer = {outer: layer}
        error = refusal_of(layer)
        assert error.code == ExitCode.REFUSED
        assert error.what == f"recipe.toml: unknown key {table}.{wrong}"
        assert error.mend == f"did you mean {key}?"
        with pytest.raises(UserError, match=f"unknown key {table}.{wrong}; did you mean {key}") as caught:
            parse_set(f"{table}.{wrong}=1")
        assert caught.value.code == ExitCode.REFUSED


@pytest.mark.parametrize(
    ("key", "near"),
    [("modle", "model"), ("trainning", "training"), ("preste", "preset"), ("d_model", "model.d_model")],
)
def test_a_misspelt_table_or_a_key_outside_its_table(key, near):
    error = refusal_of({key: {"d_model": 1}})
    assert (error.what, error.mend) == (f"recipe.toml: unknown key {key}", f"did you mean {near}?")


WRONG_TYPES = [
    ("model.d_model", "256"), ("model.d_model", True), ("model.d_model", 256.0), ("model.d_model", [256]),
    ("model.dropout", "0.1"), ("model.dropout", True), ("model.tied_embeddings", 1), ("model.tied_embeddings", "yes"),
    ("data.train", "corpus"), ("data.train", [1]), ("data.langs", 3), ("training.seed", 1.5),
    ("data.encoding_errors", "ignore"),
    ("training.betas", 0.9), ("training.compile", "true"), ("training.max_updates", "none"), ("preset", 3),
    ("model", 3), ("training", ["seed"]), ("decoding.max_length", False),
]  # fmt: skip
OUT_OF_RANGE = [
    ("model.d_model", 0), ("model.n_heads", -1), ("model.dropout", 1.0), ("model.dropout", -0.1),
    ("model.dropout", math.nan), ("model.encoder_layers", 0), ("model.decoder_layers", 0), ("model.attention", "cos"),
    ("model.positions", "Rotary"), ("model.norm", ""), ("model.activation", "silu"), ("model.architecture", "lstm"),
    ("data.vocab_size", 299), ("data.max_length", 1), ("data.tokenizer_type", "word"), ("data.normalization", "nfd"),
    ("training.batch_tokens", 0), ("training.learning_rate", 0), ("training.learning_rate", math.inf),
    ("training.warmup_updates", -1), ("training.label_smoothing", 1.0), ("training.max_updates", 0),
    ("training.valid_every", 0), ("training.patience", -1), ("training.seed", -1), ("training.seed", 2**63),
    ("training.betas", [0.9]), ("training.betas", [0.9, 1.0]), ("training.betas", [0.9, 0.98, 0.99]),
    ("training.cooldown", 0), ("training.schedule", "cosine"), ("training.precision", "int8"),
    ("decoding.beam_size", 0), ("decoding.beam_size", 257), ("decoding.length_penalty", -0.1),
    ("decoding.stopping", "never"), ("data.train", ["corpus\udcff"]), ("data.tokenizer", "\udcff"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES + OUT_OF_RANGE)
def test_wrong_types_and_ranges_are_refused_in_one_line(key, value):
    table, _, name = key.partition(".")
    error = refusal_of({table: {name: value}} if name else {table: value})
    assert error.code == ExitCode.REFUSED
    assert error.what.startswith(f"recipe.toml: {key} = ")
    assert error.what.endswith(" is refused")
    assert error.mend
    assert not error.mend.startswith("value error")
    assert "\n" not in str(error)
    assert "pydantic" not in str(error)


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        ("model.norm", "layers", "did you mean layer? Choose layer or rms"),
        ("training.precision", "FP32", "did you mean fp32? Choose among auto, fp32, bf16, fp16"),
        ("training.precision", "x", "choose among auto, fp32, bf16, fp16"),
        ("training.max_updates", 0, "give a whole number, 1 or more"),
        ("training.max_updates", "ten", "give a whole number, 1 or more"),
        ("decoding.beam_size", 500, "give a whole number, 1 to 256"),
        ("training.compile", 1, "give true or false"),
        ("data.tokenizer", 3, "give text"),
    ],
)
def test_the_error_names_the_type_of_a_key(key, value, mend):
    table, _, name = key.partition(".")
    assert refusal_of({table: {name: value}}).mend == mend


def test_bounds_of_the_ranges_are_accepted():
    edges = {
        "data": {"vocab_size": 300, "max_length": 2},
        "model": {"dropout": 0.0},
        "training": {"seed": 2**63 - 1, "warmup_updates": 0, "learning_rate": 1, "cooldown": 1.0, "betas": [0, 0.5]},
        "decoding": {"beam_size": 256, "length_penalty": 0.0},
    }
    config = build(edges, where="edges")
    assert config.training.betas == (0, 0.5)
    assert config.decoding.alpha == 0.0


def test_a_long_value_is_cut_in_the_message():
    assert len(refusal_of({"model": {"d_model": "x" * 10_000}}).what) < 120


@pytest.mark.parametrize(
    ("model", "says", "mend"),
    [
        ({"d_model": 256, "n_heads": 3}, "d_model 256 is not divisible by model.n_heads 3", "divisors of 256"),
        ({"d_model": 12, "n_heads": 4, "positions": "rotary"}, "their width is 3", "even"),
        ({"d_model": 13, "n_heads": 1}, "even model.d_model, not 13", "even"),
    ],
)
def test_shapes_that_cannot_be_built(model, says, mend):
    error = refusal_of({"model": model})
    assert error.code == ExitCode.REFUSED
    assert says in error.what
    assert mend in error.mend


def test_odd_widths_that_can_be_built():
    assert build({"model": {"d_model": 13, "n_heads": 1, "positions": "none"}}, where="").model.d_model == 13
    assert build({"model": {"d_model": 12, "n_heads": 6, "positions": "rotary"}}, where="").model.n_heads == 6


def test_more_hypotheses_than_beams():
    error = refusal_of({"decoding": {"n_best": 5}})
    assert error.code == ExitCode.REFUSED
    assert "5 is more than decoding.beam_size 4" in error.what
    assert error.mend == "raise `decoding.beam_size` to 5"
    assert build({"decoding": {"n_best": 5, "beam_size": 5}}, where="").decoding.n_best == 5


# --set and --config ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "layer"),
    [
        ("model.d_model=256", {"model": {"d_model": 256}}),
        (" model.d_model = 256", {"model": {"d_model": 256}}),
        ("model.tied_embeddings=false", {"model": {"tied_embeddings": False}}),
        ("training.learning_rate=1e-3", {"training": {"learning_rate": 1e-3}}),
        ("training.betas=[0.9, 0.95]", {"training": {"betas": [0.9, 0.95]}}),
        ("data.train=['a', 'b']", {"data": {"train": ["a", "b"]}}),
        ("data.langs=de-en", {"data": {"langs": "de-en"}}),
        ("data.tokenizer=a=b", {"data": {"tokenizer": "a=b"}}),
        ('data.tokenizer="1"', {"data": {"tokenizer": "1"}}),
        ("data.tokenizer=", {"data": {"tokenizer": ""}}),
        ("preset=tiny", {"preset": "tiny"}),
        (f"data.tokenizer={'[' * 50_000}", {"data": {"tokenizer": "[" * 50_000}}),
        (f"data.tokenizer={'9' * 5000}", {"data": {"tokenizer": "9" * 5000}}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_set(assignment, layer):
    assert parse_set(assignment) == layer


@pytest.mark.parametrize("assignment", ["model.d_model", "", "=3", " = 3", "model=3"])
def test_invalid_assignments(assignment):
    with pytest.raises(UserError, match="is not an assignment; write --set table") as caught:
        parse_set(assignment)
    assert caught.value.code == ExitCode.USAGE


def test_errors_name_the_origin_of_the_value(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[model]\nd_model = 0\n")
    for call, where, code in (
        (lambda: layers_of(recipe), str(recipe), ExitCode.REFUSED),
        (lambda: layers_of(max_updates=0), "--max-updates", ExitCode.USAGE),
        (lambda: layers_of(sets=["training.seed=1", "model.d_ff=0"]), "--set model.d_ff=0", ExitCode.REFUSED),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.what.startswith(f"{where}: ")
        assert caught.value.code == code


def test_a_recipe_that_is_missing_or_not_toml(tmp_path):
    with pytest.raises(UserError, match="No such file") as caught:
        read_toml(tmp_path / "recipe.toml")
    assert caught.value.code == ExitCode.NO_INPUT
    with pytest.raises(UserError, match="Is a directory") as caught:
        read_toml(tmp_path)
    assert caught.value.code == ExitCode.NO_INPUT
    hostile = [b"x =", b"\xff", b"a = 1\na = 2", b"[model]\n[model]", b"a = " + b"[" * 50_000, b"a = " + b"9" * 5000]
    for data in hostile:
        with pytest.raises(UserError, match=r"f\.toml is not TOML") as caught:
            parse_toml(data, Path("f.toml"))
        assert caught.value.code == ExitCode.REFUSED
    assert parse_toml(b'\xef\xbb\xbfpreset = "tiny"\r\n', Path("f.toml")) == {"preset": "tiny"}


# config.toml ----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(database=None, deadline=None, max_examples=50)
@given(TEXT, st.lists(TEXT, max_size=3), st.floats(0, 0.99), st.integers(0, 2**63 - 1), st.none() | st.floats(0, 10))
@example("\"\"\"'''\\", ["\x01\x7f\x1b", "\r\n\n\r", "\u2028\x85\ufeff😀"], 5e-324, 2**63 - 1, 5e-324)
def test_a_written_configuration_is_read_unchanged(text, corpora, share, seed, penalty):
    config = RunConfig(
        preset="tiny",
        data=replace(RunConfig().data, langs="pt-BR:en", train=tuple(corpora), tokenizer=text or None),
        model=replace(RunConfig().model, dropout=share, tied_embeddings=False),
        training=replace(RunConfig().training, seed=seed, max_updates=None, valid_every=3, betas=(share, 0.5)),
        decoding=replace(RunConfig().decoding, length_penalty=penalty),
    )
    written = parse_toml(to_toml(config).encode(), Path("config.toml"))
    assert build(written, where="config.toml") == config
    applicable = {key: value for key, value in values_by_key(config).items() if ".rnn" not in key and ".cnn" not in key}
    assert values_in(written).keys() == {key for key, value in applicable.items() if value is not None}


@pytest.mark.parametrize("architecture", ["transformer", "rnn", "cnn"])
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_being_written(preset, architecture):
    wished = {"preset": preset, "model": {"architecture": architecture}}
    config = build(merge([PRESETS[preset], wished]), where=preset)
    written = parse_toml(to_toml(config).encode(), Path("config.toml"))
    refuse_unused_keys(written, config)  # a run's config.toml repeats the run
    # Keys that do not apply keep the values of the preset until they are written.
    again = build(written, where="config.toml")
    assert to_toml(again) == to_toml(config)
    assert again == config or architecture != "transformer"


ANCESTORS = [
    ("rnn", ["model.rnn.cell=gru", "model.d_model=64"], None),
    ("cnn", ["model.cnn.kernel_size=5", "model.max_positions=300"], None),
    ("rnn", ["model.n_heads=2"], "model.n_heads does not apply to model.architecture rnn"),
    ("rnn", ["model.cnn.kernel_size=5"], "model.cnn.kernel_size does not apply to model.architecture rnn"),
    (
        "cnn",
        ["model.rnn.cell=gru", "model.d_ff=9"],
        "model.rnn.cell, model.d_ff do not apply to model.architecture cnn",
    ),
    ("transformer", ["model.rnn.cell=lstm"], "model.rnn.cell does not apply to model.architecture transformer"),
    ("rnn", ["model.d_model=33"], "model.d_model 33 is odd, but half of it reads forward and half of it backward"),
    ("cnn", ["model.cnn.kernel_size=4"], "model.cnn.kernel_size 4 is even, so a convolution has no middle"),
    ("cnn", ["model.max_positions=100"], "model.max_positions 100 is less than data.max_length 256"),
    ("rnn", ["model.cnn.kernel_size=65"], "model.cnn.kernel_size = 65 is refused"),
]


@pytest.mark.parametrize(("architecture", "sets", "says"), ANCESTORS)
def test_keys_that_do_not_apply_to_an_architecture_are_refused(architecture, sets, says):
    """Those that a user sets; a preset may have them."""

    def requested() -> None:
        wished = merge([{"model": {"architecture": architecture}}, *map(parse_set, sets)])
        refuse_unused_keys(wished, build(merge([PRESETS["base"], wished]), where="recipe.toml"))

    if says is None:
        requested()
        return
    with pytest.raises(UserError) as caught:
        requested()
    assert caught.value.code == ExitCode.REFUSED
    assert says in caught.value.what


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_written_and_read_unchanged(preset):
    config = build(merge([PRESETS[preset], {"preset": preset}]), where=preset)
    assert build(parse_toml(to_toml(config).encode(), Path("config.toml")), where="config.toml") == config


def test_difference_names_each_key_that_differs():
    old = RunConfig()
    new = build({"model": {"d_ff": 64}, "training": {"max_updates": 5}, "data": {"train": ["a"]}}, where="new")
    assert difference(old, old) == []
    changes = [("data.train", (), ("a",)), ("model.d_ff", 1024, 64), ("training.max_updates", None, 5)]
    assert difference(old, new) == [f"{key}: {before} -> {after}" for key, before, after in changes]
    assert difference(new, old) == [f"{key}: {after} -> {before}" for key, before, after in changes]


# Languages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "langs"),
    [
        ("de-en", ("de", "en")), ("pt-BR:en", ("pt-BR", "en")), ("en:zh-Hant-TW", ("en", "zh-Hant-TW")),
        ("zh_Hans-en", ("zh_Hans", "en")), ("中文-日本語", ("中文", "日本語")), ("de:en", ("de", "en")),
    ],
)  # fmt: skip
def test_langs(text, langs):
    assert parse_langs(text) == langs


@pytest.mark.parametrize(
    "text",
    ["", "-", ":", "de", "de-", "-en", "de:", ":en", "de-en-fr", "pt-BR-en", "a:b:c", "de en", "de-e n", "de-en\n",
     "../x-en", "de-e/n", "de-\0", "de-de", "pt-BR:pt-BR"],
)  # fmt: skip
def test_malformed_langs(text):
    with pytest.raises(UserError, match=r"as in `data\.langs=de-en`") as caught:
        parse_langs(text)
    assert caught.value.code == ExitCode.USAGE


def test_one_language_twice():
    with pytest.raises(UserError, match=r"^`data\.langs=de-de` names the same language twice; "):
        parse_langs("de-de")
