"""Exported models against ours, number by number; the folder, its README, and errors."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ctranslate2
import pytest
import torch
from ctranslate2.specs.model_spec import ACCEPTED_MODEL_TYPES
from reversal import reversal_lines

from seq2seq.batching import pad
from seq2seq.config import ModelConfig, RunConfig, to_toml
from seq2seq.config.tables import DataConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.interop.ctranslate2 import QUANTIZATIONS, ExportResult, export_run
from seq2seq.interop.ctranslate2 import folder as export_folder
from seq2seq.interop.ctranslate2.weights import check_supported, to_spec
from seq2seq.model import build_model, padding_mask
from seq2seq.model.transformer.model import Transformer
from seq2seq.runs import Manifest, commit, model_name
from seq2seq.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, train_model
from seq2seq.translation import Translator

# Numbers -------------------------------------------------------------------------------------------

V, N_POSITIONS = 17, 24
PIECES = ["<unk>", "<s>", "</s>", "<pad>", *(f"p{i}" for i in range(4, V))]
SRC = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15], [4]]
TGT = [[4, 5, 6, 7], [8, 9], [16, 15, 14, 13, 12, 11, 10, 9], []]

# Each value of each option, in one shape at least.
SHAPES: list[dict[str, object]] = [
    {},
    {"tied_embeddings": False, "encoder_layers": 1, "decoder_layers": 3, "n_heads": 1},
    {"positions": "learned", "max_positions": N_POSITIONS, "activation": "gelu"},
    {"positions": "none", "attention": "bilinear"},
    {"norm_order": "post", "norm": "rms"},
    {"activation": "swiglu", "norm_order": "post", "attention": "dot", "positions": "rotary"},
]
# The same values by themselves, and some more together.
MORE_SHAPES: list[dict[str, object]] = [
    {"n_heads": 1},
    {"encoder_layers": 1, "decoder_layers": 3},
    {"tied_embeddings": False},
    {"attention": "dot"},
    {"attention": "bilinear"},
    {"positions": "learned", "max_positions": N_POSITIONS},
    {"positions": "rotary"},
    {"positions": "rotary", "attention": "dot"},
    {"norm_order": "post"},
    {"norm": "rms", "activation": "swiglu"},
    {"activation": "gelu"},
]


def tiny(**changes: object) -> Transformer:
    """A model whose biases, gains and scores have no special values."""
    torch.manual_seed(0)
    shape = {"d_model": 16, "d_ff": 40, "n_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = build_model(ModelConfig(**(shape | changes)), V).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def exported(
    model: Transformer, folder: Path, quantization: str = "float32", compute: str = "default"
) -> ctranslate2.Translator:
    folder.mkdir()
    spec = to_spec(model, PIECES, N_POSITIONS)
    spec.validate()
    spec.optimize(quantization)
    spec.save(str(folder))
    return ctranslate2.Translator(str(folder), device="cpu", intra_threads=1, compute_type=compute)


def pieces(rows: list[list[int]]) -> list[list[str]]:
    return [[PIECES[i] for i in row] for row in rows]


@torch.no_grad()
def log_probs(model: Transformer, src: list[list[int]], tgt: list[list[int]]) -> list[list[float]]:
    """Log-probabilities of each piece of ``tgt`` and of EOS after it, with control symbols outside the softmax."""
    padded = pad(src, last=EOS)
    logits = model(padded, padding_mask(padded, PAD), pad(tgt, first=BOS))
    logits[..., [UNK, BOS, PAD]] = -math.inf
    steps = logits.log_softmax(dim=-1)
    return [[float(steps[i, t, token]) for t, token in enumerate([*row, EOS])] for i, row in enumerate(tgt)]


@pytest.mark.parametrize(
    "shape", [*SHAPES, *(pytest.param(shape, marks=pytest.mark.slow) for shape in MORE_SHAPES)], ids=str
)
class TestNumbers:
    def test_given_targets_score_the_same(self, shape, tmp_path):
        model = tiny(**shape)
        found = exported(model, tmp_path / "ct2").score_batch(pieces(SRC), pieces(TGT))
        for theirs, ours in zip(found, log_probs(model, SRC, TGT), strict=True):
            assert theirs.log_probs == pytest.approx(ours, abs=2e-5)

    @pytest.mark.parametrize("alpha", [0.0, 0.7])
    def test_hypotheses_of_ctranslate2_have_our_scores(self, shape, alpha, tmp_path):
        """One token at a time, with its caches."""
        model = tiny(**shape)
        with torch.no_grad():
            model.output.bias[EOS] += 1.0  # some hypotheses end, some reach the limit
        results = exported(model, tmp_path / "ct2").translate_batch(
            pieces(SRC), beam_size=4, num_hypotheses=4, length_penalty=alpha, max_decoding_length=10,
            min_decoding_length=0, return_scores=True, return_end_token=True,
        )  # fmt: skip
        for src, result in zip(SRC, results, strict=True):
            for hypothesis, score in zip(result.hypotheses, result.scores, strict=True):
                tgt = [PIECES.index(piece) for piece in hypothesis]
                assert not {UNK, BOS, PAD} & set(tgt)
                steps = log_probs(model, [src], [[t for t in tgt if t != EOS]])[0][: len(tgt)]
                assert score == pytest.approx(sum(steps) / len(tgt) ** alpha, abs=1e-4)


@pytest.mark.parametrize("shape", [{}, {"norm": "rms"}], ids=str)
def test_the_epsilon_of_norms_is_exported(shape, tmp_path):
    model = tiny(**shape, positions="none")
    with torch.no_grad():
        model.src_embedding.weight.mul_(1e-3)  # so quiet that it matters
    found = exported(model, tmp_path / "ct2").score_batch(pieces(SRC), pieces(TGT))
    for theirs, ours in zip(found, log_probs(model, SRC, TGT), strict=True):
        assert theirs.log_probs == pytest.approx(ours, abs=2e-5)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_is_close(quantization, tmp_path):
    """The weights are very close, the results less so. Without AVX-512 CTranslate2's int8 is wrong by a nat."""
    model = tiny()
    ours = log_probs(model, SRC, TGT)
    translators = [(exported(model, tmp_path / "ct2", quantization, "float32"), 0.05)]
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        translators.append((ctranslate2.Translator(str(tmp_path / "ct2"), device="cpu", intra_threads=1), 0.2))
    for translator, most in translators:
        for theirs, row in zip(translator.score_batch(pieces(SRC), pieces(TGT)), ours, strict=True):
            assert theirs.log_probs == pytest.approx(row, abs=most)


