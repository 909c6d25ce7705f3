"""What is chosen and said before training, and which of several limits counts."""

from dataclasses import replace

import pytest
import torch

from seq2seq.config import PRESETS, Layer, RunConfig, build, merge
from seq2seq.corpus import IdsStore, write_ids_store
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.advice import (
    Advice,
    advise,
    complete,
    duration,
    expected_speed,
    explain_choice,
    explain_length,
    most_epochs,
    one_limit,
    with_masks_for,
)
from seq2seq.training.overlap import Overlap
from seq2seq.training.prepare import Prepared

SIZES = [100, 11_999, 12_000, 59_999, 60_000, 150_000, 400_000, 5_000_000, 50_000_000]
CPU = torch.device("cpu")


def chosen(advice: Advice, *layers: Layer) -> RunConfig:
    return build(merge([PRESETS[advice.preset], advice.layer, *layers]), where="here")


@pytest.fixture
def prepared(tmp_path):
    """A hundred pairs of 9 source and 19 target pieces; of a vocabulary, the size alone."""
    write_ids_store(tmp_path / "ids.arrow", [([4] * 9, [5] * 19)] * 100, vocab_size=500)
    ids = IdsStore(tmp_path / "ids.arrow")
    nothing = {"dropped_too_long": 0, "dropped_nothing_left": 0, "overlap": Overlap([], 0, 0, 0)}
    return Prepared(
        tokenizer=range(500),
        ids=ids,
        valid=[],
        corpora=[],
        n_tgt_tokens=2000,
        max_src_length=20,
        max_src_sentences=1,
        respelt_targets=0,
        **nothing,
    )


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_larger_the_corpus_the_larger_the_model(device):
    configs = [chosen(advise(n, device)) for n in SIZES]
    for values in (
        [c.model.d_model for c in configs],
        [c.data.vocab_size for c in configs],
        [c.training.batch_tokens for c in configs],
        [-c.model.dropout for c in configs if c.model.d_model == 256],
    ):
        assert values == sorted(values)
    assert configs[-1].model.d_model == {"cpu": 256, "cuda": 1024}[device]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("n", SIZES)
def test_four_lines_say_what_and_why(n, device):
    advice = advise(n, device)
    config = chosen(advice)
    model, vocabulary, dropout, batch = explain_choice(config, advice, n, config.data.vocab_size, device)
    assert f"{n:,} pairs on" in model
    assert f"preset {advice.preset}, {config.model.encoder_layers}+" in model
    assert f"{config.data.vocab_size:,} pieces" in vocabulary
    r_drop = f", R-Drop {config.training.r_drop:g}" if config.training.r_drop else ""
    assert dropout.startswith(f"dropout {config.model.dropout}{r_drop}, label smoothing ")
    assert f"{config.training.batch_tokens:,} target tokens an update" in batch
    assert all(": " in line for line in (model, vocabulary, dropout, batch)), "a reason for each"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_small_corpus_gets_a_narrow_model_and_two_masks(device):
    """What RESULTS.md shows for 29,000 pairs; not the preset's shape, whose feed-forward layer is narrower."""
    config = chosen(advise(29_000, device))
    assert (config.model.d_model, config.model.d_ff, config.model.dropout) == (128, 512, 0.2)
    assert (config.training.r_drop, config.training.learning_rate) == (5.0, 2e-3)
    assert "R-Drop 5" in explain_choice(config, advise(29_000, device), 29_000, 4000, device)[2]


def test_without_dropout_two_masks_would_be_the_same():
    two, one = ({"model": {"dropout": share}, "training": {"r_drop": 5.0}} for share in (0.1, 0.0))
    assert (build(two, where="here").n_masks, build(one, where="here").n_masks, RunConfig().n_masks) == (2, 1, 1)
    assert most_epochs(build(two, where="here")) > most_epochs(build(one, where="here")) == most_epochs(RunConfig())


