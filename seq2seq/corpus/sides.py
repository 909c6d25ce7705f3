"""Corpora of two text files, named by a prefix (``train`` for ``train.de`` and ``train.en``) or as SOURCE,TARGET."""

from collections.abc import Iterator
from pathlib import Path

from seq2seq.corpus.pairs import CorpusCounts, Pair
from seq2seq.corpus.unreadable import refusal
from seq2seq.corpus.words import side, two_files
from seq2seq.errors import UserError, counted
from seq2seq.text import EncodingErrors, read_lines


def read_prefix(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """A prefix: ``train`` names ``train.de`` and ``train.en``, each plain or compressed, one sentence a line."""
    src_path, tgt_path = (side(corpus, lang) for lang in langs)
    if src_path is None or tgt_path is None:
        raise refusal(corpus, langs)
    yield from _line_by_line(src_path, tgt_path, encoding_errors, counts)


def read_two_files(
    corpus: str, langs: tuple[str, str], encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    """Two names, ``deu.txt,eng.txt``: source and target, each plain or compressed, one sentence a line."""
    paths = two_files(corpus)
    if paths is None:
        raise refusal(corpus, langs)
    yield from _line_by_line(*paths, encoding_errors, counts)


def _line_by_line(
    src_path: Path, tgt_path: Path, encoding_errors: EncodingErrors, counts: CorpusCounts
) -> Iterator[Pair]:
    src_lines = read_lines(src_path, encoding_errors=encoding_errors, counts=counts)
    tgt_lines = read_lines(tgt_path, encoding_errors=encoding_errors, counts=counts)
    n = 0
    while (src := next(src_lines, None)) is not None and (tgt := next(tgt_lines, None)) is not None:
        yield Pair(src, tgt)
        n += 1
    # Now either src is a line without a translation, or the sources have ended and there may be further targets.
    n_src = n + (src is not None) + sum(1 for _ in src_lines)
    n_tgt = n + sum(1 for _ in tgt_lines)
    if n_src != n_tgt:
        raise UserError(
            f"{src_path} has {counted(n_src, 'line')} but {tgt_path} has {n_tgt:,}",
            mend="give files with one sentence per line, in the same order",
        )
