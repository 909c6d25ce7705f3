"""Training on streams: the pairs of each update, interruptions, bad shards, alarms, and what is refused."""

import contextlib
import gc
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pytest
from corpora import zstd

from seq2seq import batching
from seq2seq.config import DataConfig, Layer, RunConfig, TrainingConfig, parse_toml
from seq2seq.errors import ExitCode, Interrupted, UserError
from seq2seq.runs import load_checkpoint, read_manifest
from seq2seq.training import Request, starting, train
from seq2seq.training.ingest import read_corpora
from seq2seq.training.parallel import Ranks
from seq2seq.training.prepare import prepare
from seq2seq.training.progress import Finished, Notice
from seq2seq.training.state import StreamState
from seq2seq.training.stream_loader import StreamLoader

WORDS = ["rot", "blau", "grün", "gelb", "weiß", "schwarz", "hell", "dunkel", "groß", "klein"]
MEANINGS = ["red", "blue", "green", "yellow", "white", "black", "light", "dark", "big", "small"]
TINY: Layer = {
    "preset": "tiny",
    "data": {"langs": "de-en", "vocab_size": 320, "stream_sample": 200, "streaming": True},
    "model": {"d_model": 32, "d_ff": 64, "n_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    "training": {"batch_tokens": 100, "warmup_updates": 10, "max_updates": 24, "valid_every": 24, "report_every": 4},
    "decoding": {"beam_size": 1, "length_penalty": 1.0, "max_length": 8},
}


def write_shard(path: Path, n: int, seed: int) -> None:
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        places = draw.choices(range(10), k=draw.randint(1, 5))
        src, tgt = (" ".join(words[place] for place in places) for words in (WORDS, MEANINGS))
        rows.append(json.dumps({"de": f"{seed} {i} {src}", "en": f"{tgt} {i} {seed}"}))
    path.write_bytes(zstd("".join(f"{row}\n" for row in rows).encode()))


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(batching, "POOL", 90)
    monkeypatch.setattr(starting, "measured_rate", lambda *_: 1e11)  # to measure takes longer than to train


@pytest.fixture
def corpora(tmp_path) -> Layer:
    """Two corpora with 3 and 2 shards, 250 pairs in all."""
    for name, sizes in (("a", (40, 60, 80)), ("b", (30, 40))):
        (tmp_path / name).mkdir()
        for i, n in enumerate(sizes):
            write_shard(tmp_path / name / f"{i}.jsonl.zst", n, seed=10 * ord(name) + i)
    return {"data": {"train": [f"{tmp_path}/{name}/*.jsonl.zst" for name in "ab"]}}


def request(run, *layers: Layer) -> Request:
    return Request(run, [TINY, *layers], device="cpu")


class StopAt:
    """A flag that stops training at its ``n``-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> int | None:
        self.left -= 1
        return 15 if self.left <= 0 else None


def trained(run, *layers: Layer):
    return list(train(request(run, *layers)))


def refusal(run, *layers: Layer, code=ExitCode.USAGE) -> str:
    with pytest.raises(UserError) as caught:
        trained(run, *layers)
    assert caught.value.code == code
    return str(caught.value)


def notices(events) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def weights_of(run: Path) -> bytes:
    """The bytes of the last checkpoint's tensors."""
    (path,) = load_checkpoint(run).path.glob("tensors*.safetensors")
    return path.read_bytes()


# The pairs of each update -------------------------------------------------------------------------------


def loader_of(folder, corpora, state=None, alpha=0.0, ranks=None, n_ahead=0, **data):
    keys = TINY["data"] | corpora["data"] | {"subword_sampling": alpha} | data
    config = RunConfig(data=DataConfig(**keys), training=TrainingConfig(batch_tokens=100, seed=3))
    records = read_corpora(folder / "prepared", config.data, lambda notice: None)
    prepared = prepare(folder / "prepared", config.data, records, lambda notice: None)
    return StreamLoader(prepared, config, state, ranks, n_ahead), prepared


@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_two_ranks_share_the_pairs_of_each_update(tmp_path, corpora, alpha):
    found = []
    for ranks in (None, Ranks(rank=0, n=2), Ranks(rank=1, n=2)):
        loader, prepared = loader_of(tmp_path, corpora, alpha=alpha, ranks=ranks)
        with contextlib.closing(loader.updates(0)) as updates:
            found.append([listed(prepared.tokenizer, pairs) for pairs, _, _ in islice(updates, 9)])
    texts = [[sorted(one[: len(one) - 2]) for one in of_rank] for of_rank in found]
    for whole, first, second in zip(*texts, strict=True):
        assert sorted(first + second) == whole
        assert len(first) - len(second) in (0, 1)


def listed(tokenizer, pairs):
    """The pairs of an update, and their pieces."""
    texts = zip(tokenizer.decode(pairs.src), tokenizer.decode(pairs.tgt), strict=True)
    return [*texts, *([[*ids] for ids in side] for side in (pairs.src, pairs.tgt))]


def updates_of(folder, corpora, n, state=None, done=0, **options):
    """Some updates; after each of them, what a checkpoint would hold."""
    loader, prepared = loader_of(folder, corpora, state, **options)
    found, places = [], [(asdict(loader.state), done)]
    updates = loader.updates(0, done)
    for pairs, _, nth in islice(updates, n):
        found.append(listed(prepared.tokenizer, pairs))
        places.append((asdict(loader.state), nth))
    updates.close()
    return found, places, prepared


@pytest.mark.parametrize(
    ("alpha", "data"),
    [(0.0, {}), (0.3, {"weights": (3.0, 1.0)}), (0.0, {"weights": (1.0, 3.0), "bad_shards": "skip"})],
    ids=["one source", "weights, sampled subwords", "weights, bad shard"],
)
def test_resumed_updates_have_the_same_pairs(tmp_path, corpora, alpha, data):
    """After any update: within pools, at their ends, and across the ends of sources."""
    if "bad_shards" in data:
        path = tmp_path / "a" / "1.jsonl.zst"
        path.write_bytes(path.read_bytes()[:-9])
    n = 45
    whole, places, _ = updates_of(tmp_path, corpora, n, alpha=alpha, **data)
    assert any(source["epoch"] for source in places[-1][0]["sources"]), "sources have ended"
    assert len({place["pool"] for place, _ in places}) > 3
    for done in (1, *[n for n, place in enumerate(places) if place[1] == 0 and n][:1], 30):
        state, nth = places[done]
        state = StreamState(**json.loads(json.dumps(state)))
        resumed, later, _ = updates_of(tmp_path, corpora, n - done, state, nth, alpha=alpha, **data)
        assert [i for i in range(n - done) if resumed[i] != whole[done + i]] == []
        assert later == places[done:]


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_reading_ahead_changes_neither_updates_nor_their_states(tmp_path, corpora, alpha):
    expected, states, _ = updates_of(tmp_path, corpora, 45, alpha=alpha)
    found, places, _ = updates_of(tmp_path, corpora, 45, alpha=alpha, n_ahead=2)
    assert (found, places) == (expected, states)
    assert len({place["pool"] for place, _ in places}) > 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("reader", "stream"))]


