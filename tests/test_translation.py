"""Translation of lines: their order, independence of batches, long lines, out of memory, workers."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import torch
from reversal import reversal_lines
from support.processes import children, is_running, state_of, until

from seq2seq import translation
from seq2seq.batching import pad
from seq2seq.config import DecodingConfig, ModelConfig, build
from seq2seq.decoding import length_penalty
from seq2seq.device import DTYPES, has_bf16, pick_device, pick_dtype
from seq2seq.errors import ExitCode, UserError
from seq2seq.model import architectures, build_model
from seq2seq.model.transformer.decoder import TransformerDecoder
from seq2seq.model.transformer.fast import FastDecoder
from seq2seq.runs import Manifest
from seq2seq.runs.loading import decoding_config
from seq2seq.system.processes import ChildProcess
from seq2seq.tokenizer import BOS, EOS
from seq2seq.translation import SegmentCounts, Translator, length_batches, load_weights
from seq2seq.translation.workers import _in_processes, _in_threads

LINES = reversal_lines(70, seed=11)


@pytest.fixture(scope="module")
def translator(reverser):
    return Translator.load(reverser, device="cpu")


def opened(reverser, **decoding: object) -> Translator:
    return Translator.load(reverser, device="cpu", decoding=decoding)


@pytest.mark.parametrize(
    ("chosen", "given", "stopping", "alpha"),
    [
        (2.0, None, "enough", 2.0), (2.0, None, "exact", 1.0), (0.6, None, "exact", 0.6),
        (2.0, 1.8, "exact", 1.8), (None, None, "exact", 1.4),
    ],
)  # fmt: skip
def test_a_chosen_length_penalty_is_lowered_for_an_exact_search(chosen, given, stopping, alpha):
    """Above 1 such a search ends in loops. A value that the user set is used."""
    manifest = Manifest(files={}, update=1, finished=True, length_penalty=chosen)
    config = build({"decoding": {"length_penalty": chosen or 1.4}}, where="here")
    assert decoding_config(manifest, config, {"length_penalty": given, "stopping": stopping}).alpha == alpha


class TestTranslate:
    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_the_number_of_workers_changes_nothing(self, reverser, translator, workers):
        several = Translator.load(reverser, workers=workers)
        assert several.translate(LINES) == translator.translate(LINES)

    @pytest.mark.parametrize("batch_tokens", [1, 40, 200, 100_000])
    @pytest.mark.parametrize("beam_size", [1, 4])
    @pytest.mark.parametrize("products", ["mkl", "onednn"])
    def test_neighbours_and_batches_change_nothing(self, reverser, translator, batch_tokens, beam_size, products):
        alone = [text for line in LINES for text in _texts(reverser, [line], beam_size, 4096, products)]
        assert _texts(reverser, LINES, beam_size, batch_tokens, products) == alone
        assert _texts(reverser, LINES[::-1], beam_size, batch_tokens, products) == alone[::-1]

    @pytest.mark.parametrize(("products", "packs"), [("mkl", False), ("onednn", True)])
    def test_the_library_of_products_is_as_requested(self, reverser, monkeypatch, products, packs):
        packed = []
        monkeypatch.setattr("seq2seq.model.transformer.fast.linear.pack", lambda weight: packed.append(weight))
        opened(reverser, products=products)
        assert bool(packed) == packs

    @pytest.mark.parametrize("beam_size", [1, 4])
    def test_the_plain_decoder_gives_the_same_translations(self, reverser, monkeypatch, beam_size):
        fast = opened(reverser, beam_size=beam_size)
        monkeypatch.setattr(architectures, "_FAST_DEVICES", set())
        plain = opened(reverser, beam_size=beam_size)
        assert [type(one.engine.decoder) for one in (fast, plain)] == [FastDecoder, TransformerDecoder]
        assert plain.translate(LINES) == fast.translate(LINES)

    def test_blank_lines_never_reach_the_model(self, translator, monkeypatch):
        monkeypatch.setattr(FastDecoder, "start", None)
        assert translator.translate(["", " \t", "\u3000\x85"]) == ["", "", ""]

    def test_no_lines(self, translator):
        assert translator.translate([]) == []

    def test_n_best_are_sorted(self, reverser):
        best = opened(reverser, beam_size=4, n_best=3).n_best(["a b c", ""])
        assert [len(line) for line in best] == [3, 3]
        assert best[0][0].text == "c b a"
        scores = [t.score for t in best[0]]
        assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
    def test_a_score_is_that_of_forced_decoding(self, reverser, alpha):
        translator = opened(reverser, length_penalty=alpha)
        line = "a b c d"
        best = translator.n_best([line])[0][0]
        src, tgt = translator.tokenizer.encode([line, best.text])
        with torch.inference_mode():
            logits = translator.model(pad([src], last=EOS), None, pad([tgt], first=BOS))
        steps = torch.log_softmax(logits[0], dim=-1).gather(1, torch.tensor([*tgt, EOS]).unsqueeze(1))
        expected = float(steps.sum()) / length_penalty(len(tgt) + 1, alpha)
        assert best.score == pytest.approx(expected, abs=1e-5)


def _texts(reverser, lines: list[str], beam_size: int, batch_tokens: int, products: str) -> list[str]:
    key = (beam_size, batch_tokens, products)
    if key not in _OPEN:
        _OPEN[key] = opened(reverser, beam_size=beam_size, batch_tokens=batch_tokens, products=products)
    return _OPEN[key].translate(lines)


_OPEN: dict[tuple[int, int, str], Translator] = {}


class TestSegments:
    """The reverser was trained on six letters at most, so its segments have at most six."""

    @pytest.fixture
    def translator(self, translator, monkeypatch):
        monkeypatch.setattr(translator, "max_src_length", 7)
        return translator

    def test_long_lines_are_translated_in_segments(self, translator):
        counts = SegmentCounts()
        line = " ".join("abcdefghabcdefgh")
        best = translator.n_best(["a b", line], first_line=40, counts=counts)
        assert best[1][0].text == " ".join([*"fedcba", *"dcbahg", *"hgfe"])
        assert counts.first == (
            "line 41 has 16 tokens, more than the 6 this model translates at once: translated in 3 segments"
        )
        assert (counts.too_long, counts.several_sentences) == (1, 0)

    @pytest.mark.parametrize("line", ["a b c\nd e", "a b c\n\n d e\n"])
    def test_a_string_of_several_lines_becomes_one(self, translator, line):
        assert translator.translate([line, "f g"]) == ["c b a e d", "g f"]

    def test_training_remembers_how_many_sentences_sources_had(self, translator):
        assert translator.max_src_sentences == 1
        assert translator.translate(["a b! c d? e"]) == [" ".join(translator.translate(["a b!", "c d?", "e"]))]

    def test_a_run_without_max_src_sentences_translates_whole_lines(self, translator, monkeypatch):
        divided = translator.hypotheses(["a b! c d"])[0]
        monkeypatch.setattr(translator, "max_src_length", 100)
        monkeypatch.setattr(translator, "max_src_sentences", None)
        assert (len(divided), len(translator.hypotheses(["a b! c d"])[0])) == (2, 1)

    def test_the_score_is_the_mean_of_the_segments(self, translator):
        (whole,) = translator.n_best([" ".join("abcdefgh")])[0]
        parts = [t[0].score for t in translator.n_best(["a b c d", "e f g h"])]
        assert whole.score == pytest.approx(sum(parts) / 2, abs=1e-6)

    def test_segments_of_a_language_without_spaces(self, translator, monkeypatch):
        monkeypatch.setattr(translator, "langs", ("ab", "zh_Hant"))
        assert translator.translate(["a b\nc d"]) == ["b ad c"]


@pytest.mark.parametrize("shortlist", [0, 8])
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_weights_in_16_bits_translate_as_well(reverser_with_shortlist, precision, beams, shortlist):
    if precision == "bf16" and not has_bf16():
        pytest.skip("this processor has no bf16 instructions")
    decoding = {"precision": precision, "beam_size": beams, "shortlist": shortlist}
    translator = Translator.load(reverser_with_shortlist, device="cpu", decoding=decoding)
    assert {parameter.dtype for parameter in translator.model.parameters()} == {DTYPES[precision]}
    lines = reversal_lines(60, seed=11)
    texts = translator.translate(lines)
    assert sum(text == line[::-1] for text, line in zip(texts, lines, strict=True)) >= 55


FORKING = """
import multiprocessing, sys
from seq2seq import Translator
translator = Translator.load(sys.argv[1])
def work(line):
    return translator.translate([line]) + Translator.load(sys.argv[1]).translate([line])
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, ["a b c", "d e"]).get(60))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PyTorch is forked on Linux alone")
def test_a_child_forked_from_a_process_of_several_threads_translates(reverser):
    """As with gunicorn --preload: the child has no OpenMP threads."""
    two = {**os.environ, "OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-W", "ignore", "-c", FORKING, str(reverser)]
    done = subprocess.run(words, env=two, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[['c b a', 'c b a'], ['e d', 'e d']]", done.stderr


class TestCopies:
    """A copy is loaded from the run folder, as packed weights cannot be copied."""

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
    def test_a_copy_is_loaded_from_the_folder(self, reverser, again, monkeypatch, tmp_path):
        monkeypatch.chdir(reverser.parent)
        translator = Translator.load(reverser.name, device="cpu", decoding={"beam_size": 3, "n_best": 2}, workers=1)
        monkeypatch.chdir(tmp_path)  # as another process may be elsewhere
        other = again(translator)
        assert other is not translator
        assert (other.config, other.device, other._n_workers) == (translator.config, translator.device, 1)
        assert other.identity == translator.identity
        assert other.translate(LINES[:5]) == translator.translate(LINES[:5])
        assert again(other).translate(["a b"]) == ["b a"]

    def test_a_translator_that_was_not_loaded_cannot_be_copied(self, translator):
        made = Translator(translator.model, translator.tokenizer, DecodingConfig(), max_src_length=9)
        with pytest.raises(TypeError, match=r"only a Translator from Translator\.load can be copied"):
            copy.deepcopy(made)

    @pytest.mark.slow
    @pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
    def test_pools_of_processes(self, translator, method):
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            assert pool.submit(translator.translate, ["a b c"]).result(60) == ["c b a"]


@pytest.mark.parametrize("call", ["translate", "n_best", "hypotheses"])
def test_a_single_string_is_refused(translator, call):
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        getattr(translator, call)("a b c")


class TestBatches:
    def test_every_unit_once_longest_first_within_the_budget(self):
        units = [[7] * n for n in (3, 1, 9, 3, 100, 2, 2)]
        batches = list(length_batches(units, 20))
        assert sorted(i for batch in batches for i in batch) == list(range(7))
        assert batches[0] == [4]  # longer than the budget, but translated
        for batch in batches[1:]:
            assert len(batch) * (max(len(units[i]) for i in batch) + 1) <= 20

    def test_out_of_memory_halves_the_batch(self, reverser, monkeypatch):
        translator = Translator.load(reverser, workers=1)
        sizes: list[int] = []
        start = FastDecoder.start

        def small(model, src, mask=None):
            sizes.append(src.size(0))
            if src.size(0) > 3:
                raise torch.OutOfMemoryError("out of memory")
            return start(model, src, mask)

        expected = translator.translate(LINES[:10])
        monkeypatch.setattr(FastDecoder, "start", small)
        assert translator.translate(LINES[:10]) == expected
        assert max(sizes) > 3

    def test_out_of_memory_for_one_line_is_reported(self, translator, monkeypatch):
        def never(*_: object) -> None:
            raise torch.OutOfMemoryError("out of memory")

        monkeypatch.setattr(FastDecoder, "start", never)
        with pytest.raises(
            UserError, match=r"memory ran out on a source of 2 tokens; .* lower `decoding\.beam_size`"
        ) as caught:
            translator.translate(["a b", "c d"])
        assert caught.value.code == ExitCode.TRY_LATER

    def test_other_errors_are_not_out_of_memory(self, translator, monkeypatch):
        def broken(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(FastDecoder, "start", broken)
        with pytest.raises(RuntimeError, match="a bug"):
            translator.translate(["a b", "c d"])


class TestAttention:
    def test_attention_has_a_row_for_each_target_piece(self, translator):
        shown = translator.attention("a b c d e", "e d c b a")
        assert [piece.strip("\u2581") for piece in shown.src_pieces] == [*"abcde", "</s>"]
        assert [piece.strip("\u2581") for piece in shown.tgt_pieces] == [*"edcba", "</s>"]
        assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in shown.weights)
        assert len(shown.weights) == len(shown.weights[0]) == 6

    @pytest.mark.parametrize(
        ("line", "translation_of_it"), [("", "a"), ("a", ""), (" ", "a"), ("a " * 9, "a"), ("a! b", "b a")]
    )
    def test_no_attention_for_a_blank_side_or_segments(self, translator, line, translation_of_it):
        assert translator.attention(line, translation_of_it) is None

    def test_no_attention_beyond_learned_positions(self, translator):
        config = ModelConfig(d_model=8, d_ff=8, n_heads=2, positions="learned", max_positions=12)
        model = build_model(config, len(translator.tokenizer)).eval()
        learned = Translator(model, translator.tokenizer, DecodingConfig(), max_src_length=12)
        assert learned.attention("a b", " ".join("a" * 11)) is not None
        assert learned.attention("a b", " ".join("a" * 12)) is None


@pytest.fixture
def gpus(monkeypatch):
    """A machine with this number of GPUs. The returned list has the GPUs that PyTorch was set to use."""

    def there_are(n: int) -> list[str]:
        selected: list[str] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(torch.cuda, "set_device", selected.append)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        return selected

    return there_are


class TestLoading:
    def test_devices(self):
        assert pick_device("cpu") == torch.device("cpu")
        with pytest.raises(UserError) as caught:
            pick_device("abacus")
        assert caught.value.code == ExitCode.USAGE

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
    def test_a_missing_device(self, name):
        with pytest.raises(UserError, match=f"`device={name}` is not available here; choose among auto, cpu") as caught:
            pick_device(name)
        assert caught.value.code == ExitCode.REFUSED

    @pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "cuda:11"])
    def test_a_gpu_by_number(self, gpus, name):
        """It becomes PyTorch's current GPU; otherwise random numbers would come from another."""
        selected = gpus(12)
        assert pick_device(name) == torch.device(name)
        assert selected == [name]

    def test_workers_are_for_a_cpu(self, gpus, reverser):
        gpus(1)
        with pytest.raises(UserError, match=r"^`workers=2` needs a CPU, not `device=cuda:0`; ") as caught:
            Translator.load(reverser, workers=2, device="cuda:0")
        assert caught.value.code == ExitCode.USAGE

    @pytest.mark.parametrize("name", ["auto", "cuda"])
    def test_any_gpu(self, gpus, name):
        selected = gpus(2)
        assert pick_device(name) == torch.device("cuda")
        assert selected == []

    @pytest.mark.parametrize(
        ("name", "n", "says", "code"),
        [
            ("cuda:1", 1, "`device=cuda:1` does not exist: this machine has 1 GPU (cuda:0); ", ExitCode.REFUSED),
            ("cuda:3", 1, "`device=cuda:3` does not exist: this machine has 1 GPU (cuda:0); ", ExitCode.REFUSED),
            (
                "cuda:8",
                8,
                "`device=cuda:8` does not exist: this machine has 8 GPUs (cuda:0 to cuda:7); ",
                ExitCode.REFUSED,
            ),
            ("cuda:", 2, "is unknown; choose among auto, cpu, cuda and cuda:N", ExitCode.USAGE),
            ("cuda:x", 2, "`device=cuda:x` is unknown; ", ExitCode.USAGE),
            ("cuda:-1", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:01", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:1.0", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:1\n", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:0,cuda:1", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:\u0661", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda:99999999999999999999", 2, "is unknown; ", ExitCode.USAGE),
            ("cuda1", 2, "is unknown; ", ExitCode.USAGE),
            ("CUDA:1", 2, "is unknown; ", ExitCode.USAGE),
            ("gpu", 2, "is unknown; ", ExitCode.USAGE),
            ("1", 2, "is unknown; ", ExitCode.USAGE),
            ("cpu:0", 2, "is unknown; ", ExitCode.USAGE),
            ("mps:0", 2, "is unknown; ", ExitCode.USAGE),
            ("", 2, "is unknown; ", ExitCode.USAGE),
            ("mps", 2, "`device=mps` is not available here; choose among auto, cpu, cuda", ExitCode.REFUSED),
        ],
    )
    def test_devices_that_are_refused(self, gpus, name, n, says, code):
        selected = gpus(n)
        with pytest.raises(UserError) as caught:
            pick_device(name)
        assert says in str(caught.value)
        assert caught.value.code == code
        assert selected == []

    @pytest.mark.parametrize("change", ["missing", "unknown", "reshaped"])
    def test_weights_must_fit(self, translator, change):
        weights = {name: p.detach().clone() for name, p in translator.model.named_parameters()}
        name = next(iter(weights))
        tensor = weights.pop(name)
        if change == "unknown":
            weights |= {name: tensor, "surprise": tensor}
        elif change == "reshaped":
            weights[name] = tensor[:-1]
        with pytest.raises(ValueError, match="surprise is unknown" if change == "unknown" else name):
            load_weights(translator.model, weights)

    def test_more_n_best_than_beams_is_refused(self, reverser):
        with pytest.raises(UserError, match="n_best 9") as caught:
            opened(reverser, beam_size=2, n_best=9)
        assert caught.value.code == ExitCode.USAGE

    def test_the_package_exports_the_translator(self):
        import seq2seq

        assert seq2seq.Translator is translation.Translator


