"""From an input stream through a translator to an output stream, in windows of what is ready."""

from seq2seq.cli.attention import draw_attention
from seq2seq.cli.console import print_warning
from seq2seq.lines import LineReader, TextCounts, open_input, open_output
from seq2seq.translation import Translation, Translator

# A file is translated in windows of this size: large enough to sort by length with profit, small
# enough that memory stays the same however long the input is.
_WINDOW_LINES = 4096
_WINDOW_BYTES = 4 << 20


def translate_stream(
    translator: Translator,
    source: str,
    output: str,
    *,
    ranked: bool = False,
    scores: bool = False,
    attention: bool = False,
    strict: bool = False,
) -> None:
    """Translate every line of ``source`` to ``output``.

    Args:
        translator: ready.
        source: path, or - for stdin.
        output: path, or - for stdout; a path appears when it is complete.
        ranked: write ``index ||| text ||| score``, the index counted from 0, for each of the n best.
        scores: write the score and a tab before each translation.
        attention: draw where the model looked for each translation.
        strict: refuse input that is not UTF-8.
    """
    counts = TextCounts()
    line_number = 1
    with open_input(source) as stream, open_output(output) as out:
        reader = LineReader(stream, "stdin" if source == "-" else source, strict=strict, counts=counts)
        while window := reader.read_window(_WINDOW_LINES, _WINDOW_BYTES):
            found = translator.n_best(window, first_line=line_number, warn=print_warning)
            for index, best in enumerate(found, start=line_number - 1):
                out.write(_format(index, best, ranked=ranked, scores=scores).encode("utf-8"))
            out.flush()  # whoever waits at the other end has the answers now
            if attention:
                for line, best in zip(window, found, strict=True):
                    if picture := translator.attention(line, best[0].text):
                        draw_attention(picture)
            line_number += len(window)
    if counts.invalid_utf8:
        print_warning(f"{counts.invalid_utf8:,} lines held bytes that are not UTF-8; they were replaced by U+FFFD")


def _format(index: int, best: list[Translation], *, ranked: bool, scores: bool) -> str:
    if ranked:
        return "".join(f"{index} ||| {t.text} ||| {t.score:.6f}\n" for t in best)
    return f"{best[0].score:.6f}\t{best[0].text}\n" if scores else f"{best[0].text}\n"
