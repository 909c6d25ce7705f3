"""What training shows: singular and plural, the reason for stopping, the verdict on its scores."""

import re
import signal

import pytest
from rich.cells import cell_len

from seq2seq.cli import console
from seq2seq.cli.display import show
from seq2seq.cli.progress import Pace
from seq2seq.cli.signals import StopFlag, stopped_by
from seq2seq.config import build
from seq2seq.errors import Interrupted, UserError
from seq2seq.evaluation import ROUGH_GUIDE
from seq2seq.training.progress import Finished, LengthSet, Notice, Report, Sample, Started, Validation
from seq2seq.translation import SegmentCounts

_STEERING = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
NUMBERS = {"n_pairs": 1, "n_tgt_tokens": 1, "vocab_size": 1, "n_parameters": 1, "update": 1}
ONE_UPDATE = build({"training": {"max_updates": 1}}, where="here")
STARTED = Started(config=ONE_UPDATE, device="cpu", arithmetic="fp32", **NUMBERS)
SAMPLE = Sample("a\x1b[2J b", "[bold]b[/bold] :smile:", "b a")
FINISHED = Finished(1, 1, {"bleu": 2.0, "valid_loss": None}, 61.0, "1 update done", verdict="BLEU 2.0: not usable yet")
EVENTS = [
    Notice("a note"),
    Notice("take care", warning=True),
    STARTED,
    LengthSet(1, 1, 1.0),
    LengthSet(1, 2, 1.0),
    Report(1, 1, 1.0, 0.001, 1.0, 1.0, 0.0),
    Validation(1, 1, None, 1.0, 1.0, 0, 1.0, True, [SAMPLE]),
    FINISHED,
]
ALREADY = Finished(1, 1, {"bleu": 2.0}, 1.0, "", trained_on="trained on x", already=True, verdict=FINISHED.verdict)


def shown(capfd, events) -> list[str]:
    show(iter(events), StopFlag())
    return capfd.readouterr().err.splitlines()


def test_one_of_a_thing_is_in_the_singular(capfd):
    lines = shown(capfd, [*EVENTS, ALREADY])
    lines += [str(Pace(1, lines=1)), SegmentCounts(1, 0, "the first").total()]
    assert not [line for line in lines if re.search(r"(?<![\d.,/])1 (?!lines/s|is\b)[a-z]+s\b", line)]
    assert "training 1 parameter on 1 pair (1 target token, 1 piece) for 1 update on cpu in fp32" in lines[2]
    assert lines[3] == "there is time for about 1 update: the rest of it is for validation"
    assert lines[4] == "there is time for about 2 updates: 1 more in 1 s"


def test_the_verdict_is_shown_once(capfd):
    for events in (EVENTS, [ALREADY]):
        lines = shown(capfd, events)
        assert lines[-2:] == ["BLEU 2.0: not usable yet", ROUGH_GUIDE]
    assert not any("guide" in line for line in shown(capfd, [Finished(1, 1, {}, 1.0, "1 update done")]))


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_terminal_shows_the_same_in_lines_that_fit(capfd, monkeypatch, columns):
    monkeypatch.setattr(console._Stderr, "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console.console, "_width", columns)
    lines = [_STEERING.sub("", line) for line in shown(capfd, EVENTS)]
    assert [line for line in lines if cell_len(line) > columns] == []
    assert "  model     [bold]b[/bold] :smile:" in lines
    assert "  source    a\ufffd[2J b" in lines


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")]
)
@pytest.mark.parametrize(
    ("words", "update", "says"),
    [
        ([], 1327, "at update 1,327, saved; the same command resumes."),
        (["--overwrite"], 7, "at update 7, saved; the same command without --overwrite resumes."),
        ([], 0, "before the first update; the same command starts again."),
    ],
)
def test_the_message_after_an_interruption(cli, tmp_path, monkeypatch, number, name, words, update, says):
    def fail(*_):
        yield STARTED
        raise Interrupted(number, saved=True, update=update)

    monkeypatch.setattr("seq2seq.training.train", fail)
    outcome = cli("train", "-o", tmp_path / "run", *words)
    assert (outcome.code, outcome.out) == (128 + number, "")
    assert outcome.err.splitlines()[1:] == [f"Stopped by {name} {says}"]


@pytest.mark.parametrize(
    ("events", "error", "says"),
    [
        ([], Interrupted(2, saved=False), "Stopped by Ctrl-C while preparing; nothing is lost, and the same command "),
        ([], Interrupted(15, saved=False), "Stopped by SIGTERM while preparing; "),
        ([STARTED], Interrupted(2, saved=False), ""),  # a second Ctrl-C, which does not wait
        ([], UserError("a", mend="b"), ""),
    ],
)
def test_the_message_if_nothing_was_saved(capfd, events, error, says):
    def fail():
        yield from events
        raise error

    with pytest.raises(type(error)):
        show(fail(), StopFlag())
    lines = capfd.readouterr().err.splitlines()[len(events) :]
    assert [line.startswith(says) for line in lines] == [True] * bool(says)


def test_every_termination_signal_has_a_name():
    assert stopped_by(Interrupted(signal.SIGUSR1, saved=True)) == "Stopped by SIGUSR1"
