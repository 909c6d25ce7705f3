"""Messages of the library name keys; on the command line they name the options that set them."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest
from typer.main import get_command

import seq2seq.cli
from seq2seq.cli import app
from seq2seq.cli.flags import FLAGS, with_flags
from seq2seq.config import known_keys
from seq2seq.evaluation import ScoringOptions, score_file, score_run, write_likelihoods
from seq2seq.interop.ctranslate2 import export_run
from seq2seq.training import Request, train_seeds
from seq2seq.translation import Translator, translate_lines

PACKAGE = Path(seq2seq.cli.__file__).parent.parent
NAMED = re.compile(rf"`(?:(?:{'|'.join(FLAGS)}) )?([a-z_]+(?:\.[a-z_]+)*)(?:=[^`]*)?`")
OTHER_WORDS = {"spm_train"}
"""Words between backticks in messages that are not keys."""


def messages(tree: ast.AST) -> Iterator[str]:
    """What a file says in errors and notices; X stands for what is filled in."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and (
            ast.unparse(call.func) in ("UserError", "Notice", "damaged") or any(k.arg == "mend" for k in call.keywords)
        ):
            for node in ast.walk(call):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


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
    assert with_flags(text, "train") == shown


@pytest.mark.parametrize(
    ("text", "command", "shown"),
    [
        ("name one with `output`", "translate", "name one with -o"),
        ("`workers=2` needs a CPU, not `device=cuda:1`", "translate", "--workers 2 needs a CPU, not --device cuda:1"),
        ("name it `folder=two words/NAME`", "export", "name it -o two words/NAME"),
        ("give `data.encoding_errors=replace`", "train", "give --set data.encoding_errors=replace"),
        ("give `data.encoding_errors=replace`", "eval", "give --encoding-errors replace"),
        ("leave out `data.encoding_errors=strict`", "translate", "leave out --strict"),
        ("lower `decoding.beam_size`", "translate", "lower -b"),
        ("lower `decoding.beam_size`", "train", "lower decoding.beam_size"),
        ("give `train decoding.shortlist=9`", "translate", "give train --set decoding.shortlist=9"),
        ("give `decoding.shortlist=0`", "translate", "give --shortlist 0"),
        ("give `train layers`", "eval", "give train --config"),
        ("give `layers`", "translate", "give `layers`"),
        ("`data.langs=de` is none", "translate", "data.langs=de is none"),
    ],
)
def test_which_option_sets_a_key_depends_on_the_command(text, command, shown):
    assert with_flags(text, command) == shown


ARGUMENTS = {
    "train": {field.name for field in fields(Request)} | {*signature(train_seeds).parameters},
    "translate": {*signature(Translator.load).parameters, *signature(translate_lines).parameters},
    "attend": {*signature(Translator.load).parameters, "output"},
    "eval": {
        *signature(score_run).parameters,
        *signature(score_file).parameters,
        *(field.name for field in fields(ScoringOptions)),
    },
    "score": {*signature(write_likelihoods).parameters},
    "runs": {"output"},
    "export": {*signature(export_run).parameters},
    "config": set(),
}


def test_every_command_has_a_table():
    assert set(FLAGS) == set(ARGUMENTS) == set(get_command(app).commands)


@pytest.mark.parametrize("command", FLAGS)
def test_options_are_those_of_the_command_and_keys_are_known(command):
    options = {option for param in get_command(app).commands[command].params for option in param.opts}
    assert {word for shown in FLAGS[command].values() for word in shown.split() if word.startswith("-")} <= options
    assert {key.partition("=")[0] for key in FLAGS[command]} <= {*known_keys(), *ARGUMENTS[command]}


def test_notes_of_eval_name_its_options(cli, tmp_path):
    """On stderr and as JSON."""
    english = "the cat sat on the mat and it was happy with what it had in the house of the man\n" * 60
    german = "die katze sass auf der matte und war froh mit dem was sie in dem haus des mannes hatte\n" * 60
    (tmp_path / "c.de").write_text(english)
    (tmp_path / "c.en").write_text(german)
    (tmp_path / "hyp").write_text(german)
    outcome = cli("eval", "--hyp", tmp_path / "hyp", tmp_path / "c", "-l", "de-en", "--json")
    (note,) = json.loads(outcome.out)["corpora"][0]["notes"]
    assert note.endswith("swap the sides, or the languages of -l")
    assert note in outcome.err


def test_messages_name_keys_that_a_command_sets():
    keys = {key for table in FLAGS.values() for key in table} | set(known_keys())
    unknown = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.parent.name != "cli":
            texts = messages(ast.parse(path.read_text(encoding="utf-8")))
            unknown |= {found[1] for text in texts for found in NAMED.finditer(text)} - keys - OTHER_WORDS
    assert not unknown
