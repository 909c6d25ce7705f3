"""Patterns of everyday phrases: clock and calendar, prices, places, requests, comparisons, possession."""

from dataclasses import replace

import english
import german
from clauses import Draw
from grammar import NP, PRONOUNS, Clause, Pronoun
from lexicon import CITIES, MONTHS, NOUNS, WEEKDAYS, tagged
from phrases import Pair, finish, is_are, verb
from verbs import Verb


def _be(noun: str, d: Draw) -> NP:
    return NP(NOUNS[noun], "def")


def clock(d: Draw, first: int = 1, last: int = 12) -> Pair:
    """A time of day, with its preposition: um halb acht, at half past seven."""
    hour, style = d.rng.randint(first, last), d.rng.randrange(6)
    de, en = german.number(hour), english.number(hour)
    after = german.number(hour % 12 + 1)
    if style == 0 and last == 12:
        minute = d.rng.choice(("00", "15", "30", "45"))
        big = d.rng.randint(6, 23)
        d.note("Uhr", f"{big}.{minute}")
        return (f"um {big}.{minute} Uhr", f"at {big}:{minute}")
    pairs = {
        1: (f"um halb {after}", f"at half past {en}"),
        2: (f"um Viertel nach {de}", f"at quarter past {en}"),
        3: (f"um Viertel vor {after}", f"at quarter to {english.number(hour % 12 + 1)}"),
        0: (f"um {'ein' if hour == 1 else de} Uhr", f"at {en} o'clock"),
        4: (f"um {'ein' if hour == 1 else de} Uhr", f"at {en} o'clock"),
    }
    if style in pairs:
        d.note(pairs[style][0].rpartition(" ")[0], str(hour))
        return pairs[style]
    minutes, side = d.rng.choice((5, 10, 20)), d.rng.choice((("nach", "past"), ("vor", "to")))
    d.note(f"{minutes} {side[0]}", str(hour))
    return f"um {german.number(minutes)} {side[0]} {de}", f"at {english.number(minutes)} {side[1]} {en}"


STARTS = {
    "Der Zug": ("The train", "fährt {} ab", "leaves {}"), "Der Bus": ("The bus", "fährt {} ab", "leaves {}"),
    "Der Film": ("The movie", "fängt {} an", "begins {}"), "Das Konzert": ("The concert", "fängt {} an", "begins {}"),
    "Der Zug nach {}": ("The train to {}", "fährt {} ab", "leaves {}"),
    "Der Zug aus {}": ("The train from {}", "kommt {} an", "arrives {}"),
    "Das Museum": ("The museum", "öffnet {}", "opens {}"),
    "Der Supermarkt": ("The supermarket", "schließt {}", "closes {}"),
    "Die Bibliothek": ("The library", "schließt {}", "closes {}"),
    "Das Fest": ("The party", "fängt {} an", "begins {}"),
}  # fmt: skip


def timetable(d: Draw) -> Pair:
    thing = d.rng.choice(list(STARTS))
    en_thing, de_does, en_does = STARTS[thing]
    at_de, at_en = clock(d, 8, 11) if "öffnet" in de_does else clock(d, 4, 9) if "schließt" in de_does else clock(d)
    de_city, _, en_city = d.rng.choice(CITIES).partition(":")
    d.note(thing, at_de)
    day = d.rng.choice(list(WEEKDAYS))
    if d.chance(0.3):
        at_de, at_en = f"am {day} {at_de}", f"{at_en} on {WEEKDAYS[day]}"
    thing, en_thing = thing.format(de_city), en_thing.format(en_city or de_city)
    return finish(f"{thing} {de_does.format(at_de)}", f"{en_thing} {en_does.format(at_en)}")


def daily(d: Draw) -> Pair:
    """Ich stehe jeden Tag um sieben Uhr auf; habits with a time of day."""
    v = verb(d.rng.choice(("aufstehen", "aufstehen", "frühstücken", "anrufen", "abholen", "treffen", "besuchen")))
    subject = d.subject(v.subject)
    at_de, at_en = clock(d, 5, 9) if "morning" in v.flags else clock(d)
    clause = d.objects(v, subject)
    d.note(v.infinitive, at_de)
    if v.de in ("stehen", "frühstücken"):
        time = d.rng.choice((("jeden Tag", "every day", "habit"), ("jeden Morgen", "every morning", "habit")))
    else:
        time = d.rng.choice((("heute", "today", "future"), ("morgen", "tomorrow", "future")))
    front = "time" if d.chance(0.4) else "subject"
    clause = replace(clause, time=(time[0], time[1], time[2]), place=(at_de, at_en))
    return finish(clause.de(front), clause.en(front="time" if front == "time" else ""))


