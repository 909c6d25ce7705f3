"""``seq2seq eval``: translate corpora and score them, or score a file of hypotheses."""

from pathlib import Path

from seq2seq.cli import eval_options, options


def eval_command(
    words: eval_options.Words,
    metrics: eval_options.Metrics = "bleu,chrf,ter",
    tokenize: eval_options.Tokenize = None,
    lowercase: eval_options.Lowercase = False,
    references: eval_options.MoreReferences = None,
    against: eval_options.Against = None,
    report: eval_options.Report = None,
    hypotheses: eval_options.HypothesesToScore = None,
    langs: options.LangsOfCorpus = None,
    output: eval_options.KeptHypotheses = None,
    as_json: options.AsJson = False,
    fit_confidence: eval_options.FitConfidence = False,
    beam_size: options.BeamSize = None,
    length_penalty: options.LengthPenalty = None,
    shortlist: options.ShortlistSize = None,
    precision: options.Precision = None,
    products: options.MatrixProducts = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    strict: options.Strict = False,
    encoding_errors: options.EncodingErrors = None,
) -> None:
    """Score translations with sacreBLEU: BLEU, chrF and TER, each with its signature."""
    from seq2seq.cli.layers import encoding_errors_option
    from seq2seq.cli.report import parse_words, print_results
    from seq2seq.evaluation import ScoringOptions, SearchOptions, parse_metrics, score_file, score_run

    names, errors = parse_metrics(metrics), encoding_errors_option(encoding_errors, strict=strict)
    scoring = ScoringOptions(
        tokenize=tokenize, lowercase=lowercase, references=references or [], against=against or [], report=report
    )
    decoding: dict[str, object] = {
        "beam_size": beam_size, "length_penalty": length_penalty, "precision": precision, "products": products,
        "shortlist": shortlist,
    }  # fmt: skip
    options_of_search = (*decoding.values(), workers, None if device == "auto" else device)
    run, corpora = parse_words(words, hypotheses, (output, fit_confidence or None), options_of_search, scoring.against)
    if hypotheses is not None:
        results = [score_file(
            hypotheses, corpora[0], names, options=scoring, run=run, langs=langs,
            search=SearchOptions(decoding, device, workers), encoding_errors=errors,
        )]  # fmt: skip
    else:
        results = score_run(
            Path(words[0]), corpora, names, options=scoring, langs=langs, output=output, decoding=decoding,
            device=device, workers=workers, encoding_errors=errors, fit_confidence=fit_confidence,
        )  # fmt: skip
    print_results(results, as_json=as_json, report=report)
