"""Streams of shards: resumed at any pair, mixed by weight, bad shards refused or skipped."""

import gc
import json
import random
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow
import pytest
from corpora import LANGS, cut_off, write, zstd

from seq2seq.corpus import Stream, read_pairs, shards_of
from seq2seq.corpus.words import is_pattern, matches
from seq2seq.errors import ExitCode, UserError

# datasets leaves a file that was not read to its end to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def network(request, tmp_path_factory, monkeypatch):
    """The hosts that were asked for."""
    yield cut_off(monkeypatch, tmp_path_factory.mktemp("cache"))
    if "hf" in request.node.name or "data_set" in request.node.name:
        gc.collect()  # files that datasets has left open, while the warning is ignored


def pairs_of(name, n):
    return [(f"{name} {i}", f"{i} {name}") for i in range(n)]


def json_shard(folder, name, n):
    rows = [json.dumps(dict(zip(LANGS, pair, strict=True))) for pair in pairs_of(name, n)]
    path = folder / f"{name}.jsonl.zst"
    path.write_bytes(zstd("".join(f"{row}\n" for row in rows).encode()))
    return path


@pytest.fixture
def corpora(tmp_path):
    """Two corpora: shards of 7, 10 and 23 pairs, and shards of 5 and 1 pairs."""
    for folder, sizes in (("a", (7, 10, 23)), ("b", (5, 1))):
        (tmp_path / folder).mkdir()
        for i, n in enumerate(sizes):
            json_shard(tmp_path / folder, f"{folder}{i}", n)
    return [f"{tmp_path}/a/*.jsonl.zst", f"{tmp_path}/b/*.jsonl.zst"]


def stream_of(corpora, weights=None, state=None, **options):
    shards = [shards_of(word, LANGS) for word in corpora]
    if weights is None:
        shards = [[shard for corpus in shards for shard in corpus]]
    return Stream(shards, weights or [1.0], seed=3, langs=LANGS, state=state, **options)


# Words ------------------------------------------------------------------------------------------------


def test_patterns_name_files_or_prefixes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x-2.tsv", "x-1.tsv", "x-10.tsv", "p1.de", "p1.en.gz", "p2.de.zst", "q*.tsv"):
        Path(name).touch()
    assert matches("x-*.tsv", LANGS) == ["x-1.tsv", "x-10.tsv", "x-2.tsv"]
    assert matches("x-?.tsv[2,1]", LANGS) == ["x-1.tsv[2,1]", "x-2.tsv[2,1]"]
    assert matches("p*", LANGS) == ["p1", "p2"]
    assert not is_pattern("q*.tsv"), "a file has this name"
    with pytest.raises(UserError, match=r"y\*\.tsv matches no file") as caught:
        list(read_pairs("y*.tsv", LANGS))
    assert caught.value.code == ExitCode.NO_INPUT


def test_only_training_streams():
    with pytest.raises(UserError, match=r"x\.tsv\?streaming: only training streams; leave out") as caught:
        list(read_pairs("x.tsv?streaming", LANGS))
    assert caught.value.code == ExitCode.USAGE


def test_a_shell_may_expand_a_pattern(cli, tmp_path):
    """``--train a b`` is ``--train a --train b``."""
    for name in "ab":
        (tmp_path / f"{name}.tsv").write_text("x\n")
    for words in (["--train", "a.tsv", "b.tsv"], ["--train=a.tsv", "b.tsv"]):
        outcome = cli("train", "-l", "de-en", *words, "-o", tmp_path / "run", "--set", "data.weights=[1]")
        assert outcome.code == 2
        assert ("data.weights" in outcome.err) == (words[0] == "--train")