@pytest.mark.parametrize(
    ("length", "kept"),
    [
        ({"time_budget": 199.0}, False),  # at 200 target tokens a second of the 2,000 in a pass
        ({"time_budget": 200.0}, True),
        ({"max_epochs": 19}, False),
        ({"max_epochs": 20}, True),
        ({"max_updates": 59}, False),  # 3 make a pass
        ({"max_updates": 60}, True),
        ({"max_updates": 60, "max_epochs": 7}, False),
        ({}, True),
    ],
)
def test_few_passes_are_made_under_one_mask(prepared, monkeypatch, length, kept):
    monkeypatch.setattr("seq2seq.training.advice.expected_speed", lambda *_: 200.0)
    advice = advise(29_000, "cpu")
    config = chosen(advice, {"training": length})
    found = with_masks_for(advice, {"training": length}, config, prepared, 3, CPU)
    assert (found == advice) == kept
    one_mask = chosen(found, {"training": length})
    assert one_mask.n_masks == (2 if kept else 1)
    assert one_mask.training.batch_tokens == (1024 if kept else 2048)
    assert (one_mask.model, one_mask.data) == (config.model, config.data)
    reason = explain_choice(one_mask, found, 29_000, 4000, "cpu")[2]
    assert reason.endswith("knows less by heart" if kept else "R-Drop would need 20 passes or more")


def test_a_large_corpus_is_read_under_one_mask(prepared):
    """In the time that a default run takes: what would be 20 passes under two masks, and 40 under one."""
    advice = advise(50_000, "cpu")
    for n_tgt_tokens, kept in ((0.7e6, True), (0.9e6, False)):
        corpus = replace(prepared, n_tgt_tokens=int(n_tgt_tokens))
        assert (with_masks_for(advice, {}, chosen(advice), corpus, 900, CPU) == advice) == kept


@pytest.mark.parametrize(
    ("own", "batch_tokens"),
    [
        ({"training": {"r_drop": 3.0}}, 1024),
        ({"training": {"r_drop": 0.0}}, 2048),
        ({"model": {"dropout": 0.0}}, 2048),
        ({"training": {"batch_tokens": 777}}, 777),
    ],
)
@pytest.mark.parametrize("epochs", [2, 30])
def test_what_the_user_says_of_masks_counts(prepared, own, batch_tokens, epochs):
    given = merge([own, {"training": {"max_epochs": epochs}}])
    advice = advise(29_000, "cpu")
    before = chosen(advice, given)
    after = chosen(with_masks_for(advice, given, before, prepared, 3, CPU), given)
    assert after.training.batch_tokens == batch_tokens
    two_masks = before.n_masks == 2 and (epochs == 30 or "r_drop" in own["training"])
    assert (after.n_masks, after.model) == (2 if two_masks else 1, before.model)
    for other in (Advice("tiny"), advise(5000, "cpu")):
        assert with_masks_for(other, given, chosen(other, given), prepared, 3, CPU) == other


def test_what_the_user_chose_has_no_reason_of_ours():
    advice = advise(20_000, "cpu")
    own: Layer = {"data": {"vocab_size": 999, "subword_sampling": 0.3}, "training": {"batch_tokens": 777}}
    _, vocabulary, dropout, batch = explain_choice(chosen(advice, own), advice, 20_000, 999, "cpu")
    assert vocabulary == "vocabulary of 999 pieces"
    assert ": " not in batch
    assert "subword sampling 0.3" in dropout
    shape: Layer = {"model": {"d_model": 512, "dropout": 0.0}, "data": {"tokenizer": "my.model"}}
    model, vocabulary, dropout, _ = explain_choice(chosen(advice, shape), advice, 20_000, 4000, "cpu")
    assert model.endswith("cores: 4+4 layers of width 512"), "which preset tiny does not have"
    assert (vocabulary, dropout) == ("tokenizer my.model", "dropout 0.0, label smoothing 0.1")
    plain = explain_choice(chosen(Advice("base")), Advice("base"), 20_000, 8000, "cpu")
    assert not any(": " in line for line in plain[1:])
    assert plain[0].endswith("preset base, 6+6 layers of width 512")


