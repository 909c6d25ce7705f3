"""Verbs: how they are inflected, what they take, and who may do them where."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb in both languages.

    ``en`` is a frame: the verb, then ``{o}`` (accusative), ``{d}`` (dative), ``{p}`` (prepositional object).
    """

    de: str
    prefix: str
    changed: str
    participle: str
    aux: str
    en: str
    subject: str
    acc: str = ""
    dat: str = ""
    prep: str = ""
    case: str = ""
    pp: str = ""
    places: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()

    @property
    def infinitive(self) -> str:
        return self.prefix + self.de

    @property
    def zu(self) -> str:
        """The infinitive with zu: ``einzukaufen``, ``zu kaufen``."""
        return f"{self.prefix}zu{self.de}" if self.prefix else f"zu {self.de}"


# German (prefix|verb, stem of du and er), participle (+ = with sein); English frame; subject; objects; places; flags.
# Objects: a=TAGS accusative, d=TAGS dative, PREP:CASE=TAGS. Flags: state (English simple present, no adverbials),
# habit (goes with "oft" when the object is indefinite), any (goes with "oft" whatever the object),
# refl (sich),
# def, nodef (object is, is not definite), one (object is singular), onlypast, nofut (no future, no modal),
# notime (no adverbial of time), far (goes with "last week"), noposs (no sein, ihr), noneg (not denied),
# morning (not with "tonight"), place (place is needed).
VERB_TABLE = """
kaufen | gekauft | buy {o} | adult | a=goods buy food drink | Markt Supermarkt:food | habit noposs
verkaufen | verkauft | sell {o} | adult | a=goods big_goods vehicle | | far
suchen | gesucht | look for {o} | person | a=small wear pet | | nohab
finden | gefunden | find {o} | person | a=small | Garten Park Küche Keller | onlypast far
brauchen | gebraucht | need {o} | person | a=goods aid money time small | | state
haben | gehabt | have {o} | adult | a=furniture vehicle wear pet big_goods animal time money have | | state nodef
mögen | gemocht | like {o} | person | a=pet hobby | | state def
lieben | geliebt | love {o} | adult | a=kin hobby | | state noneg
kennen | gekannt | know {o} | person | a=person town sight look_film sing | | state def
verstehen | verstanden | understand {o} | person | a=abstract text | | state def
besuchen | besucht | visit {o} | person | a=person sight town | | any def far
treffen triff | getroffen | meet {o} | person | a=person | Café Park Bahnhof Stadt Bibliothek Restaurant | any def far
sehen sieh | gesehen | see {o} | person | a=person animal | Park Stadt Garten Markt | onlypast
ein|laden läd | eingeladen | invite {o} | adult | a=person | | def far nohab
an|rufen | angerufen | call {o} | person | a=person | | any def far
ab|holen | abgeholt | pick {o} up | adult | a=person | Bahnhof Flughafen Schule | any def far
fragen | gefragt | ask {o} | person | a=person | | def nohab
hören | gehört | listen to {o} | person | a=hobby_music sing | | habit
lesen lies | gelesen | read {o} | person | a=read | Garten Park Bibliothek Café | habit far
schreiben | geschrieben | write {o} | person | a=write | Büro Café Bibliothek | habit far
essen iss | gegessen | eat {o} | person | a=edible | Küche Restaurant Café Garten | habit
trinken | getrunken | drink {o} | person | a=drink | Küche Restaurant Café Garten | habit
trinken | getrunken | drink {o} | adult | a=alcohol | Restaurant Garten | habit
kochen | gekocht | cook {o} | adult | a=cook | Küche | habit
backen | gebacken | bake {o} | adult | a=bake | Küche | habit
bestellen | bestellt | order {o} | adult | a=dish drink alcohol | Restaurant Café | habit noposs
bezahlen | bezahlt | pay for {o} | adult | a=dish drink wear furniture vehicle | | def noposs
waschen wäsch | gewaschen | wash {o} | adult | a=wash | | any def
reparieren | repariert | repair {o} | adult | a=fix | Keller:bench Garten:vehicle | habit far
öffnen | geöffnet | open {o} | person | a=open | | def
zu|machen | zugemacht | close {o} | person | a=close | | def
putzen | geputzt | clean {o} | adult | a=clean | | any def
auf|räumen | aufgeräumt | tidy up {o} | person | a=tidy | | any def one
an|ziehen | angezogen | put on {o} | person | a=wear | | def one
tragen träg | getragen | wear {o} | person | a=wear | | habit one
vergessen vergiss | vergessen | forget {o} | person | a=small | | onlypast def
verlieren | verloren | lose {o} | person | a=small toy | Park Stadt Wald Bahnhof | onlypast far
mit|bringen | mitgebracht | bring along {o} | person | a=food bring drink | | nohab
benutzen | benutzt | use {o} | person | a=use vehicle | | any
malen | gemalt | paint {o} | person | a=paint animal | Garten Park | habit nodef far
füttern | gefüttert | feed {o} | person | a=animal | Garten:pet | any def
fotografieren | fotografiert | photograph {o} | person | a=sight animal | | nohab
singen | gesungen | sing {o} | person | a=sing | Kirche Garten Park | habit
geben gib | gegeben | give {d} {o} | person | a=gift small food; d=person | | nohab
zeigen | gezeigt | show {d} {o} | person | a=gift look pretty; d=person | | nohab far
schicken | geschickt | send {d} {o} | person | a=send; d=person | | habit far
bringen | gebracht | bring {d} {o} | person | a=food drink small; d=person | | nohab
leihen | geliehen | lend {d} {o} | person | a=use vehicle toy page; d=person | | nohab far
schenken | geschenkt | give {d} {o} as a gift | person | a=gift; d=person | | nohab nodef
erklären | erklärt | explain {o} to {d} | adult | a=abstract; d=person | Schule Büro | nohab def
helfen hilf | geholfen | help {d} | person | d=person | Garten Küche Büro | any far
danken | gedankt | thank {d} | person | d=person | | nohab
antworten | geantwortet | answer {d} | person | d=person | | nohab
gratulieren | gratuliert | congratulate {d} | person | d=person | | nohab
warten | gewartet | wait for {p} | person | auf:acc=person transport cab | Bahnhof Flughafen | any
denken | gedacht | think about {p} | person | an:acc=person event | | nofut any
sprechen sprich | gesprochen | talk to {p} | person | mit:dat=person | Büro Park Café Garten | any
spielen | gespielt | play with {p} | person | mit:dat=child pet toy | Garten Park | any
tanzen | getanzt | dance with {p} | person | mit:dat=person | | any
träumen | geträumt | dream of {p} | person | von:dat=kin event animal | | nofut any
freuen | gefreut | look forward to {p} | person | auf:acc=event | | refl notime
interessieren | interessiert | be interested in {p} | person | für:acc=hobby | | refl state
erinnern | erinnert | remember {p} | person | an:acc=person event | | refl state def
kümmern | gekümmert | take care of {p} | adult | um:acc=kin child pet | | refl any
ärgern | geärgert | be annoyed with {p} | adult | über:acc=person | | refl state def
schlafen schläf | geschlafen | sleep | person animal | | Garten Hotel |
arbeiten | gearbeitet | work | adult | | Büro Garten Bibliothek Krankenhaus Küche Supermarkt Hotel Restaurant | any far
wohnen | gewohnt | live | adult | | Stadt Dorf | state place
spielen | gespielt | play | child pet | | Garten Park Strand Wald | any
singen | gesungen | sing | person | | Kirche Garten Park Theater | any
tanzen | getanzt | dance | person | | Park Garten Küche | any
lernen | gelernt | study | person | | Bibliothek Universität Garten | any
frühstücken | gefrühstückt | have breakfast | person | | Garten Hotel Café Küche | morning
schwimmen | + geschwommen | swim | person | | See | any
bleiben | + geblieben | stay | person | | Hotel Stadt Dorf Krankenhaus Garten | place
ein|kaufen | eingekauft | shop | adult | | Supermarkt Stadt Markt Bäckerei | any
lachen | gelacht | laugh | person | | | nofut
weinen | geweint | cry | child | | | nofut
auf|stehen | + aufgestanden | get up | person | | | morning
ein|schlafen | + eingeschlafen | fall asleep | person | | Bibliothek Kino Theater | onlypast
fern|sehen sieh | ferngesehen | watch television | person | | Küche Hotel | any
aus|ruhen | ausgeruht | rest | person | | Garten Park Hotel Strand | refl any
beeilen | beeilt | hurry | person | | | refl notime
an|kommen | + angekommen | arrive | person | | Bahnhof Flughafen Hotel | onlypast
"""


def _verb(line: str) -> Verb:
    # A bar after a space parts the fields; one inside a word parts the prefix.
    german, participle, en, subject, objects, places, flags = (part.strip() for part in re.split(r"\s\|", line))
    infinitive, _, changed = german.partition(" ")
    prefix, _, de = infinitive.rpartition("|")
    aux = "sein" if participle.startswith("+") else "haben"
    fields = {"acc": "", "dat": "", "prep": "", "case": "", "pp": ""}
    for part in filter(None, objects.split("; ")):
        slot, _, tags = part.partition("=")
        if slot in ("a", "d"):
            fields["acc" if slot == "a" else "dat"] = tags
        else:
            fields["prep"], _, fields["case"] = slot.partition(":")
            fields["pp"] = tags
    return Verb(
        de, prefix, changed, participle.lstrip("+ "), aux, en, subject,
        places=tuple(places.split()), flags=frozenset(flags.split()), **fields,
    )  # fmt: skip


VERBS = [_verb(line) for line in VERB_TABLE.strip().splitlines()]
