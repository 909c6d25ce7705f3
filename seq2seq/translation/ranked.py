"""Translations of lines, from the ranked hypotheses of their segments."""

import math
from collections.abc import Sequence

from seq2seq.decoding import NOTHING
from seq2seq.runs import ConfidenceRecord
from seq2seq.text import one_line
from seq2seq.tokenizer import Tokenizer
from seq2seq.translation.confidence import expected_chrf, features
from seq2seq.translation.events import Translation
from seq2seq.translation.segments import Searched, join_segments


def ranked_translations(
    searched: Sequence[Sequence[Searched]],
    rank: int,
    tokenizer: Tokenizer,
    language: str,
    threads: int,
    confidence: ConfidenceRecord | None = None,
) -> list[Translation]:
    """The translation of each line from the rank-th best hypotheses of its segments; blank if it has none.

    Args:
        searched: the segments of each line.
        rank: counted from 0. A segment may have fewer hypotheses than requested: its last one is used again.
        tokenizer: of the model.
        language: code of the target language, by which segments are joined.
        threads: that the tokenizer may use.
        confidence: computes the expected chrF, if the search computed scores; None: it is not known.
    """
    chosen = [
        [of_each[min(rank, len(of_each) - 1)] if of_each else NOTHING for of_each, *_ in segments]
        for segments in searched
    ]
    texts = iter(tokenizer.decode([h.tokens for line in chosen for h in line], threads=threads))
    translations = []
    for segments, best in zip(searched, chosen, strict=True):
        text = one_line(join_segments([next(texts) for _ in best], segments, language))
        score = sum(h.score for h in best) / max(1, len(best))
        has_scores = not math.isnan(score)
        found = features(segments, best) if has_scores and text.strip() else None
        translations.append(
            Translation(
                text,
                score,
                n_segments=len(segments),
                features=found,
                confidence=expected_chrf(confidence, found) if confidence is not None and has_scores else None,
                avoided_loop=any(h.avoided_loop for h in best),
            )
        )
    return translations
