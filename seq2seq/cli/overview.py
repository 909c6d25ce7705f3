"""What ``runs`` prints: a table of runs, what differs, learning curves; or all of it as JSON."""

import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seq2seq.cli.console import print_note, print_warning
from seq2seq.config import toml_value
from seq2seq.drawing import Axes, Curve, curves_svg, draw_chart, letter
from seq2seq.drawing.labels import label, n_cells, padded
from seq2seq.errors import ExitCode, UserError
from seq2seq.runs import SCORES, Difference, Found, Group, RunSummary, differences, groups, in_words, run_files
from seq2seq.text import open_output, refuse_overwriting

_CURVES = {
    "bleu": Axes("updates", "BLEU of validation (0 to 100)"),
    "chrf": Axes("updates", "chrF of validation (0 to 100)"),
    "loss": Axes("updates", "loss of validation (nats per target token)"),
}
_KEYS = {"bleu": "bleu", "chrf": "chrf", "loss": "valid_loss"}
"""Names of curves in ``metrics.jsonl``."""
_HEADS = ("BLEU", "chrF", "loss", "minutes", "parameters", "MB", "updates", "finished")
_UNKNOWN = "-"


def refuse_curve(curve: str, picture: str | None) -> None:
    """Refuse an unknown curve, or a picture in another format than SVG.

    Raises:
        UserError: it is one (2).
    """
    if curve not in _CURVES:
        raise UserError(f"--curve {curve} is unknown", mend=f"choose among {', '.join(_CURVES)}", code=ExitCode.USAGE)
    if picture is not None and Path(picture).suffix != ".svg":
        raise UserError(
            f"-o {picture}: the name of a picture ends in .svg",
            mend="name one, or leave -o out to see the curves here",
            code=ExitCode.USAGE,
        )


def print_overview(found: Found, curve: str, picture: str | None, *, as_json: bool) -> None:
    """Print runs to stdout, and problems to stderr.

    Args:
        found: at least one run, or problems.
        curve: key of ``_CURVES``.
        picture: path of an SVG file to write.
        as_json: print JSON in place of text.

    Raises:
        UserError: no run was found (66); the picture is a file of a run (2), or cannot be written (74).
    """
    for problem in found.problems:
        print_warning(problem)
    if not found.runs:
        raise UserError("no run was found", mend="name folders written by train", code=ExitCode.NO_INPUT)
    curves = [Curve(letter(i), str(run.folder), run.curve(_KEYS[curve])) for i, run in enumerate(found.runs)]
    drawing = None if picture is None else _picture(found, curves, curve, picture)
    compared, grouped = differences(found.runs), groups(found.runs)
    if as_json:
        text = json.dumps(_as_json(found, compared, grouped), ensure_ascii=False) + "\n"
    else:
        text = _as_text(found.runs, compared, grouped, curves, _CURVES[curve])
    with open_output("-") as out:
        out.write(text.encode("utf-8", "replace"))
    if picture is not None and drawing is not None:
        with open_output(picture) as file:
            file.write(drawing)
        print_note(f"wrote {picture}: {len(drawing) / 1000:,.0f} kB")


def _picture(found: Found, curves: Sequence[Curve], curve: str, picture: str) -> bytes | None:
    """The SVG file; None if there is no curve."""
    refuse_overwriting(picture, [path for run in found.runs if run.manifest for path in run_files(run.folder)])
    if not any(one.points for one in curves):
        print_warning(f"{picture} is not written: no run has a validation with this score")
        return None
    return curves_svg(curves, _CURVES[curve], "Learning curves").encode("utf-8", "replace")


# Text -----------------------------------------------------------------------------------------------


def _as_text(
    runs: Sequence[RunSummary],
    compared: Sequence[Difference],
    grouped: Sequence[Group],
    curves: Sequence[Curve],
    axes: Axes,
) -> str:
    width = shutil.get_terminal_size((80, 24)).columns
    parts = [_table(runs, width)]
    if grouped:
        parts.append("Mean ± standard deviation of runs that differ by their seed alone:\n" + _means(grouped, width))
    if compared:
        parts.append("What differs in their configurations:\n" + _differences(compared, width))
    if chart := draw_chart(curves, axes, width):
        parts.append(chart)
    return "\n".join(parts)