def test_the_fifth_line_is_the_length(prepared, monkeypatch):
    config = replace(RunConfig(), training=replace(RunConfig().training, max_epochs=7))
    line = explain_length(complete(config, "tiny", 2000, 3, "cpu"), prepared, 3, CPU)
    assert line.startswith("7 passes over 2,000 target tokens: 21 updates, about ")
    timed = replace(RunConfig(), training=replace(RunConfig().training, time_budget=2700.0))
    monkeypatch.setattr("seq2seq.training.advice.expected_speed", lambda *_: 10.0)
    line = explain_length(complete(timed, "tiny", 2000, 3, "cpu"), prepared, 3, CPU)
    assert line.startswith("45 min in all: about 14 passes over 2,000 target tokens")
    monkeypatch.setattr("seq2seq.training.advice.expected_speed", lambda *_: 100.0)
    line = explain_length(complete(timed, "tiny", 2000, 3, "cpu"), prepared, 3, CPU)
    assert line.startswith(
        f"{most_epochs(timed)} passes over 2,000 target tokens, as more would only overfit: about 13 min of"
    )


def test_the_expected_speed_follows_the_arithmetic(prepared, monkeypatch):
    """Model R costs 44.5 MFLOP a target token where a source is as long as its target."""
    config = RunConfig()
    assert 100 < expected_speed(config, prepared, CPU) < 1e7
    monkeypatch.setattr("seq2seq.training.advice._matmul_rate", lambda *_: 200e9)
    even = replace(prepared, tokenizer=range(8000), n_tgt_tokens=1000)
    assert expected_speed(config, even, CPU) == pytest.approx(0.4 * 200e9 / 44.5e6, rel=0.05)
    two_masks = replace(config, training=replace(config.training, r_drop=1.0))
    assert expected_speed(two_masks, even, CPU) == pytest.approx(expected_speed(config, even, CPU) / 2)
    wide = replace(config, model=replace(config.model, d_model=512, d_ff=2048))
    assert 2 < expected_speed(config, even, CPU) / expected_speed(wide, even, CPU) < 4


def test_with_a_time_budget_the_length_stays_open():
    timed = replace(RunConfig(), training=replace(RunConfig().training, time_budget=60.0))
    assert complete(timed, "tiny", 2000, 3, "cpu") == timed
    settled = replace(timed, training=replace(timed.training, max_updates=9))
    assert complete(settled, "tiny", 2000, 3, "cpu").training.valid_every == 9


TIME: Layer = {"training": {"time_budget": 60.0}}
UPDATES: Layer = {"training": {"max_updates": 5}}
EPOCHS: Layer = {"training": {"max_epochs": 2}}
SEED: Layer = {"training": {"seed": 3}, "model": {"d_model": 64}}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([TIME], (None, None, 60.0)),
        ([UPDATES, EPOCHS], (5, 2, None)),
        ([UPDATES, TIME], (None, None, 60.0)),
        ([EPOCHS, SEED, TIME], (None, None, 60.0)),
        ([TIME, UPDATES], (5, None, None)),
        ([TIME, SEED, EPOCHS], (None, 2, None)),
        ([UPDATES, TIME, EPOCHS], (5, 2, None)),
        ([], (None, None, None)),
    ],
)
def test_of_time_and_updates_the_higher_layer_counts(layers, expected):
    config = build(merge(one_limit(layers)), where="here")
    assert (config.training.max_updates, config.training.max_epochs, config.training.time_budget) == expected
    if SEED in layers:
        assert (config.training.seed, config.model.d_model) == (3, 64)


def test_time_and_updates_in_one_breath_are_refused():
    with pytest.raises(UserError, match="a time budget sets the number of updates") as caught:
        one_limit([SEED, {"training": {"time_budget": 60.0, "max_epochs": 2}}])
    assert caught.value.code == ExitCode.USAGE


def test_durations_are_said_as_people_say_them():
    assert [duration(s) for s in (45, 91, 2700, 5399, 5400, 12_600)] == [
        "45 s", "2 min", "45 min", "90 min", "1.5 h", "3.5 h",
    ]  # fmt: skip
