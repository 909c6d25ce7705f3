"""What the heads of a model do: ``python tests/benchmarks/heads.py RUN CORPUS``. docs/attention.md has the figures.

For the first layer of each kind of attention, over the first 300 pairs and with the reference as the target:

- places: keys at which the heads look most, for each query: as many as there are heads if all differ, 1 if none do.
- effective keys: e to the entropy of a head's weights, the mean over queries: 1 if it looks at a single key.
"""

import sys
from pathlib import Path

import torch

from seq2seq.attention import read_maps
from seq2seq.text import read_lines
from seq2seq.translation import Translator

N_PAIRS = 300


def main() -> None:
    run, prefix = sys.argv[1:]
    translator = Translator.load(run)
    src, tgt = ([*read_lines(Path(f"{prefix}.{lang}"))] for lang in translator.langs)
    right = sum(a == b for a, b in zip(translator.translate(src), tgt, strict=True))
    print(f"translations that equal the reference: {100 * right / len(src):.1f}% of {len(src):,}")
    encode = translator.tokenizer.encode
    places: dict[str, list[int]] = {}
    spread: dict[str, list[torch.Tensor]] = {}
    for src_ids, tgt_ids in zip(encode(src[:N_PAIRS]), encode(tgt[:N_PAIRS]), strict=True):
        maps = read_maps(translator.model, translator.tokenizer, src_ids, tgt_ids)
        for kind, weights in maps.weights.items():
            first = weights[0].clamp_min(1e-9)  # [H, queries, keys]
            places.setdefault(kind, []).extend(len(set(best.tolist())) for best in first.argmax(-1).t())
            spread.setdefault(kind, []).append((-first * first.log()).sum(-1).exp().mean(1))
    for kind, of_kind in places.items():
        keys = ", ".join(f"{n:.2f}" for n in torch.stack(spread[kind]).mean(0).tolist())
        print(f"{kind}: {sum(of_kind) / len(of_kind):.2f} places, effective keys of each head {keys}")


if __name__ == "__main__":
    main()
