"""The model card: a README for people who are given the run folder."""

from pathlib import Path
from typing import Any

from seq2seq.config import RunConfig, parse_langs
from seq2seq.errors import counted
from seq2seq.evaluation import ROUGH_GUIDE
from seq2seq.model import ARCHITECTURES
from seq2seq.runs import RecipeRecord, write_atomic

_MARK = "<!-- written by seq2seq; delete this line and it is yours: it will not be rewritten -->"


def write_model_card(
    path: Path,
    config: RunConfig,
    scores: dict[str, float | None],
    signatures: dict[str, str],
    corpora: list[dict[str, Any]],
    recipe: RecipeRecord | None,
    *,
    verdict: str,
) -> None:
    """Write the card, unless somebody has taken it over by deleting its first line.

    Raises:
        UserError: it could not be written (74).
    """
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return
    src, tgt = parse_langs(config.data.langs)
    architecture = ARCHITECTURES[config.model.architecture]
    named = "\n".join(
        f"- `{c['corpus']}` ({c['role']}): "
        + (f"a stream of {counted(c['shards'], 'shard')}" if c.get("shards") else counted(c["pairs"], "pair"))
        for c in corpora
        if "pairs" in c
    )
    scored = "\n".join(
        f"- {name}: {value:.2f}{f' `{signatures[name]}`' if name in signatures else ''}"
        for name, value in scores.items()
        if value is not None
    )
    beam = ", `bleu_beam` is BLEU of the beam search that `translate` runs" if "bleu_beam" in scores else ""
    in_words = f"\n{verdict}. {ROUGH_GUIDE}\n" if verdict else ""
    write_atomic(
        path,
        f"""{_MARK}
# {src} → {tgt}

This is {architecture.name} with {architecture.shape(config.model)}, trained with seq2seq. This folder holds
everything that is needed to translate:

```
seq2seq translate . < text.{src} > text.{tgt}
```

## Trained on

{named}

## On its validation pairs

{scored}{f"{chr(10)}- recipe: {recipe}" if recipe else ""}
{in_words}
`bleu` and `chrf` are sacreBLEU scores of greedy search{beam}.
The weights were chosen by these scores. To cite a score, use other text: `seq2seq eval . CORPUS`.

## Limits

The model knows only the kind of text that it was trained on. Licence and permitted use follow from that text.
""".encode(),
    )
