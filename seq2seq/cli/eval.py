"""``seq2seq eval``: translate corpora and score them, or score a file of hypotheses."""

from pathlib import Path
from typing import Annotated

import typer

from seq2seq.cli import options


def eval_command(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Run folder and corpora; with --hyp one corpus, or only its references.", metavar="[RUN] CORPUS..."
        ),
    ],
    metrics: options.Metrics = "bleu,chrf,ter",
    hypotheses: options.HypothesesToScore = None,
    langs: options.LangsOfCorpus = None,
    output: options.KeptHypotheses = None,
    as_json: options.AsJson = False,
    fit_confidence: options.FitConfidence = False,
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
    from seq2seq.cli.report import parse_words, print_results, usage_error
    from seq2seq.evaluation import parse_metrics, score_file, score_run

    names, errors = parse_metrics(metrics), encoding_errors_option(encoding_errors, strict=strict)
    if hypotheses is not None:
        of_search = (beam_size, length_penalty, shortlist, precision, products, workers)
        translation_options = (output, *of_search, fit_confidence or None)
        run, corpus = parse_words(words, others=(*translation_options, None if device == "auto" else device))
        results = [score_file(hypotheses, corpus, names, run=run, langs=langs, encoding_errors=errors)]
    else:
        if len(words) < 2:
            raise usage_error("eval takes a run folder and at least one corpus")
        decoding: dict[str, object] = {
            "beam_size": beam_size, "length_penalty": length_penalty, "precision": precision, "products": products,
            "shortlist": shortlist,
        }  # fmt: skip
        results = score_run(
            Path(words[0]), words[1:], names,
            langs=langs, output=output, decoding=decoding, device=device, workers=workers, encoding_errors=errors,
            fit_confidence=fit_confidence,
        )  # fmt: skip
    print_results(results, as_json=as_json)