# Shards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("jsonl", ".gz"), ("jsonl", ".zst"), ("tsv", ""), ("csv", ".xz"), ("prefix", ".gz"), ("two files", ""),
     ("hf", ".gz"), ("hf", ""), ("hf, nested", ".gz"), ("hf, parquet", "")],
)  # fmt: skip
def test_a_shard_is_read_on_from_any_place(tmp_path, network, form, suffix):
    pairs = pairs_of("x", 40)
    corpus = write(tmp_path, form, pairs, suffix)
    (shard,) = shards_of(corpus, LANGS)
    for n in (0, 1, 17, 39, 40):
        opened = shard.open(LANGS, "refuse")
        assert list(islice(opened.pairs, n)) == pairs[:n]
        place = json.loads(json.dumps(opened.place()))
        again = shard.open(LANGS, "refuse", place)
        assert again.place() == place, "before a pair is read"
        assert list(islice(again.pairs, 3)) == pairs[n : n + 3]
        later = shard.open(LANGS, "refuse", json.loads(json.dumps(again.place())))
        assert list(later.pairs) == pairs[n + 3 :]
    assert network == []


def test_the_shards_of_a_data_set(tmp_path):
    """Also those of a table whose columns have other names."""
    for i in range(3):
        (tmp_path / f"train-{i}.csv").write_text(f"English,German\n{i},NA\n01,x{i}\n")
    shards = shards_of(f"hf:{tmp_path}", LANGS)
    assert [shard.name for shard in shards] == [f"hf:{tmp_path}, train-{i}.csv" for i in range(3)]
    assert [shard.identity for shard in shards] == [f"train-{i}.csv 26" for i in range(3)]
    assert [list(shard.open(LANGS, "refuse").pairs) for shard in shards] == [
        [("NA", str(i)), (f"x{i}", "01")] for i in range(3)
    ]


# Streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [3.0, 1.0]])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_stream_is_resumed_at_any_call(corpora, weights, skip_bad):
    """Across the ends of shards and of sources, which repeat; with a shard that is cut short."""
    if skip_bad:
        path = Path(corpora[0]).parent / "a2.jsonl.zst"
        path.write_bytes(path.read_bytes()[:-9])
    n, calls = 17, 12
    whole, states = stream_of(corpora, weights, skip_bad=skip_bad), []
    pools = []
    for number in range(calls):
        states.append(json.loads(json.dumps(whole.state())))
        pools.append(list(whole.read(n, number)))
    assert whole.epoch > 1
    for number in range(calls):
        resumed = stream_of(corpora, weights, states[number], skip_bad=skip_bad)
        for later in range(number, calls):
            assert list(resumed.read(n, later)) == pools[later]
    assert whole.bad_shards == ([str(path)] if skip_bad else [])


def test_without_weights_each_pair_comes_once_in_an_epoch(corpora):
    stream = stream_of(corpora)
    epochs = [[one.pair for one in stream.read(46, number)] for number in range(3)]
    expected = sorted(pair for word in corpora for pair in read_pairs(word, LANGS))
    assert [sorted(epoch) for epoch in epochs] == [expected] * 3
    assert epochs[0] != epochs[1], "another order in each epoch"
    first = Counter(pair.src.split()[0] for pair in epochs[0][:10])
    assert len(first) > 3, "several shards are read in turns"


def test_weights_are_shares_of_the_pairs(corpora):
    found = Counter(one.pair.src[0] for one in stream_of(corpora, [3.0, 1.0]).read(4000, 0))
    assert abs(found["a"] / 4000 - 0.75) < 0.03
    assert stream_of(corpora, [3.0, 1.0]).epoch == 0


def test_more_shards_than_are_open_at_once(tmp_path):
    for i in range(20):
        json_shard(tmp_path, f"s{i}", 3)
    stream = stream_of([f"{tmp_path}/*.jsonl.zst"])
    first = [one.pair for one in stream.read(60, 0)]
    assert len(set(first)) == 60
    assert len(stream.state()[0]["open"]) <= 8


