"""Patterns about people: requests, journeys, purposes, comparisons, belonging, liking, being."""

from collections.abc import Callable
from dataclasses import replace

import english
import german
from clauses import Draw
from everyday import age, birthday, daily, price, put_and_lie, there_is, timetable, weekday
from grammar import NP, PRONOUNS, Clause, Pronoun, to
from journeys import journey, purpose
from lexicon import ADJECTIVES, NOUNS, PLACES, describing, tagged
from phrases import FREE, STATE_WORDS, Pair, finish, is_are, verb
from reasons import because_it_is, because_of_state, but_cannot_find, which_i_bought

DO = (
    "öffnen zumachen putzen aufräumen waschen reparieren anrufen fragen füttern lesen schreiben kaufen abholen zeigen "
    "geben bringen mitbringen bezahlen anziehen"
)


def imperative(d: Draw) -> Pair:
    """Mach bitte die Tür zu! Macht ...! Machen Sie ...! Vergiss ... nicht!"""
    v = verb(d.rng.choice(DO.split()))
    you = PRONOUNS[1]
    for _ in d.tries():
        bare = d.objects(v, you)
        if isinstance(bare.acc, NP) and bare.acc.det == "ein" and v.infinitive in ("reparieren", "waschen"):
            bare = replace(bare, acc=replace(bare.acc, det="def"))
        objects = [p for p in (bare.acc, bare.dat) if p]
        own = [p for p in objects if isinstance(p, NP) and p.det in ("dein", "kein")]
        if own or any(isinstance(p, Pronoun) and p.person[0] == "2" for p in objects):
            continue
        kind = d.rng.choice(("du", "du", "ihr", "Sie"))
        base = {
            "du": german.imperative(v.de, v.changed),
            "ihr": german.imperative(v.de, many=True),
            "Sie": f"{v.de} Sie",
        }[kind]
        negated = d.chance(0.2) and isinstance(bare.acc, NP) and bare.acc.definite and not v.dat
        please = not negated and d.chance(0.6)
        clause = replace(bare, negated=negated)
        pronouns = [p.de(c) for p, c in ((bare.acc, "acc"), (bare.dat, "dat")) if isinstance(p, Pronoun)]
        middle = clause._middle(front="subject")[len(pronouns) :]
        words = [base, *pronouns, "bitte" if please else "", *middle, v.prefix]
        said = clause.en_to().removeprefix("to ")
        en = f"{'please ' if please else 'do not ' if negated else ''}{said}"
        return finish(" ".join(w for w in words if w), en, "!" if not please else ".")
    raise AssertionError(f"nothing to ask for with {v.infinitive}")


def polite(d: Draw) -> Pair:
    """The formal Sie, in questions that begin with its verb."""
    style = d.rng.randrange(5)
    noun = d.rng.choice([n for n in tagged("small kitchen drink dish") if n.de != "Schlüssel"])
    np = d.thing(noun, frozenset({"nodef"}), None)
    np = replace(
        np,
        count=0,
        many=False,
        det="none" if noun.mass else "ein",
        adjectives=tuple(a for a in np.adjectives if a.de != "alt"),
    )
    if style == 0:
        d.note("bringen", noun.de)
        return finish(f"können Sie mir bitte {np.de('acc')} bringen", f"can you please bring me {np.en()}", "?")
    if style == 1:
        noun = d.rng.choice(tagged("drink dish edible alcohol"))
        np = NP(noun, "none" if noun.mass else "ein", d.adjectives(noun, 0.3))
        d.note("mögen", noun.de)
        return finish(f"möchten Sie {np.de('acc')}", f"would you like {np.en()}", "?")
    if style == 2:
        d.note("hätte", noun.de)
        end = d.rng.choice((("", ""), (" bitte", " please")))
        return finish(
            f"ich hätte gern {np.de('acc')}{',' if end[0] else ''}{end[0]}",
            f"i would like {np.en()}{',' if end[0] else ''}{end[1]}",
        )
    place = PLACES[
        d.rng.choice(
            [p for p in PLACES if p not in ("Küche", "Keller", "Garten", "Büro", "Dorf", "Stadt", "Wald", "Schule")]
        )
    ]
    there = NP(place.noun, "def", tuple(a for a in d.adjectives(place.noun, 0.5) if a.de != "interessant"))
    if style == 3:
        d.note("wissen", place.noun.de)
        return finish(f"wissen Sie, wo {there.de()} ist", f"do you know where {there.en()} is", "?")
    de_to, en_to = to(place, there)
    d.note("kommen", place.noun.de)
    return finish(f"entschuldigung, wie komme ich {de_to}", f"excuse me, how do i get {en_to}", "?")


KINDS = ("furniture", "wear", "building", "page", "kitchen", "animal")


