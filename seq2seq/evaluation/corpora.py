"""Corpora for scoring: references, sources, further references, and files of translations."""

import os
from collections.abc import Sequence
from glob import escape, glob
from pathlib import Path
from typing import Self

from seq2seq.corpus import (
    READERS,
    CorpusCounts,
    Pair,
    describe_misalignment,
    find_misalignment,
    find_reader,
    has_ordered_sides,
    lone_target,
    read_pairs,
    uncompressed_name,
)
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.evaluation.metrics import language_row
from seq2seq.text import EncodingErrors, is_blank, read_lines
from seq2seq.text.languages import code_in_name


class References:
    """The references of one corpus, with their language.

    Args:
        corpus: named in errors.
        lines: a reference for each pair; None if a side of the pair is blank.
        code: of their language; empty if it is not known.
        sources: one for each line; None if they are not known.

    Raises:
        UserError: none has text (65).
    """

    def __init__(self, corpus: str, lines: list[str | None], code: str, sources: list[str] | None = None) -> None:
        self.corpus = corpus
        self.lines = lines
        self.sources = sources
        self.more: list[list[str | None]] = []
        """Other references of each line; None if the line has no other one."""
        self.kept = [i for i, line in enumerate(lines) if line is not None]
        """Places of the lines that are scored."""
        self.texts = [line for line in lines if line is not None]
        self.language = language_row(code, self.texts)
        self.is_guess = bool(self.language and not code)
        if not self.texts:
            found = f"{counted(len(lines), 'pair')}, all with a blank side" if lines else "no text"
            raise UserError(f"{corpus} holds {found}", mend="give a corpus with at least one pair")

    @classmethod
    def from_pairs(cls, corpus: str, pairs: list[Pair], code: str) -> Self:
        """Take the target sides of pairs."""
        lines = [None if is_blank(pair.src) or is_blank(pair.tgt) else pair.tgt for pair in pairs]
        return cls(corpus, lines, code, [pair.src for pair in pairs])

    def read_more(self, files: Sequence[Path], errors: EncodingErrors, counts: CorpusCounts) -> None:
        """Read files of further references. A blank line is a missing reference.

        Raises:
            UserError: unequal counts (65), a missing file (66).
        """
        for file in files:
            lines = read_beside(file, len(self.lines), self.corpus, errors, counts, noun="reference")
            self.more.append([None if is_blank(line) else line for line in lines])

    def more_texts(self) -> list[list[str | None]]:
        """Further references of the lines that are scored."""
        return [[lines[i] for i in self.kept] for lines in self.more]

    def of_kept(self, lines: Sequence[str]) -> list[str]:
        """Those of these lines that are scored."""
        return [lines[i] for i in self.kept]


def read_beside(
    file: Path, n: int, corpus: str, errors: EncodingErrors, counts: CorpusCounts, *, noun: str = "hypothesis"
) -> list[str]:
    """Read a file that has a line for each line of a corpus.

    Args:
        file: plain or compressed; ``-`` is stdin.
        n: number of lines of the corpus.
        corpus: named in the error.
        errors: what to do with lines that are not UTF-8.
        counts: are added to.
        noun: what a line holds.

    Raises:
        UserError: unequal counts (65), a missing file (66).
    """
    lines = list(read_lines(file, encoding_errors=errors, counts=counts))
    if len(lines) != n:
        raise UserError(
            f"{'stdin' if str(file) == '-' else file} has {counted(len(lines), 'line')} but {corpus} has {n:,}",
            mend=f"give one {noun} for each {'line of the corpus' if noun == 'reference' else 'reference'}, in the "
            "same order",
        )
    return lines


def misalignment(corpus: str, langs: tuple[str, str], pairs: Sequence[Pair]) -> list[str]:
    """A warning if the lines of a corpus do not match; else none."""
    found = find_misalignment(*([len(pair[side].encode()) for pair in pairs] for side in (0, 1)))
    return [] if found is None else [describe_misalignment(corpus, langs, found.start + 1, found.lag)]


def references_file(corpus: str, langs: tuple[str, str] | None) -> Path | None:
    """The file of references that a word names; None if it names pairs."""
    return Path(corpus) if _is_plain_text(corpus, langs) else lone_target(corpus, langs) if langs else None


def read_references(
    corpus: str,
    file: Path | None,
    langs: tuple[str, str] | None,
    errors: EncodingErrors,
    counts: CorpusCounts,
) -> References:
    """Read the references of a corpus. A pipe is read only once.

    Args:
        corpus: a CORPUS word.
        file: from ``references_file``.
        langs: source and target language; None if they are not known.
        errors: what to do with lines that are not UTF-8.
        counts: are added to.

    Raises:
        UserError: a file cannot be read (66) or used (65); the side of the references is not known (2).
    """
    code = langs[1] if langs else ""
    if file is not None:
        code = code or code_in_name(uncompressed_name(file.name))
        texts = read_lines(file, encoding_errors=errors, counts=counts)
        return References(corpus, [None if is_blank(line) else line for line in texts], code)
    if langs is None and not has_ordered_sides(corpus):
        raise UserError(
            f"it is not known which side of {corpus} is the reference",
            mend="name the languages with `langs`, as in `langs=de-en`, or give the reference file itself",
            code=ExitCode.USAGE,
        )
    pairs = list(read_pairs(corpus, langs or ("src", "tgt"), encoding_errors=errors, counts=counts))
    return References.from_pairs(corpus, pairs, code)


def _is_plain_text(corpus: str, langs: tuple[str, str] | None) -> bool:
    """Whether a word names one file of references, not a corpus of two sides."""
    if corpus == "-":
        return True
    # No file name ends in these languages, so the form of the word decides.
    if find_reader(corpus, ("", "")) is not READERS["prefix"]:
        return False
    if os.path.exists(corpus) and not os.path.isdir(corpus):  # pipes too
        return True
    # If it is not a prefix either, the error of reading it says why it cannot be read.
    path = str(Path(corpus))
    siblings = glob(f"{escape(path)}.*")  # noqa: PTH207  # the word may not name a folder
    return langs is None and all(uncompressed_name(name) == path for name in siblings)
