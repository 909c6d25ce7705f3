"""Phrases and clauses, built once and spelled out in both languages.

A ``Clause`` holds what is said; ``de()`` and ``en()`` say it as a statement, question or subordinate
clause. Conventions that make English a function of the German are listed in data/README.md.
"""

from dataclasses import dataclass

import english
import german
from lexicon import PRONOUN_TABLE, Adjective, Noun, Place
from verbs import Verb

EN_POSSESSIVE = {"mein": "my", "dein": "your", "sein": "his", "ihr": "her", "unser": "our", "euer": "your"}


@dataclass(frozen=True)
class NP:
    """A noun phrase. ``det`` is def, ein, kein, none, dies or a possessive stem; ``their`` tells ihr from ihr."""

    noun: Noun
    det: str = "def"
    adjectives: tuple[Adjective, ...] = ()
    many: bool = False
    count: int = 0
    their: bool = False

    @property
    def person(self) -> str:
        return "3p" if self.many else "3s"

    @property
    def en_person(self) -> str:
        return "3p" if self.many or "ens" in self.noun.tags else "3s"

    @property
    def definite(self) -> bool:
        return self.det not in ("ein", "kein", "none")

    def de(self, case: str = "nom") -> str:
        noun, gender = self.noun, "p" if self.many else self.noun.gender
        words = [german.number(self.count) if self.count else german.article(self.det, gender, case)]
        words += [german.adjective(a.de, self.det, gender, case) for a in self.adjectives]
        words.append(german.noun(noun.de, noun.gender, noun.plural, case, weak=noun.weak, many=self.many))
        return " ".join(word for word in words if word)

    def en(self, case: str = "nom") -> str:
        bare = english.plural(self.noun.en) if self.many else self.noun.en
        bare = " ".join([*(a.en for a in self.adjectives), bare])
        if self.count:
            return f"{english.number(self.count)} {bare}"
        if self.det == "ein" and not self.many:
            return english.a(bare)
        if self.det == "kein":  # spoken after "not"
            return f"any {bare}" if self.many or self.noun.mass else english.a(bare)
        if self.det in ("none", "ein"):
            return bare
        if self.det == "dies":
            return f"these {bare}" if self.many or "ens" in self.noun.tags else f"this {bare}"
        return f"{'the' if self.det == 'def' else 'their' if self.their else EN_POSSESSIVE[self.det]} {bare}"


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun; third persons stand for people."""

    forms: tuple[str, ...]
    english: tuple[str, str]
    person: str
    possessive: str
    definite: bool = True

    @property
    def en_person(self) -> str:
        return self.person

    def de(self, case: str = "nom") -> str:
        return self.forms[("nom", "acc", "dat").index(case)]

    def en(self, case: str = "nom") -> str:
        return self.english[case != "nom"]


@dataclass(frozen=True)
class Name:
    """One name, or two joined by und."""

    names: tuple[str, ...]
    gender: str
    definite: bool = True

    @property
    def person(self) -> str:
        return "3s" if len(self.names) == 1 else "3p"

    en_person = person

    def de(self, case: str = "nom") -> str:
        return " und ".join(self.names)

    def en(self, case: str = "nom") -> str:
        return " and ".join(self.names)


Phrase = NP | Pronoun | Name


def _pronouns() -> list[Pronoun]:
    pronouns = []
    for line in PRONOUN_TABLE.strip().splitlines():
        forms, objects, person, possessive = line.split(", ")
        subject, other = objects.split()
        pronouns.append(Pronoun(tuple(forms.split()), (subject, other), person, possessive.split()[0]))
    return pronouns


PRONOUNS = _pronouns()
REFLEXIVE = {"1s": "mich", "2s": "dich", "3s": "sich", "1p": "uns", "2p": "euch", "3p": "sich"}


def at(place: Place, np: NP) -> tuple[str, str]:
    """Where: ``im Park``, ``in the park``."""
    return german.contract(f"{place.at} {np.de('dat')}"), f"{place.en_at} {_bare_school(np)}"


def to(place: Place, np: NP) -> tuple[str, str]:
    """Where to: ``in den Park``, ``to the park``."""
    case = "dat" if place.to == "zu" else "acc"
    return german.contract(f"{place.to} {np.de(case)}"), f"{place.en_to} {_bare_school(np)}"


def _bare_school(np: NP) -> str:
    return "school" if np.en() == "the school" else np.en()


@dataclass(frozen=True)
class Modal:
    """A German modal and the row of english.MODALS that renders it."""

    de: str
    en: str
    past: bool = False


MODALS = {
    "can": Modal("können", "can"), "want": Modal("wollen", "want"), "must": Modal("müssen", "must"),
    "should": Modal("sollen", "should"), "may": Modal("dürfen", "may"), "would like": Modal("möchten", "would like"),
    "wanted": Modal("wollen", "want", past=True), "had to": Modal("müssen", "must", past=True),
}  # fmt: skip


@dataclass(frozen=True)
class Clause:
    """What is said.

    Attributes:
        tense: ``present``, ``past`` (German perfect, English past), ``done`` (perfect in both), ``will``.
        time: German and English adverbial, its kind as in lexicon.TIMES ("" where there is none).
        place: German and English adverbial, after the objects.

    The object that a question word or a relative pronoun stands for is simply left out.
    """

    subject: Phrase
    verb: Verb
    acc: Phrase | None = None
    dat: Phrase | None = None
    pp: Phrase | None = None
    tense: str = "present"
    modal: Modal | None = None
    time: tuple[str, str, str] = ("", "", "")
    place: tuple[str, str] = ("", "")
    negated: bool = False
    gern: bool = False

    # German -------------------------------------------------------------------------------------

    def _verbs(self) -> tuple[str, list[str]]:
        """The finite verb, and the right bracket of a main clause."""
        verb, person = self.verb, self.subject.person
        if self.modal:
            if self.modal.past:
                finite = german.PRETERITE[self.modal.de].split()[german.PERSONS.index(person)]
            else:
                finite = german.present(self.modal.de, person)
            return finite, [verb.infinitive]
        if self.tense in ("past", "done"):
            return german.present(verb.aux, person), [verb.participle]
        if self.tense == "will":
            return german.present("werden", person), [verb.infinitive]
        return german.present(verb.de, person, verb.changed), [verb.prefix] if verb.prefix else []

    def _middle(self, *, front: str, finite: str = "", infinitive: bool = False) -> list[str]:
        """Everything between the verb's two places, in order; ``front`` names what stands before the verb."""
        verb, subject = self.verb, self.subject
        pronouns = [REFLEXIVE[subject.person]] if "refl" in verb.flags else []
        light = isinstance(subject, Pronoun)
        pronouns += [p.de(c) for p, c in ((self.acc, "acc"), (self.dat, "dat")) if isinstance(p, Pronoun)]
        name = [] if front == "subject" or infinitive else [subject.de()]
        words = [*name, *pronouns] if light else [*pronouns, *name]
        time = [self.time[0]] if self.time[0] and front != "time" else []
        dat = [self.dat.de("dat")] if self.dat and not isinstance(self.dat, Pronoun) else []
        acc = [self.acc.de("acc")] if self.acc and not isinstance(self.acc, Pronoun) and front != "acc" else []
        nicht = ["nicht"] if self.negated and not (isinstance(self.acc, NP) and self.acc.det == "kein") else []
        if self.tense == "done" and not self.time[0]:
            time = ["noch"] if self.negated else ["schon"]
            words += [*dat, *acc, *time, *nicht]
        elif self.gern:
            words += [*time, *dat, *nicht, "gern", *acc]
        elif nicht:
            words += [*dat, *acc, *time, *nicht]
        else:
            words += [*time, *dat, *acc]
        if self.pp:
            prepositional = f"{verb.prep} {self.pp.de(verb.case)}"
            # "ans Wochenende", but "an das Mädchen".
            person = isinstance(self.pp, NP) and "person" in self.pp.noun.tags and verb.case == "acc"
            words.append(prepositional if person else german.contract(prepositional))
        if self.place[0] and front != "place":
            words.append(self.place[0])
        return words

    def de(self, front: str = "subject") -> str:
        """A main clause; ``front`` is subject, time, place, acc, a question word, or "" for a yes/no question."""
        finite, right = self._verbs()
        first = {
            "subject": self.subject.de(),
            "time": self.time[0],
            "place": self.place[0],
            "acc": self.acc.de("acc") if self.acc else "",
        }.get(front, front)
        return " ".join(word for word in [first, finite, *self._middle(front=front), *right] if word)

    def de_wh_subject(self, word: str) -> str:
        """A question for the subject: ``wer kauft das Auto``."""
        finite, right = self._verbs()
        return " ".join([word, finite, *self._middle(front="subject"), *right])

    def de_sub(self, opener: str = "") -> str:
        """A subordinate clause, the finite verb at its end."""
        finite, right = self._verbs()
        prefixed = not self.modal and self.tense == "present"
        end = ["".join([*right, finite])] if prefixed else [*right, finite]
        return " ".join(word for word in [opener, *self._middle(front=""), *end] if word)

    def de_zu(self) -> str:
        """An infinitive clause: ``um Brot zu kaufen``."""
        return " ".join(["um", *self._middle(front="", infinitive=True), self.verb.zu])

    # English ------------------------------------------------------------------------------------

    @property
    def en_tense(self) -> str:
        if self.tense == "done":
            return "perfect"
        if self.tense in ("past", "will"):
            return self.tense
        if self.time[2] == "future":
            return "will"
        return "simple" if self.time[2] in ("habit", "often") or "state" in self.verb.flags else "progressive"

    def en(self, *, question: bool = False, front: str = "") -> str:
        """A statement, or a question without its question word; ``front`` is "time" where it opens the clause."""
        head, _, frame = self.verb.en.partition(" ")
        modal = self.modal.en if self.modal else "like" if self.gern else ""
        tense = ("past" if self.modal and self.modal.past else "simple") if modal else self.en_tense
        adverb = self.time[1] if self.time[2] == "often" and front != "time" else ""
        end = ""
        if self.tense == "done":
            adverb, end = ("", "yet") if self.negated else ("already", "")
        said = english.clause(
            self.subject.en(), self.subject.en_person, head, tense,
            modal=modal, adverb=adverb, negated=self.negated, question=question,
        )  # fmt: skip
        time = self.time[1] if self.time[2] != "often" else ""
        words = [said, self._objects(frame), self.place[1], "" if front == "time" else time, end]
        if front == "time":
            words.insert(0, self.time[1])
        return " ".join(word for word in words if word)

    def en_wh_subject(self, word: str) -> str:
        """``who is buying the car``"""
        head, _, frame = self.verb.en.partition(" ")
        modal = self.modal.en if self.modal else ""
        tense = ("past" if self.modal and self.modal.past else "simple") if modal else self.en_tense
        said = english.clause(word, "3s", head, tense, modal=modal)
        return " ".join(w for w in [said, self._objects(frame), self.place[1], self.time[1]] if w)

    def en_to(self) -> str:
        """``to buy bread``"""
        head, _, frame = self.verb.en.partition(" ")
        return " ".join(word for word in ["to", head, self._objects(frame), self.place[1]] if word)

    def _objects(self, frame: str) -> str:
        filled = frame
        for slot, phrase in (("{o}", self.acc), ("{d}", self.dat), ("{p}", self.pp)):
            filled = filled.replace(slot, phrase.en("acc") if phrase else "")
        return " ".join(filled.split())
