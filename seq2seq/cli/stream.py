"""From an input stream through a translator to an output stream, in windows of what is ready."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seq2seq.cli.answers import (
    WINDOW_BYTES,
    WindowSize,
    is_finished,
    open_answers,
    refuse_input_as_output,
    refuse_resume,
)
from seq2seq.cli.attention import draw_attention
from seq2seq.cli.console import print_note, print_warning
from seq2seq.cli.inputs import open_lines, refuse_texts
from seq2seq.cli.progress import show_progress
from seq2seq.errors import counted
from seq2seq.text import TextCounts
from seq2seq.translation import SegmentCounts, Translation, Translator


def translate_with(
    run: Path,
    texts: Sequence[str],
    source: str | None,
    output: str,
    *,
    decoding: dict[str, object],
    device: str,
    workers: int | None,
    ranked: bool,
    scores: bool,
    attention: bool,
    strict: bool,
    resume: bool,
) -> None:
    """Translate TEXTs, or every line of ``source``, to ``output`` with the model of a run.

    Args: those of ``Translator.load`` and ``translate_stream``; no source is stdin.
    """
    refuse_texts(texts, source, resume=resume)
    source = source or "-"
    if resume:
        refuse_resume(output)
    refuse_input_as_output(output, source, run)
    if resume:
        n_best = decoding.get("n_best")
        if is_finished(source, output, n_best if ranked and isinstance(n_best, int) else 1):
            print_note(f"{output} is finished already; leave --resume out to translate it again")
            return
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers)
    translate_stream(
        translator, source, output,
        texts=texts, ranked=ranked, scores=scores, attention=attention, strict=strict, resume=resume,
    )  # fmt: skip


def translate_stream(
    translator: Translator,
    source: str,
    output: str,
    *,
    texts: Sequence[str] = (),
    ranked: bool = False,
    scores: bool = False,
    attention: bool = False,
    strict: bool = False,
    resume: bool = False,
) -> None:
    """Translate every line of ``source`` to ``output``.

    Args:
        translator: ready.
        source: path, or - for stdin.
        output: path, or - for stdout; a path appears when it is complete.
        texts: to translate in place of ``source``.
        ranked: write ``index ||| text ||| score``, the index counted from 0, for each of the n best.
        scores: write the score and a tab before each translation.
        attention: draw where the model looked for each translation.
        strict: refuse input that is not UTF-8.
        resume: continue an interrupted translation to this path.
    """
    counts, segments = TextCounts(), SegmentCounts()
    answer = "n-best" if ranked else "scores" if scores else "text"
    with (
        open_lines(source, texts, strict=strict, counts=counts) as reader,
        open_answers(output, reader, translator, answer, resume=resume) as answers,
        show_progress(reader, answers.n_lines, output) as reached,
    ):
        size = WindowSize(translator.expected_pace(), on_gpu=translator.device.type != "cpu")
        while window := reader.read_window(size.lines, WINDOW_BYTES):
            began, warned = time.monotonic(), segments.first
            found = translator.n_best(
                window,
                first_line=answers.n_lines + 1,
                counts=segments,
                scored=ranked or scores,
                tell=partial(reached, answers.n_lines, len(window)),
            )
            if segments.first and not warned:
                print_warning(segments.first)
            size.took(len(window), time.monotonic() - began)
            text = "".join(
                _format(index, best, ranked=ranked, scores=scores)
                for index, best in enumerate(found, start=answers.n_lines)
            )
            answers.write(window, text.encode("utf-8"))
            reached(answers.n_lines)
            if attention:
                for line, best in zip(window, found, strict=True):
                    if picture := translator.attention(line, best[0].text):
                        draw_attention(picture)
    if segments.n > 1:  # a single one has been reported
        print_warning(segments.total())
    if counts.invalid_utf8:
        print_warning(
            f"{counted(counts.invalid_utf8, 'line')} held bytes that are not UTF-8; they were replaced by U+FFFD"
        )


def _format(index: int, best: list[Translation], *, ranked: bool, scores: bool) -> str:
    if ranked:
        return "".join(f"{index} ||| {t.text} ||| {t.score:.4f}\n" for t in best)
    return f"{best[0].score:.4f}\t{best[0].text}\n" if scores else f"{best[0].text}\n"