def forked() -> list[int]:
    """Processes that this thread has forked and that still exist."""
    return children(os.getpid(), threading.get_native_id())


class Given:
    """A decoder whose steps take some time and do nothing."""

    start = reorder = None

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def step(self, tokens, states):
        time.sleep(self.seconds)
        return [], []


def squares(model: Given, work: Iterator[int]) -> Iterator[tuple[int, int]]:
    for one in work:
        model.step([], [])
        yield one, one**2


@pytest.mark.parametrize("run", [_in_processes, _in_threads])
class TestWorkers:
    """Workers are processes if forking is possible, otherwise threads. Here both are tested."""

    @pytest.fixture(autouse=True)
    def nobody_is_left_behind(self, two_threads):
        before = set(threading.enumerate()), torch.get_num_threads()
        yield
        assert not forked()
        assert (set(threading.enumerate()), torch.get_num_threads()) == before

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_each_item_is_done_once(self, run, n):
        assert sorted(run(n, squares, Given(), range(40))) == [(i, i**2) for i in range(40)]
        assert list(run(n, squares, Given(), [])) == []

    def test_results_are_returned_before_all_are_done(self, run, tmp_path):
        """The later items wait for a file that is written after the first result."""
        here = tmp_path / "here"

        def waiting(model: Given, work: Iterator[int]) -> Iterator[tuple[int, int]]:
            for one, square in squares(model, work):
                until(lambda: one < 100 or here.exists())  # noqa: B023
                yield one, square

        results = run(2, waiting, Given(0.02), range(110))
        first = next(results)
        here.touch()
        assert sorted([first, *results]) == [(i, i**2) for i in range(110)]

    def test_the_error_of_a_worker_is_raised(self, run):
        def failing(model: Given, work: Iterator[int]) -> Iterator[int]:
            for one in work:
                if one == 7:
                    raise UserError("seven", mend="leave it out", code=ExitCode.TRY_LATER)
                yield one

        with pytest.raises(UserError, match="seven; leave it out") as caught:
            list(run(2, failing, Given(), range(20)))
        assert (caught.value.mend, caught.value.code) == ("leave it out", ExitCode.TRY_LATER)

    def test_items_that_are_not_requested_are_not_done(self, run, tmp_path):
        with (tmp_path / "done").open("ab", buffering=0) as done:

            def counting(model: Given, work: Iterator[int]) -> Iterator[tuple[int, int]]:
                for result in squares(model, work):
                    done.write(b".")
                    yield result

            results = run(3, counting, Given(0.01), range(5_000))
            next(results)
            results.close()
            assert 1 <= (tmp_path / "done").stat().st_size < 5_000


