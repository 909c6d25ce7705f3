"""Draws phrases and clauses that make sense, and notes the word combinations they hold."""

import random
from collections.abc import Iterator
from dataclasses import replace

from grammar import MODALS, NP, PRONOUNS, Clause, Name, Phrase, Pronoun, at
from lexicon import FAR, NAMES, NOUNS, PLACES, TIMES, Adjective, Noun, Place, describing, tagged
from verbs import VERBS, Verb

PERSONAL = ("person", "adult", "child", "kin")
OWNED = frozenset(["goods", "small", "wear", "pet", "toy", "vehicle", "own", "kin", "ours", "furniture"])
COLORS = ("rot", "blau", "grün", "schwarz", "weiß", "braun", "gelb")
BARE = frozenset(["hobby", "aid", "money", "time"])
SOME = ("Dorf", "Stadt", "Hotel", "Restaurant", "Café", "Park", "See", "Museum")
PLAIN = ("Büro", "Küche", "Keller", "Wald", "Universität")
TWO_WORDS = 0.08
"""Share of described things that get a second adjective, a colour."""


class Draw:
    """A source of random phrases. ``combinations`` fills with pairs such as ``kaufen Apfel`` until ``fresh``."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.combinations: set[str] = set()

    def fresh(self) -> None:
        self.combinations = set()

    def note(self, one: str, other: str) -> None:
        self.combinations.add(f"{one} {other}")

    def tries(self, limit: int = 100) -> Iterator[None]:
        """Attempts at a sentence; each forgets the combinations of the one before."""
        for _ in range(limit):
            self.fresh()
            yield

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    # Phrases ------------------------------------------------------------------------------------

    def adjectives(self, noun: Noun, share: float = 0.3) -> tuple[Adjective, ...]:
        """None, one, or two adjectives that may describe the noun."""
        fitting = describing(noun.tags)
        if not fitting or not self.chance(share):
            return ()
        chosen = [self.rng.choice(fitting)]
        colors = [a for a in fitting if a.de in COLORS]
        if colors and chosen[0] not in colors and self.chance(TWO_WORDS * 2):
            chosen.append(self.rng.choice(colors))
        for a in chosen:
            self.note(a.de, noun.de)
        return tuple(chosen)

    def subject(self, tags: str, *, question: bool = False) -> Phrase:
        """Who does it."""
        roll = self.rng.random()
        if tags != "child" and tags != "animal":
            if roll < 0.45:
                allowed = [p for p in PRONOUNS if not (question and p.de("dat") in ("ihnen", "mir"))]
                return self.rng.choice(allowed)
            if roll < 0.58:
                return self.name()
        nouns = tagged(tags)
        if tags == "adult":
            nouns = [n for n in nouns if "adult" in n.tags]
        return self.person(self.rng.choice(nouns))

    def name(self) -> Name:
        one = self.rng.choice(list(NAMES))
        if self.chance(0.2):
            other = self.rng.choice([n for n in NAMES if n != one])
            return Name((one, other), "p")
        return Name((one,), NAMES[one])

    def person(self, noun: Noun, owner: Phrase | None = None) -> NP:
        """A person or animal; relatives always with a possessive."""
        many = noun.plural != "-" and self.chance(0.2)
        if "kin" in noun.tags:
            det, their = self.possessive(owner) if owner and self.chance(0.6) else ("", False)
            det = det or self.rng.choice(("mein", "mein", "dein", "unser", "sein") if not owner else ("mein", "unser"))
            return NP(noun, det, (), many and "child" in noun.tags, their=their)
        if "own" in noun.tags and self.chance(0.6):
            return NP(noun, self.rng.choice(("mein", "unser")), self.adjectives(noun, 0.2), many)
        det = self.rng.choices(("def", "dies", "ein"), (76, 14, 0 if many else 10))[0]
        return NP(noun, det, self.adjectives(noun, 0.28), many)

    def possessive(self, owner: Phrase | None) -> tuple[str, bool]:
        """The owner's own possessive; none for neuters, whose "sein" English would have to guess."""
        if isinstance(owner, Pronoun):
            return owner.possessive, owner.person == "3p"
        if owner is None:
            return "", False
        if owner.person == "3p":
            return "ihr", True
        gender = owner.gender if isinstance(owner, Name) else owner.noun.gender
        return {"m": "sein", "f": "ihr"}.get(gender, ""), False

    def masculine(self, subject: Phrase) -> bool:
        """Whether a man or boy is among them, as far as can be told."""
        if isinstance(subject, Pronoun):
            return subject.possessive == "sein"
        return (subject.gender if isinstance(subject, Name) else subject.noun.gender) in "mp"

    def thing(self, noun: Noun, flags: frozenset[str], subject: Phrase | None, *, loose: bool = False) -> NP:
        """A thing as an object; ``loose`` asks for an indefinite one ("oft einen Apfel")."""
        if noun.tags & BARE:
            return NP(noun, "none")
        adjectives = self.adjectives(noun, 0.38)
        if noun.mass and "event" not in noun.tags:
            bare = loose or "nodef" in flags or ("def" not in flags and self.chance(0.6))
            return NP(noun, "none" if bare else "def", adjectives)
        many = noun.plural != "-" and "one" not in flags and not noun.tags & {"event", "town"} and self.chance(0.22)
        many = many or "pair" in noun.tags or ("plural" in flags and noun.plural != "-")
        if loose or "nodef" in flags:
            if many and self.chance(0.4) and ("food" in noun.tags or not loose):
                return NP(noun, "none", adjectives, True, count=self.rng.randint(2, 3 if loose else 6))
            return NP(noun, "ein", adjectives, many)
        if many and "onlypast" in flags:
            flags |= {"def"}  # "ich habe Schlüssel verloren" is right, but seldom meant
        mine = noun.tags & OWNED and "kitchen" not in noun.tags and "noposs" not in flags
        own, their = self.possessive(subject) if mine else ("", False)
        weights = (45, 0 if {"def"} & flags or noun.tags & {"event", "town"} else 32, 16 if own else 0, 7)
        if "event" in noun.tags:
            weights = (3, 0, 2 if own else 0, 0)
        det = self.rng.choices(("def", "ein", own, "dies"), weights)[0]
        return NP(noun, det, adjectives, many, their=their and det == "ihr")

    def target(self, verb: Verb, slot: str, tags: str, subject: Phrase, *, loose: bool, taken: set[str]) -> Phrase:
        """What the verb is done to, for, or with."""
        case = {"acc": "acc", "dat": "dat", "pp": verb.case}[slot]
        nouns = [n for n in tagged(tags) if n.de not in taken]
        if isinstance(subject, NP) and subject.noun.tags & {"kin", "child"}:
            # My grandfather's son is my father, and a boy has no daughter.
            strangers = [n for n in nouns if "kin" not in n.tags]
            nouns = strangers or [n for n in nouns if n.de in ("Bruder", "Schwester")]
        if tags == "wear" and self.masculine(subject):
            nouns = [n for n in nouns if "fem_wear" not in n.tags]
        noun = self.rng.choice(nouns)
        if noun.tags & set(PERSONAL):
            if "person" in tags.split() and not loose and self.chance(0.35):
                # "Morgen fragt unsere Tochter Julia", "Schenkt ihr Maria Blumen?": who asks, who gives?
                clear = slot == "pp" or (isinstance(subject, Pronoun) and subject.de() not in ("sie", "ihr"))
                if clear and self.chance(0.5):
                    name = self.name()
                    if not (isinstance(subject, Name) and set(subject.names) & set(name.names)):
                        return name
                others = [p for p in PRONOUNS if p.person[0] != subject.person[0] and p.forms[1] != "-"]
                others = [p for p in others if slot != "pp" or p.person[0] != "3" or case == "dat"]
                if others:
                    return self.rng.choice(others)
            person = self.person(noun, subject)
            if "def" in verb.flags and person.det == "ein":
                person = replace(person, det="def")
            self.note(verb.infinitive, noun.de)
            return person
        self.note(verb.infinitive, noun.de)
        flags = verb.flags
        if verb.de in ("kochen", "backen") and "dish" not in noun.tags:
            flags |= {"plural"}  # nobody boils one potato
        if "wear" in tags.split() and "one" in flags and subject.person[1] == "p":
            flags = flags - {"one"} | {"plural"}  # nor do two wear one coat
        return self.thing(noun, flags, subject, loose=loose)

    def place(self, place: Place, share: float = 0.2) -> NP:
        """A place: mostly with "der", with "ein" where there are many and this one is described."""
        adjectives = () if place.noun.de in PLAIN else self.adjectives(place.noun, share)
        some = adjectives and place.noun.de in SOME and self.chance(0.4)
        return NP(place.noun, "ein" if some else "def", adjectives)

    def where(self, verb: Verb, subject: Phrase, objects: list[Phrase]) -> tuple[str, str]:
        """A place where the verb, with these objects, is done."""
        tags = {tag for o in objects if isinstance(o, NP) for tag in o.noun.tags}
        fitting = [p for p, _, tag in (entry.partition(":") for entry in verb.places) if not tag or tag in tags]
        if isinstance(subject, NP) and "animal" in subject.noun.tags:
            fitting = [p for p in fitting if p in ("Garten", "Park", "Wald")]
        if not fitting:
            return "", ""
        place = PLACES[self.rng.choice(fitting)]
        self.note(verb.infinitive, place.noun.de)
        return at(place, self.place(place))

    def time(self, verb: Verb, kind: str, *, near: bool = False) -> tuple[str, str, str]:
        """An adverbial of time that the verb goes with."""
        times = TIMES[kind]
        fitting = [t for t in times if "far" in verb.flags or t not in FAR]
        if near:  # one wanted to "yesterday" rather than "an hour ago"
            fitting = [t for t in fitting if not t.startswith("vor ")]
        if (
            not (verb.acc or verb.dat or verb.aux == "sein") or verb.de == "bleiben"
        ):  # what lasts did not happen "an hour ago"
            fitting = [t for t in fitting if t != "vor einer Stunde"]
        if "morning" in verb.flags:
            fitting = [t for t in fitting if t in ("gestern", "morgen", "heute Morgen", "jeden Tag", "jeden Morgen")]
        de = self.rng.choice(fitting or list(times))
        if verb.de == "füttern" and de == "einmal pro Woche":
            de = "jeden Tag"
        return de, times[de], kind

    # Clauses ------------------------------------------------------------------------------------

    def verb(self) -> Verb:
        return self.rng.choice(VERBS)

    def clause(self, verb: Verb | None = None, *, question: bool = False, subject: Phrase | None = None) -> Clause:
        """A clause of any tense, for statements and subordinate clauses."""
        verb = verb or self.verb()
        subject = subject or self.subject(verb.subject, question=question)
        kind = self.kind(verb)
        while question and kind == "often":
            kind = self.kind(verb)
        loose = kind in ("habit", "often", "gern") and "habit" in verb.flags
        plural = kind == "gern" or verb.de == "backen"  # "gern Äpfel", not "gern einen Apfel"
        drawn = replace(verb, flags=verb.flags | {"plural"}) if loose and plural else verb
        clause = replace(self.objects(drawn, subject, loose=loose, definite=kind == "done"), verb=verb)
        objects = [p for p in (clause.acc, clause.pp) if p]
        clause = replace(clause, **self.tense(verb, kind))  # type: ignore[arg-type]  # fields of Clause
        denied = kind not in ("gern", "done", "often", "habit") and "noneg" not in verb.flags
        if denied and not question and "place" not in verb.flags and self.chance(0.17):
            clause = self.negated(clause)
        plain = kind in ("plain", "now", "past", "perfect", "future", "will") and not (question or clause.negated)
        if isinstance(subject, NP) and subject.det == "ein" and not plain:
            clause = replace(clause, subject=replace(subject, det="def"))
        if not clause.negated and kind != "done" and ("place" in verb.flags or self.chance(0.35)):
            clause = replace(clause, place=self.where(verb, subject, objects))
        return clause

    def kind(self, verb: Verb) -> str:
        """The kind of tense and time, as far as the verb allows."""
        flags = verb.flags
        if flags & {"state", "notime"}:
            return "plain"
        if "onlypast" in flags:
            return self.rng.choice(("past", "past", "perfect"))
        habit = bool(flags & {"habit", "any"})
        gern = "habit" in flags or (habit and not (verb.acc or verb.dat or verb.pp) and bool(verb.places))
        done = bool(verb.acc) and not verb.dat and not flags & {"nodef"}
        future = "nofut" not in flags
        weights = {
            "plain": 20, "now": 7, "future": 16 * future, "will": 7 * future, "habit": 12 * habit, "often": 12 * habit,
            "past": 18, "perfect": 9, "done": 8 * done, "modal": 18 * future, "modal past": 5 * future,
            "gern": 6 * gern,
        }  # fmt: skip
        if "nofut" in flags:
            weights |= {"habit": 0}
        if "morning" in flags:
            weights |= {"now": 0}
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def tense(self, verb: Verb, kind: str) -> dict[str, object]:
        """The fields of Clause that a kind stands for."""
        if kind in ("past", "perfect", "done"):
            time = self.time(verb, "past") if kind == "past" else ("", "", "")
            return {
                "tense": "done" if kind == "done" else "past",
                "time": time,
                "negated": kind == "done" and self.chance(0.4),
            }
        if kind == "will":
            return {"tense": "will", "time": self.time(verb, "future") if self.chance(0.6) else ("", "", "")}
        if kind == "modal":
            modal = MODALS[self.rng.choice(("can", "want", "must", "should", "may", "would like"))]
            return {"modal": modal, "time": self.time(verb, "future") if self.chance(0.4) else ("", "", "")}
        if kind == "modal past":
            modal = MODALS[self.rng.choice(("wanted", "had to"))]
            return {"modal": modal, "time": self.time(verb, "past", near=True) if self.chance(0.5) else ("", "", "")}
        if kind == "gern":
            return {"gern": True}
        return {} if kind == "plain" else {"time": self.time(verb, kind)}

    def objects(self, verb: Verb, subject: Phrase, *, loose: bool = False, definite: bool = False) -> Clause:
        """The bare clause: subject, verb and objects."""
        taken = {subject.noun.de} if isinstance(subject, NP) else set()
        clause = Clause(subject, verb)
        for slot, tags in (("dat", verb.dat), ("acc", verb.acc), ("pp", verb.pp)):
            if tags:
                phrase = self.target(verb, slot, tags, subject, loose=loose, taken=taken)
                if definite and isinstance(phrase, NP) and not phrase.definite:
                    phrase = replace(phrase, det="def", count=0)
                if isinstance(phrase, NP) and phrase.det == "dies":
                    so_far = (subject, clause.dat, clause.acc)
                    if any(isinstance(p, NP) and p.det == "dies" for p in so_far):
                        phrase = replace(phrase, det="def")
                clause = replace(clause, **{slot: phrase})
                taken |= {phrase.noun.de} if isinstance(phrase, NP) else set()
        return clause

    def negated(self, clause: Clause) -> Clause:
        """The clause denied: kein before what has no definite article, else nicht."""
        acc = clause.acc
        if isinstance(clause.dat, NP) and clause.dat.det == "ein":
            clause = replace(clause, dat=replace(clause.dat, det="def"))
        if (clause.dat and acc and clause.time[0]) or clause.time[0].startswith("vor "):
            return clause
        if isinstance(acc, NP) and not acc.definite:
            if acc.count:
                return clause
            return replace(clause, acc=replace(acc, det="kein"), negated=True)
        if clause.pp and not clause.pp.definite and "hobby" not in getattr(clause.pp, "noun", NOUNS["Mann"]).tags:
            return clause
        return replace(clause, negated=True)

    def front(self, clause: Clause) -> str:
        """What opens the main clause."""
        time, kind = clause.time[0], clause.time[2]
        if time and (kind not in ("often", "now") or time == "manchmal") and self.chance(0.45):
            return "time"
        if clause.place[0] and self.chance(0.15):
            return "place"
        acc, subject = clause.acc, clause.subject
        if isinstance(acc, NP) and acc.det in ("def", "dies") and not clause.negated and self.chance(0.12):
            plain = isinstance(subject, Pronoun) and subject.forms[1] != "-"
            if plain or (acc.noun.gender == "m" and not acc.many):
                return "acc"
        return "subject"
