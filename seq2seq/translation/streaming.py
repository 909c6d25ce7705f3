"""Translates an input stream to an output, and yields events.

A reader gives windows of lines that are ready, a translator translates each window, and an output takes the
translations.
"""

from collections.abc import Generator
from contextlib import nullcontext

from seq2seq.text import LineReader, open_input, open_output
from seq2seq.translation.doubtful import Doubtful, write_doubtful
from seq2seq.translation.events import (
    Completed,
    InputReady,
    OutputOpened,
    Suspended,
    TranslationEvent,
    WindowTranslated,
)
from seq2seq.translation.output import FORMATS, SCORED, Output, open_translations
from seq2seq.translation.segments import SegmentCounts
from seq2seq.translation.shards import LineRange
from seq2seq.translation.translator import Translator
from seq2seq.translation.windows import Lines

Events = Generator[TranslationEvent, None, None]


def translate_file(
    translator: Translator, source: str, output: str, *, form: str = "text", strict: bool = False, resume: bool = False
) -> Events:
    """Translate every line of a file, one line in, one line out; nothing happens until the events are read.

    Args:
        translator: translates.
        source: path, plain or compressed, or - for stdin.
        output: as ``translate_lines``'s.
        form: as ``translate_lines``'s.
        strict: refuse input that is not UTF-8 (65).
        resume: as ``translate_lines``'s.

    Yields:
        As ``translate_lines``.

    Raises:
        UserError: the source cannot be opened (66), or as ``translate_lines``.
    """
    with open_input(source) as stream:
        reader = LineReader(stream, "stdin" if source == "-" else source, strict=strict)
        yield from translate_lines(translator, reader, output, form=form, resume=resume)


def translate_lines(
    translator: Translator,
    reader: Lines,
    output: str,
    *,
    form: str = "text",
    resumable: bool = True,
    resume: bool = False,
    doubtful: Doubtful | None = None,
    shard: LineRange | None = None,
) -> Events:
    """Translate every line of a reader. Each window is written before its event is yielded.

    If there is an exception, or if the caller stops reading the events, a resumable output is kept for ``resume``.

    Args:
        translator: translates.
        reader: at the first line of the input.
        output: path, or - for stdout. A file appears when it is complete, compressed if its name ends in .gz, .bz2 or
            .xz.
        form: row of ``FORMATS``.
        resumable: whether a file is kept after an interruption.
        resume: continue an interrupted translation to this path.
        doubtful: lines that are also written to another file, which appears when it is complete. It cannot be resumed.
        shard: of this process, if several translate the input together; ``reader`` gives its lines. None: it is the
            only one.

    Yields:
        ``OutputOpened`` and ``InputReady``; for each window ``WindowProgress`` and ``WindowTranslated``; ``Completed``,
        or ``Suspended`` before an exception if the output can be resumed.

    Raises:
        UserError: the input is not that of the interrupted translation, or is not text (65); the output cannot be
            written (74), is being written by another process (75), or was started with another model or other
            settings (78).
    """
    counts, write = SegmentCounts(), FORMATS[form]
    first = shard.start if shard else 0
    n_avoided_loops = 0
    out: Output | None = None
    try:
        with (
            open_output(doubtful.path) if doubtful else nullcontext() as doubtful_out,
            open_translations(output, translator, form, resumable=resumable, resume=resume, shard=shard) as out,
        ):
            yield OutputOpened(out.partial, out.has_leftover, out.n_lines)
            out.skip_translated(reader)
            yield InputReady(first + out.n_lines, reader.n_bytes_taken, reader.size)
            windows = translator.translate_windows(
                reader,
                n_lines=first + out.n_lines,
                counts=counts,
                scored=form in SCORED or doubtful is not None,
                aligned=form == "alignments",
            )
            for event in windows:
                if isinstance(event, WindowTranslated):
                    n_avoided_loops += sum(best[0].avoided_loop for best in event.translations)
                    texts = (write(index, best) for index, best in enumerate(event.translations, first + out.n_lines))
                    out.write(event.lines, "".join(texts).encode("utf-8"))
                    if doubtful is not None and doubtful_out is not None:
                        write_doubtful(doubtful_out, event, doubtful.min_confidence)
                yield event
    except GeneratorExit:  # the caller has stopped reading events
        raise
    except BaseException:
        if out is not None and out.is_suspended and out.partial is not None:
            yield Suspended(out.n_lines, out.partial)
        raise
    yield Completed(out.n_lines, counts, reader.counts.invalid_utf8, n_avoided_loops)