def test_quantizations_are_those_of_ctranslate2():
    assert set(QUANTIZATIONS) == set(ACCEPTED_MODEL_TYPES)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "none"])
def test_positions_beyond_the_table_are_an_error(positions, tmp_path):
    translator = exported(tiny(positions=positions, max_positions=N_POSITIONS), tmp_path / "ct2")
    translator.translate_batch([["p5"] * (N_POSITIONS - 1)], max_decoding_length=N_POSITIONS)
    with pytest.raises(RuntimeError, match="No position encodings"):
        translator.translate_batch([["p5"] * N_POSITIONS])


def test_tied_embeddings_are_stored_once(tmp_path):
    sizes = []
    for tied in (True, False):
        exported(tiny(tied_embeddings=tied), tmp_path / str(tied))
        sizes.append((tmp_path / str(tied) / "model.bin").stat().st_size)
    assert sizes[1] - sizes[0] > 2 * 4 * V * 16 - 200


# A run --------------------------------------------------------------------------------------------

# Letters, and characters encoded as bytes; none so long that it would be translated in segments.
LINES = [*reversal_lines(60, seed=11), "é", "☃", "<s>", "</s>"]


@pytest.fixture(scope="module")
def folder(reverser, tmp_path_factory) -> Path:
    """The reverser, exported."""
    folder = tmp_path_factory.mktemp("export") / "new" / "ct2"
    export_run(reverser, folder)
    return folder


def translate(folder: Path, lines: list[str], **options: object) -> list[tuple[str, float]]:
    """As the README has it: text and score of each line."""
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    translator = ctranslate2.Translator(str(folder), device="cpu", intra_threads=1)
    rows = tokenizer.encode(lines, out_type=str)
    results = translator.translate_batch(
        rows, max_decoding_length=60, min_decoding_length=0, return_scores=True, **options
    )
    return [(tokenizer.decode(result.hypotheses[0]), result.scores[0]) for result in results]


