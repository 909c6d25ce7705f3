"""Reports of misaligned corpora by `train` and `eval`: the line, the files, and how to train anyway."""

import bz2
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from corpora import FORMS, write

from seq2seq.config import DataConfig
from seq2seq.errors import ExitCode, UserError
from seq2seq.training.ingest import CorpusRecord, read_corpora
from seq2seq.training.progress import Notice

PHRASEBOOK = Path(__file__).parent.parent / "data" / "phrasebook"


@pytest.fixture(scope="module")
def pairs():
    packed = ((PHRASEBOOK / f"train.{lang}.bz2").read_bytes() for lang in ("de", "en"))
    return list(zip(*(bz2.decompress(text).decode().splitlines()[:3000] for text in packed), strict=True))


def shifted(pairs, start):
    """Pairs with one missing translation: those after it are one line too early."""
    tgt = [pair[1] for pair in pairs]
    return [(pair[0], t) for pair, t in zip(pairs, [*tgt[:start], *tgt[start + 1 :]], strict=False)]


def read(folder, train, *, valid=(), alarms="refuse"):
    """The records of corpora, and the notices about them."""
    notices: list[str | Notice] = []
    data = DataConfig(langs="de-en", train=tuple(train), valid=tuple(valid), alarms=alarms)
    return read_corpora(folder / "prepared", data, notices.append), notices


def refusal(folder, train, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, train, **options)
    assert caught.value.code == ExitCode.BAD_DATA
    assert "data.alarms=warn" in caught.value.mend
    return caught.value.what


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("form", FORMS)
def test_a_shifted_corpus_is_refused_in_every_format(tmp_path, pairs, form, suffix):
    if form.startswith("hf") and suffix:
        return
    corpus = write(tmp_path, form, shifted(pairs, 1712), suffix)
    sides = f"{corpus}.de and {corpus}.en" if form == "prefix" else f"the sides of {corpus}"
    unit = "row" if form.startswith(("csv", "hf")) else "line"
    what, _, line = refusal(tmp_path, [corpus]).partition(f" do not match from about {unit} ")
    number, _, how = line.partition(" on: ")
    assert what == sides
    assert abs(int(number.replace(",", "")) - 1713) <= 100
    assert how == f"translations come 1 {unit} too early"


def test_the_reported_line_is_that_of_the_file(tmp_path, pairs):
    """Pairs with a blank side are dropped earlier, but count as lines."""
    blank = [("", "x"), ("x", " ")] * 400
    corpus = write(tmp_path, "prefix", [*blank, *pairs[:1000], *blank, *shifted(pairs[1000:], 0), *blank])
    records, notices = read(tmp_path, [corpus], alarms="warn")
    assert abs(records[0].misaligned_line - 2601) <= 100
    assert isinstance(notices[-1], Notice)
    assert notices[-1].warning


def test_each_corpus_is_checked_by_itself(tmp_path, pairs):
    """Also one that is too short to prove a shift, and validation corpora."""
    for name in ("good", "bad", "short"):
        (tmp_path / name).mkdir()
    good = write(tmp_path / "good", "tsv", pairs)
    bad = write(tmp_path / "bad", "jsonl", shifted(pairs[:1000], 0))
    short = write(tmp_path / "short", "prefix", shifted(pairs[:100], 0))
    for train, valid in (([good, bad, short], []), ([good, short], [short, bad])):
        records, _ = read(tmp_path, train, valid=valid, alarms="warn")
        assert {record.corpus for record in records if record.misaligned_line == 1} == {bad}
        assert [record.misaligned_by for record in records if record.misaligned_line] == [-1]
        assert bad in refusal(tmp_path, train, valid=valid)


def test_a_corpus_in_another_order_is_refused(tmp_path, pairs):
    mixed = [(src, tgt) for (src, _), (_, tgt) in zip(pairs, sorted(pairs), strict=True)]
    corpus = write(tmp_path, "tsv", mixed)
    assert "are unrelated" in refusal(tmp_path, [corpus])


def test_the_warning_is_repeated_for_stored_text(tmp_path, pairs):
    corpus = write(tmp_path, "tsv", shifted(pairs, 0))
    first = read(tmp_path, [corpus], alarms="warn")
    stored = json.loads((tmp_path / "prepared" / "corpora.json").read_text())["corpora"]
    assert first[0] == [CorpusRecord(**record) for record in stored]
    assert asdict(first[0][0])["misaligned_line"] == 1
    assert read(tmp_path, [corpus], alarms="warn") == first
    assert refusal(tmp_path, [corpus])


def test_train_and_eval_report_it(cli, tmp_path, pairs):
    corpus = write(tmp_path, "prefix", shifted(pairs[:200], 0))
    (tmp_path / "valid").mkdir()
    valid = write(tmp_path / "valid", "tsv", pairs[200:203])
    run = tmp_path / "run"
    words = ["train", "-l", "de-en", "--train", corpus, "--valid", valid, "-o", run, "--device", "cpu"]
    refused = cli(*words)
    assert refused.code == ExitCode.BAD_DATA
    assert [line.partition(": ")[0] for line in refused.err.splitlines()] == [corpus, "error"], "counts come first"
    tiny = ["data.vocab_size=400", "model.d_model=8", "model.d_ff=8", "model.n_heads=1", "training.max_updates=1"]
    tiny += ["decoding.max_length=2", "model.encoder_layers=1", "model.decoder_layers=1", "data.alarms=warn"]
    done = cli(*words, "--preset", "tiny", *(word for setting in tiny for word in ("--set", setting)))
    assert done.code == 0, done.err
    assert f"warning: {corpus}.de" in done.err.replace("\n", "")
    record = json.loads((run / "manifest.json").read_text())["corpora"][0]
    assert (record["misaligned_line"], record["misaligned_by"]) == (1, -1)
    scored = cli("eval", run, corpus, "-b", 1, "-m", "chrf", "--device", "cpu", "--workers", 1)
    assert scored.code == 0
    assert "do not match from about line 1 on" in scored.err