def comparison(d: Draw) -> Pair:
    """größer als, so groß wie; both nominative."""
    kind = d.rng.choice(KINDS)
    for _ in d.tries():
        odd = ("Flughafen", "Krankenhaus", "Universität", "Café", "Bäckerei")
        nouns = [n for n in tagged(kind) if not n.mass and n.de not in odd]
        one, other = d.rng.sample(nouns, 2)
        a = d.rng.choice(
            [a for a in ADJECTIVES.values() if a.comparative and a.tags & one.tags and a.tags & other.tags] or [None]
        )
        if kind == "animal" and a and a.de in ("groß", "klein"):
            continue  # dogs are not bigger than cows
        if a is None or a.comparative is None:
            continue
        d.note(a.de, one.de)
        d.note(a.de, other.de)
        many = d.chance(0.2)
        left, right = NP(one, d.rng.choice(("def", "dies")), (), many), NP(other, "def", (), many)
        de_is, en_is = is_are(left)
        style = d.rng.randrange(5)
        if style < 3:
            return finish(
                f"{left.de()} {de_is} {a.comparative[0]} als {right.de()}",
                f"{left.en()} {en_is} {a.comparative[1]} than {right.en()}",
            )
        so, as_ = ("nicht so", "not as") if style == 3 else ("genauso", "just as")
        return finish(
            f"{left.de()} {de_is} {so} {a.de} wie {right.de()}", f"{left.en()} {en_is} {as_} {a.en} as {right.en()}"
        )
    raise AssertionError(f"nothing to compare among {kind}")


def description(d: Draw) -> Pair:
    """Das Auto ist sehr teuer. Ist die Suppe heiß? Der Tisch ist zu klein."""
    a = d.rng.choice(list(ADJECTIVES.values()))
    noun = d.rng.choice(tagged(" ".join(sorted(a.tags))))
    d.note(a.de, noun.de)
    np = d.person(noun) if "person" in noun.tags else d.thing(noun, frozenset({"def"}), None)
    np = replace(np, adjectives=(), det="def" if np.det in ("ein", "none") else np.det)
    color = "color" in a.tags
    de_how, en_how = (
        ("", "")
        if color
        else d.rng.choice((("sehr ", "very "), ("", ""), ("nicht ", "not "), ("wirklich ", "really ")))
    )
    past = d.chance(0.25) and not color
    de_is, en_is = is_are(np, past=past)
    if d.chance(0.25):
        return finish(f"{de_is} {np.de()} {a.de}", f"{en_is} {np.en()} {a.en}", "?")
    return finish(f"{np.de()} {de_is} {de_how}{a.de}", f"{np.en()} {en_is} {en_how}{a.en}")


def feeling(d: Draw) -> Pair:
    subject, word = d.subject("person"), d.rng.choice(list(STATE_WORDS))
    if isinstance(subject, NP) and subject.det == "ein":
        subject = replace(subject, det="def")
    past = d.chance(0.4)
    de_is, en_is = is_are(subject, past=past)
    time = d.rng.choice((("", ""), ("gestern ", " yesterday")) if past else (("", ""), ("heute ", " today")))
    de_how, en_how = d.rng.choice((("sehr ", "very "), ("", ""), ("nicht ", "not ")))
    if isinstance(subject, NP):
        d.note(word, subject.noun.de)
    return finish(
        f"{subject.de()} {de_is} {time[0]}{de_how}{word}",
        f"{subject.en()} {en_is} {en_how}{STATE_WORDS[word]}{time[1]}",
    )


def possession(d: Draw) -> Pair:
    """The genitive (das Auto meines Bruders) and gehören with the dative."""
    noun = d.rng.choice([n for n in tagged("goods pet vehicle") if "kitchen" not in n.tags])
    owner = d.person(d.rng.choice(tagged("kin adult")))
    if owner.det == "ein":
        owner = replace(owner, det="def")
    if "wear" in noun.tags and (owner.many or ("fem_wear" in noun.tags and owner.noun.gender == "m")):
        return possession(d)
    d.note(noun.de, owner.noun.de)
    many = d.chance(0.2) or owner.many
    ending = "'" if owner.en().endswith("s") else "'s"
    be_de, be_en = ("sind", "are") if many else ("ist", "is")
    style = d.rng.randrange(4)
    np = NP(noun, "def", (), many)
    whose = f"{owner.en()}{ending} {english.plural(noun.en) if many else noun.en}"
    if style == 0:
        np = replace(np, det="dies")
        return finish(
            f"{np.de()} {'gehören' if many else 'gehört'} {owner.de('dat')}",
            f"{np.en()} {'belong' if many else 'belongs'} to {owner.en()}",
        )
    if style == 1:
        return finish(f"das {be_de} {np.de()} {owner.de('gen')}", f"{'those' if many else 'that'} {be_en} {whose}")
    if style == 2:
        fitting = describing(noun.tags)
        a = d.rng.choice(fitting)
        d.note(a.de, noun.de)
        return finish(f"{np.de()} {owner.de('gen')} {be_de} {a.de}", f"{whose} {be_en} {a.en}")
    d.note("suchen", noun.de)
    clause = Clause(d.subject("person"), verb("suchen"), acc=np)
    clause = replace(clause, tense=d.rng.choice(("present", "past")))
    if isinstance(clause.subject, NP) and clause.subject.noun.de == owner.noun.de:
        return possession(d)
    return finish(
        f"{clause.de()} {owner.de('gen')}"
        if clause.tense == "present"
        else clause.de().replace(np.de("acc"), f"{np.de('acc')} {owner.de('gen')}", 1),
        clause.en().replace(np.en(), whose, 1),
    )


