"""``seq2seq score``: the log-probability of given translations."""

from typing import Annotated

import typer

from seq2seq.cli import options
from seq2seq.cli.console import print_note, print_warning


def score_command(
    run: options.RunFolder,
    corpus: Annotated[str, typer.Argument(help="Pairs to score, as train takes them.", metavar="CORPUS")],
    tokens: options.EachPiece = False,
    as_json: options.AsJsonLines = False,
    langs: options.LangsOfCorpus = None,
    output: options.ScoresFile = None,
    precision: options.Precision = None,
    products: options.MatrixProducts = None,
    workers: options.Workers = None,
    device: options.Device = "auto",
    strict: options.Strict = False,
    encoding_errors: options.EncodingErrors = None,
) -> None:
    """Score given translations: log-probability (in nats), tab, number of tokens; one line for each pair."""
    from seq2seq.cli.flags import with_flags
    from seq2seq.cli.layers import encoding_errors_option
    from seq2seq.evaluation import write_likelihoods

    forms = {(False, False): "text", (True, False): "tokens", (False, True): "json", (True, True): "json-tokens"}
    result = write_likelihoods(
        run, corpus, form=forms[tokens, as_json],
        langs=langs, output=output, decoding={"precision": precision, "products": products}, device=device,
        workers=workers, encoding_errors=encoding_errors_option(encoding_errors, strict=strict),
    )  # fmt: skip
    for note in result.read.notes:
        print_note(f"{corpus}: {with_flags(note, 'score')}")
    for text in result.warnings():
        print_warning(f"{corpus}: {text}")
    print_note(f"{corpus}: {result.summary()}")
