"""The benchmark of a GPU: its dry run on a CPU, its report, and its prototypes against the program."""

import importlib
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seq2seq.batching import collate
from seq2seq.config import DecodingConfig, ModelConfig, RunConfig, TrainingConfig
from seq2seq.model import build_decoder, build_model, padding_mask
from seq2seq.tokenizer import BOS, EOS, N_CONTROL, PAD
from seq2seq.training.loader import TokenizedPairs
from seq2seq.training.pass_input import PassInput
from seq2seq.training.step import TrainStep
from seq2seq.translation.batches import SearchJob, search_batches

CPU = torch.device("cpu")
SHAPE = ModelConfig(d_model=32, d_ff=64, n_heads=4, encoder_layers=2, decoder_layers=2, dropout=0.0)
VOCABULARY = 64


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "benchmarks"))


def part(name):
    return importlib.import_module(f"gpu.{name}")


def random_sentences(n, longest, seed):
    random = np.random.default_rng(seed)
    return [random.integers(8, VOCABULARY, length).tolist() for length in random.integers(1, longest, n)]


def random_pairs(n, longest=12, seed=0):
    return TokenizedPairs(random_sentences(n, longest, seed), random_sentences(n, longest, seed + 1))


# The report -----------------------------------------------------------------------------------------


def tables_of(printed):
    """The tables of the document at the end: rows as dictionaries, by heading."""
    found = {}
    for block in printed.split(" to paste ")[1].split("### ")[1:]:
        title, *lines = [line for line in block.splitlines() if line]
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
        found[title] = [dict(zip(head, row, strict=True)) for row in rows]
    return found


def test_the_dry_run_measures_everything_and_prototypes_agree_with_the_program(capsys):
    assert importlib.import_module("gpu_speed").main(["--dry-run", "--seconds", "250"]) == 0
    printed = capsys.readouterr().out
    assert not [word for word in ("FAILED", "SKIPPED", "CUT OFF") if word in printed]
    tables = tables_of(printed)
    assert len(tables) == 10
    assert {row["weights that differ"] for row in tables["The same updates twice"]} == {"0"}
    for preset in ("small", "base"):
        present, *ways, dealing = tables[f"Training, {preset}: what could be built"]
        assert present["an update"] == "the program as it is"
        assert dealing["an update"].startswith("to deal")
        assert len(ways) == 9
        assert max(float(row["gradient is off by"]) for row in ways) < 1e-5
        assert {row["weights that differ if repeated"] for row in ways} == {"0"}
    searches = tables["Searching: what could be built"]
    assert len(searches) == 14
    assert {row["same translation"] for row in searches} == {"100.0%"}
    assert {row["same in fp32"] for row in searches} == {"8 of 8"}
    assert max(float(row["score is off by"]) for row in searches if row["score is off by"] != "–") < 1e-5


def made_up_sections(monkeypatch, **functions):
    """Sections of functions, as if they were in a file of the benchmark."""
    report = part("report")
    module = part("kernels")
    for name, function in functions.items():
        monkeypatch.setattr(module, name, function, raising=False)
    return [report.Section(name, f"kernels.{name}") for name in functions]


def run_sections(sections, limit=60.0):
    return part("report").Report(CPU, dry=True, limit=limit).run(sections)


def shows(title):
    def section(report):
        report.row(report.table(title, "what", "value", note="A note."), "one", 1234)

    return section


def test_a_section_that_fails_does_not_stop_the_next_one(monkeypatch, capsys):
    def second(report):
        table = report.table("Second", "what", "value", note="A note.")
        report.row(table, "before", 1)
        with report.guarded("a part", table):
            raise torch.OutOfMemoryError("no room\nand more")
        report.row(table, "after", 2)
        raise ValueError("broken")

    sections = made_up_sections(monkeypatch, first=shows("First"), second=second, third=shows("Third"))
    assert run_sections(sections) == 1
    printed = capsys.readouterr().out
    assert list(tables_of(printed)) == ["First", "Second", "Third"]
    assert [row["what"] for row in tables_of(printed)["Second"]] == ["before", "a part", "after"]
    assert "second FAILED: ValueError: broken (" in printed
    assert "a part FAILED: OutOfMemoryError: no room (" in printed
    assert "and more" not in printed
    before_the_end = printed.split(" to paste ")[0]
    assert before_the_end.index("### First") < before_the_end.index("== second")


