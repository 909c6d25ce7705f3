"""German inflection: articles, adjective endings, nouns, verbs, contractions, numbers.

Genders are ``m``, ``f``, ``n`` and, for every plural, ``p``. Cases are ``nom``, ``acc``, ``dat``,
``gen``. Persons are ``1s`` to ``3p``.
"""

import re

CASES = ("nom", "acc", "dat", "gen")
PERSONS = ("1s", "2s", "3s", "1p", "2p", "3p")

# Endings by gender, one for each case in the order of CASES; "-" is no ending.
DEFINITE = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "p": "die die den der"}
DIES_WORD = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "p": "e e en er"}
EIN_WORD = {"m": "- en em es", "f": "e e er er", "n": "- - em es", "p": "e e en er"}
ADJECTIVE = {
    "weak": {"m": "e en en en", "f": "e e en en", "n": "e e en en", "p": "en en en en"},
    "mixed": {"m": "er en en en", "f": "e e en en", "n": "es es en en", "p": "en en en en"},
    "strong": {"m": "er en em en", "f": "e e er er", "n": "es es em en", "p": "e e en er"},
}

IRREGULAR = {
    "sein": "bin bist ist sind seid sind",
    "haben": "habe hast hat haben habt haben",
    "werden": "werde wirst wird werden werdet werden",
    "wissen": "weiß weißt weiß wissen wisst wissen",
    "können": "kann kannst kann können könnt können",
    "müssen": "muss musst muss müssen müsst müssen",
    "wollen": "will willst will wollen wollt wollen",
    "dürfen": "darf darfst darf dürfen dürft dürfen",
    "sollen": "soll sollst soll sollen sollt sollen",
    "mögen": "mag magst mag mögen mögt mögen",
    "möchten": "möchte möchtest möchte möchten möchtet möchten",
}
PRETERITE = {
    "sein": "war warst war waren wart waren",
    "haben": "hatte hattest hatte hatten hattet hatten",
    "können": "konnte konntest konnte konnten konntet konnten",
    "müssen": "musste musstest musste mussten musstet mussten",
    "wollen": "wollte wolltest wollte wollten wolltet wollten",
}

# "auf das" and "für das" are left alone: their short forms are colloquial.
CONTRACTIONS = {
    "in dem": "im", "in das": "ins", "an dem": "am", "an das": "ans",
    "zu dem": "zum", "zu der": "zur", "von dem": "vom", "bei dem": "beim",
}  # fmt: skip

UNITS = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf"]
TENS = ["_", "zehn", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]


def article(kind: str, gender: str, case: str) -> str:
    """The article or determiner: ``def``, ``dies``, ``none``, or the stem of an ein-word (``ein``, ``kein``, ``mein``).

    A plural has no indefinite article.
    """
    index = CASES.index(case)
    if kind == "none" or (kind == "ein" and gender == "p"):
        return ""
    if kind == "def":
        return DEFINITE[gender].split()[index]
    ending = (DIES_WORD if kind == "dies" else EIN_WORD)[gender].split()[index].strip("-")
    stem = "eur" if kind == "euer" and ending else kind
    return stem + ending


def adjective(word: str, kind: str, gender: str, case: str) -> str:
    """An attributive adjective after the determiner ``kind``, as in ``article``."""
    if kind in ("def", "dies"):
        declension = "weak"
    elif kind == "none" or (kind == "ein" and gender == "p"):
        declension = "strong"
    else:
        declension = "mixed"
    stem = {"teuer": "teur", "dunkel": "dunkl", "sauer": "saur"}.get(word, word.removesuffix("e"))
    return stem + ADJECTIVE[declension][gender].split()[CASES.index(case)]


def noun(singular: str, gender: str, plural: str, case: str, *, weak: bool = False, many: bool = False) -> str:
    """A noun in its case; ``weak`` marks the masculine nouns in -n outside the nominative (den Jungen)."""
    if many:
        return plural + "n" if case == "dat" and plural[-1] not in "ns" else plural
    if weak and case != "nom":
        return singular + ("n" if singular[-1] in "er" else "en")
    if case == "gen" and gender in "mn":
        return singular + ("es" if len(re.findall("[aeiouäöü]+", singular.lower())) == 1 else "s")
    return singular


def present(infinitive: str, person: str, changed: str = "") -> str:
    """The present of a verb without its separable prefix; ``changed`` is the stem of du and er (``schläf``)."""
    if infinitive in IRREGULAR:
        return IRREGULAR[infinitive].split()[PERSONS.index(person)]
    if person in ("1p", "3p"):
        return infinitive
    stem = infinitive.removesuffix("n").removesuffix("e")
    if person == "1s":
        return stem + "e"
    if person in ("2s", "3s") and changed:
        stem = changed
        link = ""
    else:
        link = "e" if re.search("([td]|[^lrmnhaeiouäöü][mn]|chn)$", stem) else ""
    if person == "2s":
        return stem + ("t" if stem[-1] in "sßzx" else link + "st")
    return stem + ("" if stem[-1] in "t" and not link and changed else link + "t")


def imperative(infinitive: str, changed: str = "", *, many: bool = False) -> str:
    """The imperative for du, or for ihr; only the change from e to i(e) is kept (``iss``, but ``schlaf``)."""
    if many:
        return present(infinitive, "2p")
    stem = infinitive.removesuffix("n").removesuffix("e")
    if changed and not set(changed) & set("äöü"):
        return changed
    return stem + ("e" if re.search("([td]|[^lrmnhaeiouäöü][mn]|chn|er)$", stem) else "")


def contract(phrase: str) -> str:
    """``in dem Haus`` -> ``im Haus``, at the start of a prepositional phrase."""
    for long, short in CONTRACTIONS.items():
        if phrase.startswith(long + " "):
            return short + phrase[len(long) :]
    return phrase


def number(n: int) -> str:
    """1 to 100 in words, as counted (``eins``)."""
    if n == 100:
        return "hundert"
    if n <= 12:
        return UNITS[n]
    tens, unit = divmod(n, 10)
    if tens == 1:
        return {6: "sech", 7: "sieb"}.get(unit, UNITS[unit]) + "zehn"
    return TENS[tens] if not unit else ("ein" if unit == 1 else UNITS[unit]) + "und" + TENS[tens]
