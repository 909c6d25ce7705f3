"""The sentence patterns: what a phrasebook says, over the clauses of clauses.py.

Each pattern draws one pair, capitalised and punctuated; ``PATTERNS`` gives their shares.
"""

from collections.abc import Callable
from dataclasses import replace

import english
import german
from clauses import Draw
from grammar import NP, PRONOUNS, Name, Pronoun
from verbs import VERBS, Verb

Pair = tuple[str, str]

BY_PRONOUN = {(p.person, p.possessive): p for p in PRONOUNS}
IT = {"m": ("er", "ihn"), "f": ("sie", "sie"), "n": ("es", "es"), "p": ("sie", "sie")}
STATE_WORDS = {
    "müde": "tired", "krank": "sick", "glücklich": "happy", "traurig": "sad", "hungrig": "hungry", "nervös": "nervous",
    "gesund": "healthy", "zufrieden": "satisfied",
}  # fmt: skip


def finish(de: str, en: str, mark: str = ".") -> Pair:
    """Capital first letters and a final mark."""
    en = " ".join("I" if word == "i" else word for word in en.split(" "))
    return de[0].upper() + de[1:] + mark, en[0].upper() + en[1:] + mark


def verb(name: str) -> Verb:
    return next(v for v in VERBS if v.infinitive == name)


def he_she_they(np: NP | Name | Pronoun) -> Pronoun | None:
    """The pronoun that takes a person up again; none for neuters (das Kind), where English must guess."""
    if isinstance(np, Pronoun):
        return np
    if np.person == "3p":
        return BY_PRONOUN["3p", "ihr"]
    gender = np.gender if isinstance(np, Name) else np.noun.gender
    return {"m": BY_PRONOUN["3s", "sein"], "f": BY_PRONOUN["3s", "ihr"]}.get(gender)


def is_are(subject: NP | Name | Pronoun, *, past: bool = False) -> Pair:
    """The copula, finite, in both languages."""
    table = german.PRETERITE if past else german.IRREGULAR
    return (
        table["sein"].split()[german.PERSONS.index(subject.person)],
        english.BE[subject.en_person].split()[past],
    )


# Statements and questions over free clauses -----------------------------------------------------


def statement(d: Draw) -> Pair:
    clause = d.clause()
    front = d.front(clause)
    return finish(clause.de(front), clause.en(front="time" if front == "time" else ""))


def yes_no(d: Draw) -> Pair:
    for _ in d.tries():
        clause = d.clause(question=True)
        # "Wollen wir ...?" is "Shall we ...?"
        if not (clause.modal and clause.subject.person == "1p"):
            return finish(clause.de(""), clause.en(question=True), "?")
    return statement(d)


def wh_adverb(d: Draw) -> Pair:
    """Warum, wann, wo."""
    word = d.rng.choice(("warum", "wann", "wo"))
    for _ in d.tries():
        clause = d.clause(question=True)
        kind, flags = clause.time[2], clause.verb.flags
        if clause.subject.person == "1p":
            continue
        if clause.gern or clause.tense == "done" or (clause.modal and word != "warum") or kind == "now":
            continue
        if word != "warum":
            if kind == "often" or flags & {"state", "notime"} or not (clause.tense == "past" or "nofut" not in flags):
                continue
            if isinstance(clause.acc, NP) and not clause.acc.definite and word == "wann":
                continue
            time = clause.time
            if word == "wann":
                time = ("", "", "future" if clause.tense == "present" else "")
            if word == "wo" and not (clause.verb.places and not clause.verb.prep):
                continue
            clause = replace(clause, time=time, place=("", "") if word == "wo" else clause.place)
        if kind in ("often",) and d.chance(0.5):
            continue
        en = {"warum": "why", "wann": "when", "wo": "where"}[word]
        return finish(clause.de(word), f"{en} {clause.en(question=True)}", "?")
    return statement(d)


def wh_object(d: Draw) -> Pair:
    """Was, wen, wem, auf wen, mit wem."""
    for _ in d.tries():
        clause = d.clause(question=True)
        v = clause.verb
        if clause.subject.person == "1p":
            continue
        if clause.gern or clause.tense == "done" or clause.negated or clause.time[2] in ("often", "habit"):
            continue
        if clause.acc and not v.dat and not v.flags & {"state"}:
            persons = "person" in v.acc.split()
            if not persons or set(v.acc.split()) == {"person"}:
                word, en = ("wen", "who") if persons else ("was", "what")
                clause = replace(clause, acc=None)
                return finish(clause.de(word), f"{en} {clause.en(question=True)}", "?")
        if v.dat and not v.acc:
            clause = replace(clause, dat=None)
            return finish(clause.de("wem"), f"who {clause.en(question=True)}", "?")
        if clause.pp and "person" in v.pp.split() and "state" not in v.flags:
            word = f"{v.prep} {'wen' if v.case == 'acc' else 'wem'}"
            clause = replace(clause, pp=None)
            return finish(clause.de(word), f"who {clause.en(question=True)}", "?")
    return statement(d)


