"""Scores: known scores, sacreBLEU's signatures, weak scores, and errors."""

import gzip
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import sacrebleu
from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_ko_mecab

from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import (
    METRICS,
    MetricOptions,
    ScoringOptions,
    build_metric,
    parse_metrics,
    score,
    score_file,
    score_run,
    warnings_about,
)
from seq2seq.runs import commit, read_file, read_manifest

REFERENCES = ["The cat sat on the mat.", "It is raining today."]

# Hypotheses, and their scores by sacreBLEU 2.6 on the command line.
KNOWN = {
    "bleu": [(REFERENCES, 100.0), (["The cat sat on a mat.", "It is raining today."], 69.19), (["x", "y"], 0.0)],
    "chrf": [(REFERENCES, 100.0), (["The cat sat on a mat.", "It is raining today."], 82.53), (["x", "z"], 0.0)],
    "chrf++": [(REFERENCES, 100.0), (["The cat sat on a mat.", "It is raining today."], 83.37), (["x", "z"], 0.0)],
    "ter": [(REFERENCES, 0.0), (["The cat sat on a mat.", "It is raining today."], 10.0), (["x", "y"], 100.0)],
}


@pytest.mark.parametrize("name", METRICS)
def test_known_scores(name):
    for hypotheses, expected in KNOWN[name]:
        assert score(name, hypotheses, REFERENCES).value == pytest.approx(expected, abs=0.01)


ZH = ("今天天气很好，我们去公园散步吧。", "今天天气很好，我们去公园玩吧。")
JA = ("今日は天気がいいので、公園を散歩しましょう。", "今日は天気がいいので、公園へ行きましょう。")
TH = ("วันนี้อากาศดีมาก", "วันนี้อากาศร้อนมาก")
EN = ("The cat sat on the mat.", "The cat sat on a mat.")
PINYIN = ("jintian tianqi hen hao", "jintian tianqi hen bu hao")


@pytest.mark.parametrize(
    ("codes", "name", "pair", "value", "signature"),
    [
        ("zh zho zho_Hans zh-TW cmn yue", "bleu", ZH, 77.11, "tok:zh"),
        ("zh zho zho_Hans zh-TW cmn yue", "ter", ZH, 12.5, "norm:yes|punct:yes|asian:yes"),
        ("ja jpn jpn_Jpan ja-JP", "ter", JA, 28.57, "norm:yes|punct:yes|asian:yes"),
        ("th tha tha_Thai", "bleu", TH, 65.41, "tok:char"),
        ("th tha tha_Thai", "ter", TH, 100.0, "norm:no|punct:yes|asian:no"),
        ("en eng eng_Latn de zh-Latn", "bleu", EN, 48.89, "tok:13a"),
        ("en ko kor", "ter", EN, 16.67, "norm:no|punct:yes|asian:no"),
        ("zh-Latn", "bleu", PINYIN, 42.73, "tok:13a"),
        ("zh th en", "chrf++", EN, 68.44, "nw:2"),
    ],
)
def test_known_scores_by_language(codes, name, pair, value, signature):
    reference, hypothesis = pair
    for code in codes.split():
        found = score(name, [hypothesis], [reference], code)
        assert found.value == pytest.approx(value, abs=0.01), code
        assert signature in found.signature, code


def test_the_score_and_signature_are_those_of_sacrebleu():
    hypotheses = ["The cat sat on a mat.", "It rains today."]
    metric = sacrebleu.BLEU()
    ours = score("bleu", hypotheses, REFERENCES, "en")
    assert ours.value == metric.corpus_score(hypotheses, [REFERENCES]).score
    assert ours.signature == str(metric.get_signature())
    assert "case:mixed" in ours.signature
    assert "tok:13a" in ours.signature


@pytest.mark.parametrize(
    ("code", "row", "module"),
    [
        *((code, "ja", tokenizer_ja_mecab) for code in ("ja", "jpn", "jpn_Jpan", "ja-JP")),
        *((code, "ko", tokenizer_ko_mecab) for code in ("ko", "kor", "kor_Hang", "ko_KR")),
    ],
)
def test_a_tokenizer_that_is_not_installed_is_noticed_in_every_spelling(monkeypatch, code, row, module):
    monkeypatch.setattr(module, "MeCab", None)
    with pytest.raises(UserError, match=code) as caught:
        score("bleu", ["a"], ["a"], code)
    assert caught.value.code == ExitCode.REFUSED
    chrf = "choose chrF: `eval metrics=chrf`, `train training.best_metric=chrf`"
    assert caught.value.mend == f'pip install "sacrebleu[{row}]", or {chrf}'
    assert score("chrf", ["a"], ["a"], code).value == 100


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("bleu", ["bleu"]), (" BLEU , chrf,", ["bleu", "chrf"]), ("chrF2", ["chrf"]), ("chrF++", ["chrf++"]),
        ("chrF2++,TER", ["chrf++", "ter"]), ("chrf,chrF2,Chrf", ["chrf"]),
    ],
)  # fmt: skip
def test_metric_names(words, names):
    """Printed names are accepted as arguments."""
    assert parse_metrics(words) == names
    assert parse_metrics(",".join(score(name, ["a"], ["a"]).name for name in names)) == names


