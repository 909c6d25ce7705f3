"""Tables: headers, columns by number and by name, quoting, separators; test_corpus.py has hostile text."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from corpora import LANGS, refusal_of

from seq2seq.corpus import CorpusCounts, read_pairs
from seq2seq.corpus.words import ending, split_columns, two_files
from seq2seq.errors import ExitCode, UserError

ROWS = [("Ja, gern.", "Yes, please."), ("Nein.", "No."), ("Wie geht's?", "How are you?")]


def read(path, word, langs=LANGS):
    """The pairs of a corpus, and the notices about its form."""
    counts = CorpusCounts()
    return list(read_pairs(f"{path}/{word}", langs, counts=counts)), counts.notes


def tsv(rows):
    return "".join("\t".join(row) + "\n" for row in rows)


# Words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "path", "columns"),
    [
        ("pairs.tsv[4,2]", "pairs.tsv", ("4", "2")),
        ("my pairs.csv[ German , Twi (Akan) ]", "my pairs.csv", ("German", "Twi (Akan)")),
        ("no.csv[English,Twi [Akan]]", "no.csv", ("English", "Twi [Akan]")),
        ("there.csv[English/UK,Twi [Akan]]", "there.csv", ("English/UK", "Twi [Akan]")),
        ("data[1]/no.tsv[1,2]", "data[1]/no.tsv", ("1", "2")),
        ("hf:a/b@v1#c:train[:10%]", "hf:a/b@v1#c:train[:10%]", None),
        ("hf:a/b:train[:10%][de,en]", "hf:a/b:train[:10%]", ("de", "en")),
        ("data[a,b]/train", "data[a,b]/train", None),
        ("train[1]", "train[1]", None),
        ("there[1,2].tsv", "there[1,2].tsv", None),
        ("whole.tsv[1,2]", "whole.tsv[1,2]", None),
        ("[1,2]", "[1,2]", None),
    ],
)
def test_columns_in_brackets(tmp_path, monkeypatch, word, path, columns):
    monkeypatch.chdir(tmp_path)
    for name in ("there.csv", "there[1,2].tsv", "whole.tsv[1,2]"):
        (tmp_path / name).touch()
    assert split_columns(word) == (path, columns)


@pytest.mark.parametrize("word", ["a.tsv[1,1]", "a.tsv[1,]", "a.tsv[1,2,3]", "there.csv[1]", "there.csv[]", "a.tsv[,]"])
def test_brackets_that_do_not_name_two_columns(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").touch()
    assert "write source and target as [1,2]" in refusal_of(word, code=ExitCode.USAGE)


def test_two_files_of_any_names(tmp_path):
    (tmp_path / "deu.txt").write_text("a\nb\n")
    (tmp_path / "e,n.gz").write_bytes(gzip.compress(b"c\nd\n"))
    word = f"{tmp_path}/deu.txt,{tmp_path}/e,n.gz"
    assert list(read_pairs(word, LANGS)) == [("a", "c"), ("b", "d")]
    assert "eng cannot be read" in refusal_of(f"{tmp_path}/deu.txt,{tmp_path}/eng", code=ExitCode.NO_INPUT)
    (tmp_path / "x,y").touch()
    assert two_files(f"{tmp_path}/x,y") is None, "a file of that very name comes first"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("A.TSV", "tsv"), ("a.tsv.GZ", "tsv"), ("a.b/c", ""), ("a.txt.xz", "txt"), ("a.tar.gz", "tar"), ("a.gz", "")],
)
def test_suffixes(name, kind):
    assert ending(name) == kind


# Headers and columns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "de\ten", "DE\tEN", "deu\teng", "ger\tEnglish", "German\tEnglish", " Deutsch \tENGLISH", "source\ttarget",
        "src\ttrg", "Source text\tTarget text", "German (Germany)\tEnglish (US)", "de_DE\ten-GB",
        "sentence_deu_Latn\tsentence_eng_Latn", "German sentence\tEnglish sentence", "original\ttranslation",
        '"de"\t"en"', "Deutsch\tEnglisch", "Allemand\tAnglais", "deu_Latn\teng_Latn", "source_text\ttarget_text",
    ],
)  # fmt: skip
def test_a_header_is_left_out_and_reported(tmp_path, header):
    rows = [tuple(f'"{cell}"' if '"' in header else cell for cell in row) for row in ROWS * 4]
    (tmp_path / "a.tsv").write_text(f"{header}\n{tsv(rows)}")
    pairs, notes = read(tmp_path, "a.tsv")
    assert pairs == ROWS * 4
    assert notes[0].startswith("row 1 is a header: ")
    assert notes[0].endswith("; left out")


@pytest.mark.parametrize(
    "row",
    [
        "Deutsch\tGerman", "Englisch\tEnglish", "no\tit", "Quelle\tsource", "Source\tSource", "de\tfr", "Text\tText",
        "in\tis", "am\ton the", "Sprache\tLanguage", "Titel\tTitle", "Übersetzung\ttranslation", "Ziel\ttarget",
        "de rien\ten effet", "de deu\ten eng",
    ],
)  # fmt: skip
def test_a_pair_is_not_a_header(tmp_path, row):
    """Real word lists and interface strings begin with such rows."""
    (tmp_path / "a.tsv").write_text(f"{row}\n{tsv(ROWS)}")
    assert read(tmp_path, "a.tsv") == ([tuple(row.split("\t")), *ROWS], [])


def test_a_header_decides_which_column_is_which(tmp_path):
    swapped = [row[::-1] for row in ROWS]
    (tmp_path / "a.tsv").write_text(f"English\tGerman\n{tsv(swapped)}")
    note = "row 1 is a header: English, German; left out"
    assert read(tmp_path, "a.tsv") == (ROWS, [f"{note}; column 2 is read as de, column 1 as en"])
    assert read(tmp_path, "a.tsv", ("en", "de"))[0] == swapped
    assert read(tmp_path, "a.tsv[2,1]") == (ROWS, [note])
    expected = f"{note}; column 1 is still read as de, as the brackets say"
    assert read(tmp_path, "a.tsv[1,2]") == (swapped, [expected])
    message = refusal_of(tmp_path / "a.tsv", ("de", "fr"))
    assert (
        "the header names English, German, not de and fr; name the languages with `data.langs`, or the columns as"
        in message
    )
    assert read(tmp_path, "a.tsv[2,1]", ("de", "fr")) == (ROWS, [note]), "the brackets decide"


WIDE = [("1", de, en, "CC") for de, en in ROWS]


@pytest.mark.parametrize(
    ("word", "header"),
    [
        ("a.tsv[2,3]", None), ("a.tsv", "id\tde\ten\tlicence"), ("a.tsv", "id\tsource\ttarget\torigin"),
        ("a.tsv[2,3]", "id\tde\ten\tlicence"), ("a.tsv[German,Twi (Akan)]", "id\tGerman\tTwi (Akan)\t"),
        ("a.tsv[german,3]", "\t German\tx\ty"), ("a.tsv[German,english]", "English\tGerman\tenglish\tx"),
    ],
)  # fmt: skip
def test_columns_are_chosen(tmp_path, word, header):
    (tmp_path / "a.tsv").write_text(f"{header}\n{tsv(WIDE)}" if header else tsv(WIDE))
    pairs, notes = read(tmp_path, word)
    assert pairs == ROWS
    assert len(notes) == bool(header)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ("[1,5]", "has 4 columns, but no column 5; give a number from 1 to 4"), ("[0,1]", "no column 0"),
        ("[de,fr]", "has no column fr; its first row is de, en, twin, twin;"),
        ("[de,twin]", "has two columns named twin"),
    ],
)  # fmt: skip
def test_missing_columns(tmp_path, columns, says):
    (tmp_path / "a.tsv").write_text("de\ten\ttwin\ttwin\n" + tsv(WIDE))
    assert says in refusal_of(f"{tmp_path}/a.tsv{columns}")


ANKI = "CC-BY 2.0 (France) Attribution: tatoeba.org #2877272 (CM) & #8597805 (Roujin)"


@pytest.mark.parametrize(
    ("name", "row", "langs", "choice"),
    [
        ("deu.txt", ["Go.", "Geh.", ANKI], ("de", "en"), "[2,1]"),
        ("deu.txt", ["Go.", "Geh.", ANKI], ("eng", "deu"), "[1,2]"),
        ("deu.tsv", ["Go.", "Geh.", ANKI], ("de", "eng_Latn"), "[2,1]"),
        ("a.tsv", ["1276", "Let's try!", "77", "Versuchen wir's!"], ("en", "de"), "[2,4]"),
        ("a.tsv", ["https://a.b/c", "https://a.b/d", "Eins.", "One.", "0.97"], ("de", "en"), "[3,4]"),
        ("Sentence pairs in English-German.tsv", ["1", "Try!", "7", "Versuch's!"], ("deu", "eng"), "[4,2]"),
        ("a.csv", ["1", "Eins", "One"], ("de", "en"), "[2,3]"),
        ("my pairs.txt", ["Eins", "One"], ("de", "en"), "[1,2]"),
    ],
)
def test_the_error_of_a_table_with_many_columns_shows_the_word_to_write(tmp_path, name, row, langs, choice):
    path = tmp_path / name
    path.write_text(("," if name.endswith("csv") else "\t").join(row) + "\n")
    message = refusal_of(path, langs)
    assert f", line 1: {len(row)} columns: {row[0]} | " in message
    assert len(message) < 700
    assert f"'{path}{choice}' reads column {choice[1]} as {langs[0]} and column {choice[3]} as {langs[1]}" in message
    src, tgt = (row[int(number) - 1] for number in choice[1:-1].split(","))
    assert list(read_pairs(f"{path}{choice}", langs)) == [(src, tgt)], "the word does what it says"


@pytest.mark.parametrize(("name", "row"), [("a.tsv[3,2]", "x\ty\tz\n"), ("a.csv[3,2]", "x,y,z\n")])
def test_a_row_with_more_or_fewer_cells(tmp_path, name, row):
    for ragged in (row.replace("z", "z" + row[1] + "w"), row[:3] + "\n"):
        (tmp_path / name[:5]).write_text(row + "\n" + ragged + row)
        message = refusal_of(tmp_path / name)
        assert f"a.{name[2:5]}, line 3: {len(ragged) // 2} columns, not 3: x | y" in message


# Quotes ---------------------------------------------------------------------------------------------


def spreadsheet(rows, quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO()
    csv.writer(text, dialect="excel-tab", quoting=quoting, lineterminator="\n").writerows(rows)
    return text.getvalue()


def excel(rows):
    """Excel's "Text (Tab delimited)" also quotes cells with a comma."""
    cells = ['"' + cell.replace('"', '""') + '"' if set('",\t\n') & set(cell) else cell for row in rows for cell in row]
    return tsv(zip(cells[::2], cells[1::2], strict=True))


