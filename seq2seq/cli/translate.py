"""``seq2seq translate``: lines in, lines out."""

from seq2seq.cli import options


def translate_command(
    run: options.RunFolder,
    texts: options.Texts = None,
    source: options.Source = None,
    output: options.Output = "-",
    resume: options.Resume = False,
    beam_size: options.BeamSize = None,
    length_penalty: options.LengthPenalty = None,
    n_best: options.NBest = None,
    scores: options.Scores = False,
    attention: options.ShowAttention = False,
    max_length: options.MaxLength = None,
    batch_tokens: options.BatchTokens = None,
    stopping: options.Stopping = None,
    shortlist: options.ShortlistSize = None,
    precision: options.Precision = None,
    products: options.MatrixProducts = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    strict: options.Strict = False,
) -> None:
    """Translate sentences, a file, or stdin: one line in, one line out."""
    from seq2seq.cli.stream import translate_with  # keeps torch out of --help

    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping, "precision": precision, "products": products,
        "shortlist": shortlist,
    }  # fmt: skip
    translate_with(
        run, texts or [], source, output, decoding=decoding, device=device, workers=workers, ranked=n_best is not None,
        scores=scores, attention=attention, strict=strict, resume=resume,
    )  # fmt: skip
