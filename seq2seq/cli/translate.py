"""``seq2seq translate``: lines in, lines out."""

from seq2seq.cli import options
from seq2seq.cli.console import print_note


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
    alignments: options.Alignments = False,
    confidence: options.Confidence = False,
    as_json: options.AsJsonLines = False,
    attention: options.ShowAttention = False,
    min_confidence: options.MinConfidence = None,
    doubtful: options.DoubtfulLines = None,
    max_length: options.MaxLength = None,
    batch_tokens: options.BatchTokens = None,
    stopping: options.Stopping = None,
    shortlist: options.ShortlistSize = None,
    precision: options.Precision = None,
    products: options.MatrixProducts = None,
    workers: options.Workers = None,
    engine: options.SearchEngine = "own",
    device: options.Device = "auto",
    strict: options.Strict = False,
) -> None:
    """Translate sentences, a file, or stdin: one line in, one line out."""
    from seq2seq.cli.inputs import doubtful_of, form_of, open_lines, refuse_output, refuse_texts, require_confidence
    from seq2seq.cli.progress import show_translating
    from seq2seq.cli.ranks import rank_and_device
    from seq2seq.translation import Translator, is_finished, translate_lines  # keeps torch out of --help
    from seq2seq.translation.shards import ShardLines, find_shard

    form = form_of(n_best, scores=scores, alignments=alignments, confidence=confidence, as_json=as_json)
    refuse_texts(texts or [], source, resume=resume)
    source = source or "-"
    refuse_output(output, source, run, resume=resume)
    lines = doubtful_of(doubtful, min_confidence, [source, output], run, resume=resume)
    if resume and is_finished(source, output, n_best or 1):
        print_note(f"{output} is finished already; leave --resume out to translate it again")
        return
    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "n_best": n_best, "max_length": max_length,
        "batch_tokens": batch_tokens, "stopping": stopping, "precision": precision, "products": products,
        "shortlist": shortlist,
    }  # fmt: skip
    options_of_one = {"TEXT": texts, "--doubtful": doubtful, "--attention": attention}
    rank, device = rank_and_device(device, source, output, options=options_of_one)
    shard = find_shard(source, rank) if rank.size > 1 else None
    translator = Translator.load(run, device=device, decoding=decoding, workers=workers, engine=engine)
    if confidence or lines is not None:
        require_confidence(translator, run)
    # While the model was loaded, the first process may have completed the output.
    is_done = resume and not rank.is_first and is_finished(source, output, n_best or 1)
    if is_done or (shard is not None and shard.has_nothing):
        return
    with open_lines(source, texts or [], strict=strict) as reader:
        # Sentences on the command line are too few to need an output that can be resumed.
        events = translate_lines(
            translator, reader if shard is None else ShardLines(reader, shard), output, form=form, resumable=not texts,
            resume=resume, doubtful=lines, shard=shard,
        )  # fmt: skip
        show_translating(
            events, output, resume=resume, attention=translator.attention if attention else None, rank=rank
        )
