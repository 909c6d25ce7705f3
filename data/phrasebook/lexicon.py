"""Nouns, adjectives, names, places and adverbs, with the tags that keep sentences sensible.

A verb asks for objects by tag (lesen: ``read``), an adjective says which tags it may describe
(reif: ``fruit``). A noun's gender ``w`` is a weak masculine; plural ``-`` means that it is never
counted. ``kin`` are persons who are always somebody's (mein Bruder).
"""

from dataclasses import dataclass
from functools import cache

from nouns import NOUN_TABLE


@dataclass(frozen=True)
class Noun:
    """One noun in both languages."""

    de: str
    gender: str
    plural: str
    en: str
    tags: frozenset[str]
    weak: bool = False

    @property
    def mass(self) -> bool:
        return self.plural == "-"


@dataclass(frozen=True)
class Adjective:
    """One adjective; ``tags`` are the nouns that it may describe."""

    de: str
    en: str
    tags: frozenset[str]
    comparative: tuple[str, str] | None = None


@dataclass(frozen=True)
class Place:
    """A noun as a place: where to, where, and the same in English."""

    noun: Noun
    to: str
    at: str
    en_to: str
    en_at: str


# German, English, tags; comparative in both languages where there is a pattern for it
ADJECTIVE_TABLE = """
groß big: size furniture | größer bigger
klein small: size furniture | kleiner smaller
neu new: age job own | neuer newer
alt old: age elder animal | älter older
jung young: elder animal | jünger younger
rot red: color
blau blue: color
grün green: color
schwarz black: color fur
weiß white: color fur
braun brown: color fur
gelb yellow: color
schön beautiful: pretty wear | schöner more_beautiful
teuer expensive: goods eatery lodging | teurer more_expensive
billig cheap: goods | billiger cheaper
schwer heavy: weight | schwerer heavier
leicht light: weight | leichter lighter
freundlich friendly: adult job own | freundlicher friendlier
klug clever: person pet | klüger cleverer
fleißig hard-working: job own | fleißiger more_hard-working
höflich polite: person | höflicher more_polite
berühmt famous: sight job | berühmter more_famous
interessant interesting: text sight | interessanter more_interesting
langweilig boring: text | langweiliger more_boring
dick thick: page | dicker thicker
warm warm: weather | wärmer warmer
lang long: text long | länger longer
frisch fresh: fruit fresh
reif ripe: fruit
süß sweet: sweet fruit
heiß hot: hot
kalt cold: cold
scharf sharp: sharp
modern modern: building furniture | moderner more_modern
ruhig quiet: town eatery | ruhiger quieter
schwierig difficult: simple
"""

# Noun: preposition of direction, of place; English direction, place
PLACE_TABLE = """
Garten in in, to in
Park in in, to in
Schule in in, to at
Bahnhof zu an, to at
Flughafen zu an, to at
Supermarkt in in, to at
Markt auf auf, to at
Museum in in, to at
Kino in in, to at
Theater in in, to at
Restaurant in in, to in
Café in in, to in
Bibliothek in in, to in
Büro in in, to in
Krankenhaus in in, to in
Kirche in in, to in
Hotel in in, to at
Bäckerei zu in, to in
Apotheke zu in, to in
Universität zu an, to at
Strand an an, to on
See an in, to in
Wald in in, to in
Stadt in in, to in
Dorf in in, to in
Küche in in, to in
Keller in in, to in
"""

# key: nominative, accusative, dative, reflexive (accusative); English subject, object; person, possessive, English
PRONOUN_TABLE = """
ich mich mir mich, I me, 1s, mein my
du dich dir dich, you you, 2s, dein your
er ihn ihm sich, he him, 3s, sein his
sie - ihr sich, she her, 3s, ihr her
wir uns uns uns, we us, 1p, unser our
ihr euch euch euch, you you, 2p, euer your
sie - ihnen sich, they them, 3p, ihr their
"""

NAMES = {"Anna": "f", "Maria": "f", "Lena": "f", "Julia": "f", "Peter": "m", "Paul": "m", "Thomas": "m", "Jonas": "m"}
CITIES = ["Berlin", "Hamburg", "Dresden", "London", "Paris", "Rom:Rome", "Wien:Vienna", "München:Munich"]
WEEKDAYS = dict(
    zip(
        ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"],
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        strict=True,
    )
)
MONTHS = dict(
    zip(
        [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ],
        [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ],
        strict=True,
    )
)

# Adverbials of time by kind: what tense they allow (see Clause in grammar.py)
TIMES = {
    "past": {
        "gestern": "yesterday", "gestern Abend": "last night", "letzte Woche": "last week",
        "vor zwei Tagen": "two days ago", "vor drei Wochen": "three weeks ago",
        "vor einer Stunde": "an hour ago", "heute Morgen": "this morning",
    },
    "future": {
        "morgen": "tomorrow", "heute Abend": "tonight", "nächste Woche": "next week",
        "morgen Abend": "tomorrow evening", "heute Nachmittag": "this afternoon",
    },
    "habit": {
        "jeden Tag": "every day", "jeden Morgen": "every morning", "jeden Abend": "every evening",
        "am Wochenende": "on the weekend", "jeden Sonntag": "every Sunday",
        "einmal pro Woche": "once a week",
    },
    "often": {"oft": "often", "immer": "always", "manchmal": "sometimes", "selten": "rarely", "nie": "never"},
    "now": {"gerade": "right now"},
}  # fmt: skip


FAR = ("letzte Woche", "nächste Woche", "vor zwei Tagen", "vor drei Wochen")
"""Too far off for a meal; kept for verbs with the flag ``far``."""


def _nouns() -> dict[str, Noun]:
    nouns = {}
    for line in NOUN_TABLE.strip().splitlines():
        head, tags = line.split(":")
        de, gender, plural, en = head.split()
        weak = gender == "w"
        tag_set = frozenset(tags.split())
        nouns[de] = Noun(de, "m" if weak else gender, plural, en.replace("_", " "), tag_set, weak)
    return nouns


def _adjectives() -> dict[str, Adjective]:
    adjectives = {}
    for line in ADJECTIVE_TABLE.strip().splitlines():
        head, _, comparative = line.partition(" | ")
        words, tags = head.split(":")
        de, en = words.split()
        pair = tuple(comparative.replace("_", " ").split(" ", 1)) if comparative else None
        adjectives[de] = Adjective(de, en, frozenset(tags.split()), pair)  # type: ignore[arg-type]  # two words
    return adjectives


def _places() -> dict[str, Place]:
    places = {}
    for line in PLACE_TABLE.strip().splitlines():
        german, english = line.split(", ")
        name, to, at = german.split()
        places[name] = Place(NOUNS[name], to, at, *english.split())
    return places


NOUNS = _nouns()
ADJECTIVES = _adjectives()
PLACES = _places()


@cache
def tagged(tags: str) -> tuple[Noun, ...]:
    """The nouns that bear any of the tags, in the order of the table."""
    wanted = set(tags.split())
    return tuple(noun for noun in NOUNS.values() if noun.tags & wanted)


@cache
def describing(tags: frozenset[str]) -> tuple[Adjective, ...]:
    """The adjectives that may describe a noun with these tags."""
    return tuple(a for a in ADJECTIVES.values() if a.tags & tags)
