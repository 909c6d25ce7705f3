"""``translate --attention``: where the model looked, drawn for a person."""

from rich.cells import cell_len

from seq2seq.attention import Attention
from seq2seq.cli.console import console, shown

# A shade for weights from 0.1, 0.25, 0.5 and 0.75 on; less is left white.
_SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"))


def draw_attention(attention: Attention) -> None:
    """A row for each target piece, a column for each source piece, the darker the more was looked at.

    To stderr, as stdout carries translations alone; never wrapped between words, as notes are.
    """
    margin = max(map(cell_len, attention.tgt_pieces))
    console.print(shown(f"{' ' * margin} {' '.join(attention.src_pieces)}"))
    for piece, row in zip(attention.tgt_pieces, attention.weights, strict=True):
        cells = [_shade(w) * cell_len(src) for w, src in zip(row, attention.src_pieces, strict=True)]
        console.print(shown(f"{piece}{' ' * (margin - cell_len(piece))} {' '.join(cells)}".rstrip()))


def _shade(weight: float) -> str:
    return next((shade for least, shade in _SHADES if weight >= least), " ")
