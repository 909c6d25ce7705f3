"""The recipe of ``auto``: a function of the corpus, the kind of device and the user's settings."""

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from seq2seq.config import PRESETS, Layer, build, merge
from seq2seq.training.recipe import (
    ROWS,
    Recipe,
    Statistics,
    assumed_hours,
    assumed_speed,
    recipe,
    record_of,
    with_vocabulary,
)

KINDS = ["cpu", "gpu"]
SIZES = [2, 100, 500, 749, 750, 1000, 3000, 6853, 12_000, 29_000, 59_999, 60_000, 100_000, 399_999, 400_000, 799_999,
         800_000, 2_000_000, 4_500_000, 19_999_999, 20_000_000, 100_000_000]  # fmt: skip
DOCS = Path(__file__).parent.parent / "docs"


def of(n_pairs: int, kind: str = "cpu", **training: object) -> Recipe:
    return recipe(Statistics.guess(n_pairs), kind, {"training": training})


@pytest.mark.parametrize("kind", KINDS)
def test_the_larger_the_corpus_the_larger_the_model(kind):
    configs = [of(n, kind).config for n in SIZES]
    for values in (
        [c.model.d_model * (c.model.encoder_layers + c.model.decoder_layers) for c in configs if c.model.d_model > 128],
        [c.data.vocab_size for c in configs],
        [c.training.batch_tokens for c in configs if c.model.d_model > 128],
        [-c.model.dropout for c in configs if c.model.d_model > 128],
    ):
        assert values == sorted(values)
    assert configs[-1].model.d_model == {"cpu": 256, "gpu": 1024}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_training_time_grows_without_jumps(kind):
    """For a corpus that is a third larger, it grows by a third at least, and up to four times if the model grows."""
    sizes = [round(500 * (4 / 3) ** i) for i in range(41)]
    hours = [assumed_hours(of(n, kind), Statistics.guess(n), kind) for n in sizes]
    assert all(1 / 3 < after / before < 4 for before, after in pairwise(hours))
    assert all(h > 0.1 for n, h in zip(sizes, hours, strict=True) if n >= 60_000)


def test_small_corpora_get_thousands_of_updates_in_less_than_45_minutes():
    for n_pairs in range(500, 8000, 250):
        for tokens in (8, 14, 40, 200):  # words and captions, verses, paragraphs
            corpus = Statistics(n_pairs, tokens * n_pairs, tokens * n_pairs)
            found = recipe(corpus, "cpu", {})
            assert assumed_hours(found, corpus, "cpu") < 0.75
            updates = found.usual_epochs * corpus.n_tgt_tokens / found.config.training.batch_tokens
            assert updates * found.config.training.batch_tokens > 1e6 or updates > 2000


@pytest.mark.parametrize("kind", KINDS)
def test_training_time_does_not_jump_between_rows(kind):
    for row in ROWS[kind][1:]:
        sizes = [round(row.min_pairs * share) for share in (0.97, 0.98, 0.985, 0.99, 0.999)]
        sizes += [row.min_pairs - 1, row.min_pairs, row.min_pairs + 1]
        hours = [assumed_hours(of(n, kind), Statistics.guess(n), kind) for n in sizes]
        assert all(1 / 3 < after / before < 4 for before, after in pairwise(hours))
        names = {of(n, kind).name for n in sizes if n < row.min_pairs}
        assert len(names) == 1, "and none just below it"


@pytest.mark.parametrize("own", [{"preset": "tiny"}, {"training": {"batch_tokens": 25_000}}, {}], ids=str)
def test_few_pairs_are_not_read_thousands_of_times(own):
    for tokens in (1, 14, 40):
        corpus = Statistics(500, 500 * tokens, 500 * tokens)
        assert recipe(corpus, "cpu", own).usual_epochs <= 500


def test_an_epoch_has_at_least_one_update():
    """Also for few pairs: three updates are three epochs, not hundreds."""
    found = recipe(Statistics(1, 5, 5), "cpu", {"training": {"max_updates": 3}})
    assert found.config.n_forward_passes == 1


def test_a_time_budget_gives_at_most_the_usual_epochs():
    """These are too few for R-Drop with so many pairs; more time does not change that."""
    without = of(9000)
    assert without.config.n_forward_passes == 1
    assert of(9000, time_budget=1e6).name == without.name


