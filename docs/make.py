"""Write the tables of ``docs/`` that follow from the code: ``python docs/make.py``. A test keeps them up to date."""

from pathlib import Path

from seq2seq.errors import duration
from seq2seq.training.recipe import DeviceKind, Recipe, Statistics, assumed_hours, recipe

PAIRS = [
    500, 1000, 3000, 7000, 12_000, 30_000, 60_000, 100_000, 200_000, 400_000, 1_000_000, 2_000_000, 5_000_000,
    20_000_000, 50_000_000,
]  # fmt: skip
DEVICES: dict[DeviceKind, str] = {"cpu": "Two CPU cores", "gpu": "One GPU"}
BEGIN, END = "<!-- recipes: written by docs/make.py -->", "<!-- end of recipes -->"


def recipes() -> str:
    """The table of recipes in Markdown, for both kinds of device."""
    lines = []
    for kind, name in DEVICES.items():
        lines += [
            f"### {name}",
            "",
            "| Pairs | Recipe | Preset | Layers, width, feed-forward | Vocabulary | Dropout; R-Drop weight "
            "| Target tokens an update | Learning rate, warm-up | Epochs | Updates | Time |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for n_pairs in PAIRS:
            corpus = Statistics.guess(n_pairs)
            lines.append(_row(recipe(corpus, kind, {}), corpus, kind))
        lines.append("")
    return "\n".join(lines)


def _row(found: Recipe, corpus: Statistics, kind: DeviceKind) -> str:
    model, training = found.config.model, found.config.training
    hours = assumed_hours(found, corpus, kind)
    cells = [
        f"{corpus.n_pairs:,}",
        f"`{found.name}`",
        f"`{found.preset}`",
        f"{model.encoder_layers}+{model.decoder_layers}, {model.d_model:,}, {model.d_ff:,}",
        f"{found.config.data.vocab_size:,}",
        f"{model.dropout:g}, {training.r_drop:g}" if found.config.n_forward_passes == 2 else f"{model.dropout:g}, –",
        f"{training.batch_tokens:,}",
        f"{training.learning_rate:g}, {training.warmup_updates:,} updates",
        f"{found.usual_epochs:,.3g}",
        f"{found.usual_epochs * corpus.n_tgt_tokens / training.batch_tokens:,.0f}",
        duration(3600 * hours),
    ]
    return f"| {' | '.join(cells)} |"


def with_recipes(page: str) -> str:
    """The page with its table of recipes replaced."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{recipes()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = Path(__file__).parent / "recipes.md"
    path.write_text(with_recipes(path.read_text(encoding="utf-8")), encoding="utf-8")