def _table(runs: Sequence[RunSummary], width: int) -> str:
    """One line for each run if the terminal is wide enough; otherwise two, name and figures."""
    letters = [letter(i) for i in range(len(runs))]
    names = [label(str(run.folder)) for run in runs]
    recipes = [_recipe(run) for run in runs]
    rows = [_HEADS, *map(_figures, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    figures = ["  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True)) for row in rows]
    first = max(map(len, letters))
    name_width, recipe_width = (max(map(n_cells, texts)) for texts in (["run", *names], ["recipe", *recipes]))
    lines = []
    for mark, name, row, recipe in zip(["", *letters], ["run", *names], figures, ["recipe", *recipes], strict=True):
        if first + name_width + len(row) + recipe_width + 6 <= width:
            lines.append(f"{mark:<{first}}  {padded(name, name_width)}  {row}  {recipe}")
        else:
            lines += [f"{mark:<{first}}  {padded(name, name_width)}  {recipe}", f"{'':<{first}}  {row}"]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _figures(run: RunSummary) -> tuple[str, ...]:
    scores = run.scores
    planned = run.manifest.max_updates if run.manifest is not None else None
    updates = f"{run.update:,}" if run.finished else f"{run.update:,} of {'?' if planned is None else f'{planned:,}'}"
    return (
        *(_UNKNOWN if scores[name] is None else f"{scores[name]:.2f}" for name in ("bleu", "chrf", "valid_loss")),
        f"{run.seconds / 60:,.1f}",
        _UNKNOWN if run.n_parameters is None else f"{run.n_parameters:,}",
        _UNKNOWN if run.n_bytes is None else f"{run.n_bytes / 1e6:,.1f}",
        updates,
        "yes" if run.finished else "no",
    )


def _recipe(run: RunSummary) -> str:
    recipe = None if run.manifest is None else run.manifest.recipe
    return _UNKNOWN if recipe is None else label(f"{recipe.name} ({recipe.hash})")


def _means(grouped: Sequence[Group], width: int) -> str:
    lines = []
    for group in grouped:
        letters = " ".join(letter(place) for place in group.runs)
        lines += _wrapped(f"{letters}:  ", [in_words({name: found}) for name, found in group.scores.items()], width)
    return "".join(f"{line}\n" for line in lines)


def _differences(compared: Sequence[Difference], width: int) -> str:
    lines = []
    for difference in compared:
        letters: dict[str, list[str]] = {}
        for place, value in enumerate(difference.values):
            letters.setdefault(label(toml_value(value)), []).append(letter(place))
        values = [f"{value} ({' '.join(of_value)})" for value, of_value in letters.items()]
        lines += _wrapped(f"{difference.key}:  ", values, width)
    return "".join(f"{line}\n" for line in lines)


def _wrapped(head: str, parts: Sequence[str], width: int) -> list[str]:
    """A head and parts, in as many lines as they need; the further ones are indented."""
    return textwrap.wrap(
        head + "  ".join(parts), max(width, 40),
        initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


# JSON -----------------------------------------------------------------------------------------------


def _as_json(found: Found, compared: Sequence[Difference], grouped: Sequence[Group]) -> dict[str, Any]:
    return {
        "runs": [_run_as_json(run) for run in found.runs],
        "groups": [
            {
                "runs": [str(found.runs[place].folder) for place in group.runs],
                "seeds": group.seeds,
                "scores": {name: spread._asdict() for name, spread in group.scores.items()},
            }
            for group in grouped
        ],
        "differences": [{"key": difference.key, "values": difference.values} for difference in compared],
        "problems": found.problems,
    }


def _run_as_json(run: RunSummary) -> dict[str, Any]:
    manifest = run.manifest
    recipe = None if manifest is None else manifest.recipe
    return {
        "run": str(run.folder),
        "finished": run.finished,
        "updates": run.update,
        "max_updates": None if manifest is None else manifest.max_updates,
        "scores": run.scores,
        "signatures": {} if manifest is None else manifest.signatures,
        "seconds": run.seconds,
        "parameters": run.n_parameters,
        "bytes": run.n_bytes,
        "recipe": None if recipe is None else {"name": recipe.name, "hash": recipe.hash},
        "seed": None if run.config is None else run.config.training.seed,
        "curves": {key: run.curve(key) for key in SCORES if key != "bleu_beam"},
    }