@pytest.mark.parametrize("own", [{"preset": "base"}, {"preset": "big"}, {"model": {"d_model": 512}}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_large_model_of_the_user_gets_enough_epochs(own, kind):
    for n_pairs in (1000, 7000, 29_000, 59_999):
        corpus = Statistics.guess(n_pairs)
        found, plain = recipe(corpus, kind, own), recipe(corpus, kind, {})
        assert found.usual_epochs >= 0.6 * plain.usual_epochs
        assert found.usual_epochs * corpus.n_tgt_tokens / found.config.training.batch_tokens >= 250


@pytest.mark.parametrize("kind", KINDS)
def test_the_vocabulary_depends_only_on_the_pairs(kind):
    """So that it can be chosen before the corpus is tokenized."""
    for n_pairs in SIZES:
        guess = Statistics.guess(n_pairs)
        expected = of(n_pairs, kind).config.data
        for corpus in (guess, replace(guess, n_tgt_tokens=200 * n_pairs), replace(guess, n_src_tokens=n_pairs)):
            for budget in (1.0, 600.0, 1e6):
                assert recipe(corpus, kind, {"training": {"time_budget": budget}}).config.data == expected


def test_usual_passes_are_between_those_of_the_sizes_beside():
    epochs = [of(n, "gpu").usual_epochs for n in (400_000, 600_000, 1_000_000)]
    assert epochs[0] > epochs[1] > epochs[2]
    assert of(50_000_000, "gpu").usual_epochs == of(900_000_000, "gpu").usual_epochs
    assert of(1).usual_epochs >= 1


@pytest.mark.parametrize(
    ("length", "two_masks"),
    [
        ({"max_epochs": 24}, False),
        ({"max_epochs": 60}, True),
        ({"max_updates": 100}, False),
        ({"max_updates": 100_000}, True),
        ({"max_updates": 100_000, "max_epochs": 7}, False),
        ({"time_budget": 60.0}, False),
        ({"time_budget": 1e6}, True),
        ({}, True),
    ],
)
@pytest.mark.parametrize("n_pairs", [1000, 29_000, 40_000])
def test_few_epochs_use_no_r_drop(n_pairs, length, two_masks):
    usual, found = of(n_pairs), of(n_pairs, **length)
    assert found.config.n_forward_passes == (2 if two_masks else 1)
    factor = 1 if two_masks else 2
    assert found.config.training.batch_tokens == factor * usual.config.training.batch_tokens
    assert (found.config.model, found.config.data) == (usual.config.model, usual.config.data)
    assert found.name == usual.name + ("" if two_masks else "-one-mask")
    assert ("no R-Drop: " in found.reasons.regularization) == (not two_masks)


@pytest.mark.parametrize(
    ("own", "n_forward_passes", "factor"),
    [
        ({"training": {"r_drop": 3.0}}, 2, 1),
        ({"training": {"r_drop": 0.0}}, 1, 2),
        ({"model": {"dropout": 0.0}}, 1, 2),
    ],
)
@pytest.mark.parametrize("epochs", [2, 70])
def test_r_drop_of_the_user_counts(own, n_forward_passes, factor, epochs):
    usual = of(29_000)
    found = recipe(Statistics.guess(29_000), "cpu", merge([own, {"training": {"max_epochs": epochs}}]))
    assert found.config.n_forward_passes == n_forward_passes
    assert found.config.training.batch_tokens == factor * usual.config.training.batch_tokens
    assert found.config.training.r_drop == own.get("training", {}).get("r_drop", 0.0)


@pytest.mark.parametrize(
    ("n_pairs", "kind", "usual", "short"), [(2_000_000, "cpu", "small", "tiny"), (20_000_000, "gpu", "big", "small")]
)
def test_little_time_for_many_pairs_gets_a_smaller_model(n_pairs, kind, usual, short):
    assert of(n_pairs, kind).preset == of(n_pairs, kind, time_budget=1e9).preset == usual
    found = of(n_pairs, kind, time_budget=600.0)
    assert (found.preset, found.config.model.dropout) == (short, 0.1)
    assert found.name.endswith("-short")
    assert of(29_000, time_budget=1.0).preset == "tiny", "there is none smaller"


def test_a_preset_of_the_user_is_what_it_says():
    for name, preset in PRESETS.items():
        found = recipe(Statistics.guess(29_000), "cpu", {"preset": name})
        assert (found.name, found.preset) == (name, name)
        assert found.config.model == build(preset, where="here").model
        assert not any(vars(found.reasons).values())


def test_settings_of_the_user_override_the_recipe():
    own: Layer = {"model": {"d_model": 64}, "data": {"vocab_size": 777}, "training": {"learning_rate": 3e-4}}
    found = recipe(Statistics.guess(29_000), "cpu", own)
    assert found.config == replace(
        found.advised,
        model=replace(found.advised.model, d_model=64),
        data=replace(found.advised.data, vocab_size=777),
        training=replace(found.advised.training, learning_rate=3e-4),
    )


def test_a_vocabulary_for_many_characters():
    found = with_vocabulary(of(3000), 5000, "many characters")
    assert found.config.data.vocab_size == found.advised.data.vocab_size == 5000
    assert "character" in found.reasons.vocabulary
    own = recipe(Statistics.guess(3000), "cpu", {"data": {"vocab_size": 700}})
    assert with_vocabulary(own, 5000, "").config == own.config
    assert record_of(with_vocabulary(own, 5000, ""), own.config).changed == ["data.vocab_size"]


@pytest.mark.parametrize("kind", KINDS)
def test_speeds_are_positive_and_larger_on_a_gpu(kind):
    for row in ROWS[kind]:
        found = of(max(500, row.min_pairs), kind)
        corpus = Statistics.guess(max(500, row.min_pairs))
        assert 0 < assumed_speed(found.config, corpus, "cpu") < assumed_speed(found.config, corpus, "gpu")


# Name and hash --------------------------------------------------------------------------------------


def label(wished: Layer | None = None, n_pairs: int = 29_000, tokenizer: str = "") -> str:
    found = recipe(Statistics.guess(n_pairs), "cpu", wished or {})
    return str(record_of(found, found.config, tokenizer))


def hash_of(wished: Layer, tokenizer: str = "") -> str:
    found = recipe(Statistics.guess(29_000), "cpu", wished)
    return record_of(found, found.config, tokenizer).hash


def test_one_recipe_has_one_hash_whatever_the_text_the_seed_and_the_length():
    plain = label()
    assert plain.startswith("auto-30k (")
    for same in (
        {
            "data": {
                "langs": "fr-en",
                "train": ("elsewhere",),
                "valid": (),
                "encoding_errors": "strict",
                "alarms": "warn",
            }
        },
        {"training": {"seed": 9, "report_every": 7, "valid_every": 3, "micro_batch_tokens": 500, "patience": 3}},
        {"training": {"best_metric": "chrf", "precision": "bf16", "products": "onednn", "max_epochs": 50}},
        {"training": {"time_budget": 1e6}},
        {"decoding": {"beam_size": 9}},
    ):
        assert label(same) == plain
    assert label(n_pairs=29_500) == plain, "which gets other passes"


OTHERS: list[tuple[Layer, str, list[str]]] = [
    ({"model": {"dropout": 0.15}}, "", ["model.dropout"]),
    ({"data": {"leaks": "keep"}}, "", ["data.leaks"]),
    ({"training": {"ema_decay": 0.9}}, "", ["training.ema_decay"]),
    ({"model": {"dropout": 0.15, "norm": "rms"}}, "", ["model.dropout", "model.norm"]),
    ({}, "0123", ["data.tokenizer"]),
    ({"preset": "small"}, "", []),
]


@pytest.mark.parametrize(("wished", "tokenizer", "changed"), OTHERS, ids=str)
def test_a_change_is_another_hash_and_is_named(wished, tokenizer, changed):
    assert hash_of(wished, tokenizer) != hash_of({})
    text = label(wished, tokenizer=tokenizer)
    assert text.endswith(f", with your {' and '.join(changed)})" if changed else f"({hash_of(wished)})")


def test_all_others_differ_from_each_other():
    assert len({hash_of(wished, tokenizer) for wished, tokenizer, _ in OTHERS}) == len(OTHERS)


def test_many_changes_are_counted():
    many: Layer = {"model": {"dropout": 0.15, "norm": "rms"}, "data": {"leaks": "keep"}}
    assert label(many).endswith("with your 3 settings)")


def test_a_value_that_the_recipe_has_anyway_is_no_change():
    assert label({"model": {"dropout": of(29_000).config.model.dropout}}) == label()


def test_the_documented_table_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("make", DOCS / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert make.with_recipes(page) == page, "run python docs/make.py"
    assert page.count("\n| ") > 2 * len(make.PAIRS)


def test_training_time_of_long_sentences_does_not_jump():
    """Just below and above the number of pairs up to which a run takes 40 minutes at most."""
    hours = []
    for n_pairs in (7999, 8001):
        corpus = Statistics(n_pairs, 100 * n_pairs, 100 * n_pairs)
        hours.append(assumed_hours(recipe(corpus, "cpu", {}), corpus, "cpu"))
    assert hours[0] == pytest.approx(hours[1], rel=0.1)


def test_few_epochs_of_long_sentences_use_no_r_drop():
    """6,853 verses: in the same time, 38 epochs without R-Drop were far better than 19 with it."""
    assert recipe(Statistics(6853, 190_000, 224_000), "cpu", {}).config.n_forward_passes == 1
    assert recipe(Statistics(7000, 90_000, 98_000), "cpu", {}).config.n_forward_passes == 2, "captions"
