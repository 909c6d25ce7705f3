"""English inflection and the verb group: auxiliaries, do-support, negation, questions."""

UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]

PLURALS = {
    "man": "men", "woman": "women", "child": "children", "knife": "knives", "policeman": "policemen",
    "saleswoman": "saleswomen",
    "shelf": "shelves", "potato": "potatoes", "tomato": "tomatoes",
}  # fmt: skip

# base: past, participle
IRREGULAR = {
    "buy": "bought bought", "sell": "sold sold", "find": "found found", "see": "saw seen", "have": "had had",
    "know": "knew known", "meet": "met met", "read": "read read", "write": "wrote written", "eat": "ate eaten",
    "drink": "drank drunk", "bring": "brought brought", "put": "put put", "wear": "wore worn", "lose": "lost lost",
    "forget": "forgot forgotten", "pay": "paid paid", "give": "gave given", "send": "sent sent", "lend": "lent lent",
    "understand": "understood understood", "feed": "fed fed", "sleep": "slept slept", "sing": "sang sung",
    "swim": "swam swum", "run": "ran run", "go": "went gone", "come": "came come", "get": "got gotten",
    "fall": "fell fallen", "wake": "woke woken", "fly": "flew flown", "leave": "left left", "think": "thought thought",
    "take": "took taken", "begin": "began begun", "hang": "hung hung", "drive": "drove driven", "sit": "sat sat",
    "speak": "spoke spoken", "tell": "told told", "make": "made made", "lie": "lay lain", "stand": "stood stood",
    "say": "said said", "rest": "rested rested",
}  # fmt: skip
DOUBLING = {"put", "swim", "run", "get", "forget", "begin", "plan", "sit", "shop"}
BE = {"1s": "am was", "2s": "are were", "3s": "is was", "1p": "are were", "2p": "are were", "3p": "are were"}


def plural(noun: str) -> str:
    """The plural of a noun; of a compound, that of its last word."""
    *first, last = noun.split(" ")
    if last in PLURALS:
        last = PLURALS[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last[-1] == "y" and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*first, last])


def a(phrase: str) -> str:
    """``a`` or ``an`` before a phrase."""
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("uni", "use", "euro", "one"))
    return ("an " if vowel or phrase.startswith("hour") else "a ") + phrase


def third(base: str) -> str:
    """The third person singular of the present."""
    if base in ("have", "be"):
        return {"have": "has", "be": "is"}[base]
    if base.endswith(("s", "x", "ch", "sh", "o", "z")):
        return base + "es"
    return base[:-1] + "ies" if base[-1] == "y" and base[-2] not in "aeiou" else base + "s"


def ing(base: str) -> str:
    """The present participle."""
    if base in DOUBLING:
        return base + base[-1] + "ing"
    if base.endswith("ie"):
        return base[:-2] + "ying"
    return base[:-1] + "ing" if base.endswith("e") and base not in ("be", "see") else base + "ing"


def past(base: str, *, participle: bool = False) -> str:
    """The simple past, or the past participle."""
    if base in IRREGULAR:
        return IRREGULAR[base].split()[participle]
    if base in DOUBLING:
        return base + base[-1] + "ed"
    if base.endswith("e"):
        return base + "d"
    return base[:-1] + "ied" if base[-1] == "y" and base[-2] not in "aeiou" else base + "ed"


MODALS = {
    "can": ("can", "+"), "should": ("should", "+"), "want": ("", "want to +"), "must": ("", "have to +"),
    "like": ("", "like to +"), "would like": ("would", "like to +"), "may": ("be", "allowed to +"),
    "could": ("could", "+"), "will": ("will", "+"),
}  # fmt: skip
"""Auxiliary and what follows it; ``+`` is the main verb. Without auxiliary, the first word is inflected."""


def verb_group(base: str, tense: str, person: str, *, modal: str = "") -> tuple[str, str]:
    """Auxiliary and the rest; the auxiliary is empty where a question would need do-support.

    Args:
        base: the main verb, ``be`` for the copula.
        tense: ``simple``, ``progressive``, ``past``, ``will`` or ``perfect``; with a modal ``simple`` or ``past``.
        person: of the subject.
        modal: row of ``MODALS``.
    """
    be = BE[person].split()[tense == "past"]
    if modal:
        aux, rest = MODALS[modal]
        rest = rest.replace("+", base)
        if aux:
            return (be if aux == "be" else aux), rest
        head, _, tail = rest.partition(" ")
        return "", f"{inflect(head, tense, person)} {tail}"
    if tense == "will":
        return "will", base
    if tense == "perfect":
        return ("has" if person == "3s" else "have"), ("been" if base == "be" else past(base, participle=True))
    if tense == "progressive":
        return be, ing(base)
    return (be, "") if base == "be" else ("", inflect(base, tense, person))


def inflect(base: str, tense: str, person: str) -> str:
    """Present or past of a full verb."""
    return past(base) if tense == "past" else third(base) if person == "3s" else base


def clause(
    subject: str,
    person: str,
    verb: str,
    tense: str,
    *,
    modal: str = "",
    adverb: str = "",
    negated: bool = False,
    question: bool = False,
) -> str:
    """Subject and verb group, with negation, inversion and an adverb of frequency in their places."""
    aux, rest = verb_group(verb, tense, person, modal=modal)
    if not aux and (negated or question):
        aux = "did" if tense == "past" else "does" if person == "3s" else "do"
        rest = verb_group(verb, "simple", "1p", modal=modal)[1]
    words = [aux, subject] if question else [subject, aux]
    words += ["not" if negated else "", adverb, rest]
    return " ".join(word for word in words if word).replace("can not ", "cannot ")


def number(n: int) -> str:
    """1 to 100 in words."""
    if n == 100:
        return "a hundred"
    if n < 20:
        return UNITS[n]
    tens, unit = divmod(n, 10)
    return TENS[tens] + (f"-{UNITS[unit]}" if unit else "")
