"""The contracts of decoding, checked on real text: python tests/benchmarks/decode_contracts.py RUN CORPUS.

Every line is searched in batches of 1, 2, 7 and 64 sentences, in order, reversed, and in parts. If a line is
translated differently in any of them, both translations are shown with their scores. The same is done for workers with
continuous batching, for the cache against the whole model, and for scores against forced decoding.
"""

import sys
from functools import partial

import torch

from seq2seq.batching import pad
from seq2seq.corpus import read_pairs
from seq2seq.decoding import Hypothesis, length_penalty
from seq2seq.model import build_decoder
from seq2seq.tokenizer import BOS, EOS
from seq2seq.translation import Translator
from seq2seq.translation.batches import SearchJob, max_output, search_batches

Found = list[Hypothesis]


def main(run: str, corpus: str) -> None:
    for beam_size in (1, 4):
        translator = Translator.load(run, device="cpu", decoding={"beam_size": beam_size, "precision": "fp32"})
        lines = [pair.src for pair in read_pairs(corpus, translator.langs)]
        units = [ids for ids in translator.tokenizer.encode(lines) if 0 < len(ids) < translator.max_src_length]
        search = partial(in_batches, translator)
        print(f"beam {beam_size}: {len(units):,} lines")
        alone = search(units, 1)
        for size in (2, 7, 64):
            compare(f"batches of {size}", alone, search(units, size))
            backwards = search(units[::-1], size)[::-1]
            compare(f"batches of {size}, backwards", alone, backwards)
        cut = [h for start in range(0, len(units), 100) for h in search(units[start : start + 37], 64)]
        kept = [alone[i] for start in range(0, len(units), 100) for i in range(start, min(start + 37, len(units)))]
        compare("every first 37 of 100, batches of 64", kept, cut)
        together = dict(translator._search(units, scored=True))
        compare("as `translate` does it, all workers", alone, [together[i][0] for i in range(len(units))])
        forced(translator, units, alone)


def in_batches(translator: Translator, units: list[list[int]], size: int) -> Found:
    """One batch after the other, without continuous batching."""
    config, n_control = translator.config, translator.tokenizer.n_control
    limits = [max_output(config, len(unit), None) for unit in units]
    job = SearchJob(config, translator.device, limits, scored=True, n_control=n_control)
    decoder = build_decoder(translator.model, greedy=config.beam_size == 1, products=config.products)
    batches = [list(range(start, min(start + size, len(units)))) for start in range(0, len(units), size)]
    found = dict(search_batches(job, units, decoder, iter(batches)))
    return [found[i][0] for i in range(len(units))]


def compare(what: str, expected: Found, found: Found) -> None:
    different = [(a, b) for a, b in zip(expected, found, strict=True) if a.tokens != b.tokens]
    widest = max(abs(a.log_probability - b.log_probability) for a, b in zip(expected, found, strict=True))
    print(f"  {what}: {len(different)} of {len(found)} lines differ; log-probabilities by {widest:.1e} at most")
    for a, b in different:
        print(f"    scores {a.score:.7f} and {b.score:.7f}")


@torch.inference_mode()
def forced(translator: Translator, units: list[list[int]], hypotheses: Found) -> None:
    """Compare scores and pieces of a greedy search with the model that sees the whole target at once."""
    widest = 0.0
    not_likeliest = cut = 0
    for unit, h in zip(units, hypotheses, strict=True):
        limit = 2 * len(unit) + 50
        cut += len(h.tokens) == limit
        steps = torch.tensor([*h.tokens, EOS][:limit])
        logits = translator.model(pad([unit], last=EOS), None, pad([steps[:-1].tolist()], first=BOS))[0]
        log_probs = logits.log_softmax(-1)
        total = float(log_probs.gather(1, steps[:, None]).sum())
        widest = max(widest, abs(total / length_penalty(len(steps), translator.config.alpha) - h.score))
        not_likeliest += int((log_probs.argmax(-1) != steps).any())
    print(f"  scores differ from forced decoding by {widest:.1e} at most; {cut} lines ended by the length limit")
    if translator.config.beam_size == 1:
        print(f"  lines for which the whole model prefers another piece: {not_likeliest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