def test_without_failures_the_exit_code_is_0(monkeypatch, capsys):
    assert run_sections(made_up_sections(monkeypatch, first=shows("First"))) == 0
    assert "| one | 1,234 |" in capsys.readouterr().out


def test_a_section_for_which_the_time_is_too_short_is_skipped_and_named(monkeypatch, capsys):
    first, second = made_up_sections(monkeypatch, first=shows("First"), second=shows("Second"))
    assert run_sections([replace(first, needs=100.0), second], limit=50.0) == 0
    printed = capsys.readouterr().out
    assert list(tables_of(printed)) == ["Second"]
    assert "- first: SKIPPED, 50 s are left and it needs 100" in printed.split(" to paste ")[1]


def test_a_section_is_cut_off_when_its_time_is_over(monkeypatch, capsys):
    def endless(report):
        shows("Endless")(report)
        with report.guarded("a part"):
            for _ in range(500):
                time.sleep(0.01)

    first, second = made_up_sections(monkeypatch, first=endless, second=shows("Second"))
    assert run_sections([replace(first, at_most=0.2), second]) == 0
    printed = capsys.readouterr().out
    assert list(tables_of(printed)) == ["Endless", "Second"]
    assert "first: CUT OFF after" in printed


# Training -------------------------------------------------------------------------------------------


def test_pairs_are_dealt_to_rows_that_have_room():
    rows = part("rows")
    pairs = random_pairs(200, longest=30)
    src, tgt = (np.array([len(ids) + 1 for ids in side]) for side in (pairs.src, pairs.tgt))
    row_of, n = rows.deal(src, tgt, 64)
    for lengths in (src, tgt):
        used = np.bincount(row_of, lengths, minlength=n)
        assert used.max() <= 64
        assert used.mean() > 0.75 * 64
    with pytest.raises(ValueError, match="longer than a row"):
        rows.deal(src, tgt, 16)


@pytest.mark.parametrize("by_hand", [False, True])
def test_rows_have_the_loss_and_the_gradients_of_padded_pairs(by_hand):
    rows, gradient_of = part("rows"), part("flat").gradient_of
    torch.manual_seed(0)
    model = build_model(SHAPE, VOCABULARY).double()
    torch.nn.init.normal_(model.output.bias)
    pairs = random_pairs(13)
    batch = PassInput.from_batch(collate(pairs.src, pairs.tgt), CPU)

    def padded():
        hidden = batch.at_real(model.hidden(batch.src, batch.src_mask, batch.tgt_in))[0]
        return F.cross_entropy(model.output(hidden), batch.targets, reduction="sum", label_smoothing=0.1)

    table = rows.table_of(pairs, 32, n_rows=7)  # one row more than the pairs fill
    assert (table[1] == 0).all(axis=1).any()
    read = rows.RowTable(*torch.from_numpy(table).unbind())

    def in_rows():
        hidden = rows.RowModel(model).hidden(read).flatten(0, 1)
        following = read.following.flatten().long()
        loss = rows.loss_by_hand if by_hand else rows.loss_by_autograd
        # The program's loss on a GPU computes in fp32; here fp64 shows that nothing but rounding differs.
        return loss(hidden, model.output, following, following.ne(PAD).double(), 0.1)

    wanted, found = gradient_of(model, padded), gradient_of(model, in_rows)
    precision = 1e-10 if by_hand else 1e-5
    assert found[0] == pytest.approx(wanted[0], rel=precision)
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-4, atol=max(precision, 1e-6))