def run_readme(folder: Path, lines: list[str]) -> list[str]:
    """The output of the README's Python code for these lines."""
    (python,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", python],
        input="".join(f"{line}\n" for line in lines), capture_output=True, text=True, cwd=folder, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:-1]


class TestRun:
    @pytest.mark.parametrize("beam_size", [1, 4])
    @pytest.mark.parametrize("alpha", [0.0, 1.0])
    def test_the_same_texts_and_scores(self, reverser, folder, beam_size, alpha, monkeypatch):
        """With CTranslate2's exact rule for the end of a search; ours waits for hypotheses that are ten times
        likelier."""
        monkeypatch.setattr("seq2seq.decoding.beam._MUCH_LIKELIER", math.inf)
        decoding = {"beam_size": beam_size, "length_penalty": alpha, "max_length": 60}
        translator = Translator.load(reverser, device="cpu", decoding=decoding)
        ours = [best[0] for best in translator.n_best(LINES)]
        theirs = translate(folder, LINES, beam_size=beam_size, length_penalty=alpha)
        same = [text == best.text for (text, _), best in zip(theirs, ours, strict=True)]
        # Beams may end differently on text that the model has never seen: the last four lines.
        assert all(same) if beam_size == 1 else sum(same[:60]) >= 59
        for (_, score), best, is_same in zip(theirs, ours, same, strict=True):
            # Scores are higher by the probability of control symbols.
            assert not is_same or -1e-4 < score - best.score < 5e-3

    def test_int8_is_small_and_translates_well(self, reverser, folder, tmp_path):
        small = export_run(reverser, tmp_path / "int8", quantization="int8")
        whole, part = ((where / "model.bin").stat().st_size for where in (folder, small.folder))
        table = 1024 * 64 * 4  # positions stay as they are
        assert part - table < 0.3 * (whole - table)
        theirs = translate(small.folder, LINES[:60], beam_size=4)
        assert sum(text == line[::-1] for (text, _), line in zip(theirs, LINES[:60], strict=True)) >= 55

    def test_what_the_folder_holds(self, reverser, folder):
        names = {"model.bin", "config.json", "shared_vocabulary.json", "tokenizer.model", "README.md"}
        assert {path.name for path in folder.iterdir()} == names
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]
        assert (folder / "tokenizer.model").read_bytes() == (reverser / "tokenizer.model").read_bytes()
        config = json.loads((folder / "config.json").read_text())
        assert (config["add_source_bos"], config["add_source_eos"]) == (False, True)
        assert (config["unk_token"], config["bos_token"], config["eos_token"]) == ("<unk>", "<s>", "</s>")
        assert config["decoder_start_token"] == "<s>"

    def test_the_result_describes_the_folder(self, reverser, tmp_path):
        summary = export_run(reverser, tmp_path / "ct2", quantization="int8_float16")
        n_bytes = sum(path.stat().st_size for path in (tmp_path / "ct2").iterdir())
        assert summary == ExportResult(tmp_path / "ct2", "int8_float16", n_bytes, None)

    def test_the_python_of_the_readme_runs(self, reverser, folder):
        lines = ["a b c", "", "d e", " \t", "h g f e"]
        out = run_readme(folder, lines)
        readme = (folder / "README.md").read_text(encoding="utf-8")
        translator = Translator.load(reverser, device="cpu")
        assert out == translator.translate(lines)
        assert f"beam_size={translator.config.beam_size}," in readme
        assert f"length_penalty={translator.config.alpha}," in readme
        assert f"more than {translator.max_src_length - 1:,} pieces or 1 sentence, as" in readme


# Errors that leave nothing -------------------------------------------------------------------------