def wh_subject(d: Draw) -> Pair:
    he = BY_PRONOUN["3s", "sein"]
    for _ in d.tries():
        clause = d.clause(subject=he)
        own = [p for p in (clause.acc, clause.dat, clause.pp) if isinstance(p, NP) and p.det in ("sein", "kein")]
        if not (own or clause.gern or clause.negated or clause.tense == "done" or clause.time[2] == "often"):
            if "refl" in clause.verb.flags or "fem_wear" in getattr(getattr(clause.acc, "noun", None), "tags", ()):
                continue
            return finish(clause.de_wh_subject("wer"), clause.en_wh_subject("who"), "?")
    return statement(d)


OPENERS = {
    "dass": {
        "ich weiß": "I know", "ich glaube": "I think", "er sagt": "he says", "wir wissen": "we know",
        "sie sagt": "she says", "es ist schön": "it is nice",
        "ich bin sicher": "I am sure", "alle wissen": "everyone knows",
    },
    "ob": {
        "ich weiß nicht": "I do not know", "er fragt": "he asks", "weißt du": "do you know", "sie fragt": "she asks",
        "wir möchten wissen": "we would like to know",
    },
    "warum": {"ich weiß nicht": "I do not know", "ich verstehe nicht": "I do not understand",
             "weißt du": "do you know"},
}  # fmt: skip


def subordinate(d: Draw) -> Pair:
    """dass, ob and warum, with the verb at the end."""
    word = d.rng.choices(("dass", "ob", "warum"), (5, 3, 2))[0]
    opener = d.rng.choice(list(OPENERS[word]))
    for _ in d.tries():
        clause = d.clause(question=word != "dass")
        if clause.verb.de[:-2] in opener:  # not "er fragt, ob du fragst"
            continue
        if word == "ob" and (clause.negated or clause.subject.person == "1p"):
            continue
        knower = {"er": "3s", "sie": "3s", "wir": "1p", "weißt": "2"}.get(opener.split(" ")[0])
        if (
            clause.subject.person.startswith(knower or "-")
            or clause.time[2] == "now"
            or (isinstance(clause.subject, Pronoun) and clause.subject.person == "1s")
        ):
            continue
        en = {"dass": "that", "ob": "whether", "warum": "why"}[word]
        mark = "?" if opener.startswith("weißt") else "."
        return finish(f"{opener}, {clause.de_sub(word)}", f"{OPENERS[word][opener]} {en} {clause.en()}", mark)
    return statement(d)


# Condition, its English, and what one does then.
OUTDOORS = "spielen schwimmen tanzen malen besuchen fotografieren treffen einladen"
INDOORS = "lesen kochen backen fernsehen aufräumen putzen lernen schreiben hören anrufen arbeiten reparieren"
CONDITIONS = (
    ("es regnet", "it rains", INDOORS),
    ("es schneit", "it snows", INDOORS),
    ("das Wetter schlecht ist", "the weather is bad", INDOORS),
    ("das Wetter schön ist", "the weather is nice", OUTDOORS),
    ("die Sonne scheint", "the sun shines", OUTDOORS),
)


def conditional(d: Draw) -> Pair:
    """Wenn es regnet, lesen wir ein Buch: the main clause opens with its verb, English has will."""
    wenn, en_if, activities = d.rng.choice(CONDITIONS)
    personal = d.chance(0.5)
    if personal:
        activities = f"{OUTDOORS} {INDOORS} helfen"
    v = d.rng.choice([v for v in VERBS if v.infinitive in activities.split()])
    for _ in d.tries():
        subject = d.subject("child" if v.subject == "child pet" else v.subject)
        if isinstance(subject, NP) and subject.det == "ein":
            subject = replace(subject, det="def")
        clause = d.objects(v, subject, definite=bool(v.acc) and d.chance(0.5))
        clause = replace(clause, time=("", "", "future"))
        if (again := he_she_they(subject)) is None:
            continue
        place = ("im See", "in the lake") if v.de == "schwimmen" else ("", "")
        clause = replace(clause, place=place)
        if personal:
            has = german.present("haben", subject.person)
            wenn = f"{subject.de()} Zeit {has}"
            en_if = f"{subject.en()} {'has' if subject.person == '3s' else 'have'} time"
            clause = replace(clause, subject=again)
        if personal or d.chance(0.6):
            return finish(f"wenn {wenn}, {clause.de('')}", f"if {en_if}, {clause.en()}")
        return finish(f"{clause.de()}, wenn {wenn}", f"{clause.en()} if {en_if}")
    return statement(d)


FREE: dict[Callable[[Draw], Pair], int] = {
    statement: 40, yes_no: 11, wh_adverb: 6, wh_object: 6, wh_subject: 2, subordinate: 11, conditional: 6,
}  # fmt: skip
