"""The embedded corpus: its German, its English, its split, and the recipes beside it."""

import bz2
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from seq2seq.config import PRESETS, build, merge, read_toml

DATA = Path(__file__).parent.parent / "data"
FOLDER = DATA / "phrasebook"


@pytest.fixture(scope="module")
def book():
    """The generator's modules, importable only during these tests."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    import generate

    yield generate
    sys.path.remove(str(FOLDER))
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def splits(book):
    return book.build()


def read(split, lang):
    plain = FOLDER / f"{split}.{lang}"
    text = plain.read_bytes() if plain.exists() else bz2.decompress((FOLDER / f"{split}.{lang}.bz2").read_bytes())
    return text.decode().splitlines()


def phrase(noun, det, adjective="", *, many=False):
    from grammar import NP
    from lexicon import ADJECTIVES, NOUNS

    return NP(NOUNS[noun], det, (ADJECTIVES[adjective],) if adjective else (), many)


def verb(name):
    from verbs import VERBS

    return next(v for v in VERBS if v.infinitive == name)


# The files ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_generating_again_gives_the_files_byte_for_byte(book, splits):
    contents = book.files(splits)
    assert set(contents) == {p.name for p in FOLDER.iterdir() if re.match("(train|valid|test)", p.name)}
    for name, content in contents.items():
        assert (FOLDER / name).read_bytes() == content, f"{name} is stale: run data/phrasebook/generate.py"


@pytest.mark.slow
def test_counts_and_size(splits):
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 20_000, "valid": 1_000, "test": 1_000}
    assert sum(p.stat().st_size for p in FOLDER.iterdir() if p.is_file() and p.suffix != ".py") < 1_000_000


def test_a_source_occurs_once_in_the_whole_corpus():
    sources = [line for split in ("train", "valid", "test") for line in read(split, "de")]
    assert len(sources) == len(set(sources)) == 22_000


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_lines_are_sentences(split):
    de, en = read(split, "de"), read(split, "en")
    assert len(de) == len(en)
    for line in de + en:
        assert re.fullmatch(r"[A-ZÄÖÜ](?!.*  )[\w ,.:'!?-]*[.!?]", line), line
    assert all(a[-1] == b[-1] for a, b in zip(de, en, strict=True))
    assert 6 < sum(len(line.split()) for line in de) / len(de) < 12


@pytest.mark.slow
def test_held_out_sentences_are_not_in_training(splits, book):
    held = {split: {c for s in splits[split] for c in s.combinations} for split in splits}
    for split, other in (("valid", "test"), ("test", "valid")):
        own = {c for c in held[split] if book.split_of(c) == split}
        assert len(own) > 100
        assert own.isdisjoint(held["train"])
        assert own.isdisjoint(held[other])
        assert all(s.combinations & own for s in splits[split])


def test_held_out_adjectives_never_stand_before_their_nouns_in_training(book):
    """Checked on the text: no form of the adjective is right before a form of the noun."""
    from lexicon import ADJECTIVES, NOUNS

    nouns = {form: name for name in NOUNS for form in book.forms(name)}
    endings = {a.removesuffix("e") if a != "teuer" else "teur": a for a in ADJECTIVES}
    seen = {"train": set(), "test": set()}
    for split, found in seen.items():
        for line in read(split, "de"):
            spoken = book.words(line)
            for one, other in pairwise(spoken):
                stem = re.sub("e[rnsm]?$", "", one)
                if other in nouns and stem in endings:
                    found.add(f"{endings[stem]} {nouns[other]}")
    held = {c for c in seen["test"] if book.split_of(c) == "test"}
    assert len(held) > 20
    assert not held & seen["train"]
    assert not any(book.split_of(c) != "train" for c in seen["train"])


def test_every_word_of_valid_and_test_occurs_in_training(book):
    for lang in ("de", "en"):
        known = {word for line in read("train", lang) for word in book.words(line)}
        for split in ("valid", "test"):
            assert {word for line in read(split, lang) for word in book.words(line)} <= known


def test_two_translations_of_one_source_stop_the_generator(book, monkeypatch):
    pairs = iter([("Ja.", "Yes."), ("Ja.", "Aye.")])
    monkeypatch.setattr(book, "PATTERNS", {lambda draw: next(pairs): 1})
    stream = book.sentences(1)
    next(stream)
    with pytest.raises(ValueError, match=r"Ja\."):
        next(stream)


# German -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noun", "det", "many", "forms"),
    [
        ("Tisch", "def", False, "der neue Tisch, den neuen Tisch, dem neuen Tisch, des neuen Tisches"),
        ("Tisch", "ein", False, "ein neuer Tisch, einen neuen Tisch, einem neuen Tisch, eines neuen Tisches"),
        ("Tisch", "kein", True, "keine neuen Tische, keine neuen Tische, keinen neuen Tischen, keiner neuen Tische"),
        ("Tisch", "none", True, "neue Tische, neue Tische, neuen Tischen, neuer Tische"),
        ("Tasche", "def", False, "die neue Tasche, die neue Tasche, der neuen Tasche, der neuen Tasche"),
        ("Tasche", "mein", False, "meine neue Tasche, meine neue Tasche, meiner neuen Tasche, meiner neuen Tasche"),
        ("Tasche", "euer", False, "eure neue Tasche, eure neue Tasche, eurer neuen Tasche, eurer neuen Tasche"),
        ("Buch", "def", False, "das neue Buch, das neue Buch, dem neuen Buch, des neuen Buches"),
        ("Buch", "ein", False, "ein neues Buch, ein neues Buch, einem neuen Buch, eines neuen Buches"),
        ("Buch", "dies", False, "dieses neue Buch, dieses neue Buch, diesem neuen Buch, dieses neuen Buches"),
        ("Buch", "def", True, "die neuen Bücher, die neuen Bücher, den neuen Büchern, der neuen Bücher"),
        ("Auto", "def", True, "die neuen Autos, die neuen Autos, den neuen Autos, der neuen Autos"),
        ("Student", "def", False, "der neue Student, den neuen Studenten, dem neuen Studenten, des neuen Studenten"),
    ],
)  # fmt: skip
def test_articles_adjectives_and_nouns_agree(book, noun, det, many, forms):
    np = phrase(noun, det, "neu", many=many)
    assert ", ".join(np.de(case) for case in ("nom", "acc", "dat", "gen")) == forms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noun", "forms"),
    [
        ("Wein", "roter Wein, roten Wein, rotem Wein"), ("Milch", "rote Milch, rote Milch, roter Milch"),
        ("Bier", "rotes Bier, rotes Bier, rotem Bier"),
    ],
)  # fmt: skip
def test_without_an_article_the_adjective_is_strong(book, noun, forms):
    np = phrase(noun, "none", "rot")
    assert ", ".join(np.de(case) for case in ("nom", "acc", "dat")) == forms


@pytest.mark.slow
def test_irregular_nouns_and_adjectives(book):
    weak = {"Junge": "den Jungen", "Nachbar": "den Nachbarn", "Kollege": "den Kollegen", "Polizist": "den Polizisten"}
    assert {noun: phrase(noun, "def").de("acc") for noun in weak} == weak
    assert phrase("Auto", "ein", "teuer").de() == "ein teures Auto"
    assert phrase("Brötchen", "def", many=True).de("dat") == "den Brötchen"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("infinitive", "changed", "forms"),
    [
        ("kaufen", "", "kaufe kaufst kauft kaufen kauft kaufen"),
        ("arbeiten", "", "arbeite arbeitest arbeitet arbeiten arbeitet arbeiten"),
        ("öffnen", "", "öffne öffnest öffnet öffnen öffnet öffnen"),
        ("lernen", "", "lerne lernst lernt lernen lernt lernen"),
        ("tanzen", "", "tanze tanzt tanzt tanzen tanzt tanzen"),
        ("lesen", "lies", "lese liest liest lesen lest lesen"),
        ("essen", "iss", "esse isst isst essen esst essen"),
        ("laden", "läd", "lade lädst lädt laden ladet laden"),
        ("schlafen", "schläf", "schlafe schläfst schläft schlafen schlaft schlafen"),
        ("waschen", "wäsch", "wasche wäschst wäscht waschen wascht waschen"),
        ("sein", "", "bin bist ist sind seid sind"),
        ("können", "", "kann kannst kann können könnt können"),
    ],
)
def test_present(book, infinitive, changed, forms):
    import german

    assert " ".join(german.present(infinitive, person, changed) for person in german.PERSONS) == forms


@pytest.mark.slow
def test_imperative(book):
    import german

    heads = {"öffnen": "", "lesen": "lies", "geben": "gib", "tragen": "träg", "kaufen": "", "warten": ""}
    spoken = [german.imperative(infinitive, changed) for infinitive, changed in heads.items()]
    assert spoken == ["öffne", "lies", "gib", "trag", "kauf", "warte"]


@pytest.mark.slow
def test_numbers(book):
    import english
    import german

    assert [german.number(n) for n in (1, 12, 16, 17, 21, 30, 76, 100)] == [
        "eins", "zwölf", "sechzehn", "siebzehn", "einundzwanzig", "dreißig", "sechsundsiebzig", "hundert",
    ]  # fmt: skip
    assert [english.number(n) for n in (1, 12, 13, 21, 30, 76)] == [
        "one", "twelve", "thirteen", "twenty-one", "thirty", "seventy-six",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "front", "main", "sub"),
    [
        ({}, "subject", "er ruft den Arzt an", "dass er den Arzt anruft"),
        ({"time": ("morgen", "tomorrow", "future")}, "time",
         "morgen ruft er den Arzt an", "dass er morgen den Arzt anruft"),
        ({"tense": "past"}, "subject", "er hat den Arzt angerufen", "dass er den Arzt angerufen hat"),
        ({"tense": "will"}, "acc", "den Arzt wird er anrufen", "dass er den Arzt anrufen wird"),
        ({"negated": True}, "subject", "er ruft den Arzt nicht an", "dass er den Arzt nicht anruft"),
        ({"tense": "done"}, "", "hat er den Arzt schon angerufen", "dass er den Arzt schon angerufen hat"),
    ],
)  # fmt: skip
def test_separable_verbs_and_the_place_of_the_verb(book, fields, front, main, sub):
    from grammar import PRONOUNS, Clause

    clause = Clause(PRONOUNS[2], verb("anrufen"), acc=phrase("Arzt", "def"), **fields)
    assert clause.de(front) == main
    assert clause.de_sub("dass") == sub
    assert clause.de_zu() == "um den Arzt anzurufen" or clause.negated or clause.time[0] or clause.tense == "done"


@pytest.mark.slow
def test_modal_verbs_frame_the_clause(book):
    from grammar import MODALS, PRONOUNS, Clause

    clause = Clause(PRONOUNS[0], verb("einkaufen"), modal=MODALS["must"], time=("morgen", "tomorrow", "future"))
    assert clause.de("time") == "morgen muss ich einkaufen"
    assert clause.de_sub("weil") == "weil ich morgen einkaufen muss"
    assert clause.en() == "I have to shop tomorrow"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "adjective", "direction", "position"),
    [
        ("Park", "", "in den Park", "im Park"), ("Schule", "", "in die Schule", "in der Schule"),
        ("Kino", "", "ins Kino", "im Kino"), ("Bahnhof", "", "zum Bahnhof", "am Bahnhof"),
        ("See", "", "an den See", "im See"), ("Markt", "", "auf den Markt", "auf dem Markt"),
        ("Apotheke", "", "zur Apotheke", "in der Apotheke"), ("Kino", "alt", "ins alte Kino", "im alten Kino"),
    ],
)  # fmt: skip
def test_two_way_prepositions(book, place, adjective, direction, position):
    from grammar import at, to
    from lexicon import PLACES

    np = phrase(place, "def", adjective)
    assert to(PLACES[place], np)[0] == direction
    assert at(PLACES[place], np)[0] == position


# English ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "statement", "question"),
    [
        ({}, "she is eating an apple", "is she eating an apple"),
        ({"time": ("oft", "often", "often")}, "she often eats an apple", "does she often eat an apple"),
        ({"tense": "past"}, "she ate an apple", "did she eat an apple"),
        ({"tense": "past", "negated": True}, "she did not eat an apple", "did she not eat an apple"),
        ({"tense": "done"}, "she has already eaten an apple", "has she already eaten an apple"),
        ({"tense": "will"}, "she will eat an apple", "will she eat an apple"),
        ({"gern": True}, "she likes to eat an apple", "does she like to eat an apple"),
    ],
)
def test_english_tenses_and_do_support(book, fields, statement, question):
    from grammar import PRONOUNS, Clause

    clause = Clause(PRONOUNS[3], verb("essen"), acc=phrase("Apfel", "ein"), **fields)
    assert clause.en() == statement
    assert clause.en(question=True) == question


@pytest.mark.slow
def test_english_forms(book):
    import english

    nouns = ["child", "knife", "city", "bus", "potato", "saleswoman", "bread roll", "boy"]
    assert [english.plural(noun) for noun in nouns] == [
        "children", "knives", "cities", "buses", "potatoes", "saleswomen", "bread rolls", "boys",
    ]  # fmt: skip
    assert [english.a(word) for word in ("apple", "university", "old university", "hour", "hat")] == [
        "an apple", "a university", "an old university", "an hour", "a hat",
    ]  # fmt: skip
    assert [english.ing(base) for base in ("put", "lie", "write", "see", "visit")] == [
        "putting", "lying", "writing", "seeing", "visiting",
    ]  # fmt: skip


# Recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((DATA / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_are_valid_and_state_their_needs(path):
    layer = read_toml(path)
    config = build(merge([PRESETS.get(layer["preset"], {}), layer]), where=path.name)
    assert config.data.langs == "de-en"
    assert config.data.train
    hub = [corpus for corpus in config.data.train + config.data.valid if corpus.startswith("hf:")]
    assert all(re.fullmatch(r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?#[\w-]+:\w+", corpus) for corpus in hub)
    assert bool(hub) == ("NOT TRIED" in path.read_text(encoding="utf-8"))
    assert f"--config data/recipes/{path.name}" in path.read_text(encoding="utf-8")


def test_the_embedded_recipe_names_files_that_exist():
    config = build(read_toml(DATA / "recipes" / "phrasebook.toml"), where="phrasebook.toml")
    for corpus in (*config.data.train, *config.data.valid):
        for lang in ("de", "en"):
            assert list(DATA.parent.glob(f"{corpus}.{lang}*")), corpus