def test_the_first_pool_has_each_pair_once_except_those_held_out(tmp_path, corpora, monkeypatch):
    monkeypatch.setattr(batching, "POOL", 250)
    updates, places, prepared = updates_of(tmp_path, corpora, 100)
    n_updates = next(n for n, (place, _) in enumerate(places) if place["pool"])
    pairs = [pair for update in updates[:n_updates] for pair in update[:-2]]
    assert len(set(pairs)) == len(pairs) == 250 - len(prepared.valid)
    assert not {tuple(pair) for pair in prepared.valid} & set(pairs)
    counts = StreamState(**places[n_updates - 1][0]).total()
    assert (counts["read"], counts["kept"], counts["left_out"]) == (250, len(pairs), len(prepared.valid))
    # Updates hold pairs of similar lengths, from all shards.
    assert len({pair[0].split()[0] for update in updates[:4] for pair in update[:-2]}) == 5


ANOTHER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_streaming as t
t.batching.POOL = 90
folder = Path(sys.argv[2])
found, _, _ = t.updates_of(folder, {"data": {"train": sys.argv[3:]}}, 20, weights=(3.0, 1.0))
print(found)
"""


@pytest.mark.slow
def test_two_processes_make_the_same_updates(tmp_path, corpora):
    """Hashes of text differ between them."""
    expected, _, _ = updates_of(tmp_path, corpora, 20, weights=(3.0, 1.0))
    tests = Path(__file__).parent
    program = [sys.executable, "-c", ANOTHER, str(tests), str(tmp_path), *corpora["data"]["train"]]
    environment = {"PYTHONPATH": str(tests.parent), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(program, capture_output=True, text=True, check=True, env=environment).stdout
    assert found.strip() == str(expected)


# Whole runs -------------------------------------------------------------------------------------------


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, corpora):
    """In the first pool, at its end, and later; by the same command, and by the configuration of the run."""
    weights: Layer = {"data": {"weights": [2.0, 1.0]}}
    events = trained(tmp_path / "whole", corpora, weights)
    assert isinstance(events[-1], Finished)
    folder = tmp_path / "parts"
    for n_calls in (3, 12):
        with pytest.raises(Interrupted):
            list(train(request(folder, corpora, weights), StopAt(n_calls)))
    trained(folder, corpora, weights)
    assert weights_of(folder) == weights_of(tmp_path / "whole")
    manifest = read_manifest(folder)
    assert manifest.corpora == read_manifest(tmp_path / "whole").corpora
    total = manifest.corpora[-1]
    assert total["read"] >= total["kept"] > 0
    again = tmp_path / "again"
    toml = parse_toml((folder / "config.toml").read_bytes(), folder / "config.toml")
    list(train(Request(again, [toml], device="cpu")))
    assert weights_of(again) == weights_of(folder)
    assert "finished" in str(trained(folder, corpora, weights)[-1].reason)


def test_a_bad_shard_in_the_middle_can_be_skipped_by_the_resumed_run(tmp_path, corpora):
    """What was trained before it was found is kept, and the result is that of skipping from the start."""
    path = tmp_path / "a" / "2.jsonl.zst"
    rows = [json.dumps({"de": f"{i} x", "en": f"y {i}"}) for i in range(100)]
    path.write_bytes(zstd("\n".join([*rows, '{"de": "x"}', ""]).encode()))
    layer: Layer = {"data": {"stream_sample": 100}, "training": {"max_updates": 40, "valid_every": 40}}
    message = refusal(tmp_path / "run", corpora, layer, code=ExitCode.BAD_DATA)
    assert f"{path}, line 101" in message
    assert "data.bad_shards=skip" in message
    assert load_checkpoint(tmp_path / "run").state["update"] > 5
    skip: Layer = {"data": {"bad_shards": "skip"}}
    events = trained(tmp_path / "run", corpora, layer, skip)
    assert f"{path} is skipped after 100 of its pairs" in notices(events)
    trained(tmp_path / "whole", corpora, layer, skip)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")
    assert read_manifest(tmp_path / "run").corpora[-1]["bad_shards"] == [str(path)]


def test_a_signal_ends_the_wait_for_a_pool(tmp_path, corpora, monkeypatch):
    real = StreamLoader._read

    def slow(self, stream, start):
        while start.pool == 1 and not self._is_closed:
            time.sleep(0.01)
        return real(self, stream, start)

    monkeypatch.setattr(StreamLoader, "_read", slow)
    with pytest.raises(Interrupted) as caught:
        list(train(request(tmp_path / "run", corpora), StopAt(14)))
    assert caught.value.update == load_checkpoint(tmp_path / "run").state["update"] < 13
    monkeypatch.undo()
    monkeypatch.setattr(batching, "POOL", 90)
    trained(tmp_path / "run", corpora)
    trained(tmp_path / "whole", corpora)
    assert weights_of(tmp_path / "run") == weights_of(tmp_path / "whole")


def test_the_first_pool_does_not_count_as_a_slow_update(tmp_path, corpora, monkeypatch):
    real = StreamLoader._read

    def slow(self, stream, start):
        time.sleep(1.0 if start.pool == 0 else 0.0)
        return real(self, stream, start)

    monkeypatch.setattr(StreamLoader, "_read", slow)
    events = trained(tmp_path / "run", corpora, {"training": {"max_updates": None, "time_budget": 4.0}})
    assert events[-1].update > 3


def test_a_missing_shard_is_refused_before_training(tmp_path, corpora):
    words = [f"{tmp_path}/a/{i}.jsonl.zst" for i in range(4)]
    layer: Layer = {"data": {"train": words}}
    assert f"{words[3]} cannot be read: No such file" in refusal(tmp_path / "run", layer, code=ExitCode.NO_INPUT)
    assert not (tmp_path / "run").exists()


def test_other_shards_are_refused_when_a_run_is_resumed(tmp_path, corpora):
    with pytest.raises(Interrupted):
        list(train(request(tmp_path / "run", corpora), StopAt(4)))
    (tmp_path / "moved").mkdir()
    (tmp_path / "a").rename(tmp_path / "moved" / "a")
    (tmp_path / "b").rename(tmp_path / "moved" / "b")
    moved: Layer = {"data": {"train": [f"{tmp_path}/moved/{name}/*.jsonl.zst" for name in "ab"]}}
    write_shard(tmp_path / "moved" / "b" / "2.jsonl.zst", 3, seed=1)
    assert "other corpora" in refusal(tmp_path / "run", moved, code=ExitCode.REFUSED)
    (tmp_path / "moved" / "b" / "2.jsonl.zst").unlink()
    trained(tmp_path / "run", moved)


def test_a_local_data_set_is_streamed(tmp_path, corpora):
    (tmp_path / "set").mkdir()
    for i in range(2):
        rows = [{"translation": {"de": f"{i} {j} rot", "en": f"red {j} {i}"}} for j in range(60)]
        (tmp_path / "set" / f"train-{i}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    valid = json.dumps({"translation": {"de": "1 2 blau", "en": "blue 2 1"}})
    (tmp_path / "set" / "validation.jsonl").write_text(f"{valid}\n" * 3)
    word = f"hf:{tmp_path}/set:train?streaming"
    layer: Layer = {"data": {"train": [word, *corpora["data"]["train"]], "weights": [1, 2, 1]}}
    untold: Layer = {**TINY, "data": {key: value for key, value in TINY["data"].items() if key != "streaming"}}
    events = list(train(Request(tmp_path / "run", [untold, layer], device="cpu")))
    assert f"hf:{tmp_path}/set:train: a stream of 2 shards, before training 50 pairs" in notices(events)
    assert "set:validation is used for validation" in notices(events)
    assert "streaming = true" in (tmp_path / "run" / "config.toml").read_text()
    gc.collect()  # files that datasets has left open, while the warning is ignored


# Alarms -------------------------------------------------------------------------------------------------


def shifted_shard(path: Path, n: int, start: int) -> None:
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(n + 1)]
    rows = [{"de": texts[i], "en": texts[i + (i >= start)]} for i in range(n)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_a_misaligned_shard_is_named_whenever_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "POOL", 900)
    path = tmp_path / "x.jsonl"
    shifted_shard(path, 1800, 1300)
    layer: Layer = {"data": {"train": [str(path)], "stream_sample": 500}, "training": {"max_updates": 100}}
    message = refusal(tmp_path / "late", layer, {"training": {"batch_tokens": 2000}}, code=ExitCode.BAD_DATA)
    where = int(message.partition("from about line ")[2].partition(" on:")[0].replace(",", ""))
    assert abs(where - 1301) <= 100
    early: Layer = {"data": {"stream_sample": 1800}}
    assert "from about line 1,3" in refusal(tmp_path / "early", layer, early, code=ExitCode.BAD_DATA)
    assert not (tmp_path / "early" / "checkpoints").exists()
    warn: Layer = {"data": {"alarms": "warn"}, "training": {"batch_tokens": 2000, "max_updates": 16}}
    assert "from about line 1,3" in notices(trained(tmp_path / "warn", layer, warn))


def test_dropped_pairs_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(batching, "POOL", 106)
    rows = [{"de": f"{i} rot", "en": f"red {i}"} for i in range(100)]
    rows += [{"de": "", "en": "x"}, {"de": " rot" * 400, "en": "red"}, {"de": "\x01", "en": "x"}] * 2
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    layer: Layer = {"data": {"train": [f"{tmp_path}/x.jsonl"], "stream_sample": 20, "normalization": "nfkc"}}
    events = trained(tmp_path / "run", layer, {"training": {"max_updates": 2}})
    assert "the first 106 pairs of the stream: 2 dropped: a side is blank; 2 dropped: a side is too" in notices(events)
    total = read_manifest(tmp_path / "run").corpora[-1]
    dropped = Counter({name: n for name, n in total.items() if name.startswith("dropped")})
    assert dropped == {
        "dropped_empty": 2,
        "dropped_too_long": 2,
        "dropped_nothing_left": 2,
        "dropped_held_out_or_leaks": 4,
    }
    assert (total["read"], total["kept"]) == (106, 96)


# Refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"training": {"max_updates": None, "max_epochs": 3}}, "`training.max_epochs=3` cannot be used with a stream"),
        ({"training": {"max_updates": None}}, "give `training.max_updates` or `training.time_budget`"),
        ({"data": {"weights": [1.0]}}, "data.weights has 1 number for 2 corpora"),
        ({"data": {"weights": [1.0, 1.0], "streaming": False}}, "`data.weights` applies only to corpora"),
        ({"data": {"bad_shards": "skip", "streaming": False}}, "`data.bad_shards=skip` applies only to corpora"),
        ({"data": {"valid": ["x.tsv?streaming"]}}, "cannot be streamed"),
        ({"data": {"train": ["x.tsv?streaming"], "streaming": False}}, "give one of them"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_stream_is_refused(tmp_path, corpora, layer, says):
    assert says in refusal(tmp_path / "run", corpora, layer)


def test_epochs_are_refused_when_a_run_is_resumed(tmp_path, corpora):
    trained(tmp_path / "run", corpora, {"training": {"max_updates": 2}})
    assert "whose size is unknown" in refusal(
        tmp_path / "run", corpora, {"training": {"max_updates": None, "max_epochs": 2}}
    )