def weekday(d: Draw) -> Pair:
    """Am Montag besuchen wir unsere Tante."""
    for _ in d.tries():
        clause = d.clause()
        if "far" not in clause.verb.flags or clause.time[2] in ("habit", "often", "now") or clause.gern:
            continue
        if clause.tense == "done" or clause.negated:
            continue
        day = d.rng.choice(list(WEEKDAYS))
        kind = "past" if clause.tense == "past" or (clause.modal and clause.modal.past) else "future"
        d.note(clause.verb.infinitive, day)
        clause = replace(clause, time=(f"am {day}", f"on {WEEKDAYS[day]}", kind))
        front = "time" if d.chance(0.5) else "subject"
        return finish(clause.de(front), clause.en(front="time" if front == "time" else ""))
    raise AssertionError("no verb goes with a weekday")


def birthday(d: Draw) -> Pair:
    day, month = d.rng.randint(1, 28), d.rng.choice(list(MONTHS))
    who = d.rng.choice(tagged("kin"))
    mine = d.rng.choice(("mein", "dein", "unser", "sein"))
    d.note(str(day), month)
    np = NP(who, mine)
    return finish(f"{np.de()} hat am {day}. {month} Geburtstag", f"{np.en()}'s birthday is on {MONTHS[month]} {day}")


def age(d: Draw) -> Pair:
    n = d.rng.randint(2, 99)
    np = d.rng.choice((d.name(), d.person(d.rng.choice(tagged("kin"))), d.rng.choice(PRONOUNS)))
    low, high = 2, 99
    if isinstance(np, NP):
        old = np.noun.de in ("Großmutter", "Großvater")
        low, high = (60, 99) if old else (30, 70) if np.noun.de in ("Vater", "Mutter", "Tante", "Onkel") else (2, 40)
    elif isinstance(np, Pronoun):
        low, high = 18, 80
    n = n if low <= n <= high else d.rng.randint(low, high)
    d.note("Jahre", str(n))
    words = d.chance(0.6)
    de_n, en_n = (german.number(n), english.number(n)) if words else (str(n), str(n))
    de_is, en_is = is_are(np)
    return finish(f"{np.de()} {de_is} {de_n} Jahre alt", f"{np.en()} {en_is} {en_n} years old")


PRICES = {"small": (3, 30), "wear": (15, 99), "furniture": (40, 100), "edible": (1, 6), "kitchen": (2, 20)}


def price(d: Draw) -> Pair:
    tag = d.rng.choice(list(PRICES))
    noun = d.rng.choice([n for n in tagged(tag) if not n.mass and n.tags & {"goods", "edible", "buy"}])
    if noun.tags & {"fix", "gift"} and tag == "small":
        tag = "furniture"
    np = NP(
        noun,
        d.rng.choice(("def", "dies")),
        tuple(a for a in d.adjectives(noun, 0.4) if a.de not in ("teuer", "billig")),
    )
    n = d.rng.randint(*PRICES[tag])
    d.note("kosten", f"{noun.de}")
    style = d.rng.randrange(5)
    if style == 0:
        return finish(f"wie viel kostet {np.de()}", f"how much does {np.en()} cost", "?")
    euros = "euro" if n == 1 else "euros"
    if style == 1 and tag not in ("furniture",):
        cents = d.rng.choice(("50", "95", "20"))
        return finish(f"{np.de()} kostet {n},{cents} Euro", f"{np.en()} costs {n}.{cents} euros")
    if style == 2:
        return finish(f"{np.de()} kostet {n} Euro", f"{np.en()} costs {n} {euros}")
    word = "einen" if n == 1 else german.number(n)
    if style == 3:
        cost = ("hat", "gekostet")
        return finish(f"{np.de()} hat nur {word} Euro {cost[1]}", f"{np.en()} only cost {english.number(n)} {euros}")
    return finish(
        f"{np.de()} kostet {'einen' if n == 1 else word} Euro", f"{np.en()} costs {english.number(n)} {euros}"
    )


STREET = ("Restaurant", "Café", "Hotel", "Kino", "Bäckerei", "Apotheke", "Supermarkt", "Schule", "Kirche")


CITY = (
    *STREET,
    "Park",
    "Markt",
    "Bahnhof",
    "Museum",
    "Theater",
    "Bibliothek",
    "Krankenhaus",
    "Universität",
    "Flughafen",
)
WHERE = (
    ("hier", "here", (*STREET, "Park", "See", "Strand", "Wald", "Bahnhof", "Museum", "Krankenhaus")),
    ("in dieser Stadt", "in this city", CITY), ("in der Stadt", "in the city", CITY),
    ("im Dorf", "in the village", (*STREET[:-2], "Schule", "Kirche", "Bahnhof", "Markt", "Park")),
    ("in diesem Dorf", "in this village", (*STREET[:-2], "Bahnhof", "See", "Markt")),
    ("in unserer Straße", "on our street", STREET),
)  # fmt: skip