def test_flat_weights_make_the_programs_updates():
    training = TrainingConfig(
        **{"max_updates": 1000, "warmup_updates": 0, "learning_rate": 1e-3, "precision": "fp32", "products": "mkl"},
        **{"ema_decay": 0.5, "clip_norm": 1.9},  # two of three gradients are longer
    )
    step = TrainStep(RunConfig(model=SHAPE, training=training), VOCABULARY, CPU)
    other = build_model(SHAPE, VOCABULARY).train()
    other.load_state_dict(step.model.state_dict())
    flat = part("flat").FlatTraining(other, torch.float32, training)
    for number in range(1, 4):
        pairs = random_pairs(20, seed=number)
        step.update(pairs, number)
        flat.backward(part("levers").padded_loss(other, pairs, training.label_smoothing, CPU))
        flat.step(pairs.n_tgt_tokens, training.learning_rate)
    for one, found in zip(step.model.parameters(), other.parameters(), strict=True):
        if one.dim() > 1:  # the gradient of a key's bias is zero, so that rounding decides about its update
            assert float((found - one).detach().abs().mean()) < 1e-7
            torch.testing.assert_close(found, one, rtol=0, atol=5e-5)


# Translating ----------------------------------------------------------------------------------------


def decoder_of(seed):
    torch.manual_seed(seed)
    model = build_model(SHAPE, VOCABULARY).eval()
    with torch.no_grad():
        model.output.bias[EOS] = 1.5  # so that outputs end early and late
    return build_decoder(model, greedy=False)


@torch.inference_mode()
def test_a_static_step_has_the_vectors_of_the_decoders_step():
    decoder, n, beams = decoder_of(1), 3, 4
    pairs = random_pairs(n, longest=9, seed=3)
    src = collate(pairs.src, pairs.tgt).src
    mask = padding_mask(src, PAD)
    static = part("static_step").StaticDecoder(decoder, 5, beams, 16, 16)  # more sentences and places than there are
    static.start(src, mask)
    state = decoder.start(src, mask)
    tokens, theirs = torch.full((5 * beams,), BOS), torch.full((n,), BOS)
    for t in range(8):
        (logits,), (state,) = decoder.step([theirs], [state])
        hidden = static.step(tokens, torch.tensor(t), 16)
        rows = len(logits) // n  # one for each sentence at the first step
        wanted = logits.rows(0, len(logits))[:, :VOCABULARY].view(n, rows, -1)
        found = decoder._output(hidden)[:, :VOCABULARY].view(5, beams, -1)[:n, :rows]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        parents = torch.randint(rows, (5, beams))
        pieces = torch.randint(8, VOCABULARY, (5, beams))
        state = decoder.reorder(state, range(n), parents[:n])
        static.reorder(parents)
        tokens, theirs = pieces.flatten(), pieces[:n].flatten()


@torch.inference_mode()
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.4])
def test_searches_of_fixed_shape_find_the_programs_hypotheses(alpha):

    n_compared = 0
    for seed, beams in itertools.product((1, 2), (1, 4)):
        decoder = decoder_of(seed)
        sources = random_sentences(24, 14, seed)
        limits = [2 * len(ids) + 3 for ids in sources]
        config = DecodingConfig(beam_size=beams, length_penalty=alpha, repetition_guard=False)
        job = SearchJob(config, CPU, limits, beams > 1, N_CONTROL)
        wanted = dict(search_batches(job, sources, decoder, iter([list(range(24))])))
        options = {"alpha": alpha, "n_control": N_CONTROL, "compact": True, "graphs": False}
        searches = part("static_step").StaticSearch(decoder, 32, beams, 16, max(limits), **options)
        assert len(searches.levels) > 2  # so that sentences are moved to smaller ones
        for i, found in enumerate(searches.search(sources, limits)):
            assert found.tokens == wanted[i][0].tokens
            if beams > 1:
                assert found.score == pytest.approx(wanted[i][0].score, abs=1e-4)
            n_compared += found.length < limits[i]  # it ended by itself
    assert n_compared > 10
