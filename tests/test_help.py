"""``--help`` of every command: short lines, groups, examples that work."""

import re
import shlex
from pathlib import Path

import pytest
from reversal import reversal_lines

from seq2seq.cli import app
from seq2seq.cli.help import EXAMPLES, MAX_WIDTH
from seq2seq.cli.options import GROUPS

COMMANDS = ["seq2seq", *(command.name for command in app.registered_commands)]


def words_of(command: str) -> list[str]:
    return [] if command == "seq2seq" else [command]


@pytest.fixture
def page(cli, monkeypatch):
    """The help of a command on a terminal of some width."""

    def read(command: str, columns: int) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        outcome = cli(*words_of(command), "--help")
        assert (outcome.code, outcome.err) == (0, "")
        return outcome.out

    return read


@pytest.mark.parametrize("columns", [80, 200, 40])
@pytest.mark.parametrize("command", COMMANDS)
def test_lines(page, command, columns):
    text = page(command, columns)
    if columns > 40:  # an example is not divided
        assert max(map(len, text.splitlines())) <= min(columns, MAX_WIDTH)
    assert not re.search(r"[<>{}]|\bNone\b|lambda", text)
    assert text.isascii(), "a terminal may have no other characters"
    assert not re.search(r" $", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_most_important_options_are_first(page, command):
    headings = [line[:-1] for line in page(command, 80).splitlines() if re.fullmatch(r"\w[\w ]*:", line)]
    assert headings[0] == "Examples"
    groups = [heading for heading in headings[1:] if heading not in ("Arguments", "Commands")]
    assert groups == [group for group in GROUPS if group in groups], "in order, each once"
    assert headings[1] in ("Commands", "Arguments", groups[0])
    assert command == "config" or command == "seq2seq" or len(groups) > 1
    assert ("Commands" in headings) == (command == "seq2seq")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_says_what_it_does(page, command):
    """Each has a sentence, and a name for its value unless it is a switch."""
    text = page(command, 200)
    rows = re.findall(r"^  (?:    |-\w, )--([\w-]+)(?: (\S+))?  +(.*(?:\n {10,}.*)*)", text, re.MULTILINE)
    assert ("help", "", "Show this message and exit.") in rows
    assert len(rows) == len(re.findall(r"^  (?:    |-\w, )--", text, re.MULTILINE))
    for name, value, lines in rows:
        meaning = " ".join(lines.split())
        assert meaning.endswith("."), name
        assert value == "" or value.isupper() or value == "RECIPE.toml", name
        # Or it has no default, and the sentence says what it does.
        says = "Default: |Required|; - is stdin|May be given several|Also write|Configuration to start|List the values"
        assert value == "" or re.search(says, meaning), name


def test_values_have_names():
    """Every option with a value, as the command line defines it: without a name the help would not show it."""
    import typer.main

    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        for param in command.params:
            assert param.metavar or getattr(param, "is_flag", False), f"{name} {param.name}"


def test_each_command_has_two_examples():
    assert list(EXAMPLES) == COMMANDS
    for command, examples in EXAMPLES.items():
        assert len(examples) == 2
        for _, line in examples:
            assert f"seq2seq {command} " in line or command == "seq2seq"


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with the corpora of the examples."""
    (tmp_path / "corpus").mkdir()
    for name, n in (("train", 60), ("valid", 10), ("test", 5)):
        lines = reversal_lines(n, seed=n)
        (tmp_path / f"corpus/{name}.de").write_text("".join(f"{line}\n" for line in lines))
        (tmp_path / f"corpus/{name}.en").write_text("".join(f"{line[::-1]}\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_and_stdin(line: str) -> tuple[list[str], str | None]:
    """The words that a shell makes of an example, and its stdin."""
    before, _, after = line.rpartition(" | ")
    program, *words = shlex.split(after)
    assert program == "seq2seq"
    return words, shlex.split(before)[1] if before else None


@pytest.mark.parametrize("line", sorted({line for examples in EXAMPLES.values() for _, line in examples}))
def test_options_of_examples_exist(cli, line):
    """An unknown option is refused before ``--help`` is shown."""
    words, _ = words_and_stdin(line)
    assert cli(*words, "--help").code == 0
    assert cli(*words, "--none", "--help").code == 2


@pytest.mark.slow  # it trains, and loads sacreBLEU and CTranslate2
def test_examples_work_as_written_one_after_the_other(cli, in_a_folder, monkeypatch):
    small = "model.d_model=16 model.d_ff=16 model.n_heads=2 model.encoder_layers=1 model.decoder_layers=1 "
    small += "data.vocab_size=300 training.max_updates=2"
    quickly = ["--device", "cpu", *(f"--set={assignment}" for assignment in small.split())]
    for examples in EXAMPLES.values():
        for _, line in examples:
            words, stdin = words_and_stdin(line)
            if "--time-budget" in words:  # it would take 45 minutes
                continue
            (in_a_folder / "stdin").write_text(f"{stdin}\n")
            with (in_a_folder / "stdin").open() as file, monkeypatch.context() as patch:
                patch.setattr("sys.stdin", file)
                outcome = cli(*words, *(quickly if words[0] == "train" else []))
            assert outcome.code == 0, f"{line}: {outcome.err}"
            assert stdin is None or outcome.out.count("\n") == 1
    assert len(Path("test.hyp").read_text().splitlines()) == 5
    assert Path("ct2/small/model.bin").exists()
