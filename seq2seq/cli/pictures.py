"""What ``attend`` draws: which maps, of which lines, and where to."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from seq2seq.attention import (
    KINDS,
    LEGEND,
    AttentionMap,
    AttentionMaps,
    Place,
    draw,
    map_sizes,
    page,
    positions_of,
    svg,
)
from seq2seq.cli.console import print_note
from seq2seq.errors import ExitCode, UserError, counted
from seq2seq.model import AttentionKind, Seq2SeqModel
from seq2seq.runs import run_files
from seq2seq.text import is_blank, open_output, refuse_overwriting
from seq2seq.translation import Translator
from seq2seq.translation.tuning import MAX_BYTES
from seq2seq.translation.windows import Lines

_MAX_SENTENCES = 50
"""Of a page; each takes some hundred kilobytes."""
_POSITIONS = 64
"""Rows of the picture of positions, at least."""


@dataclass(frozen=True)
class Wanted:
    """The maps to draw."""

    kind: AttentionKind
    layers: list[int | None]
    """Counted from 1; None: the mean over all."""
    heads: list[int | None]
    """As layers."""

    @classmethod
    def checked(cls, model: Seq2SeqModel, kind: str, layer: str | None, head: str | None) -> Self:
        """The maps that options name.

        Args:
            model: which has them, or not.
            kind: key of ``KINDS``.
            layer: a number, "all" for a picture of each, or None for the mean.
            head: as layer.

        Raises:
            UserError: an unknown kind, or one that the model does not have; no such layer or head (2).
        """
        sizes = map_sizes(model)
        for known in KINDS:
            if known == kind and known in sizes:
                n_layers, n_heads = sizes[known]
                return cls(known, _numbers("layer", layer, n_layers, known), _numbers("head", head, n_heads, known))
        what = f"this model has no {KINDS[kind]}" if kind in KINDS else f"unknown kind of attention '{kind}'"
        raise UserError(what, mend=f"give --kind {_listed(list(sizes))}", code=ExitCode.USAGE)

    @property
    def place(self) -> Place:
        """The head whose numbers a page shows: the first of these, or of all."""
        return Place(self.kind, self.layers[0] or 1, self.heads[0] or 1)

    def of(self, maps: AttentionMaps) -> list[AttentionMap]:
        """These maps of a sentence."""
        return [maps.map(self.kind, layer, head) for layer in self.layers for head in self.heads]


def _numbers(noun: str, word: str | None, size: int, kind: AttentionKind) -> list[int | None]:
    if word is None:
        return [None]
    if word == "all":
        return list(range(1, size + 1))
    if not (word.isascii() and word.isdigit()) or not 1 <= int(word) <= size:
        valid = "1 or all" if size == 1 else f"1 to {size}, or all"
        of = counted(size, noun) + " in each layer" * (noun == "head")
        raise UserError(
            f"--{noun} {word}: {KINDS[kind]} of this model has {of}",
            mend=f"give {valid}",
            code=ExitCode.USAGE,
        )
    return [int(word)]


def _listed(names: list[AttentionKind]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def refuse_picture(output: str, run: Path, *, n_texts: int, target: str | None) -> None:
    """Refuse an output that is no picture or that is read, and texts that do not fit it.

    Args:
        output: the value of ``-o``; - is the terminal.
        run: its folder.
        n_texts: on the command line.
        target: the value of ``--target``.

    Raises:
        UserError: it is one (2), or there is no run (66).
    """
    if output != "-" and Path(output).suffix not in _FILES:
        raise UserError(
            f"-o {output}: the name of a picture ends in {' or '.join(_FILES)}",
            mend="name one, or leave -o out to see the picture here",
            code=ExitCode.USAGE,
        )
    refuse_overwriting(output, ["-", *run_files(run)])
    _refuse_several(n_texts, output, target)


def _refuse_several(n: int, output: str, target: str | None) -> None:
    if n > 1 and target is not None:
        raise UserError("--target is the translation of one text", mend="give one TEXT", code=ExitCode.USAGE)
    if n > 1 and output.endswith(".svg"):
        raise UserError(
            "an SVG file holds one text", mend="give one TEXT, or write a page: -o FILE.html", code=ExitCode.USAGE
        )
    if n > _MAX_SENTENCES and output.endswith(".html"):
        raise UserError(f"a page holds up to {_MAX_SENTENCES} texts", mend="give fewer", code=ExitCode.USAGE)


def draw_lines(
    translator: Translator, reader: Lines, wanted: Wanted, output: str, *, target: str | None, about: str
) -> None:
    """Draw the attention of each line that is not blank; a line in several segments has a map of each.

    Args:
        translator: ready.
        reader: at the first line.
        wanted: which maps.
        output: path that ends in .svg or .html, or - for text on stdout.
        target: a given translation of a single line; None: the model's own.
        about: says which model it is.

    Raises:
        UserError: no line that is not blank, or a target that cannot be read (65); more lines than the output
            holds (2); it cannot be written (74).
    """
    drawn: list[AttentionMaps] = []
    n_lines = 0
    for line in _lines(reader):
        n_lines += 1
        _refuse_several(n_lines, output, target)
        maps = translator.attention_maps(line, target, place=wanted.place if output.endswith(".html") else None)
        if output == "-":
            _print(maps, wanted, is_first=n_lines == 1)
        else:
            drawn += maps
    if not n_lines:
        raise UserError("there is no text to look at", mend="give a TEXT, or lines on stdin")
    if output != "-":
        text = _FILES[Path(output).suffix](translator, drawn, wanted, about)
        with open_output(output) as file:
            file.write(text.encode())
        print_note(f"wrote {output}: {len(text.encode()) / 1000:,.0f} kB")


def _lines(reader: Lines) -> Iterator[str]:
    while window := reader.read_window(1, MAX_BYTES):
        yield from (line for line in window if not is_blank(line))


def _print(maps: list[AttentionMaps], wanted: Wanted, *, is_first: bool) -> None:
    width = shutil.get_terminal_size((80, 24)).columns
    pictures = [draw(picture, width) for of_segment in maps for picture in wanted.of(of_segment)]
    text = "\n".join(pictures)
    with open_output("-") as out:
        out.write((f"{LEGEND}\n\n{text}" if is_first else f"\n{text}").encode())


def _svg(translator: Translator, maps: list[AttentionMaps], wanted: Wanted, about: str) -> str:
    pictures = [picture for of_segment in maps for picture in wanted.of(of_segment)]
    return svg(pictures, f"{KINDS[wanted.kind]}: where a model looks")


def _page(translator: Translator, maps: list[AttentionMaps], wanted: Wanted, about: str) -> str:
    length = max(_POSITIONS, *(len(of_segment.src_pieces) for of_segment in maps))
    src, tgt = translator.langs
    return page(
        maps,
        positions_of(translator.model, length),
        about=f"{about}: {src} to {tgt}",
        kind=wanted.kind,
        layer=wanted.layers[0],
        head=wanted.heads[0],
    )


_FILES: dict[str, Callable[[Translator, list[AttentionMaps], Wanted, str], str]] = {".svg": _svg, ".html": _page}
"""What is written to a file, by the suffix of its name."""