@pytest.mark.parametrize("words", ["", ",", "bleu,rouge", "chrf3", "chrf+"])
def test_an_unknown_metric(words):
    with pytest.raises(UserError, match="unknown metric") as caught:
        parse_metrics(words)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_what_cannot_be_scored(hypotheses, references):
    with pytest.raises(UserError) as caught:
        score("bleu", hypotheses, references)
    assert caught.value.code == ExitCode.BAD_DATA


def test_a_bleu_without_a_correct_4_gram_counts_as_zero():
    """No 4-gram is correct, but smoothing gives long hypotheses a score above 0."""
    loops = score("bleu", ["open open open open open"], ["open file"])
    assert loops.value > 5
    assert loops.comparable == 0
    right = score("bleu", EN[1:], EN[:1])
    assert right.comparable == right.value > 0
    assert score("bleu", ["open file"], ["open file"]).comparable == 0
    assert score("chrf", ["open"], ["open file"]).comparable > 0


@pytest.mark.parametrize(
    ("name", "row", "references", "says"),
    [
        ("bleu", "de", ["Datei öffnen", "Neu"], "BLEU says nothing"),
        ("bleu", "de", ["Neu", "Datei jetzt öffnen."], ""),
        ("bleu", "zh", ["打开文件"], ""),
        ("bleu", "zh", ["文件", "新"], "BLEU says nothing"),
        ("bleu", "th", ["เปิดไฟล์"], ""),
        ("ter", "th", ["เปิดไฟล์"], "TER says little"),
        ("ter", "zh", ["打开文件"], ""),
        ("ter", "ko", ["파일 열기"], ""),
        ("chrf", "th", ["เปิดไฟล์"], ""),
    ],
)
def test_weak_scores_are_reported(name, row, references, says):
    assert "".join(warnings_about(name, row, references)).startswith(says)
    assert bool(warnings_about(name, row, references)) == bool(says)


def test_references_of_a_table_need_no_language(tmp_path):
    (tmp_path / "hyp").write_text("one\ntwo\n")
    (tmp_path / "en.txt").write_text("one\ntwo\n")
    (tmp_path / "c.csv").write_text("1,source,target\n1,eins,one\n2,zwei,two\n")
    (tmp_path / "c.txt").write_text("one\teins\tx\ntwo\tzwei\ty\n")
    (tmp_path / "c.jsonl").write_text('{"a": "eins", "b": "one"}\n{"a": "zwei", "b": "two"}\n')
    (tmp_path / "de.txt").write_text("eins\nzwei\n")
    for corpus in ("c.csv[2,3]", "c.csv", "c.txt[2,1]", "c.jsonl[a,b]", f"de.txt,{tmp_path}/en.txt"):
        result = score_file(tmp_path / "hyp", f"{tmp_path}/{corpus}", ["chrf"])
        assert (result.scores["chrf"].value, result.sentences) == (100.0, 2), corpus
        assert [note[:18] for note in result.notes] == ["row 1 is a header:"] * ("csv" in corpus), corpus


def test_references_are_read_from_every_format(tmp_path):
    (tmp_path / "hyp").write_text("one\ntwo\n")
    (tmp_path / "c.en").write_text("one\ntwo\n")
    (tmp_path / "c.de").write_text("eins\nzwei\n")
    (tmp_path / "c.tsv").write_text("eins\tone\nzwei\ttwo\n")
    (tmp_path / "c.jsonl").write_text('{"de": "eins", "en": "one"}\n{"de": "zwei", "en": "two"}\n')
    for corpus, langs in (("c", "de-en"), ("c", "fr-en"), ("c.en", None), ("c.tsv", None), ("c.jsonl", "de-en")):
        result = score_file(tmp_path / "hyp", str(tmp_path / corpus), ["chrf"], langs=langs)
        assert (result.sentences, result.scores["chrf"].value, result.seconds) == (2, 100.0, None)