def random_run(folder: Path, tokenizer: bytes, **changes: object) -> Path:
    """A run with an untrained model."""
    shape = {"d_model": 16, "d_ff": 16, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    config = RunConfig(data=DataConfig(langs="ab-ba"), model=ModelConfig(**(shape | changes)))
    torch.manual_seed(0)
    model = build_model(config.model, len(Tokenizer(tokenizer)))
    files = {
        "config.toml": to_toml(config).encode(),
        "tokenizer.model": tokenizer,
        model_name(1): dict(model.named_parameters()),
    }
    commit(folder, Manifest(files={}, update=1, finished=True), files)
    return folder


class TestCommand:
    def test_the_summary_goes_only_to_stderr(self, cli, reverser, tmp_path):
        done = cli("export", reverser, "-o", tmp_path / "ct2", "--quantization", "int8")
        assert (done.code, done.out) == (0, "")
        assert re.fullmatch(rf"wrote {re.escape(str(tmp_path))}/ct2: int8, \d\.\d MB\n", done.err)
        assert ctranslate2.contains_model(str(tmp_path / "ct2"))

    def test_an_existing_folder_stays_unless_overwrite_moves_it_aside(self, cli, reverser, tmp_path):
        (tmp_path / "ct2").mkdir()
        (tmp_path / "ct2" / "mine").write_text("kept")
        refused = cli("export", reverser, "-o", tmp_path / "ct2")
        assert refused.code == ExitCode.REFUSED
        assert "exists; name a new folder with -o, or give --overwrite" in refused.err
        assert [path.name for path in tmp_path.rglob("*")] == ["ct2", "mine"]

        done = cli("export", reverser, "-o", tmp_path / "ct2", "--overwrite")
        assert done.code == 0
        assert f"the old folder is now {tmp_path}/ct2.old-1\n" in done.err
        assert (tmp_path / "ct2.old-1" / "mine").read_text() == "kept"
        assert ctranslate2.contains_model(str(tmp_path / "ct2"))
        assert {path.name for path in tmp_path.iterdir()} == {"ct2", "ct2.old-1"}

    def test_overwrite_needs_nothing_to_overwrite(self, cli, reverser, tmp_path):
        assert cli("export", reverser, "-o", tmp_path / "ct2", "--overwrite").code == 0

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["RUN", "-o", "new", "--quantization", "int4"], ExitCode.USAGE, "hoose among float32, "),
            (["RUN"], ExitCode.USAGE, "export --help"),
            (["nowhere", "-o", "new"], ExitCode.NO_INPUT, "nowhere does not exist"),
            (
                ["RUN", "-o", "RUN", "--overwrite"],
                ExitCode.USAGE,
                "holds the run to export; name another folder with -o\n",
            ),
            (["RUN", "-o", "RUN/..", "--overwrite"], ExitCode.USAGE, "holds the run"),
            (["RUN", "-o", "file", "--overwrite"], ExitCode.REFUSED, "file exists; name a new folder with -o\n"),
            (["RUN", "-o", "file/new"], ExitCode.CANNOT_WRITE, "file/new cannot be written"),
            (["RUN", "-o", "."], ExitCode.REFUSED, "exists"),
            (["RUN", "-o", "link"], ExitCode.USAGE, "link is a link; name a new folder in it: -o link/NAME"),
        ],
    )
    def test_refusals_leave_nothing(self, cli, reverser, tmp_path, monkeypatch, words, code, says):
        run, here = tmp_path / "mine" / "run", tmp_path / "here"
        shutil.copytree(reverser, run)
        here.mkdir()
        (here / "file").write_text("kept")
        (tmp_path / "empty").mkdir()
        (here / "link").symlink_to(tmp_path / "empty")
        monkeypatch.chdir(here)
        before = sorted(tmp_path.rglob("*"))
        refused = cli("export", *[word.replace("RUN", str(run)) for word in words])
        assert (refused.code, refused.out) == (code, "")
        assert says in refused.err
        assert refused.err.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before

    def test_an_unsupported_combination(self, cli, reverser, tmp_path):
        model = {"attention": "bilinear", "positions": "rotary"}
        run = random_run(tmp_path / "run", (reverser / "tokenizer.model").read_bytes(), **model)
        refused = cli("export", run, "-o", tmp_path / "ct2")
        assert refused.code == ExitCode.REFUSED
        assert "bilinear together with model.positions rotary: the rotation comes between" in refused.err
        assert not (tmp_path / "ct2").exists()

    def test_another_architecture(self):
        config = ModelConfig()
        object.__setattr__(config, "architecture", "rnn")
        with pytest.raises(UserError, match=r"does not support model\.architecture rnn") as refused:
            check_supported(config)
        assert refused.value.code == ExitCode.REFUSED

    @pytest.mark.parametrize("installed", [None, "broken"])
    def test_without_ctranslate2(self, cli, reverser, tmp_path, monkeypatch, installed):
        monkeypatch.setitem(sys.modules, "ctranslate2", installed)  # None: no such module
        monkeypatch.delitem(sys.modules, "ctranslate2.specs", raising=False)
        refused = cli("export", reverser, "-o", tmp_path / "ct2")
        assert refused.code == ExitCode.REFUSED
        assert "install it with pip install 'ctranslate2>=4.7'" in refused.err
        assert not list(tmp_path.iterdir())


