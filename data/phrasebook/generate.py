"""Write the phrasebook corpus beside this file: train, valid and test, German and English.

    python data/phrasebook/generate.py [--show N]

The same bytes come out each time, on any machine: the random numbers are seeded, the hold-out is a
checksum, and bzip2 writes no date.
"""

import argparse
import bz2
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import german
from clauses import Draw
from lexicon import ADJECTIVES, NOUNS
from meeting import PATTERNS

HERE = Path(__file__).parent
SEED = 2017
SIZES = {"train": 20_000, "valid": 1_000, "test": 1_000}
HELD_OUT = {"test": range(5), "valid": range(5, 10)}
"""Of 100 parts of all combinations, those that only test, only valid may show."""
LONGEST = 18
"""Words in a German sentence at most."""


@dataclass(frozen=True)
class Sentence:
    """One pair, and the combinations of words that its German shows (``kaufen Apfel``, ``rot Auto``)."""

    de: str
    en: str
    combinations: frozenset[str] = field(compare=False)


def split_of(combination: str) -> str:
    """The split a combination belongs to; those of train may turn up in all three."""
    part = zlib.crc32(combination.encode()) % 100
    return next((split for split, parts in HELD_OUT.items() if part in parts), "train")


def words(text: str) -> list[str]:
    """Words and numbers, as written."""
    return re.findall(r"\w+(?:-\w+)*", text)


@cache
def forms(noun: str) -> frozenset[str]:
    """Every form of a noun."""
    n = NOUNS[noun]
    singular = {german.noun(n.de, n.gender, n.plural, case, weak=n.weak) for case in german.CASES}
    many = set() if n.mass else {german.noun(n.de, n.gender, n.plural, case, many=True) for case in german.CASES}
    return frozenset(singular | many)


def shown(combination: str, de: str) -> bool:
    """Whether a sentence shows a combination: a draft may have named words that were left out later."""
    said = set(re.findall(r"[\w-]+", de))
    for word in combination.split(" "):
        if word in NOUNS and not said & forms(word):
            return False
        if word in ADJECTIVES:
            stem = german.adjective(word, "def", "f", "nom").removesuffix("e")
            like = {word, *(stem + ending for ending in ("e", "er", "es", "en", "em", "ere", "erer"))}
            better = ADJECTIVES[word].comparative
            if not {w.lower() for w in said} & (like | {better[0] if better else ""}):
                return False
    return True


def sentences(seed: int) -> Iterator[Sentence]:
    """An endless stream of sentences, each German source once.

    Raises:
        ValueError: one source was drawn with two translations.
    """
    draw = Draw(seed)
    known: dict[str, str] = {}
    patterns, shares = list(PATTERNS), list(PATTERNS.values())
    while True:
        draw.fresh()
        de, en = draw.rng.choices(patterns, shares)[0](draw)
        if de not in known and len(words(de)) <= LONGEST:
            yield Sentence(de, en, frozenset(c for c in draw.combinations if shown(c, de)))
        if known.setdefault(de, en) != en:
            raise ValueError(f"{de!r} is translated as {known[de]!r} and as {en!r}")


def build(sizes: dict[str, int] = SIZES, seed: int = SEED) -> dict[str, list[Sentence]]:
    """The three splits.

    A sentence goes to test or valid when it shows a combination held out for that split and none held
    out for the other; and is taken only if train has every one of its words.
    """
    splits: dict[str, list[Sentence]] = {"train": [], "valid": [], "test": []}
    stream = sentences(seed)
    while len(splits["train"]) < sizes["train"]:
        sentence = next(stream)
        held = {split_of(c) for c in sentence.combinations} - {"train"}
        if len(held) <= 1:
            splits[next(iter(held), "train")].append(sentence)
    known = {word for s in splits["train"] for word in (*words(s.de), *words(s.en))}
    for split in ("valid", "test"):
        fitting = [s for s in splits[split] if known.issuperset((*words(s.de), *words(s.en)))]
        splits[split] = fitting[: sizes[split]]
    return splits


def files(splits: dict[str, list[Sentence]]) -> dict[str, bytes]:
    """File names and contents; train is packed."""
    contents = {}
    for split, pairs in splits.items():
        for lang, lines in (("de", [s.de for s in pairs]), ("en", [s.en for s in pairs])):
            text = "".join(f"{line}\n" for line in lines).encode()
            packed = split == "train"
            contents[f"{split}.{lang}{'.bz2' if packed else ''}"] = bz2.compress(text, 9) if packed else text
    return contents


def show(pairs: Iterable[Sentence]) -> None:
    for s in pairs:
        print(f"{s.de}  |  {s.en}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the phrasebook corpus.")
    parser.add_argument("--show", type=int, default=0, metavar="SEED", help="print 100 pairs instead")
    args = parser.parse_args()
    if args.show:
        stream = sentences(args.show)
        show(next(stream) for _ in range(100))
        return
    for name, content in files(build()).items():
        (HERE / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
