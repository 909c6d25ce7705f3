"""``translate --attention``: a picture of the cross-attention."""

from rich.cells import cell_len

from seq2seq.attention import Attention
from seq2seq.cli.console import console, shown

# Shades by min weight; lower weights are left blank.
_SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"))


def draw_attention(attention: Attention) -> None:
    """Draw a row for each target piece and a column for each source piece; darker means more attention.

    The picture goes to stderr, because stdout carries only translations. Unlike notes, its lines are not wrapped.
    """
    margin = max(map(cell_len, attention.tgt_pieces))
    console.print(shown(f"{' ' * margin} {' '.join(attention.src_pieces)}"))
    for piece, row in zip(attention.tgt_pieces, attention.weights, strict=True):
        cells = [_shade(w) * cell_len(src) for w, src in zip(row, attention.src_pieces, strict=True)]
        console.print(shown(f"{piece}{' ' * (margin - cell_len(piece))} {' '.join(cells)}".rstrip()))


def _shade(weight: float) -> str:
    return next((shade for min_weight, shade in _SHADES if weight >= min_weight), " ")
