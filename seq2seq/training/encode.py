"""Pairs of text to pairs of token ids; those that cannot be trained on are dropped and counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from seq2seq.corpus import Pair
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation import n_sentences

ENCODED = ("too_long", "nothing_left", "respelt", "tgt_tokens", "longest_src")
"""The counts of ``encode_pairs``: pairs dropped because a side is too long, or empty after normalisation; targets that
normalisation changes; target tokens and the longest source of the other pairs, EOS included."""


def encode_pairs(
    chunks: Iterable[Sequence[Pair]],
    tokenizer: Tokenizer,
    is_left_out: Callable[[int, Pair], bool],
    max_length: int,
    counts: dict[str, int],
    sentences: "Counter[int]",
) -> Iterator[tuple[list[int], list[int]]]:
    """The ids of every pair to train on.

    Args:
        chunks: pairs that are tokenized at once.
        tokenizer: of the run.
        is_left_out: whether a pair is not trained on, by its row (from 0) and text.
        max_length: of a side in tokens, EOS included.
        counts: by the names of ``ENCODED``, all there already; updated while reading.
        sentences: sources by their number of sentences; updated while reading.
    """
    start = 0
    for pairs in chunks:
        src_ids = tokenizer.encode([pair.src for pair in pairs])
        tgt_ids = tokenizer.encode([pair.tgt for pair in pairs])
        decoded_tgt = tokenizer.decode(tgt_ids)
        for i, (pair, src, tgt, decoded) in enumerate(zip(pairs, src_ids, tgt_ids, decoded_tgt, strict=True), start):
            if is_left_out(i, pair):
                continue
            if not src or not tgt:
                counts["nothing_left"] += 1
            elif max(len(src), len(tgt)) + 1 > max_length:
                counts["too_long"] += 1
            else:
                counts["tgt_tokens"] += len(tgt) + 1
                counts["longest_src"] = max(counts["longest_src"], len(src) + 1)
                counts["respelt"] += _words(decoded) != _words(pair.tgt)
                sentences[n_sentences(pair.src)] += 1
                yield src, tgt
        start += len(pairs)


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]


def usual_sentences(counts: "Counter[int]") -> int:
    """The largest n for which 1 in 100 sources has n sentences or more: the model learns to translate so many at once.

    Args:
        counts: sources by their number of sentences.
    """
    n_more = counts.total()
    for n in sorted(counts):
        n_more -= counts[n]
        if 100 * n_more < counts.total():  # n_more sources have more than n sentences
            return n
    return 1