SAYS = [*ROWS, ('Er sagt: "Ja".', 'He says: "Yes".'), ('"Nein!"', '"No!"')]
MANY = ROWS * 10


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (spreadsheet(SAYS), SAYS), (spreadsheet(SAYS, csv.QUOTE_ALL), SAYS), (excel(SAYS), SAYS),
        (spreadsheet(MANY, csv.QUOTE_ALL), MANY), (excel(MANY), MANY),
        (spreadsheet([("de", "en"), *SAYS], csv.QUOTE_ALL), SAYS),
        (spreadsheet([*SAYS, ("a\nb", "c\td")]), [*SAYS, ("a b", "c\td")]),
        (spreadsheet([("a\n\nb", "c"), ("", "d"), *SAYS]), [("a  b", "c"), ("", "d"), *SAYS]),
    ],
    ids=["minimal", "all", "Excel", "all, plain", "Excel, plain", "header", "breaks", "break first"],
)  # fmt: skip
def test_the_quotes_of_spreadsheets_are_removed(tmp_path, text, rows):
    (tmp_path / "a.tsv").write_text(text)
    pairs, notes = read(tmp_path, "a.tsv")
    assert pairs == rows
    n_lines = sum('"' in line for line in text.split("\n"))
    assert notes[-1] == f"cells are quoted as spreadsheets do it: quotes were removed on {n_lines} lines"