def there_is(d: Draw) -> Pair:
    """Es gibt, with the accusative."""
    *where, names = d.rng.choice(WHERE)
    noun = NOUNS[d.rng.choice(names)]
    many = d.chance(0.35) and noun.de not in ("Bahnhof", "Flughafen", "Universität", "Wald")
    many = many and not ("Straße" in where[0] and noun.de in ("Kirche", "Schule", "Kino", "Supermarkt"))
    adjectives = d.adjectives(noun, 0.55)
    d.note("geben", noun.de)
    style = d.rng.randrange(4)
    count = d.rng.randint(2, 6) if many and style > 1 and where[0] == "in dieser Stadt" and d.chance(0.6) else 0
    if style == 0:
        np = NP(noun, "kein", adjectives, many)
        no_en = f"no {NP(noun, 'none', adjectives, many).en()}"
        return finish(f"{where[0]} gibt es {np.de('acc')}", f"there {'are' if many else 'is'} {no_en} {where[1]}")
    np = NP(noun, "none" if count else "ein", adjectives, many, count=count)
    if style == 1:
        return finish(
            f"gibt es {where[0]} {np.de('acc')}", f"{'are' if many else 'is'} there {np.en()} {where[1]}", "?"
        )
    be = "are" if many else "is"
    if style == 2:
        return finish(f"es gibt {where[0]} {np.de('acc')}", f"there {be} {np.en()} {where[1]}")
    return finish(f"{where[0]} gibt es {np.de('acc')}", f"there {be} {np.en()} {where[1]}")


SPOTS = {
    "auf": ("on", "Tisch Stuhl Bett Sofa Teppich Regal"), "unter": ("under", "Tisch Stuhl Bett Sofa"),
    "neben": ("next to", "Tisch Bett Sofa Schrank Lampe"), "hinter": ("behind", "Sofa Schrank Bett"),
    "vor": ("in front of", "Tür Schrank Sofa Spiegel"), "in": ("in", "Schrank Tasche Koffer"),
}  # fmt: skip


def put_and_lie(d: Draw) -> Pair:
    """Two-way prepositions: legen, stellen with the accusative, liegen, stehen with the dative."""
    prep = d.rng.choice(list(SPOTS))
    en_prep, names = SPOTS[prep]
    spot = NOUNS[d.rng.choice(names.split())]
    kind = d.rng.choice(("lie", "stand"))
    things = [n for n in tagged(kind) if n.de != spot.de]
    if kind == "stand" and spot.de in ("Tasche", "Koffer"):
        spot = NOUNS["Schrank"]
    if prep in ("in", "auf"):
        things = [n for n in things if n.de not in ("Stuhl", "Lampe", "Koffer", "Tasche", "Computer")]
    if prep == "unter":
        things = [n for n in things if n.de not in ("Lampe", "Computer", "Stuhl")]
    if prep not in ("auf", "in"):
        things = [n for n in things if "kitchen" not in n.tags]
    noun = d.rng.choice(things)
    thing = NP(noun, "def", d.adjectives(noun, 0.3), noun.plural != "-" and d.chance(0.2))
    at_np = NP(spot, "def", d.adjectives(spot, 0.25))
    d.note(prep, spot.de)
    if d.chance(0.5):
        v = Verb(
            {"lie": "legen", "stand": "stellen"}[kind],
            "",
            "",
            {"lie": "gelegt", "stand": "gestellt"}[kind],
            "haben",
            "put {o}",
            "person",
        )
        d.note(v.de, noun.de)
        spot_de = german.contract(f"{prep} {at_np.de('acc')}")
        past = d.chance(0.5)
        clause = Clause(
            d.subject("person"),
            v,
            acc=thing,
            tense="past" if past else "present",
            place=(spot_de, f"{en_prep} {at_np.en()}"),
        )
        if past and d.chance(0.4):
            clause = replace(clause, time=d.time(verb("kaufen"), "past"))
        return finish(clause.de(), clause.en())
    d.note({"lie": "liegen", "stand": "stehen"}[kind], noun.de)
    says = {"lie": ("liegt", "liegen"), "stand": ("steht", "stehen")}[kind][thing.many]
    be = "are" if thing.many else "is"
    spot_de = german.contract(f"{prep} {at_np.de('dat')}")
    if d.chance(0.25):
        says_some = NP(noun, "ein", thing.adjectives)
        one = {"lie": "liegt", "stand": "steht"}[kind]
        return finish(f"{spot_de} {one} {says_some.de()}", f"there is {says_some.en()} {en_prep} {at_np.en()}")
    return finish(f"{thing.de()} {says} {spot_de}", f"{thing.en()} {be} {en_prep} {at_np.en()}")
