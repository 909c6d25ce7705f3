"""Patterns of two clauses in which a pronoun takes up what came before."""

from dataclasses import replace

import german
from clauses import Draw
from grammar import NP, Clause, to
from lexicon import PLACES, describing, tagged
from phrases import IT, Pair, finish, he_she_they, is_are, statement, verb
from verbs import Verb

REASONS = {
    "kaufen": "billig schön neu frisch reif süß modern leicht interessant", "verkaufen": "alt",
    "essen": "frisch süß reif",
    "lesen": "interessant", "benutzen": "neu leicht scharf", "tragen": "warm schön neu", "trinken": "kalt süß",
}  # fmt: skip


def because_it_is(d: Draw) -> Pair:
    """Ich kaufe den Tisch, weil er billig ist: the pronoun takes up the noun's gender."""
    v = verb(d.rng.choice(list(REASONS)))
    for _ in d.tries():
        subject = d.subject(v.subject)
        noun = d.rng.choice(tagged(v.acc))
        fitting = [a for a in describing(noun.tags) if a.de in REASONS[v.de].split()]
        if not fitting:
            continue
        a = d.rng.choice(fitting)
        d.note(v.infinitive, noun.de)
        d.note(a.de, noun.de)
        if v.de == "tragen" and "fem_wear" in noun.tags and d.masculine(subject):
            continue
        many = noun.plural != "-" and (subject.person[1] == "p" if "one" in v.flags else d.chance(0.25))
        np = NP(noun, d.rng.choice(("def", "dies")), (), many)
        past = d.chance(0.4)
        clause = Clause(subject, v, acc=np, tense="past" if past else "present")
        de_it = IT["p" if many else noun.gender][0]
        en_it = "they" if np.en_person == "3p" else "it"
        de_is, en_is = is_are(np, past=past)
        so = "so " if a.de != "neu" and d.chance(0.4) else ""
        return finish(
            f"{clause.de()}, weil {de_it} {so}{a.de} {de_is}", f"{clause.en()} because {en_it} {en_is} {so}{a.en}"
        )
    return statement(d)


def because_of_state(d: Draw) -> Pair:
    """Anna bleibt zu Hause, weil sie krank ist."""
    for _ in d.tries():
        subject = d.subject("person")
        again = he_she_they(subject)
        if again is None:
            continue
        word = d.rng.choice(("müde", "krank", "nicht gesund", "sehr müde"))
        en_word = {"müde": "tired", "krank": "sick", "nicht gesund": "not healthy", "sehr müde": "very tired"}[word]
        past = d.chance(0.4)
        bleiben = Verb("bleiben", "", "", "geblieben", "sein", "stay", "person")
        gehen = Verb("gehen", "", "", "gegangen", "sein", "go", "person")
        place = PLACES[d.rng.choice(("Schule", "Büro", "Kino", "Universität", "Restaurant", "Park"))]
        if d.chance(0.5):
            clause = Clause(subject, bleiben, place=("zu Hause", "at home"), tense="past" if past else "present")
        else:
            d.note("gehen", place.noun.de)
            spot = to(place, d.place(place, 0.1))
            clause = Clause(subject, gehen, place=spot, negated=True, tense="past" if past else "present")
        time = ("gestern", "yesterday", "past") if past else ("heute", "today", "")
        clause = replace(clause, time=time) if d.chance(0.6) else clause
        de_is, en_is = is_are(again, past=past)
        return finish(
            f"{clause.de()}, weil {again.de()} {word} {de_is}", f"{clause.en()} because {again.en()} {en_is} {en_word}"
        )
    return statement(d)


def but_cannot_find(d: Draw) -> Pair:
    """Ich suche den Schlüssel, aber ich finde ihn nicht."""
    for _ in d.tries():
        subject = d.subject("person")
        again = he_she_they(subject)
        noun = d.rng.choice([n for n in tagged("small") if not n.mass])
        if again is None:
            continue
        np = d.thing(noun, frozenset({"def"}), subject)
        clause = Clause(subject, verb("suchen"), acc=np)
        d.note("suchen", noun.de)
        it = IT["p" if np.many else noun.gender][1]
        kann = german.present("können", again.person)
        return finish(
            f"{clause.de()}, aber {again.de()} {kann} {it} nicht finden",
            f"{clause.en()}, but {again.en()} cannot find {'them' if np.many else 'it'}",
        )
    return statement(d)


def which_i_bought(d: Draw) -> Pair:
    """Das Buch, das ich gekauft habe, ist interessant."""
    for _ in d.tries():
        v = verb(
            d.rng.choice(
                (
                    "kaufen",
                    "lesen",
                    "finden",
                    "verkaufen",
                    "backen",
                    "kochen",
                    "tragen",
                    "bestellen",
                    "malen",
                    "reparieren",
                )
            )
        )
        noun = d.rng.choice([n for n in tagged(v.acc) if not n.tags & {"animal"}])
        fitting = describing(noun.tags)
        if v.de == "lesen":
            fitting = [a for a in fitting if a.tags & {"text"}]
        if not fitting:
            continue
        a = d.rng.choice(fitting)
        subject = d.subject(v.subject)
        if v.de == "tragen" and "fem_wear" in noun.tags and d.masculine(subject):
            continue
        several = subject.person[1] == "p" if "one" in v.flags else v.de in ("backen", "kochen") or d.chance(0.25)
        many = noun.plural != "-" and ("pair" in noun.tags or ("dish" not in noun.tags and several))
        np = NP(noun, "def", (), many)
        clause = Clause(subject, v, tense="past")
        gender = "p" if many else noun.gender
        d.note(v.infinitive, noun.de)
        d.note(a.de, noun.de)
        rel = {"m": "den", "f": "die", "n": "das", "p": "die"}[gender]
        past = v.de in ("backen", "kochen", "bestellen", "verkaufen")
        de_is, en_is = is_are(np, past=past)
        return finish(
            f"{np.de()}, {clause.de_sub(rel)}, {de_is} {a.de}", f"{np.en()} that {clause.en()} {en_is} {a.en}"
        )
    return statement(d)