@pytest.mark.parametrize(
    "rows",
    [
        [*ROWS, ('"Nein."', '"No."')],
        [('"Nein."', '"No."')] * 4,
        [*MANY, *[('"Nein."', '"No."')] * 20],
        [*ROWS, ('"Ja", sagt er.', '"Yes," he says.')] * 20,
        [*[('"Ja", sagt er.', '"Yes," he says.')], *[('"Nein!"', '"No!"')] * 50],
        [('Ein 5"-Nagel', 'A 5" nail'), *[('"Nein!"', '"No!"')] * 50],
        [('"Ja.', '"Yes.'), ('Nein."', 'No."')] * 20,
        [('"', '"'), ('""', '""'), ('"""', '"""')],
        [('"a\\"b"', '"c\\"d"')] * 20,
        [("„Nein.“", "“No.”"), ("«Nein.»", "'No.'")] * 20,
    ],
    ids=["one", "four rows", "some", "in mid-sentence", "one against fifty", "inch", "over lines", "marks", "escaped",
         "others"],
)  # fmt: skip
def test_sentences_in_quotation_marks_keep_them(tmp_path, rows):
    (tmp_path / "a.tsv").write_text(tsv(rows))
    assert read(tmp_path, "a.tsv") == (rows, [])


def test_a_table_that_is_quoted_only_at_first(tmp_path):
    lines = spreadsheet(ROWS * 4000, csv.QUOTE_ALL)
    (tmp_path / "a.tsv").write_text(f'{lines}"Ja", sagt er.\t"Yes," he says.\n')
    assert "a.tsv, line 12001: wrong quotes for CSV" in refusal_of(tmp_path / "a.tsv")


