"""Messages of the library name keys; on the command line they name the options that set them."""

from dataclasses import fields

import pytest
from typer.main import get_command

from seq2seq.cli import app
from seq2seq.cli.flags import FLAGS, with_flags
from seq2seq.config import known_keys
from seq2seq.training import Request


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("name one with `data.train`", "name one with --train"),
        ("as in `data.langs=de-en`", "as in -l de-en"),
        ("`data.alarms=warn` trains anyway", "--set data.alarms=warn trains anyway"),
        ("raise `data.max_length`", "raise data.max_length"),
        ("give another `run`, or `overwrite`", "give another -o, or --overwrite"),
        ("give `training.time_budget=28800`", "give --time-budget 8h"),
        ("give `training.time_budget=5400`", "give --time-budget 1.5h"),
        ("see `seq2seq train --help`", "see `seq2seq train --help`"),
        ("run `make`, or run it again", "run `make`, or run it again"),
    ],
)
def test_keys_between_backticks_become_options(text, shown):
    assert with_flags(text) == shown


def test_each_option_is_one_of_train_and_each_key_is_known():
    options = {option for param in get_command(app).commands["train"].params for option in param.opts}
    assert set(FLAGS.values()) <= options
    assert set(FLAGS) <= {*known_keys(), *(field.name for field in fields(Request))}