def damage(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(content[:-9])
    else:
        path.write_bytes(zstd(b'{"de": "x", "en": "y"}\n{"de": "z"}\n'))


@pytest.mark.parametrize(
    ("how", "says", "code"),
    [
        ("missing", "a1.jsonl.zst cannot be read: No such", 66),
        ("cut short", "a1.jsonl.zst ends before", 65),
        ("wrong", "line 2", 65),
    ],
)
def test_a_bad_shard_is_named_or_skipped(corpora, how, says, code):
    folder = Path(corpora[0]).parent
    words = [str(folder / f"a{i}.jsonl.zst") for i in range(3)]
    damage(folder / "a1.jsonl.zst", how)
    with pytest.raises(UserError, match=says) as caught:
        list(stream_of(words).read(100, 0))
    assert caught.value.code == code
    assert "data.bad_shards=skip" in caught.value.mend
    stream = stream_of(words, skip_bad=True)
    read = list(stream.read(100, 0))
    assert stream.bad_shards == [words[1]]
    assert len(stream.warnings) == 1, "once, in whatever number of epochs"
    assert says in stream.warnings[0]
    of_bad = {one.pair for one in read if one.shard == words[1]}
    assert of_bad == ({("x", "y")} if how == "wrong" else set())


def test_a_stream_without_a_readable_pair_ends(corpora):
    folder = Path(corpora[1]).parent
    for name in ("b0", "b1"):
        damage(folder / f"{name}.jsonl.zst", "missing")
    words = [str(folder / f"b{i}.jsonl.zst") for i in range(2)]
    with pytest.raises(UserError, match=r"no pair can be read from .*b0"):
        list(stream_of(words, skip_bad=True).read(1, 0))


def test_a_damaged_file_of_a_data_set(tmp_path):
    rng = random.Random(0)
    for i in range(3):
        table = pyarrow.table({lang: [f"{rng.random()} {lang}" for _ in range(50)] for lang in LANGS})
        pyarrow.parquet.write_table(table, tmp_path / f"train-{i}.parquet")
    stream = stream_of([f"hf:{tmp_path}"], skip_bad=True)
    path = tmp_path / "train-1.parquet"
    path.write_bytes(path.read_bytes()[:300])
    assert len({one.pair for one in stream.read(400, 0)}) == 100
    assert stream.bad_shards == [f"hf:{tmp_path}, train-1.parquet"]


def test_lines_that_are_not_utf8_are_counted_once(tmp_path):
    """Whether the stream is interrupted or not."""
    lines = [b"a%d\xff\tb\n" % i if i in (30, 150, 290) else b"a%d\tb\n" % i for i in range(400)]
    (tmp_path / "x.tsv").write_bytes(b"".join(lines))
    whole = stream_of([f"{tmp_path}/x.tsv"])
    list(whole.read(200, 0))
    state, before = whole.state(), whole.invalid_utf8
    resumed = stream_of([f"{tmp_path}/x.tsv"], state=state)
    list(whole.read(200, 1))
    list(resumed.read(200, 1))
    assert whole.invalid_utf8 == before + resumed.invalid_utf8 == 3


ANOTHER = """
import sys, json
from seq2seq.corpus import Stream, shards_of
langs = ("de", "en")
stream = Stream([shards_of(word, langs) for word in sys.argv[2:]], [3.0, 1.0], seed=3, langs=langs,
                state=json.loads(sys.argv[1]))
print(json.dumps([one.pair for number in (2, 3) for one in stream.read(17, number)]))
"""


def test_another_process_reads_the_same_pairs(corpora):
    stream = stream_of(corpora, [3.0, 1.0])
    for number in (0, 1):
        list(stream.read(17, number))
    program = [sys.executable, "-c", ANOTHER, json.dumps(stream.state()), *corpora]
    environment = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    found = subprocess.run(program, capture_output=True, text=True, check=True, env=environment).stdout
    expected = [list(one.pair) for number in (2, 3) for one in stream.read(17, number)]
    assert json.loads(found) == expected