def liking(d: Draw) -> Pair:
    """Mir gefällt das Bild: what is liked is the German subject; and what tastes good."""
    who = d.rng.choice((d.rng.choice(PRONOUNS), d.name(), d.person(d.rng.choice(tagged("kin")))))
    third = "3s" if who.person == "3s" else "1p"
    if d.chance(0.7):
        noun = d.rng.choice([n for n in tagged("pretty sight wear vehicle text") if not n.mass])
        de_verb, en_verb = ("gefällt", "gefallen"), "like"
    else:
        noun = d.rng.choice(tagged("edible dish"))
        de_verb, en_verb = ("schmeckt", "schmecken"), "like the taste of"
    d.note(de_verb[0], noun.de)
    np = NP(noun, d.rng.choice(("def", "dies")), d.adjectives(noun, 0.4), noun.plural != "-" and d.chance(0.25))
    negated = d.chance(0.25)
    head, _, tail = en_verb.partition(" ")
    said = english.clause(
        who.en(), third if not isinstance(who, Pronoun) else who.person, head, "simple", negated=negated
    )
    tail = f" {tail}" if tail else ""
    middle = " nicht" if negated else ""
    they = who.de("dat") == "ihnen"  # "Ihnen" at the start could be the formal you
    if they or d.chance(0.5):
        return finish(f"{np.de()} {de_verb[np.many]} {who.de('dat')}{middle}", f"{said}{tail} {np.en()}")
    return finish(f"{who.de('dat')} {de_verb[np.many]} {np.de()}{middle}", f"{said}{tail} {np.en()}")


def measured(d: Draw) -> Pair:
    """Eine Tasse Kaffee, zwei Flaschen Wasser."""
    vessel = d.rng.choice(("Tasse", "Glas", "Flasche"))
    drinks = {
        "Tasse": "Kaffee Tee Milch",
        "Glas": "Wasser Saft Milch Wein Bier",
        "Flasche": "Wasser Saft Milch Wein Bier",
    }[vessel]
    drink = NOUNS[d.rng.choice(drinks.split())]
    v = verb(
        d.rng.choice(
            ("trinken", "bestellen", "bringen", "kaufen")
            if vessel == "Flasche"
            else ("trinken", "bestellen", "bringen")
        )
    )
    if "alcohol" in drink.tags and v.dat:
        v = verb("bestellen")  # not for children
    count = d.rng.choice((1, 1, 2, 3))
    noun = NOUNS[vessel]
    # Glas stays singular as a measure: zwei Glas Wein; here the counted glasses are meant.
    measure = replace(
        noun, plural=noun.plural + f" {drink.de}", de=f"{noun.de} {drink.de}", en=f"{noun.en} of {drink.en}"
    )
    plural_en = f"{english.number(count)} {english.plural(noun.en)} of {drink.en}"
    d.note(vessel, drink.de)
    d.note(v.infinitive, drink.de)
    base = d.clause(replace(v, acc="drink", subject="adult", flags=v.flags | {"nodef"}))
    bad = base.gern or base.tense == "done" or base.negated or base.time[2] == "now"
    if bad or not isinstance(base.acc, NP) or d.front(base) == "acc":
        return measured(d)
    if base.time[2] == "often":
        count = 1
    np = NP(measure, "none" if count > 1 else "ein", (), count > 1, count=count if count > 1 else 0)
    clause = replace(base, acc=np)
    front = "time" if base.time[2] in ("past", "future", "habit") and d.chance(0.4) else "subject"
    en = clause.en(front="time" if front == "time" else "").replace(np.en(), plural_en if count > 1 else np.en())
    return finish(clause.de(front), en)


PATTERNS: dict[Callable[[Draw], Pair], int] = {
    **FREE,
    because_it_is: 5, because_of_state: 2, but_cannot_find: 2, which_i_bought: 4,
    timetable: 4, daily: 3, weekday: 5, birthday: 2, age: 2, price: 4, there_is: 4, put_and_lie: 7,
    imperative: 5, polite: 4, journey: 8, purpose: 5, comparison: 4, description: 5, feeling: 2, possession: 4,
    liking: 3, measured: 3,
}  # fmt: skip