@pytest.mark.parametrize(
    ("name", "text", "langs", "tokenizer"),
    [
        *((f"ref.{code}", ZH[0], None, "zh") for code in ("zh", "zho", "zho_Hans", "zh-TW", "cmn", "yue", "zh.txt")),
        *((f"ref.zho_Hans{suffix}", ZH[0], None, "zh") for suffix in (".gz", ".bz2", ".xz")),
        *((name, ZH[0], langs, "zh") for name in ("ref", "ref.txt", "ref.en") for langs in ("en-zh", "de:cmn_Hans")),
        *((name, ZH[0], None, None) for name in ("ref", "ref.txt", "ref.hyp", "ref.txt.gz")),
        ("ref.txt", TH[0], None, None),
        ("ref.txt", "우리는 내일 서울에 갑니다.", None, None),
        ("ref.txt", TH[0], "en-xx", "char"),
        ("ref.th", TH[0], None, "char"),
        *((name, EN[0], None, "13a") for name in ("ref", "ref.txt", "ref.en", "ref.xx.gz", "ref.zh-Latn")),
        ("ref.txt", "كتاب جديد على الطاولة", None, "13a"),
    ],
)
def test_the_language_of_references_is_known_or_requested(tmp_path, name, text, langs, tokenizer):
    """If the language is unknown, sentences that the tokenizer 13a cannot split are not scored."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith((".gz", ".bz2", ".xz")) else text.encode())
    if tokenizer is not None:
        result = score_file(path, str(path), ["bleu"], langs=langs)
        assert f"tok:{tokenizer}|" in result.scores["bleu"].signature
        return
    for metrics in (["bleu"], ["chrf", "ter"]):
        with pytest.raises(UserError, match=r"language of .* is not known") as caught:
            score_file(path, str(path), metrics, langs=langs)
        assert caught.value.code == ExitCode.USAGE
        assert "name the languages with `langs`, as in `langs=" in caught.value.mend
    assert score_file(path, str(path), ["chrf", "chrf++"], langs=langs).scores["chrf"].value == 100


@pytest.mark.parametrize(
    ("hypotheses", "references", "n", "dropped", "value"),
    [
        ("one two\nx\n", "one two\n \n", 1, 1, 100.0),  # a blank reference is left out, whatever the hypothesis
        ("one two\n\n", "one two\nthree four\n", 2, 0, 50.0),  # a blank hypothesis is a bad translation
        ("one two\n\u3000\n", "one two\n\u3000\n", 1, 1, 100.0),
    ],
)
def test_pairs_with_a_blank_side_are_left_out_and_counted(tmp_path, hypotheses, references, n, dropped, value):
    (tmp_path / "hyp").write_text(hypotheses)
    (tmp_path / "ref.en").write_text(references)
    result = score_file(tmp_path / "hyp", str(tmp_path / "ref.en"), ["ter"])
    assert (result.sentences, result.dropped_empty) == (n, dropped)
    assert result.scores["ter"].value == 100.0 - value


def test_pairs_with_a_blank_source_are_left_out(reverser, tmp_path):
    (tmp_path / "c.ab").write_text("a b c\n\nd e\nf g\n")
    (tmp_path / "c.ba").write_text("c b a\nx y\n \ng f\n")
    kept = tmp_path / "kept"
    (ran,) = score_run(reverser, [str(tmp_path / "c")], ["chrf"], device="cpu", output=kept)
    assert (ran.sentences, ran.dropped_empty) == (2, 2)
    assert ran.scores["chrf"].value == 100.0
    assert len(kept.read_text().splitlines()) == 4
    again = score_file(kept, str(tmp_path / "c"), ["chrf"], langs="ab-ba")
    assert (again.sentences, again.dropped_empty, again.scores) == (2, 2, ran.scores)


@contextmanager
def pipe(data: bytes):
    """The path of a pipe that can be read once, such as ``<(command)``."""
    end, start = os.pipe()

    def fill() -> None:
        with os.fdopen(start, "wb") as file:
            file.write(data)

    writer = threading.Thread(target=fill)
    writer.start()
    yield f"/dev/fd/{end}"
    writer.join()
    os.close(end)


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/fd")
def test_pipes_are_read_once(tmp_path):
    lines = "".join(f"line {i}\n" for i in range(9000)).encode()
    with pipe(lines) as hypotheses, pipe(gzip.compress(lines)) as references:
        result = score_file(Path(hypotheses), references, ["bleu"])
    assert (result.sentences, result.scores["bleu"].value) == (9000, 0.0)
    with pipe(ZH[0].encode()) as hypotheses, pipe(ZH[0].encode()) as references:
        result = score_file(Path(hypotheses), references, ["bleu"], langs="en-zho")
    assert result.scores["bleu"].value == pytest.approx(100)


def test_bad_bytes_are_counted(tmp_path):
    (tmp_path / "hyp").write_text("one\ntwo\n")
    (tmp_path / "ref").write_bytes(b"one\ntw\xff\n")
    words = (tmp_path / "hyp", str(tmp_path / "ref"), ["chrf"])
    assert score_file(*words, encoding_errors="replace").invalid_utf8 == 1
    with pytest.raises(UserError, match="ref, line 2: not UTF-8"):
        score_file(*words, encoding_errors="strict")
    with pytest.raises(UserError, match="ref: 1 of 2 lines is not UTF-8, the first is line 2"):
        score_file(*words)
    (tmp_path / "hyp").write_bytes("schön\nFüße\n".encode("cp1252"))
    (tmp_path / "ref").write_text("schön\nFüße\n")
    with pytest.raises(
        UserError, match=r"hyp: 2 of 2 lines .*looks like WINDOWS-1252.*iconv -f WINDOWS-1252.*`data\.enc"
    ):
        score_file(*words)


def test_a_run_determines_how_corpora_are_read(reverser, tmp_path):
    (tmp_path / "c.ab").write_bytes(b"a b\na \xff\n")
    (tmp_path / "c.ba").write_text("b a\nc a\n")
    run = shutil.copytree(reverser, tmp_path / "run")
    manifest = read_manifest(run)
    config = read_file(run, manifest, "config.toml").replace(b'errors = "refuse"', b'errors = "replace"')
    with pytest.raises(UserError, match="not UTF-8"):
        score_run(run, [str(tmp_path / "c")], ["chrf"], device="cpu")
    commit(run, manifest, {"config-next.toml": config}, manifest.files.keys() - {"config.toml"})
    assert score_run(run, [str(tmp_path / "c")], ["chrf"], device="cpu")[0].invalid_utf8 == 1
    with pytest.raises(UserError, match="line 2: not UTF-8"):
        score_run(run, [str(tmp_path / "c")], ["chrf"], device="cpu", encoding_errors="strict")


def test_languages_may_have_other_names_than_in_the_run(reverser, tmp_path):
    (tmp_path / "c.xx").write_text("a b c\n")
    (tmp_path / "c.yy").write_text("c b a\n")
    (result,) = score_run(reverser, [str(tmp_path / "c")], ["chrf"], langs="xx-yy", device="cpu")
    assert result.scores["chrf"].value == 100.0


# Options of the metrics, and several references -----------------------------------------------------


def files_of(folder: Path, **texts: str) -> dict[str, Path]:
    """Files of these names and texts."""
    paths = {name: folder / name for name in texts}
    for name, path in paths.items():
        path.write_text(texts[name], encoding="utf-8")
    return paths


@pytest.mark.parametrize(
    ("options", "name", "metric"),
    [
        (ScoringOptions(tokenize="intl"), "bleu", sacrebleu.BLEU(tokenize="intl")),
        (ScoringOptions(tokenize="char"), "bleu", sacrebleu.BLEU(tokenize="char")),
        (ScoringOptions(tokenize="none", lowercase=True), "bleu", sacrebleu.BLEU(tokenize="none", lowercase=True)),
        (ScoringOptions(lowercase=True), "chrf", sacrebleu.CHRF(lowercase=True)),
        (ScoringOptions(lowercase=True), "chrf++", sacrebleu.CHRF(lowercase=True, word_order=2)),
        (ScoringOptions(lowercase=True), "ter", sacrebleu.TER()),
    ],
)
def test_options_of_sacrebleu_are_in_the_score_and_its_signature(tmp_path, options, name, metric):
    hypotheses = ["the Cat sat on a mat…", "It rains today, doesn’t it?"]
    files = files_of(tmp_path, hyp="\n".join(hypotheses), ref="\n".join(REFERENCES))
    found = score_file(files["hyp"], str(files["ref"]), [name], options=options).scores[name]
    expected = metric.corpus_score(hypotheses, [REFERENCES])
    assert (found.value, found.signature) == (expected.score, str(metric.get_signature()))
    plain = score_file(files["hyp"], str(files["ref"]), [name]).scores[name]
    assert (plain.signature != found.signature) == (name != "ter")


def test_a_named_tokenizer_decides_in_any_language(tmp_path):
    files = files_of(tmp_path, hyp=ZH[1], ref=ZH[0])
    with pytest.raises(UserError, match=r"language of .* is not known"):
        score_file(files["hyp"], str(files["ref"]), ["bleu"])
    found = score_file(files["hyp"], str(files["ref"]), ["bleu"], options=ScoringOptions(tokenize="zh"))
    assert "tok:zh|" in found.scores["bleu"].signature
    with pytest.raises(UserError, match=r"language of .* is not known"):
        score_file(files["hyp"], str(files["ref"]), ["bleu", "ter"], options=ScoringOptions(tokenize="zh"))
    found = score_file(files["hyp"], str(files["ref"]), ["bleu"], langs="en-zh", options=ScoringOptions(tokenize="13a"))
    assert "tok:13a|" in found.scores["bleu"].signature


@pytest.mark.parametrize(
    ("options", "metrics", "says"),
    [
        (
            ScoringOptions(tokenize="moses"),
            ["bleu"],
            "unknown tokenizer 'moses'; choose among none, zh, 13a, ",
        ),
        (ScoringOptions(tokenize="intl"), ["chrf", "ter"], "tokenizer of BLEU, which is not among the metrics"),
    ],
)
def test_tokenizers_that_are_refused(tmp_path, options, metrics, says):
    files = files_of(tmp_path, hyp="a", ref="a")
    with pytest.raises(UserError, match=says) as caught:
        score_file(files["hyp"], str(files["ref"]), metrics, options=options)
    assert caught.value.code == ExitCode.USAGE


def test_a_tokenizer_that_cannot_be_downloaded(monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.TokenizerSPM.__init__", fail)
    with pytest.raises(UserError, match=r"tokenizer spm cannot be used: no network; .* connect") as caught:
        build_metric("bleu", "en", MetricOptions(tokenize="spm"))
    assert caught.value.code == ExitCode.REFUSED


def test_several_references(tmp_path):
    hypotheses, other = ["The cat sat on a mat.", "It rains today."], ["A cat was on a mat.", "It rains today."]
    more = files_of(tmp_path, hyp="\n".join(hypotheses), ref="\n".join(REFERENCES), ref2="\n".join(other))
    options = ScoringOptions(references=[more["ref2"]])
    for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF()), ("ter", sacrebleu.TER())):
        result = score_file(more["hyp"], str(more["ref"]), [name], options=options)
        assert result.scores[name].value == metric.corpus_score(hypotheses, [REFERENCES, other]).score
        assert "nrefs:2" in result.scores[name].signature
        assert result.verdict == "", "the guide is for one reference"
    assert score_file(more["hyp"], str(more["ref"]), ["bleu"]).verdict


def test_a_blank_line_is_a_missing_reference(tmp_path):
    files = files_of(tmp_path, hyp="a b\nc d\n", ref="a b\n\n", ref2="\nx y\n")
    result = score_file(files["hyp"], str(files["ref"]), ["chrf"], options=ScoringOptions(references=[files["ref2"]]))
    assert (result.sentences, result.dropped_empty, result.scores["chrf"].value) == (1, 1, 100.0)
    files = files_of(tmp_path, hyp="a b\nc d\n", ref="a b\nc d\n", ref2="\nx y\n")
    result = score_file(files["hyp"], str(files["ref"]), ["chrf"], options=ScoringOptions(references=[files["ref2"]]))
    assert "nrefs:var" in result.scores["chrf"].signature


def test_references_of_other_counts_are_refused(tmp_path):
    files = files_of(tmp_path, hyp="a\nb\n", ref="a\nb\n", ref2="a\nb\nc\n")
    options = ScoringOptions(references=[files["ref2"]])
    with pytest.raises(UserError, match=r"ref2 has 3 lines but .*ref has 2; give one ref") as caught:
        score_file(files["hyp"], str(files["ref"]), ["chrf"], options=options)
    assert caught.value.code == ExitCode.BAD_DATA


def test_several_references_of_a_run(reverser, tmp_path):
    files_of(tmp_path, **{"c.ab": "a b c\n", "c.ba": "x y z\n", "d.ba": "c b a\n"})
    options = ScoringOptions(references=[tmp_path / "d.ba"])
    (found,) = score_run(reverser, [str(tmp_path / "c")], ["chrf"], options=options, device="cpu")
    assert found.scores["chrf"].value == 100.0
    with pytest.raises(UserError, match="references of one corpus") as caught:
        score_run(reverser, [str(tmp_path / "c")] * 2, ["chrf"], options=options, device="cpu")
    assert caught.value.code == ExitCode.USAGE