def test_workers_of_a_call_from_within_a_thread(reverser, translator):
    """As with a progress bar in another thread, or a server's request."""
    found: list[str] = []
    busy = threading.Thread(target=lambda: found.extend(Translator.load(reverser, workers=2).translate(LINES)))
    busy.start()
    busy.join(60)
    assert found == translator.translate(LINES)


def test_a_killed_worker_is_reported():
    def dying(model: Given, work: Iterator[int]) -> Iterator[int]:
        for one in work:
            if one == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)
            yield one

    with pytest.raises(UserError, match="a worker process was killed; free memory, or use fewer `workers`") as caught:
        list(_in_processes(2, dying, Given(), range(20)))
    assert caught.value.code == ExitCode.TRY_LATER
    assert not forked()


@pytest.mark.parametrize("n_given", [0, 1, 3])
def test_fewer_processes_than_workers_do_all_items(monkeypatch, n_given):
    """As with a limit on processes. If none can be forked, threads are used."""
    fork, left = os.fork, iter(range(n_given))

    def limited() -> int:
        if next(left, None) is None:
            raise BlockingIOError("Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", limited)
    assert sorted(_in_processes(4, squares, Given(), range(40))) == [(i, i**2) for i in range(40)]
    assert not forked()


def test_without_semaphores_threads_are_used(monkeypatch):
    """As without /dev/shm."""

    def missing(*_: object) -> None:
        raise OSError("Function not implemented")

    monkeypatch.setattr("multiprocessing.context.BaseContext.Value", missing)
    assert sorted(_in_processes(2, squares, Given(), range(40))) == [(i, i**2) for i in range(40)]


