"""``seq2seq translate``: lines in, lines out."""

from seq2seq.cli import options, translate_options
from seq2seq.cli.console import print_note


def translate_command(
    run: options.RunFolder,
    texts: translate_options.Texts = None,
    source: translate_options.Source = None,
    output: translate_options.Output = "-",
    resume: translate_options.Resume = False,
    beam_size: options.BeamSize = None,
    length_penalty: options.LengthPenalty = None,
    n_best: translate_options.NBest = None,
    scores: translate_options.Scores = False,
    alignments: translate_options.Alignments = False,
    confidence: translate_options.Confidence = False,
    as_json: options.AsJsonLines = False,
    attention: translate_options.ShowAttention = False,
    min_confidence: translate_options.MinConfidence = None,
    doubtful: translate_options.DoubtfulLines = None,
    max_length: translate_options.MaxLength = None,
    batch_tokens: translate_options.BatchTokens = None,
    stopping: translate_options.Stopping = None,
    shortlist: options.ShortlistSize = None,
    precision: options.Precision = None,
    products: options.MatrixProducts = None,
    engine: translate_options.SearchEngine = "own",
    workers: options.Workers = None,
    device: translate_options.Devices = "auto",
    strict: options.Strict = False,
) -> None:
    """Translate sentences, a file, or stdin: one line in, one line out."""
    from seq2seq.cli import inputs, ranks
    from seq2seq.cli.progress import show_translating
    from seq2seq.translation import Translator, is_finished, translate_lines  # keeps torch out of --help

    form = inputs.form_of(n_best, scores=scores, alignments=alignments, confidence=confidence, as_json=as_json)
    inputs.refuse_texts(texts or [], source, resume=resume)
    source = source or "-"
    inputs.refuse_output(output, source, run, resume=resume)
    lines = inputs.doubtful_of(doubtful, min_confidence, [source, output], run, resume=resume)
    if resume and is_finished(source, output, n_best or 1):
        print_note(f"{output} is finished already; leave --resume out to translate it again")
        return
    device, shard = ranks.device_and_shard(device, source, output, {"--doubtful": doubtful, "--attention": attention})
    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping, "precision": precision, "products": products,
        "shortlist": shortlist,
    }  # fmt: skip
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers, engine=engine)
    inputs.require_confidence(translator, run, is_needed=confidence or lines is not None)
    with inputs.open_lines(source, texts or [], strict=strict, shard=shard) as reader:
        events = translate_lines(  # TEXTs are too few to need an output that can be resumed
            translator, reader, output, form=form, resumable=not texts, resume=resume, doubtful=lines, shard=shard
        )
        picture = translator.attention if attention else None
        show_translating(events, output, resume=resume, attention=picture, shard=shard)
