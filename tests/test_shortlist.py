"""Shortlists: the allowed pieces of a sentence depend only on the sentence."""

import pytest
import torch
from reversal import reversal_lines
from torch import Tensor

from seq2seq.config import DecodingConfig, ModelConfig
from seq2seq.decoding import SourceBatch, search
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import Decoder, Shortlist, build_decoder, build_model, padding_mask
from seq2seq.model.shortlist import ShortlistDecoder
from seq2seq.model.transformer.decoder import TransformerDecoder
from seq2seq.runs import SHORTLIST, read_manifest
from seq2seq.tokenizer import EOS, PAD
from seq2seq.translation import Translator

V = 100
LINES = reversal_lines(60, seed=21)


def table(rows: dict[int, list[int]]) -> Tensor:
    """A table with candidates for some pieces only."""
    candidates = torch.full((V, 3), EOS, dtype=torch.int32)
    for piece, translations in rows.items():
        candidates[piece, : len(translations)] = torch.tensor(translations, dtype=torch.int32)
    return candidates


ROWS = {10: [50, 51, 52], 11: [60], 12: [50, 70]}
FREQUENT = torch.tensor([90, 91, EOS], dtype=torch.int32)


def test_the_pieces_that_each_sentence_allows():
    src = torch.tensor([[10, 11, EOS], [12, EOS, PAD]])
    pieces, allowed = Shortlist(table(ROWS), FREQUENT, 2).lookup(src, 1)
    everybody = [0, 1, 2, 3, 90, 91]
    assert sorted(pieces[allowed[0]].tolist()) == sorted([*everybody, 50, 51, 60])
    assert sorted(pieces[allowed[1]].tolist()) == sorted([*everybody, 50, 70])
    assert pieces.tolist() == sorted(pieces.tolist())


def test_a_piece_of_no_training_source_is_its_own_candidate():
    pieces, allowed = Shortlist(table(ROWS), FREQUENT, 2).lookup(torch.tensor([[33, EOS]]), 1)
    assert 33 in pieces[allowed[0]].tolist()


def test_padding_columns_are_not_allowed():
    pieces, allowed = Shortlist(table(ROWS), FREQUENT, 3).lookup(torch.tensor([[10, EOS]]), 64)
    assert pieces.shape == (64,)
    assert allowed.sum() == 9
    assert not allowed[:, 9:].any()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    shape = {"d_model": 16, "d_ff": 32, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}
    built = build_model(ModelConfig(tied_embeddings=False, **shape), V)
    with torch.no_grad():
        built.output.weight.mul_(3)
        built.output.bias[EOS] += 1
    return built.eval()


SOURCES = [[10, 11, 12, 10, EOS], [11, EOS], [12, 12, 10, EOS], [10, 33, EOS], [12, EOS], [11, 12, EOS]]


def ask(decoder: Decoder, sources: list[list[int]], beam_size: int) -> list[list[int]]:
    rows = [torch.tensor(row) for row in sources]
    src = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    config = DecodingConfig(beam_size=beam_size)
    with torch.inference_mode():
        batches = [SourceBatch(src, padding_mask(src, PAD), [12] * len(sources), range(len(sources)))]
        found = dict(search(decoder, batches, config))
    return [found[i][0].tokens for i in range(len(sources))]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_only_allowed_pieces_are_output_in_any_batch(model, beam_size):
    shortlist = Shortlist(table(ROWS), FREQUENT, 2)
    decoder = build_decoder(model, shortlist)
    together = ask(decoder, SOURCES, beam_size)
    assert together == [ask(decoder, [source], beam_size)[0] for source in SOURCES]
    for source, tokens in zip(SOURCES, together, strict=True):
        pieces, allowed = shortlist.lookup(torch.tensor([source]), 1)
        assert set(tokens) <= set(pieces[allowed[0]].tolist())
    assert together != ask(build_decoder(model), SOURCES, beam_size)
    assert together == ask(ShortlistDecoder(TransformerDecoder(model), shortlist), SOURCES, beam_size)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_shortlist_of_all_pieces_changes_nothing(model, beam_size):
    everything = Shortlist(table({}), torch.arange(4, V, dtype=torch.int32), 1)
    without = ask(build_decoder(model), SOURCES, beam_size)
    assert ask(build_decoder(model, everything), SOURCES, beam_size) == without
    assert ask(ShortlistDecoder(TransformerDecoder(model), everything), SOURCES, beam_size) == without


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_trained_model_still_translates(reverser_with_shortlist, beam_size):
    translator = Translator.load(reverser_with_shortlist, decoding={"shortlist": 8, "beam_size": beam_size})
    assert sum(a == b[::-1] for a, b in zip(translator.translate(LINES), LINES, strict=True)) > 0.9 * len(LINES)


def test_a_run_without_a_table_is_refused(reverser):
    with pytest.raises(UserError, match=r"holds no shortlist\.safetensors") as caught:
        Translator.load(reverser, decoding={"shortlist": 8})
    assert caught.value.code == ExitCode.REFUSED
    assert "with `train decoding.shortlist=N` to learn it, or give `decoding.shortlist=0`" in caught.value.mend


def test_a_finished_run_learns_the_table_when_it_is_requested(reverser, reverser_with_shortlist):
    """With the same weights and length penalty; then the run's translations use the table."""
    before, after = read_manifest(reverser), read_manifest(reverser_with_shortlist)
    assert before.files.keys() | {SHORTLIST} == after.files.keys()
    same = (before.weights, "tokenizer.model")
    assert [before.files[name] for name in same] == [after.files[name] for name in same]
    assert before.length_penalty == after.length_penalty
    assert Translator.load(reverser_with_shortlist).config.shortlist == 8
    without = {"shortlist": 0}
    assert Translator.load(reverser_with_shortlist, decoding=without).translate(LINES) == Translator.load(
        reverser
    ).translate(LINES)