# CSV ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ('"Ja, gern.","Yes, please."\nNein.,No.\nWie geht\'s?,How are you?\n', []),
        ("Ja, gern.;Yes, please.\nNein.;No.\nWie geht's?;How are you?\n", ["columns are separated by ;"]),
        ("Ja, gern.\tYes, please.\nNein.\tNo.\nWie geht's?\tHow are you?\n", ["columns are separated by tabs"]),
        ('\ufeff"Ja, gern.";"Yes, please."\r\n"Nein.";"No."\r\nWie geht\'s?;How are you?\r\n', None),
        (
            'de,en\n"Ja, gern.","Yes, please."\nNein.,No.\nWie geht\'s?,How are you?',
            ["row 1 is a header: de, en; left out"],
        ),
    ],
    ids=["comma", "semicolon", "tab", "BOM, CRLF", "header"],
)  # fmt: skip
def test_separators_of_csv(tmp_path, text, notes):
    (tmp_path / "a.csv").write_text(text, newline="")
    pairs, found_notes = read(tmp_path, "a.csv")
    assert pairs == ROWS
    assert notes is None or found_notes == notes


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"'])
def test_the_first_line_may_name_the_separator(tmp_path, first):
    (tmp_path / "a.csv").write_text(f"{first}\nEnglish;German\nThe house;Das Haus\nA, b;A, b\n")
    notes = [f"row 1 names the separator: {first}; left out", "columns are separated by ;"]
    header = "row 2 is a header: English, German; left out"
    assert read(tmp_path, "a.csv") == (
        [("Das Haus", "The house"), ("A, b", "A, b")],
        [*notes, f"{header}; column 2 is read as de, column 1 as en"],
    )
    assert read(tmp_path, "a.csv[2,1]")[0] == [("Das Haus", "The house"), ("A, b", "A, b")]


def test_a_csv_that_fits_two_separators(tmp_path):
    (tmp_path / "a.csv").write_text("Ja, gern.;Yes.\nNein, danke.;No.\n")
    assert "may be separated by , or by ;" in refusal_of(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("de;en, gb\nJa, gern.;Yes.\nNein, danke.;No.\n")
    assert read(tmp_path, "a.csv[de,2]")[0] == [("Ja, gern.", "Yes."), ("Nein, danke.", "No.")]


def test_quotes_and_line_breaks_in_csv(tmp_path):
    rows = [('Er sagt:\n\n"Ja".', 'He says:\r\n"Yes".'), ("a;b\tc", "d\u2028e\0"), ("NA", "null")]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    (tmp_path / "a.csv").write_text(text.getvalue() + "x,y,z\r\n", newline="")
    pairs = read_pairs(f"{tmp_path}/a.csv", LANGS)
    assert [next(pairs) for _ in rows] == [('Er sagt:  "Ja".', 'He says: "Yes".'), ("a;b\tc", "d e\0"), ("NA", "null")]
    with pytest.raises(UserError, match=r"a\.csv, line 7: 3 columns, not 2: x \| y \| z"):
        next(pairs)


def test_a_quote_that_is_never_closed(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\nc,"d\n' + "e,f\n" * 1000)
    assert "a.csv, line 2: wrong quotes for CSV (unexpected end of data)" in refusal_of(tmp_path / "a.csv")


# Direction ------------------------------------------------------------------------------------------

PHRASEBOOK = Path(__file__).parent.parent / "data" / "phrasebook"


SWAPPED = "the sides look swapped: the text read as {} is English; swap the sides, or the languages of `data.langs`"


@pytest.mark.parametrize(
    ("langs", "columns", "note"),
    [
        (("de", "en"), "", []), (("en", "de"), "[2,1]", []), (("src", "tgt"), "[2,1]", []), (("de", "fr"), "[2,1]", []),
        (("de", "en"), "[2,1]", [SWAPPED.format("de")]),
        (("eng_Latn", "deu"), "", [SWAPPED.format("deu")]),
    ],
)  # fmt: skip
def test_swapped_sides_are_reported(tmp_path, langs, columns, note):
    sides = ((PHRASEBOOK / f"valid.{lang}").read_text(encoding="utf-8").splitlines()[:200] for lang in ("de", "en"))
    (tmp_path / "a.tsv").write_text(tsv(zip(*sides, strict=True)))
    assert read(tmp_path, f"a.tsv{columns}", langs)[1] == note
