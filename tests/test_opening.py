"""The lines that are shown before training."""

import pytest

from seq2seq.config import Layer, RunConfig
from seq2seq.training.length import resolve_length
from seq2seq.training.opening import length_lines, opening_lines
from seq2seq.training.recipe import Recipe, Statistics, assumed_speed, recipe


def lines_of(n_pairs: int, wished: Layer | None = None, kind: str = "cpu", device: str | None = None) -> list[str]:
    corpus = Statistics.guess(n_pairs)
    found = recipe(corpus, kind, wished or {})
    device = device or {"cpu": "cpu", "gpu": "cuda"}[kind]
    return opening_lines(found, "NAME (HASH)", found.config, n_pairs, found.config.data.vocab_size, device)


def length_of(n_pairs: int, kind: str = "cpu", **training: object) -> list[str]:
    corpus = Statistics.guess(n_pairs)
    preset = training.pop("preset", "auto")
    found: Recipe = recipe(corpus, kind, {"preset": preset, "training": training})
    an_epoch = corpus.n_tgt_tokens // found.config.training.batch_tokens
    config: RunConfig = resolve_length(found.config, found.usual_epochs, an_epoch)
    usual = recipe(corpus, kind, {})
    device = {"cpu": "cpu", "gpu": "cuda"}[kind]

    def seconds_an_epoch(config: RunConfig) -> float:
        return corpus.n_tgt_tokens / assumed_speed(config, corpus, kind)

    notices = list(length_lines(found, usual, config, an_epoch, seconds_an_epoch, device))
    assert [notice.warning for notice in notices] == [False, True][: len(notices)]
    return [notice.text for notice in notices]


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("n_pairs", [100, 29_000, 150_000, 2_000_000, 50_000_000])
def test_four_lines_state_choices_and_reasons(n_pairs, kind):
    found = recipe(Statistics.guess(n_pairs), kind, {})
    first, model, vocabulary, regularization = lines_of(n_pairs, kind=kind)
    assert first.startswith(f"{n_pairs:,} pairs on ")
    assert first.endswith(": recipe NAME (HASH)")
    sizes = " with d_ff 512" if n_pairs < 60_000 else ""
    assert model.startswith(f"model: preset {found.preset}{sizes}, {found.config.model.encoder_layers} encoder and ")
    assert f"{found.config.data.vocab_size:,} pieces" in vocabulary
    r_drop = f", R-Drop {found.config.training.r_drop:g}" if found.config.training.r_drop else ""
    assert f"dropout {found.config.model.dropout:g}{r_drop}, label smoothing 0.1" in regularization
    assert all(line.endswith(")") for line in (model, vocabulary, regularization)), "a reason for each"


def test_a_choice_of_the_user_has_no_reason():
    own: Layer = {"data": {"vocab_size": 999, "subword_sampling": 0.3}, "model": {"dropout": 0.25}}
    _, model, vocabulary, regularization = lines_of(29_000, own)
    assert model.endswith(")")
    assert vocabulary == "vocabulary: 999 pieces"
    assert regularization.endswith("dropout 0.25, R-Drop 5, label smoothing 0.1, subword sampling 0.3")
    shape: Layer = {"model": {"d_model": 512}, "data": {"tokenizer": "my.model"}}
    _, model, vocabulary, _ = lines_of(29_000, shape)
    assert model == "model: 4 encoder and 4 decoder layers of width 512", "which preset tiny does not have"
    assert vocabulary == "tokenizer my.model"
    assert not any("(" in line for line in lines_of(29_000, {"preset": "base"})[1:])


def test_one_core_and_one_pair(monkeypatch):
    monkeypatch.setattr("seq2seq.training.opening.cores", lambda: 1)
    assert lines_of(1)[0].startswith("1 pair on 1 CPU core: ")


def test_the_fifth_line_is_the_length():
    (line,) = length_of(29_000, max_epochs=30)
    assert line.startswith("training: about 1.7 h here: 30 epochs, 16,980 updates of 1,024 target tokens; ")
    assert line.endswith("; learning rate 0.002, falling to zero over the last 50% of the updates")
    (line,) = length_of(29_000, time_budget=1e6)
    assert line.startswith("training: about 2.4 h here: 43 epochs, as many updates as there is time for")


def test_a_budget_far_below_the_usual_is_reported():
    _, warning = length_of(29_000, time_budget=360.0)
    assert warning.startswith("6 min: about ")
    assert "a corpus of this size usually gets 43, about 2.4 h here." in warning
    assert warning.endswith("Expect rough translations.")
    _, warning = length_of(2_000_000, time_budget=360.0)
    assert warning.startswith("6 min: about 0.04 epochs; ")
    assert len(length_of(29_000, max_updates=10)) == 1, "which the user has counted"
    assert len(length_of(29_000, time_budget=3600.0)) == 1


def test_millions_of_pairs_on_a_cpu_get_advice():
    _, warning = length_of(2_000_000)
    assert warning.startswith("about 16.0 h on this CPU. To shorten it use a GPU ")
    assert "`training.time_budget=28800`" in warning
    (line,) = length_of(2_000_000, time_budget=10 * 3600.0)
    assert line.startswith("training: about "), "whoever gave a budget knows"
    (line,) = length_of(29_000, preset="base", time_budget=10 * 3600.0)
    assert line.startswith("training: about 10.0 h here: "), "whoever gave a budget knows"
    (_, warning) = length_of(2_000_000, preset="big")
    assert "leave `preset` out" in warning
    assert len(length_of(2_000_000, kind="gpu")) == 1
