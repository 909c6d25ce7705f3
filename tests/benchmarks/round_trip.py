"""Round trip of real interface text through a tokenizer: the translations of GTK, GLib, coreutils … on Linux.

    python tests/benchmarks/round_trip.py [LANGUAGE …]

A tokenizer of 2,000 pieces or more is trained on the lines of a language, then the lines are encoded and decoded. For
each normalization it prints the fraction of lines that are the same byte for byte (except several spaces), and BLEU and
chrF of the decoded lines: no model can have higher scores.
"""

import gettext
import re
import sys
from pathlib import Path

from seq2seq.evaluation import Score, score
from seq2seq.tokenizer import Tokenizer, train_model

LOCALE = Path("/usr/share/locale")
DOMAINS = (  # and languages, of which a distribution may have others
    "gtk20 gtk30 gtk20-properties glib20 gdk-pixbuf at-spi2-core shared-mime-info PackageKit software-properties "
    "Linux-PAM coreutils bash apt dpkg tar sed grep"
)
LANGUAGES = (
    "fa ckb ar he th km my hy ka am hi mr bn pa te kn ta ml si zh_CN zh_TW ja ko vi fr es ca nl ru el tr de pt_BR it uk"
)
RULES = ("nfkc", "nfc")


def lines_of(language: str) -> list[str]:
    """The translated lines of a language, each once."""
    found: dict[str, None] = {}
    for domain in DOMAINS.split():
        path = LOCALE / language / "LC_MESSAGES" / f"{domain}.mo"
        if path.exists():
            with path.open("rb") as file:
                catalog = gettext.GNUTranslations(file)._catalog
            texts = [text for key, text in catalog.items() if key and isinstance(text, str) and text != key]
            found |= dict.fromkeys(line.strip() for text in texts for line in text.split("\n") if line.strip())
    return list(found)


def main() -> None:
    columns = " | ".join(f"{rule}: lines back | BLEU | chrF" for rule in RULES)
    print(f"| language | lines | {columns} |\n|{'---|' * (2 + 3 * len(RULES))}")
    for language in sys.argv[1:] or LANGUAGES.split():
        text = lines_of(language)
        references = [re.sub(" +", " ", line) for line in text]
        row = [language, f"{len(text):,}"]
        for rule in RULES if text else ():
            model, _ = train_model(
                iter(text), vocab_size=2000, tokenizer_type="unigram", normalization=rule, may_grow=True
            )
            tokenizer = Tokenizer(model)
            back = tokenizer.decode(tokenizer.encode(text))
            same = sum(a == b for a, b in zip(back, references, strict=True))
            code = "th" if language == "ja" else "de" if language == "ko" else language  # MeCab may be missing
            bleu, chrf = (score(name, back, references, code) for name in ("bleu", "chrf"))
            row += [f"{same / len(text):.1%}", f"{bleu.value:.1f}{tokenizer_of(bleu)}", f"{chrf.value:.1f}"]
        print(f"| {' | '.join(row)} |", flush=True)


def tokenizer_of(bleu: Score) -> str:
    found = re.search(r"tok:([\w-]+)", bleu.signature)
    return "" if found is None or found[1] == "13a" else f" ({found[1]})"


if __name__ == "__main__":
    main()
