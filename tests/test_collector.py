"""The garbage collector runs rarely while hypotheses are made, and as before afterwards."""

import gc
import threading
import weakref

import pytest
import torch

from seq2seq.decoding import Hypothesis
from seq2seq.errors import UserError
from seq2seq.system.collector import NEW_OBJECTS, rare_collections
from seq2seq.tokenizer import EOS
from seq2seq.translation import Translator, windows
from seq2seq.translation.events import WindowProgress, WindowTranslated
from seq2seq.translation.windows import IterableReader

USUAL = (700, 11, 9)
RARE = (NEW_OBJECTS, 11, 9)


@pytest.fixture(autouse=True)
def usual_thresholds():
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


class TestContext:
    def test_thresholds_come_back(self):
        with rare_collections():
            assert gc.get_threshold() == RARE
            with rare_collections():
                assert gc.get_threshold() == RARE
            assert gc.get_threshold() == RARE
        assert gc.get_threshold() == USUAL

    def test_thresholds_come_back_after_an_error(self):
        @rare_collections()
        def fail():
            assert gc.get_threshold() == RARE
            raise KeyboardInterrupt

        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                fail()
            assert gc.get_threshold() == USUAL

    def test_contexts_may_overlap(self):
        def inside():
            with rare_collections():
                yield

        first, second = inside(), inside()
        next(first), next(second)
        first.close()
        assert gc.get_threshold() == RARE
        second.close()
        assert gc.get_threshold() == USUAL

    def test_contexts_of_several_threads(self):
        ready = threading.Barrier(8)

        def enter():
            ready.wait()
            for _ in range(200):
                with rare_collections():
                    assert gc.get_threshold() == RARE

        threads = [threading.Thread(target=enter) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gc.get_threshold() == USUAL

    @pytest.mark.parametrize("given", [(0, 10, 10), (NEW_OBJECTS + 1, 10, 10)])
    def test_a_collector_that_runs_less_often_is_left_alone(self, given):
        gc.set_threshold(*given)
        with rare_collections():
            assert gc.get_threshold() == given
        assert gc.get_threshold() == given

    def test_a_collector_that_is_off_stays_off(self):
        gc.disable()
        try:
            with rare_collections():
                assert not gc.isenabled()
            assert not gc.isenabled()
        finally:
            gc.enable()

    def test_what_others_set_meanwhile_stays(self):
        with rare_collections():
            gc.set_threshold(5000, 10, 10)
        assert gc.get_threshold() == (5000, 10, 10)

    def test_garbage_is_still_found(self):
        """Also if a context does not end, as in a generator that nobody reads to its end."""
        alive, most = weakref.WeakSet(), 0
        with rare_collections():
            for i in range(5 * NEW_OBJECTS // 2):
                node = _Cycle()
                if i % 1000 == 0:
                    alive.add(node)
                    most = max(most, len(alive))
        assert NEW_OBJECTS / 5000 < most < NEW_OBJECTS / 900


class _Cycle:
    def __init__(self):
        self.me = self


class Echo:
    """An engine that gives back what it reads, and records the thresholds meanwhile."""

    name, precision = "echo", "float32"

    def __init__(self, error=None):
        self.thresholds, self.error = set(), error

    def search(self, sources, limits, *, scored):
        for i, ids in enumerate(sources):
            self.thresholds.add(gc.get_threshold())
            if self.error and i:
                raise self.error
            yield i, [Hypothesis.from_output([*ids, EOS], -1.0, 1.0)]


@pytest.fixture
def translator(reverser):
    translator = Translator.load(reverser, device="cpu", decoding={"beam_size": 1})
    translator.engine = Echo()
    return translator


LINES = ["a b c", "d e", "", "f"]


class TestTranslator:
    @pytest.mark.parametrize(
        "call", [Translator.translate, Translator.n_best, Translator.hypotheses, lambda t, lines: list(t.stream(lines))]
    )
    def test_of_every_call(self, translator, call):
        assert len(call(translator, LINES)) == len(LINES)
        assert translator.engine.thresholds == {RARE}
        assert gc.get_threshold() == USUAL
        translator.engine = Echo(error=UserError("gone", mend="find it"))
        with pytest.raises(UserError, match="gone"):
            call(translator, LINES)
        assert translator.engine.thresholds == {RARE}
        assert gc.get_threshold() == USUAL

    def test_alignments(self, translator):
        with torch.inference_mode():
            assert len(translator.align(LINES)) == len(LINES)
        assert translator.engine.thresholds == {RARE}
        assert gc.get_threshold() == USUAL

    def test_while_a_caller_uses_a_translation(self, translator):
        stream = translator.stream(LINES)
        assert next(stream) == "a b c"
        assert gc.get_threshold() == USUAL, "this stream may never be read to its end"
        assert translator.engine.thresholds == {RARE}
        stream.close()
        assert gc.get_threshold() == USUAL

    def test_events_that_are_not_read_to_their_end(self, translator):
        events = translator.translate_windows(IterableReader(LINES), scored=False)
        assert isinstance(next(events), WindowProgress)
        assert gc.get_threshold() == RARE
        events.close()
        assert gc.get_threshold() == USUAL
        for event in translator.translate_windows(IterableReader(LINES), scored=False):
            assert gc.get_threshold() == (USUAL if isinstance(event, WindowTranslated) else RARE)
        assert gc.get_threshold() == USUAL

    def test_a_long_stream_takes_constant_memory(self, translator, monkeypatch):
        monkeypatch.setattr(windows, "MAX_LINES", 200)
        n_alive = []
        for i, _ in enumerate(translator.stream("a b c" for _ in range(6000))):
            if i % 1000 == 500:
                n_alive.append(len(gc.get_objects()))
        assert len(n_alive) == 6
        # A window has more than 5 objects a line; a leak of one a line would make the last number 5,000 larger.
        assert max(n_alive[1:]) - min(n_alive[1:]) < 2000