def test_a_worker_killed_in_the_middle_of_a_message_is_reported(monkeypatch):
    def talking(model: Given, work: Iterator[int]) -> Iterator[bytes]:
        yield bytes(1 << 24)

    def kill_meanwhile(connections: list[Any]) -> list[Any]:
        (worker,) = forked()
        until(lambda: connections[0].poll() and state_of(worker) == "S")  # the pipe is full
        os.kill(worker, signal.SIGKILL)
        until(lambda: not is_running(worker))
        return connections

    monkeypatch.setattr("seq2seq.translation.workers.wait", kill_meanwhile)
    with pytest.raises(UserError, match="a worker process was killed") as caught:
        list(_in_processes(1, talking, Given(), range(20)))
    assert caught.value.code == ExitCode.TRY_LATER


def test_an_interruption_while_a_worker_is_forked_leaves_none(monkeypatch):
    pids: list[int] = []
    fork = os.fork

    def interrupted() -> int:
        if pid := fork():
            pids.append(pid)
            os.kill(os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(_in_processes(2, squares, Given(100.0), range(20)))
    assert len(pids) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_second_interruption_while_workers_are_ended_leaves_none(monkeypatch):
    """This thread handles both signals as soon as it can."""
    pids: list[int] = []
    fork, end = os.fork, ChildProcess.end

    def interrupted() -> int:
        if pid := fork():
            pids.append(pid)
            if len(pids) == 2:
                signal.raise_signal(signal.SIGINT)
        return pid

    def interrupted_again(process: ChildProcess) -> None:
        signal.raise_signal(signal.SIGINT)
        end(process)

    monkeypatch.setattr(os, "fork", interrupted)
    monkeypatch.setattr(ChildProcess, "end", interrupted_again)
    with pytest.raises(KeyboardInterrupt):
        list(_in_processes(3, squares, Given(100.0), range(20)))
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


class TestPrecision:
    def test_auto_is_fp32_on_a_cpu(self):
        assert pick_dtype("auto", torch.device("cpu")) == torch.float32
        assert pick_dtype("fp32", torch.device("cpu")) == torch.float32

    def test_bf16_needs_a_processor_with_bf16(self, monkeypatch):
        monkeypatch.setattr("seq2seq.device.has_bf16", lambda: False)
        with pytest.raises(UserError, match=r"no bf16 instructions .*; give `decoding\.precision=fp32`") as caught:
            pick_dtype("bf16", torch.device("cpu"))
        assert caught.value.code == ExitCode.REFUSED

    @pytest.mark.parametrize("beam_size", [1, 4])
    def test_bf16_translates_correctly(self, reverser, monkeypatch, beam_size):
        """bf16 is emulated if the processor does not have it."""
        monkeypatch.setattr("seq2seq.device.has_bf16", lambda: True)
        translator = Translator.load(reverser, decoding={"precision": "bf16", "beam_size": beam_size})
        assert next(translator.model.parameters()).dtype == torch.bfloat16
        found = translator.translate(LINES)
        assert sum(a == b[::-1] for a, b in zip(found, LINES, strict=True)) > 0.9 * len(LINES)
        assert translator.attention("a b", "b a") is not None