class TestFailures:
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_full_disk_leaves_the_old_folder(self, reverser, tmp_path, small_files, overwrite):
        if overwrite:
            (tmp_path / "ct2").mkdir()
            (tmp_path / "ct2" / "mine").write_text("kept")
        before = sorted(tmp_path.rglob("*"))
        with small_files(50_000), pytest.raises(UserError, match="ct2 cannot be written: File too large") as caught:
            export_run(reverser, tmp_path / "ct2", overwrite=overwrite)
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert sorted(tmp_path.rglob("*")) == before

    def test_an_interruption_leaves_nothing(self, reverser, tmp_path, monkeypatch):
        def interrupted(*_: object, **__: object) -> str:
            assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
            raise KeyboardInterrupt

        monkeypatch.setattr(export_folder, "readme", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export_run(reverser, tmp_path / "ct2")
        assert not list(tmp_path.iterdir())

    def test_a_folder_that_appears_during_the_export_is_not_replaced(self, reverser, tmp_path, monkeypatch):
        def meanwhile(*_: object, **__: object) -> str:
            (tmp_path / "ct2").mkdir()
            (tmp_path / "ct2" / "mine").write_text("kept")
            return ""

        monkeypatch.setattr(export_folder, "readme", meanwhile)
        with pytest.raises(UserError) as caught:
            export_run(reverser, tmp_path / "ct2")
        assert caught.value.code == ExitCode.CANNOT_WRITE
        assert [path.name for path in tmp_path.rglob("*")] == ["ct2", "mine"]

    def test_an_empty_folder_is_filled(self, reverser, tmp_path):
        (tmp_path / "ct2").mkdir()
        assert export_run(reverser, tmp_path / "ct2").moved is None
        assert ctranslate2.contains_model(str(tmp_path / "ct2"))

    def test_a_mount_point_is_refused(self, reverser, tmp_path, monkeypatch):
        (tmp_path / "ct2").mkdir()
        monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "ct2")
        with pytest.raises(UserError, match="ct2 is a mount point; name a new folder in it"):
            export_run(reverser, tmp_path / "ct2")

    def test_a_damaged_run_is_refused(self, reverser, tmp_path):
        run = tmp_path / "run"
        shutil.copytree(reverser, run)
        (run / "tokenizer.model").write_bytes(b"")
        with pytest.raises(UserError) as caught:
            export_run(run, tmp_path / "ct2")
        assert caught.value.code == ExitCode.REFUSED
        assert not (tmp_path / "ct2").exists()


@pytest.mark.parametrize(
    ("positions", "max_positions", "rows"), [("learned", 300, 300), ("none", 1024, 1024), ("rotary", 1024, None)]
)
def test_the_readme_states_the_number_of_positions(reverser, tmp_path, positions, max_positions, rows):
    tokenizer = (reverser / "tokenizer.model").read_bytes()
    run = random_run(tmp_path / "run", tokenizer, positions=positions, max_positions=max_positions)
    readme = (export_run(run, tmp_path / "ct2").folder / "README.md").read_text(encoding="utf-8")
    if rows is None:
        assert "raises an error" not in readme
        assert "max_decoding_length=2 * max(map(len, pieces), default=0) + 50," in readme
    else:
        assert f"positions for {rows:,} tokens a side" in readme
        assert f"max_decoding_length=min({rows}, 2 * max(map(len, pieces), default=0) + 50)," in readme


def test_blank_lines_never_reach_the_model_even_where_spaces_are_text(tmp_path):
    lines = iter(reversal_lines(50, seed=1))
    tokenizer, _ = train_model(lines, vocab_size=300, tokenizer_type="unigram", normalization="identity")
    assert Tokenizer(tokenizer).encode(["  "]) != [[]]
    folder = export_run(random_run(tmp_path / "run", tokenizer), tmp_path / "ct2").folder
    assert [bool(text) for text in run_readme(folder, ["  ", "a b", "\t"])] == [False, True, False]
    assert run_readme(folder, []) == []
