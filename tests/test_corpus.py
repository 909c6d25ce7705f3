"""From CORPUS to pairs, with every reader and for hostile input. test_hub.py and test_store.py test the rest."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from corpora import COMPRESSIONS, FORMS, LANGS, PARQUETS, RAW, cut_off, refusal_of, write

from seq2seq.config import DataConfig
from seq2seq.corpus import READERS, CorpusCounts, Pair, find_reader, read_pairs
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.text import is_blank, one_line
from seq2seq.training.ingest import read_corpora


@pytest.fixture(autouse=True)
def network(tmp_path_factory, monkeypatch):
    """The requested hosts: there must be none."""
    return cut_off(monkeypatch, tmp_path_factory.mktemp("cache"))


# Every reader, hostile input ------------------------------------------------------------------------

HOSTILE = {
    "plain": [("Ja.", "Yes."), ("Nein.", "No.")],
    "blank": [("", ""), (" ", "a"), ("b", "\u3000"), ("c", "d")],
    "NUL": [("a\0b", "\0"), ("c", "d")],
    "lone CR": [("a\rb", "\rc"), ("d", "e")],
    "U+2028, U+2029": [("a\u2028b", "c\u2029d"), ("e", "f")],
    "U+0085": [("a\x85b", "\x85"), ("c", "d")],
    "VT, FF, FS": [("a\vb\fc", "d\x1ce"), ("f", "g")],
    "BOM inside": [("a", "b"), ("\ufeffc", "d\ufeff")],
    "long": [("x" * 200_000, "ü" * 200_000), ("a", "b")],
    "quotes": [('"a', "b\\n'"), ('{"de": 1}', '[""]'), ("=1+1", "#a,b;c")],
    "control symbols": [("<s> </s>", "<pad><unk>")],
    "many scripts": [("😀👩‍👧", "中文字"), ("שלום", "e\u0301"), ("\U0010ffff", "\ue000")],
    "many": [(str(i), f"-{i}") for i in range(2500)],
}
VARIANTS = [(form, suffix) for form in ("prefix", "tsv", "csv", "jsonl") for suffix in COMPRESSIONS]
VARIANTS += [("two files", ""), ("two files", ".xz"), ("tsv, columns", ""), ("tsv, columns", ".gz"), ("ndjson", "")]
VARIANTS += [("*", ""), ("*", ".zst")]
VARIANTS += [(form, "") for form in ("jsonl, nested", "hf", "hf, nested", *PARQUETS)]
BY_PLACE = {"two files", "tsv", "tsv, columns", "csv", "*"}
TEXTUAL = [(form, suffix) for form, suffix in VARIANTS if form not in PARQUETS]


def hostile_cases():
    """Every text in every form. Compression and the hub's packing know nothing of the text in them, so that three texts
    stand for all there, and the others are slow."""
    for form, suffix in VARIANTS:
        for name, pairs in HOSTILE.items():
            if form == "*" and name == "BOM inside":
                continue  # it would stand at the beginning of the second file, where it is no text
            is_quick = (form in ("prefix", "tsv", "csv", "jsonl") and not suffix) or name in (
                "plain",
                "lone CR",
                "many",
            )
            marks = [] if is_quick else pytest.mark.slow
            yield pytest.param(form, suffix, pairs, id=f"{form}{suffix}-{name}", marks=marks)


@pytest.mark.parametrize(("form", "suffix", "pairs"), list(hostile_cases()))
def test_hostile_text(tmp_path, network, form, suffix, pairs):
    corpus = write(tmp_path, form, pairs, suffix)
    counts = CorpusCounts()
    read = list(read_pairs(corpus, LANGS, counts=counts))
    assert read == [pair if form in RAW else tuple(map(one_line, pair)) for pair in pairs]
    assert all(type(pair) is Pair for pair in read)
    assert (counts.pairs, counts.blank) == (len(pairs), sum(is_blank(a) or is_blank(b) for a, b in pairs))
    assert counts.invalid_utf8 == 0
    backwards = list(read_pairs(corpus, LANGS[::-1], encoding_errors="strict"))
    assert backwards == (read if form in BY_PLACE else [pair[::-1] for pair in read]), "columns have no names"
    assert network == []


def test_every_reader_is_tested(tmp_path):
    found = {find_reader(write(tmp_path, form, [("a", "b")], suffix), LANGS) for form, suffix in TEXTUAL}
    assert found == set(READERS.values())


CHANGES = {
    "BOM": lambda data: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "no last newline": lambda data: data.removesuffix(b"\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(("form", "suffix"), TEXTUAL)
def test_equivalent_bytes(tmp_path, form, suffix, change):
    pairs = [("Ja.", "Yes."), ("Nein.", "No."), ("a", "b")]
    assert list(read_pairs(write(tmp_path, form, pairs, suffix, change), LANGS, encoding_errors="strict")) == pairs


@pytest.mark.parametrize(("form", "suffix"), TEXTUAL)
def test_invalid_utf8(tmp_path, form, suffix):
    pairs = [("Ja.", "Yes."), ("Nein.", "No, MARK."), ("MARK", "a"), ("b", "c")]
    corpus = write(tmp_path, form, pairs, suffix, lambda data: data.replace(b"MARK", b"\xff\xc3"))
    if form.startswith("hf"):
        assert "is not UTF-8; convert its files" in refusal_of(corpus)
        return
    assert "not UTF-8" in refusal_of(corpus), "more than 1 line in 100"
    counts = CorpusCounts()
    bad = "\ufffd\ufffd"
    read = list(read_pairs(corpus, LANGS, encoding_errors="replace", counts=counts))
    assert read == [("Ja.", "Yes."), ("Nein.", f"No, {bad}."), (bad, "a"), ("b", "c")]
    assert (counts.pairs, counts.invalid_utf8) == (4, 2)
    names = {"prefix": "corpus.en", "two files": "eng.txt", "tsv, columns": "corpus.txt", "*": "corpus-1.tsv"}
    where = tmp_path / names.get(form, Path(corpus).name.removesuffix(suffix))
    strict = read_pairs(corpus, LANGS, encoding_errors="strict")
    assert next(strict) == ("Ja.", "Yes.")
    with pytest.raises(UserError, match=rf"^{where}{suffix}, line [23]: not UTF-8") as caught:
        list(strict)
    assert caught.value.code == ExitCode.BAD_DATA


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("form", "suffix"), TEXTUAL)
def test_utf16_is_refused(tmp_path, form, suffix, encoding):
    corpus = write(
        tmp_path, form, [("Schön ist das Haus.", "The house is nice.")] * 3, suffix,
        lambda data: data.decode().encode(encoding),
    )  # fmt: skip
    refusal = refusal_of(corpus)
    assert form.startswith("hf") or "iconv -f UTF-" in refusal


def test_invalid_utf8_in_parquet(tmp_path):
    offsets, values = np.array([0, 1], np.int32), b"\xff"
    text = pyarrow.Array.from_buffers(pyarrow.string(), 1, [None, *map(pyarrow.py_buffer, (offsets, values))])
    pyarrow.parquet.write_table(pyarrow.table({"de": text, "en": ["a"]}), tmp_path / "train.parquet")
    assert "is not UTF-8" in refusal_of(f"hf:{tmp_path}")


@pytest.mark.parametrize("form", ["prefix", "tsv", "csv", "jsonl", "hf"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_cut_short(tmp_path, form, suffix):
    corpus = write(tmp_path, form, [(str(i), str(-i)) for i in range(20_000)], suffix, cut=-20)
    assert "end" in refusal_of(corpus), "the end came too early"


@pytest.mark.parametrize("form", [*FORMS, "hf, parquet"])
def test_empty(tmp_path, form):
    corpus = write(tmp_path, form, [])
    with pytest.raises(UserError, match=r"holds no pair|one of its files is empty") as caught:
        read_corpora(tmp_path / "prepared", DataConfig(langs="de-en", train=(corpus,)), lambda text: None)
    assert caught.value.code == ExitCode.BAD_DATA


@pytest.mark.parametrize(
    "word",
    [
        "no",
        "no/no",
        "no.tsv",
        "no.tsv.gz",
        "no.jsonl",
        "no.jsonl.xz",
        "no.csv",
        "no.tsv[1,2]",
        "no.txt[2,1]",
        "no,no.txt",
        "no.txt",
        "no.xlsx",
        "no.tmx.gz",
        "~/no.tsv",
        "n" * 300,
        "https://no/no.tsv",
        "",
        "hf:./no",
        "hf:/no",
    ],
)
def test_missing(tmp_path, monkeypatch, network, word):
    monkeypatch.chdir(tmp_path)
    assert word.removeprefix("hf:").partition("[")[0] in refusal_of(word, code=ExitCode.NO_INPUT)
    assert network == []


# Prefix ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_src", "n_tgt"), [(3, 2), (2, 3), (0, 1), (1, 0), (1200, 1100), (5, 90_000)])
def test_misaligned_sides(tmp_path, n_src, n_tgt):
    (tmp_path / "a.de").write_text("x\n" * n_src)
    (tmp_path / "a.en.gz").write_bytes(gzip.compress(b"y\n" * n_tgt))
    message = refusal_of(tmp_path / "a")
    assert message.startswith(f"{tmp_path}/a.de has {counted(n_src, 'line')} but {tmp_path}/a.en.gz has {n_tgt:,}; ")


def test_a_plain_file_is_preferred_to_a_compressed_one(tmp_path):
    write(tmp_path, "prefix", [("compressed", "a")], ".gz")
    (tmp_path / "corpus.de").write_text("plain\n")
    assert list(read_pairs(str(tmp_path / "corpus"), LANGS)) == [("plain", "a")]


def test_compression_is_recognized_by_content(tmp_path):
    (tmp_path / "a.de.gz").write_bytes(b"plain\n")
    (tmp_path / "a.en.gz").write_bytes(lzma.compress(b"xz\n"))
    assert list(read_pairs(str(tmp_path / "a"), LANGS)) == [("plain", "xz")]


def test_languages_that_do_not_match_the_files(tmp_path):
    corpus = write(tmp_path, "prefix", [("Ja.", "Yes.")], ".gz")
    message = refusal_of(corpus, ("de", "fr"), code=ExitCode.NO_INPUT)
    assert message.startswith(f"{corpus}.fr not found")
    assert "but there is corpus.de, corpus.en; the files have other languages than de and fr" in message
    assert refusal_of(corpus, ("cs", "fr"), code=ExitCode.NO_INPUT).startswith(f"{corpus}.cs and {corpus}.fr not")


def test_a_file_name_instead_of_a_prefix(tmp_path):
    corpus = write(tmp_path, "prefix", [("Ja.", "Yes.")])
    message = refusal_of(f"{corpus}.de")
    assert message.endswith(f"; leave the language out of the name: CORPUS is what comes before .de and .en, {corpus}")


def test_a_prefix_may_look_like_another_form(tmp_path):
    for name in ("news.tsv", "news.jsonl", "a,b", "data[1,2]", "news.txt[2,1]", "news.csv", "news.xlsx"):
        (tmp_path / f"{name}.de").write_text("a\n")
        (tmp_path / f"{name}.en").write_text("b\n")
        assert list(read_pairs(str(tmp_path / name), LANGS)) == [("a", "b")]


# Lines without a pair ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("a.tsv", "x", "1 column, not 2: x; give"), ("a.tsv", "x\ty\tz", "3 columns, not 2: x | y | z; give"),
        ("a.tsv", "x\ty\t", "3 columns, not 2"), ("a.jsonl", '{"de": "x"', "not valid JSON"),
        ("a.jsonl", "{", "`jq -c . "),
        ("a.csv", "x", "1 column, not 2: x; give each"), ("a.csv", "x,y,z", "3 columns, not 2"),
        ("a.csv", '"x"y,z', "wrong quotes for CSV"),
        ("a.csv", '"x,y', "wrong quotes for CSV (unexpected end of data"),
        ("a.jsonl", '{"de": "x"} {}', "not valid JSON"),
        ("a.jsonl", "[" * 100_000, "not valid JSON"), ("a.jsonl", "[]", "a list"),
        ("a.jsonl", "null", "not de and en"), ("a.jsonl", "9" * 5000, "a str, not de"), ("a.jsonl", "{}", "keys none"),
        ("a.jsonl", '{"de": "x", "fr": "y"}', "keys de, fr, not de and en; name the languages"),
        ("a.jsonl", '{"translation": {"de": "x", "fr\\n": "y"}}', "keys de, fr , not de"),
        ("a.jsonl", '{"de": true, "en": "y"}', "de is bool, not a string"),
        ("a.jsonl", '{"de": ["x"], "en": "y"}', "de is list, not a string"),
    ],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_the_error_names_a_line_without_a_pair(tmp_path, name, line, says):
    good = {"a.tsv": "a\tb", "a.csv": "a,b"}.get(name, '{"de": "a", "en": "b"}')
    (tmp_path / name).write_text(
        f"{good}\n{good}\n{line}\n{good}\n" if line != '"x,y' else f"{good}\n{good}\n{line}", newline=""
    )
    pairs = read_pairs(str(tmp_path / name), LANGS)
    assert [next(pairs), next(pairs)] == [("a", "b")] * 2
    with pytest.raises(UserError) as caught:
        next(pairs)
    assert caught.value.code == ExitCode.BAD_DATA
    assert caught.value.what.startswith(f"{tmp_path}/{name}, line 3: ")
    assert says in str(caught.value)


def test_json_strings_with_newlines_and_surrogates(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"de": "a\\nb\\u2028", "en": "\\ud83d\\ude00\\ud83d"}')
    assert list(read_pairs(str(tmp_path / "a.jsonl"), LANGS)) == [("a b ", "😀\ufffd")]


# Rows with less than a pair --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_a_blank_line_is_a_pair_without_text(tmp_path, name, blank):
    """Other readers of these formats skip it. Here it counts as a pair, so lines of other files stay aligned."""
    row = {"a.tsv": "{}\t{}", "a.csv": "{},{}", "a.jsonl": '{{"de": "{}", "en": "{}"}}'}[name]
    rows = [blank, row.format("a", "b"), blank, row.format("c", "d"), blank, blank]
    (tmp_path / name).write_text("".join(f"{line}\n" for line in rows))
    counts = CorpusCounts()
    read = list(read_pairs(str(tmp_path / name), LANGS, counts=counts))
    assert read == [("", ""), ("a", "b"), ("", ""), ("c", "d"), ("", ""), ("", "")]
    assert (counts.pairs, counts.blank) == (6, 4)


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ('{"de": "x", "en": null}', ("x", "")), ('{"de": NaN, "en": "y"}', ("", "y")),
        ('{"translation": {"de": null, "en": null}}', ("", "")), ('{"de": 1, "en": -1.10}', ("1", "-1.10")),
        ('{"translation": {"language": ["en", "de", "en"], "translation": ["y", "x", "z"]}}', ("x", "y")),
        ('{"translation": {"language": ["en"], "translation": ["y"]}}', ("", "y")),
        ('{"id": 1, "translations": {"de": "x", "en": "y", "fr": "z"}}', ("x", "y")),
        ('{"de": "x", "en": "y", "meta": {"de": "a", "en": "b"}}', ("x", "y")),
    ],
    ids=str,
)  # fmt: skip
def test_a_row_of_json(tmp_path, row, pair):
    (tmp_path / "a.jsonl").write_text(f'{{"de": "a", "en": "b"}}\n{row}\n')
    assert list(read_pairs(str(tmp_path / "a.jsonl"), LANGS)) == [("a", "b"), pair]


@pytest.mark.parametrize(
    ("word", "row", "pair", "note"),
    [
        ("a.jsonl[b,a]", {"a": "x", "b": "y"}, ("y", "x"), None),
        ("a.jsonl[Twi (Akan),English]", {"English": "x", "Twi (Akan)": "y"}, ("y", "x"), None),
        ("a.jsonl", {"src": "x", "tgt": "y"}, ("x", "y"), "src is read as de, tgt as en"),
        ("a.jsonl", {"English": "y", "DEU": "x"}, ("x", "y"), "DEU is read as de, English as en"),
        ("a.jsonl", {"text_eng_Latn": "y", "text_deu_Latn": "x"}, ("x", "y"), "text_deu_Latn is read as de"),
    ],
    ids=str,
)  # fmt: skip
def test_keys_of_json(tmp_path, word, row, pair, note):
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    counts = CorpusCounts()
    assert list(read_pairs(str(tmp_path / word), LANGS, counts=counts)) == [pair] * 2
    assert [note in message for message in counts.notes] == ([True] if note else [])


def test_two_files_of_unequal_length(tmp_path):
    write(tmp_path, "two files", [("a", "b")])
    (tmp_path / "eng.txt").write_text("b\nc\n")
    assert "deu.txt has 1 line but" in refusal_of(f"{tmp_path}/deu.txt,{tmp_path}/eng.txt")
