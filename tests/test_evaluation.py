"""Scores: known ones, sacreBLEU's own signatures, and what is refused."""

import pytest
import sacrebleu

from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation import METRICS, build_metric, parse_metrics, score, score_file, score_run

REFERENCES = ["The cat sat on the mat.", "It is raining today."]

# Hypotheses, and their scores worked out by sacreBLEU 2.6 on the command line.
KNOWN = {
    "bleu": [(REFERENCES, 100.0), (["The cat sat on a mat.", "It is raining today."], 69.19), (["x", "y"], 0.0)],
    "chrf": [(REFERENCES, 100.0), (["The cat sat on a mat.", "It is raining today."], 82.53), (["x", "z"], 0.0)],
    "ter": [(REFERENCES, 0.0), (["The cat sat on a mat.", "It is raining today."], 10.0), (["x", "y"], 100.0)],
}


@pytest.mark.parametrize("name", METRICS)
def test_known_scores(name):
    for hypotheses, expected in KNOWN[name]:
        assert score(name, hypotheses, REFERENCES).value == pytest.approx(expected, abs=0.01)


def test_the_score_and_signature_are_those_of_sacrebleu():
    hypotheses = ["The cat sat on a mat.", "It rains today."]
    metric = sacrebleu.BLEU()
    ours = score("bleu", hypotheses, REFERENCES, "en")
    assert ours.value == metric.corpus_score(hypotheses, [REFERENCES]).score
    assert ours.signature == str(metric.get_signature())
    assert "case:mixed" in ours.signature
    assert "tok:13a" in ours.signature


@pytest.mark.parametrize(("language", "tokenizer"), [("en", "13a"), ("zh", "zh"), ("zh-TW", "zh"), ("", "13a")])
def test_the_target_language_selects_the_tokenizer(language, tokenizer):
    metric = build_metric("bleu", language)
    metric.corpus_score(["a"], [["a"]])
    assert f"tok:{tokenizer}" in str(metric.get_signature())


def test_a_language_whose_tokenizer_is_not_installed():
    try:
        import MeCab  # noqa: F401  # as where somebody has installed it
    except ImportError:
        with pytest.raises(UserError, match="ja") as caught:
            build_metric("bleu", "ja")
        assert caught.value.code == ExitCode.REFUSED
        assert 'pip install "sacrebleu[ja]"' in caught.value.mend
    else:
        assert build_metric("bleu", "ja") is not None


@pytest.mark.parametrize(("words", "names"), [("bleu", ["bleu"]), (" BLEU , chrf,", ["bleu", "chrf"])])
def test_metric_names(words, names):
    assert parse_metrics(words) == names


@pytest.mark.parametrize("words", ["", ",", "bleu,rouge"])
def test_no_such_metric(words):
    with pytest.raises(UserError, match="no metric") as caught:
        parse_metrics(words)
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_what_cannot_be_scored(hypotheses, references):
    with pytest.raises(UserError) as caught:
        score("bleu", hypotheses, references)
    assert caught.value.code == ExitCode.BAD_DATA


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


def test_references_are_read_from_every_kind_of_corpus(tmp_path):
    (tmp_path / "hyp").write_text("one\ntwo\n")
    (tmp_path / "c.en").write_text("one\ntwo\n")
    (tmp_path / "c.de").write_text("eins\nzwei\n")
    (tmp_path / "c.tsv").write_text("eins\tone\nzwei\ttwo\n")
    (tmp_path / "c.jsonl").write_text('{"de": "eins", "en": "one"}\n{"de": "zwei", "en": "two"}\n')
    for corpus, langs in (("c", "de-en"), ("c.en", None), ("c.tsv", None), ("c.jsonl", "de-en")):
        result = score_file(tmp_path / "hyp", str(tmp_path / corpus), ["chrf"], langs=langs)
        assert (result.sentences, result.scores["chrf"].value, result.seconds) == (2, 100.0, None)


def test_bad_bytes_are_counted(tmp_path):
    (tmp_path / "hyp").write_text("one\ntwo\n")
    (tmp_path / "ref").write_bytes(b"one\ntw\xff\n")
    assert score_file(tmp_path / "hyp", str(tmp_path / "ref"), ["chrf"]).invalid_utf8 == 1
    with pytest.raises(UserError, match="line 2"):
        score_file(tmp_path / "hyp", str(tmp_path / "ref"), ["chrf"], strict=True)


def test_languages_may_be_named_otherwise_than_the_runs(reverser, tmp_path):
    (tmp_path / "c.xx").write_text("a b c\n")
    (tmp_path / "c.yy").write_text("c b a\n")
    (result,) = score_run(reverser, [str(tmp_path / "c")], ["chrf"], langs="xx-yy", device="cpu")
    assert result.scores["chrf"].value == 100.0
