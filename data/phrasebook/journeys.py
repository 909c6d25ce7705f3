"""Patterns of going somewhere: how, when, and what for."""

from dataclasses import replace

from clauses import Draw
from grammar import MODALS, NP, Clause, to
from lexicon import CITIES, NOUNS, PLACES
from phrases import Pair, finish, verb
from verbs import Verb

RIDES = {
    "mit dem Bus": "by bus", "mit dem Zug": "by train", "mit dem Auto": "by car", "mit dem Taxi": "by taxi",
    "mit dem Fahrrad": "by bicycle", "mit der Straßenbahn": "by tram",
}  # fmt: skip
GO = Verb("gehen", "", "", "gegangen", "sein", "go", "person")
RIDE = Verb("fahren", "", "fähr", "gefahren", "sein", "go", "person")
FLY = Verb("fliegen", "", "", "geflogen", "sein", "fly", "person")
TIMES_OF_TRAVEL = (
    ("gestern", "yesterday", "past"), ("letzte Woche", "last week", "past"), ("heute Morgen", "this morning", "past"),
    ("morgen", "tomorrow", "future"), ("nächste Woche", "next week", "future"), ("heute Abend", "tonight", "future"),
    ("jeden Tag", "every day", "habit"), ("jeden Sonntag", "every Sunday", "habit"), ("oft", "often", "often"),
    ("nie", "never", "often"), ("am Wochenende", "on the weekend", "habit"), ("gerade", "right now", "now"),
    ("", "", ""),
)  # fmt: skip


def journey(d: Draw) -> Pair:
    """gehen, fahren, fliegen: time, manner, place; mostly where to."""
    time = d.rng.choice(TIMES_OF_TRAVEL)
    style = d.rng.randrange(5)
    by_city, near = False, False
    if style == 4:
        de_city, _, en_city = d.rng.choice(CITIES).partition(":")
        v, goal = d.rng.choice((RIDE, FLY)), (f"nach {de_city}", f"to {en_city or de_city}")
        d.note(v.de, de_city)
        time = time if time[0] != "jeden Tag" else ("", "", "")
        by_city = True
    elif style == 3:
        v, goal = d.rng.choice((GO, RIDE)), ("nach Hause", "home")
        time = ("", "", "") if time[2] in ("habit", "often") else time
    else:
        v = d.rng.choice((GO, GO, RIDE))
        names = [p for p in PLACES if p not in ("Küche", "Keller", "Garten") and not (v is GO and p == "Flughafen")]
        place = PLACES[d.rng.choice(names)]
        goal = to(place, d.place(place, 0.25 if place.noun.de not in ("Stadt", "Dorf", "Wald") else 0))
        near = place.noun.de not in ("Stadt", "Dorf", "See", "Strand")
        if place.noun.de in ("Schule", "Universität", "Büro") and time[2] == "habit":
            time = ("jeden Tag", "every day", "habit")
        d.note(v.de, place.noun.de)
    tense = "past" if time[2] == "past" or (not time[0] and d.chance(0.4)) else "present"
    if v is RIDE and d.chance(0.75):
        fitting = [r for r in RIDES if not (near and r == "mit dem Zug")]
        ride = d.rng.choice(fitting[: 3 if by_city else None])
        goal = (f"{ride} {goal[0]}", f"{goal[1]} {RIDES[ride]}")
        d.note(ride, goal[0].rpartition(" ")[2])
    form = d.rng.randrange(6)
    subject = d.subject("person", question=form == 0)
    if isinstance(subject, NP) and subject.det == "ein":
        subject = replace(subject, det="def")
    if form == 0 and time[2] == "often":
        time = ("", "", "")
    clause = Clause(
        subject, v, tense=tense, time=time, place=goal, negated=form == 1 and time[2] not in ("often", "now", "habit")
    )
    if form == 0:
        return finish(clause.de(""), clause.en(question=True), "?")
    if form == 2 and tense == "present" and time[2] in ("", "future"):
        clause = replace(clause, modal=MODALS[d.rng.choice(("want", "must", "can", "should"))])
    front = "time" if time[0] and time[2] not in ("often", "now") and d.chance(0.5) else "subject"
    return finish(clause.de(front), clause.en(front="time" if front == "time" else ""))


PURPOSES = {
    "Supermarkt": (("kaufen", "food drink"),),
    "Markt": (("kaufen", "fruit food"), ("kaufen", "buy")), "Bäckerei": (("kaufen", "bake"),),
    "Bahnhof": (("abholen", "person"), ("kaufen", "ticket")), "Flughafen": (("abholen", "person"),),
    "Bibliothek": (("lesen", "read"), ("lernen", "")), "Café": (("treffen", "person"), ("trinken", "drink")),
    "Restaurant": (("essen", "dish"), ("treffen", "person")), "Park": (("lesen", "read"), ("treffen", "person")),
    "Küche": (("kochen", "cook"), ("backen", "bake")), "Stadt": (("kaufen", "wear gift"), ("treffen", "person")),
    "Keller": (("reparieren", "bench"),), "See": (("schwimmen", ""),), "Krankenhaus": (("besuchen", "person"),),
}  # fmt: skip


def purpose(d: Draw) -> Pair:
    """Sie geht in den Supermarkt, um Brot zu kaufen."""
    place = PLACES[d.rng.choice(list(PURPOSES))]
    name, tags = d.rng.choice(PURPOSES[place.noun.de])
    v = verb(name)
    flags = set(v.flags)
    if v.acc != "person":
        flags |= {"nodef"}
    if v.de in ("kochen", "backen") or "food" in tags or "fruit" in tags:
        flags |= {"plural"}
    v = replace(v, acc=tags.replace("ticket", "buy") or v.acc, flags=frozenset(flags))
    subject = d.subject("adult")
    if isinstance(subject, NP) and subject.noun.de == "Bäcker":
        return purpose(d)
    goal = d.objects(v, subject)
    if tags == "ticket":
        goal = replace(goal, acc=NP(NOUNS["Fahrkarte"], "ein"))
        d.note("kaufen", "Fahrkarte")
    past = d.chance(0.4)
    d.note("gehen", place.noun.de)
    clause = Clause(subject, GO, tense="past" if past else "present", place=to(place, d.place(place, 0)))
    return finish(f"{clause.de()}, {goal.de_zu()}", f"{clause.en()} {goal.en_to()}")
